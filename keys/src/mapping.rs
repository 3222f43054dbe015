//! Pseudonym keys: one random key per mapping epoch (or audience and epoch), sub-keys per family and
//! field. Must never map anything itself: that is the anonymizer's work.

use crate::labels;
use hkdf::Hkdf;
use sha2::Sha256;
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The key that one set of pseudonyms is made with.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MappingKey([u8; 32]);

impl MappingKey {
    /// A random key.
    pub fn generate() -> Self {
        Self(crate::random())
    }

    /// A key from its bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(*bytes)
    }

    /// The bytes, to hand the key to a process that needs it.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// `N` bytes of HKDF-SHA256 (RFC 5869) for one field; use a label of [`labels::mapping`].
    ///
    /// # Panics
    /// When `N` is above 8160, HKDF's limit: a programming error.
    pub fn subkey<const N: usize>(&self, label: &str) -> Zeroizing<[u8; N]> {
        let mut out = Zeroizing::new([0u8; N]);
        Hkdf::<Sha256>::new(None, &self.0)
            .expand_multi_info(
                &[
                    labels::PREFIX.as_bytes(),
                    labels::MAPPING.as_bytes(),
                    label.as_bytes(),
                ],
                &mut out[..],
            )
            .expect("a sub-key is at most 255 hashes long");
        out
    }
}

impl fmt::Debug for MappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subkeys_are_stable_and_differ_by_label_and_key() {
        let key = MappingKey::from_bytes(&[7; 32]);
        assert_eq!(
            key.subkey::<32>(labels::mapping::IPV4),
            key.subkey(labels::mapping::IPV4)
        );
        assert_ne!(
            key.subkey::<32>(labels::mapping::IPV4),
            key.subkey(labels::mapping::IPV6_PREFIX)
        );
        let other = MappingKey::from_bytes(&[8; 32]);
        assert_ne!(
            key.subkey::<32>(labels::mapping::IPV4),
            other.subkey(labels::mapping::IPV4)
        );
    }

    #[test]
    fn debug_is_redacted() {
        assert_eq!(format!("{:?}", MappingKey::generate()), "[redacted]");
    }
}
