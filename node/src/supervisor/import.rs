//! Capture files brought in one after the other: capture and storage as they always run, without anybody being
//! served. Exactly once is theirs: storage knows each file's resume point, and a file is over when all of it is
//! on disk. Must never open a file itself: capture does, confined.

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use como_keys::KeyError;

use super::{Supervisor, SupervisorError, audit, signals};
use crate::config::{Config, Source};
use crate::process::Role;

/// A file to bring in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportFile {
    /// Where it is.
    pub path: PathBuf,
    /// Under which it is known to storage, wherever it lies now.
    pub name: String,
}

/// What happens meanwhile. Files are counted from 0, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportEvent {
    /// So many bytes of a file were read.
    Read {
        /// Which file.
        file: usize,
        /// Bytes from its beginning.
        offset: u64,
    },
    /// All of a file that reads is on disk.
    Done {
        /// Which file.
        file: usize,
        /// Packets of it that are stored, by earlier runs too.
        packets: u64,
        /// Why it does not read to its end; empty where it does.
        damage: String,
    },
}

/// The files of this run.
pub(super) struct Import {
    files: Vec<ImportFile>,
    at: usize,
    /// The file at hand is over: capture was told to stop.
    is_over: bool,
    workers: u16,
    tell: Box<dyn FnMut(ImportEvent)>,
}

impl Import {
    /// What capture is started on.
    pub fn source(&self) -> Source {
        Source::File {
            path: self.files[self.at].path.clone(),
            paced: false,
            workers: self.workers,
        }
    }

    /// Under which it is known.
    pub fn name(&self) -> &str {
        &self.files[self.at].name
    }
}

/// Brings files in, in the order given; false: told to stop before the last was over. Refused while a node
/// runs on the same folder.
pub fn import(
    config_file: &Path,
    files: Vec<ImportFile>,
    tell: Box<dyn FnMut(ImportEvent)>,
) -> Result<bool, SupervisorError> {
    if files.is_empty() {
        return Ok(true);
    }
    let (events, queue) = channel();
    let config = Config::load(config_file)?;
    let _lock = signals::PidFile::take(&config.layout()).map_err(|error| match error {
        SupervisorError::AlreadyRunning(folder, pid) => SupervisorError::Busy(folder, pid),
        other => other,
    })?;
    let workers = match config.source {
        Source::Live { workers, .. } | Source::File { workers, .. } => workers,
    };
    let mut supervisor = Supervisor::open(config, events.clone())?;
    supervisor.import = Some(Import {
        files,
        at: 0,
        is_over: false,
        workers,
        tell,
    });
    signals::forward(events).map_err(|e| SupervisorError::Io("signal handlers".into(), e))?;
    supervisor.begin()?;
    supervisor.main_loop(&queue)?;
    Ok(supervisor
        .import
        .is_some_and(|import| import.is_over && import.at + 1 == import.files.len()))
}

impl Supervisor {
    /// Capture reported: the file at hand may be over.
    pub(super) fn import_reported(&mut self) {
        let Some(import) = &mut self.import else {
            return;
        };
        let capture = &self.roles.capture;
        // What comes after the end is of the same file still.
        if import.is_over {
            return;
        }
        (import.tell)(ImportEvent::Read {
            file: import.at,
            offset: capture.offset,
        });
        if !capture.source_done {
            return;
        }
        import.is_over = true;
        let (packets, damage) = (capture.acknowledged, capture.warning.clone());
        let file = import.files[import.at].path.display().to_string();
        self.log(&audit::Event::Imported {
            file: &file,
            packets,
            damage: &damage,
        });
        if let Some(import) = &mut self.import {
            (import.tell)(ImportEvent::Done {
                file: import.at,
                packets,
                damage,
            });
        }
        if let Some(capture) = self.children.ready(Role::Capture) {
            self.children.stop(capture);
        }
    }

    /// Capture of a file that is over has ended: the next one, or the end.
    pub(super) fn import_next(&mut self) {
        let Some(import) = &mut self.import else {
            return;
        };
        if !import.is_over || self.children.ready(Role::Capture).is_some() {
            return;
        }
        if import.at + 1 == import.files.len() {
            self.stop_all();
            return;
        }
        import.at += 1;
        import.is_over = false;
        self.roles.capture = super::reports::CaptureState::default();
        if let Err(error) = self.start_core(Role::Capture) {
            self.failure.get_or_insert_with(|| error.to_string());
            self.stop_all();
        }
    }

    /// Packets of a day whose keys are destroyed cannot be stored, now or later.
    pub(super) fn import_refused(&mut self, epoch: u32, error: &KeyError) {
        let Some(import) = &self.import else {
            return;
        };
        let file = import.files[import.at].path.display();
        let what = error.to_string();
        let what = what.lines().next().unwrap_or_default();
        self.failure.get_or_insert_with(|| {
            format!(
                "{file} has packets of day {epoch}: {what}\nleave such a file out; what came before them is stored"
            )
        });
        self.stop_all();
    }
}
