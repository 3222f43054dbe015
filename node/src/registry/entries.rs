//! The entries of the registry as they stand in their files.

use std::collections::BTreeMap;
use std::fmt;

use como_policies::AccessLevel;
use serde::{Deserialize, Serialize};

use crate::config::SpiffeId;

/// Name of an entry: its file is `NAME.toml`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RegistryName(String);

/// Longest name, bytes.
pub const MAX_NAME_BYTES: usize = 64;

impl std::str::FromStr for RegistryName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ok = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if text.is_empty() || text.len() > MAX_NAME_BYTES || text.starts_with('.') || !text.chars().all(ok) {
            return Err(format!(
                "`{}` is not a name; use letters, digits, `.`, `_` and `-`, at most {MAX_NAME_BYTES}",
                text.escape_debug()
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for RegistryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for RegistryName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Somebody who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partner {
    /// SPIFFE id: the name in the partner's certificates.
    pub id: SpiffeId,
    /// The organisation, from the id.
    pub organisation: String,
    /// The project: the audience that pseudonyms are made for.
    pub project: String,
    /// The highest level it may see.
    pub ceiling: AccessLevel,
    /// May submit modules and have them run for itself.
    pub may_plug_in: bool,
    /// For the time being, everything is refused.
    pub suspended: bool,
    /// For good: nothing is answered any more.
    pub revoked: bool,
    /// Public half of the key that signs its requests (Ed25519), 64 hex digits.
    pub request_key: String,
    /// Public half of its dataset identity (X-Wing), hex.
    pub dataset_recipient: String,
    /// Serial numbers of the certificates that this node's authority issued to it, hex.
    pub certificate_serials: Vec<String>,
    /// Of these, those that went with keys that were replaced.
    #[serde(default)]
    pub revoked_serials: Vec<String>,
}

/// Somebody who signs modules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Developer {
    /// SPIFFE id.
    pub id: SpiffeId,
    /// Public half of the key that signs modules (Ed25519), 64 hex digits.
    pub key: String,
    /// Public half of the key that signs its requests (Ed25519), 64 hex digits.
    pub request_key: String,
    /// The highest level that its modules may see.
    pub ceiling: AccessLevel,
    /// The highest level that their results may have.
    pub output_ceiling: AccessLevel,
    /// Its modules are stopped and no more are taken.
    pub revoked: bool,
    /// Serial numbers of the certificates that this node's authority issued to it, hex.
    #[serde(default)]
    pub certificate_serials: Vec<String>,
    /// Of these, those that went with keys that were replaced.
    #[serde(default)]
    pub revoked_serials: Vec<String>,
    /// Keys that signed modules before and sign no more; what they signed goes on.
    #[serde(default)]
    pub retired_keys: Vec<String>,
    /// Keys that signed modules before; what they signed runs no more.
    #[serde(default)]
    pub revoked_keys: Vec<String>,
}

/// The operator's word that a module's results are of a level below its input's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endorsement {
    /// SHA-256 of the module, 64 hex digits.
    pub hash: String,
    /// The level that its results then have.
    pub output_level: AccessLevel,
    /// For which arguments it holds: name to smallest and largest value. Absent: any value.
    #[serde(default)]
    pub arguments: BTreeMap<String, (i64, i64)>,
}

/// A certificate authority that a consortium's partner brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// The SPIFFE trust domain that it may speak for, and no other.
    pub domain: String,
    /// Its certificate, PEM.
    pub certificate: String,
    /// Its revocation lists, PEM; may be empty.
    #[serde(default)]
    pub revocations: String,
}
