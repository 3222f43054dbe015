//! From bytes that anyone may have sent to a module whose origin is known: parse the envelope, find the
//! registered key, verify the signature, check time, release and revocation, then the code's hash.
//! Owns that order (nothing of the manifest is parsed before its signature holds, no byte of code is
//! looked at before its hash does); must never parse WebAssembly (admit.rs).

use std::sync::Arc;

use como_capnp::module_capnp;
use como_keys::digest::sha256;
use como_keys::signing::{KeyId, Signature, SigningKey, VerifyingKey};

use crate::error::ModuleError;
use crate::limits::{SIGNATURES_MAX, SIGNED_MODULE_MAX_BYTES};
use crate::manifest::{Manifest, fixed};
use crate::revocation::{RevocationList, hex};

/// DSSE payload type of a manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.como.module-manifest+capnp;v=1";
/// First bytes of a `.cmod` file.
pub const MAGIC: &[u8; 8] = b"COMOMOD1";

/// A module file, taken apart. Nothing in it is believed yet.
pub struct SignedModule {
    manifest: Vec<u8>,
    signatures: Vec<(KeyId, Signature)>,
    wasm: Vec<u8>,
}

/// A registered developer: who may have signed, and with which key.
#[derive(Debug, Clone)]
pub struct TrustedDeveloper {
    /// SPIFFE id.
    pub id: String,
    /// Its key, from the node's registry, never from the file.
    pub key: VerifyingKey,
}

/// A release of a module that the node already knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownRelease {
    /// Its release number.
    pub release: u64,
    /// Its code.
    pub wasm_sha256: [u8; 32],
}

/// What a signature is checked against.
pub struct Trust<'a> {
    /// Registered developers.
    pub developers: &'a [TrustedDeveloper],
    /// The list in force.
    pub revocations: &'a RevocationList,
    /// Wall time.
    pub now_ns: u64,
    /// The newest release known of (developer id, module name).
    pub last_release: &'a dyn Fn(&str, &str) -> Option<KnownRelease>,
}

/// A module whose origin, freshness and integrity are known. Its code was not looked at yet.
#[derive(Clone)]
pub struct VerifiedModule {
    manifest: Arc<Manifest>,
    wasm: Arc<[u8]>,
}

impl SignedModule {
    /// Signs: fills key id, code hash and length into the manifest and returns the `.cmod` file.
    pub fn sign(manifest: &Manifest, wasm: &[u8], key: &SigningKey) -> Result<Vec<u8>, ModuleError> {
        let mut manifest = manifest.clone();
        manifest.key_id = key.verifying_key().key_id();
        manifest.wasm_sha256 = sha256(wasm);
        manifest.wasm_len = u32::try_from(wasm.len()).map_err(|_| ModuleError::TooLarge {
            bytes: wasm.len(),
            limit: SIGNED_MODULE_MAX_BYTES,
        })?;
        manifest.check()?;
        let payload = manifest.to_bytes();
        let signature = key.sign_dsse(MANIFEST_TYPE, &payload);
        let module = Self {
            manifest: payload,
            signatures: vec![(manifest.key_id, signature)],
            wasm: wasm.to_vec(),
        };
        let bytes = module.to_bytes();
        check_size(&bytes)?;
        Ok(bytes)
    }

