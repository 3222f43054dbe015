//! Closes the sandbox around this process, once and for good: limits, user, privileges, files, system
//! calls. Must run before any thread is started and before any input is touched, and must never open up
//! again.

use std::path::PathBuf;

use rustix::process::{Resource, Rlimit, setrlimit, umask};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::{Ids, Role, SandboxPlan, landlocked, seccomp};

/// Whether a restriction that this machine lacks stops a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SandboxMode {
    /// It refuses to start.
    #[default]
    Strict,
    /// It starts and says what is missing.
    BestEffort,
}

impl SandboxMode {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::BestEffort => "best-effort",
        }
    }
}

impl std::str::FromStr for SandboxMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Strict, Self::BestEffort]
            .into_iter()
            .find(|mode| mode.name() == text)
            .ok_or_else(|| format!("`{text}` is neither strict nor best-effort"))
    }
}

/// Why a role refuses to start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// This machine cannot enforce it.
    #[error(
        "{restriction} is not available here: {why}\nrun on a kernel that has it (Linux 5.13 or later), or accept less with `mode = \"best-effort\"` in [sandbox]"
    )]
    Unavailable {
        /// What cannot be enforced.
        restriction: &'static str,
        /// The system's reason.
        why: String,
    },
    /// A folder of the plan is not there or not reachable for the role's user.
    #[error(
        "{}: {why}\ncheck that it exists, and that the role's user may pass the folders above it",
        path.display()
    )]
    Path {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        why: std::io::Error,
    },
    /// The calling code is wrong: threads run already.
    #[error(
        "{threads} threads run already, so that the sandbox would not cover them\nthis is a defect: the sandbox is closed before any thread is started"
    )]
    TooLate {
        /// How many.
        threads: usize,
    },
    /// The calling code is wrong: the role table does not have it.
    #[error("{role} asks {what}, which its row of the role table does not have\nthis is a defect")]
    NotInTable {
        /// The role.
        role: Role,
        /// What it asked for.
        what: &'static str,
    },
}

/// What holds now.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SandboxReport {
    /// Restrictions in force.
    pub enforced: Vec<String>,
    /// Restrictions that this machine lacks (only in best-effort mode).
    pub missing: Vec<String>,
}

impl std::fmt::Display for SandboxReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.enforced.join(", "))?;
        if !self.missing.is_empty() {
            write!(f, "; MISSING: {}", self.missing.join(", "))?;
        }
        Ok(())
    }
}

/// Closes the sandbox. After this the process can open only what the plan names, and stays so.
pub fn enter(plan: &SandboxPlan) -> Result<SandboxReport, SandboxError> {
    only_one_thread()?;
    for path in plan.needs.read.iter().chain(&plan.needs.write) {
        path.metadata().map_err(|why| SandboxError::Path {
            path: path.clone(),
            why,
        })?;
    }
    let mut steps = Steps {
        strict: plan.mode == super::SandboxMode::Strict,
        report: SandboxReport {
            enforced: Vec::new(),
            missing: Vec::new(),
        },
    };
    umask(rustix::fs::Mode::from_raw_mode(plan.role.row().umask));
    steps.take("resource limits", limit(plan.role).map(|()| String::new()))?;
    if let Some(ids) = plan.drop_to {
        steps.take("own user", become_user(ids).map(|()| format!(" {}", ids.uid)))?;
    }
    steps.take("no capabilities", drop_capabilities().map(|()| String::new()))?;
    steps.take(
        "no_new_privs",
        nix::sys::prctl::set_no_new_privs().map(|()| String::new()),
    )?;
    // After the change of user, which resets it.
    steps.take(
        "non-dumpable",
        nix::sys::prctl::set_dumpable(false).map(|()| String::new()),
    )?;
    steps.take("Landlock", confine(plan))?;
    steps.take(
        "seccomp",
        seccomp::install(&plan.denials).map(|()| format!(" ({} denials)", plan.denials.len())),
    )?;
    Ok(steps.report)
}

/// Collects what worked; in strict mode the first failure ends it.
struct Steps {
    strict: bool,
    report: SandboxReport,
}

