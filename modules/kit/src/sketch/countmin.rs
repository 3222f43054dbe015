//! How much any item weighs, without keeping items. Owns the Count-Min sketch.

/// Counts weights of items (Cormode, Muthukrishnan: "An improved data stream summary: the Count-Min sketch and its
/// applications", 2005).
///
/// An estimate is never too low. It is too high by more than e / WIDTH of all weight together for a share
/// e^-ROWS of the items at most: 0.27 % and 1.8 % with 4 rows of 1024. ROWS x WIDTH x 8 bytes; WIDTH is a power
/// of two.
#[derive(Clone)]
pub struct CountMin<const ROWS: usize, const WIDTH: usize> {
    cells: [[u64; WIDTH]; ROWS],
}

impl<const ROWS: usize, const WIDTH: usize> CountMin<ROWS, WIDTH> {
    const INDEX_MASK: u64 = {
        assert!(WIDTH.is_power_of_two() && ROWS > 0);
        WIDTH as u64 - 1
    };
    /// Nothing counted.
    pub const EMPTY: Self = Self {
        cells: [[0; WIDTH]; ROWS],
    };

    /// Adds to an item's weight, by its 64-bit hash.
    pub fn add(&mut self, hash: u64, weight: u64) {
        for (row, cells) in self.cells.iter_mut().enumerate() {
            cells[Self::index(hash, row)] += weight;
        }
    }

    /// An item's weight, or more.
    pub fn estimate(&self, hash: u64) -> u64 {
        let counts = self.cells.iter().enumerate();
        counts
            .map(|(row, cells)| cells[Self::index(hash, row)])
            .min()
            .unwrap_or(0)
    }

    /// Adds what another counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self
            .cells
            .as_flattened_mut()
            .iter_mut()
            .zip(other.cells.as_flattened())
        {
            *mine += theirs;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.cells.as_flattened_mut().fill(0);
    }

    /// One hash serves all rows: half of it plus the row times the other half (Kirsch, Mitzenmacher: "Less hashing,
    /// same performance", 2006).
    fn index(hash: u64, row: usize) -> usize {
        let step = hash >> 32 | 1;
        (hash.wrapping_add(step.wrapping_mul(row as u64)) & Self::INDEX_MASK) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::hash;
    use std::vec::Vec;

    /// Weights of a few heavy and many light items.
    fn weights() -> Vec<(u64, u64)> {
        (0..20_000)
            .map(|item| (item, if item % 1000 == 0 { 5000 } else { 1 + item % 7 }))
            .collect()
    }

    #[test]
    fn estimates_are_never_low_and_rarely_high_beyond_the_stated_bound() {
        let mut sketch = CountMin::<4, 1024>::EMPTY;
        weights()
            .iter()
            .for_each(|(item, weight)| sketch.add(hash(&[*item]), *weight));
        let total: u64 = weights().iter().map(|(_, weight)| weight).sum();
        let bound = (core::f64::consts::E / 1024.0 * total as f64) as u64;
        let mut high = 0;
        for (item, weight) in weights() {
            let estimate = sketch.estimate(hash(&[item]));
            assert!(estimate >= weight, "{item}: {estimate} of {weight}");
            high += usize::from(estimate > weight + bound);
        }
        assert!(
            (high as f64) < 20_000.0 * libm::exp(-4.0),
            "{high} of 20000 are beyond the bound"
        );
    }

    #[test]
    fn merged_sketches_count_both_and_a_cleared_one_nothing() {
        let (mut a, mut b, mut both) = (
            CountMin::<3, 64>::EMPTY,
            CountMin::<3, 64>::EMPTY,
            CountMin::<3, 64>::EMPTY,
        );
        for (item, weight) in weights() {
            if item % 2 == 0 { &mut a } else { &mut b }.add(hash(&[item]), weight);
            both.add(hash(&[item]), weight);
        }
        a.merge(&b);
        assert!((0..20_000u64).all(|item| a.estimate(hash(&[item])) == both.estimate(hash(&[item]))));
        a.clear();
        assert!((0..20_000u64).all(|item| a.estimate(hash(&[item])) == 0));
    }
}
