//! Times as an operator types them, and as they are shown: RFC 3339 and seconds since 1970. Must never read
//! the clock: what counts is packet time.

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

/// A point in packet time, ns since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub u64);

/// A length of time, ns; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub u64);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no time from 1970 on; write 2026-11-23T08:00:00Z or seconds since 1970");
        let of_seconds = || {
            let (seconds, decimals) = text.split_once('.').unwrap_or((text, ""));
            let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
            if seconds.is_empty() || decimals.len() > 9 || !digits(seconds) || !digits(decimals) {
                return None;
            }
            let ns: u64 = format!("{decimals:0<9}").parse().ok()?;
            seconds
                .parse::<u64>()
                .ok()?
                .checked_mul(1_000_000_000)?
                .checked_add(ns)
        };
        let of_rfc3339 = || {
            let timestamp: Timestamp = text.parse().ok()?;
            u64::try_from(timestamp.as_nanosecond()).ok()
        };
        of_seconds().or_else(of_rfc3339).map(Self).ok_or_else(wrong)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ns = text
            .parse::<SignedDuration>()
            .ok()
            .and_then(|span| u64::try_from(span.as_nanos()).ok());
        ns.filter(|ns| *ns > 0)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no length of time; write 90s, 5m or 1h30m"))
    }
}

/// A time for people, to the millisecond: as fine as what is visible without opening a packet.
pub(in crate::admin) fn shown(ns: u64) -> String {
    match Timestamp::from_nanosecond(i128::from(ns)) {
        Ok(timestamp) => format!("{timestamp:.3}"),
        Err(_) => ns.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_exactly_and_shown_to_the_millisecond() {
        let exact: Moment = "1700000000.123456789".parse().unwrap();
        assert_eq!(exact.0, 1_700_000_000_123_456_789);
        assert_eq!(
            "2023-11-14T22:13:20Z".parse::<Moment>().unwrap().0,
            1_700_000_000_000_000_000
        );
        assert_eq!(shown(exact.0), "2023-11-14T22:13:20.123Z");
        for wrong in [
            "",
            ".",
            "1.0000000001",
            "yesterday",
            "-5",
            "1969-12-31T00:00:00Z",
            "99999999999999999999",
        ] {
            assert!(wrong.parse::<Moment>().is_err(), "{wrong}");
        }
        assert_eq!("1h30m".parse::<Span>().unwrap().0, 5400 * 1_000_000_000);
        assert!("0s".parse::<Span>().is_err() && "soon".parse::<Span>().is_err());
    }
}
