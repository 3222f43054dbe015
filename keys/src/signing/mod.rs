//! Ed25519 signatures (RFC 8032) over DSSE's pre-authentication encoding. Must never sign bytes without a payload type, and must never accept a
//! weak key or a malleable signature.

mod certificate;

pub use certificate::{Certificate, MAX_ROLE_BYTES};

use crate::{KeyError, digest};
use ed25519_dalek::Signer;
use std::fmt;

/// A private Ed25519 key; wiped on drop.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// A random key.
    pub fn generate() -> Self {
        let seed = zeroize::Zeroizing::new(crate::random());
        Self::from_bytes(&seed)
    }

    /// A key from its 32-byte seed.
    pub fn from_bytes(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The seed, to store the key or hand it to the process that signs.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(self.0.verifying_key())
    }

    /// Signs `payload` as a `payload_type` (see [`pae`]).
    pub fn sign_dsse(&self, payload_type: &str, payload: &[u8]) -> Signature {
        Signature(self.0.sign(&pae(payload_type, payload)).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A public Ed25519 key that is not weak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

impl VerifyingKey {
    /// A key from its 32 bytes; refuses points that are not on the curve or of small order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let bad = |why| KeyError::BadKey {
            what: "the public signing key",
            why,
        };
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes)
            .map_err(|_| bad("it is not a point of Ed25519"))?;
        if key.is_weak() {
            return Err(bad("it has small order, so that anything would verify"));
        }
        // A second encoding of a key would be a second key id, which a revocation does not name.
        if key.to_edwards().compress().as_bytes() != bytes {
            return Err(bad("it is not in canonical form"));
        }
        Ok(Self(key))
    }

    /// The 32 bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The short name of the key.
    pub fn key_id(&self) -> KeyId {
        KeyId::of(self.0.as_bytes())
    }

    /// The key as 64 hex digits.
    pub fn hex(&self) -> String {
        hex::encode(self.0.as_bytes())
    }

    /// A key from 64 hex digits.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0u8; 32];
        hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| KeyError::BadKey {
            what: "the public signing key",
            why: "it is not 64 hexadecimal digits",
        })?;
        Self::from_bytes(&bytes)
    }

    /// Checks a signature strictly: no small-order parts, no second encoding of the same signature.
    pub fn verify_dsse(
        &self,
        payload_type: &str,
        payload: &[u8],
        signature: &Signature,
    ) -> Result<(), KeyError> {
        self.0
            .verify_strict(
                &pae(payload_type, payload),
                &ed25519_dalek::Signature::from_bytes(&signature.0),
            )
            .map_err(|_| KeyError::BadSignature {
                what: payload_type.to_owned(),
            })
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.hex())
    }
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl Signature {
    /// A signature from its bytes; refuses any other length than 64.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes = bytes.try_into().map_err(|_| KeyError::BadSignature {
            what: format!("{} bytes", bytes.len()),
        })?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", hex::encode(self.0))
    }
}

/// First 16 bytes of SHA-256 of a public key: names it in headers and logs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 16]);

impl KeyId {
    /// The id of a public key's bytes.
    pub fn of(public_key: &[u8]) -> Self {
        let mut id = [0u8; 16];
        id.copy_from_slice(&digest::sha256(public_key)[..16]);
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl std::str::FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut id = [0u8; 16];
        hex::decode_to_slice(text, &mut id).map_err(|_| KeyError::BadKey {
            what: "the key id",
            why: "it is not 32 hexadecimal digits",
        })?;
        Ok(Self(id))
    }
}

/// DSSE v1 pre-authentication encoding: `DSSEv1 LEN(type) type LEN(payload) payload`, lengths in
/// decimal, separated by one space. Binds the kind of statement to its bytes without parsing them.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of the DSSE specification (protocol.md, version 1.0.2).
    #[test]
    fn pae_is_dsse_v1() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
        assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
        // Moving a byte between type and payload changes the encoding.
        assert_ne!(pae("ab", b"c"), pae("a", b"bc"));
    }

    /// RFC 8032, 7.1, test 1: the key pair (the message differs, as ours is never bare).
    #[test]
    fn keys_are_ed25519() {
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let mut bytes = [0u8; 32];
        hex::decode_to_slice(seed, &mut bytes).unwrap();
        assert_eq!(
            SigningKey::from_bytes(&bytes).verifying_key().hex(),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
    }

    #[test]
    fn weak_and_malformed_keys_are_refused() {
        let mut identity = [0u8; 32];
        identity[0] = 1;
        // The last is y = 18 written as p + 18: a point of high order, not canonical.
        for bad in [identity, [0; 32], [0xff; 32]] {
            assert!(VerifyingKey::from_bytes(&bad).is_err(), "{bad:?}");
        }
        for bad in ["", "00", "zz", &"0".repeat(63)] {
            assert!(VerifyingKey::from_hex(bad).is_err());
        }
        let key = SigningKey::generate().verifying_key();
        assert_eq!(VerifyingKey::from_hex(&format!(" {}\n", key.hex())).unwrap(), key);
        assert_eq!(key.key_id().to_string().parse::<KeyId>().unwrap(), key.key_id());
    }

    #[test]
    fn a_second_encoding_of_a_signature_is_refused() {
        let key = SigningKey::generate();
        let mut signature = key.sign_dsse("t", b"p");
        // s + L is the same scalar, encoded again (RFC 8032, 8.4).
        const L: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let mut carry = 0u16;
        for (byte, l) in signature.0[32..].iter_mut().zip(L) {
            carry += u16::from(*byte) + u16::from(l);
            *byte = carry as u8;
            carry >>= 8;
        }
        assert!(key.verifying_key().verify_dsse("t", b"p", &signature).is_err());
    }

    #[test]
    fn debug_is_redacted() {
        assert_eq!(format!("{:?}", SigningKey::generate()), "[redacted]");
    }

    proptest! {
        #[test]
        fn a_signature_is_over_type_and_payload(
            payload in proptest::collection::vec(any::<u8>(), 0..100),
            at in 0..64usize,
            bit in 0..8u8,
        ) {
            let key = SigningKey::generate();
            let signature = key.sign_dsse("type", &payload);
            let public = key.verifying_key();
            prop_assert!(public.verify_dsse("type", &payload, &signature).is_ok());
            prop_assert!(public.verify_dsse("Type", &payload, &signature).is_err());
            let longer = [&payload[..], b"x"].concat();
            prop_assert!(public.verify_dsse("type", &longer, &signature).is_err());
            let stranger = SigningKey::generate().verifying_key();
            prop_assert!(stranger.verify_dsse("type", &payload, &signature).is_err());
            let mut flipped = signature;
            flipped.0[at] ^= 1 << bit;
            prop_assert!(public.verify_dsse("type", &payload, &flipped).is_err());
        }
    }
}
