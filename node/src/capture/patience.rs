//! How long a file waits for a live module. A link waits for nobody; a file would otherwise be over before its modules have
//! seen a tenth of it. Must never let one module stop the trace: it may slow a file down, within bounds.

use std::thread;
use std::time::{Duration, Instant};

/// A module may take so long to begin.
const GRACE: Duration = Duration::from_secs(2);
/// Beyond that, it may be waited for so many times as long as everything else takes...
const TIMES: u32 = 4;
/// ...and for so long without taking anything; from then on it is not waited for until it does.
const AT_ONCE: Duration = GRACE;
/// How often it is looked whether there is room.
const LOOK: Duration = Duration::from_micros(500);

/// What one consumer has been waited for.
pub(super) struct Patience {
    since: Instant,
    waited: Duration,
    /// Since it took something.
    stalled: Duration,
}

impl Patience {
    pub fn new() -> Self {
        Self {
            since: Instant::now(),
            waited: Duration::ZERO,
            stalled: Duration::ZERO,
        }
    }

    /// It took something.
    pub fn took(&mut self) {
        self.stalled = Duration::ZERO;
    }

    /// Waits for a moment; false: it was waited for too long already.
    pub fn wait(&mut self) -> bool {
        let waited = self.waited;
        if self.stalled >= AT_ONCE || waited >= allowed(self.since.elapsed(), waited) {
            return false;
        }
        let before = Instant::now();
        thread::sleep(LOOK);
        let took = before.elapsed();
        self.waited += took;
        self.stalled += took;
        true
    }
}

/// How much of `elapsed`, `waited` of which was waiting, may be waiting.
fn allowed(elapsed: Duration, waited: Duration) -> Duration {
    GRACE + elapsed.saturating_sub(waited) * TIMES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_takes_nothing_slows_a_file_down_fivefold_and_no_more() {
        let [mut busy, mut waited] = [Duration::ZERO; 2];
        let (block, look) = (Duration::from_millis(1), Duration::from_millis(2));
        for _ in 0..20_000 {
            busy += block;
            while waited < allowed(busy + waited, waited) {
                waited += look;
            }
        }
        assert!(waited >= busy * TIMES && waited <= GRACE + busy * TIMES + look);
    }

    #[test]
    fn a_moment_is_waited_for_at_first() {
        let mut patience = Patience::new();
        assert!(patience.wait() && patience.waited >= LOOK);
        patience.waited = GRACE * 2;
        assert!(!patience.wait());
    }

    #[test]
    fn whoever_stalls_is_not_waited_for_until_it_takes_something() {
        let mut patience = Patience::new();
        patience.stalled = AT_ONCE;
        assert!(!patience.wait() && !patience.wait());
        patience.took();
        assert!(patience.wait());
    }
}
