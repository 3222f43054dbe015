//! A keyed Bloom filter (Bloom, 1970) of addresses, pairs of addresses, and pairs with a port. Says "surely not here" or
//! "perhaps". Its key is secret, and another one for each block and segment: who sends packets cannot choose addresses
//! that meet in it.
//!
//! A large one is in pieces (Putze, Sanders, Singler, 2007): all bits of an item are in one piece, so that whoever looks
//! for an item needs that piece alone.

use std::hash::Hasher;

use como_anonymize::filter::Fact;
use siphasher::sip::SipHasher13;

use crate::trace::TraceError;
use crate::trace::codec::{Reader, put_u32};

/// Bits that each item sets.
const BITS_PER_ITEM: u32 = 4;
/// Largest filter, bytes: of a whole segment.
pub(super) const MAX_BYTES: usize = 256 << 10;
/// Bytes of a piece; a filter of at most so many is one piece.
pub(super) const PIECE_BYTES: usize = 4 << 10;
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
    /// An empty filter of a whole segment under a key of its own, which is folded once it is full.
    pub fn of_segment(key: [u8; 16]) -> Self {
        Self {
            key,
            words: vec![0; MAX_BYTES / 8],
        }
    }

    /// An empty filter of `bytes`, a power of two, under a random key.
    pub fn empty(bytes: usize) -> Self {
        Self {
            key: como_keys::random(),
            words: vec![0; bytes / 8],
        }
    }

    /// Adds both addresses of a flow, and that they are a pair.
    pub fn insert_ends(&mut self, ends: &[[u8; 16]; 2]) {
        self.insert(hash(&self.key, &[&ends[0]]));
        self.insert(hash(&self.key, &[&ends[1]]));
        self.insert(hash(&self.key, &[&ends[0], &ends[1]]));
    }

    /// Adds that a pair, in order, has a flow with these ports.
    pub fn insert_ports(&mut self, ends: &[[u8; 16]; 2], ports: &[u16; 2]) {
        for port in ports {
            self.insert(hash(&self.key, &[&ends[0], &ends[1], &port.to_be_bytes()]));
        }
    }

    /// Whether an item may be here.
    pub fn may_have(&self, item: Item) -> bool {
        let hash = item.hash(&self.key);
        let piece = piece_of(hash, self.bits()) * PIECE_BYTES / 8;
        has(self.bits(), hash, |word| self.words[piece + word])
    }

    /// The bits, for sealing piece by piece.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
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
        if !count.is_power_of_two() || count > PIECE_BYTES / 8 {
            return Err(NO_SIZE);
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

    fn insert(&mut self, hash: u64) {
        let piece = piece_of(hash, self.bits()) * PIECE_BYTES / 8;
        for bit in positions(hash, self.bits()) {
            self.words[piece + (bit / 64) as usize] |= 1 << (bit % 64);
        }
    }
}

/// What a filter can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::trace) enum Item {
    Address([u8; 16]),
    /// The ends of one flow, the lower one first.
    Pair([[u8; 16]; 2]),
    /// The same, and a port of one of them.
    PairPort([[u8; 16]; 2], u16),
}

impl Item {
    /// The item that stands for a fact; `None`: no filter knows.
    pub fn of(fact: Fact) -> Option<Self> {
        let pair = |a: [u8; 16], b: [u8; 16]| [a.min(b), a.max(b)];
        match fact {
            Fact::Address { prefix, bits: 128 } => Some(Self::Address(prefix.to_be_bytes())),
            Fact::Pair(a, b) => Some(Self::Pair(pair(a, b))),
            Fact::PairPort(a, b, port) => Some(Self::PairPort(pair(a, b), port)),
            _ => None,
        }
    }

    fn hash(&self, key: &[u8; 16]) -> u64 {
        match self {
            Self::Address(address) => hash(key, &[address]),
            Self::Pair([low, high]) => hash(key, &[low, high]),
            Self::PairPort([low, high], port) => hash(key, &[low, high, &port.to_be_bytes()]),
        }
    }
}

/// A filter in pieces of which only those are at hand that are asked for.
#[derive(Clone, Copy)]
pub(super) struct Pieces {
    key: [u8; 16],
    bits: u64,
}

impl Pieces {
    /// The shape of a filter of so many bytes.
    pub fn new(key: [u8; 16], bytes: usize) -> Result<Self, TraceError> {
        if !bytes.is_power_of_two() || !(MIN_BYTES..=MAX_BYTES).contains(&bytes) {
            return Err(NO_SIZE);
        }
        let bits = bytes as u64 * 8;
        Ok(Self { key, bits })
    }

    /// Whether an item may be here; `open` gives the piece of a number.
    pub fn may_have(
        &self,
        item: Item,
        open: impl FnOnce(usize) -> Result<Vec<u8>, TraceError>,
    ) -> Result<bool, TraceError> {
        let hash = item.hash(&self.key);
        let piece = open(piece_of(hash, self.bits))?;
        let words = piece.as_chunks::<8>().0;
        if words.len() as u64 != (self.bits / 64).min(PIECE_BYTES as u64 / 8) {
            return Err(NO_SIZE);
        }
        Ok(has(self.bits, hash, |word| u64::from_le_bytes(words[word])))
    }
}

