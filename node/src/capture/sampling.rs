//! Sampling of live views, for each consumer: one packet in N is shown, and stands for N by its weight. How many is the
//! operator's choice, and that of load within bounds that the operator gives. Must never touch the trace, nor let
//! who sends packets tell which are chosen.
//!
//! Of each N packets in the order of arrival one is chosen at random (stratified sampling): each has the same chance,
//! so that weighted sums are unbiased, and a view is off by less than N packets.

use std::hash::{BuildHasher, RandomState};

use como_anonymize::bitmap::Bitmap;

/// Views in a row that found hardly anything waiting, before more packets are shown again: about a second or more.
const CALM_VIEWS: u32 = 64;

/// How one consumer is sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sampling {
    least: u32,
    most: u32,
    one_in: u32,
    calm: u32,
}

impl Sampling {
    /// One packet in `least` at best, and no more than one in `most` dropped for load.
    pub fn new(least: u32, most: u32) -> Self {
        let least = least.max(1);
        Self {
            least,
            most: most.max(least),
            one_in: least,
            calm: 0,
        }
    }

    /// New bounds; what load has chosen stays as far as they allow.
    pub fn rebound(&mut self, bounds: &Self) {
        self.one_in = self.one_in.clamp(bounds.least, bounds.most);
        (self.least, self.most) = (bounds.least, bounds.most);
    }

    /// One packet in so many is shown now.
    pub fn one_in(&self) -> u32 {
        self.one_in
    }

    /// The consumer is behind.
    pub fn crowded(&mut self) {
        self.one_in = self.one_in.saturating_mul(2).min(self.most);
        self.calm = 0;
    }

    /// The consumer took what it got.
    pub fn calm(&mut self) {
        self.calm += 1;
        if self.calm >= CALM_VIEWS {
            self.one_in = (self.one_in / 2).max(self.least);
            self.calm = 0;
        }
    }
}

/// Chooses packets: a keyed hash of a counter, under a key that the process makes for itself.
#[derive(Default)]
pub(super) struct Chooser {
    key: RandomState,
    drawn: u64,
}

impl Chooser {
    /// Those of `rows` packets that are shown where one in `one_in` is.
    pub fn choose(&mut self, rows: usize, one_in: u32) -> Bitmap {
        choose(rows, one_in as usize, |below| {
            self.drawn += 1;
            (self.key.hash_one(self.drawn) % below as u64) as usize
        })
    }
}

/// One row of each group of `one_in`, at the place that `draw` gives (below its argument). The last group may be
/// short: its place may lie beyond it.
fn choose(rows: usize, one_in: usize, mut draw: impl FnMut(usize) -> usize) -> Bitmap {
    let mut chosen = Bitmap::none(rows);
    for group in (0..rows).step_by(one_in) {
        chosen.set(group + draw(one_in));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_row_is_chosen_once_over_all_draws() {
        for (rows, one_in) in [(10, 4), (8, 4), (3, 7), (0, 5), (5, 1)] {
            let mut times = vec![0; rows];
            for place in 0..one_in {
                choose(rows, one_in, |_| place)
                    .ones()
                    .for_each(|row| times[row] += 1);
            }
            assert_eq!(times, vec![1; rows], "the same chance, and weights that add up");
        }
    }

    #[test]
    fn load_raises_sampling_up_to_its_bound_and_calm_takes_it_back() {
        let mut sampling = Sampling::new(3, 20);
        let raised: Vec<u32> = (0..4)
            .map(|_| {
                sampling.crowded();
                sampling.one_in()
            })
            .collect();
        assert_eq!(raised, [6, 12, 20, 20]);
        (0..CALM_VIEWS - 1).for_each(|_| sampling.calm());
        assert_eq!(sampling.one_in(), 20);
        sampling.calm();
        assert_eq!(sampling.one_in(), 10);
        (0..9 * CALM_VIEWS).for_each(|_| sampling.calm());
        assert_eq!(sampling.one_in(), 3);
    }

    #[test]
    fn without_a_bound_for_load_nothing_is_ever_sampled_by_it() {
        let mut sampling = Sampling::new(0, 0);
        sampling.crowded();
        assert_eq!(sampling.one_in(), 1);
        sampling.rebound(&Sampling::new(5, 1));
        assert_eq!(sampling.one_in(), 5, "the operator's choice goes first");
    }

    proptest! {
        #[test]
        fn a_view_is_off_by_less_than_one_weight(rows in 0usize..5000, one_in in 1u32..200) {
            let kept = Chooser::default().choose(rows, one_in).count() as i64;
            prop_assert!((kept * i64::from(one_in) - rows as i64).abs() < i64::from(one_in));
        }
    }
}
