//! A keyed Bloom filter (Bloom, 1970) of addresses and pairs of addresses. Says "surely not here" or "perhaps". Its
//! key is random and sealed with it: who sends packets cannot choose addresses that meet in it.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::trace::TraceError;
use crate::trace::codec::{Reader, put_u32};

/// Bits that each item sets.
const BITS_PER_ITEM: u32 = 4;
/// Largest filter, bytes: of a whole segment.
const MAX_BYTES: usize = 64 << 10;
/// Smallest that folding leaves, bytes.
const MIN_BYTES: usize = 64;
/// A filter with at most this share of its bits set is folded to half its size, in percent: then at most twice as
/// many are set, and fewer than one in a hundred other items are found.
const FOLD_BELOW_PERCENT: usize = 15;

/// The filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::trace) struct Bloom {
    key: [u8; 16],
    words: Vec<u64>,
}

impl Bloom {
    /// An empty filter of a whole segment, which is folded once it is full.
    pub fn of_segment() -> Self {
        Self::empty(MAX_BYTES)
    }

    /// An empty filter of `bytes`, a power of two.
    pub fn empty(bytes: usize) -> Self {
        Self {
            key: como_keys::random(),
            words: vec![0; bytes / 8],
        }
    }

    /// Adds both addresses of a flow, and that they are a pair.
    pub fn insert_ends(&mut self, ends: &[[u8; 16]; 2]) {
        self.insert(self.hash(&[ends[0]]));
        self.insert(self.hash(&[ends[1]]));
        self.insert(self.hash(ends));
    }

    /// Whether an address may be here.
    pub fn may_have(&self, address: &[u8; 16]) -> bool {
        self.has(self.hash(&[*address]))
    }

    /// Whether two addresses may be here as the ends of one flow; the order does not matter.
    pub fn may_have_pair(&self, a: &[u8; 16], b: &[u8; 16]) -> bool {
        self.has(self.hash(&[*a.min(b), *a.max(b)]))
    }

    /// Halves the filter while it stays sparse.
    pub fn fold(&mut self) {
        let half = |words: &[u64]| words.len() / 2;
        while half(&self.words) * 8 >= MIN_BYTES
            && self.set_bits() * 100 <= self.bits() as usize * FOLD_BELOW_PERCENT
        {
            let upper = self.words.split_off(half(&self.words));
            self.words
                .iter_mut()
                .zip(upper)
                .for_each(|(word, more)| *word |= more);
        }
    }

    /// Appends the stored form: key, words, bits.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key);
        put_u32(out, self.words.len() as u32);
        self.words
            .iter()
            .for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    }

    /// Reads what [`Bloom::encode`] wrote.
    pub fn decode(input: &mut Reader<'_>) -> Result<Self, TraceError> {
        let (key, count) = (input.array()?, input.u32()? as usize);
        if !count.is_power_of_two() || count > MAX_BYTES / 8 {
            return Err(TraceError::damaged(0, "a filter has no possible size"));
        }
        let words = input.bytes(count * 8)?.as_chunks().0;
        Ok(Self {
            key,
            words: words.iter().map(|word| u64::from_le_bytes(*word)).collect(),
        })
    }

    fn set_bits(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn bits(&self) -> u64 {
        self.words.len() as u64 * 64
    }

    fn hash(&self, parts: &[[u8; 16]]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        parts.iter().for_each(|part| hasher.write(part));
        hasher.finish()
    }

    fn insert(&mut self, hash: u64) {
        for bit in positions(hash, self.bits()) {
            self.words[(bit / 64) as usize] |= 1 << (bit % 64);
        }
    }

    fn has(&self, hash: u64) -> bool {
        positions(hash, self.bits()).all(|bit| self.words[(bit / 64) as usize] >> (bit % 64) & 1 == 1)
    }
}

/// Double hashing (Kirsch, Mitzenmacher, 2006). `bits` is a power of two, so that the low bits of a position stay in a
/// folded filter.
fn positions(hash: u64, bits: u64) -> impl Iterator<Item = u64> {
    let (first, step) = (hash, hash.rotate_right(32) | 1);
    (0..u64::from(BITS_PER_ITEM)).map(move |n| first.wrapping_add(n.wrapping_mul(step)) & (bits - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> [u8; 16] {
        (u128::from(n) | 0xffff << 32).to_be_bytes()
    }

    fn filled(flows: u32) -> Bloom {
        let mut filter = Bloom::of_segment();
        (0..flows).for_each(|n| filter.insert_ends(&[address(n), address(n + 1)]));
        filter.fold();
        filter
    }

    #[test]
    fn it_misses_nothing_and_finds_little_else() {
        for flows in [1, 100, 10_000, 30_000] {
            let filter = filled(flows);
            assert!(
                (0..flows)
                    .all(|n| filter.may_have(&address(n))
                        && filter.may_have_pair(&address(n + 1), &address(n)))
            );
            let wrong = (0..10_000)
                .filter(|n| filter.may_have(&address(1_000_000 + n)))
                .count();
            let pairs = (0..10_000)
                .filter(|n| filter.may_have_pair(&address(*n), &address(n + 2)))
                .count();
            assert!(
                wrong < 300 && pairs < 300,
                "{flows} flows: {wrong}, {pairs} of 10000"
            );
        }
    }

    #[test]
    fn it_is_as_large_as_what_is_in_it_and_comes_back() {
        for (flows, bytes) in [
            (0, MIN_BYTES),
            (100, 512),
            (30_000, MAX_BYTES),
            (4_000_000, MAX_BYTES),
        ] {
            let filter = filled(flows);
            let mut stored = Vec::new();
            filter.encode(&mut stored);
            assert!(stored.len() <= 20 + bytes, "{flows} flows: {}", stored.len());
            let mut input = Reader(&stored);
            assert_eq!(Bloom::decode(&mut input).unwrap(), filter);
            input.end().unwrap();
        }
    }
}
