//! A user id per role, where the node is started as root. Must never give two roles one id.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::Role;

/// User ids that a node takes from `sandbox.uid_base` upwards: the common group's number, then a role each.
pub const UIDS_PER_NODE: u32 = 1 + Role::ALL.len() as u32;

/// A user and a group to run as; no supplementary groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// User id, never 0.
    pub uid: u32,
    /// Group id, never 0.
    pub gid: u32,
}

/// Which ids the roles of this node run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UidPlan {
    base: Option<u32>,
}

impl UidPlan {
    /// The plan of a configuration: `uid_base` 0 means that every role keeps the supervisor's user.
    /// Only root can give roles users of their own; started as anybody else, nothing changes.
    pub fn new(uid_base: u32) -> Self {
        let base = (uid_base != 0 && rustix::process::geteuid().is_root()).then_some(uid_base);
        Self { base }
    }

    /// The ids of a role, where it has some of its own.
    pub fn ids(self, role: Role) -> Option<Ids> {
        self.base.map(|base| Ids {
            uid: base + 1 + role as u32,
            gid: base,
        })
    }

    /// Gives a folder to a role, readable by the group of all roles (readers open what storage wrote)
    /// and closed to others. A no-op where roles have no users of their own.
    pub fn give(self, folder: &Path, role: Role) -> std::io::Result<()> {
        let Some(ids) = self.ids(role) else { return Ok(()) };
        chown(folder, Some(ids.uid), Some(ids.gid))?;
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            // Files of an earlier run under another user; links are not followed.
            if entry.file_type()?.is_file() {
                chown(entry.path(), Some(ids.uid), Some(ids.gid))?;
            }
        }
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o750))
    }

    /// The first folder on the way to `path` that a role's user could not pass, if any.
    pub fn impassable(self, path: &Path) -> Option<PathBuf> {
        self.base?;
        let path = path.canonicalize().ok()?;
        let mut folders: Vec<&Path> = path.ancestors().skip(1).collect();
        folders.reverse();
        folders
            .into_iter()
            .find(|folder| {
                folder
                    .metadata()
                    .is_ok_and(|metadata| metadata.mode() & 0o001 == 0)
            })
            .map(Path::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_role_has_a_user_of_its_own_within_the_nodes_range() {
        let plan = UidPlan { base: Some(64_700) };
        let uids: BTreeSet<u32> = Role::ALL.iter().map(|r| plan.ids(*r).unwrap().uid).collect();
        assert_eq!(uids.len(), Role::ALL.len());
        assert!(
            uids.iter()
                .all(|uid| (64_701..64_700 + UIDS_PER_NODE).contains(uid))
        );
        assert!(Role::ALL.iter().all(|r| plan.ids(*r).unwrap().gid == 64_700));
        assert_eq!(UidPlan { base: None }.ids(Role::Query), None);
    }

    #[test]
    fn a_closed_folder_on_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("data");
        std::fs::create_dir(&inner).unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let plan = UidPlan { base: Some(64_700) };
        assert_eq!(plan.impassable(&inner), Some(dir.path().canonicalize().unwrap()));
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        assert_eq!(plan.impassable(&inner), None);
        assert_eq!(UidPlan { base: None }.impassable(&inner), None);
    }
}
