//! Certificates: one key's word that another key speaks for a role during a stretch of time. Must never be
//! accepted without its issuer's signature.

use super::{Signature, SigningKey, VerifyingKey};
use crate::KeyError;
use crate::labels::payload_type;

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

    proptest! {
        #[test]
        fn hostile_certificates_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Certificate::from_bytes(&bytes);
        }
    }
}
