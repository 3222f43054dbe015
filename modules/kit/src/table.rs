//! A hash table of fixed size, for exact counts by key. Owns open addressing with a bounded search; must never grow, and
//! counts what finds no place.

use crate::hash::{Key, Zeroed};

/// Places that a key is looked for in. With three quarters of the table taken, one key of 10^8 finds none by chance;
/// keys that somebody chose to collide cost no more than this, and are counted as missed.
const PROBES_MAX: usize = 64;

/// Bits of a place that hold the number of its entry.
const NUMBER_BITS: u32 = 16;
/// The others, which hold a part of its key's hash.
const TAG_MASK: u32 = !0 << NUMBER_BITS;

/// A key and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<K, V> {
    /// The key.
    pub key: K,
    /// Its value.
    pub value: V,
}

/// Open addressing with double hashing (Knuth, The Art of Computer Programming, vol. 3, section 6.4) in SLOTS places, a
/// power of two up to 2^16, of which three quarters are used. Entries stand apart, one after the other: what is done once an
/// interval costs as much as there are entries, and not as there are places.
#[derive(Clone)]
pub struct HashTable<K, V, const SLOTS: usize> {
    entries: [Entry<K, V>; SLOTS],
    /// Of each place: a part of its key's hash in the upper half, never zero, and the number of its entry; 0 for a free one.
    places: [u32; SLOTS],
    len: usize,
    missed: u64,
}

impl<K: Key, V: Zeroed, const SLOTS: usize> HashTable<K, V, SLOTS> {
    const MASK: usize = {
        assert!(SLOTS.is_power_of_two() && SLOTS >= 4 && SLOTS <= 1 << NUMBER_BITS);
        SLOTS - 1
    };
    /// Keys that it takes.
    pub const CAPACITY: usize = SLOTS / 4 * 3;
    /// Nothing in it.
    pub const EMPTY: Self = Self {
        entries: [Entry {
            key: K::ZERO,
            value: V::ZERO,
        }; SLOTS],
        places: [0; SLOTS],
        len: 0,
        missed: 0,
    };

    /// The value of a key; zeros where it is new. `None`, and counted in [`missed`](Self::missed), where it finds no
    /// place.
    #[inline(always)]
    pub fn entry(&mut self, key: K) -> Option<&mut V> {
        match self.search(&key) {
            Search::Found(at) => Some(&mut self.entries[at].value),
            Search::Free(at, tag) if self.len < Self::CAPACITY => {
                let number = self.len;
                self.len += 1;
                self.places[at] = tag | number as u32;
                self.entries[number] = Entry { key, value: V::ZERO };
                Some(&mut self.entries[number].value)
            }
            _ => {
                self.missed += 1;
                None
            }
        }
    }

    /// The value of a key that is there.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match self.search(key) {
            Search::Found(at) => Some(&mut self.entries[at].value),
            _ => None,
        }
    }

    /// Keys in the table.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Calls of [`entry`](Self::entry) that found no place, since the last [`clear`](Self::clear).
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Every key with its value, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &Entry<K, V>> {
        self.entries[..self.len].iter()
    }

    /// Hands over every entry, ascending by `order` of its key, and clears the table: it is sorted where it stands. Each
    /// key is replaced by its `order`, which is computed once.
    pub fn drain_sorted<O>(&mut self, order: impl Fn(K) -> K, with: impl FnOnce(&[Entry<K, V>]) -> O) -> O
    where
        K: Ord,
    {
        let entries = &mut self.entries[..self.len];
        for entry in &mut *entries {
            entry.key = order(entry.key);
        }
        entries.sort_unstable_by_key(|entry| entry.key);
        let out = with(entries);
        self.clear();
        out
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.places.fill(0);
        self.len = 0;
        self.missed = 0;
    }

    #[inline(always)]
    fn search(&self, key: &K) -> Search {
        let hash = key.hash();
        let tag = (hash >> 32) as u32 & TAG_MASK | 1 << NUMBER_BITS;
        // Odd, so that it visits every place of a power of two.
        let step = (hash >> 32) as usize | 1;
        let mut at = hash as usize & Self::MASK;
        for _ in 0..PROBES_MAX {
            let place = self.places[at];
            if place == 0 {
                return Search::Free(at, tag);
            }
            if place & TAG_MASK == tag {
                let number = (place & !TAG_MASK) as usize & Self::MASK;
                if self.entries[number].key.is(key) {
                    return Search::Found(number);
                }
            }
            at = at.wrapping_add(step) & Self::MASK;
        }
        Search::Missed
    }
}

enum Search {
    /// The number of its entry.
    Found(usize),
    /// Where the key belongs, and its tag.
    Free(usize, u32),
    Missed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    #[test]
    fn three_quarters_fit_and_the_rest_is_counted() {
        let mut table = HashTable::<u64, u64, 4096>::EMPTY;
        for key in 0..4000u64 {
            if let Some(value) = table.entry(key) {
                *value = key;
            }
        }
        assert_eq!((table.len(), table.missed()), (3072, 4000 - 3072));
        assert_eq!(table.get_mut(&3), Some(&mut 3));
        assert_eq!(table.get_mut(&3999), None);
        assert!(table.entry(5).is_some(), "what is there is still found");
        table.clear();
        assert!(table.is_empty() && table.iter().next().is_none() && table.missed() == 0);
    }

    /// All keys in one place of the table: the search stays short, the rest is counted.
    #[test]
    fn keys_that_collide_cost_a_bounded_search() {
        #[derive(Clone, Copy, PartialEq, Eq)]
        struct Colliding(u64);
        impl Zeroed for Colliding {
            const ZERO: Self = Self(0);
        }
        impl Key for Colliding {
            fn hash(&self) -> u64 {
                7
            }
        }
        let mut table = HashTable::<Colliding, u64, 1024>::EMPTY;
        (0..500).for_each(|key| {
            table.entry(Colliding(key));
        });
        assert_eq!(
            (table.len(), table.missed()),
            (PROBES_MAX, 500 - PROBES_MAX as u64)
        );
        assert!(table.entry(Colliding(0)).is_some());
    }

    proptest! {
        #[test]
        fn counts_as_an_ordered_map_does(keys in prop::collection::vec(0u64..3000, 0..2500)) {
            let mut table = HashTable::<[u64; 2], u64, 4096>::EMPTY;
            let mut exact: BTreeMap<[u64; 2], u64> = BTreeMap::new();
            for key in &keys {
                *table.entry([*key, !key]).expect("fewer than fit") += 1;
                *exact.entry([*key, !key]).or_default() += 1;
            }
            let mut found: Vec<_> = table.iter().map(|e| (e.key, e.value)).collect();
            found.sort_unstable();
            let expected: Vec<_> = exact.into_iter().collect();
            prop_assert_eq!(&found, &expected);
            let sorted = table.drain_sorted(
                |key| key,
                |entries| entries.iter().map(|e| (e.key, e.value)).collect::<Vec<_>>(),
            );
            prop_assert_eq!(&sorted, &expected);
            prop_assert!(table.is_empty());
        }
    }
}
