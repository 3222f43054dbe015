//! The Landlock part of the sandbox: files, TCP, abstract sockets, signals. Must never open a path that
//! the plan does not name.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort,
    PathBeneath, PathFd, PathFdError, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};

use super::Needs;

/// Newest rules that this code was written for; an older kernel enforces those it knows.
const NEWEST: ABI = ABI::V9;
/// First version that denies TCP; before, only seccomp does.
const TCP_SINCE: i32 = ABI::V4 as i32;
/// First version that confines signals and abstract sockets; before, only seccomp does.
const SCOPES_SINCE: i32 = ABI::V6 as i32;

/// What the kernel enforces, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enforced {
    /// Version of the kernel's Landlock; 0: none at all.
    pub abi: i32,
    /// TCP is denied by Landlock too.
    pub tcp: bool,
    /// Signals and abstract sockets are confined by Landlock too.
    pub scopes: bool,
}

/// Why the kernel did not take the rules.
#[derive(Debug, thiserror::Error)]
pub enum LandlockedError {
    /// It refused them.
    #[error(transparent)]
    Rules(#[from] RulesetError),
    /// A path of the plan does not open.
    #[error(transparent)]
    Path(#[from] PathFdError),
}

/// Denies all files but the plan's, and all TCP but its port.
pub fn restrict(needs: &Needs) -> Result<Enforced, LandlockedError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = read
        | AccessFs::WriteFile
        | AccessFs::MakeReg
        | AccessFs::RemoveFile
        | AccessFs::Truncate
        | AccessFs::Refer;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for (paths, access) in [(&needs.read, read), (&needs.write, write)] {
        for path in paths {
            ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(path)?, applicable(path, access)))?;
        }
    }
    if let Some(port) = needs.bind_port {
        ruleset = ruleset.add_rule(NetPort::new(port, AccessNet::BindTcp))?;
    }
    let abi = match ruleset.restrict_self()?.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi as i32,
        _ => 0,
    };
    Ok(Enforced {
        abi,
        tcp: abi >= TCP_SINCE,
        scopes: abi >= SCOPES_SINCE,
    })
}

/// A rule on a single file may not speak of what only folders have.
fn applicable(path: &Path, access: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    if path.is_dir() {
        access
    } else {
        access & AccessFs::from_file(NEWEST)
    }
}
