//! Results outlive the supervisor that made them: what their owner is told of each lies beside its dataset. Must never
//! keep what its owner was not told to be done.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Job, Jobs};

/// A finished query of an earlier run.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    pub owner: String,
    pub created_ns: u64,
    /// Of its dataset.
    pub bytes: u64,
    /// Its state, as the owner reads it.
    pub body: Value,
}

impl Kept {
    /// All finished queries of a folder, by id. What belongs to none ended with its run, and is deleted.
    pub fn read_all(results: &Path) -> std::io::Result<BTreeMap<String, Self>> {
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(results)?.flatten() {
            let path = entry.path();
            let id = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default();
            let (state, dataset) = (path.with_extension("json"), path.with_extension("como"));
            let kept = std::fs::read(&state)
                .ok()
                .and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
            match kept {
                // A shorter dataset had not reached the disk when the power failed.
                Some(kept) if is_whole(&dataset, &kept) && (path == state || path == dataset) => {
                    found.insert(id.to_owned(), kept);
                }
                _ => {
                    let _ = std::fs::remove_file(&path);
                }
            }
        }
        Ok(found)
    }
}

fn is_whole(dataset: &Path, kept: &Kept) -> bool {
    std::fs::metadata(dataset).is_ok_and(|about| about.is_file() && about.len() == kept.bytes)
}

impl Jobs {
    /// Writes down a query that is done, so that a crash leaves all of it or nothing. That it reaches the disk is waited for
    /// elsewhere: its owner is told at once.
    pub(super) fn keep(&self, job: &Job) -> std::io::Result<()> {
        let kept = Kept {
            owner: job.owner.clone(),
            created_ns: job.created_ns,
            bytes: job.totals.bytes,
            body: job.body(),
        };
        let (path, fresh) = (
            self.state_path(&job.id),
            self.state_path(&job.id).with_extension("tmp"),
        );
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(&serde_json::to_vec(&kept)?)?;
        std::fs::rename(fresh, path)?;
        // Where it fails, a loss of power loses the result, and nothing else.
        std::thread::spawn(move || drop(file.sync_data()));
        Ok(())
    }
}