impl Steps {
    fn take<E: ToString>(
        &mut self,
        restriction: &'static str,
        result: Result<String, E>,
    ) -> Result<(), SandboxError> {
        match result {
            Ok(detail) => self.report.enforced.push(format!("{restriction}{detail}")),
            Err(why) if self.strict => {
                return Err(SandboxError::Unavailable {
                    restriction,
                    why: why.to_string(),
                });
            }
            Err(why) => self
                .report
                .missing
                .push(format!("{restriction} ({})", why.to_string())),
        }
        Ok(())
    }
}

fn only_one_thread() -> Result<(), SandboxError> {
    let tasks = PathBuf::from("/proc/self/task");
    match std::fs::read_dir(&tasks) {
        Ok(entries) => match entries.count() {
            1 => Ok(()),
            threads => Err(SandboxError::TooLate { threads }),
        },
        Err(why) => Err(SandboxError::Path { path: tasks, why }),
    }
}

fn limit(role: Role) -> std::io::Result<()> {
    let row = role.row();
    let limits = [
        (Resource::Core, Some(0)),
        (Resource::Nofile, Some(row.open_files)),
        (Resource::As, Some(row.address_space_bytes)),
        (Resource::Fsize, row.file_bytes),
    ];
    for (resource, limit) in limits {
        let Some(limit) = limit else { continue };
        // Never above what the machine's administrator allows.
        let allowed = rustix::process::getrlimit(resource).maximum;
        let limit = Some(allowed.map_or(limit, |allowed| allowed.min(limit)));
        setrlimit(
            resource,
            Rlimit {
                current: limit,
                maximum: limit,
            },
        )?;
    }
    Ok(())
}

fn become_user(ids: Ids) -> Result<(), String> {
    use nix::unistd::{Gid, Uid, getresuid, setgroups, setresgid, setresuid, setuid};
    let (uid, gid) = (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid));
    // Groups and group first: the new user may not change them any more.
    setgroups(&[])
        .and_then(|()| setresgid(gid, gid, gid))
        .and_then(|()| setresuid(uid, uid, uid))
        .map_err(|e| e.to_string())?;
    let now = getresuid().map_err(|e| e.to_string())?;
    let way_back = setuid(Uid::from_raw(0)).is_ok();
    if way_back || [now.real, now.effective, now.saved] != [uid; 3] {
        return Err("root was not left for good".to_owned());
    }
    Ok(())
}

fn drop_capabilities() -> rustix::io::Result<()> {
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )
}

/// Files must be denied by Landlock. TCP, signals and abstract sockets are denied by seccomp as well, so
/// that a kernel whose Landlock does not know them yet is good enough.
fn confine(plan: &SandboxPlan) -> Result<String, String> {
    let enforced = landlocked::restrict(&plan.needs).map_err(|e| e.to_string())?;
    if enforced.abi == 0 {
        return Err("the kernel has it not, or not switched on (boot option lsm=)".to_owned());
    }
    let mut covers = vec!["files"];
    if enforced.tcp {
        covers.push("TCP");
    }
    if enforced.scopes {
        covers.extend(["signals", "abstract sockets"]);
    }
    Ok(format!(" v{} ({})", enforced.abi, covers.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Needs, RoleArguments, SandboxMode, plan_for};

    #[test]
    fn a_process_with_threads_is_refused() {
        // The test harness runs this in a thread of its own: there are at least two.
        let arguments = RoleArguments {
            role: Role::Query,
            mode: SandboxMode::BestEffort,
            drop_to: None,
        };
        let plan = plan_for(&arguments, Needs::default()).unwrap();
        assert!(matches!(
            enter(&plan),
            Err(SandboxError::TooLate { threads: 2.. })
        ));
    }

    #[test]
    fn strict_stops_where_best_effort_notes() {
        let empty = || SandboxReport {
            enforced: vec![],
            missing: vec![],
        };
        let mut strict = Steps {
            strict: true,
            report: empty(),
        };
        let error = strict.take("Landlock", Err::<String, _>("absent")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("Landlock is not available here: absent\n")
        );
        let mut lax = Steps {
            strict: false,
            report: empty(),
        };
        lax.take("Landlock", Err::<String, _>("absent")).unwrap();
        lax.take("seccomp", Ok::<_, String>(" (3 denials)".into()))
            .unwrap();
        assert_eq!(
            lax.report.to_string(),
            "seccomp (3 denials); MISSING: Landlock (absent)"
        );
    }
}
