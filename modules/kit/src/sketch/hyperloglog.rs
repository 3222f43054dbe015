//! How many distinct items, to 1 % and over any range, in kilobytes. Owns HyperLogLog and its estimator.

/// Counts distinct items: HyperLogLog with one byte per register, and Ertl's estimator, which needs no bias
/// table ("New cardinality estimation algorithms for HyperLogLog sketches", 2017, algorithm 6).
///
/// Standard error 1.04 / sqrt(REGISTERS) over the whole range: 0.8 % for 16384 registers. REGISTERS is a
/// power of two of at least 16. How many registers hold which rank is kept as they change: the estimate looks at none.
#[derive(Clone)]
pub struct HyperLogLog<const REGISTERS: usize> {
    registers: [u8; REGISTERS],
    /// Registers of each rank; those of rank 0 are the others.
    counts: [u32; RANKS],
}

/// Room for every rank, 0 to 61.
const RANKS: usize = 64;

impl<const REGISTERS: usize> HyperLogLog<REGISTERS> {
    /// Bits of a hash that choose the register.
    const INDEX_BITS: u32 = {
        assert!(REGISTERS.is_power_of_two() && REGISTERS >= 16);
        REGISTERS.trailing_zeros()
    };
    /// Registers hold 0 to this plus one.
    const RANK_BITS: u32 = 64 - Self::INDEX_BITS;
    /// Nothing counted.
    pub const EMPTY: Self = Self {
        registers: [0; REGISTERS],
        counts: [0; RANKS],
    };

    /// Counts an item by its 64-bit hash. False where that changes nothing, here or in a sketch of fewer registers that
    /// has what this one has.
    pub fn insert(&mut self, hash: u64) -> bool {
        let register = (hash >> Self::RANK_BITS) as usize;
        let rank = (hash << Self::INDEX_BITS).leading_zeros().min(Self::RANK_BITS) as u8 + 1;
        self.raise(register, rank)
    }

    /// The one way to change a register; false where it holds as much already.
    #[inline(always)]
    fn raise(&mut self, register: usize, rank: u8) -> bool {
        let before = self.registers[register];
        if before >= rank {
            return false;
        }
        self.registers[register] = rank;
        let rank = usize::from(rank) % RANKS;
        self.counts[rank] += 1;
        if before > 0 {
            let before = usize::from(before) % RANKS;
            self.counts[before] -= 1;
        }
        true
    }

    /// Adds what another sketch counted.
    pub fn merge(&mut self, other: &Self) {
        for (register, rank) in other.registers.iter().enumerate() {
            self.raise(register, *rank);
        }
    }

    /// The same items in fewer registers, as if they had been counted there: each register stands for a stretch of these.
    pub fn folded<const FEWER: usize>(&self) -> HyperLogLog<FEWER> {
        const { assert!(FEWER <= REGISTERS) }
        let dropped = Self::INDEX_BITS - HyperLogLog::<FEWER>::INDEX_BITS;
        let mut fewer = HyperLogLog::EMPTY;
        for (register, stretch) in self.registers.chunks(1 << dropped).enumerate() {
            for (place, rank) in (0u32..).zip(stretch).filter(|(_, rank)| **rank > 0) {
                // The index bits that are dropped go before those that made the rank.
                let rank = match place {
                    0 => dropped as u8 + rank,
                    place => (dropped - place.ilog2()) as u8,
                };
                fewer.raise(register, rank);
            }
        }
        fewer
    }

    /// The registers, to be kept.
    pub fn registers(&self) -> &[u8; REGISTERS] {
        &self.registers
    }

    /// Adds what a register of another sketch held, by its place; a place beyond the last is none.
    pub fn merge_register(&mut self, register: usize, rank: u8) {
        if register < REGISTERS {
            self.raise(register, rank.min(Self::RANK_BITS as u8 + 1));
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.registers.fill(0);
        self.counts.fill(0);
    }

    /// How many distinct items were counted.
    pub fn estimate(&self) -> f64 {
        /// 1 / (2 ln 2)
        const ALPHA: f64 = 0.721_347_520_444_481_7;
        let counts = &self.counts;
        let empty = REGISTERS as u32 - counts.iter().sum::<u32>();
        let m = REGISTERS as f64;
        // Registers at their largest value (tau in the paper) are 2^-INDEX_BITS of hashes at 2^50 items: none.
        let mut z = f64::from(counts[Self::RANK_BITS as usize + 1]) * 0.5;
        for rank in (1..=Self::RANK_BITS as usize).rev() {
            z = 0.5 * (z + f64::from(counts[rank]));
        }
        z += m * sigma(f64::from(empty) / m);
        ALPHA * m * m / z
    }
}

/// x + sum of x^(2^k) 2^(k-1); infinite where every register is empty, which makes the estimate 0.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::hash;

    #[test]
    fn the_estimate_stays_within_four_standard_errors_over_the_whole_range() {
        const REGISTERS: usize = 4096;
        for count in [0u64, 1, 10, 100, 1000, 5000, 10_000, 20_000, 100_000, 1_000_000] {
            let mut sketch = HyperLogLog::<REGISTERS>::EMPTY;
            for item in 0..count {
                sketch.insert(hash(&[item, 7]));
                sketch.insert(hash(&[item, 7])); // twice is once
            }
            let error = (sketch.estimate() - count as f64).abs() / (count.max(1) as f64);
            assert!(
                error <= 4.0 * 1.04 / 64.0,
                "{count} counted as {}",
                sketch.estimate()
            );
        }
    }

    #[test]
    fn merged_sketches_count_the_union() {
        let (mut a, mut b, mut both) = (
            HyperLogLog::<1024>::EMPTY,
            HyperLogLog::<1024>::EMPTY,
            HyperLogLog::<1024>::EMPTY,
        );
        for item in 0..3000u64 {
            let part = if item % 3 == 0 { &mut a } else { &mut b };
            part.insert(hash(&[item]));
            both.insert(hash(&[item]));
        }
        a.merge(&b);
        assert_eq!(a.estimate(), both.estimate());
    }

    #[test]
    fn folding_is_counting_in_fewer_registers() {
        for items in [0u64, 1, 30, 4000, 200_000] {
            let mut many = HyperLogLog::<4096>::EMPTY;
            let [mut fewer, mut beside] = [const { HyperLogLog::<64>::EMPTY }; 2];
            for item in 0..items {
                let hash = hash(&[item]);
                fewer.insert(hash);
                if many.insert(hash) {
                    beside.insert(hash);
                }
            }
            let folded = many.folded::<64>();
            assert_eq!(folded.registers(), fewer.registers(), "{items}");
            assert_eq!(folded.estimate(), fewer.estimate(), "{items}");
            assert_eq!(
                beside.registers(),
                fewer.registers(),
                "{items}: what changes nothing here changes nothing there"
            );
            assert_eq!(many.folded::<4096>().registers(), many.registers());
            let mut again = HyperLogLog::<64>::EMPTY;
            for (place, rank) in folded.registers().iter().enumerate() {
                again.merge_register(place, *rank);
            }
            again.merge_register(64, 7);
            assert_eq!(again.estimate(), fewer.estimate(), "register by register");
        }
    }
}
