//! Memory of blocks that is used again: what a block needs is larger than what an allocator keeps, and fresh memory costs
//! a page fault for each 4 KiB. Must never keep more than it was made for.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Spare buffers, the last one given first: it is the likeliest to be in a core's cache.
pub struct Spares<T>(Arc<Shared<T>>);

struct Shared<T> {
    most: usize,
    kept: Mutex<Vec<T>>,
}

impl<T> Clone for Spares<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Spares<T> {
    /// Keeps at most so many.
    pub fn new(most: usize) -> Self {
        let kept = Mutex::new(Vec::with_capacity(most));
        Self(Arc::new(Shared { most, kept }))
    }

    /// One that was given, with whatever it holds.
    pub fn take(&self) -> Option<T> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Keeps one, as long as there is room.
    pub fn give(&self, spare: T) {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < self.0.most {
            kept.push(spare);
        }
    }

    /// Makes a value come back here once nobody holds it any more.
    pub fn lend(&self, value: T) -> Lent<T> {
        Lent {
            value: Some(value),
            home: Some(self.clone()),
        }
    }
}

/// A value whose memory goes back to where it is from.
pub struct Lent<T> {
    /// There until the drop.
    value: Option<T>,
    home: Option<Spares<T>>,
}

impl<T> Lent<T> {
    /// A value that is nobody else's.
    pub fn own(value: T) -> Self {
        Self {
            value: Some(value),
            home: None,
        }
    }
}

impl<T> Deref for Lent<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("a value is there until the drop")
    }
}

impl<T> DerefMut for Lent<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("a value is there until the drop")
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        if let (Some(value), Some(home)) = (self.value.take(), &self.home) {
            home.give(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_given_comes_first_and_no_more_are_kept_than_agreed() {
        let spares = Spares::new(2);
        let lent: Vec<_> = (1..=3).map(|n| spares.lend(vec![n; n])).collect();
        assert_eq!(spares.take(), None, "they are in use");
        assert_eq!(lent[2][..], [3; 3]);
        drop((lent, Lent::own(vec![4])));
        assert_eq!(
            [spares.take(), spares.take(), spares.take()],
            [Some(vec![2; 2]), Some(vec![1]), None]
        );
    }
}
