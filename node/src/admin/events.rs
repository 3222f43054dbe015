//! Administration in the audit log. While a supervisor runs, it alone writes the log: a command leaves
//! its event in `state/events/` and sends SIGHUP, and the supervisor takes it from there.

use std::path::PathBuf;

use como_keys::KeyError;
use como_keys::audit::AuditLog;
use como_keys::signing::SigningKey;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::AdminError;
use crate::config::Layout;

/// One administrative change, as it stands in the audit log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AdminEvent {
    /// Always `administration`.
    pub event: String,
    /// The command, as `partner add`.
    pub command: String,
    /// What it was about: the entry's name, an epoch.
    pub subject: String,
    /// The SPIFFE id, where there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// What was granted or changed, for people.
    pub detail: String,
    /// The user who ran it.
    pub user: u32,
    /// When, wall time.
    pub at_ns: u64,
}

impl AdminEvent {
    pub(super) fn new(command: &str, subject: &str, id: &str, detail: String) -> Self {
        Self {
            event: "administration".to_owned(),
            command: command.to_owned(),
            subject: subject.to_owned(),
            id: id.to_owned(),
            detail,
            user: rustix::process::getuid().as_raw(),
            at_ns: now_ns(),
        }
    }
}

/// Wall time, ns since the Unix epoch.
pub(super) fn now_ns() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}

/// Puts a change on record: into the log, or before a running supervisor, which is also told to read the
/// registry again.
pub(super) fn record(layout: &Layout, node_key: &SigningKey, event: &AdminEvent) -> Result<(), AdminError> {
    if let Some(pid) = running_supervisor(layout) {
        leave(layout, event)?;
        // It may have ended since: then the next start finds the event.
        let _ = kill_process(pid, Signal::HUP);
        return Ok(());
    }
    let mut log = AuditLog::open(&layout.audit_log(), node_key.clone())?;
    take(layout, &mut log)?;
    log.append(event.at_ns, event)?;
    Ok(())
}

pub(super) fn leave(layout: &Layout, event: &AdminEvent) -> Result<(), AdminError> {
    let name = format!("{:020}-{}.json", event.at_ns, std::process::id());
    let path = layout.events().join(name);
    let text = serde_json::to_vec(event).expect("an event is plain data");
    crate::registry::replace(&path, &text).map_err(AdminError::file(&path))
}

/// Moves the events that commands have left into the log, oldest first; returns how many. For the
/// supervisor, at start and on SIGHUP.
pub fn take(layout: &Layout, log: &mut AuditLog) -> Result<usize, AdminError> {
    let folder = layout.events();
    let mut left: Vec<PathBuf> = match std::fs::read_dir(&folder) {
        Ok(entries) => entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect(),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(why) => return Err(AdminError::File { path: folder, why }),
    };
    left.sort();
    for path in &left {
        let text = crate::registry::read_bounded(path)?;
        let event: AdminEvent = serde_json::from_str(&text).map_err(|why| KeyError::Malformed {
            what: path.display().to_string(),
            why: why.to_string(),
            fix: "move the file away and run the command again",
        })?;
        log.append(event.at_ns.max(1), &event)?;
        std::fs::remove_file(path).map_err(AdminError::file(path))?;
    }
    Ok(left.len())
}

/// The supervisor of this node, if it runs: its pid file, and a process that is still ours.
pub fn running_supervisor(layout: &Layout) -> Option<Pid> {
    let text = std::fs::read_to_string(layout.pid_file()).ok()?;
    let pid = Pid::from_raw(text.trim().parse().ok()?)?;
    // The number may be another program's by now.
    let command = std::fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    (command.contains("como-node") && test_kill_process(pid).is_ok()).then_some(pid)
}
