//! Hashes, and what can be a key of the kit's tables. Owns the one hash function of guests; it has no key, see [`hash`].

/// A 64-bit hash of a few words: multiply and fold, then the finaliser of MurmurHash3 (Appleby, 2011).
///
/// Not keyed: whoever writes packets could choose them so that they collide. Addresses at level `anonymized` are
/// safe from that, since pseudonyms come from a key that nobody outside the node has; a module that must stand it
/// elsewhere takes a seed as argument and passes it as the first word.
#[inline(always)]
pub fn hash(words: &[u64]) -> u64 {
    let mut h = 0x9e37_79b9_7f4a_7c15_u64;
    for word in words {
        h = (h ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
        h ^= h >> 32;
    }
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

/// A value that a table can hold, and what an empty place holds: zeros, so that a guest's memory image stays empty.
pub trait Zeroed: Copy {
    /// All zeros.
    const ZERO: Self;
}

/// A value that a table can be searched for.
pub trait Key: Zeroed + Eq {
    /// Its hash.
    fn hash(&self) -> u64;
    /// Whether it is another one. Word by word where it has several: an interpreter takes longer for the vector
    /// instructions that a comparison of bytes would become.
    #[inline(always)]
    fn is(&self, other: &Self) -> bool {
        self == other
    }
}

macro_rules! numbers {
    ($($ty:ty)*) => {$(
        impl Zeroed for $ty {
            const ZERO: Self = 0;
        }
        impl Key for $ty {
            fn hash(&self) -> u64 {
                hash(&[u64::from(*self)])
            }
        }
    )*};
}
numbers!(u8 u16 u32 u64);

impl Zeroed for () {
    const ZERO: Self = ();
}

/// Some words: an address is two ([`Batch::address_words`](crate::Batch::address_words)), a 5-tuple is five.
impl<const N: usize> Zeroed for [u64; N] {
    const ZERO: Self = [0; N];
}
impl<const N: usize> Key for [u64; N] {
    #[inline(always)]
    fn hash(&self) -> u64 {
        hash(self)
    }
    #[inline(always)]
    fn is(&self, other: &Self) -> bool {
        self.iter().zip(other).all(|(word, other)| word == other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// A hash that lost a bit of its input or of its output would show here: every single-bit change of a key
    /// changes about half of the bits, in every position.
    #[test]
    fn every_bit_of_a_key_reaches_every_bit_of_its_hash() {
        let mut flips = [0u32; 64];
        let mut count = 0;
        for key in 0..200u64 {
            let key = [hash(&[key]), key, !key];
            for bit in 0..192 {
                let mut other = key;
                other[bit / 64] ^= 1 << (bit % 64);
                let changed = hash(&key) ^ hash(&other);
                assert_ne!(changed, 0);
                (0..64).for_each(|at| flips[at] += (changed >> at & 1) as u32);
                count += 1;
            }
        }
        for (bit, flips) in flips.iter().enumerate() {
            let share = f64::from(*flips) / f64::from(count);
            assert!(
                (0.45..0.55).contains(&share),
                "bit {bit} changes in {share} of the cases"
            );
        }
    }

    #[test]
    fn consecutive_keys_do_not_collide() {
        let hashes: BTreeSet<u64> = (0..100_000u64).map(|key| [key, 1].hash()).collect();
        assert_eq!(hashes.len(), 100_000);
        assert_ne!(5u16.hash(), 6u16.hash());
    }
}
