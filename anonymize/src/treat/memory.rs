//! Pseudonyms that were just computed, for the addresses that packets repeat. Owns tables of fixed size, shared by all
//! threads without a lock. Must never change a result: each is a function of key and input alone, so that a table that
//! forgets, or was never asked, makes no difference but time. Holds what is as secret as the keys, and goes with them.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use zeroize::optimization_barrier;

/// IPv4 addresses (8 bytes each).
const IPV4_ADDRESSES: usize = 1 << 14;
/// IPv6 addresses (40 bytes each).
const IPV6_ADDRESSES: usize = 1 << 11;
/// MAC addresses (24 bytes each).
const MACS: usize = 1 << 10;
/// Senders of IPv4 packets (24 bytes each), whose identifications are rotated by parts of a block.
const SENDERS: usize = 1 << 12;
/// Directions of IPv6 flows (64 bytes each), whose offsets take three blocks one after the other.
const IPV6_FLOWS: usize = 1 << 10;
/// Identifiers of tunnels and associations, of each kind (8 bytes each), which take eight.
const IDENTIFIERS: usize = 1 << 10;

/// What one anonymizer remembers: about 450 KiB.
pub(super) struct Memory {
    pub ipv4: Pairs,
    pub ipv6: Memo<2, 2>,
    pub mac: Memo<1, 1>,
    pub ip_id_host: Memo<1, 1>,
    pub ipv6_flow: Memo<5, 2>,
    pub spi: Pairs,
    pub teid: Pairs,
    pub gre_key: Pairs,
    pub sctp_tag: Pairs,
}

impl Memory {
    pub fn new() -> Self {
        Memory {
            ipv4: Pairs::new(IPV4_ADDRESSES),
            ipv6: Memo::new(IPV6_ADDRESSES),
            mac: Memo::new(MACS),
            ip_id_host: Memo::new(SENDERS),
            ipv6_flow: Memo::new(IPV6_FLOWS),
            spi: Pairs::new(IDENTIFIERS),
            teid: Pairs::new(IDENTIFIERS),
            gre_key: Pairs::new(IDENTIFIERS),
            sctp_tag: Pairs::new(IDENTIFIERS),
        }
    }
}

/// Pairs of 32 bits, each in one word: the value below its key. An empty slot is zero; so is the pair of zeros, which is
/// thus never found.
pub(super) struct Pairs(Box<[AtomicU64]>);

impl Pairs {
    /// `slots`: a power of two.
    fn new(slots: usize) -> Self {
        Pairs((0..slots).map(|_| AtomicU64::new(0)).collect())
    }

    pub fn find(&self, key: u32) -> Option<u32> {
        let pair = self.slot(key).load(Ordering::Relaxed);
        (pair != 0 && (pair >> 32) as u32 == key).then_some(pair as u32)
    }

    /// What was kept, or what `compute` gives, which is kept.
    pub fn of(&self, key: u32, compute: impl FnOnce(u32) -> u32) -> u32 {
        self.find(key).unwrap_or_else(|| {
            let value = compute(key);
            self.keep(key, value);
            value
        })
    }

    pub fn keep(&self, key: u32, value: u32) {
        let pair = u64::from(key) << 32 | u64::from(value);
        self.slot(key).store(pair, Ordering::Relaxed);
    }

    fn slot(&self, key: u32) -> &AtomicU64 {
        &self.0[slot_of([key.into()], self.0.len())]
    }
}

impl Drop for Pairs {
    fn drop(&mut self) {
        wipe(&self.0);
    }
}

/// Pairs of `KEY` and `VALUE` words.
pub(super) struct Memo<const KEY: usize, const VALUE: usize>(Box<[Slot<KEY, VALUE>]>);

/// A sequence lock (Boehm, "Can seqlocks get along with programming language memory models?", 2012): its version is odd
/// while somebody writes, and 0 before anybody did. Who meets a writer goes without.
struct Slot<const KEY: usize, const VALUE: usize> {
    version: AtomicU64,
    key: [AtomicU64; KEY],
    value: [AtomicU64; VALUE],
}

impl<const KEY: usize, const VALUE: usize> Memo<KEY, VALUE> {
    /// `slots`: a power of two.
    fn new(slots: usize) -> Self {
        let empty = |_| Slot {
            version: AtomicU64::new(0),
            key: [const { AtomicU64::new(0) }; KEY],
            value: [const { AtomicU64::new(0) }; VALUE],
        };
        Memo((0..slots).map(empty).collect())
    }

    pub fn find(&self, key: [u64; KEY]) -> Option<[u64; VALUE]> {
        let slot = &self.0[slot_of(key, self.0.len())];
        let version = slot.version.load(Ordering::Acquire);
        let (found, value) = (words(&slot.key), words(&slot.value));
        fence(Ordering::Acquire);
        let is_whole =
            version != 0 && version.is_multiple_of(2) && slot.version.load(Ordering::Relaxed) == version;
        (is_whole && found == key).then_some(value)
    }

