//! Keyed permutations of small domains: secret tables for up to 16 bits, Feistel networks above. All are
//! bijections whatever the key; none depends on what was mapped before.

use zeroize::Zeroizing;

use super::prf::{KeyStream, Prf};

/// Feistel rounds: Luby-Rackoff needs 4 against chosen ciphertext; the margin covers small halves.
const ROUNDS: usize = 8;

/// A secret permutation of `first..=last`, identity elsewhere, and on `fixed`.
pub(crate) struct TablePermutation(Zeroizing<Vec<u16>>);

impl TablePermutation {
    /// Over the 16-bit (or smaller) numbers `0..size`, leaving those for which `fixed` holds where they are.
    pub(crate) fn new(key: &[u8; 16], size: u32, fixed: impl Fn(u16) -> bool) -> Self {
        let mut stream = KeyStream::new(key);
        let mut table: Vec<u16> = (0..size).map(|value| value as u16).collect();
        let moving: Vec<u16> = table.iter().copied().filter(|value| !fixed(*value)).collect();
        for last in (1..moving.len()).rev() {
            let other = stream.below(last as u32 + 1) as usize;
            table.swap(usize::from(moving[last]), usize::from(moving[other]));
        }
        TablePermutation(Zeroizing::new(table))
    }

    /// The image; values outside the domain wrap into it (callers pass values of the right width).
    pub(crate) fn map(&self, value: u16) -> u16 {
        self.0[usize::from(value) % self.0.len()]
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

    /// Two 64-bit values at once, each under its own tweak.
    pub(crate) fn map64_pair(&self, values: [u64; 2], tweaks: [u64; 2]) -> [u64; 2] {
        let mut halves = values.map(|value| ((value >> 32) as u32, value as u32));
        for round in 0..ROUNDS_64 {
            let input = |at: usize| {
                u128::from(tweaks[at]) << 64 | u128::from(halves[at].1) << 32 | u128::from(round) << 8
            };
            let mixed = self.0.pair([input(0), input(1)]);
            for (half, mixed) in halves.iter_mut().zip(mixed) {
                *half = (half.1, half.0 ^ mixed as u32);
            }
        }
        halves.map(|(left, right)| u64::from(left) << 32 | u64::from(right))
    }

    /// One 64-bit value.
    pub(crate) fn map64(&self, value: u64, tweak: u64) -> u64 {
        self.map64_pair([value; 2], [tweak; 2])[0]
    }

    /// The value that [`AesFeistel::map64`] gives this image under the same tweak.
    pub(crate) fn unmap64(&self, image: u64, tweak: u64) -> u64 {
        let (mut left, mut right) = ((image >> 32) as u32, image as u32);
        for round in (0..ROUNDS_64).rev() {
            let input = u128::from(tweak) << 64 | u128::from(left) << 32 | u128::from(round) << 8;
            (left, right) = (right ^ self.0.block(input) as u32, left);
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
        let (mut flips, mut total) = (0, 0);
        for value in 0..200u64 {
            for bit in 0..64 {
                flips += (feistel.map64(value, 5) ^ feistel.map64(value ^ 1 << bit, 5)).count_ones();
                total += 64;
            }
        }
        let rate = f64::from(flips) / f64::from(total);
        assert!((0.49..0.51).contains(&rate), "{rate}");
        assert_ne!(feistel.map64(1, 5), feistel.map64(1, 6), "bound to the tweak");
    }
}