const NO_SIZE: TraceError = TraceError::Damaged {
    position: 0,
    what: "a filter has no possible size",
};

fn hash(key: &[u8; 16], parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(key);
    parts.iter().for_each(|part| hasher.write(part));
    hasher.finish()
}

/// Whether all bits of an item are set in the words of its piece.
fn has(bits: u64, hash: u64, word: impl Fn(usize) -> u64) -> bool {
    positions(hash, bits).all(|bit| word((bit / 64) as usize) >> (bit % 64) & 1 == 1)
}

/// The piece of an item. Numbers of pieces are powers of two, so that the low bits stay where the filter is folded.
fn piece_of(hash: u64, bits: u64) -> usize {
    let pieces = (bits / 8).div_ceil(PIECE_BYTES as u64);
    ((hash >> 48) & (pieces - 1)) as usize
}

/// Positions in the piece: double hashing (Kirsch, Mitzenmacher, 2006). The bits of a piece are a power of two, so that
/// the low bits of a position stay in a folded filter.
fn positions(hash: u64, bits: u64) -> impl Iterator<Item = u64> {
    let piece_bits = bits.min(PIECE_BYTES as u64 * 8);
    let (first, step) = (hash, hash.rotate_right(32) | 1);
    (0..u64::from(BITS_PER_ITEM)).map(move |n| first.wrapping_add(n.wrapping_mul(step)) & (piece_bits - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = [7; 16];

    fn address(n: u32) -> [u8; 16] {
        (u128::from(n) | 0xffff << 32).to_be_bytes()
    }

    fn ends(n: u32) -> [[u8; 16]; 2] {
        [address(n), address(n + 1)]
    }

    fn ports(n: u32) -> [u16; 2] {
        [n as u16, 443]
    }

    fn filled(flows: u32) -> Bloom {
        let mut filter = Bloom::of_segment(KEY);
        (0..flows).for_each(|n| {
            filter.insert_ends(&ends(n));
            filter.insert_ports(&ends(n), &ports(n));
        });
        filter.fold();
        filter
    }

    /// Asks a filter whose pieces are given one by one.
    fn ask(filter: &Bloom, item: Item) -> bool {
        let bytes = filter.to_bytes();
        let pieces = Pieces::new(KEY, bytes.len()).unwrap();
        let open = |piece: usize| Ok(bytes.chunks(PIECE_BYTES).nth(piece).unwrap().to_vec());
        pieces.may_have(item, open).unwrap()
    }

    #[test]
    fn it_misses_nothing_and_finds_little_else() {
        for flows in [1, 100, 10_000, 50_000] {
            let filter = filled(flows);
            for n in (0..flows).step_by(flows as usize / 100 + 1) {
                for item in [
                    Item::Address(address(n)),
                    Item::Pair(ends(n)),
                    Item::PairPort(ends(n), ports(n)[0]),
                    Item::PairPort(ends(n), 443),
                ] {
                    assert!(ask(&filter, item) && filter.may_have(item), "{n} of {flows}");
                }
            }
            let wrong = |item: fn(u32) -> Item| {
                let found = (0..10_000).filter(|n| filter.may_have(item(*n))).count();
                assert!(found < 300, "{flows} flows: {found} of 10000");
            };
            wrong(|n| Item::Address(address(1_000_000 + n)));
            wrong(|n| Item::Pair([address(n), address(n + 2)]));
            wrong(|n| Item::PairPort(ends(n), 80));
        }
    }

    #[test]
    fn it_is_as_large_as_what_is_in_it() {
        for (flows, bytes) in [
            (0, MIN_BYTES),
            (100, 1024),
            (10_000, MAX_BYTES / 4),
            (80_000, MAX_BYTES),
            (4_000_000, MAX_BYTES),
        ] {
            assert_eq!(filled(flows).to_bytes().len(), bytes, "{flows} flows");
        }
    }

    #[test]
    fn a_small_one_comes_back_and_a_large_one_has_all_its_pieces() {
        let mut small = Bloom::empty(PIECE_BYTES);
        (0..500).for_each(|n| small.insert_ends(&ends(n)));
        let mut stored = Vec::new();
        small.encode(&mut stored);
        let mut input = Reader(&stored);
        assert_eq!(Bloom::decode(&mut input).unwrap(), small);
        input.end().unwrap();
        for bytes in [0, 1, 63, 96, MAX_BYTES * 2] {
            assert!(Pieces::new(KEY, bytes).is_err(), "{bytes}");
        }
        let pieces = Pieces::new(KEY, MAX_BYTES).unwrap();
        let short = |_| Ok(vec![0xff; PIECE_BYTES - 8]);
        assert!(pieces.may_have(Item::Address(address(1)), short).is_err());
    }
}
