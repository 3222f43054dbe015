//! The root secret that seals the key file: from a file, a systemd credential or a passphrase. Must never
//! be written anywhere except by `create_key_file`, nor reach any process but the supervisor.

use crate::{KeyError, files};
use argon2::{Algorithm, Argon2, Params, Version};
use std::fmt;
use std::path::Path;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Default memory of argon2id, KiB.
pub const PASSPHRASE_MEMORY_KIB: u32 = 64 << 10;
/// Default passes of argon2id.
pub const PASSPHRASE_PASSES: u32 = 3;
/// Default lanes of argon2id.
pub const PASSPHRASE_LANES: u32 = 4;

/// Most memory that a key file may ask for, KiB: a damaged one must not exhaust the machine.
pub const MAX_PASSPHRASE_MEMORY_KIB: u32 = 2 << 20;
/// Most passes that a key file may ask for.
pub const MAX_PASSPHRASE_PASSES: u32 = 64;
/// Most lanes that a key file may ask for.
pub const MAX_PASSPHRASE_LANES: u32 = 64;

/// What opens the key file.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RootSecret {
    secret: [u8; 32],
    #[zeroize(skip)]
    passphrase: Option<PassphraseParams>,
}

/// Parameters of argon2id (RFC 9106); not secret, kept in the clear head of the key file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassphraseParams {
    /// Random salt, 32 hexadecimal digits.
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
            memory_kib: PASSPHRASE_MEMORY_KIB,
            passes: PASSPHRASE_PASSES,
            lanes: PASSPHRASE_LANES,
        }
    }
}

impl RootSecret {
    /// A random secret.
    pub fn generate() -> Self {
        Self::from_bytes(&Zeroizing::new(crate::random()))
    }

    /// A secret from its bytes.
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        Self {
            secret: *secret,
            passphrase: None,
        }
    }

    /// Creates a root file (mode 0600, 64 hexadecimal digits) with a fresh secret.
    pub fn create_key_file(path: &Path) -> Result<Self, KeyError> {
        let root = Self::generate();
        let mut text = Zeroizing::new([0u8; 65]);
        hex::encode_to_slice(root.secret, &mut text[..64]).expect("64 digits hold 32 bytes");
        text[64] = b'\n';
        files::write_secret(path, &text[..])?;
        Ok(root)
    }

    /// Reads a root file; refuses one that others can read.
    pub fn from_key_file(path: &Path) -> Result<Self, KeyError> {
        Self::from_text(&files::read_secret(path)?, &path.display().to_string())
    }

    /// Reads the credential `name` that systemd passed (`LoadCredentialEncrypted=`).
    pub fn from_systemd_credential(name: &str) -> Result<Self, KeyError> {
        let missing = |why: &str| KeyError::Malformed {
            what: format!("the systemd credential \"{name}\""),
            why: why.to_owned(),
            fix: "set LoadCredentialEncrypted= in the unit, and its name in the configuration",
        };
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY")
            .ok_or_else(|| missing("CREDENTIALS_DIRECTORY is not set: systemd passed none"))?;
        Self::from_credential_in(Path::new(&folder), name)
    }

    fn from_credential_in(folder: &Path, name: &str) -> Result<Self, KeyError> {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(KeyError::Malformed {
                what: format!("the systemd credential \"{name}\""),
                why: "its name is not a plain file name".to_owned(),
                fix: "name it as in LoadCredentialEncrypted=",
            });
        }
        // No mode check: systemd grants access by an ACL, which shows as group permission, in a folder
        // that only this unit reaches.
        let path = folder.join(name);
        let text = std::fs::read(&path)
            .map(Zeroizing::new)
            .map_err(|source| KeyError::File {
                path: path.clone(),
                doing: "read",
                source,
                fix: "set LoadCredentialEncrypted= in the unit, and its name in the configuration",
            })?;
        Self::from_text(&text, &path.display().to_string())
    }

    /// Derives the secret from a passphrase with argon2id.
    pub fn from_passphrase(passphrase: &str, params: &PassphraseParams) -> Result<Self, KeyError> {
        let malformed = |why: String| KeyError::Malformed {
            what: "the passphrase parameters of the key file".to_owned(),
            why,
            fix: "restore the key file from a copy",
        };
        if params.memory_kib > MAX_PASSPHRASE_MEMORY_KIB
            || params.passes > MAX_PASSPHRASE_PASSES
            || params.lanes > MAX_PASSPHRASE_LANES
        {
            return Err(malformed(format!(
                "they ask for {} KiB, {} passes and {} lanes, more than any honest file",
                params.memory_kib, params.passes, params.lanes
            )));
        }
        let salt = hex::decode(&params.salt).map_err(|_| malformed("the salt is not hexadecimal".into()))?;
        let cost = Params::new(params.memory_kib, params.passes, params.lanes, Some(32))
            .map_err(|error| malformed(error.to_string()))?;
        let mut secret = Zeroizing::new([0u8; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, cost)
            .hash_password_into(passphrase.as_bytes(), &salt, &mut secret[..])
            .map_err(|error| malformed(error.to_string()))?;
        Ok(Self {
            secret: *secret,
            passphrase: Some(params.clone()),
        })
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.secret
    }

    pub(crate) fn passphrase_params(&self) -> Option<&PassphraseParams> {
        self.passphrase.as_ref()
    }

    fn from_text(text: &[u8], name: &str) -> Result<Self, KeyError> {
        let mut secret = Zeroizing::new([0u8; 32]);
        hex::decode_to_slice(text.trim_ascii(), &mut secret[..]).map_err(|_| KeyError::Malformed {
            what: name.to_owned(),
            why: "a root secret is 64 hexadecimal digits".to_owned(),
            fix: "restore it from a copy; without it the key file cannot be opened",
        })?;
        Ok(Self::from_bytes(&secret))
    }
}

