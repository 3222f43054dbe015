//! Orders that only the supervisor can carry out while it runs, since it holds the keys in memory: left in
//! `state/orders/`, taken at SIGHUP and at start. Must never be taken back once it lies there.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use como_keys::KeyError;
use como_keys::keyring::Destroy;
use serde::{Deserialize, Serialize};

use super::AdminError;
use super::events::now_ns;
use crate::config::Layout;

/// How long a command waits until a running supervisor has taken its order.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(50);

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

/// Leaves an order; gives the file, which is gone once the order is carried out.
pub(super) fn leave(layout: &Layout, order: DestroyOrder) -> Result<PathBuf, AdminError> {
    let folder = layout.orders();
    std::fs::create_dir_all(&folder).map_err(AdminError::file(&folder))?;
    let path = folder.join(format!("{:020}-{}.json", now_ns(), std::process::id()));
    let text = serde_json::to_vec(&order).expect("an order is plain data");
    crate::registry::replace(&path, &text).map_err(AdminError::file(&path))?;
    Ok(path)
}

/// Waits until an order is carried out; false: it still lies there.
pub(super) fn is_taken(path: &std::path::Path) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while path.exists() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}

/// Carries out the orders that lie there, oldest first: each is gone only once `carry_out` has it on disk.
pub fn take(
    layout: &Layout,
    mut carry_out: impl FnMut(DestroyOrder) -> Result<(), KeyError>,
) -> Result<(), AdminError> {
    let folder = layout.orders();
    let entries = match std::fs::read_dir(&folder) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(AdminError::file(&folder))?,
    };
    let mut left: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    left.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    left.sort();
    for path in &left {
        let text = crate::registry::read_bounded(path)?;
        let order = serde_json::from_str(&text).map_err(|why| KeyError::Malformed {
            what: path.display().to_string(),
            why: why.to_string(),
            fix: "move the file away and run the command again",
        })?;
        carry_out(order)?;
        std::fs::remove_file(path).map_err(AdminError::file(path))?;
    }
    Ok(())
}