    /// Takes a `.cmod` file apart, within [`SIGNED_MODULE_MAX_BYTES`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ModuleError> {
        check_size(bytes)?;
        let Some(message) = bytes.strip_prefix(MAGIC) else {
            return Err(ModuleError::Malformed(if bytes.starts_with(b"\0asm") {
                "this is bare WebAssembly, without manifest and signature".into()
            } else {
                "it does not start with COMOMOD1".into()
            }));
        };
        let message = como_capnp::read_message(message).map_err(malformed)?;
        let module = message
            .get_root::<module_capnp::signed_module::Reader>()
            .map_err(malformed)?;
        let listed = module.get_signatures().map_err(malformed)?;
        if listed.len() as usize > SIGNATURES_MAX {
            return Err(ModuleError::Malformed(format!(
                "{} signatures, the limit is {SIGNATURES_MAX}",
                listed.len()
            )));
        }
        let mut signatures = Vec::with_capacity(listed.len() as usize);
        for signature in listed {
            let id = KeyId(fixed("keyId", signature.get_key_id())?);
            signatures.push((id, Signature(fixed("signature", signature.get_signature())?)));
        }
        Ok(Self {
            manifest: module.get_manifest().map_err(malformed)?.to_vec(),
            signatures,
            wasm: module.get_wasm().map_err(malformed)?.to_vec(),
        })
    }

    /// Verifies origin, freshness and integrity.
    pub fn verify(self, trust: &Trust<'_>) -> Result<VerifiedModule, ModuleError> {
        trust.revocations.check_fresh(trust.now_ns)?;
        let developer = self.signed_by(trust.developers)?;
        let manifest = Manifest::from_bytes(&self.manifest)?;
        if manifest.developer != developer.id || manifest.key_id != developer.key.key_id() {
            return Err(ModuleError::WrongDeveloper {
                claimed: format!(
                    "{} ({})",
                    manifest.developer.escape_default(),
                    hex(&manifest.key_id.0)
                ),
                registered: developer.id.clone(),
            });
        }
        if trust.now_ns >= manifest.not_after_ns {
            return Err(ModuleError::Expired {
                not_after_ns: manifest.not_after_ns,
            });
        }
        if let Some(known) = (trust.last_release)(&manifest.developer, &manifest.name) {
            check_release(&manifest, &known)?;
        }
        trust.revocations.check(&manifest.key_id, &manifest.wasm_sha256)?;
        VerifiedModule::bind(manifest, self.wasm)
    }

    /// The manifest as it stands in the file, **believed by nobody**: for `como module show`.
    pub fn unverified_manifest(&self) -> Result<Manifest, ModuleError> {
        Manifest::from_bytes(&self.manifest)
    }

    fn signed_by<'a>(&self, developers: &'a [TrustedDeveloper]) -> Result<&'a TrustedDeveloper, ModuleError> {
        if self.signatures.is_empty() {
            return Err(ModuleError::Unsigned);
        }
        for (id, signature) in &self.signatures {
            let Some(developer) = developers.iter().find(|d| d.key.key_id() == *id) else {
                continue;
            };
            return developer
                .key
                .verify_dsse(MANIFEST_TYPE, &self.manifest, signature)
                .map(|()| developer)
                .map_err(|_| ModuleError::BadSignature { key_id: hex(&id.0) });
        }
        let ids: Vec<String> = self.signatures.iter().map(|(id, _)| hex(&id.0)).collect();
        Err(ModuleError::UnknownKey {
            key_ids: ids.join(", "),
        })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut message = capnp::message::Builder::new_default();
        let mut out = message.init_root::<module_capnp::signed_module::Builder>();
        out.set_manifest(&self.manifest);
        out.set_wasm(&self.wasm);
        let mut signatures = out.init_signatures(self.signatures.len() as u32);
        for (i, (id, signature)) in self.signatures.iter().enumerate() {
            let mut entry = signatures.reborrow().get(i as u32);
            entry.set_key_id(&id.0);
            entry.set_signature(&signature.0);
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&como_capnp::write_message(&message));
        bytes
    }
}

impl VerifiedModule {
    /// For the sandboxed roles, which hold no registry: takes a file that the supervisor has verified and
    /// sent over its private link. Checks that the code is the signed one, and nothing of the signature.
    pub fn from_supervisor(bytes: &[u8]) -> Result<Self, ModuleError> {
        let module = SignedModule::parse(bytes)?;
        let manifest = Manifest::from_bytes(&module.manifest)?;
        Self::bind(manifest, module.wasm)
    }

    fn bind(manifest: Manifest, wasm: Vec<u8>) -> Result<Self, ModuleError> {
        if manifest.wasm_len as usize != wasm.len() {
            return Err(ModuleError::WrongHash {
                signed: format!("of {} bytes", manifest.wasm_len),
                found: format!("{} bytes", wasm.len()),
            });
        }
        let found = sha256(&wasm);
        if found != manifest.wasm_sha256 {
            return Err(ModuleError::WrongHash {
                signed: hex(&manifest.wasm_sha256),
                found: hex(&found),
            });
        }
        Ok(Self {
            manifest: Arc::new(manifest),
            wasm: wasm.into(),
        })
    }

    /// What was signed.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The code.
    pub fn wasm(&self) -> &[u8] {
        &self.wasm
    }

    /// SHA-256 of the code, in hexadecimal: the module's name in logs, policies and records.
    pub fn hash_hex(&self) -> String {
        hex(&self.manifest.wasm_sha256)
    }
}

/// The same release may come again (a restart, a second partner), another code under its number may not.
fn check_release(manifest: &Manifest, known: &KnownRelease) -> Result<(), ModuleError> {
    let same = manifest.release == known.release && manifest.wasm_sha256 == known.wasm_sha256;
    if manifest.release > known.release || same {
        return Ok(());
    }
    Err(ModuleError::Downgraded {
        name: manifest.name.clone(),
        offered: manifest.release,
        known: known.release,
    })
}

fn check_size(bytes: &[u8]) -> Result<(), ModuleError> {
    if bytes.len() > SIGNED_MODULE_MAX_BYTES {
        return Err(ModuleError::TooLarge {
            bytes: bytes.len(),
            limit: SIGNED_MODULE_MAX_BYTES,
        });
    }
    Ok(())
}

fn malformed(error: impl std::fmt::Display) -> ModuleError {
    ModuleError::Malformed(error.to_string())
}
