//! Times as people type them: RFC 3339, `now-5m`, seconds since 1970; spans like `90s` or `1h30m`.
//!
//! Owns parsing and printing of packet time (nanoseconds since the Unix epoch); must never read the
//! clock itself: the caller says what `now` is, so that tests can.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

/// Nanoseconds in a second.
pub const NS_PER_S: u64 = 1_000_000_000;
/// Nanoseconds in a day of packet time.
pub const NS_PER_DAY: u64 = 86_400 * NS_PER_S;

/// A stretch of time, at least one nanosecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Length in nanoseconds.
    pub ns: u64,
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a length of time; write 90s, 5m, 1h30m or 2d");
        let (days, rest) = split_days(text.trim()).ok_or_else(wrong)?;
        let rest: SignedDuration = match rest {
            "" if days > 0 => SignedDuration::ZERO,
            rest => rest.parse().map_err(|_| wrong())?,
        };
        let rest_ns = u64::try_from(rest.as_nanos()).map_err(|_| wrong())?;
        match days
            .checked_mul(NS_PER_DAY)
            .and_then(|ns| ns.checked_add(rest_ns))
        {
            Some(ns) if ns > 0 => Ok(Self { ns }),
            _ => Err(wrong()),
        }
    }
}

/// `SignedDuration` has no days, because a civil day may have 23 hours; packet time has none such.
fn split_days(text: &str) -> Option<(u64, &str)> {
    match text.split_once('d') {
        Some((days, rest)) if days.bytes().all(|b| b.is_ascii_digit()) => Some((days.parse().ok()?, rest)),
        _ => Some((0, text)),
    }
}

/// A point in packet time, perhaps relative to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Nanoseconds since the Unix epoch.
    At(u64),
    /// That many nanoseconds from now, negative for the past.
    Now(i64),
}

impl Moment {
    /// Nanoseconds since the Unix epoch, given what `now` is. Clamped to what a `u64` holds.
    pub fn resolve(self, now_ns: u64) -> u64 {
        match self {
            Self::At(ns) => ns,
            Self::Now(offset) => now_ns.saturating_add_signed(offset),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(offset) = text.strip_prefix("now") {
            return relative(offset).map(Self::Now);
        }
        if text.bytes().next().is_some_and(|b| b.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        {
            return epoch_seconds(text).map(Self::At);
        }
        let timestamp: Timestamp = text.parse().map_err(|_| {
            format!("`{text}` is not a time; write 2026-11-23T08:00:00Z, now-5m, or seconds since 1970")
        })?;
        u64::try_from(timestamp.as_nanosecond())
            .map(Self::At)
            .map_err(|_| format!("`{text}` is before 1970 or after 2554"))
    }
}

fn relative(offset: &str) -> Result<i64, String> {
    let (negative, span) = match offset.as_bytes().first() {
        None => return Ok(0),
        Some(b'-') => (true, &offset[1..]),
        Some(b'+') => (false, &offset[1..]),
        Some(_) => {
            return Err(format!(
                "`now{offset}` is not a time; write now, now-5m or now+1h"
            ));
        }
    };
    let ns = i64::try_from(span.parse::<Span>()?.ns).map_err(|_| format!("`{span}` is too long"))?;
    Ok(if negative { -ns } else { ns })
}

/// Whole seconds with up to nine decimals, exactly (a float would lose nanoseconds).
fn epoch_seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a number of seconds since 1970");
    let (seconds, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 9 || decimals.contains('.') {
        return Err(wrong());
    }
    let seconds: u64 = seconds.parse().map_err(|_| wrong())?;
    let nanos: u64 = format!("{decimals:0<9}").parse().map_err(|_| wrong())?;
    seconds
        .checked_mul(NS_PER_S)
        .and_then(|ns| ns.checked_add(nanos))
        .ok_or_else(wrong)
}

/// What the wall clock says, in nanoseconds since the Unix epoch.
pub fn wall_clock_ns() -> u64 {
    u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(0)
}

/// Packet time as RFC 3339 in UTC.
pub struct Display(pub u64);

impl fmt::Display for Display {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(timestamp) => write!(f, "{timestamp}"),
            Err(_) => write!(f, "{} ns", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000 * NS_PER_S;

    fn at(text: &str) -> Result<u64, String> {
        text.parse::<Moment>().map(|moment| moment.resolve(NOW))
    }

    #[test]
    fn moments_in_their_three_forms() {
        assert_eq!(at("2023-11-14T22:13:20Z"), Ok(NOW));
        assert_eq!(at("2023-11-14T23:13:20+01:00"), Ok(NOW));
        assert_eq!(at("2023-11-14T22:13:20.000000001Z"), Ok(NOW + 1));
        assert_eq!(at("1700000000"), Ok(NOW));
        assert_eq!(at("1700000000.000000001"), Ok(NOW + 1));
        assert_eq!(at("1700000000.5"), Ok(NOW + NS_PER_S / 2));
        assert_eq!(at("now"), Ok(NOW));
        assert_eq!(at("now-5m"), Ok(NOW - 300 * NS_PER_S));
        assert_eq!(at("now+1h30m"), Ok(NOW + 5400 * NS_PER_S));
        assert_eq!(at("now-2d"), Ok(NOW - 2 * 86_400 * NS_PER_S));
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for bad in [
            "",
            "yesterday",
            "now5m",
            "now-",
            "now-0s",
            "now--5m",
            "1.2.3",
            "1700000000.0000000001",
            "-5",
            "99999999999999999999",
            "1969-12-31T23:59:59Z",
            "2023-11-14T22:13:20",
            "2023-13-01T00:00:00Z",
            "18446744074",
        ] {
            assert!(at(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn spans() {
        for (text, seconds) in [
            ("90s", 90),
            ("5m", 300),
            ("1h30m", 5400),
            ("2d", 172_800),
            ("1d12h", 129_600),
        ] {
            assert_eq!(
                text.parse::<Span>(),
                Ok(Span {
                    ns: seconds * NS_PER_S
                }),
                "{text}"
            );
        }
        for bad in ["", "5", "-5m", "0s", "five", "d", "1x"] {
            assert!(bad.parse::<Span>().is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn a_printed_time_is_parsed_back() {
        for ns in [0, NOW, NOW + 1, 4_102_444_800 * NS_PER_S] {
            assert_eq!(Display(ns).to_string().parse(), Ok(Moment::At(ns)));
        }
    }
}
