//! A running node. Must never leave a process behind.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::Instant;

use como_tests::site::Site;
use como_tests::site::processes::{self, Process};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{PATIENCE, POLL, Person, wait_for};

/// Lines of the log that a failing test shows.
const LOG_LINES: usize = 40;

/// A node that runs; dropped, it is killed.
pub struct Node {
    /// The supervisor.
    pub child: Child,
    /// The node's folder.
    pub folder: PathBuf,
    log: PathBuf,
    observer: Person,
}

impl Node {
    pub(super) fn launch(site: &Site, log: PathBuf, observer: Person) -> Self {
        Self {
            child: site.launch(&log).unwrap_or_else(|why| panic!("{why}")),
            folder: site.folder.clone(),
            log,
            observer,
        }
    }

    /// Waits until the node answers.
    pub fn answers(&self) {
        wait_for("the node answers", || self.try_status().map(drop));
    }

    /// Waits until the whole source is in the trace.
    pub fn ingested(&self) {
        self.until("the source is ingested", |status| {
            status["capture"]["source_done"] == true
        });
    }

    /// Waits until the node's status is as wanted, and gives it.
    pub fn until(&self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        wait_for(what, || self.try_status().filter(|status| wanted(status)))
    }

    /// What `como status` says.
    pub fn status(&self) -> Value {
        self.observer.como(&["--json", "status"]).json()
    }

    fn try_status(&self) -> Option<Value> {
        let output = self.observer.como(&["--json", "status"]);
        (output.code == 0).then(|| output.json())
    }

    /// What `como catalog` says.
    pub fn catalog(&self) -> Value {
        self.observer.como(&["--json", "catalog"]).json()
    }

    /// All that the node logged, runs before included.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The audit log.
    pub fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    /// Entries of one kind in the audit log.
    pub fn audited(&self, kind: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.audit_log()).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .map(|mut entry| entry["event"].take())
            .filter(|event| event["event"] == kind)
            .collect()
    }

    /// The supervisor's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The role processes, by the table of processes.
    pub fn roles(&self) -> Vec<(String, u32)> {
        let role = |pid: u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            let at = words.iter().position(|word| *word == b"role")?;
            Some((String::from_utf8_lossy(words.get(at + 1)?).into_owned(), pid))
        };
        self.descendants()
            .iter()
            .map(|p| p.pid)
            .filter_map(role)
            .collect()
    }

    /// The process of a role that there is once.
    pub fn role(&self, name: &str) -> Option<u32> {
        self.roles()
            .into_iter()
            .find_map(|(role, pid)| (role == name).then_some(pid))
    }

    /// SIGHUP: configuration and registry are read again.
    pub fn reload(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// Sends the supervisor a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).expect("the supervisor is there");
    }

    /// SIGTERM; the node must drain, seal and end well, and leave nobody behind.
    pub fn stop(mut self) {
        let family = self.descendants();
        self.signal(Signal::SIGTERM);
        let status = self.ended();
        assert!(status.success(), "the node ended with {status}\n{}", self.tail());
        nobody_stays(&family);
    }

    /// SIGKILL to the supervisor; its roles must end by themselves.
    pub fn kill(mut self) {
        let family = self.descendants();
        self.child.kill().expect("the supervisor is there");
        self.child.wait().expect("it is a child");
        nobody_stays(&family);
    }

    /// Waits until the supervisor ends by itself.
    pub fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is a child") {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "the node does not end\n{}",
                self.tail()
            );
            std::thread::sleep(POLL);
        }
    }

    fn descendants(&self) -> Vec<Process> {
        processes::below(self.pid())
    }

    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("The last lines of the node's log:\n{}", self.tail());
        }
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let family = self.descendants();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            nobody_stays(&family);
        }
    }
}

fn nobody_stays(family: &[Process]) {
    // A number alone may be used again.
    let there = |old: &Process| {
        processes::one(old.pid).is_some_and(|now| now.started == old.started && now.state != "Z")
    };
    wait_for("every process of the node ends", || {
        (!family.iter().any(there)).then_some(())
    });
}
