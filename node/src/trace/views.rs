//! From the opened sections of a block to its packets at one level, all of them or chosen rows. Must never open a section
//! that the level does not include, even where a key is at hand.

use como_anonymize::bitmap::Bitmap;
use como_anonymize::view::Treatment;
use como_anonymize::{DenyReason, Frames, LinkType, RowMeta, View};
use como_keys::aead::BlockCipher;
use como_policies::AccessLevel;

use super::error::TraceError;
use super::groups::{self, ColumnGroup, GroupSet};
use super::layers::Layer;
use super::loaded::Sections;
use super::reader::{BlockRef, SegmentReader, locate};
use super::sealer::{Entry, SLOT_ENTRY, SLOT_GROUPS, SLOT_P, SLOT_R};
use super::{MAX_BLOCK_BYTES, MAX_CAPTURE_BYTES};

/// Column groups that a view at `headers` takes beside section R.
const HEADERS_GROUPS: GroupSet = GroupSet::NONE
    .with(ColumnGroup::Time)
    .with(ColumnGroup::Size)
    .with(ColumnGroup::Kind);
/// Column groups that packets at `payload` take beside sections R and P.
const PAYLOAD_GROUPS: GroupSet = GroupSet::NONE.with(ColumnGroup::Time).with(ColumnGroup::Size);

/// The column group that has AS numbers.
const NETWORKS_GROUP: GroupSet = GroupSet::NONE.with(ColumnGroup::Kind);

/// What is wanted of the packets of a block.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The level that they are shown at: `anonymized`, `headers` or `payload`.
    pub level: AccessLevel,
    /// Columns at `anonymized`.
    pub groups: GroupSet,
    /// Columns at the levels above.
    pub treatment: Treatment,
    /// These packets; `None`: all.
    pub rows: Option<&'a Bitmap>,
}

impl Wanted<'_> {
    /// All packets, with all columns above `anonymized`.
    pub fn all(level: AccessLevel, groups: GroupSet) -> Self {
        Self {
            level,
            groups,
            treatment: Treatment::Described,
            rows: None,
        }
    }
}

/// The packets of a block as they were captured, each in two pieces. No Debug: it holds real bytes.
pub struct Captured<'a> {
    /// Of all of them.
    pub link: LinkType,
    /// Times, ns since the Unix epoch.
    pub ts_ns: Vec<u64>,
    /// Lengths on the wire, bytes.
    pub wire_len: Vec<u32>,
    deny: Vec<u8>,
    headers: Layer<'a>,
    rest: Layer<'a>,
}

impl Captured<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ts_ns.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ts_ns.is_empty()
    }

    /// The bytes of one, which follow each other.
    pub fn pieces(&self, row: usize) -> [&[u8]; 2] {
        [self.headers.piece(row), self.rest.piece(row)]
    }

    /// Whether a packet was set aside because it stopped capture: it must not be dissected anywhere.
    fn is_set_aside(&self, row: usize) -> bool {
        self.deny[row] == DenyReason::Undissected.as_u8()
    }
}

impl SegmentReader {
    /// The packets of a block at `anonymized` (the chosen groups), `headers` or `payload`.
    pub fn view(&self, block: &BlockRef, level: AccessLevel, groups: GroupSet) -> Result<View, TraceError> {
        self.view_in(&mut Sections::default(), block, &Wanted::all(level, groups))
    }

    /// The same, with memory that is used again, of chosen rows.
    pub fn view_in(
        &self,
        sections: &mut Sections,
        block: &BlockRef,
        wanted: &Wanted<'_>,
    ) -> Result<View, TraceError> {
        match wanted.level {
            AccessLevel::Payload => self.payload(sections, block, wanted),
            AccessLevel::Headers => self.headers(sections, block, wanted),
            // The levels below are computed from this view by the reader's caller.
            _ => self.anonymized(sections, block, wanted.groups, wanted.rows),
        }
        .map_err(|error| locate(error, block.position))
    }

