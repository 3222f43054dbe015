//! Tries, inside a role's sandbox, what must be denied: `como-node role probe ROLE`. It is how the tests
//! and a doubtful operator see that the sandbox of this very machine holds.
//!
//! Must never be reachable with input: it takes a role's name and a folder of its own.

use super::RoleArguments;

/// What was tried and how it ended, and what the kernel says of the process.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ProbeReport {
    /// The role whose sandbox it is.
    pub role: String,
    /// What is in force.
    pub sandbox: String,
    /// Things tried: name, and `denied: REASON` or `ALLOWED`.
    pub attempts: std::collections::BTreeMap<String, String>,
    /// Lines of `/proc/self/status`: Uid, Gid, Groups, CapEff, CapPrm, NoNewPrivs, Seccomp.
    pub status: std::collections::BTreeMap<String, String>,
    /// Whether the process may dump core or be looked into.
    pub dumpable: bool,
}

/// Enters the sandbox of `arguments.role` in this process and tries the forbidden things.
pub fn probe(_arguments: &RoleArguments) -> Result<ProbeReport, super::SandboxError> {
    todo!()
}

/// `como-node role probe ROLE [--sandbox MODE] [--drop-to UID:GID]`: prints the report as JSON; 0 when
/// all that must be denied was, 1 otherwise, 2 when the sandbox could not be closed.
pub fn probe_main<S: AsRef<str>>(_args: &[S]) -> std::process::ExitCode {
    todo!()
}
