//! The kernel's counters of one ring, widened to 64 bits: what it kept, and what was lost before it or in it. Must never
//! lose a count between two looks.

use pcap::Stat;

use crate::trace::GapCause;

/// Counts since the ring was made.
pub(super) struct RingCounts {
    seen: Stat,
    received: u64,
    dropped: u64,
    untold: [(GapCause, u64); 2],
}

impl RingCounts {
    /// From the first look on. What arrived before it lies in the ring, but where a filter was set: then it was thrown
    /// away.
    pub fn since(begin: Stat, is_filtered: bool) -> Self {
        Self {
            received: if is_filtered { 0 } else { begin.received.into() },
            dropped: if is_filtered { 0 } else { begin.dropped.into() },
            seen: begin,
            untold: [(GapCause::KernelDrop, 0), (GapCause::InterfaceDrop, 0)],
        }
    }

    /// Takes a look. The counters are 32 bits wide and wrap; `received` has the dropped ones in it.
    pub fn see(&mut self, stats: Stat) {
        let since = |now: u32, before: u32| u64::from(now.wrapping_sub(before));
        let dropped = since(stats.dropped, self.seen.dropped);
        self.received += since(stats.received, self.seen.received);
        self.dropped += dropped;
        self.untold[0].1 += dropped;
        self.untold[1].1 += since(stats.if_dropped, self.seen.if_dropped);
        self.seen = stats;
    }

    /// Packets that went into the ring.
    pub fn kept(&self) -> u64 {
        self.received.saturating_sub(self.dropped)
    }

    /// Losses since they were last taken.
    pub fn take_losses(&mut self) -> [(GapCause, u64); 2] {
        let losses = self.untold;
        self.untold.iter_mut().for_each(|(_, count)| *count = 0);
        losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(received: u32, dropped: u32, if_dropped: u32) -> Stat {
        Stat {
            received,
            dropped,
            if_dropped,
        }
    }

    #[test]
    fn counters_that_wrap_count_on() {
        let mut counts = RingCounts::since(stat(u32::MAX - 4, 0, u32::MAX), true);
        counts.see(stat(5, 3, 1));
        counts.see(stat(6, 3, 1));
        assert_eq!(counts.kept(), 11 - 3);
        let losses = [(GapCause::KernelDrop, 3), (GapCause::InterfaceDrop, 2)];
        assert_eq!(counts.take_losses(), losses);
        assert_eq!(counts.take_losses().map(|(_, count)| count), [0, 0], "told once");
    }

    #[test]
    fn what_came_before_the_first_look_is_in_the_ring_but_for_a_filter() {
        for (is_filtered, kept) in [(false, 12), (true, 5)] {
            let mut counts = RingCounts::since(stat(7, 0, 0), is_filtered);
            counts.see(stat(12, 0, 0));
            assert_eq!(counts.kept(), kept);
        }
    }
}
