//! Data keys for one reader: of the segments and sections of its request, and no more.

use std::fs::File;

use como_keys::aead::DataKey;
use como_keys::keyring::Section;
use como_policies::{AccessLevel, Window};

use super::Supervisor;
use super::catalog::{Coverage, Segment, SegmentEnd};
use crate::records;
use crate::trace::{Checked, Predecessor};
use como_dataset::Gap;

/// The keys of one segment.
pub(super) struct SegmentGrant {
    pub id: [u8; 16],
    pub segment: Segment,
    pub keys: [Option<DataKey>; 3],
    /// What the reader need not check again.
    pub checked: Checked,
    pub link_type: u32,
}

/// What opening a segment for a reader gives.
struct Granted {
    keys: [Option<DataKey>; 3],
    checked: Checked,
    link: u32,
    predecessor: Option<Predecessor>,
}

/// A stretch of one record file, and its key.
pub(super) struct RecordGrant {
    pub coverage: Coverage,
    pub key: DataKey,
}

/// Sections that a level opens (architecture: `headers` opens A and R, `payload` all).
pub(super) fn sections(level: AccessLevel) -> &'static [Section] {
    match level {
        AccessLevel::Aggregate | AccessLevel::Coarse | AccessLevel::Anonymized => &[Section::A],
        AccessLevel::Headers => &[Section::A, Section::R],
        AccessLevel::Payload => &[Section::A, Section::R, Section::P],
    }
}

impl Supervisor {
    /// Opens the data keys of a window at a level. Segments that nobody can open any more come out as gaps.
    pub(super) fn grant_segments(
        &mut self,
        window: Window,
        level: AccessLevel,
    ) -> (Vec<SegmentGrant>, Vec<Gap>) {
        let (mut grants, mut gaps) = (Vec::new(), Vec::new());
        for (id, segment) in self.catalog.segments_in(window) {
            match self.grant_segment(&id, &segment, level) {
                Ok(granted) => {
                    gaps.extend(self.missing_before(&segment, granted.predecessor.as_ref()));
                    grants.push(SegmentGrant {
                        id,
                        segment,
                        keys: granted.keys,
                        checked: granted.checked,
                        link_type: granted.link,
                    });
                }
                Err(cause) => {
                    let to_ns = segment
                        .last_ns
                        .map_or(self.catalog.now_ns, |last| last.saturating_add(1));
                    let count = (segment.packets > 0).then_some(segment.packets);
                    gaps.push(Gap {
                        from_ns: segment.first_ns,
                        to_ns,
                        cause,
                        count,
                    });
                }
            }
        }
        (grants, gaps)
    }

    fn grant_segment(
        &mut self,
        id: &[u8; 16],
        segment: &Segment,
        level: AccessLevel,
    ) -> Result<Granted, String> {
        let path = self.layout.segments().join(&segment.file);
        let has_end = segment.end == SegmentEnd::Sealed;
        let opened = self.opened.open(id, &path, has_end, &self.keyring)?;
        // What storage says of a segment is a hint; what the signed header says counts.
        if opened.header.sealing_epoch != segment.sealing_epoch
            || opened.header.mapping_epoch != segment.mapping_epoch
        {
            return Err("unreadable: its header names other epochs than storage does".into());
        }
        let mut keys = [None, None, None];
        for section in sections(level) {
            keys[*section as usize] = Some(opened.key(*section, &self.keyring)?);
        }
        Ok(Granted {
            keys,
            checked: opened.checked,
            link: opened.header.link,
            predecessor: opened.header.predecessor.clone(),
        })
    }

    /// A segment that its successor's signed header names, but that is not there: somebody took it. The ring
    /// takes from the oldest end only, so where older ones remain it was not the ring.
    fn missing_before(&self, segment: &Segment, predecessor: Option<&Predecessor>) -> Option<Gap> {
        let named = predecessor?.segment.0;
        let mut older = None;
        for (id, other) in self.catalog.segments() {
            if *id == named {
                return None;
            }
            if other.first_ns < segment.first_ns {
                let last_ns = other.last_ns.unwrap_or(other.first_ns);
                older = older.max(Some(last_ns.min(segment.first_ns)));
            }
        }
        Some(Gap {
            from_ns: older?,
            to_ns: segment.first_ns,
            cause: "missing segment".into(),
            count: None,
        })
    }

    /// Opens the data keys of record files; `None` where one cannot be opened any more.
    /// What storage says of a file is a hint: only rows of this very metric, sealed at this very output level,
    /// are opened.
    pub(super) fn grant_records(
        &self,
        files: &[Coverage],
        metric: &[u8; 32],
        output_level: AccessLevel,
    ) -> Option<Vec<RecordGrant>> {
        files
            .iter()
            .map(|coverage| {
                let mut file = File::open(self.layout.records().join(&coverage.file)).ok()?;
                let (header, _) = records::Header::read(&mut file).ok()?;
                if header.metric != *metric || header.output_level != output_level {
                    return None;
                }
                let identity = self
                    .keyring
                    .record_identity_if_present(header.sealing_epoch, header.output_level.as_u8())?;
                Some(RecordGrant {
                    coverage: coverage.clone(),
                    key: header.unwrap_key(identity).ok()?,
                })
            })
            .collect()
    }
}
