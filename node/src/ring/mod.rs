//! The ring of segment files: durable append, duplicates dropped, recovery, expiry of the oldest. Must
//! never acknowledge what is not synced, never change a sealed segment except to destroy it, and needs
//! no key for any of it.
//!
//! ```text
//! DIR/segments/0000000007-<segment id>.open   being written; recovered by scanning
//! DIR/segments/0000000006-<segment id>.seg    sealed, immutable
//! DIR/segments/0000000005-<segment id>.cut    its capture died: no footer, `unsealed end`
//! DIR/segments/0000000004-<segment id>.bad    set aside: its header does not read, so nothing of it opens
//! DIR/records/                                results of modules (not ours)
//! DIR/manifest.json                           resume points and what has expired
//! ```

mod error;
#[cfg(test)]
mod fault_test;
mod manifest;
#[cfg(test)]
mod model_test;
mod recover;
pub mod repair;
mod retention;
mod segment;

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::RingError;
pub use manifest::{Expired, Manifest};
pub use recover::{FileKind, Recovered, SegmentFile, segment_files};
pub use retention::{Retention, free_bytes};

use crate::trace::{
    BlockHeader, ItemBody, ResumePoint, SealedItem, SegmentHeader, SegmentId, SegmentInfo, SegmentReader,
    SourceId,
};
use segment::{Foreign, OpenSegment, State, Stored};

/// Ids of ended segments that are remembered to recognise duplicates of items sent again.
const MAX_REMEMBERED: usize = 1024;

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// Written; durable after the next [`Ring::sync`].
    Written,
    /// Stored before: dropped.
    Duplicate,
}

/// Where a source continues, and how often it was asked for at this very point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Everything before is stored.
    pub point: ResumePoint,
    /// Starts of capture since the point last moved: more than one says that capture died here.
    pub starts: u32,
}

/// The ring of segments in a directory. One process owns it at a time.
pub struct Ring {
    dir: PathBuf,
    retention: Retention,
    manifest: Manifest,
    open: BTreeMap<SegmentId, OpenSegment>,
    /// Sealed and cut segments by age.
    stored: BTreeMap<u64, Stored>,
    /// Segments of another format version by age: they take room and expire, and are otherwise left alone.
    foreign: BTreeMap<u64, Foreign>,
    ended: VecDeque<SegmentId>,
    lock: File,
}

