//! The thread that waits for the disk, so that writing goes on meanwhile. One sync at a time; must never take a failed one
//! for done.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::ring::RingError;

/// What is to be on disk.
pub(super) type Unsynced = Vec<(PathBuf, Arc<File>)>;

pub(super) struct Syncer {
    jobs: SyncSender<Unsynced>,
    results: Receiver<Result<(), RingError>>,
    busy: bool,
}

impl Syncer {
    /// `wake` is called after each sync.
    pub fn start(wake: impl Fn() + Send + 'static) -> Self {
        let (jobs, todo) = sync_channel::<Unsynced>(1);
        let (done, results) = sync_channel(1);
        std::thread::spawn(move || {
            for files in todo {
                if done.send(sync(files)).is_err() {
                    return;
                }
                wake();
            }
        });
        Self {
            jobs,
            results,
            busy: false,
        }
    }

    /// Whether one is under way.
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Begins the next; none may be under way.
    pub fn begin(&mut self, files: Unsynced) {
        debug_assert!(!self.busy);
        self.busy = self.jobs.send(files).is_ok();
    }

    /// The result of one that is over; `None`: it is not, or there was none.
    pub fn result(&mut self) -> Option<Result<(), RingError>> {
        let result = self.results.try_recv().ok()?;
        self.busy = false;
        Some(result)
    }

    /// Waits for the one that is under way.
    pub fn wait(&mut self) -> Result<(), RingError> {
        if !std::mem::take(&mut self.busy) {
            return Ok(());
        }
        self.results.recv().expect("the thread lives as long as its jobs")
    }
}

fn sync(files: Unsynced) -> Result<(), RingError> {
    files
        .into_iter()
        .try_for_each(|(path, file)| file.sync_data().map_err(|error| RingError::io(&path, error)))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn one_sync_at_a_time_and_a_failed_one_is_told() {
        let (wakes, woken) = channel();
        let mut syncer = Syncer::start(move || wakes.send(()).unwrap());
        let file = Arc::new(tempfile::tempfile().unwrap());
        syncer.begin(vec![("a".into(), file.clone())]);
        woken.recv().unwrap();
        assert!(syncer.is_busy() && syncer.result().unwrap().is_ok() && !syncer.is_busy());
        syncer.wait().unwrap();
        syncer.begin(vec![("a".into(), file)]);
        syncer.wait().unwrap();
        assert!(syncer.result().is_none(), "told once");
        // A pipe cannot be synced.
        let (pipe, _other) = std::io::pipe().unwrap();
        syncer.begin(vec![(
            "b".into(),
            Arc::new(File::from(std::os::fd::OwnedFd::from(pipe))),
        )]);
        assert!(matches!(syncer.wait(), Err(RingError::Io { .. })));
    }
}
