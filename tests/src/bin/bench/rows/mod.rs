//! The rows, by what they need. A new figure is a function here that gives its rows; a row that cannot be
//! measured says why. Must never let one row's failure end the run.

mod anonymize;
mod archive;
mod bare;
mod cipher;
mod ingest;
mod live;
pub mod modules;
mod native;
mod retrieval;
mod scale;
mod store;

use std::path::{Path, PathBuf};

use crate::row::Row;
use crate::trace::Trace;

/// What every row is measured with.
pub struct Bench {
    /// The capture.
    pub trace: Trace,
    /// Measured rounds after the warm-up.
    pub rounds: u32,
    /// Largest trace in which one flow is looked for, GB of capture.
    pub scale_gb: u64,
    /// Folder for scratch files.
    pub scratch: PathBuf,
}

/// A group of rows that come out of the same runs.
type Group = (&'static [&'static str], fn(&Bench) -> Vec<Row>);

/// Every group, with the names of its rows.
const GROUPS: &[Group] = &[
    (ingest::NAMES, ingest::rows),
    (archive::NAMES, archive::rows),
    (retrieval::NAMES, retrieval::rows),
    (live::NAMES, live::rows),
    (scale::NAMES, scale::rows),
    (store::NAMES, store::rows),
    (cipher::NAMES, cipher::rows),
    (anonymize::NAMES, anonymize::rows),
    (modules::NAMES, modules::rows),
];

/// Measures every group that has a row whose name contains `only`, and gives those rows.
pub fn all(bench: &Bench, only: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for (names, measure) in GROUPS {
        if names.iter().any(|name| name.contains(only)) {
            eprintln!("measuring: {}", names.join("; "));
            rows.extend(measure(bench).into_iter().filter(|row| row.name.contains(only)));
        }
    }
    rows
}

/// An empty folder of its own for one run.
pub fn fresh_folder(scratch: &Path, name: &str) -> Result<PathBuf, String> {
    let folder = scratch.join(name);
    let emptied = match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => std::fs::create_dir_all(&folder),
    };
    emptied.map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(folder)
}
