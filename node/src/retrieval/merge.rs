//! The merge window: packets on their way out of the trace, brought into the order of time. The trace keeps packets as
//! they arrived; a source with several queues, or a file that was put together of several, hands over some a little late.
//! Must never drop a packet, nor hold back more than the window.

use std::collections::VecDeque;

/// How late a packet may be, behind the newest before it, to be put in its place: packet time, ns.
pub const MERGE_WINDOW_NS: u64 = 1_000_000_000;
/// Bytes that are held back, at most: a faster link has a shorter window.
pub const MAX_HELD_BYTES: usize = 32 << 20;

/// Packets that are held back together, in the order in which they were captured.
pub trait Timed: Sized {
    /// Their times, ns, on the grain that they are shown on.
    fn times(&self) -> &[u64];
    /// Bytes of memory that they take, roughly.
    fn bytes(&self) -> usize;
    /// Packets of several batches in a new order, each by its batch and its number there.
    fn gather(batches: &[Self], order: &[(u32, u32)]) -> Vec<Self>;
}

/// Packets that wait for earlier ones.
pub struct Merge<T> {
    window_ns: u64,
    max_bytes: usize,
    /// In order, within each and one after the other.
    held: VecDeque<Held<T>>,
    bytes: usize,
    /// Time of the newest packet so far.
    newest_ns: u64,
    /// Time of the newest packet that was let go: what is older has no place any more.
    passed_ns: u64,
    late: u64,
}

/// A batch, and the time that stands for each of its packets: its own, or that of the newest before it where it came too
/// late.
struct Held<T> {
    batch: T,
    order_ns: Vec<u64>,
}

impl<T> Held<T> {
    fn last_ns(&self) -> u64 {
        self.order_ns.last().copied().unwrap_or(0)
    }
}

impl<T: Timed> Default for Merge<T> {
    fn default() -> Self {
        Self::new(MERGE_WINDOW_NS, MAX_HELD_BYTES)
    }
}

impl<T: Timed> Merge<T> {
    /// Nothing is held yet.
    pub fn new(window_ns: u64, max_bytes: usize) -> Self {
        Self {
            window_ns,
            max_bytes,
            held: VecDeque::new(),
            bytes: 0,
            newest_ns: 0,
            passed_ns: 0,
            late: 0,
        }
    }

    /// Packets that came too late for their place: they stand where they came.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Takes the next packets; gives those that nothing can come before any more.
    pub fn push(&mut self, batch: T, out: &mut Vec<T>) {
        let order_ns: Vec<u64> = batch.times().iter().map(|ts| self.place(*ts)).collect();
        let Some(earliest_ns) = order_ns.iter().min().copied() else {
            return;
        };
        // What stands before it is in its place already.
        let after = self.held.iter().rposition(|held| held.last_ns() <= earliest_ns);
        let from = after.map_or(0, |after| after + 1);
        let in_order = from == self.held.len() && order_ns.is_sorted();
        self.bytes += batch.bytes();
        self.held.push_back(Held { batch, order_ns });
        if !in_order {
            self.sort(from);
        }
        self.let_go(out);
    }

    /// The trace is at its end: gives all that is held.
    pub fn finish(&mut self, out: &mut Vec<T>) {
        self.bytes = 0;
        out.extend(self.held.drain(..).map(|held| held.batch));
    }

    /// The time that the next packet is put in order by.
    fn place(&mut self, ts_ns: u64) -> u64 {
        self.newest_ns = self.newest_ns.max(ts_ns);
        let is_late = self.newest_ns - ts_ns > self.window_ns || ts_ns < self.passed_ns;
        self.late += u64::from(is_late);
        if is_late { self.newest_ns } else { ts_ns }
    }

    fn let_go(&mut self, out: &mut Vec<T>) {
        let horizon_ns = self.newest_ns.saturating_sub(self.window_ns);
        while let Some(first) = self.held.front() {
            let last_ns = first.last_ns();
            if last_ns > horizon_ns && (self.bytes <= self.max_bytes || self.held.len() == 1) {
                return;
            }
            self.bytes -= first.batch.bytes();
            self.passed_ns = self.passed_ns.max(last_ns);
            out.extend(self.held.pop_front().map(|held| held.batch));
        }
    }

