//! What an operator can have mended beyond what every start mends by itself. Must never change a byte of a
//! whole block, nor remove a segment: what does not read is cut off behind the last whole block or set aside.
//!
//! | found | done |
//! |---|---|
//! | bytes behind the last whole block (a torn tail, a footer that does not read) | cut off; the segment ends without footer |
//! | a file that was set aside, but whose header and blocks read | brought back |
//! | a manifest that does not read | set aside, made anew from the segments |
//! | a header that does not read | the file is set aside: its keys are gone, nothing of it opens |
//! | a damaged block with whole ones behind it | nothing: the rest reads, and readers report the damage |

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use super::manifest::{NAME, NEW_NAME};
use super::recover::{FileKind, SegmentFile, segment_files};
use super::segment::sync_parent;
use super::{Manifest, Recovered, Ring, RingError};
use crate::trace::{ScanEnd, SegmentReader, TraceError, scan};

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Bytes behind the last whole block are cut off.
    CutTail {
        /// The segment file.
        path: PathBuf,
        /// Where the last whole block ends.
        at: u64,
        /// Bytes that go.
        bytes: u64,
    },
    /// A file that was set aside is listed again.
    BringBack {
        /// The file.
        path: PathBuf,
        /// Whole blocks in it.
        blocks: u64,
        /// Packets in them.
        packets: u64,
        /// Its footer vouches for all of them.
        is_sealed: bool,
    },
    /// A file of which nothing opens is set aside.
    SetAside {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The manifest is made anew.
    RebuildManifest {
        /// What is wrong with it.
        why: String,
    },
    /// Half a manifest that a crash left is removed: the one in force is whole.
    RemoveHalfManifest,
}

/// What is to be mended, and what cannot be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which it is done.
    pub repairs: Vec<Repair>,
    /// Damage that stays: file, position, what.
    pub stays: Vec<(PathBuf, u64, String)>,
}

/// Looks at a ring and says what [`apply`] would do. Changes nothing; on the ring of a running node the open
/// segment may look torn.
pub fn plan(dir: &Path) -> Result<Plan, RingError> {
    let mut plan = Plan::default();
    if dir.join(NEW_NAME).exists() {
        plan.repairs.push(Repair::RemoveHalfManifest);
    }
    let expired = match Manifest::load(dir) {
        Ok((manifest, _)) => Some(manifest),
        Err(RingError::Manifest { what, .. }) => {
            plan.repairs.push(Repair::RebuildManifest { why: what });
            None
        }
        Err(error) => return Err(error),
    };
    for file in segment_files(dir)? {
        let removed_by_ring = expired
            .as_ref()
            .is_some_and(|manifest| manifest.has_expired(&file.path));
        plan_file(&mut plan, file, removed_by_ring)?;
    }
    Ok(plan)
}

fn plan_file(plan: &mut Plan, file: SegmentFile, removed_by_ring: bool) -> Result<(), RingError> {
    let SegmentFile { path, kind, .. } = file;
    let opened = File::open(&path).map_err(|error| RingError::io(&path, error))?;
    let report = match scan(&opened) {
        Ok(report) => report,
        // Another release reads it; an expiry that a crash interrupted is finished by the next start.
        Err(TraceError::Version { .. }) => return Ok(()),
        Err(_) if removed_by_ring || kind == FileKind::Aside => return Ok(()),
        Err(TraceError::Io(error)) => return Err(RingError::io(&path, error)),
        Err(error) => {
            let why = in_short(&error);
            plan.repairs.push(Repair::SetAside { path, why });
            return Ok(());
        }
    };
    let ScanEnd::Torn { bytes, what } = &report.tail else {
        if kind == FileKind::Aside && report.blocks > 0 {
            plan.repairs.push(Repair::BringBack {
                path,
                blocks: report.blocks,
                packets: report.packets,
                is_sealed: matches!(report.tail, ScanEnd::Sealed(_)),
            });
        }
        return Ok(());
    };
    let (blocks, packets) = whole_blocks(&path, &opened)?;
    if kind == FileKind::Aside {
        if blocks > 0 {
            plan.repairs.push(Repair::BringBack {
                path,
                blocks,
                packets,
                is_sealed: false,
            });
        }
    } else if blocks > report.blocks {
        plan.stays.push((path, report.end, in_short(what)));
    } else {
        plan.repairs.push(Repair::CutTail {
            path,
            at: report.end,
            bytes: *bytes,
        });
    }
    Ok(())
}

