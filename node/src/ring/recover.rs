//! What a start finds: finished segments are listed, an open one is scanned and its torn tail cut, leftovers
//! of creations and expiries are removed. Needs no key and no person.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::segment::{Foreign, OpenSegment, State, Stored};
use super::{Ring, RingError};
use crate::trace::{ResumePoint, ScanEnd, SegmentReader, TraceError, scan};

/// What recovery found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Segments that were being written.
    pub open_segments: usize,
    /// Segments with damage before their end: kept as they are, ended without footer.
    pub damaged_segments: usize,
    /// Bytes cut off their ends: never acknowledged.
    pub torn_bytes: u64,
    /// Segments of another format version: left where they are, for the release that wrote them.
    pub foreign: Vec<PathBuf>,
    /// Files that are no segments any more, renamed to `*.bad`: the operator may look at them.
    pub unreadable: Vec<PathBuf>,
}

impl Ring {
    pub(super) fn recover(&mut self, manifest_known: bool) -> Result<Recovered, RingError> {
        let mut recovered = Recovered::default();
        for SegmentFile { ordinal, path, kind } in segment_files(&self.dir)? {
            self.manifest.next_ordinal = self.manifest.next_ordinal.max(ordinal + 1);
            let result = match kind {
                FileKind::Open => self.recover_open(ordinal, &path, &mut recovered),
                FileKind::Sealed | FileKind::Cut => self.list(ordinal, &path, manifest_known),
                FileKind::Aside => continue,
            };
            match result {
                Err(RingError::Trace(error)) if matches!(*error, TraceError::Version { .. }) => {
                    tracing::warn!(%error, file = %path.display(), "left alone");
                    self.foreign.insert(ordinal, Foreign::load(path.clone())?);
                    recovered.foreign.push(path);
                }
                Err(RingError::Trace(_)) if self.manifest.has_expired(&path) => {
                    fs::remove_file(&path).map_err(|error| RingError::io(&path, error))?;
                }
                Err(RingError::Trace(error)) => {
                    // A header that does not read: a creation that a crash cut short, an expiry likewise, or
                    // real damage. Nothing of it can be opened without the header.
                    tracing::warn!(%error, file = %path.display(), "set aside");
                    let aside = path.with_extension("bad");
                    fs::rename(&path, &aside).map_err(|error| RingError::io(&path, error))?;
                    recovered.unreadable.push(aside);
                }
                other => other?,
            }
        }
        Ok(recovered)
    }

    fn list(&mut self, ordinal: u64, path: &Path, manifest_known: bool) -> Result<(), RingError> {
        let stored = Stored::load(path.to_owned())?;
        if !manifest_known {
            let file = File::open(path).map_err(|error| RingError::io(path, error))?;
            let reader = SegmentReader::open(file).map_err(|error| RingError::Trace(Box::new(error)))?;
            if let Some(last) = reader.blocks().flatten().last() {
                let point = ResumePoint {
                    offset: last.header.offset_after,
                    next_packet: last.header.next_packet(),
                };
                self.manifest.advance(last.header.source, point);
            }
        }
        self.stored.insert(ordinal, stored);
        Ok(())
    }

    fn recover_open(
        &mut self,
        ordinal: u64,
        path: &Path,
        recovered: &mut Recovered,
    ) -> Result<(), RingError> {
        let file = File::open(path).map_err(|error| RingError::io(path, error))?;
        let report = scan(&file).map_err(|error| RingError::Trace(Box::new(error)))?;
        recovered.open_segments += 1;
        if let Some(last) = &report.last {
            let point = ResumePoint {
                offset: last.offset_after,
                next_packet: last.next_packet(),
            };
            self.manifest.advance(last.source, point);
        }
        let id = report.header.segment;
        let torn = match &report.tail {
            ScanEnd::Torn { bytes, .. } => *bytes,
            _ => 0,
        };
        match &report.tail {
            // The crash came between footer and rename.
            ScanEnd::Sealed(_) => {
                let end = file.metadata().map_err(|error| RingError::io(path, error))?.len();
                let segment = OpenSegment::recovered(path.to_owned(), ordinal, report, end)?;
                self.open.insert(id, segment);
                self.manifest.save(&self.dir)?;
                self.finish(id, State::Sealed)
            }
            // A damaged block with good ones behind it is no torn tail: they stay, and nothing is added.
            ScanEnd::Torn { .. } if self.last_block_after(path, report.end)? => {
                let end = file.metadata().map_err(|error| RingError::io(path, error))?.len();
                let segment = OpenSegment::recovered(path.to_owned(), ordinal, report, end)?;
                self.open.insert(id, segment);
                recovered.damaged_segments += 1;
                self.cut(id)
            }
            _ => {
                recovered.torn_bytes += torn;
                let end = report.end;
                let segment = OpenSegment::recovered(path.to_owned(), ordinal, report, end)?;
                self.open.insert(id, segment);
                Ok(())
            }
        }
    }
}

impl Ring {
    /// Whether whole blocks follow a damaged place; the source then stands after the last of them.
    fn last_block_after(&mut self, path: &Path, position: u64) -> Result<bool, RingError> {
        let file = File::open(path).map_err(|error| RingError::io(path, error))?;
        let reader = SegmentReader::open(file).map_err(|error| RingError::Trace(Box::new(error)))?;
        let last = reader
            .blocks()
            .flatten()
            .filter(|block| block.position > position && reader.is_whole(block))
            .last();
        if let Some(last) = &last {
            let point = ResumePoint {
                offset: last.header.offset_after,
                next_packet: last.header.next_packet(),
            };
            self.manifest.advance(last.header.source, point);
        }
        Ok(last.is_some())
    }
}

/// What the name of a segment file says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Being written, or its node ended without ending it.
    Open,
    /// Ended with its footer.
    Sealed,
    /// Ended without.
    Cut,
    /// Set aside.
    Aside,
}

impl FileKind {
    const NAMES: [(&'static str, Self); 4] = [
        ("open", Self::Open),
        ("seg", Self::Sealed),
        ("cut", Self::Cut),
        ("bad", Self::Aside),
    ];
}

/// A file in the folder of segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    /// Its place in the order in which segments were begun.
    pub ordinal: u64,
    /// The file.
    pub path: PathBuf,
    /// What its name says.
    pub kind: FileKind,
}

/// The segment files of a ring's directory by age. Other files are none of the ring's.
pub fn segment_files(dir: &Path) -> Result<Vec<SegmentFile>, RingError> {
    let folder = dir.join("segments");
    let entries = fs::read_dir(&folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let of_name = |path: PathBuf| {
        let extension = path.extension()?.to_str()?;
        let (_, kind) = FileKind::NAMES.into_iter().find(|(name, _)| *name == extension)?;
        let ordinal = path.file_name()?.to_str()?.split_once('-')?.0.parse().ok()?;
        Some(SegmentFile { ordinal, path, kind })
    };
    let mut found: Vec<SegmentFile> = entries
        .map_err(|error| RingError::io(&folder, error))?
        .into_iter()
        .filter_map(|entry| of_name(entry.path()))
        .collect();
    found.sort_by(|one, other| (one.ordinal, &one.path).cmp(&(other.ordinal, &other.path)));
    Ok(found)
}
