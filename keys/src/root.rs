//! The root secret that seals the key file: from a key file, a systemd credential or a passphrase.
//! Must never be written anywhere except by `create_key_file`, nor reach any process but the supervisor.

use crate::KeyError;
use std::fmt;
use std::path::Path;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// What opens the key file.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RootSecret(pub(crate) [u8; 32]);

/// Parameters of argon2id (RFC 9106), stored in clear beside the sealed key file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PassphraseParams {
    /// Random salt, hex.
    pub salt: String,
    /// Memory, KiB.
    pub memory_kib: u32,
    /// Passes.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl PassphraseParams {
    /// A fresh salt with the default costs.
    pub fn generate() -> Self {
        Self {
            salt: hex::encode(crate::random::<16>()),
            memory_kib: 64 << 10,
            passes: 3,
            lanes: 4,
        }
    }
}

impl RootSecret {
    /// A random secret.
    pub fn generate() -> Self {
        Self(crate::random())
    }
    /// Creates a key file (mode 0600) with a fresh secret.
    pub fn create_key_file(_path: &Path) -> Result<Self, KeyError> {
        todo!()
    }
    /// Reads a key file; refuses one that others can read.
    pub fn from_key_file(_path: &Path) -> Result<Self, KeyError> {
        todo!()
    }
    /// Reads the credential `name` that systemd passed (`LoadCredentialEncrypted=`).
    pub fn from_systemd_credential(_name: &str) -> Result<Self, KeyError> {
        todo!()
    }
    /// Derives the secret from a passphrase with argon2id.
    pub fn from_passphrase(_passphrase: &str, _params: &PassphraseParams) -> Result<Self, KeyError> {
        todo!()
    }
}

impl fmt::Debug for RootSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
