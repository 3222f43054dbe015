//! Which items weigh most. Owns Space-Saving: a fixed number of items is tracked, and an untracked one takes the place
//! of the lightest.

use crate::hash::{Key, Zeroed};

/// An item that is tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked<K, V> {
    /// The item.
    pub key: K,
    /// Its weight, or more.
    pub weight: u64,
    /// By how much `weight` may be too high: what the item that it replaced had. 0 where it was tracked all along.
    pub error: u64,
    /// What the module counts beside, since the item is tracked.
    pub value: V,
}

/// A place of the heap.
#[derive(Clone, Copy)]
struct Place {
    weight: u64,
    item: u16,
}

/// The heaviest items (Space-Saving; Metwally, Agrawal, El Abbadi: "Efficient computation of frequent and top-k
/// elements in data streams", 2005), with weights, and a value of the module's own beside each.
///
/// With N the sum of all weights: every item of more than N / SLOTS is tracked; a tracked item's `weight` is never too
/// low, and too high by at most `error` <= N / SLOTS. With up to SLOTS items everything is exact.
///
/// The tracked items stand in chains by hash and in a heap by weight. An update costs the steps of one chain, about
/// two (all of them where somebody can choose hashes: [`hash`](crate::hash::hash)), and log2(SLOTS) of the heap.
/// SLOTS is a power of two below 65536.
#[derive(Clone)]
pub struct TopK<K, V, const SLOTS: usize> {
    items: [Tracked<K, V>; SLOTS],
    len: usize,
    /// Weights with their items, the lightest first: a binary heap.
    heap: [Place; SLOTS],
    /// Where in the heap each item stands.
    place: [u16; SLOTS],
    /// First item of each chain plus one, 0 for none.
    first: [u16; SLOTS],
    /// The item after each in its chain, likewise.
    next: [u16; SLOTS],
}

impl<K: Key, V: Zeroed, const SLOTS: usize> TopK<K, V, SLOTS> {
    const CHAIN_MASK: u64 = {
        assert!(SLOTS.is_power_of_two() && SLOTS < 1 << 16);
        SLOTS as u64 - 1
    };
    /// Nothing tracked.
    pub const EMPTY: Self = Self {
        items: [Tracked {
            key: K::ZERO,
            weight: 0,
            error: 0,
            value: V::ZERO,
        }; SLOTS],
        len: 0,
        heap: [Place { weight: 0, item: 0 }; SLOTS],
        place: [0; SLOTS],
        first: [0; SLOTS],
        next: [0; SLOTS],
    };

    /// Adds to an item's weight; gives the value that stands beside it.
    pub fn add(&mut self, key: K, weight: u64) -> &mut V {
        let chain = Self::chain(&key);
        let item = match self.find(chain, &key) {
            Some(item) => {
                self.items[item].weight += weight;
                self.sink(usize::from(self.place[item]), item);
                item
            }
            None if self.len < SLOTS => self.append(chain, key, weight),
            None => self.replace_lightest(chain, key, weight),
        };
        &mut self.items[item].value
    }

    /// What is tracked, in no order of use: a module picks with [`Best`](crate::Best).
    pub fn items(&self) -> &[Tracked<K, V>] {
        &self.items[..self.len]
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.len = 0;
        self.first.fill(0);
    }

    fn chain(key: &K) -> usize {
        (key.hash() & Self::CHAIN_MASK) as usize
    }

    fn find(&self, chain: usize, key: &K) -> Option<usize> {
        let mut at = self.first[chain];
        while at != 0 {
            let item = usize::from(at) - 1;
            if self.items[item].key == *key {
                return Some(item);
            }
            at = self.next[item];
        }
        None
    }

    fn append(&mut self, chain: usize, key: K, weight: u64) -> usize {
        let item = self.len;
        self.len += 1;
        self.put(item, chain, key, weight, 0);
        self.rise(item, item);
        item
    }

    /// The new item inherits the weight of the one that it replaces, as its possible error.
    fn replace_lightest(&mut self, chain: usize, key: K, weight: u64) -> usize {
        let item = usize::from(self.heap[0].item);
        let old = self.items[item];
        self.unlink(item, Self::chain(&old.key));
        self.put(item, chain, key, old.weight + weight, old.weight);
        self.sink(0, item);
        item
    }

