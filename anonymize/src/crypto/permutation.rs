//! Keyed permutations of small domains: secret tables for up to 16 bits, Feistel networks above. All are
//! bijections whatever the key; none depends on what was mapped before.

use aes::Block;
use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherEncBackend, BlockCipherEncClosure, BlockSizeUser};
use zeroize::Zeroizing;

use super::BLOCKS_IN_FLIGHT;
use super::flips::{encrypt, words_mut};
use super::prf::{KeyStream, Prf};

/// Feistel rounds: Luby-Rackoff needs 4 against chosen ciphertext; the margin covers small halves.
const ROUNDS: usize = 8;

/// A secret permutation of the first numbers, identity elsewhere, and on `fixed`. As many entries as a power of two.
pub(crate) struct TablePermutation(Zeroizing<Vec<u16>>);

impl TablePermutation {
    /// Over the 16-bit (or smaller) numbers `0..size`, leaving those for which `fixed` holds where they are.
    pub(crate) fn new(key: &[u8; 16], size: u32, fixed: impl Fn(u16) -> bool) -> Self {
        let mut stream = KeyStream::new(key);
        let mut table: Vec<u16> = (0..size.next_power_of_two()).map(|value| value as u16).collect();
        let moving: Vec<u16> = (0..size)
            .map(|value| value as u16)
            .filter(|value| !fixed(*value))
            .collect();
        for last in (1..moving.len()).rev() {
            let other = stream.below(last as u32 + 1) as usize;
            table.swap(usize::from(moving[last]), usize::from(moving[other]));
        }
        TablePermutation(Zeroizing::new(table))
    }

    /// The image; callers pass values of the right width.
    pub(crate) fn map(&self, value: u16) -> u16 {
        self.0[usize::from(value) & (self.0.len() - 1)]
    }

    /// The value that has this image; looks through the table. Values outside the domain stay.
    pub(crate) fn unmap(&self, image: u16) -> u16 {
        let found = self.0.iter().position(|other| *other == image);
        found.map_or(image, |value| value as u16)
    }
}

/// A permutation of 2 x HALF bits (HALF <= 12), with secret random tables as round functions.
pub(crate) struct TableFeistel<const HALF: u32> {
    rounds: Zeroizing<Vec<u16>>,
}

impl<const HALF: u32> TableFeistel<HALF> {
    const MASK: u32 = (1 << HALF) - 1;

    pub(crate) fn new(key: &[u8; 16]) -> Self {
        let mut stream = KeyStream::new(key);
        let rounds = (0..ROUNDS << HALF)
            .map(|_| (stream.next_u32() & Self::MASK) as u16)
            .collect();
        TableFeistel {
            rounds: Zeroizing::new(rounds),
        }
    }

    /// The image under the permutation that `tweak` selects (16 bits of it per round are used).
    pub(crate) fn map(&self, value: u32, tweak: u128) -> u32 {
        let (mut left, mut right) = (value >> HALF & Self::MASK, value & Self::MASK);
        for (round, table) in self.rounds.chunks_exact(1 << HALF).enumerate() {
            let selected = (tweak >> (16 * round)) as u32;
            let mixed = left ^ u32::from(table[((right ^ selected) & Self::MASK) as usize]);
            (left, right) = (right, mixed);
        }
        left << HALF | right
    }
}

/// A permutation of 64 or 32 bits tweaked by 64 bits, with AES as round function.
pub(crate) struct AesFeistel(Prf);

impl AesFeistel {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        AesFeistel(Prf::new(key))
    }

    /// Some 64-bit values at once, each under its own tweak.
    pub(crate) fn map64_few<const N: usize>(&self, values: [u64; N], tweaks: [u64; N]) -> [u64; N] {
        let mut halves = values.map(|value| ((value >> 32) as u32, value as u32));
        for round in 0..ROUNDS_64 {
            let mut inputs = [0; N];
            for ((input, tweak), half) in inputs.iter_mut().zip(tweaks).zip(halves) {
                *input = u128::from(tweak) << 64 | u128::from(half.1) << 32 | u128::from(round) << 8;
            }
            for (half, mixed) in halves.iter_mut().zip(self.0.few(inputs)) {
                *half = (half.1, half.0 ^ (mixed >> 32) as u32);
            }
        }
        halves.map(|(left, right)| u64::from(left) << 32 | u64::from(right))
    }

    /// Replaces many 64-bit values, each under its own tweak: a round of all of them at once, then the next.
    pub(crate) fn map64_all(&self, values: &mut [u64], tweaks: &[u64]) {
        for (values, tweaks) in values
            .chunks_mut(BLOCKS_IN_FLIGHT)
            .zip(tweaks.chunks(BLOCKS_IN_FLIGHT))
        {
            let (mut left, mut right) = ([0; WORDS], [0; WORDS]);
            for (at, (value, tweak)) in values.iter().zip(tweaks).enumerate() {
                right[2 * at] = u64::from_le_bytes(tweak.to_be_bytes());
                right[2 * at + 1] = u64::from((*value as u32).swap_bytes());
                left[2 * at + 1] = u64::from(((*value >> 32) as u32).swap_bytes());
            }
            self.0.with(Rounds {
                left: &mut left,
                right: &mut right,
            });
            for (at, value) in values.iter_mut().enumerate() {
                let half = |of: &[u64; WORDS]| u64::from((of[2 * at + 1] as u32).swap_bytes());
                *value = half(&left) << 32 | half(&right);
            }
        }
    }

    /// The value that [`AesFeistel::map64`] gives this image under the same tweak.
    pub(crate) fn unmap64(&self, image: u64, tweak: u64) -> u64 {
        let (mut left, mut right) = ((image >> 32) as u32, image as u32);
        for round in (0..ROUNDS_64).rev() {
            let input = u128::from(tweak) << 64 | u128::from(left) << 32 | u128::from(round) << 8;
            (left, right) = (right ^ (self.0.block(input) >> 32) as u32, left);
        }
        u64::from(left) << 32 | u64::from(right)
    }

    /// One 32-bit value (a domain of its own: the width is part of every round's input).
    pub(crate) fn map32(&self, value: u32, tweak: u64) -> u32 {
        let (mut left, mut right) = ((value >> 16) as u16, value as u16);
        for round in 0..ROUNDS {
            let input = u128::from(tweak) << 64 | u128::from(right) << 32 | (round as u128) << 8 | 1;
            (left, right) = (right, left ^ self.0.block(input) as u16);
        }
        u32::from(left) << 16 | u32::from(right)
    }
}

