//! Starts a role: this binary again, with an empty environment and its control socket as standard input.
//! Must never put a secret into arguments or environment, nor leave a role a file that is not its own.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::{Role, RoleArguments, SandboxMode, UidPlan};
use crate::link;

/// Variables that a role inherits: none. Whatever a role must know comes over its control socket.
pub const INHERITED_VARIABLES: [&str; 0] = [];

/// The running binary, whatever has happened to its file since: an update does not mix versions.
pub(super) const OWN_BINARY: &str = "/proc/self/exe";

/// Roles that start with the supervisor's user and take their own once their source is open: an
/// interface needs CAP_NET_RAW, and a capture file may be readable to its owner only.
const OPENS_SOURCE_FIRST: [Role; 1] = [Role::Capture];

/// A role that was started.
#[derive(Debug)]
pub struct Spawned {
    /// The process; the supervisor must wait for it.
    pub child: Child,
    /// The supervisor's end of the control link.
    pub control: OwnedFd,
}

/// A role that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// No socket, or no process.
    #[error(
        "the {role} process does not start: {source}\ncheck the limits on processes and files (ulimit -u, -n), and that the binary may be executed by other users"
    )]
    Start {
        /// Which role.
        role: Role,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

/// Starts `role`. The child's standard input is its control link, its standard error the log; it has no
/// environment, and its working folder is `/`. `instance` tells processes of one role apart in `ps`.
pub fn spawn(role: Role, uids: UidPlan, mode: SandboxMode, instance: &str) -> Result<Spawned, ProcessError> {
    start(role, uids, mode, instance).map_err(|source| ProcessError::Start { role, source })
}

fn start(role: Role, uids: UidPlan, mode: SandboxMode, instance: &str) -> std::io::Result<Spawned> {
    let (control, end) = link::pair()?;
    let ids = uids.ids(role);
    let opens_first = OPENS_SOURCE_FIRST.contains(&role);
    let arguments = RoleArguments {
        role,
        mode,
        drop_to: ids.filter(|_| opens_first),
    };
    let mut command = Command::new(OWN_BINARY);
    command
        .arg0(format!("como-node [{role} {instance}]"))
        .arg("role")
        .args(arguments.to_args())
        .env_clear()
        .envs(
            INHERITED_VARIABLES
                .iter()
                .filter_map(|name| Some((*name, std::env::var_os(name)?))),
        )
        .current_dir("/")
        .stdin(Stdio::from(end))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        // Ctrl-C in a terminal is for the supervisor, which drains its roles in order.
        .process_group(0);
    if let Some(ids) = ids.filter(|_| !opens_first) {
        // As root, the standard library also clears the supplementary groups.
        command.uid(ids.uid).gid(ids.gid);
    }
    Ok(Spawned {
        child: command.spawn()?,
        control,
    })
}
