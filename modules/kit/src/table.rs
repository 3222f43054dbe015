//! A hash table of fixed size, for exact counts by key. Owns open addressing with a bounded search; must never grow, and
//! counts what finds no place.

use crate::hash::{Key, Zeroed};

/// Places that a key is looked for in. With three quarters of the table taken, one key of 10^8 finds none by chance;
/// keys that somebody chose to collide cost no more than this, and are counted as missed.
const PROBES_MAX: usize = 64;

/// A key and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<K, V> {
    /// The key.
    pub key: K,
    /// Its value.
    pub value: V,
}

/// Open addressing with double hashing (Knuth, The Art of Computer Programming, vol. 3, section 6.4) in SLOTS places, a
/// power of two, of which three quarters are used.
#[derive(Clone)]
pub struct HashTable<K, V, const SLOTS: usize> {
    entries: [Entry<K, V>; SLOTS],
    /// Upper half of each key's hash with the lowest bit set; 0 for a free place.
    tags: [u32; SLOTS],
    len: usize,
    missed: u64,
}

impl<K: Key, V: Zeroed, const SLOTS: usize> HashTable<K, V, SLOTS> {
    const MASK: usize = {
        assert!(SLOTS.is_power_of_two() && SLOTS >= 4);
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
        tags: [0; SLOTS],
        len: 0,
        missed: 0,
    };

    /// The value of a key; zeros where it is new. `None`, and counted in [`missed`](Self::missed), where it finds no
    /// place.
    pub fn entry(&mut self, key: K) -> Option<&mut V> {
        match self.search(&key) {
            Search::Found(at) => Some(&mut self.entries[at].value),
            Search::Free(at, tag) if self.len < Self::CAPACITY => {
                self.len += 1;
                self.tags[at] = tag;
                self.entries[at] = Entry { key, value: V::ZERO };
                Some(&mut self.entries[at].value)
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

    /// Every key with its value, in an order that depends on what was put in, and on nothing else.
    pub fn iter(&self) -> impl Iterator<Item = &Entry<K, V>> {
        let taken = self.tags.iter().zip(&self.entries);
        taken.filter(|(tag, _)| **tag != 0).map(|(_, entry)| entry)
    }

    /// Hands over every entry, ascending by `order` of its key, and clears the table: it is sorted where it stands. Each
    /// key is replaced by its `order`, which is computed once.
    pub fn drain_sorted<O>(&mut self, order: impl Fn(K) -> K, with: impl FnOnce(&[Entry<K, V>]) -> O) -> O
    where
        K: Ord,
    {
        let mut to = 0;
        for from in 0..SLOTS {
            if self.tags[from] != 0 {
                let Entry { key, value } = self.entries[from];
                self.entries[to] = Entry {
                    key: order(key),
                    value,
                };
                to += 1;
            }
        }
        let entries = &mut self.entries[..to];
        entries.sort_unstable_by_key(|entry| entry.key);
        let out = with(entries);
        self.clear();
        out
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.tags.fill(0);
        self.len = 0;
        self.missed = 0;
    }

    fn search(&self, key: &K) -> Search {
        let hash = key.hash();
        let tag = (hash >> 32) as u32 | 1;
        // Odd, so that it visits every place of a power of two.
        let step = tag as usize;
        let mut at = hash as usize & Self::MASK;
        for _ in 0..PROBES_MAX {
            if self.tags[at] == 0 {
                return Search::Free(at, tag);
            }
            if self.tags[at] == tag && self.entries[at].key == *key {
                return Search::Found(at);
            }
            at = at.wrapping_add(step) & Self::MASK;
        }
        Search::Missed
    }
}

enum Search {
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
