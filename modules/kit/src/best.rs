//! The best few of many: what a module with an argument `k` pushes in the end. Owns the order of rows; keeps no more than
//! it was asked for.

/// The best `k` of what is offered, at most N.
pub struct Best<R, T, const N: usize> {
    items: [Option<(R, T)>; N],
    len: usize,
    k: usize,
}

impl<R: Ord + Copy, T: Copy, const N: usize> Best<R, T, N> {
    /// The best `k`, of which N are kept at most.
    pub const fn of(k: usize) -> Self {
        Self {
            items: [None; N],
            len: 0,
            k: if k < N { k } else { N },
        }
    }

    /// Offers one. Of equal ranks the one that was offered first is better.
    ///
    /// What is not among the best is refused by one comparison. The rest is a function of its own in the guest too: fuel
    /// is charged for a loop's whole body, branches not taken included, and few of many are among the best.
    #[inline]
    pub fn offer(&mut self, rank: R, item: T) {
        let full = self.len == self.k;
        if self.k > 0 && !(full && self.items[self.k - 1].is_some_and(|(last, _)| rank <= last)) {
            self.insert(rank, item);
        }
    }

    /// The best first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items[..self.len].iter().flatten().map(|(_, item)| item)
    }

    #[inline(never)]
    fn insert(&mut self, rank: R, item: T) {
        if self.len < self.k {
            self.len += 1;
        }
        let mut at = self.len - 1;
        while at > 0 && self.items[at - 1].is_some_and(|(before, _)| rank > before) {
            self.items[at] = self.items[at - 1];
            at -= 1;
        }
        self.items[at] = Some((rank, item));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn keeps_what_sorting_everything_would(ranks in prop::collection::vec(0u32..50, 0..200), k in 0usize..20) {
            let mut best = Best::<u32, usize, 16>::of(k);
            ranks.iter().enumerate().for_each(|(i, rank)| best.offer(*rank, i));
            let mut all: Vec<usize> = (0..ranks.len()).collect();
            all.sort_by_key(|i| core::cmp::Reverse(ranks[*i]));
            all.truncate(k.min(16));
            prop_assert_eq!(best.iter().copied().collect::<Vec<_>>(), all);
        }
    }
}
