//! Values with a unit or a form: sizes, spans of time, SPIFFE ids. Parsed once, correct from then on.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A number of bytes; written as `"256 MiB"` or as a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Units of sizes, largest first.
const SIZE_UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a size; write a whole number and B, KiB, MiB, GiB or TiB, as in \"256 MiB\""
            )
        };
        let (number, unit) = split_unit(text).ok_or_else(wrong)?;
        let (_, factor) = SIZE_UNITS
            .into_iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(wrong)?;
        number.checked_mul(factor).map(Bytes).ok_or_else(wrong)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = SIZE_UNITS
            .into_iter()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor))
            .unwrap_or(("B", 1));
        write!(f, "{} {unit}", self.0 / factor)
    }
}

/// A span of time; written as `"90 s"`, `"24 h"`, `"7 d"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// Units of spans in milliseconds, longest first.
const SPAN_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("min", 60_000),
    ("s", 1000),
    ("ms", 1),
];

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a span of time; write a whole number and ms, s, min, h or d, as in \"24 h\""
            )
        };
        let (number, unit) = split_unit(text).ok_or_else(wrong)?;
        let (_, factor) = SPAN_UNITS
            .into_iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(wrong)?;
        let millis = number.checked_mul(factor).ok_or_else(wrong)?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis() as u64;
        let (unit, factor) = SPAN_UNITS
            .into_iter()
            .find(|(_, factor)| millis != 0 && millis.is_multiple_of(*factor))
            .unwrap_or(("ms", 1));
        write!(f, "{} {unit}", millis / factor)
    }
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Size;
        impl Visitor<'_> for Size {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"256 MiB\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Bytes, E> {
                u64::try_from(number)
                    .map(Bytes)
                    .map_err(|_| E::custom("a size is not negative"))
            }
        }
        deserializer.deserialize_any(Size)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// A principal or node: `spiffe://CONSORTIUM/ORGANISATION/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    text: String,
    domain_end: usize,
    organisation_end: usize,
}

/// Longest SPIFFE id, bytes (the SPIFFE standard's own limit).
pub const MAX_SPIFFE_BYTES: usize = 2048;
const SCHEME: &str = "spiffe://";

impl SpiffeId {
    /// The consortium, the trust domain.
    pub fn domain(&self) -> &str {
        &self.text[SCHEME.len()..self.domain_end]
    }

    /// The organisation.
    pub fn organisation(&self) -> &str {
        &self.text[self.domain_end + 1..self.organisation_end]
    }

    /// The name within the organisation.
    pub fn name(&self) -> &str {
        &self.text[self.organisation_end + 1..]
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for SpiffeId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a SPIFFE id; it looks like spiffe://consortium.example/organisation/name"
            )
        };
        let path = text.strip_prefix(SCHEME).ok_or_else(wrong)?;
        let parts: Vec<&str> = path.split('/').collect();
        let &[domain, organisation, name] = parts.as_slice() else {
            return Err(wrong());
        };
        let domain_ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        let path_ok = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let dots = |part: &&str| **part == *"." || **part == *"..";
        let well_formed = text.len() <= MAX_SPIFFE_BYTES
            && parts.iter().all(|part| !part.is_empty() && !dots(part))
            && domain.chars().all(domain_ok)
            && organisation.chars().chain(name.chars()).all(path_ok);
        if !well_formed {
            return Err(wrong());
        }
        let domain_end = SCHEME.len() + domain.len();
        Ok(Self {
            text: text.to_owned(),
            domain_end,
            organisation_end: domain_end + 1 + organisation.len(),
        })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for SpiffeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl serde::Serialize for SpiffeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_and_spans_as_people_write_them() {
        assert_eq!("256 MiB".parse(), Ok(Bytes(256 << 20)));
        assert_eq!("1GiB".parse(), Ok(Bytes(1 << 30)));
        assert_eq!("24 h".parse(), Ok(Span(Duration::from_secs(86_400))));
        assert_eq!("1s".parse(), Ok(Span(Duration::from_secs(1))));
        for wrong in [
            "",
            "12",
            "MiB",
            "-1 B",
            "1.5 GiB",
            "1 MB",
            "99999999999 TiB",
            "1 GiB x",
        ] {
            assert!(wrong.parse::<Bytes>().is_err(), "{wrong}");
        }
        for wrong in ["", "5", "1 m", "-1 s", "99999999999999999999 s"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn spiffe_ids_have_three_parts() {
        let id: SpiffeId = "spiffe://consortium.example/uni-a/alice".parse().unwrap();
        assert_eq!(
            (id.domain(), id.organisation(), id.name()),
            ("consortium.example", "uni-a", "alice")
        );
        for wrong in [
            "https://consortium.example/a/b",
            "spiffe://consortium.example/a",
            "spiffe://consortium.example/a/b/c",
            "spiffe://Consortium.example/a/b",
            "spiffe://c/../b",
            "spiffe://c/a/b ",
            "spiffe://c:8443/a/b",
            "spiffe://u@c/a/b",
            "spiffe://c//b",
            "spiffe://c/a/b\n",
        ] {
            assert!(wrong.parse::<SpiffeId>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(bytes in any::<u64>(), millis in 0u64..1 << 50) {
            prop_assert_eq!(Bytes(bytes).to_string().parse(), Ok(Bytes(bytes)));
            let span = Span(Duration::from_millis(millis));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }
    }
}
