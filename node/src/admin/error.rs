//! Errors of the administration: for the operator, two lines each.

use std::path::{Path, PathBuf};

use como_keys::KeyError;
use como_policies::PolicyError;

use crate::config::ConfigError;
use crate::registry::RegistryError;
use crate::ring::RingError;

/// Why a command did nothing.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Keys, certificates or the audit log.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The policy set.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The trace on disk.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A file.
    #[error("{}: {why}\ncheck the path, the space left, and that this user may write there", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        why: std::io::Error,
    },
    /// The command asks for something that cannot be.
    #[error("{what}\n{fix}")]
    Refused {
        /// What is wrong.
        what: String,
        /// What to do.
        fix: String,
    },
}

impl AdminError {
    pub(super) fn refused(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Refused {
            what: what.into(),
            fix: fix.into(),
        }
    }

    pub(super) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |why| Self::File { path, why }
    }
}
