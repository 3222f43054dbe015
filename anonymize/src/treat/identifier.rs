//! Identifiers of tunnels and associations: a permutation of their own width, under a key of their own, that leaves
//! values with a meaning where they are.

/// Permutes all values but 0, which stays. `permute` must be a permutation of a domain that holds 0 and `value`.
pub(super) fn keeping_zero(value: u32, permute: impl Fn(u32) -> u32) -> u32 {
    keeping(value, |value| value == 0, permute)
}

/// Permutes the values that are not `fixed` among themselves by cycle walking; the others stay.
pub(super) fn keeping(value: u32, fixed: impl Fn(u32) -> bool, permute: impl Fn(u32) -> u32) -> u32 {
    if fixed(value) {
        return value;
    }
    let mut image = value;
    // Ends: the cycle leads back to `value`, which is not fixed.
    loop {
        image = permute(image);
        if !fixed(image) {
            return image;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_values_stay_and_the_others_are_permuted_among_themselves() {
        // A permutation of 0..1024 that leads low values away and others to them.
        let permute = |value: u32| (value * 5 + 7) % 1024;
        let mut images: Vec<u32> = (0..1024)
            .map(|value| keeping(value, |value| value < 16, permute))
            .collect();
        assert!((0..16).all(|value| images[value as usize] == value));
        images.sort_unstable();
        assert!(images.into_iter().eq(0..1024));
        assert_eq!(keeping_zero(0, permute), 0);
    }
}
