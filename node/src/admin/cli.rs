//! The command tree of the administration; `main.rs` flattens it into its own.

use std::process::ExitCode;

/// Commands that need no running node.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum AdminCommand {
    /// Checks configuration, policies, keys and registry, without starting anything
    Check {
        /// The node's folder, or its configuration file
        #[arg(default_value = ".")]
        node: std::path::PathBuf,
    },
}

/// Runs a command: output to stdout, errors (two lines) to stderr; 0 done, 1 refused or wrong.
pub fn run(_command: AdminCommand) -> ExitCode {
    todo!()
}
