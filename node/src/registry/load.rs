//! Reads and checks the registry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use como_policies::Principal;

use super::entries::{Authority, Developer, Endorsement, Partner};
use crate::config::Layout;

/// A registry that cannot be used. The operator acts.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A file or folder cannot be read or written.
    #[error("{}: {why}\ncheck that this user may use the registry folder", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        why: std::io::Error,
    },
    /// An entry is wrong.
    #[error("{}: {what}\n{fix}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// What to do.
        fix: String,
    },
}

/// All entries, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// Partners by name.
    pub partners: BTreeMap<String, Partner>,
    /// Developers by name.
    pub developers: BTreeMap<String, Developer>,
    /// Endorsements by module name.
    pub endorsements: BTreeMap<String, Endorsement>,
    /// Authorities by name, without the node's own.
    pub authorities: BTreeMap<String, Authority>,
}

impl Registry {
    /// Reads the registry of a node.
    pub fn load(_layout: &Layout) -> Result<Self, RegistryError> {
        todo!()
    }
    /// The partner with this SPIFFE id.
    pub fn partner(&self, id: &str) -> Option<(&str, &Partner)> {
        let found = self
            .partners
            .iter()
            .find(|(_, partner)| partner.id.as_str() == id)?;
        Some((found.0, found.1))
    }
    /// The developer with this SPIFFE id.
    pub fn developer(&self, id: &str) -> Option<(&str, &Developer)> {
        let found = self
            .developers
            .iter()
            .find(|(_, developer)| developer.id.as_str() == id)?;
        Some((found.0, found.1))
    }
    /// The endorsement that holds for a module and these arguments.
    pub fn endorsement(&self, hash_hex: &str, arguments: &[(String, i64)]) -> Option<&Endorsement> {
        self.endorsements
            .values()
            .find(|endorsement| endorsement.hash == hash_hex && endorsement.covers(arguments))
    }
}

impl Endorsement {
    /// Whether it was given for these arguments.
    pub fn covers(&self, arguments: &[(String, i64)]) -> bool {
        arguments.iter().all(|(name, value)| {
            self.arguments
                .get(name)
                .is_none_or(|(min, max)| (min..=max).contains(&value))
        })
    }
}

impl Partner {
    /// What policy is told of it.
    pub fn principal(&self) -> Principal {
        Principal::Partner {
            id: self.id.to_string(),
            organisation: self.organisation.clone(),
            project: self.project.clone(),
            ceiling: self.ceiling,
            may_plug_in: self.may_plug_in,
            suspended: self.suspended || self.revoked,
            listed: true,
        }
    }
}

impl Developer {
    /// What policy is told of it.
    pub fn principal(&self) -> Principal {
        Principal::Developer {
            id: self.id.to_string(),
            organisation: self.id.organisation().to_owned(),
            ceiling: self.ceiling,
            output_ceiling: self.output_ceiling,
            key_revoked: self.revoked,
        }
    }

    /// What policy is told of it where one of its modules is the resource.
    pub fn facts(&self) -> como_policies::DeveloperFacts {
        como_policies::DeveloperFacts {
            id: self.id.to_string(),
            ceiling: self.ceiling,
            output_ceiling: self.output_ceiling,
            key_revoked: self.revoked,
        }
    }
}

/// Largest registry file, bytes.
pub const MAX_ENTRY_BYTES: u64 = 1 << 20;
/// Most entries of a kind.
pub const MAX_ENTRIES: usize = 10_000;

/// The name of an entry's file.
pub(super) fn entry_path(layout: &Layout, folder: &str, name: &str) -> PathBuf {
    layout
        .registry()
        .join(Path::new(folder))
        .join(format!("{name}.toml"))
}
