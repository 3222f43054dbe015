//! Evaluation of a policy set with Cedar.

use crate::{Ask, Decision, PolicyError, SystemMode};
use std::path::Path;

/// A validated policy set, ready to decide. Shared between threads.
pub struct PolicyEngine {
    set_hash: String,
}

impl PolicyEngine {
    /// The complete policy set that ships for a mode.
    pub fn builtin(_mode: SystemMode) -> Result<Self, PolicyError> {
        todo!()
    }
    /// The operator's own policy set, checked against the schema in strict mode.
    pub fn from_file(_mode: SystemMode, _path: &Path) -> Result<Self, PolicyError> {
        todo!()
    }
    /// Decides; any evaluation error is a denial.
    pub fn decide(&self, _ask: &Ask<'_>) -> Decision {
        todo!()
    }
    /// SHA-256 of schema and policies, hex.
    pub fn set_hash(&self) -> &str {
        &self.set_hash
    }
}
