//! Windows of packet time. Must never be empty or inverted.

use crate::{AccessLevel, PolicyError};
use std::fmt;

/// A stretch of packet time, `[from_ns, to_ns)`, nanoseconds since the Unix epoch; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Bounds")]
pub struct Window {
    /// First nanosecond.
    pub from_ns: u64,
    /// First nanosecond after the window.
    pub to_ns: u64,
}

#[derive(serde::Deserialize)]
struct Bounds {
    from_ns: u64,
    to_ns: u64,
}

impl TryFrom<Bounds> for Window {
    type Error = PolicyError;

    fn try_from(bounds: Bounds) -> Result<Self, PolicyError> {
        Self::new(bounds.from_ns, bounds.to_ns)
    }
}

impl Window {
    /// A window; refuses an empty or inverted one.
    pub fn new(from_ns: u64, to_ns: u64) -> Result<Self, PolicyError> {
        match from_ns.cmp(&to_ns) {
            std::cmp::Ordering::Less => Ok(Self { from_ns, to_ns }),
            std::cmp::Ordering::Equal => Err(PolicyError::EmptyWindow { at_ns: from_ns }),
            std::cmp::Ordering::Greater => Err(PolicyError::InvertedWindow { from_ns, to_ns }),
        }
    }

    /// The window widened to the time grain of `level`: no bound is finer than what may be seen.
    pub fn snap(self, level: AccessLevel) -> Self {
        let grain_ns = level.grain_ns();
        Self {
            from_ns: self.from_ns - self.from_ns % grain_ns,
            // Past the last whole grain of u64 (year 2554) there is no outward bound to snap to.
            to_ns: self.to_ns.checked_next_multiple_of(grain_ns).unwrap_or(u64::MAX),
        }
    }

    /// Whether a packet time lies in the window.
    pub fn contains(self, ts_ns: u64) -> bool {
        self.from_ns <= ts_ns && ts_ns < self.to_ns
    }

    /// Whether all of `other` lies in this window.
    pub fn covers(self, other: Self) -> bool {
        self.from_ns <= other.from_ns && other.to_ns <= self.to_ns
    }

    /// Whether the two share a nanosecond.
    pub fn overlaps(self, other: Self) -> bool {
        self.from_ns < other.to_ns && other.from_ns < self.to_ns
    }

    /// What the two share.
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.from_ns.max(other.from_ns), self.to_ns.min(other.to_ns)).ok()
    }

    /// Length, nanoseconds; at least 1.
    pub fn duration_ns(self) -> u64 {
        self.to_ns - self.from_ns
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}) ns", self.from_ns, self.to_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn windows() -> impl Strategy<Value = Window> {
        (any::<u64>(), any::<u64>()).prop_filter_map("empty", |(a, b)| Window::new(a.min(b), a.max(b)).ok())
    }

    #[test]
    fn empty_and_inverted_are_refused() {
        assert!(matches!(
            Window::new(5, 5),
            Err(PolicyError::EmptyWindow { at_ns: 5 })
        ));
        assert!(matches!(
            Window::new(6, 5),
            Err(PolicyError::InvertedWindow { from_ns: 6, to_ns: 5 })
        ));
        assert!(serde_json::from_str::<Window>(r#"{"from_ns":6,"to_ns":5}"#).is_err());
    }

    proptest! {
        #[test]
        fn snapping_widens_to_the_grain_once(window in windows()) {
            for level in AccessLevel::ALL {
                let snapped = window.snap(level);
                prop_assert!(snapped.covers(window));
                prop_assert_eq!(snapped.from_ns % level.grain_ns(), 0);
                prop_assert!(snapped.to_ns % level.grain_ns() == 0 || snapped.to_ns == u64::MAX);
                prop_assert!(snapped.from_ns.abs_diff(window.from_ns) < level.grain_ns());
                prop_assert!(snapped.to_ns.abs_diff(window.to_ns) < level.grain_ns());
                prop_assert_eq!(snapped.snap(level), snapped);
            }
        }

        #[test]
        fn overlap_is_a_shared_nanosecond(a in windows(), b in windows()) {
            prop_assert_eq!(a.overlaps(b), a.intersection(b).is_some());
            if let Some(shared) = a.intersection(b) {
                prop_assert!(a.covers(shared) && b.covers(shared) && a.contains(shared.from_ns));
            }
        }
    }
}