    /// The packets of a block as captured, which only the keys of `payload` open.
    pub fn captured<'s>(
        &self,
        sections: &'s mut Sections,
        block: &BlockRef,
    ) -> Result<Captured<'s>, TraceError> {
        self.open_captured(sections, block)
            .map_err(|error| locate(error, block.position))
    }

    fn open_captured<'s>(
        &self,
        sections: &'s mut Sections,
        block: &BlockRef,
    ) -> Result<Captured<'s>, TraceError> {
        self.read(sections, block, &slots_of(PAYLOAD_GROUPS, &[SLOT_R, SLOT_P]))?;
        let known = self.anonymized(sections, block, PAYLOAD_GROUPS, None)?;
        self.open_layer(sections, block, SLOT_R, "R", &self.ciphers.r)?;
        self.open_layer(sections, block, SLOT_P, "P", &self.ciphers.p)?;
        let headers = Layer::decode(sections.plain(SLOT_R), known.len())?;
        let rest = Layer::decode(sections.plain(SLOT_P), known.len())?;
        let mut ts_ns = known.columns.ts_ns;
        let finer = headers.finer.iter().zip(&rest.finer);
        ts_ns.iter_mut().zip(finer).for_each(|(ts, (&us, &ns))| {
            *ts = ts.saturating_add(u64::from(us) * 1000 + u64::from(ns));
        });
        Ok(Captured {
            link: known.link,
            ts_ns,
            wire_len: known.columns.wire_len,
            deny: known.columns.deny,
            headers,
            rest,
        })
    }

    fn payload(
        &self,
        sections: &mut Sections,
        block: &BlockRef,
        wanted: &Wanted<'_>,
    ) -> Result<View, TraceError> {
        // What capture alone could tell of the addresses.
        let networks = match wanted.treatment == Treatment::Described {
            true => Some(
                self.anonymized(sections, block, NETWORKS_GROUP, wanted.rows)?
                    .columns,
            ),
            false => None,
        };
        let captured = self.open_captured(sections, block)?;
        let mut view = View::new(AccessLevel::Payload, captured.link);
        let mut set_aside = Vec::new();
        for row in rows(wanted.rows, captured.len()) {
            let pieces = captured.pieces(row);
            if pieces[0].len() + pieces[1].len() > MAX_CAPTURE_BYTES {
                return Err(TraceError::damaged(
                    block.position,
                    "a packet is longer than any may be",
                ));
            }
            if captured.is_set_aside(row) {
                set_aside.push(view.frames.len());
            }
            fits(view.push_captured(captured.ts_ns[row], captured.wire_len[row], pieces))?;
        }
        if let Some(networks) = networks {
            view.describe_captured(&set_aside);
            (view.columns.src_as, view.columns.dst_as) = (networks.src_as, networks.dst_as);
        }
        Ok(view)
    }

    fn headers(
        &self,
        sections: &mut Sections,
        block: &BlockRef,
        wanted: &Wanted<'_>,
    ) -> Result<View, TraceError> {
        self.read(sections, block, &slots_of(HEADERS_GROUPS, &[SLOT_R]))?;
        let known = self.anonymized(sections, block, HEADERS_GROUPS, None)?;
        self.open_layer(sections, block, SLOT_R, "R", &self.ciphers.r)?;
        let layer = Layer::decode(sections.plain(SLOT_R), known.len())?;
        let audience = self.audience.as_ref().ok_or_else(|| TraceError::NoAudience {
            segment: self.header().segment.to_string(),
        })?;
        let mut view = View::new(AccessLevel::Headers, known.link);
        let columns = &known.columns;
        for row in rows(wanted.rows, known.len()) {
            let meta = RowMeta {
                ts_ns: columns.ts_ns[row].saturating_add(u64::from(layer.finer[row]) * 1000),
                wire_len: columns.wire_len[row],
                weight: columns.weight[row],
                deny: columns.deny[row],
                src_class: columns.src_class[row],
                dst_class: columns.dst_class[row],
                checksums: columns.checksums[row],
                src_as: columns.src_as[row],
                dst_as: columns.dst_as[row],
            };
            fits(view.push_headers(&meta, layer.piece(row), audience, wanted.treatment))?;
        }
        Ok(view)
    }

    fn anonymized(
        &self,
        sections: &mut Sections,
        block: &BlockRef,
        groups: GroupSet,
        chosen: Option<&Bitmap>,
    ) -> Result<View, TraceError> {
        let count = block.header.packets as usize;
        if count > MAX_BLOCK_BYTES {
            return Err(TraceError::damaged(
                block.position,
                "more packets than a block may have",
            ));
        }
        self.read(sections, block, &slots_of(groups, &[]))?;
        let Entry { link, .. } = self.entry(sections, block)?;
        let ciphers = self.ciphers.groups.as_ref().ok_or_else(|| self.no_key("A"))?;
        let mut view = View::new(AccessLevel::Anonymized, LinkType(link));
        let wanted = || {
            ColumnGroup::ALL
                .into_iter()
                .filter(|group| groups.contains(*group))
        };
        for group in wanted() {
            let slot = SLOT_GROUPS + group as usize;
            self.open_in(sections, block, slot, &ciphers[group as usize], &[])?;
        }
        let mut templates = None;
        for group in wanted() {
            let plain = sections.plain(SLOT_GROUPS + group as usize);
            templates = groups::decode(plain, count, &mut view)?.or(templates);
        }
        groups::fill_blank(&mut view.columns, count, groups);
        if let Some(chosen) = chosen {
            view.columns = view.columns.select(chosen);
        }
        // A frame is put together from its template and all columns: without these there is none.
        view.frames = match templates {
            Some(templates) if groups == GroupSet::ALL => templates.restore(&view, rows(chosen, count))?,
            _ => Frames {
                offsets: vec![0; view.len() + 1],
                bytes: Vec::new(),
            },
        };
        Ok(view)
    }

    fn open_layer(
        &self,
        sections: &mut Sections,
        block: &BlockRef,
        slot: usize,
        name: &'static str,
        cipher: &Option<BlockCipher>,
    ) -> Result<(), TraceError> {
        if block.header.slots[slot].sealed == 0 {
            return Err(TraceError::NotRetained {
                section: name,
                segment: self.header().segment.to_string(),
            });
        }
        let cipher = cipher.as_ref().ok_or_else(|| self.no_key(name))?;
        self.open_in(sections, block, slot, cipher, &[])
    }
}

/// The slots of the entry, of column groups and of layers, in order.
fn slots_of(groups: GroupSet, layers: &[usize]) -> Vec<usize> {
    let columns = ColumnGroup::ALL
        .into_iter()
        .filter(|group| groups.contains(*group))
        .map(|group| SLOT_GROUPS + group as usize);
    std::iter::once(SLOT_ENTRY)
        .chain(columns)
        .chain(layers.iter().copied())
        .collect()
}

/// Numbers of the chosen rows, or of all.
fn rows(chosen: Option<&Bitmap>, count: usize) -> impl Iterator<Item = usize> + '_ {
    let all = 0..if chosen.is_some() { 0 } else { count };
    all.chain(
        chosen
            .into_iter()
            .flat_map(Bitmap::ones)
            .filter(move |row| *row < count),
    )
}

fn fits(pushed: bool) -> Result<(), TraceError> {
    if pushed {
        Ok(())
    } else {
        Err(TraceError::damaged(0, "a block is longer than any may be"))
    }
}
