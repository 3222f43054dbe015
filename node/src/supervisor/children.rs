//! The supervisor's child processes: start, messages, death. Must never know what a role does.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::mpsc::{Sender, SyncSender, TrySendError, sync_channel};
use std::time::Instant;

use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Event;
use crate::config::Config;
use crate::link;
use crate::process::{self, ProcessError, Role, SandboxMode, UidPlan};

/// Messages that may wait for a role that is slow to read; a role that lets more pile up is killed.
const MAX_WAITING_MESSAGES: usize = 1024;

/// A process, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId(pub u64);

/// Why a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// One of the processes that always run.
    Core,
    /// Runs live modules of one level and audience.
    Export(ExportKey),
    /// Reads or computes for one query.
    Job(String),
}

/// What one export process serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExportKey {
    /// The level of its views.
    pub level: como_policies::AccessLevel,
    /// The audience of their pseudonyms; empty: the node's own.
    pub audience: String,
}

/// One running process.
pub struct Child {
    /// Its role.
    pub role: Role,
    /// Why it runs.
    pub purpose: Purpose,
    /// Process id.
    pub pid: u32,
    /// Whether it reported that its sandbox is in force.
    pub ready: bool,
    /// What its sandbox holds, in its own words.
    pub sandbox: String,
    /// When it started.
    pub started: Instant,
    /// Whether it was told to stop: its end is then no death.
    pub stopping: bool,
    outgoing: SyncSender<(Vec<u8>, Vec<OwnedFd>)>,
    pidfd: OwnedFd,
}

/// How processes of this node are started.
pub struct Launcher {
    uids: UidPlan,
    mode: SandboxMode,
}

impl Launcher {
    /// As the configuration says.
    pub fn new(config: &Config) -> Self {
        Self {
            uids: UidPlan::new(config.sandbox.uid_base),
            mode: config.sandbox.mode,
        }
    }

    /// The users of the roles.
    pub fn uids(&self) -> UidPlan {
        self.uids
    }
}

/// All running processes.
pub struct Children {
    next: u64,
    running: BTreeMap<ChildId, Child>,
    events: Sender<Event>,
    launcher: Launcher,
}

impl Children {
    /// No process yet; what they say arrives as events.
    pub fn new(events: Sender<Event>, launcher: Launcher) -> Self {
        Self {
            next: 1,
            running: BTreeMap::new(),
            events,
            launcher,
        }
    }

    /// Starts a role and sends it its first message.
    pub fn start(&mut self, role: Role, purpose: Purpose, first: Vec<u8>) -> Result<ChildId, ProcessError> {
        let id = ChildId(self.next);
        self.next += 1;
        let mut spawned = process::spawn(role, self.launcher.uids, self.launcher.mode, &id.0.to_string())?;
        let pid = spawned.child.id();
        process::prioritise(role, pid);
        let pidfd = rustix::process::Pid::from_raw(pid as i32)
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
            .map_err(|e| ProcessError::Start {
                role,
                source: e.into(),
            })?;
        let (mut sender, mut receiver) = link::split(role.name(), spawned.control)
            .map_err(|source| ProcessError::Start { role, source })?;
        let (outgoing, queue) = sync_channel::<(Vec<u8>, Vec<OwnedFd>)>(MAX_WAITING_MESSAGES);
        std::thread::spawn(move || {
            while let Ok((bytes, descriptors)) = queue.recv() {
                let borrowed: Vec<_> = descriptors.iter().map(|fd| fd.as_fd()).collect();
                if sender.send_bytes(&bytes, &borrowed).is_err() {
                    break; // The receiver sees the end and reports the death.
                }
            }
        });
        let events = self.events.clone();
        std::thread::spawn(move || {
            while let Ok(Some(frame)) = receiver.recv() {
                if events.send(Event::Said(id, frame)).is_err() {
                    break;
                }
            }
            // A role without a control link is ending, or it breaks the protocol and would go on unheard.
            // Who is ending keeps the status it ends with.
            let _ = spawned.child.kill();
            let status = spawned.child.wait();
            let _ = events.send(Event::Ended(id, status));
        });
        let child = Child {
            role,
            purpose,
            pid,
            ready: false,
            sandbox: String::new(),
            started: Instant::now(),
            stopping: false,
            outgoing,
            pidfd,
        };
        self.running.insert(id, child);
        self.send(id, first);
        Ok(id)
    }

