//! `como-node import`: which files are to be brought in, in which order, and which were already. Looks at files
//! before any key is opened; must never look at more of a packet than its time.

mod command;
mod ledger;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use command::{BringIn, ImportArguments, Told, run};
use como_keys::digest::Hasher;
use como_savefile::{OpenError, Reader, Record};
use indicatif::ProgressBar;
pub use ledger::{Entry, Ledger};

use super::AdminError;
use super::trace::progress_bar;
use crate::config::{Config, Source};

/// Bytes that are hashed at once.
const HASHED_BYTES: usize = 1 << 20;

/// A file that is not in the trace, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where it is.
    pub path: PathBuf,
    /// Under which it is known, and how far it came.
    pub entry: Entry,
    /// Time of its first packet, ns since the Unix epoch; `None`: it has none that reads.
    pub first_ns: Option<u64>,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of their first packets.
    pub todo: Vec<Candidate>,
    /// Imported before, or given twice.
    pub skipped: Vec<(PathBuf, Entry)>,
}

/// Looks at all files, each whole: a file is known by its content, wherever it lies.
pub fn plan(config: &Config, ledger: &Ledger, files: &[PathBuf]) -> Result<Plan, AdminError> {
    let total = files
        .iter()
        .map(|path| path.metadata().map_or(0, |about| about.len()))
        .sum();
    let bar = progress_bar(total, "recognising");
    let mut plan = Plan::default();
    for path in files {
        let candidate = candidate(config, ledger, path, &bar)?;
        let twice = plan
            .todo
            .iter()
            .any(|other| other.entry.digest == candidate.entry.digest);
        if candidate.entry.finished_ns.is_some() || twice {
            plan.skipped.push((path.clone(), candidate.entry));
        } else {
            plan.todo.push(candidate);
        }
    }
    bar.finish_and_clear();
    // Files without a packet last: they are over at once.
    plan.todo
        .sort_by_key(|candidate| candidate.first_ns.unwrap_or(u64::MAX));
    Ok(plan)
}

fn candidate(
    config: &Config,
    ledger: &Ledger,
    path: &Path,
    bar: &ProgressBar,
) -> Result<Candidate, AdminError> {
    let absolute = path.canonicalize().map_err(AdminError::file(path))?;
    let first_ns = first_packet(&absolute)?;
    let (digest, bytes) = digest(&absolute, bar).map_err(AdminError::file(path))?;
    let entry = match ledger.entry(&digest)? {
        Some(entry) => entry,
        None => Entry::new(digest, bytes, name(config, &absolute)),
    };
    Ok(Candidate {
        path: absolute,
        entry,
        first_ns,
    })
}

/// The path; for the node's configured file the words of the configuration, under which a run knows it.
fn name(config: &Config, path: &Path) -> String {
    match &config.source {
        Source::File { path: configured, .. } if configured.canonicalize().is_ok_and(|c| c == path) => {
            configured.to_string_lossy().into_owned()
        }
        _ => path.to_string_lossy().into_owned(),
    }
}

/// Time of the first packet; refused where the file is no capture.
fn first_packet(path: &Path) -> Result<Option<u64>, AdminError> {
    let refused = |error: OpenError| {
        let why = error.to_string();
        let (what, fix) = why.split_once('\n').unwrap_or((&why, ""));
        AdminError::refused(format!("{}: {what}", path.display()), fix)
    };
    if path.is_dir() {
        return Err(refused(OpenError::Folder));
    }
    let mut reader = File::open(path)
        .map_err(OpenError::from)
        .and_then(Reader::new)
        .map_err(refused)?;
    loop {
        match reader.peek().map_err(AdminError::file(path))? {
            Record::Packet(packet, _) => return Ok(Some(packet.ts_ns)),
            Record::Skipped => reader.advance(),
            Record::End(_) => return Ok(None),
        }
    }
}

/// BLAKE3 of a file, hex, and its length.
fn digest(path: &Path, bar: &ProgressBar) -> std::io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let (mut hasher, mut length) = (Hasher::new(), 0);
    let mut buffer = vec![0; HASHED_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((hex::encode(hasher.finish()), length)),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                length += count as u64;
                bar.inc(count as u64);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
