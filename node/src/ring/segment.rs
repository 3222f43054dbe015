//! One segment's file: written at explicit positions, so that a write that failed half-way is simply
//! written again; ended by a rename. Must never be written to after that, except to be destroyed.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::RingError;
use crate::trace::{BlockHeader, MAX_HEADER_BYTES, ScanReport, SegmentHeader, SegmentInfo, SegmentReader};

/// How a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// With its footer.
    Sealed,
    /// Without: capture died.
    Cut,
}

/// A segment being written.
pub(super) struct OpenSegment {
    pub path: PathBuf,
    pub header: SegmentHeader,
    pub end: u64,
    pub blocks: u64,
    pub packets: u64,
    header_bytes: u64,
    file: Arc<File>,
    ordinal: u64,
    dirty: bool,
}

/// A segment that is complete.
pub(super) struct Stored {
    pub path: PathBuf,
    pub info: SegmentInfo,
}

/// A segment that another release wrote: nothing of it is read here.
pub(super) struct Foreign {
    pub path: PathBuf,
    pub bytes: u64,
    pub modified: SystemTime,
}

impl OpenSegment {
    /// A new file with the segment's header. What a failure leaves is removed.
    pub fn create(dir: &Path, ordinal: u64, header: SegmentHeader, frame: &[u8]) -> Result<Self, RingError> {
        let path = dir
            .join("segments")
            .join(format!("{ordinal:010}-{}.open", header.segment));
        let make = || {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o640) // readers have a user of their own in the same group
                .open(&path)?;
            file.write_all_at(frame, 0)?;
            file.sync_data()?;
            sync_parent(&path)?;
            Ok(file)
        };
        let file = make().map_err(|error| {
            let _ = fs::remove_file(&path);
            RingError::io(&path, error)
        })?;
        Ok(Self {
            path,
            header,
            end: frame.len() as u64,
            blocks: 0,
            packets: 0,
            header_bytes: frame.len() as u64,
            file: Arc::new(file),
            ordinal,
            dirty: false,
        })
    }

    /// A file that a crash left open, of which the first `end` bytes are good.
    pub fn recovered(path: PathBuf, ordinal: u64, report: ScanReport, end: u64) -> Result<Self, RingError> {
        let open = || {
            let file = File::options().read(true).write(true).open(&path)?;
            file.set_len(end)?;
            file.sync_all()?;
            Ok(file)
        };
        let file = open().map_err(|error| RingError::io(&path, error))?;
        Ok(Self {
            path,
            header: report.header,
            end,
            blocks: report.blocks,
            packets: report.packets,
            header_bytes: report.header_bytes,
            file: Arc::new(file),
            ordinal,
            dirty: false,
        })
    }

    pub fn append(&mut self, bytes: &[u8], block: &BlockHeader) -> Result<(), RingError> {
        self.write(bytes)?;
        self.end += block.total_bytes();
        self.blocks += 1;
        self.packets += u64::from(block.packets);
        self.dirty = true;
        Ok(())
    }

    /// What it has so far.
    pub fn info(&self) -> SegmentInfo {
        SegmentInfo {
            header: self.header.clone(),
            header_bytes: self.header_bytes,
            footer: None,
            file_bytes: self.end,
            packets: self.packets,
            blocks: self.blocks,
        }
    }

    /// The file, if it has what may not be on disk; whoever takes it sees to that.
    pub fn take_unsynced(&mut self) -> Option<(PathBuf, Arc<File>)> {
        std::mem::take(&mut self.dirty).then(|| (self.path.clone(), self.file.clone()))
    }

    pub fn sync(&mut self) -> Result<(), RingError> {
        if self.dirty {
            self.settle()?;
        }
        Ok(())
    }

    /// Waits until all of it is on disk, also what another thread syncs.
    pub fn settle(&mut self) -> Result<(), RingError> {
        self.file
            .sync_data()
            .map_err(|error| RingError::io(&self.path, error))?;
        self.dirty = false;
        Ok(())
    }

    /// Appends the footer, after all blocks are on disk. May be called again after a failure.
    pub fn seal(&mut self, frame: &[u8]) -> Result<(), RingError> {
        self.settle()?;
        self.write(frame)?;
        self.file
            .sync_data()
            .map_err(|error| RingError::io(&self.path, error))
    }

    /// Gives the file its final name.
    pub fn finish(&self, state: State) -> Result<(u64, Stored), RingError> {
        let path = self.path.with_extension(match state {
            State::Sealed => "seg",
            State::Cut => "cut",
        });
        let rename = || {
            if state == State::Cut {
                self.file.set_len(self.end)?;
            }
            fs::rename(&self.path, &path)?;
            sync_parent(&path)
        };
        rename().map_err(|error| RingError::io(&path, error))?;
        Ok((self.ordinal, Stored::load(path)?))
    }

    /// Writes at the end. What a failure leaves beyond it is cut off, so that a reader never sees it.
    fn write(&mut self, bytes: &[u8]) -> Result<(), RingError> {
        self.file.write_all_at(bytes, self.end).map_err(|error| {
            let _ = self.file.set_len(self.end);
            RingError::io(&self.path, error)
        })
    }
}

impl Stored {
    /// Reads what the catalog lists.
    pub fn load(path: PathBuf) -> Result<Self, RingError> {
        let file = File::open(&path).map_err(|error| RingError::io(&path, error))?;
        let info = SegmentReader::open(file).and_then(|reader| reader.info());
        Ok(Self {
            info: info.map_err(|error| RingError::Trace(Box::new(error)))?,
            path,
        })
    }

    /// Destroys the wrapped keys first: without the header nobody opens the rest, however long the disk
    /// keeps it.
    pub fn destroy(&self) -> Result<(), RingError> {
        destroy(&self.path, self.info.header_bytes as usize)
    }
}

impl Foreign {
    /// What the file system tells of it.
    pub fn load(path: PathBuf) -> Result<Self, RingError> {
        let about = fs::metadata(&path).and_then(|about| Ok((about.len(), about.modified()?)));
        let (bytes, modified) = about.map_err(|error| RingError::io(&path, error))?;
        Ok(Self {
            path,
            bytes,
            modified,
        })
    }

    /// The same as for a segment that is understood: where its keys lie, within the longest header.
    pub fn destroy(&self) -> Result<(), RingError> {
        destroy(&self.path, MAX_HEADER_BYTES.min(self.bytes as usize))
    }
}

fn destroy(path: &Path, header_bytes: usize) -> Result<(), RingError> {
    let destroy = || {
        let file = File::options().write(true).open(path)?;
        file.write_all_at(&vec![0; header_bytes], 0)?;
        file.sync_data()?;
        fs::remove_file(path)?;
        sync_parent(path)
    };
    match destroy() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|error| RingError::io(path, error)),
    }
}

pub(super) fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