/// All whole blocks of a segment, also those behind damage, and their packets.
fn whole_blocks(path: &Path, file: &File) -> Result<(u64, u64), RingError> {
    let file = file.try_clone().map_err(|error| RingError::io(path, error))?;
    match SegmentReader::open(file) {
        Ok(reader) => Ok(reader
            .blocks()
            .flatten()
            .filter(|block| reader.is_whole(block))
            .fold((0, 0), |(blocks, packets), block| {
                (blocks + 1, packets + u64::from(block.header.packets))
            })),
        // A footer that somebody else signed: the file is no segment of the node's.
        Err(_) => Ok((0, 0)),
    }
}

/// Carries a plan out, then recovers the ring as every start does. Refused while a node has the ring.
pub fn apply(dir: &Path, plan: &Plan) -> Result<Recovered, RingError> {
    // Held through the changes; the ring takes it again below.
    let lock_path = dir.join("lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(|error| RingError::io(&lock_path, error))?;
    lock.try_lock()
        .map_err(|_| RingError::InUse { dir: dir.to_owned() })?;
    for repair in &plan.repairs {
        carry_out(dir, repair)?;
    }
    drop(lock);
    let (ring, recovered) = Ring::open(dir, u64::MAX)?;
    ring.manifest.save(dir)?;
    drop(ring);
    give_back(dir)?;
    Ok(recovered)
}

fn carry_out(dir: &Path, repair: &Repair) -> Result<(), RingError> {
    match repair {
        Repair::CutTail { path, at, .. } => {
            let cut = || {
                let file = File::options().write(true).open(path)?;
                file.set_len(*at)?;
                file.sync_all()
            };
            cut().map_err(|error| RingError::io(path, error))?;
            match path.extension().is_some_and(|extension| extension == "seg") {
                true => rename(path, &path.with_extension("cut")),
                false => Ok(()),
            }
        }
        Repair::BringBack { path, is_sealed, .. } => {
            rename(path, &path.with_extension(if *is_sealed { "seg" } else { "cut" }))
        }
        Repair::SetAside { path, .. } => rename(path, &path.with_extension("bad")),
        Repair::RebuildManifest { .. } => {
            let path = dir.join(NAME);
            rename(&path, &path.with_extension("bad"))
        }
        Repair::RemoveHalfManifest => {
            let path = dir.join(NEW_NAME);
            fs::remove_file(&path).map_err(|error| RingError::io(&path, error))
        }
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), RingError> {
    fs::rename(from, to)
        .and_then(|()| sync_parent(to))
        .map_err(|error| RingError::io(from, error))
}

/// Files that root made or replaced belong to storage's user again, who owns the directory.
fn give_back(dir: &Path) -> Result<(), RingError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| RingError::io(&path, error)
    };
    let owner = fs::metadata(dir).map_err(io(dir))?;
    for folder in [dir.to_owned(), dir.join("segments")] {
        for entry in fs::read_dir(&folder).map_err(io(&folder))? {
            let path = entry.map_err(io(&folder))?.path();
            let about = fs::symlink_metadata(&path).map_err(io(&path))?;
            if about.is_file() && (about.uid(), about.gid()) != (owner.uid(), owner.gid()) {
                chown(&path, Some(owner.uid()), Some(owner.gid())).map_err(io(&path))?;
            }
        }
    }
    Ok(())
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |path: &Path| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        match self {
            Self::CutTail { path, at, bytes } => {
                write!(
                    f,
                    "{}: cut off {bytes} bytes at byte {at}, behind the last whole block",
                    name(path)
                )
            }
            Self::BringBack {
                path,
                blocks,
                packets,
                ..
            } => write!(
                f,
                "{}: bring back, {blocks} blocks with {packets} packets read",
                name(path)
            ),
            Self::SetAside { path, why } => write!(f, "{}: set aside: {why}", name(path)),
            Self::RebuildManifest { why } => {
                write!(f, "{NAME}: set aside and make anew from the segments: {why}")
            }
            Self::RemoveHalfManifest => write!(f, "{NEW_NAME}: remove, a crash left it half written"),
        }
    }
}

/// In few words; where it is stands beside.
fn in_short(error: &TraceError) -> String {
    match error {
        TraceError::Damaged { what, .. } => (*what).to_owned(),
        other => other.to_string().lines().next().unwrap_or_default().to_owned(),
    }
}