    fn put(&mut self, item: usize, chain: usize, key: K, weight: u64, error: u64) {
        self.items[item] = Tracked {
            key,
            weight,
            error,
            value: V::ZERO,
        };
        self.next[item] = self.first[chain];
        self.first[chain] = item as u16 + 1;
    }

    fn unlink(&mut self, item: usize, chain: usize) {
        let link = item as u16 + 1;
        if self.first[chain] == link {
            self.first[chain] = self.next[item];
            return;
        }
        let mut at = usize::from(self.first[chain]) - 1;
        while self.next[at] != link {
            at = usize::from(self.next[at]) - 1;
        }
        self.next[at] = self.next[item];
    }

    /// Puts an item at `at` or above: whatever is heavier moves down.
    fn rise(&mut self, mut at: usize, item: usize) {
        let weight = self.items[item].weight;
        while at > 0 && self.heap[(at - 1) / 2].weight > weight {
            self.settle(at, self.heap[(at - 1) / 2]);
            at = (at - 1) / 2;
        }
        self.settle(
            at,
            Place {
                weight,
                item: item as u16,
            },
        );
    }

    /// Puts an item at `at` or below: whatever is lighter moves up.
    fn sink(&mut self, mut at: usize, item: usize) {
        let weight = self.items[item].weight;
        let heap_len = self.len;
        while 2 * at + 1 < heap_len {
            let left = 2 * at + 1;
            let right_is_lighter = left + 1 < heap_len && self.heap[left + 1].weight < self.heap[left].weight;
            let child = left + usize::from(right_is_lighter);
            let lighter = self.heap[child];
            if lighter.weight >= weight {
                break;
            }
            self.settle(at, lighter);
            at = child;
        }
        self.settle(
            at,
            Place {
                weight,
                item: item as u16,
            },
        );
    }

    fn settle(&mut self, at: usize, place: Place) {
        self.heap[at] = place;
        self.place[usize::from(place.item)] = at as u16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    #[test]
    fn few_items_are_counted_exactly() {
        let mut top = TopK::<u64, u64, 16>::EMPTY;
        for (key, weight) in [(7, 10), (9, 1), (7, 5), (8, 3), (9, 1)] {
            *top.add(key, weight) += 1;
        }
        let mut found: Vec<_> = top
            .items()
            .iter()
            .map(|t| (t.key, t.weight, t.error, t.value))
            .collect();
        found.sort_unstable();
        assert_eq!(found, [(7, 15, 0, 2), (8, 3, 0, 1), (9, 2, 0, 2)]);
        top.clear();
        assert!(top.items().is_empty());
    }

    proptest! {
        /// The paper's guarantees, against exact counts: whatever the items and weights.
        #[test]
        fn heavy_items_are_tracked_and_every_error_is_told(
            stream in prop::collection::vec((0u64..60, 0u64..1000), 0..600),
        ) {
            const SLOTS: usize = 16;
            let mut top = TopK::<u64, u64, SLOTS>::EMPTY;
            let mut exact: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
            for (key, weight) in &stream {
                *top.add(*key, *weight) += 1;
                let sum = exact.entry(*key).or_default();
                *sum = (sum.0 + weight, sum.1 + 1);
            }
            let total: u64 = stream.iter().map(|(_, weight)| weight).sum();
            let tracked: BTreeMap<u64, _> = top.items().iter().map(|t| (t.key, *t)).collect();
            prop_assert_eq!(tracked.len(), exact.len().min(SLOTS));
            prop_assert_eq!(top.items().iter().map(|t| t.weight).sum::<u64>(), total);
            for (key, (weight, packets)) in &exact {
                match tracked.get(key) {
                    Some(t) => {
                        prop_assert!(t.weight >= *weight && t.weight - t.error <= *weight);
                        prop_assert!(t.error <= total / SLOTS as u64 && t.value <= *packets);
                        prop_assert!(t.error > 0 || t.weight == *weight);
                    }
                    None => prop_assert!(*weight <= total / SLOTS as u64),
                }
            }
        }
    }
}