impl fmt::Debug for RootSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_root_file_reads_back_and_is_refused_when_others_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root");
        let root = RootSecret::create_key_file(&path).unwrap();
        assert_eq!(RootSecret::from_key_file(&path).unwrap().expose(), root.expose());
        assert!(RootSecret::create_key_file(&path).is_err(), "never overwritten");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = RootSecret::from_key_file(&path).unwrap_err().to_string();
        assert!(
            error.contains(&format!("chmod 600 {}", path.display())),
            "{error}"
        );
    }

    #[test]
    fn a_credential_is_read_by_its_plain_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("como-root"), "07".repeat(32) + "\n").unwrap();
        let root = RootSecret::from_credential_in(folder.path(), "como-root").unwrap();
        assert_eq!(root.expose(), &[7; 32]);
        for name in ["", "../como-root", "absent", ".hidden"] {
            assert!(
                RootSecret::from_credential_in(folder.path(), name).is_err(),
                "{name}"
            );
        }
        std::fs::write(folder.path().join("short"), "0707").unwrap();
        assert!(RootSecret::from_credential_in(folder.path(), "short").is_err());
    }

    #[test]
    fn a_passphrase_gives_its_secret_and_no_other() {
        let cheap = PassphraseParams {
            memory_kib: 64,
            passes: 1,
            lanes: 1,
            ..PassphraseParams::generate()
        };
        let root = RootSecret::from_passphrase("correct horse", &cheap).unwrap();
        assert_eq!(
            root.expose(),
            RootSecret::from_passphrase("correct horse", &cheap)
                .unwrap()
                .expose()
        );
        assert_ne!(
            root.expose(),
            RootSecret::from_passphrase("Correct horse", &cheap)
                .unwrap()
                .expose()
        );
        let salted = PassphraseParams {
            salt: "00".repeat(16),
            ..cheap.clone()
        };
        assert_ne!(
            root.expose(),
            RootSecret::from_passphrase("correct horse", &salted)
                .unwrap()
                .expose()
        );
        for bad in [
            PassphraseParams {
                memory_kib: u32::MAX,
                ..cheap.clone()
            },
            PassphraseParams {
                passes: u32::MAX,
                ..cheap.clone()
            },
            PassphraseParams {
                lanes: 0,
                ..cheap.clone()
            },
            PassphraseParams {
                salt: "zz".into(),
                ..cheap
            },
        ] {
            assert!(RootSecret::from_passphrase("x", &bad).is_err(), "{bad:?}");
        }
    }
}
