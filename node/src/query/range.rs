//! Byte ranges (RFC 9110, section 14): one range of bytes, whole results otherwise. Pure.

use hyper::HeaderMap;
use hyper::header::{IF_RANGE, RANGE};

use super::problem::Problem;

/// Which bytes of a result are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// All of them.
    Whole,
    /// `[from, to)`, within the result and not empty.
    Part {
        /// First byte.
        from: u64,
        /// First byte after it.
        to: u64,
    },
}

/// What the headers ask of a result of `length` bytes with this (quoted, strong) entity tag.
///
/// A range that cannot be parsed, or of several parts, is ignored, as the standard allows: the whole
/// result is sent. So is one whose `If-Range` names another result.
pub fn asked(headers: &HeaderMap, length: u64, etag: &str) -> Result<Span, Problem> {
    let Some(range) = headers.get(RANGE).and_then(|value| value.to_str().ok()) else {
        return Ok(Span::Whole);
    };
    if headers
        .get(IF_RANGE)
        .is_some_and(|value| etag.is_empty() || value.as_bytes() != etag.as_bytes())
    {
        return Ok(Span::Whole);
    }
    let Some((from, to)) = parse(range, length) else {
        return Ok(Span::Whole);
    };
    if from >= to {
        return Err(Problem::Range { length });
    }
    Ok(Span::Part { from, to })
}

/// `[from, to)` of `bytes=a-b`, `bytes=a-` or `bytes=-n`; empty where it lies outside.
fn parse(range: &str, length: u64) -> Option<(u64, u64)> {
    let (unit, spec) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = spec.trim().split_once('-')?;
    match (first, last) {
        ("", last) => Some((length.saturating_sub(number(last)?), length)),
        (first, "") => Some((number(first)?, length)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            // A last byte before the first is no range at all.
            (first <= last).then(|| (first, last.saturating_add(1).min(length)))
        }
    }
}

/// Digits only: `parse` would take a sign. Too many digits are beyond any result.
fn number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LENGTH: u64 = 1000;

    fn ask(range: &str, if_range: Option<&str>) -> Result<Span, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, range.parse().unwrap());
        if let Some(tag) = if_range {
            headers.insert(IF_RANGE, tag.parse().unwrap());
        }
        asked(&headers, LENGTH, "\"root\"")
    }

    #[test]
    fn single_ranges_are_served() {
        let part = |from, to| Ok(Span::Part { from, to });
        assert_eq!(ask("bytes=0-0", None), part(0, 1));
        assert_eq!(ask("bytes=10-19", None), part(10, 20));
        assert_eq!(ask("bytes=990-5000", None), part(990, 1000));
        assert_eq!(ask("bytes=990-", None), part(990, 1000));
        assert_eq!(ask("bytes=-10", None), part(990, 1000));
        assert_eq!(ask("bytes=-5000", None), part(0, 1000));
        assert_eq!(ask("bytes=5-", Some("\"root\"")), part(5, 1000));
    }

    #[test]
    fn ranges_outside_the_result_are_refused() {
        for range in [
            "bytes=1000-",
            "bytes=1000-1001",
            "bytes=-0",
            "bytes=99999999999999999999999-",
        ] {
            assert_eq!(
                ask(range, None),
                Err(Problem::Range { length: LENGTH }),
                "{range}"
            );
        }
    }

    #[test]
    fn what_is_no_single_range_gets_the_whole() {
        for range in [
            "bytes=a-b",
            "bytes=",
            "bytes=-",
            "bytes=5-4",
            "bytes=0-1,3-4",
            "lines=1-2",
            "bytes=+1-2",
        ] {
            assert_eq!(ask(range, None), Ok(Span::Whole), "{range}");
        }
        assert_eq!(ask("bytes=5-", Some("\"other\"")), Ok(Span::Whole));
        assert_eq!(
            ask("bytes=5-", Some("W/\"root\"")),
            Ok(Span::Whole),
            "weak tags never match"
        );
    }

    proptest! {
        #[test]
        fn no_range_leaves_the_result(range in "bytes=[0-9]{0,21}-[0-9]{0,21}", length in 0u64..5000) {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, range.parse().unwrap());
            if let Ok(Span::Part { from, to }) = asked(&headers, length, "") {
                prop_assert!(from < to && to <= length);
            }
        }
    }
}
