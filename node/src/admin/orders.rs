//! Orders that only the supervisor can carry out while it runs, since it holds the keys and the runs in memory: left in
//! `state/orders/`, taken at SIGHUP and at start, each with an answer beside it. Must never be taken back once it lies there.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use como_keys::KeyError;
use como_keys::keyring::Destroy;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::AdminError;
use super::events::now_ns;
use crate::config::Layout;

/// How long a command waits until a running supervisor has taken its order.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(50);
/// Extension of an answer's file, which else has the name of its order.
const ANSWER: &str = "answer";

/// What the operator wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Destroy the keys of a day: also carried out at the next start.
    Destroy(DestroyOrder),
    /// Tell what runs.
    List,
    /// Stop one live run of a module, by its number.
    StopRun(u64),
    /// Cancel one query, by its id.
    CancelQuery(String),
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was carried out; what there is to tell.
    Done(Value),
    /// There was nothing to carry out.
    Refused {
        /// What is wrong.
        what: String,
        /// What to do.
        fix: String,
    },
}

/// Destroy the keys of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DestroyOrder {
    /// The sealing epoch.
    pub epoch: u32,
    /// The identities of the trace.
    pub trace: bool,
    /// The identities of the records.
    pub records: bool,
}

impl DestroyOrder {
    /// For what of an epoch; there is always something.
    pub fn new(epoch: u32, what: Destroy) -> Self {
        Self {
            epoch,
            trace: what != Destroy::Records,
            records: what != Destroy::Trace,
        }
    }

    /// What of the epoch.
    pub fn what(self) -> Destroy {
        match (self.trace, self.records) {
            (true, false) => Destroy::Trace,
            (false, true) => Destroy::Records,
            _ => Destroy::All,
        }
    }
}

/// Has a running supervisor carry out an order; gives what it answers.
pub(super) fn give(layout: &Layout, supervisor: Pid, order: &Order) -> Result<Value, AdminError> {
    let path = leave(layout, order)?;
    let _ = kill_process(supervisor, Signal::HUP);
    if !is_taken(&path) {
        return Err(AdminError::refused(
            "the running node has not carried out the order yet",
            "its log says why; it does so at its next reload or start",
        ));
    }
    let answer = path.with_extension(ANSWER);
    let text = std::fs::read(&answer).map_err(AdminError::file(&answer))?;
    let _ = std::fs::remove_file(&answer);
    match serde_json::from_slice(&text).map_err(|why| malformed(&answer, &why))? {
        Outcome::Done(told) => Ok(told),
        Outcome::Refused { what, fix } => Err(AdminError::refused(what, fix)),
    }
}

/// Leaves an order; gives the file, which is gone once the order is carried out.
pub(super) fn leave(layout: &Layout, order: &Order) -> Result<PathBuf, AdminError> {
    let folder = layout.orders();
    std::fs::create_dir_all(&folder).map_err(AdminError::file(&folder))?;
    let path = folder.join(format!("{:020}-{}.json", now_ns(), std::process::id()));
    let text = serde_json::to_vec(order).expect("an order is plain data");
    crate::registry::replace(&path, &text).map_err(AdminError::file(&path))?;
    Ok(path)
}

/// Waits until an order is carried out; false: it still lies there.
fn is_taken(path: &Path) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while path.exists() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}

/// Carries out the orders that lie there, oldest first: each is gone only once `carry_out` has it on disk, and its answer lies
/// there by then.
pub fn take(
    layout: &Layout,
    mut carry_out: impl FnMut(Order) -> Result<Outcome, KeyError>,
) -> Result<(), AdminError> {
    for path in lying(layout, "json")? {
        let text = crate::registry::read_bounded(&path)?;
        let order = serde_json::from_str(&text).map_err(|why| malformed(&path, &why))?;
        let outcome = serde_json::to_vec(&carry_out(order)?).expect("an outcome is plain data");
        let answer = path.with_extension(ANSWER);
        crate::registry::replace(&answer, &outcome).map_err(AdminError::file(&answer))?;
        std::fs::remove_file(&path).map_err(AdminError::file(&path))?;
    }
    Ok(())
}

/// Forgets answers that nobody waits for any more.
pub fn forget_answers(layout: &Layout) -> Result<(), AdminError> {
    for path in lying(layout, ANSWER)? {
        std::fs::remove_file(&path).map_err(AdminError::file(&path))?;
    }
    Ok(())
}

/// Files of a kind in the folder of orders, oldest first.
fn lying(layout: &Layout, kind: &str) -> Result<Vec<PathBuf>, AdminError> {
    let folder = layout.orders();
    let entries = match std::fs::read_dir(&folder) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(AdminError::file(&folder))?,
    };
    let mut left: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    left.retain(|path| path.extension().is_some_and(|extension| extension == kind));
    left.sort();
    Ok(left)
}

fn malformed(path: &Path, why: &serde_json::Error) -> KeyError {
    KeyError::Malformed {
        what: path.display().to_string(),
        why: why.to_string(),
        fix: "move the file away and run the command again",
    }
}
