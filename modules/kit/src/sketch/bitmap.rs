//! How many distinct items, in few bits: a bitmap, and a row of bitmaps for many orders of magnitude. Small enough that
//! a module can keep one for each of thousands of addresses.

use crate::hash::Zeroed;

/// Bits of a word.
const WORD_BITS: usize = 64;

/// Linear counting: one bit per hash value, and the share of zeros tells how many items there were (Whang,
/// Vander-Zanden, Taylor: "A linear-time probabilistic counting algorithm for database applications", 1990).
///
/// 64 x WORDS bits. For n items in b bits the standard error is sqrt(b (e^(n/b) - n/b - 1)) / n: below
/// 1 / sqrt(b) up to n = 2 b, and growing fast beyond. Full at about b ln b items: more cannot be told apart.
#[derive(Clone, Copy, Debug)]
pub struct LinearCounter<const WORDS: usize> {
    words: [u64; WORDS],
}

impl<const WORDS: usize> Zeroed for LinearCounter<WORDS> {
    const ZERO: Self = Self { words: [0; WORDS] };
}

impl<const WORDS: usize> LinearCounter<WORDS> {
    /// Bits.
    pub const BITS: usize = WORDS * WORD_BITS;

    /// Counts an item by its 64-bit hash, whose upper half chooses the bit.
    pub fn insert(&mut self, hash: u64) {
        // Multiply and shift instead of a remainder: the upper half, scaled to the number of bits.
        let bit = (((hash >> 32) * Self::BITS as u64) >> 32) as usize;
        self.words[bit / WORD_BITS] |= 1 << (bit % WORD_BITS);
    }

    /// Adds what another counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine |= theirs;
        }
    }

    /// Bits that are set.
    pub fn ones(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// How many distinct items were counted.
    pub fn estimate(&self) -> f64 {
        // A full bitmap counts as one with a zero left.
        let zeros = (Self::BITS - self.ones()).max(1);
        let bits = Self::BITS as f64;
        bits * libm::log(bits / zeros as f64)
    }
}

/// A multi-resolution bitmap: level i counts a share 2^-(i+1) of the items, and the estimate is made of the lowest
/// levels that are not too full (Estan, Varghese, Fisk: "Bitmap algorithms for counting active flows on high-speed
/// links", 2006).
///
/// LEVELS x 64 x WORDS bits. Standard error at most 12 % with WORDS = 1 and 8 % with WORDS = 2, up to
/// 64 x WORDS x 2^LEVELS items; a few items are counted exactly but for the chance that two share a bit.
#[derive(Clone, Copy, Debug)]
pub struct MultiResolution<const LEVELS: usize, const WORDS: usize> {
    levels: [LinearCounter<WORDS>; LEVELS],
}

impl<const LEVELS: usize, const WORDS: usize> Zeroed for MultiResolution<LEVELS, WORDS> {
    const ZERO: Self = Self {
        levels: [LinearCounter::ZERO; LEVELS],
    };
}

impl<const LEVELS: usize, const WORDS: usize> MultiResolution<LEVELS, WORDS> {
    /// A level with more bits set than this, 27 of 32, says less than the next one.
    const FULL: usize = WORDS * WORD_BITS * 27 / 32;

    /// Counts an item by its 64-bit hash: the lower half chooses the level, the upper half the bit.
    pub fn insert(&mut self, hash: u64) {
        let level = (hash as u32).trailing_zeros() as usize;
        self.levels[level.min(LEVELS - 1)].insert(hash);
    }

    /// Adds what another counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.levels.iter_mut().zip(&other.levels) {
            mine.merge(theirs);
        }
    }

    /// How many distinct items were counted.
    pub fn estimate(&self) -> f64 {
        let mut base = LEVELS - 1;
        while base > 0 && self.levels[base - 1].ones() <= Self::FULL {
            base -= 1;
        }
        let counted: f64 = self.levels[base..].iter().map(LinearCounter::estimate).sum();
        counted * (1u64 << base) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::hash;
    use std::vec::Vec;

    /// Root mean square of the relative error over `runs` sets of `count` items, every item counted twice.
    fn error<S: Zeroed>(count: u64, runs: u64, insert: fn(&mut S, u64), estimate: fn(&S) -> f64) -> f64 {
        let squares = (0..runs).map(|run| {
            let mut sketch = S::ZERO;
            for item in (0..count).chain(0..count) {
                insert(&mut sketch, hash(&[run, item]));
            }
            let relative = (estimate(&sketch) - count as f64) / count as f64;
            relative * relative
        });
        libm::sqrt(squares.sum::<f64>() / runs as f64)
    }

    #[test]
    fn linear_counting_has_its_stated_error() {
        for count in [1, 10, 200, 1000, 2000] {
            // Two of a few items share a bit rarely: many runs, to see that as often as it happens.
            let error = error(
                count,
                200_000 / count.max(100),
                LinearCounter::<16>::insert,
                LinearCounter::<16>::estimate,
            );
            let (n, b) = (count as f64, LinearCounter::<16>::BITS as f64);
            let stated = libm::sqrt(b * (libm::exp(n / b) - n / b - 1.0)) / n;
            // 100 runs know their own spread to about 10 %, and one item has an error of its own: b ln(b/(b-1)).
            assert!(
                error <= 1.4 * stated + 0.001,
                "{count} items: {error}, stated {stated}"
            );
        }
        assert_eq!(LinearCounter::<16>::ZERO.estimate(), 0.0);
    }

    #[test]
    fn a_multi_resolution_bitmap_has_its_stated_error_over_the_whole_range() {
        for count in [1, 8, 60, 150, 400, 2500, 30_000] {
            let runs = (600_000 / count).clamp(100, 2000);
            let small = error(
                count,
                runs,
                MultiResolution::<12, 1>::insert,
                MultiResolution::<12, 1>::estimate,
            );
            assert!(small <= 0.12, "{count} items in 64 bits a level: {small}");
            let large = error(
                count,
                runs,
                MultiResolution::<12, 2>::insert,
                MultiResolution::<12, 2>::estimate,
            );
            assert!(large <= 0.08, "{count} items in 128 bits a level: {large}");
        }
        assert_eq!(MultiResolution::<12, 1>::ZERO.estimate(), 0.0);
    }

    #[test]
    fn merged_bitmaps_count_the_union_and_a_full_one_stays_finite() {
        let mut parts: Vec<MultiResolution<8, 1>> = (0..3).map(|_| MultiResolution::ZERO).collect();
        let mut whole = MultiResolution::<8, 1>::ZERO;
        for item in 0..200_000u64 {
            parts[(item % 3) as usize].insert(hash(&[item]));
            whole.insert(hash(&[item]));
        }
        let mut merged = parts[0];
        parts[1..].iter().for_each(|part| merged.merge(part));
        assert_eq!(merged.estimate(), whole.estimate());
        assert!(whole.estimate().is_finite());
    }
}
