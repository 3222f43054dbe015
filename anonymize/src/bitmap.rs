//! One bit per packet of a batch: what a filter answers. Owns nothing of the packets themselves.

/// A fixed-length set of row numbers. Bits at and above `len` are always zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    len: usize,
}

impl Bitmap {
    /// All `len` bits clear.
    pub fn none(len: usize) -> Self {
        Bitmap {
            words: vec![0; len.div_ceil(64)],
            len,
        }
    }

    /// All `len` bits set.
    pub fn all(len: usize) -> Self {
        let mut all = Bitmap {
            words: vec![u64::MAX; len.div_ceil(64)],
            len,
        };
        all.clear_tail();
        all
    }

    /// One bit per item, by a predicate on it.
    pub fn of<T>(items: &[T], mut keep: impl FnMut(&T) -> bool) -> Self {
        let mut words = Vec::with_capacity(items.len().div_ceil(64));
        for chunk in items.chunks(64) {
            let mut word = 0u64;
            for (bit, item) in chunk.iter().enumerate() {
                word |= u64::from(keep(item)) << bit;
            }
            words.push(word);
        }
        Bitmap {
            words,
            len: items.len(),
        }
    }

    /// Number of rows (set or not).
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there are no rows at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether row `index` is in the set; false beyond the end.
    pub fn get(&self, index: usize) -> bool {
        index < self.len && self.words[index / 64] >> (index % 64) & 1 == 1
    }

    /// Adds row `index`; rows beyond the end are ignored.
    pub fn set(&mut self, index: usize) {
        if index < self.len {
            self.words[index / 64] |= 1 << (index % 64);
        }
    }

    /// How many rows are in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The rows in the set, ascending.
    pub fn ones(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, &word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(at * 64 + bit)
            })
        })
    }

    /// Keeps the rows that are in both. The lengths must agree; rows the other does not have are dropped.
    pub fn and(&mut self, other: &Bitmap) {
        for (at, word) in self.words.iter_mut().enumerate() {
            *word &= other.words.get(at).copied().unwrap_or(0);
        }
    }

    /// Adds the rows of the other; rows beyond the own length are ignored.
    pub fn or(&mut self, other: &Bitmap) {
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
        self.clear_tail();
    }

    /// Turns the set into its complement.
    pub fn not(&mut self) {
        for word in &mut self.words {
            *word = !*word;
        }
        self.clear_tail();
    }

    fn clear_tail(&mut self) {
        let used = self.len % 64;
        if used != 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << used) - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complement_never_sets_rows_beyond_the_end() {
        for len in [0, 1, 63, 64, 65, 130] {
            let mut bits = Bitmap::none(len);
            bits.not();
            assert_eq!(bits.count(), len);
            assert_eq!(bits, Bitmap::all(len));
            assert_eq!(bits.ones().collect::<Vec<_>>(), (0..len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn set_algebra() {
        let numbers: Vec<u32> = (0..200).collect();
        let mut even = Bitmap::of(&numbers, |n| n % 2 == 0);
        let third = Bitmap::of(&numbers, |n| n % 3 == 0);
        even.and(&third);
        assert_eq!(even, Bitmap::of(&numbers, |n| n % 6 == 0));
        even.or(&Bitmap::of(&numbers, |n| *n == 1));
        assert!(even.get(1) && !even.get(2) && !even.get(200));
    }
}
