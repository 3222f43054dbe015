//! Ed25519 signatures (RFC 8032) over DSSE's pre-authentication encoding, and the certificates that
//! one key issues for another. Must never sign bytes without a payload type, and must never accept a
//! weak key or a malleable signature.

use crate::labels::payload_type;
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

/// One key's word that another key speaks for a role during a stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The key that may sign.
    pub key: VerifyingKey,
    /// What it may sign as, such as `capture/run/<id>`.
    pub role: String,
    /// First nanosecond of validity, wall time since the Unix epoch.
    pub from_ns: u64,
    /// First nanosecond after validity.
    pub until_ns: u64,
    /// The issuer's signature over [`Certificate::canonical_bytes`].
    pub signature: Signature,
}

/// Longest role name in a certificate, bytes.
pub const MAX_ROLE_BYTES: usize = 256;

impl Certificate {
    /// Issues a certificate.
    ///
    /// # Panics
    /// When `role` is longer than [`MAX_ROLE_BYTES`]: a programming error.
    pub fn issue(issuer: &SigningKey, key: VerifyingKey, role: &str, from_ns: u64, until_ns: u64) -> Self {
        assert!(role.len() <= MAX_ROLE_BYTES, "role names are short");
        let bytes = canonical_bytes(&key, role, from_ns, until_ns);
        let signature = issuer.sign_dsse(payload_type::CERTIFICATE, &bytes);
        Self {
            key,
            role: role.to_owned(),
            from_ns,
            until_ns,
            signature,
        }
    }

    /// Checks the issuer's signature and that `at_ns` lies within the validity.
    pub fn verify(&self, issuer: &VerifyingKey, at_ns: u64) -> Result<(), KeyError> {
        self.verify_signature(issuer)?;
        if at_ns < self.from_ns || at_ns >= self.until_ns {
            return Err(KeyError::CertificateTime {
                role: self.role.clone(),
                from_ns: self.from_ns,
                until_ns: self.until_ns,
                at_ns,
            });
        }
        Ok(())
    }

    /// Checks the issuer's signature only: for what was signed in the past.
    pub fn verify_signature(&self, issuer: &VerifyingKey) -> Result<(), KeyError> {
        issuer.verify_dsse(
            payload_type::CERTIFICATE,
            &self.canonical_bytes(),
            &self.signature,
        )
    }

    /// The bytes that are signed: key (32), from and until (8 each, big-endian), role (UTF-8, to the end).
    pub fn canonical_bytes(&self) -> Vec<u8> {
        canonical_bytes(&self.key, &self.role, self.from_ns, self.until_ns)
    }

    /// Canonical bytes, then the signature (64): one blob to store.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.canonical_bytes();
        bytes.extend_from_slice(&self.signature.0);
        bytes
    }

    /// Reads [`Certificate::to_bytes`]; the signature is not checked.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let malformed = |why: &str| KeyError::Malformed {
            what: "the certificate".to_owned(),
            why: why.to_owned(),
            fix: "take it again from the node that issued it",
        };
        let (rest, signature) = bytes
            .split_last_chunk::<64>()
            .ok_or_else(|| malformed("it is too short"))?;
        let (key, rest) = rest
            .split_first_chunk::<32>()
            .ok_or_else(|| malformed("it is too short"))?;
        let (from_ns, rest) = rest
            .split_first_chunk::<8>()
            .ok_or_else(|| malformed("it is too short"))?;
        let (until_ns, role) = rest
            .split_first_chunk::<8>()
            .ok_or_else(|| malformed("it is too short"))?;
        if role.len() > MAX_ROLE_BYTES {
            return Err(malformed("the role is longer than 256 bytes"));
        }
        Ok(Self {
            key: VerifyingKey::from_bytes(key)?,
            role: std::str::from_utf8(role)
                .map_err(|_| malformed("the role is not UTF-8"))?
                .to_owned(),
            from_ns: u64::from_be_bytes(*from_ns),
            until_ns: u64::from_be_bytes(*until_ns),
            signature: Signature(*signature),
        })
    }
}

fn canonical_bytes(key: &VerifyingKey, role: &str, from_ns: u64, until_ns: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32 + 8 + 8 + role.len());
    bytes.extend_from_slice(&key.to_bytes());
    bytes.extend_from_slice(&from_ns.to_be_bytes());
    bytes.extend_from_slice(&until_ns.to_be_bytes());
    bytes.extend_from_slice(role.as_bytes());
    bytes
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
    fn a_certificate_holds_for_its_issuer_time_and_bytes_only() {
        let (node, run) = (SigningKey::generate(), SigningKey::generate());
        let certificate = Certificate::issue(&node, run.verifying_key(), "capture/run/1", 10, 20);
        let issuer = node.verifying_key();
        assert!(certificate.verify(&issuer, 10).is_ok());
        assert!(certificate.verify(&issuer, 19).is_ok());
        for outside in [0, 9, 20, u64::MAX] {
            assert!(matches!(
                certificate.verify(&issuer, outside),
                Err(KeyError::CertificateTime { .. })
            ));
        }
        assert!(certificate.verify(&run.verifying_key(), 10).is_err());
        for changed in [
            Certificate {
                role: "capture/run/2".into(),
                ..certificate.clone()
            },
            Certificate {
                until_ns: 21,
                ..certificate.clone()
            },
            Certificate {
                from_ns: 9,
                ..certificate.clone()
            },
            Certificate {
                key: issuer,
                ..certificate.clone()
            },
        ] {
            assert!(changed.verify(&issuer, 15).is_err(), "{changed:?}");
        }
        assert_eq!(
            Certificate::from_bytes(&certificate.to_bytes()).unwrap(),
            certificate
        );
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

        #[test]
        fn hostile_certificates_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Certificate::from_bytes(&bytes);
        }
    }
}
