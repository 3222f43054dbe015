//! How fast the past may be read while the link is busy, so that reading never costs capture a packet. The whole of
//! it stands here: capture tells how full its queues are, the supervisor makes an allowance of that, each reader draws
//! on it from a token bucket. Must never stop a reader for good: the smallest allowance is not zero.
//!
//! ```text
//! capture --pressure--> [supervisor: of_pressure] --bytes/s--> reader: Bucket --> blocks
//!                                     \--a file: told--> `como-node trace export`: Bucket --> blocks
//! ```
//! Where processors are short, priorities (`process/plan.rs`) do the finer part; this does what they cannot: it
//! keeps readers from the disk and from memory bandwidth that capture waits for.

pub mod told;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Everything is full, per mille.
pub const FULL: u16 = 1000;
/// No allowance is kept to.
pub const UNLIMITED: u64 = u64::MAX;
/// Up to this pressure readers go as fast as they can: storage acknowledges by the batch, so that some of the queue
/// is always taken.
const CALM: u16 = 250;
/// From this pressure on they get the least.
const TIGHT: u16 = 750;
/// The allowance just above calm, bytes/s of the trace, all readers together.
const MOST: u64 = 256 << 20;
/// How often it is halved between calm and tight.
const HALVINGS: u32 = 8;
/// What a reader may take at once after a pause, bytes: some blocks.
const BURST_BYTES: i64 = 1 << 20;

/// How full a queue is, per mille.
pub fn fill(used: u64, capacity: u64) -> u16 {
    let per_mille = u128::from(used) * u128::from(FULL) / u128::from(capacity.max(1));
    per_mille.min(u128::from(FULL)) as u16
}

/// What each of so many readers may read at a pressure of capture, bytes/s.
pub fn of_pressure(pressure: u16, readers: usize) -> u64 {
    if pressure <= CALM {
        return UNLIMITED;
    }
    let above = u32::from(pressure.min(TIGHT) - CALM);
    let halvings = (above * HALVINGS).div_ceil(u32::from(TIGHT - CALM));
    (MOST >> halvings) / readers.max(1) as u64
}

/// What a reader may read now. Its workers share it; the thread that hears the supervisor changes its rate.
#[derive(Debug)]
pub struct Bucket {
    tokens: Mutex<Tokens>,
    changed: Condvar,
    paused_ns: AtomicU64,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            tokens: Mutex::new(Tokens::new(Instant::now())),
            changed: Condvar::new(),
            paused_ns: AtomicU64::new(0),
        }
    }
}

impl Bucket {
    /// A new allowance, bytes/s; who waits for the old one looks at it at once.
    pub fn set_rate(&self, rate: u64) {
        self.lock().set_rate(rate, Instant::now());
        self.changed.notify_all();
    }

