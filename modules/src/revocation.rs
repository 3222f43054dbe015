//! Signed, numbered, expiring revocation lists: developer keys and module hashes that a node no longer runs.
//! Owns the list's form and its checks; must never say what happens to results that are already stored.

use std::collections::BTreeSet;

use como_capnp::module_capnp;
use como_keys::signing::{KeyId, Signature, SigningKey, VerifyingKey};

use crate::error::ModuleError;
use crate::limits::REVOCATIONS_MAX;
use crate::manifest::fixed;

/// DSSE payload type of a revocation list.
pub const REVOCATIONS_TYPE: &str = "application/vnd.como.revocations+capnp;v=1";

/// A revocation list that was verified, or the empty one of a new node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    /// Grows with every list; a node refuses a smaller one.
    pub number: u64,
    /// When it was made, wall time.
    pub issued_ns: u64,
    /// From when on it must not be relied on: silence must not keep a revoked module running.
    pub expires_ns: u64,
    /// Keys of developers.
    pub keys: BTreeSet<KeyId>,
    /// SHA-256 of code.
    pub modules: BTreeSet<[u8; 32]>,
}

impl RevocationList {
    /// The list of a node whose operator never made one: number 0, empty, never expires.
    pub fn initial() -> Self {
        Self {
            number: 0,
            issued_ns: 0,
            expires_ns: u64::MAX,
            keys: BTreeSet::new(),
            modules: BTreeSet::new(),
        }
    }

    /// Serialises and signs with the key of whoever runs the list (usually the operator).
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        let payload = self.to_bytes();
        let signature = key.sign_dsse(REVOCATIONS_TYPE, &payload);
        let mut message = capnp::message::Builder::new_default();
        let mut out = message.init_root::<module_capnp::signed_revocation_list::Builder>();
        out.set_list(&payload);
        let mut signed = out.init_signature();
        signed.set_key_id(&key.verifying_key().key_id().0);
        signed.set_signature(&signature.0);
        como_capnp::write_message(&message)
    }

    /// Parses and verifies a list. `in_force` is the number of the list that it would replace.
    pub fn verify(bytes: &[u8], key: &VerifyingKey, in_force: u64, now_ns: u64) -> Result<Self, ModuleError> {
        let message = como_capnp::read_message(bytes).map_err(malformed)?;
        let signed = message
            .get_root::<module_capnp::signed_revocation_list::Reader>()
            .map_err(malformed)?;
        let payload = signed.get_list().map_err(malformed)?;
        let signature = signed.get_signature().map_err(malformed)?;
        let signature = Signature(fixed("signature", signature.get_signature())?);
        key.verify_dsse(REVOCATIONS_TYPE, payload, &signature)
            .map_err(|_| ModuleError::BadSignature {
                key_id: hex(&key.key_id().0),
            })?;
        let list = Self::from_bytes(payload)?;
        if list.number < in_force {
            return Err(ModuleError::OldRevocations {
                offered: list.number,
                known: in_force,
            });
        }
        list.check_fresh(now_ns)?;
        Ok(list)
    }

    /// Refuses to be relied on after its time.
    pub fn check_fresh(&self, now_ns: u64) -> Result<(), ModuleError> {
        if now_ns >= self.expires_ns {
            return Err(ModuleError::StaleRevocations {
                number: self.number,
                expires_ns: self.expires_ns,
            });
        }
        Ok(())
    }

    /// Refuses a module by key or code. Ask again when the list changes: running modules are stopped too.
    pub fn check(&self, key_id: &KeyId, wasm_sha256: &[u8; 32]) -> Result<(), ModuleError> {
        let what = if self.keys.contains(key_id) {
            format!("key {}", hex(&key_id.0))
        } else if self.modules.contains(wasm_sha256) {
            format!("module {}", hex(wasm_sha256))
        } else {
            return Ok(());
        };
        Err(ModuleError::Revoked {
            what,
            number: self.number,
        })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut message = capnp::message::Builder::new_default();
        let mut out = message.init_root::<module_capnp::revocation_list::Builder>();
        out.set_number(self.number);
        out.set_issued_ns(self.issued_ns);
        out.set_expires_ns(self.expires_ns);
        let mut keys = out.reborrow().init_keys(self.keys.len() as u32);
        for (i, id) in self.keys.iter().enumerate() {
            keys.set(i as u32, &id.0);
        }
        let mut modules = out.init_modules(self.modules.len() as u32);
        for (i, hash) in self.modules.iter().enumerate() {
            modules.set(i as u32, hash);
        }
        como_capnp::write_message(&message)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, ModuleError> {
        let message = como_capnp::read_message(bytes).map_err(malformed)?;
        let list = message
            .get_root::<module_capnp::revocation_list::Reader>()
            .map_err(malformed)?;
        let keys = list.get_keys().map_err(malformed)?;
        let modules = list.get_modules().map_err(malformed)?;
        let entries = keys.len() as usize + modules.len() as usize;
        if entries > REVOCATIONS_MAX {
            return Err(ModuleError::TooLarge {
                bytes: entries,
                limit: REVOCATIONS_MAX,
            });
        }
        Ok(Self {
            number: list.get_number(),
            issued_ns: list.get_issued_ns(),
            expires_ns: list.get_expires_ns(),
            keys: keys
                .iter()
                .map(|k| fixed("keys", k).map(KeyId))
                .collect::<Result<_, _>>()?,
            modules: modules
                .iter()
                .map(|m| fixed("modules", m))
                .collect::<Result<_, _>>()?,
        })
    }
}

fn malformed(error: impl std::fmt::Display) -> ModuleError {
    ModuleError::Malformed(format!("revocation list: {error}"))
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