    pub fn keep(&self, key: [u64; KEY], value: [u64; VALUE]) {
        let slot = &self.0[slot_of(key, self.0.len())];
        let version = slot.version.load(Ordering::Relaxed);
        let is_ours = version.is_multiple_of(2)
            && slot
                .version
                .compare_exchange(version, version + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        if !is_ours {
            return;
        }
        fence(Ordering::Release);
        set(&slot.key, key);
        set(&slot.value, value);
        slot.version.store(version + 2, Ordering::Release);
    }
}

impl<const KEY: usize, const VALUE: usize> Drop for Memo<KEY, VALUE> {
    fn drop(&mut self) {
        for slot in &self.0 {
            wipe(&slot.key);
            wipe(&slot.value);
        }
    }
}

fn words<const N: usize>(of: &[AtomicU64; N]) -> [u64; N] {
    std::array::from_fn(|at| of[at].load(Ordering::Relaxed))
}

fn set<const N: usize>(of: &[AtomicU64; N], to: [u64; N]) {
    for (word, value) in of.iter().zip(to) {
        word.store(value, Ordering::Relaxed);
    }
}

fn wipe(words: &[AtomicU64]) {
    for word in words {
        word.store(0, Ordering::Relaxed);
    }
    optimization_barrier(words);
}

/// Multiplicative hashing, which spreads neighbours: addresses of one network share no slot.
fn slot_of<const WORDS: usize>(key: [u64; WORDS], slots: usize) -> usize {
    let mixed = key.into_iter().fold(0, |mixed: u64, word| {
        (mixed.rotate_left(32) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    (mixed >> (u64::BITS - slots.trailing_zeros())) as usize
}

#[cfg(test)]
mod tests {
    use std::thread;

    use como_keys::mapping::MappingKey;
    use proptest::prelude::*;

    use super::super::Anonymizer;
    use super::super::address::Address;
    use super::super::ipsec::PORTS;
    use super::*;

    /// More addresses than slots, in an order that comes back to them: what is remembered is what is computed.
    #[test]
    fn pseudonyms_do_not_depend_on_what_is_remembered() {
        let anonymizer = Anonymizer::new(&MappingKey::from_bytes(&[9; 32]));
        let spread = |n: u32| n.wrapping_mul(2_654_435_761);
        let mut v4: Vec<u32> = (0..20_000)
            .map(spread)
            .chain((0..20_000).map(|n| spread(n / 3)))
            .collect();
        let remembered: Vec<u32> = v4.iter().map(|address| anonymizer.map_v4(*address)).collect();
        anonymizer.map_all_v4(&mut v4);
        assert!(remembered == v4);
        let wide = |n: u32| u128::from(spread(n)) << 96 | u128::from(spread(n % 7)) << 3 | 1;
        let mut v6: Vec<u128> = (0..3000)
            .map(wide)
            .chain((0..3000).map(|n| wide(n / 3)))
            .collect();
        let remembered: Vec<u128> = v6.iter().map(|address| anonymizer.map_v6(*address)).collect();
        anonymizer.map_all_v6(&mut v6);
        assert!(remembered == v6);
        for n in (0..3000).chain((0..3000).map(|n| n / 3)) {
            let [a, b, c, d] = spread(n).to_be_bytes();
            let mac = [2, a, b, c, d, 7];
            assert_eq!(anonymizer.map_mac(mac), anonymizer.compute_mac(mac));
            let (src, dst) = (Address::V6(wide(n)), Address::V6(wide(n / 2)));
            let again = anonymizer.sequence_block(src, dst, n, PORTS);
            assert_eq!(again, anonymizer.compute_sequence_block(src, dst, n, PORTS));
            let spi = anonymizer
                .memory
                .spi
                .of(n, |spi| anonymizer.keys.spi.map32(spi, 0));
            assert_eq!(spi, anonymizer.keys.spi.map32(n, 0));
        }
    }

    #[test]
    fn nothing_is_found_that_was_not_kept() {
        let (pairs, memo) = (Pairs::new(4), Memo::<2, 2>::new(4));
        for key in 0..100 {
            assert_eq!((pairs.find(key), memo.find([0, key.into()])), (None, None));
        }
        pairs.keep(0, 9);
        memo.keep([0, 0], [5, 6]);
        assert_eq!((pairs.find(0), memo.find([0, 0])), (Some(9), Some([5, 6])));
    }

    proptest! {
        /// Many keys in few slots: what is found is what was kept last under that very key.
        #[test]
        fn a_slot_tells_of_its_own_key_alone(keys in prop::collection::vec((0u32..64, any::<u32>()), 0..200)) {
            let (pairs, memo) = (Pairs::new(8), Memo::<2, 2>::new(8));
            let mut last = std::collections::HashMap::new();
            for (key, value) in keys {
                let wide = [u64::from(key), u64::from(!key)];
                for found in [pairs.find(key).map(u64::from), memo.find(wide).map(|value| value[1])] {
                    prop_assert!(found.is_none() || found == last.get(&key).copied());
                }
                pairs.keep(key, value);
                memo.keep(wide, [0, value.into()]);
                last.insert(key, value.into());
                prop_assert_eq!(memo.find(wide), Some([0, value.into()]));
            }
        }
    }

    /// Threads that write the same slots all the time: nobody reads half of one pair and half of another.
    #[test]
    fn no_pair_is_torn() {
        let memo = Memo::<2, 2>::new(2);
        let value = |key: [u64; 2]| key.map(|word| word.wrapping_mul(0x0101_0101_0101_0101) ^ 0x5a);
        thread::scope(|scope| {
            for thread in 0..4u64 {
                let memo = &memo;
                scope.spawn(move || {
                    for n in 0..50_000 {
                        let key = [(n * 7 + thread) % 5, (n * 3 + thread) % 3];
                        match memo.find(key) {
                            Some(found) => assert_eq!(found, value(key)),
                            None => memo.keep(key, value(key)),
                        }
                    }
                });
            }
        });
    }
}
