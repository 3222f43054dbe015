//! A string of 4 to 8 bytes and the search for it. Owns a search whose cost does not depend on what is searched: a sender
//! who chooses payload cannot make it slow.

/// Positions looked at in one turn of the loop.
const STRIDE: usize = 8;
/// Bytes that these positions reach.
const WINDOW_BYTES: usize = STRIDE + Pattern::MAX_BYTES - 1;

/// What is searched for: a word, and which bytes of it count. First byte lowest.
#[derive(Clone, Copy)]
pub struct Pattern {
    word: u64,
    mask: u64,
    length: usize,
}

impl Pattern {
    /// Shorter strings are everywhere.
    pub const MIN_BYTES: usize = 4;
    /// A word.
    pub const MAX_BYTES: usize = 8;
    /// Before `init`.
    pub const NOTHING: Self = Self {
        word: 0,
        mask: 0,
        length: 0,
    };

    /// The lowest `length` bytes of `number`, the highest of them first.
    pub fn new(number: u64, length: usize) -> Self {
        let unused = 8 * (Self::MAX_BYTES - length) as u32;
        let mask = u64::MAX >> unused;
        Self {
            word: (number << unused).swap_bytes() & mask,
            mask,
            length,
        }
    }

    /// Whether `bytes` hold it.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        let mut at = 0;
        let mut found = false;
        while let Some(window) = bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk::<WINDOW_BYTES>())
        {
            found |= self.is_at_any(window);
            at += STRIDE;
        }
        // The last positions, in a window of their own.
        let rest = &bytes[at..];
        let mut window = [0; 2 * WINDOW_BYTES];
        window[..rest.len()].copy_from_slice(rest);
        for start in 0..(rest.len() + 1).saturating_sub(self.length) {
            found |= self.is_at(&window, start);
        }
        found
    }

    /// No branch: one comparison for all positions.
    #[inline(always)]
    fn is_at_any(&self, window: &[u8; WINDOW_BYTES]) -> bool {
        let mut found = false;
        for start in 0..STRIDE {
            found |= self.is_at(window, start);
        }
        found
    }

    #[inline(always)]
    fn is_at(&self, window: &[u8], start: usize) -> bool {
        let bytes = window[start..]
            .first_chunk()
            .map_or(0, |b| u64::from_le_bytes(*b));
        (bytes ^ self.word) & self.mask == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_looking_at_every_position() {
        let mut state = 1u32;
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 16
        };
        let mut hits = 0;
        for _ in 0..20_000 {
            let length = 4 + next() as usize % 5;
            // Two letters only, so that patterns occur by chance.
            let needle: Vec<u8> = (0..length).map(|_| (next() % 2) as u8).collect();
            let bytes: Vec<u8> = (0..next() % 60).map(|_| (next() % 2) as u8).collect();
            let number = needle
                .iter()
                .fold(0, |number, byte| number << 8 | u64::from(*byte));
            let expected = bytes.windows(length).any(|window| window == needle);
            // Bytes above the lowest `length` do not matter.
            let above =
                (u64::from(next()) << 32 | u64::from(next())) & !(u64::MAX >> (8 * (8 - length) as u32));
            assert_eq!(Pattern::new(number | above, length).is_in(&bytes), expected);
            hits += usize::from(expected);
        }
        assert!((1000..19_000).contains(&hits), "{hits} of 20000 have it");
    }

    #[test]
    fn every_place_of_a_packet_is_searched() {
        let pattern = Pattern::new(0xffee_ddcc_bbaa_9988, 8);
        for len in 8..70 {
            for at in 0..=len - 8 {
                let mut bytes = vec![0; len];
                bytes[at..at + 8].copy_from_slice(&[0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99, 0x88]);
                assert!(pattern.is_in(&bytes), "{len} bytes, at {at}");
                assert!(!pattern.is_in(&bytes[..at + 7]) && !pattern.is_in(&bytes[at + 1..]));
            }
        }
        assert!(!Pattern::new(0, 4).is_in(&[0; 3]), "padding is not searched");
        assert!(Pattern::new(0, 4).is_in(&[0; 4]));
    }
}
