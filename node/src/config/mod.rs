//! The node's one configuration file, `como.toml`: read, checked as a whole, and never written again
//! after `como-node init`.
//!
//! Everything that can be known to be wrong is refused here with file, line and caret; a [`Config`] that
//! exists can be run. Must never hold a secret: the file may be readable to all.

mod diagnose;
mod layout;
mod metrics;
mod reference;
mod sections;
#[cfg(test)]
mod tests;
mod units;

use std::path::{Path, PathBuf};

pub use diagnose::ConfigError;
pub use layout::Layout;
pub use metrics::Metrics;
pub use reference::{documentation, template};
pub use sections::{
    Keys, Limits, Modules, Networks, Node, Policy, Query, Records, Root, Sandbox, Source, Trace,
};
pub use units::{Bytes, Span, SpiffeId};

/// Name of the file in a node's folder.
pub const FILE_NAME: &str = "como.toml";

/// A checked configuration. Paths are absolute; relative ones count from the file's folder.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// Who this node is.
    pub node: Node,
    /// Where packets come from.
    pub source: Source,
    /// What of them is kept.
    pub trace: Trace,
    /// Whom addresses belong to.
    pub networks: Networks,
    /// Results of live modules.
    pub records: Records,
    /// How partners are served.
    pub query: Query,
    /// Which modules may run.
    pub modules: Modules,
    /// Counters for the operator's monitoring.
    pub metrics: Metrics,
    /// The policy set.
    pub policy: Policy,
    /// How roles are confined.
    pub sandbox: Sandbox,
    /// Where the root secret comes from.
    pub keys: Keys,
}

impl Config {
    /// Reads and checks a configuration file, or the `como.toml` of a folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file = if path.is_dir() {
            path.join(FILE_NAME)
        } else {
            path.to_owned()
        };
        let text = diagnose::read(&file)?;
        Self::parse(&file, &text)
    }

    /// Checks the text of a configuration; `file` names it in messages and anchors relative paths.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        sections::parse(file, text)
    }

    /// Where everything of this node lies.
    pub fn layout(&self) -> Layout {
        Layout::new(&self.node.data_dir)
    }
}
