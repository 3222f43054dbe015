//! The manifest: resume points of sources and what has expired. Written at once (new file, rename); what a
//! crash keeps out of it is found again in the segments. Must never hold anything derived from a packet
//! beyond counts and times of segments.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Resume, RingError};
use crate::trace::{ResumePoint, SegmentInfo, SourceId};

/// Sources whose resume points are kept; the longest unused is forgotten first.
const MAX_SOURCES: usize = 4096;
/// Expired segments that are listed; older ones are only counted.
const MAX_EXPIRED: usize = 1024;
/// Its name in the ring's directory.
pub(super) const NAME: &str = "manifest.json";
/// The next one, until it is whole.
pub(super) const NEW_NAME: &str = "manifest.new";

/// A segment that the ring has written over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    /// Its id in hex.
    pub segment: String,
    /// Days since the Unix epoch.
    pub sealing_epoch: u32,
    /// Earliest packet time, where a footer told it.
    pub first_ns: Option<u64>,
    /// Latest packet time, where a footer told it.
    pub last_ns: Option<u64>,
    /// Packets that went with it.
    pub packets: u64,
}

/// What the ring knows beside its segments.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    version: u32,
    pub(super) next_ordinal: u64,
    sources: BTreeMap<String, SourceEntry>,
    pub(super) expired: Vec<Expired>,
    expired_segments: u64,
    expired_packets: u64,
    /// Grows with every use of a source.
    uses: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct SourceEntry {
    offset: u64,
    next_packet: u64,
    starts: u32,
    used: u64,
}

impl Manifest {
    const VERSION: u32 = 1;

    /// Reads the manifest; false: there is none, and the segments must tell everything.
    pub fn load(dir: &Path) -> Result<(Self, bool), RingError> {
        let path = dir.join(NAME);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok((
                    Self {
                        version: Self::VERSION,
                        ..Self::default()
                    },
                    false,
                ));
            }
            Err(error) => return Err(RingError::io(&path, error)),
        };
        let bad = |what: String| RingError::Manifest {
            path: path.clone(),
            what,
        };
        let manifest: Self = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        if manifest.version != Self::VERSION {
            return Err(bad(format!("version {} is not known", manifest.version)));
        }
        Ok((manifest, true))
    }

    /// Replaces the manifest on disk at once.
    pub fn save(&self, dir: &Path) -> Result<(), RingError> {
        let (path, new) = (dir.join(NAME), dir.join(NEW_NAME));
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec_pretty(self).map_err(std::io::Error::other)?)?;
            file.sync_data()?;
            fs::rename(&new, &path)?;
            File::open(dir)?.sync_all()
        };
        write().map_err(|error| RingError::io(&path, error))
    }

    /// Segments that the ring has removed: the most recent ones, oldest first.
    pub fn expired(&self) -> &[Expired] {
        &self.expired
    }

    /// How many segments the ring has removed, and the packets that went with them.
    pub fn expired_totals(&self) -> (u64, u64) {
        (self.expired_segments, self.expired_packets)
    }

    /// Where a source stands.
    pub fn point(&self, source: SourceId) -> ResumePoint {
        let entry = self.sources.get(&source.to_string()).copied().unwrap_or_default();
        ResumePoint {
            offset: entry.offset,
            next_packet: entry.next_packet,
        }
    }

    /// A source has come further.
    pub fn advance(&mut self, source: SourceId, point: ResumePoint) {
        let entry = self.entry(source);
        if (point.next_packet, point.offset) > (entry.next_packet, entry.offset) {
            let used = entry.used;
            *entry = SourceEntry {
                offset: point.offset,
                next_packet: point.next_packet,
                starts: 0,
                used,
            };
        }
    }

    /// A source starts once more.
    pub fn start(&mut self, source: SourceId) -> Resume {
        let entry = self.entry(source);
        entry.starts = entry.starts.saturating_add(1);
        let point = ResumePoint {
            offset: entry.offset,
            next_packet: entry.next_packet,
        };
        Resume {
            point,
            starts: entry.starts,
        }
    }

    /// A segment is about to be destroyed.
    pub(super) fn expire(&mut self, ordinal: u64, info: &SegmentInfo) {
        let expired = Expired {
            segment: info.header.segment.to_string(),
            sealing_epoch: info.header.sealing_epoch,
            first_ns: info.footer.as_ref().map(|footer| footer.first_ns),
            last_ns: info.footer.as_ref().map(|footer| footer.last_ns),
            packets: info.packets,
        };
        self.put_expired(ordinal, expired);
    }

    /// A segment of another format version is about to be destroyed: only its name is known.
    pub(super) fn expire_foreign(&mut self, ordinal: u64, path: &Path) {
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        let expired = Expired {
            segment: stem.split_once('-').map_or(stem, |(_, id)| id).to_owned(),
            sealing_epoch: 0,
            first_ns: None,
            last_ns: None,
            packets: 0,
        };
        self.put_expired(ordinal, expired);
    }

    fn put_expired(&mut self, ordinal: u64, expired: Expired) {
        self.next_ordinal = self.next_ordinal.max(ordinal + 1);
        if self.expired.iter().any(|known| known.segment == expired.segment) {
            return;
        }
        self.expired_segments += 1;
        self.expired_packets += expired.packets;
        self.expired.push(expired);
        let excess = self.expired.len().saturating_sub(MAX_EXPIRED);
        self.expired.drain(..excess);
    }

    /// Whether a file is of a segment whose expiry a crash interrupted.
    pub fn has_expired(&self, path: &Path) -> bool {
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        self.expired
            .iter()
            .any(|expired| name.ends_with(&expired.segment))
    }

    fn entry(&mut self, source: SourceId) -> &mut SourceEntry {
        let name = source.to_string();
        if !self.sources.contains_key(&name) && self.sources.len() >= MAX_SOURCES {
            let oldest = self
                .sources
                .iter()
                .min_by_key(|(_, entry)| entry.used)
                .map(|(name, _)| name.clone());
            oldest.map(|oldest| self.sources.remove(&oldest));
        }
        self.uses += 1;
        let entry = self.sources.entry(name).or_default();
        entry.used = self.uses;
        entry
    }
}
