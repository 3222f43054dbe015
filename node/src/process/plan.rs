//! What each role may do: the table, and the plan that a role makes of it and of its own directories.
//! Must never let a role ask for more than its row holds.

use std::path::PathBuf;

use super::sandbox::SandboxError;
use super::syscalls::{Denial, denials_for};
use super::{Ids, Role, RoleArguments, SandboxMode};

/// One row of the role table: the resources of a role, with the reason of every exception.
#[derive(Debug)]
pub struct RoleRow {
    /// The role.
    pub role: Role,
    /// Reads folders that the supervisor names, and why; `None`: opens no file for reading.
    pub reads: Option<&'static str>,
    /// Writes into folders that the supervisor names, and why.
    pub writes: Option<&'static str>,
    /// Listens on one TCP port, and why.
    pub listens: Option<&'static str>,
    /// Most open descriptors.
    pub open_files: u64,
    /// Largest address space, bytes. What bounds a role's memory is its own budget; this stops a defect.
    pub address_space_bytes: u64,
    /// Largest file it may write, bytes; `None`: it writes to no file but its log.
    pub file_bytes: Option<u64>,
    /// Permission bits that files it creates do not get.
    pub umask: u32,
    /// Its priority as nice(2) takes it: what the link brings goes before what is computed of it live, and that before
    /// the past. Disk accesses are ordered alike (ioprio_set(2)). Less than zero needs CAP_SYS_NICE.
    pub nice: i32,
}

const GIB: u64 = 1 << 30;

/// The role table. What is absent here is denied.
pub const ROLES: [RoleRow; 6] = [
    RoleRow {
        role: Role::Capture,
        reads: None, // its source is open before the sandbox closes
        writes: None,
        listens: None,
        open_files: 256,
        address_space_bytes: 32 * GIB,
        file_bytes: None,
        umask: 0o077,
        nice: -10,
    },
    RoleRow {
        role: Role::Export,
        reads: None,
        writes: None,
        listens: None,
        open_files: 256,
        address_space_bytes: 32 * GIB,
        file_bytes: None,
        umask: 0o077,
        nice: 0,
    },
    RoleRow {
        role: Role::Storage,
        reads: Some("recovers segments after a crash"),
        writes: Some("the ring of sealed segments and records is its work"),
        listens: None,
        open_files: 4096,
        address_space_bytes: 32 * GIB,
        file_bytes: Some(64 * GIB),
        umask: 0o027, // readers of the same group open what it writes
        nice: -10,
    },
    RoleRow {
        role: Role::Query,
        reads: None,
        writes: None,
        listens: Some("serves partners"),
        open_files: 4096,
        address_space_bytes: 32 * GIB,
        file_bytes: None,
        umask: 0o077,
        nice: 0,
    },
    RoleRow {
        role: Role::Reader,
        reads: Some("opens the sealed segments of its request"),
        writes: None,
        listens: None,
        open_files: 4096,
        address_space_bytes: 32 * GIB,
        file_bytes: None,
        umask: 0o077,
        nice: 5,
    },
    RoleRow {
        role: Role::Runner,
        reads: None,
        writes: None, // its dataset is an open descriptor
        listens: None,
        open_files: 256,
        address_space_bytes: 32 * GIB,
        file_bytes: Some(1024 * GIB),
        umask: 0o077,
        nice: 5,
    },
];

impl Role {
    /// Its row of the role table.
    pub fn row(self) -> &'static RoleRow {
        &ROLES[self as usize]
    }
}

/// What a role learned from the supervisor and needs to reach from inside its sandbox.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Folders (or files) to read.
    pub read: Vec<PathBuf>,
    /// Folders to read, write, create and remove files in.
    pub write: Vec<PathBuf>,
    /// TCP port to listen on; 0: any.
    pub bind_port: Option<u16>,
}

/// Everything that [`super::enter`] will do.
#[derive(Clone, Debug)]
pub struct SandboxPlan {
    /// The role.
    pub role: Role,
    /// Whether a missing restriction stops it.
    pub mode: SandboxMode,
    /// Become this first.
    pub drop_to: Option<Ids>,
    /// What stays reachable.
    pub needs: Needs,
    /// System calls denied, each with its reason.
    pub denials: Vec<Denial>,
}

/// The plan of a role. Refuses needs that its row does not have.
pub fn plan_for(arguments: &RoleArguments, needs: Needs) -> Result<SandboxPlan, SandboxError> {
    let row = arguments.role.row();
    let asks = [
        (!needs.read.is_empty() && row.reads.is_none(), "to read files"),
        (!needs.write.is_empty() && row.writes.is_none(), "to write files"),
        (
            needs.bind_port.is_some() && row.listens.is_none(),
            "to listen on the network",
        ),
    ];
    if let Some((_, what)) = asks.into_iter().find(|(asked, _)| *asked) {
        return Err(SandboxError::NotInTable {
            role: arguments.role,
            what,
        });
    }
    Ok(SandboxPlan {
        role: arguments.role,
        mode: arguments.mode,
        drop_to: arguments.drop_to,
        needs,
        denials: denials_for(arguments.role),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(role: Role) -> RoleArguments {
        RoleArguments {
            role,
            mode: SandboxMode::Strict,
            drop_to: None,
        }
    }

    #[test]
    fn the_table_is_in_the_order_of_the_roles() {
        for role in Role::ALL {
            assert_eq!(role.row().role, role);
        }
    }

    #[test]
    fn the_link_goes_before_live_modules_and_those_before_the_past() {
        let nice = |role: Role| role.row().nice;
        assert!(nice(Role::Capture) <= nice(Role::Storage) && nice(Role::Storage) < nice(Role::Export));
        assert!(nice(Role::Export) < nice(Role::Reader) && nice(Role::Reader) <= nice(Role::Runner));
    }

    #[test]
    fn every_exception_has_a_reason() {
        for row in &ROLES {
            for reason in [row.reads, row.writes, row.listens].into_iter().flatten() {
                assert!(!reason.is_empty());
            }
            for denial in denials_for(row.role) {
                assert!(!denial.reason.is_empty(), "{}: {}", row.role, denial.name);
            }
        }
    }

    #[test]
    fn only_query_listens_and_only_storage_writes() {
        let may = |ask: fn() -> Needs| -> Vec<Role> {
            Role::ALL
                .into_iter()
                .filter(|role| plan_for(&arguments(*role), ask()).is_ok())
                .collect()
        };
        assert_eq!(
            may(|| Needs {
                bind_port: Some(8443),
                ..Needs::default()
            }),
            [Role::Query]
        );
        assert_eq!(
            may(|| Needs {
                write: vec!["/srv".into()],
                ..Needs::default()
            }),
            [Role::Storage]
        );
        assert_eq!(
            may(|| Needs {
                read: vec!["/srv".into()],
                ..Needs::default()
            }),
            [Role::Storage, Role::Reader]
        );
    }
}