    /// Brings what is held from a place on into order; packets of one time stay as they were captured.
    fn sort(&mut self, from: usize) {
        let (mut batches, mut order) = (Vec::new(), Vec::new());
        for (number, held) in (0u32..).zip(self.held.drain(from..)) {
            let rows = (0u32..).zip(&held.order_ns);
            order.extend(rows.map(|(row, ts_ns)| (*ts_ns, (number, row))));
            batches.push(held.batch);
        }
        order.sort_by_key(|(ts_ns, _)| *ts_ns);
        let (times, places): (Vec<u64>, Vec<(u32, u32)>) = order.into_iter().unzip();
        let mut rest = &times[..];
        for batch in T::gather(&batches, &places) {
            let (order_ns, after) = rest.split_at(batch.times().len());
            rest = after;
            let order_ns = order_ns.to_vec();
            self.held.push_back(Held { batch, order_ns });
        }
        self.bytes = self.held.iter().map(|held| held.batch.bytes()).sum();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Packets of a batch that was put in order.
    const GATHERED: usize = 3;

    /// Packets that are told apart by a number.
    #[derive(Clone, Debug, Default)]
    struct Batch {
        times: Vec<u64>,
        numbers: Vec<usize>,
    }

    impl Timed for Batch {
        fn times(&self) -> &[u64] {
            &self.times
        }

        fn bytes(&self) -> usize {
            self.times.len()
        }

        fn gather(batches: &[Self], order: &[(u32, u32)]) -> Vec<Self> {
            let of = |(batch, row): &(u32, u32)| {
                let batch = &batches[*batch as usize];
                (batch.times[*row as usize], batch.numbers[*row as usize])
            };
            // Where they are cut changes nothing.
            let chunks = order.chunks(GATHERED).map(|chunk| chunk.iter().map(of).unzip());
            chunks.map(|(times, numbers)| Batch { times, numbers }).collect()
        }
    }

    fn merged(
        times: &[u64],
        cut: usize,
        window_ns: u64,
        max_bytes: usize,
    ) -> (Vec<(u64, usize)>, u64, usize) {
        let mut merge = Merge::new(window_ns, max_bytes);
        let (mut out, mut most) = (Vec::new(), 0);
        for (at, chunk) in times.chunks(cut).enumerate() {
            let numbers = (at * cut..at * cut + chunk.len()).collect();
            let times = chunk.to_vec();
            merge.push(Batch { times, numbers }, &mut out);
            most = most.max(merge.held.iter().map(|held| held.batch.bytes()).sum());
        }
        merge.finish(&mut out);
        let out = out
            .into_iter()
            .flat_map(|batch| batch.times.into_iter().zip(batch.numbers));
        (out.collect(), merge.late(), most)
    }

    /// How far each packet is behind the newest before it.
    fn lateness(times: &[u64]) -> Vec<u64> {
        let mut newest = 0;
        let behind = |ts: &u64| {
            newest = newest.max(*ts);
            newest - ts
        };
        times.iter().map(behind).collect()
    }

    proptest! {
        /// Whatever comes, and however it is cut into batches: nothing is lost or doubled, nothing that is late by at most the
        /// window is out of order, and what is out of order is counted.
        #[test]
        fn results_come_in_the_order_of_time(
            steps in prop::collection::vec((0u64..20, prop_oneof![9 => 0u64..1, 3 => 0u64..30, 1 => 0u64..200]), 0..200),
            cut in 1usize..9,
            window_ns in 0u64..60,
        ) {
            let mut now = 1000;
            let times: Vec<u64> = steps.iter().map(|(step, behind)| { now += step; now - behind }).collect();
            let (out, late, _) = merged(&times, cut, window_ns, usize::MAX);
            let mut numbers: Vec<usize> = out.iter().map(|(_, number)| *number).collect();
            prop_assert!(out.iter().all(|(ts, number)| times[*number] == *ts));
            // Who is late by more than the window stands right behind the newest before it.
            let lateness = lateness(&times);
            let mut expected: Vec<usize> = (0..times.len()).collect();
            expected.sort_by_key(|number| match lateness[*number] {
                behind if behind > window_ns => times[*number] + behind,
                _ => times[*number],
            });
            prop_assert_eq!(&numbers, &expected);
            prop_assert_eq!(late, lateness.iter().filter(|behind| **behind > window_ns).count() as u64);
            numbers.sort_unstable();
            prop_assert_eq!(numbers, (0..times.len()).collect::<Vec<_>>());
        }

        /// A flood within the window is bounded in memory.
        #[test]
        fn no_more_is_held_than_there_is_room_for(
            behind in prop::collection::vec(0u64..50, 0..200), cut in 1usize..9, max_bytes in 1usize..40,
        ) {
            let times: Vec<u64> = behind.iter().map(|behind| 1000 - behind).collect();
            let (out, _, most) = merged(&times, cut, u64::MAX, max_bytes);
            // One batch is always held, as it came or as it was gathered.
            prop_assert!(most <= max_bytes.max(cut).max(GATHERED));
            prop_assert_eq!(out.len(), times.len());
        }
    }

    #[test]
    fn packets_of_one_time_stay_as_they_were_captured() {
        let (out, late, _) = merged(&[5, 5, 4, 5, 4], 2, 10, usize::MAX);
        assert_eq!(out, [(4, 2), (4, 4), (5, 0), (5, 1), (5, 3)]);
        assert_eq!(late, 0);
    }
}
