//! Role processes: which roles there are, how one is started, and the sandbox that each closes over
//! itself before it touches input.
//!
//! Must never hand a role anything but its control socket: no argument, variable or inherited file is a
//! secret. What a role may do once it runs is in [`plan`]; this folder knows no role's code.

mod arguments;
mod landlocked;
pub mod plan;
mod priority;
pub mod probe;
pub mod sandbox;
mod seccomp;
mod spawn;
mod syscalls;
mod uids;

pub use arguments::RoleArguments;
pub use plan::{Needs, SandboxPlan, plan_for};
pub use priority::{go_after_the_node, prioritise};
pub use probe::{ProbeReport, probe_main};
pub use sandbox::{SandboxError, SandboxMode, SandboxReport, enter};
pub use spawn::{ProcessError, Spawned, spawn};
pub use uids::{Ids, UIDS_PER_NODE, UidPlan};

/// A role of the one binary; each runs in processes of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Packets in, sealed blocks and views out.
    Capture,
    /// Live modules.
    Export,
    /// The disk.
    Storage,
    /// The network.
    Query,
    /// Opens sealed segments for one request.
    Reader,
    /// Runs one request and writes its dataset.
    Runner,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 6] = [
        Role::Capture,
        Role::Export,
        Role::Storage,
        Role::Query,
        Role::Reader,
        Role::Runner,
    ];

    /// Its name on the command line, in logs and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Role::Capture => "capture",
            Role::Export => "export",
            Role::Storage => "storage",
            Role::Query => "query",
            Role::Reader => "reader",
            Role::Runner => "runner",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Role::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| format!("there is no role `{text}`"))
    }
}