impl Ring {
    /// Opens or makes the ring, and recovers what a crash left. `retention` says what it keeps.
    pub fn open(dir: &Path, retention: impl Into<Retention>) -> Result<(Self, Recovered), RingError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| RingError::io(&path, error)
        };
        for folder in [dir, &dir.join("segments"), &dir.join("records")] {
            fs::create_dir_all(folder).map_err(at(folder))?;
        }
        let lock_path = dir.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(at(&lock_path))?;
        lock.try_lock()
            .map_err(|_| RingError::InUse { dir: dir.to_owned() })?;
        let (manifest, known) = Manifest::load(dir)?;
        let mut ring = Self {
            dir: dir.to_owned(),
            retention: retention.into(),
            manifest,
            open: BTreeMap::new(),
            stored: BTreeMap::new(),
            foreign: BTreeMap::new(),
            ended: VecDeque::new(),
            lock,
        };
        let recovered = ring.recover(known)?;
        ring.expire()?;
        Ok((ring, recovered))
    }

    /// Appends an item. An error leaves the ring as it was: the caller may send the item again.
    pub fn append(&mut self, item: &SealedItem) -> Result<Appended, RingError> {
        match &item.body {
            ItemBody::Open(frame) => self.open_segment(item.segment, frame),
            ItemBody::Block(bytes) => self.append_block(item.segment, bytes),
            ItemBody::Close(frame) => self.close_segment(item.segment, frame),
        }
    }

    /// Makes everything appended durable. Afterwards, and only then, it may be acknowledged.
    pub fn sync(&mut self) -> Result<(), RingError> {
        for segment in self.open.values_mut() {
            segment.sync()?;
        }
        Ok(())
    }

    /// The files of which something may not be on disk, for a sync beside further appends. What was appended so far may be
    /// acknowledged once all of them are synced.
    pub fn take_unsynced(&mut self) -> Vec<(PathBuf, Arc<File>)> {
        self.open
            .values_mut()
            .filter_map(OpenSegment::take_unsynced)
            .collect()
    }

    /// Where a source continues. Ends the open segments, of whichever source: a new run of capture writes
    /// its own, and each run on a link is a source of its own.
    pub fn resume(&mut self, source: SourceId) -> Result<Resume, RingError> {
        let open: Vec<SegmentId> = self.open.keys().copied().collect();
        for id in open {
            self.cut(id)?;
        }
        let resume = self.manifest.start(source);
        self.save_manifest()?;
        Ok(resume)
    }

    /// Everything stored, oldest first, the open segments last.
    pub fn catalog(&self) -> Result<Vec<SegmentInfo>, RingError> {
        let stored = self.stored.values().map(|segment| segment.info.clone()).map(Ok);
        let open = self.open.keys().map(|id| {
            let file = self.file(*id)?;
            SegmentReader::open(file)
                .and_then(|reader| reader.info())
                .map_err(|error| RingError::Trace(Box::new(error)))
        });
        stored.chain(open).collect()
    }

    /// Id, file name and bytes of every segment, oldest first, open ones last: what tells whether anything has
    /// changed.
    pub fn listing(&self) -> Vec<(SegmentId, String, u64)> {
        let name = |path: &Path| {
            path.file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        let stored = self.stored.values().map(|segment| {
            let info = &segment.info;
            (info.header.segment, name(&segment.path), info.file_bytes)
        });
        let open = self
            .open
            .iter()
            .map(|(id, segment)| (*id, name(&segment.path), segment.end));
        stored.chain(open).collect()
    }

    /// What a segment has; an open one so far.
    pub fn info(&self, segment: SegmentId) -> Option<SegmentInfo> {
        match self.open.get(&segment) {
            Some(open) => Some(open.info()),
            None => self
                .stored
                .values()
                .find(|stored| stored.info.header.segment == segment)
                .map(|stored| stored.info.clone()),
        }
    }

    /// A segment's file, opened for reading only: what a reader is given.
    pub fn file(&self, segment: SegmentId) -> Result<File, RingError> {
        let path = match self.open.get(&segment) {
            Some(open) => &open.path,
            None => self
                .stored
                .values()
                .find(|stored| stored.info.header.segment == segment)
                .map(|stored| &stored.path)
                .ok_or(RingError::UnknownSegment { segment })?,
        };
        File::open(path).map_err(|error| RingError::io(path, error))
    }

    /// What the ring has written over: the most recent segments, oldest first.
    pub fn expired(&self) -> &[Expired] {
        &self.manifest.expired
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        let open: u64 = self.open.values().map(|segment| segment.end).sum();
        let stored: u64 = self.stored.values().map(|segment| segment.info.file_bytes).sum();
        open + stored + self.foreign.values().map(|foreign| foreign.bytes).sum::<u64>()
    }

    /// The folder for the results of modules.
    pub fn records_dir(&self) -> PathBuf {
        self.dir.join("records")
    }

    /// The held lock, so that nobody drops it early.
    pub fn lock(&self) -> &File {
        &self.lock
    }

    fn open_segment(&mut self, id: SegmentId, frame: &[u8]) -> Result<Appended, RingError> {
        if self.open.contains_key(&id) || self.has_ended(id) {
            return Ok(Appended::Duplicate);
        }
        let (header, length) =
            SegmentHeader::decode(frame).map_err(|error| RingError::Trace(Box::new(error)))?;
        if length != frame.len() || header.segment != id {
            return Err(RingError::Protocol {
                what: "the header of a segment is of another one",
            });
        }
        self.expire()?;
        let ordinal = self.manifest.next_ordinal;
        let segment = OpenSegment::create(&self.dir, ordinal, header, frame)?;
        self.manifest.next_ordinal = ordinal + 1;
        self.open.insert(id, segment);
        Ok(Appended::Written)
    }

    fn append_block(&mut self, id: SegmentId, bytes: &[u8]) -> Result<Appended, RingError> {
        let block = BlockHeader::decode(bytes, 0).map_err(|error| RingError::Trace(Box::new(error)))?;
        // The hash of its sections is for those who find it on a disk: a socket damages nothing.
        if block.total_bytes() != bytes.len() as u64 {
            return Err(RingError::Protocol {
                what: "a block arrived in part",
            });
        }
        let Some(segment) = self.open.get_mut(&id) else {
            return self.late(id);
        };
        if u64::from(block.number) < segment.blocks {
            return Ok(Appended::Duplicate);
        }
        if u64::from(block.number) > segment.blocks {
            return Err(RingError::Protocol {
                what: "a block is missing before this one",
            });
        }
        if block.source != segment.header.source {
            return Err(RingError::Protocol {
                what: "a block is from another source than its segment",
            });
        }
        let next = self.manifest.point(block.source).next_packet;
        if block.first_packet != next {
            return Err(RingError::Protocol {
                what: "a block does not continue its source",
            });
        }
        segment.append(bytes, &block)?;
        let point = ResumePoint {
            offset: block.offset_after,
            next_packet: block.next_packet(),
        };
        self.manifest.advance(block.source, point);
        Ok(Appended::Written)
    }

    fn close_segment(&mut self, id: SegmentId, frame: &[u8]) -> Result<Appended, RingError> {
        let Some(segment) = self.open.get_mut(&id) else {
            return self.late(id);
        };
        segment.seal(frame)?;
        self.save_manifest()?;
        self.finish(id, State::Sealed)?;
        self.expire()?;
        Ok(Appended::Written)
    }

    /// Ends a segment whose capture is gone.
    fn cut(&mut self, id: SegmentId) -> Result<(), RingError> {
        self.save_manifest()?;
        self.finish(id, State::Cut)
    }

    /// Writes down where sources continue.
    fn save_manifest(&mut self) -> Result<(), RingError> {
        self.settle_open()?;
        self.manifest.save(&self.dir)
    }

    /// Before the manifest is saved: all before the points that it says must be on disk, or a power cut would leave a hole
    /// that nobody fills. A full disk must not keep the oldest from going.
    fn settle_open(&mut self) -> Result<(), RingError> {
        for segment in self.open.values_mut() {
            match segment.settle() {
                Ok(()) | Err(RingError::DiskFull { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn finish(&mut self, id: SegmentId, state: State) -> Result<(), RingError> {
        let Some(segment) = self.open.get(&id) else {
            return Ok(());
        };
        let (ordinal, stored) = segment.finish(state)?;
        self.open.remove(&id);
        self.stored.insert(ordinal, stored);
        self.ended.push_back(id);
        if self.ended.len() > MAX_REMEMBERED {
            self.ended.pop_front();
        }
        Ok(())
    }

    /// An item of a segment that is not open: a duplicate if that was sealed, with all that it had. After
    /// a cut nobody knows, so the sender must start again from the resume point.
    fn late(&self, id: SegmentId) -> Result<Appended, RingError> {
        match self
            .stored
            .values()
            .find(|stored| stored.info.header.segment == id)
        {
            Some(stored) if stored.info.footer.is_some() => Ok(Appended::Duplicate),
            Some(_) => Err(RingError::SegmentCut { segment: id }),
            None if self.ended.contains(&id) => Ok(Appended::Duplicate),
            None => Err(RingError::UnknownSegment { segment: id }),
        }
    }

    fn has_ended(&self, id: SegmentId) -> bool {
        self.ended.contains(&id)
            || self
                .stored
                .values()
                .any(|stored| stored.info.header.segment == id)
    }
}
