//! Wrapping a data key for a recipient: HPKE (RFC 9180) in base mode with X-Wing (ML-KEM-768 and
//! X25519), HKDF-SHA256 and ChaCha20-Poly1305. Must never use another mode (authenticated modes do
//! not exist for X-Wing) nor seal anything but a data key.

use crate::KeyError;
use crate::aead::DataKey;
use crate::signing::KeyId;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use std::fmt;
use zeroize::Zeroizing;

/// The one suite, named in every format: X-Wing, HKDF-SHA256, ChaCha20-Poly1305.
pub const SUITE_ID: u16 = 1;
/// Bytes of an [`Identity`] at rest.
pub const IDENTITY_BYTES: usize = 32;
/// Bytes of a [`Recipient`].
pub const RECIPIENT_BYTES: usize = 1216;
/// Bytes of [`WrappedKey::enc`].
pub const ENC_BYTES: usize = 1120;
/// Bytes of [`WrappedKey::ciphertext`]: the key and a tag.
pub const WRAPPED_BYTES: usize = 48;

type PrivateKey = <XWing as Kem>::PrivateKey;
type PublicKey = <XWing as Kem>::PublicKey;

/// A private sealing key; wiped on drop.
#[derive(Clone)]
pub struct Identity {
    seed: Zeroizing<[u8; IDENTITY_BYTES]>,
}

impl Identity {
    /// A random identity.
    pub fn generate() -> Self {
        Self {
            seed: Zeroizing::new(crate::random()),
        }
    }

    /// An identity from its bytes.
    pub fn from_bytes(bytes: &[u8; IDENTITY_BYTES]) -> Self {
        Self {
            seed: Zeroizing::new(*bytes),
        }
    }

    /// The bytes, to store the identity.
    pub fn to_bytes(&self) -> Zeroizing<[u8; IDENTITY_BYTES]> {
        self.seed.clone()
    }

    /// The public half.
    pub fn recipient(&self) -> Recipient {
        Recipient(Box::new(XWing::sk_to_pk(&self.private())))
    }

    /// Opens a data key. `info` names the purpose, `aad` what the key belongs to; both as at wrapping.
    pub fn unwrap(&self, info: &[u8], aad: &[u8], wrapped: &WrappedKey) -> Result<DataKey, KeyError> {
        let refused = KeyError::DoesNotOpen {
            what: "the wrapped key",
        };
        let Ok(enc) = <XWing as Kem>::EncappedKey::from_bytes(&wrapped.enc) else {
            return Err(refused);
        };
        let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeR::Base,
            &self.private(),
            &enc,
            info,
            &wrapped.ciphertext,
            aad,
        );
        let Ok(bytes) = opened.map(Zeroizing::new) else {
            return Err(refused);
        };
        match bytes.as_slice().try_into() {
            Ok(key) => Ok(DataKey::from_bytes(key)),
            Err(_) => Err(refused),
        }
    }

    fn private(&self) -> PrivateKey {
        PrivateKey::from_bytes(&self.seed[..]).expect("an X-Wing private key is any 32 bytes")
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A public sealing key.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient(Box<PublicKey>);

impl Recipient {
    /// The 1216 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes().to_vec()
    }

    /// A recipient from its 1216 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        PublicKey::from_bytes(bytes)
            .map(|key| Self(Box::new(key)))
            .map_err(|_| KeyError::BadKey {
                what: "the recipient",
                why: "it is not an X-Wing public key of 1216 bytes",
            })
    }

    /// The short name of the key.
    pub fn key_id(&self) -> KeyId {
        KeyId::of(&self.to_bytes())
    }

    /// Seals `key` to this recipient. `info` names the purpose, `aad` what the key belongs to.
    pub fn wrap(&self, info: &[u8], aad: &[u8], key: &DataKey) -> WrappedKey {
        let (enc, ciphertext) = hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeS::Base,
            &self.0,
            info,
            key.expose(),
            aad,
        )
        .expect("base mode seals 32 bytes to any valid public key");
        WrappedKey {
            enc: enc.to_bytes().to_vec(),
            ciphertext,
        }
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({})", self.key_id())
    }
}

/// A data key that only one identity opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// The encapsulated shared secret, [`ENC_BYTES`].
    pub enc: Vec<u8>,
    /// The sealed key, [`WRAPPED_BYTES`].
    pub ciphertext: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_wrapped_key_opens_with_its_identity_purpose_and_place_only() {
        let identity = Identity::generate();
        let key = DataKey::generate();
        let wrapped = identity.recipient().wrap(b"info", b"aad", &key);
        assert_eq!(
            (wrapped.enc.len(), wrapped.ciphertext.len()),
            (ENC_BYTES, WRAPPED_BYTES)
        );
        assert_eq!(
            identity.unwrap(b"info", b"aad", &wrapped).unwrap().expose(),
            key.expose()
        );
        assert!(identity.unwrap(b"other", b"aad", &wrapped).is_err());
        assert!(identity.unwrap(b"info", b"other", &wrapped).is_err());
        assert!(Identity::generate().unwrap(b"info", b"aad", &wrapped).is_err());
        // Wrapping twice shows nothing in common.
        assert_ne!(identity.recipient().wrap(b"info", b"aad", &key), wrapped);
    }

    #[test]
    fn identities_and_recipients_read_back() {
        let identity = Identity::generate();
        let recipient = identity.recipient();
        assert_eq!(Identity::from_bytes(&identity.to_bytes()).recipient(), recipient);
        let bytes = recipient.to_bytes();
        assert_eq!(bytes.len(), RECIPIENT_BYTES);
        assert_eq!(Recipient::from_bytes(&bytes).unwrap(), recipient);
        assert_eq!(recipient.key_id(), KeyId::of(&bytes));
    }

    #[test]
    fn malformed_recipients_and_wraps_are_refused() {
        // ML-KEM's modulus check (FIPS 203, 7.2): coefficients above q.
        for bad in [
            &[][..],
            &[0; RECIPIENT_BYTES - 1],
            &[0; RECIPIENT_BYTES + 1],
            &[0xff; RECIPIENT_BYTES],
        ] {
            assert!(Recipient::from_bytes(bad).is_err(), "{} bytes", bad.len());
        }
        let identity = Identity::generate();
        let good = identity.recipient().wrap(b"", b"", &DataKey::generate());
        for bad in [
            WrappedKey {
                enc: vec![],
                ..good.clone()
            },
            WrappedKey {
                enc: good.enc[1..].to_vec(),
                ..good.clone()
            },
            WrappedKey {
                ciphertext: vec![],
                ..good.clone()
            },
            WrappedKey {
                ciphertext: good.ciphertext[1..].to_vec(),
                ..good.clone()
            },
        ] {
            assert!(identity.unwrap(b"", b"", &bad).is_err());
        }
    }

    #[test]
    fn debug_is_redacted() {
        assert_eq!(format!("{:?}", Identity::generate()), "[redacted]");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_flipped_bit_fails(at in 0..ENC_BYTES + WRAPPED_BYTES, bit in 0..8u8) {
            let identity = Identity::generate();
            let mut wrapped = identity.recipient().wrap(b"", b"", &DataKey::generate());
            match at.checked_sub(ENC_BYTES) {
                None => wrapped.enc[at] ^= 1 << bit,
                Some(at) => wrapped.ciphertext[at] ^= 1 << bit,
            }
            prop_assert!(identity.unwrap(b"", b"", &wrapped).is_err());
        }
    }
}
