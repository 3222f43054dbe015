//! Places for blocks between source and storage. Whoever makes a block takes one, whoever hands it on gives it back.
//! Must never have more blocks in flight than places.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::allowance;

/// The taking end.
#[derive(Clone)]
pub(super) struct Permits(Arc<Shared>);

/// The giving end; without it nobody waits for a place any more.
pub(super) struct PermitsBack(Permits);

struct Shared {
    places: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    free: usize,
    closed: bool,
}

impl Permits {
    /// So many places, all free.
    pub fn new(places: usize) -> (Self, PermitsBack) {
        let state = State {
            free: places,
            closed: false,
        };
        let permits = Self(Arc::new(Shared {
            places,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }));
        (permits.clone(), PermitsBack(permits))
    }

    /// Waits for a place and takes it; false: none will ever be free.
    pub fn take(&self) -> bool {
        let mut state = self.lock();
        while state.free == 0 && !state.closed {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.take()
    }

    /// Takes a place where one is free.
    pub fn try_take(&self) -> bool {
        let mut state = self.lock();
        // Who has nobody to hand blocks to finds out by handing one on.
        state.take() || state.closed
    }

    /// Nobody waits for a place any more: there will be none.
    pub fn close(&self) {
        self.lock().closed = true;
        self.0.changed.notify_all();
    }

    /// Whether so many are free, or half of all where there are few.
    pub fn has(&self, places: usize) -> bool {
        let state = self.lock();
        state.closed || state.free >= places.min(self.0.places.div_ceil(2))
    }

    /// How many of the places are taken, per mille.
    pub fn fill(&self) -> u16 {
        let places = self.0.places;
        allowance::fill((places - self.lock().free) as u64, places as u64)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PermitsBack {
    /// A block was handed on.
    pub fn give(&self) {
        let mut state = self.0.lock();
        state.free = (state.free + 1).min(self.0.0.places);
        self.0.0.changed.notify_one();
    }
}

impl Drop for PermitsBack {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl State {
    fn take(&mut self) -> bool {
        let there = self.free > 0;
        self.free -= usize::from(there);
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_and_given_back_and_nobody_waits_for_ever() {
        let (permits, back) = Permits::new(2);
        assert!(permits.take() && permits.try_take() && !permits.try_take());
        assert_eq!((permits.fill(), permits.has(1)), (1000, false));
        back.give();
        assert_eq!((permits.fill(), permits.has(1)), (500, true));
        assert!(permits.has(2), "half of them");
        assert!(permits.take() && !permits.has(2));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| permits.take());
            drop(back);
            assert!(!waiting.join().unwrap(), "there is nobody to give one back");
        });
        assert!(permits.try_take() && permits.has(2));
    }
}