    /// The users of the roles.
    pub fn uids(&self) -> UidPlan {
        self.launcher.uids()
    }

    /// Queues a message; a role that does not read is killed, since nothing may wait for it for ever.
    pub fn send(&mut self, id: ChildId, message: Vec<u8>) {
        self.send_with(id, message, Vec::new());
    }

    /// Queues a message with descriptors.
    pub fn send_with(&mut self, id: ChildId, message: Vec<u8>, descriptors: Vec<OwnedFd>) {
        let Some(child) = self.running.get(&id) else {
            return;
        };
        if let Err(TrySendError::Full(_)) = child.outgoing.try_send((message, descriptors)) {
            tracing::error!(role = child.role.name(), "does not read its messages: killed");
            self.kill(id);
        }
    }

    /// Tells a process to drain and exit.
    pub fn stop(&mut self, id: ChildId) {
        if let Some(child) = self.running.get_mut(&id) {
            child.stopping = true;
            self.send(id, crate::wire::stop());
        }
    }

    /// Ends a process at once.
    pub fn kill(&mut self, id: ChildId) {
        if let Some(child) = self.running.get(&id) {
            let _ = pidfd_send_signal(&child.pidfd, Signal::KILL);
        }
    }

    /// Forgets a process that ended; its entry is returned.
    pub fn remove(&mut self, id: ChildId) -> Option<Child> {
        self.running.remove(&id)
    }

    /// One process.
    pub fn get(&self, id: ChildId) -> Option<&Child> {
        self.running.get(&id)
    }

    /// One process, to change.
    pub fn get_mut(&mut self, id: ChildId) -> Option<&mut Child> {
        self.running.get_mut(&id)
    }

    /// The ready process of a core role.
    pub fn ready(&self, role: Role) -> Option<ChildId> {
        self.iter()
            .find(|(_, c)| c.role == role && c.purpose == Purpose::Core && c.ready)
            .map(|(id, _)| id)
    }

    /// The export process of a level and audience.
    pub fn export(&self, key: &ExportKey) -> Option<ChildId> {
        self.iter()
            .find(|(_, c)| matches!(&c.purpose, Purpose::Export(k) if k == key))
            .map(|(id, _)| id)
    }

    /// Whether a process was started for this level and audience.
    pub fn exports(&self, id: ChildId, key: &ExportKey) -> bool {
        let child = self.running.get(&id);
        child.is_some_and(|c| matches!(&c.purpose, Purpose::Export(k) if k == key))
    }

    /// All export processes whose sandbox is in force.
    pub fn ready_exports(&self) -> Vec<(ChildId, ExportKey)> {
        let key = |child: &Child| match &child.purpose {
            Purpose::Export(key) if child.ready => Some(key.clone()),
            _ => None,
        };
        self.iter().filter_map(|(id, c)| Some((id, key(c)?))).collect()
    }

    /// Whether an export process was started whose sandbox is not in force yet.
    pub fn is_export_starting(&self) -> bool {
        self.iter()
            .any(|(_, child)| child.role == Role::Export && !child.ready && !child.stopping)
    }

    /// The processes of a job.
    pub fn of_job(&self, job: &str) -> Vec<ChildId> {
        self.iter()
            .filter(|(_, c)| matches!(&c.purpose, Purpose::Job(j) if j == job))
            .map(|(id, _)| id)
            .collect()
    }

    /// All processes.
    pub fn iter(&self) -> impl Iterator<Item = (ChildId, &Child)> {
        self.running.iter().map(|(id, child)| (*id, child))
    }
}

/// How a process ended, for people.
pub fn describe_end(status: &std::io::Result<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status {
        Ok(s) => match (s.code(), s.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "unknown end".to_owned(),
        },
        Err(e) => format!("could not be waited for: {e}"),
    }
}
