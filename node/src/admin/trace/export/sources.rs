//! The segments that an export reads, opened with the keys of its level. Must never unwrap a key of a section that the
//! level does not include, nor take a segment that this node did not write.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use como_anonymize::Anonymizer;
use como_keys::keyring::{Keyring, Section};
use como_policies::{AccessLevel, Window};

use super::pace::Pace;
use super::{Told, first_line};
use crate::admin::trace::folder;
use crate::admin::{AdminError, AdminNode};
use crate::ring::{FileKind, segment_files};
use crate::trace::{BlockKind, ReadKeys, SegmentReader, TraceError};

/// A segment that the export reads.
pub(super) struct Source {
    /// Opened with the keys of the level.
    pub reader: Arc<SegmentReader>,
    /// Of its file.
    pub name: String,
    /// Packet time, ns: of the first packet, and one after the last.
    pub range: Window,
    /// Of its file.
    pub bytes: u64,
}

/// All segments that the level's keys open, in order of time; those that they do not are told.
pub(super) fn of(
    node: &AdminNode,
    level: AccessLevel,
    pace: &Pace,
    told: &mut Told,
) -> Result<Vec<Source>, AdminError> {
    let mut maps = BTreeMap::new();
    let mut keyring = node.keyring.clone();
    let mut sources = Vec::new();
    for file in segment_files(&node.layout.trace())? {
        if file.kind == FileKind::Aside {
            continue;
        }
        let name = folder::name_of(&file.path);
        let reader = match File::open(&file.path)
            .map_err(TraceError::Io)
            .and_then(SegmentReader::open)
        {
            Ok(reader) => reader,
            Err(TraceError::Io(error)) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                eprintln!("{name}: {}", first_line(&error));
                told.gap("unreadable segment", None);
                continue;
            }
        };
        let packets = reader.footer().map(|footer| footer.packets);
        let keys = match keys(&node.keyring, &reader, level) {
            Ok(keys) => keys,
            Err(why) => {
                eprintln!("{name}: {why}");
                told.gap(&why, packets);
                continue;
            }
        };
        // Only `headers` is shown with pseudonyms that are made here.
        let map = match level {
            AccessLevel::Headers => map(&mut maps, &mut keyring, reader.header().mapping_epoch),
            _ => None,
        };
        let reader = reader
            .with_keys(&keys)
            .with_audience(map)
            .counting(pace.read_bytes.clone());
        if let Some(range) = range(&reader) {
            sources.push(Source {
                bytes: file.path.metadata().map_or(0, |about| about.len()),
                range,
                reader: Arc::new(reader),
                name,
            });
        }
    }
    sources.sort_by_key(|source| source.range.from_ns);
    Ok(sources)
}

/// The data keys of the sections of a level, and of no others, of a segment that this node wrote.
fn keys(keyring: &Keyring, reader: &SegmentReader, level: AccessLevel) -> Result<ReadKeys, String> {
    let verified = keyring.node_keys().iter().any(|key| reader.verify(key).is_ok());
    if !verified {
        return Err("not signed by this node".to_owned());
    }
    let header = reader.header();
    let wanted: &[Section] = match level {
        AccessLevel::Payload => &[Section::A, Section::R, Section::P],
        AccessLevel::Headers => &[Section::A, Section::R],
        _ => &[Section::A],
    };
    for section in wanted {
        if !header.retain.keeps(*section) {
            return Err(format!("not kept at {level}"));
        }
        if keyring
            .trace_identity_if_present(header.sealing_epoch, *section)
            .is_none()
        {
            return Err("keys destroyed, or kept elsewhere".to_owned());
        }
    }
    header
        .unwrap_keys(|section| {
            let identity = keyring.trace_identity_if_present(header.sealing_epoch, section);
            identity.filter(|_| wanted.contains(&section))
        })
        .map_err(|error| first_line(&error))
}

/// The node's own pseudonyms of a mapping epoch, for what `headers` hides; none where they are destroyed.
fn map(
    known: &mut BTreeMap<u32, Option<Arc<Anonymizer>>>,
    keyring: &mut Keyring,
    epoch: u32,
) -> Option<Arc<Anonymizer>> {
    known
        .entry(epoch)
        .or_insert_with(|| {
            keyring
                .mapping_key(epoch)
                .ok()
                .map(|key| Arc::new(Anonymizer::new(&key)))
        })
        .clone()
}

/// Packet times of a segment; `None`: it has no packet.
fn range(reader: &SegmentReader) -> Option<Window> {
    const NS_PER_MS: u64 = 1_000_000;
    let (first, last) = match reader.footer() {
        Some(footer) => (footer.packets > 0).then_some((footer.first_ns, footer.last_ns))?,
        None => reader
            .blocks()
            .flatten()
            .filter(|block| block.header.kind == BlockKind::Packets)
            .filter_map(|block| reader.time_range(&block).ok())
            .reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))?,
    };
    // Floored to 1 ms: the last packet may be up to that much later.
    Window::new(first, last.saturating_add(NS_PER_MS)).ok()
}
