//! Access levels: a total order of what a principal may see. Must never know how a level is enforced.

use crate::PolicyError;
use std::fmt;
use std::str::FromStr;

/// What a principal may see, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum AccessLevel {
    /// Aggregates that the host computes; no packet view.
    Aggregate = 0,
    /// Coarse pseudonymous flow records.
    Coarse = 1,
    /// Packets with prefix-preserving pseudonyms, built from scratch.
    Anonymized = 2,
    /// Real headers, no payload.
    Headers = 3,
    /// Whole packets.
    Payload = 4,
}

impl AccessLevel {
    /// All levels, in order.
    pub const ALL: [AccessLevel; 5] = [
        Self::Aggregate,
        Self::Coarse,
        Self::Anonymized,
        Self::Headers,
        Self::Payload,
    ];

    /// The number used in formats and policies.
    pub fn as_u8(self) -> u8 {
        self as u8
    }

    /// The level of a number.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The name used in formats, commands and policies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aggregate => "aggregate",
            Self::Coarse => "coarse",
            Self::Anonymized => "anonymized",
            Self::Headers => "headers",
            Self::Payload => "payload",
        }
    }

    /// The time grain that windows snap to and timestamps are floored to, nanoseconds.
    pub const fn grain_ns(self) -> u64 {
        match self {
            Self::Aggregate | Self::Coarse => 3_600_000_000_000,
            Self::Anonymized => 1_000_000,
            Self::Headers => 1_000,
            Self::Payload => 1,
        }
    }

    /// A timestamp as the level shows it: floored to its grain, nanoseconds.
    #[inline]
    pub const fn floor_ns(self, ts_ns: u64) -> u64 {
        // Every divisor is a constant of its own: this is done for each packet.
        ts_ns
            - match self {
                Self::Aggregate | Self::Coarse => ts_ns % Self::Coarse.grain_ns(),
                Self::Anonymized => ts_ns % Self::Anonymized.grain_ns(),
                Self::Headers => ts_ns % Self::Headers.grain_ns(),
                Self::Payload => 0,
            }
    }
}

impl fmt::Display for AccessLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for AccessLevel {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        Self::ALL
            .into_iter()
            .find(|level| level.name() == text)
            .ok_or_else(|| PolicyError::UnknownLevel {
                text: text.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_order_agree() {
        for (number, level) in AccessLevel::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(level.as_u8()), number);
            assert_eq!(AccessLevel::from_u8(level.as_u8()), Some(level));
            assert_eq!(level.to_string().parse::<AccessLevel>().unwrap(), level);
            assert_eq!(serde_json::to_string(&level).unwrap(), format!("\"{level}\""));
        }
        assert!(AccessLevel::ALL.is_sorted());
        assert!(AccessLevel::from_u8(5).is_none());
        assert!("Payload".parse::<AccessLevel>().is_err());
    }

    #[test]
    fn a_lower_level_never_has_a_finer_grain() {
        assert!(
            AccessLevel::ALL
                .windows(2)
                .all(|pair| pair[0].grain_ns() >= pair[1].grain_ns())
        );
    }
}