    /// Pays for what was read, told as the sum of all reading, and waits while that is more than was allowed.
    pub fn settle(&self, read_bytes: u64) {
        let begin = Instant::now();
        let mut tokens = self.lock();
        tokens.settle(read_bytes, begin);
        let mut waited = false;
        loop {
            let wait = tokens.debt(Instant::now());
            if wait.is_zero() {
                break;
            }
            waited = true;
            let woken = self.changed.wait_timeout(tokens, wait);
            tokens = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        if waited {
            self.paused_ns
                .fetch_add(begin.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
    }

    /// For how long its users waited, ns, each counted.
    pub fn paused_ns(&self) -> u64 {
        self.paused_ns.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The arithmetic, without a clock of its own.
#[derive(Debug)]
struct Tokens {
    /// bytes/s.
    rate: u64,
    /// Bytes that may be read; below zero: a debt, which time pays off.
    level: i64,
    at: Instant,
    settled: u64,
}

impl Tokens {
    fn new(now: Instant) -> Self {
        Self {
            rate: UNLIMITED,
            level: BURST_BYTES,
            at: now,
            settled: 0,
        }
    }

    fn set_rate(&mut self, rate: u64, now: Instant) {
        self.refill(now);
        self.rate = rate.max(1);
        self.refill(now);
    }

    fn settle(&mut self, read_bytes: u64, now: Instant) {
        self.refill(now);
        let more = read_bytes.saturating_sub(self.settled);
        self.settled = self.settled.max(read_bytes);
        if self.rate != UNLIMITED {
            self.level = self.level.saturating_sub(i64::try_from(more).unwrap_or(i64::MAX));
        }
    }

    /// How long until nothing is owed.
    fn debt(&mut self, now: Instant) -> Duration {
        self.refill(now);
        let owed = u128::from(self.level.min(0).unsigned_abs());
        // Rounded up: who waits for it finds the debt paid.
        let ns = (owed * 1_000_000_000).div_ceil(u128::from(self.rate));
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    fn refill(&mut self, now: Instant) {
        if self.rate == UNLIMITED {
            (self.level, self.at) = (BURST_BYTES, now);
            return;
        }
        let ns = now.saturating_duration_since(self.at).as_nanos();
        let earned = ns * u128::from(self.rate) / 1_000_000_000;
        if earned == 0 {
            return; // What has passed is not forgotten, however often somebody looks.
        }
        let earned = i64::try_from(earned).unwrap_or(i64::MAX);
        (self.level, self.at) = (self.level.saturating_add(earned).min(BURST_BYTES), now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn more_pressure_never_allows_more_and_never_nothing() {
        for readers in [0, 1, 7, 64] {
            let allowed: Vec<u64> = (0..=FULL).map(|p| of_pressure(p, readers)).collect();
            assert!(allowed.is_sorted_by(|a, b| a >= b));
            assert_eq!(allowed[0], UNLIMITED);
            assert!(allowed[usize::from(FULL)] > 0);
        }
        assert_eq!(of_pressure(FULL, 1), MOST >> HALVINGS);
        assert_eq!(
            of_pressure(u16::MAX, 1),
            MOST >> HALVINGS,
            "whatever capture says"
        );
    }

    #[test]
    fn a_queue_is_full_at_most() {
        assert_eq!((fill(0, 100), fill(25, 100), fill(300, 100)), (0, 250, FULL));
        assert_eq!(
            (fill(0, 0), fill(1, 0), fill(u64::MAX, u64::MAX)),
            (0, FULL, FULL)
        );
    }

    #[test]
    fn a_reader_that_waits_goes_on_once_the_pressure_is_gone() {
        let bucket = Bucket::default();
        bucket.set_rate(1);
        std::thread::scope(|scope| {
            // At one byte a second this would take years.
            let reading = scope.spawn(|| bucket.settle(1 << 30));
            while !reading.is_finished() {
                bucket.set_rate(UNLIMITED);
                std::thread::yield_now();
            }
        });
        bucket.set_rate(1);
        bucket.settle(1 << 30); // Told again: paid for already.
    }

    #[derive(Clone, Debug)]
    enum Step {
        Read(u32),
        Pass(u32),
    }

    proptest! {
        /// Whoever waits as long as he is told never gets ahead of the rate by more than a burst, and what he owes
        /// is always paid by that wait.
        #[test]
        fn reading_stays_below_rate_times_time_and_a_burst(
            rate in 1_000u64..1_000_000_000,
            steps in prop::collection::vec(
                prop_oneof![(0u32..4 << 20).prop_map(Step::Read), (0u32..50_000_000).prop_map(Step::Pass)],
                1..200,
            ),
        ) {
            let begin = Instant::now();
            let (mut now, mut read) = (begin, 0u64);
            let mut tokens = Tokens::new(now);
            tokens.set_rate(rate, now);
            for step in steps {
                match step {
                    Step::Pass(ns) => now += Duration::from_nanos(ns.into()),
                    Step::Read(bytes) => {
                        read += u64::from(bytes);
                        tokens.settle(read, now);
                        now += tokens.debt(now);
                        prop_assert_eq!(tokens.debt(now), Duration::ZERO);
                        let earned = (now - begin).as_secs_f64() * rate as f64;
                        prop_assert!(read as f64 <= earned + BURST_BYTES as f64 + 1.0);
                    }
                }
            }
        }
    }
}