/// Rounds over 32-bit halves: fewer do, the halves being wide.
const ROUNDS_64: u32 = 6;
/// Words of a batch: the tweak in each block's first, half and round in its second.
const WORDS: usize = 2 * BLOCKS_IN_FLIGHT;
/// Where halves stand in these words. A table, so that loops over a batch are over words that lie side by side.
static HALF: [u64; WORDS] = {
    let mut mask = [0; WORDS];
    let mut at = 1;
    while at < WORDS {
        mask[at] = 0xffff_ffff;
        at += 2;
    }
    mask
};

/// All rounds of a batch of 64-bit values. `right` has the tweaks too: it is the cipher's input but for the round.
struct Rounds<'a> {
    left: &'a mut [u64; WORDS],
    right: &'a mut [u64; WORDS],
}

impl BlockSizeUser for Rounds<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Rounds<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let Rounds { left, right } = self;
        for round in 0..ROUNDS_64 {
            let number = (round << 8).swap_bytes();
            let number = u64::from(number) << 32 | u64::from(number);
            let mut blocks = [Block::default(); BLOCKS_IN_FLIGHT];
            for ((input, right), half) in words_mut(&mut blocks).iter_mut().zip(right.iter()).zip(&HALF) {
                *input = (right | number & half << 32).to_le_bytes();
            }
            encrypt(backend, &mut blocks);
            for (((mixed, left), right), half) in words_mut(&mut blocks)
                .iter()
                .zip(left.iter_mut())
                .zip(right.iter_mut())
                .zip(&HALF)
            {
                let before = *right;
                *right = before & !half | *left ^ u64::from_le_bytes(*mixed) & half;
                *left = before & half;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_permutation(size: u32, map: impl Fn(u32) -> u32) -> bool {
        let mut seen = vec![false; size as usize];
        (0..size).all(|value| !std::mem::replace(&mut seen[map(value) as usize], true))
    }

    #[test]
    fn every_construction_is_a_bijection() {
        let key = [7; 16];
        let fixed = |value: u16| value < 1024 || value == 8080;
        let table = TablePermutation::new(&key, 1 << 16, fixed);
        assert!(is_permutation(1 << 16, |value| table.map(value as u16).into()));
        assert!((0..=u16::MAX).all(|value| fixed(value) == fixed(table.map(value)) || !fixed(value)));
        assert!((0..1024).all(|value| table.map(value) == value) && table.map(8080) == 8080);
        for tweak in [0, u128::MAX / 3] {
            let feistel = TableFeistel::<8>::new(&key);
            assert!(is_permutation(1 << 16, |value| feistel.map(value, tweak)));
            let feistel = TableFeistel::<10>::new(&key);
            assert!(is_permutation(1 << 20, |value| feistel.map(value, tweak)));
        }
    }

    #[test]
    fn one_bit_in_changes_half_of_the_bits_out() {
        let feistel = AesFeistel::new(&[3; 16]);
        let map64 = |value, tweak| feistel.map64_few([value], [tweak])[0];
        let (mut flips, mut total) = (0, 0);
        for value in 0..200u64 {
            for bit in 0..64 {
                flips += (map64(value, 5) ^ map64(value ^ 1 << bit, 5)).count_ones();
                total += 64;
            }
        }
        let rate = f64::from(flips) / f64::from(total);
        assert!((0.49..0.51).contains(&rate), "{rate}");
        assert_ne!(map64(1, 5), map64(1, 6), "bound to the tweak");
    }

    #[test]
    fn many_at_once_equals_one_by_one() {
        let feistel = AesFeistel::new(&[3; 16]);
        let spread = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for count in [0, 1, 4, 63, 64, 130] {
            let tweaks: Vec<u64> = (0..count).map(|n| spread(n + 1000)).collect();
            let mut values: Vec<u64> = (0..count).map(spread).collect();
            feistel.map64_all(&mut values, &tweaks);
            for (n, (value, tweak)) in (0..count).zip(values.into_iter().zip(tweaks)) {
                assert_eq!([value], feistel.map64_few([spread(n)], [tweak]), "{n} of {count}");
            }
        }
    }
}
