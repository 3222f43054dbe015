//! Reading a segment: the blocks of a window as views at one level, with the keys of that level and no
//! others. Must never open a section that the level does not include, even where a key is at hand.

use std::fs::File;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use como_anonymize::{Anonymizer, View};
use como_keys::aead::BlockCipher;
use como_keys::signing::VerifyingKey;
use como_policies::{AccessLevel, Window};

use super::block::{BlockHeader, BlockKind, SLOTS};
use super::error::TraceError;
use super::footer::SegmentFooter;
use super::gap::Gap;
use super::groups::{GroupSet, NS_PER_MS};
use super::header::SegmentHeader;
use super::index::{FILTER_PIECE_BYTES, SLOT_FILTER};
use super::keys::{Ciphers, ReadKeys};
use super::loaded::Sections;
use super::scan::{self, ScanEnd, ScanReport};
use super::sealer::{Entry, MAX_GAPS_PER_BLOCK, SLOT_ENTRY, SLOT_GROUPS, SLOT_P, SLOT_R};
use super::section::{self, Place};
use super::{BLOCK_HEADER_BYTES, codec};

/// A segment opened for reading.
pub struct SegmentReader {
    file: File,
    header: SegmentHeader,
    footer: Option<SegmentFooter>,
    footer_damage: Option<TraceError>,
    checked: Checked,
    blocks_start: u64,
    blocks_end: u64,
    pub(super) ciphers: Ciphers,
    pub(super) audience: Option<Arc<Anonymizer>>,
    /// Bytes of blocks read so far.
    read_bytes: Arc<AtomicU64>,
}

/// A block of an opened segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRef {
    /// File offset of its header.
    pub position: u64,
    /// Its clear header.
    pub header: BlockHeader,
}

/// Bytes of a segment that do not read any more.
#[derive(Debug)]
pub struct Damage {
    /// Where they start.
    pub position: u64,
    /// How many they are.
    pub bytes: u64,
    /// Packets lost with them, where the block header still tells.
    pub packets: Option<u64>,
    /// What is wrong.
    pub what: TraceError,
}

/// What [`SegmentReader::open_sections`] came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Sections of the block.
    pub sections: u64,
    /// Those of them that stayed closed.
    pub without_key: u64,
}

/// The digests of header and footer whose signatures were checked: who trusts the one who checked them need not do it
/// again for frames that have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Of the header, which the node's key vouches for.
    pub header: Option<[u8; 32]>,
    /// Of the footer; `None` too where there is none.
    pub footer: Option<[u8; 32]>,
}

/// What reading a window yields, in the order of capture.
pub enum WindowItem {
    /// Packets. Rows outside the window are not removed: blocks are the unit.
    View(Box<View>),
    /// Loss that capture recorded.
    Gap(Gap),
    /// Loss that the disk made.
    Damaged(Damage),
}

/// A segment as a catalog lists it. Nothing here needs a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The signed header.
    pub header: SegmentHeader,
    /// Bytes of the header frame at the start of the file.
    pub header_bytes: u64,
    /// The signed footer; none while the segment is open or where a crash cut it (`unsealed end`).
    pub footer: Option<SegmentFooter>,
    /// Bytes on disk.
    pub file_bytes: u64,
    /// Packets in it.
    pub packets: u64,
    /// Blocks in it.
    pub blocks: u64,
}

impl SegmentReader {
    /// Opens a segment file: header and, where there is one, footer, both with valid signatures. A footer that
    /// is damaged counts as none (`unsealed end`): the blocks before it still read.
    pub fn open(file: File) -> Result<Self, TraceError> {
        Self::open_checked(file, &Checked::default())
    }

    /// The same; signatures of frames that were checked already are not checked again.
    pub fn open_checked(file: File, known: &Checked) -> Result<Self, TraceError> {
        let read = scan::read_header(&file, known.header.as_ref())?;
        let (header, blocks_start) = (read.header, read.bytes);
        let length = file.metadata()?.len();
        let found = scan::find_footer(&file, length, blocks_start, &header, known.footer.as_ref());
        let (footer, footer_damage) = match found {
            Err(damage @ TraceError::Damaged { .. }) => (None, Some(damage)),
            found => (found?, None),
        };
        let blocks_end = footer.as_ref().map_or(length, |(.., position)| *position);
        let checked = Checked {
            header: Some(read.digest),
            footer: footer.as_ref().map(|(_, digest, _)| *digest),
        };
        let footer = footer.map(|(footer, ..)| footer);
        Ok(Self {
            file,
            header,
            footer,
            footer_damage,
            checked,
            blocks_start,
            blocks_end,
            ciphers: Ciphers::new(&ReadKeys::default()),
            audience: None,
            read_bytes: Arc::default(),
        })
    }

    /// The same, able to open what the keys allow.
    pub fn with_keys(mut self, keys: &ReadKeys) -> Self {
        self.ciphers = Ciphers::new(keys);
        self
    }

    /// The same, with the pseudonyms that level `headers` is shown with.
    pub fn with_audience(mut self, audience: Option<Arc<Anonymizer>>) -> Self {
        self.audience = audience;
        self
    }

    /// The same, adding the bytes of blocks that it reads to a counter.
    pub fn counting(mut self, read_bytes: Arc<AtomicU64>) -> Self {
        self.read_bytes = read_bytes;
        self
    }

    /// The signed header.
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// The signed footer; none: `unsealed end`.
    pub fn footer(&self) -> Option<&SegmentFooter> {
        self.footer.as_ref()
    }

    /// What is wrong with the footer, where there is one that does not read.
    pub fn footer_damage(&self) -> Option<&TraceError> {
        self.footer_damage.as_ref()
    }

    /// BLAKE3 of the footer frame: what the next segment's header names.
    pub fn footer_hash(&self) -> Result<Option<[u8; 32]>, TraceError> {
        if self.footer.is_none() {
            return Ok(None);
        }
        let length = self.file.metadata()?.len().saturating_sub(self.blocks_end);
        let frame = scan::read_range(&self.file, self.blocks_end, length as usize)?;
        Ok(Some(como_keys::digest::blake3(&frame)))
    }

    /// Checks that the node certified the run that wrote this segment; gives what whoever trusts this need not check again.
    pub fn verify(&self, node: &VerifyingKey) -> Result<Checked, TraceError> {
        self.header.verify(node)?;
        Ok(self.checked)
    }

    /// The same, where the header is not the one that is known to be the node's.
    pub fn verify_unless(&self, known: &Checked, node: &VerifyingKey) -> Result<(), TraceError> {
        match known.header == self.checked.header {
            true => Ok(()),
            false => self.header.verify(node),
        }
    }

    /// Checks every byte without a key: all blocks there, in order, unchanged, and exactly those that the
    /// footer vouches for.
    pub fn verify_blocks(&self) -> Result<ScanReport, TraceError> {
        let report = scan::scan(&self.file)?;
        match report.tail {
            ScanEnd::Torn { what, .. } => Err(what),
            _ => Ok(report),
        }
    }

    /// All blocks, in order; damage is reported and skipped.
    pub fn blocks(&self) -> impl Iterator<Item = Result<BlockRef, Damage>> + '_ {
        let mut position = self.blocks_start;
        std::iter::from_fn(move || {
            if position >= self.blocks_end {
                return None;
            }
            let start = position;
            let what = match self.block_at(start) {
                Ok(block) => {
                    position += block.header.total_bytes();
                    return Some(Ok(block));
                }
                Err(what) => what,
            };
            let next = scan::next_block(&self.file, start + 1, self.blocks_end);
            position = next.ok().flatten().unwrap_or(self.blocks_end);
            Some(Err(Damage {
                position: start,
                bytes: position - start,
                packets: None,
                what,
            }))
        })
    }

    /// The block whose header lies at a position.
    pub fn block_at(&self, position: u64) -> Result<BlockRef, TraceError> {
        let header = scan::block_header_at(&self.file, position)?;
        self.count(BLOCK_HEADER_BYTES as u64);
        self.block_of(position, header)
    }

    fn block_of(&self, position: u64, header: BlockHeader) -> Result<BlockRef, TraceError> {
        match position.checked_add(header.total_bytes()) {
            Some(end) if end <= self.blocks_end => Ok(BlockRef { position, header }),
            _ => Err(TraceError::damaged(position, "the file ends inside a block")),
        }
    }

    /// Tells the operating system that a range of the file will be read soon. It may not care.
    pub fn will_need(&self, position: u64, bytes: NonZeroU64) {
        let _ = rustix::fs::fadvise(&self.file, position, Some(bytes), rustix::fs::Advice::WillNeed);
    }

    /// Whether all sections of a block are unchanged, as far as a hash without a key can tell.
    pub fn is_whole(&self, block: &BlockRef) -> bool {
        scan::read_range(
            &self.file,
            block.position + BLOCK_HEADER_BYTES as u64,
            block.header.body_bytes() as usize,
        )
        .is_ok_and(|body| como_keys::digest::blake3(&body) == block.header.body_hash)
    }

    /// Opens every section of a block for which there is a key, and throws away what was in it: how many there
    /// were, and how many of them no key was for.
    pub fn open_sections(&self, block: &BlockRef) -> Result<Opened, TraceError> {
        let mut opened = Opened::default();
        for slot in (0..SLOTS).filter(|slot| block.header.slots[*slot].sealed > 0) {
            opened.sections += 1;
            opened.without_key += u64::from(self.plain_section(block, slot)?.is_none());
        }
        Ok(opened)
    }

    /// A section as it was before it was compressed and sealed; `None`: no key is at hand for it.
    pub(super) fn plain_section(&self, block: &BlockRef, slot: usize) -> Result<Option<Vec<u8>>, TraceError> {
        let ciphers = &self.ciphers;
        if block.header.kind == BlockKind::Index && slot == SLOT_FILTER {
            return self.all_pieces(block, slot);
        }
        let (cipher, extra) = match (slot, block.header.kind) {
            (SLOT_ENTRY, BlockKind::Packets) => (ciphers.entry.as_ref(), block.header.fields()),
            (SLOT_ENTRY, BlockKind::Gaps) => (ciphers.gaps.as_ref(), block.header.fields()),
            (slot, BlockKind::Index) => {
                let cipher = ciphers.index.as_ref().and_then(|index| index.get(slot));
                let extra = if slot == SLOT_ENTRY {
                    block.header.fields()
                } else {
                    Vec::new()
                };
                (cipher, extra)
            }
            (SLOT_R, _) => (ciphers.r.as_ref(), Vec::new()),
            (SLOT_P, _) => (ciphers.p.as_ref(), Vec::new()),
            _ => {
                let groups = ciphers.groups.as_ref();
                (groups.map(|groups| &groups[slot - SLOT_GROUPS]), Vec::new())
            }
        };
        let Some(cipher) = cipher else { return Ok(None) };
        self.open_slot(block, slot, cipher, &extra).map(Some)
    }

    /// The same of a section that is in pieces.
    fn all_pieces(&self, block: &BlockRef, slot: usize) -> Result<Option<Vec<u8>>, TraceError> {
        if self.ciphers.index.is_none() {
            return Ok(None);
        }
        let bytes = section::raw_bytes(block.header.slots[slot])?;
        let mut plain = Vec::new();
        for piece in 0..bytes.div_ceil(FILTER_PIECE_BYTES) {
            plain.extend_from_slice(&self.open_piece(block, slot, piece)?);
        }
        Ok(Some(plain))
    }

    /// Reads and opens one piece of a section of the index.
    pub(super) fn open_piece(
        &self,
        block: &BlockRef,
        slot: usize,
        number: usize,
    ) -> Result<Vec<u8>, TraceError> {
        let ciphers = self.ciphers.index.as_ref().ok_or_else(|| self.no_key("A"))?;
        let of_section = block.header.section_range(slot);
        let lengths = block.header.slots[slot];
        let piece = section::piece_range(lengths, FILTER_PIECE_BYTES, number)
            .map_err(|error| locate(error, block.position))?;
        let position = block.position + of_section.start + piece.start;
        let mut bytes = scan::read_range(&self.file, position, (piece.end - piece.start) as usize)?;
        self.count(bytes.len() as u64);
        section::open_piece(
            &ciphers[slot],
            self.place(block, slot),
            lengths,
            number,
            &mut bytes,
        )
        .map_err(|error| locate(error, position))?;
        Ok(bytes)
    }

    fn place(&self, block: &BlockRef, slot: usize) -> Place {
        Place {
            segment: self.header.segment,
            number: block.header.number,
            slot,
        }
    }

    /// Everything that touches a window of packet time, in the order of capture. `groups` says which
    /// columns are wanted at `anonymized`; the levels above give all.
    pub fn window(
        &self,
        window: Window,
        level: AccessLevel,
        groups: GroupSet,
    ) -> impl Iterator<Item = WindowItem> + '_ {
        self.blocks().flat_map(move |block| match block {
            Err(damage) => vec![WindowItem::Damaged(damage)],
            Ok(block) => self.items(&block, window, level, groups).unwrap_or_else(|what| {
                let packets = (block.header.kind == BlockKind::Packets).then(|| block.header.packets.into());
                let bytes = block.header.total_bytes();
                vec![WindowItem::Damaged(Damage {
                    position: block.position,
                    bytes,
                    packets,
                    what,
                })]
            }),
        })
    }

    /// Time range of a block's packets, inclusive, on the grain of section A.
    pub fn time_range(&self, block: &BlockRef) -> Result<(u64, u64), TraceError> {
        let entry = self.entry(&mut Sections::default(), block)?;
        Ok((entry.first_ns, entry.last_ns))
    }

    /// The gap records of a block of gaps.
    pub fn gaps(&self, block: &BlockRef) -> Result<Vec<Gap>, TraceError> {
        let cipher = self.ciphers.gaps.as_ref().ok_or_else(|| self.no_key("A"))?;
        let plain = self.open_slot(block, SLOT_ENTRY, cipher, &block.header.fields())?;
        let mut input = codec::Reader(&plain);
        let read = |input: &mut codec::Reader<'_>| {
            let count = input.u32()? as usize;
            if count > MAX_GAPS_PER_BLOCK {
                return Err(TraceError::damaged(0, "more gaps than a block may have"));
            }
            (0..count).map(|_| Gap::decode(input)).collect()
        };
        read(&mut input).map_err(|error| locate(error, block.position))
    }

    fn items(
        &self,
        block: &BlockRef,
        window: Window,
        level: AccessLevel,
        groups: GroupSet,
    ) -> Result<Vec<WindowItem>, TraceError> {
        if block.header.kind == BlockKind::Index {
            return Ok(Vec::new());
        }
        if block.header.kind == BlockKind::Gaps {
            let touches = |gap: &Gap| gap.from_ns < window.to_ns && gap.to_ns >= window.from_ns;
            return Ok(self
                .gaps(block)?
                .into_iter()
                .filter(touches)
                .map(WindowItem::Gap)
                .collect());
        }
        let entry = self.entry(&mut Sections::default(), block)?;
        // `last_ns` is floored: the packet may be up to a millisecond later.
        if entry.first_ns >= window.to_ns || entry.last_ns.saturating_add(NS_PER_MS) <= window.from_ns {
            return Ok(Vec::new());
        }
        Ok(vec![WindowItem::View(Box::new(self.view(block, level, groups)?))])
    }

    /// The sealed entry of a block of packets.
    pub(super) fn entry(&self, sections: &mut Sections, block: &BlockRef) -> Result<Entry, TraceError> {
        let cipher = self.ciphers.entry.as_ref().ok_or_else(|| self.no_key("A"))?;
        self.read(sections, block, &[SLOT_ENTRY])?;
        self.open_in(sections, block, SLOT_ENTRY, cipher, &block.header.fields())?;
        Entry::decode(sections.plain(SLOT_ENTRY)).map_err(|error| locate(error, block.position))
    }

    /// Opens a section that was read; `extra` is further associated data.
    pub(super) fn open_in(
        &self,
        sections: &mut Sections,
        block: &BlockRef,
        slot: usize,
        cipher: &BlockCipher,
        extra: &[u8],
    ) -> Result<(), TraceError> {
        let place = self.place(block, slot);
        let position = block.position + block.header.section_range(slot).start;
        sections
            .open(block, place, cipher, extra)
            .map_err(|error| locate(error, position))
    }

    /// Reads and opens one section.
    pub(super) fn open_slot(
        &self,
        block: &BlockRef,
        slot: usize,
        cipher: &BlockCipher,
        extra: &[u8],
    ) -> Result<Vec<u8>, TraceError> {
        let mut sections = Sections::default();
        self.read(&mut sections, block, &[slot])?;
        self.open_in(&mut sections, block, slot, cipher, extra)?;
        Ok(sections.plain(slot).to_vec())
    }

    /// Reads sections that are not there yet, neighbours at once.
    pub(super) fn read(
        &self,
        sections: &mut Sections,
        block: &BlockRef,
        slots: &[usize],
    ) -> Result<(), TraceError> {
        self.count(sections.read(&self.file, block, slots)?);
        Ok(())
    }

    /// Begins to read the block at a position: its header, and with it up to so many bytes of its sections.
    pub fn block_in(
        &self,
        sections: &mut Sections,
        position: u64,
        bytes: u64,
    ) -> Result<BlockRef, TraceError> {
        let room = self.blocks_end.saturating_sub(position);
        let start = sections.start(
            &self.file,
            position,
            bytes.max(BLOCK_HEADER_BYTES as u64).min(room),
        )?;
        self.count(start.len() as u64);
        self.block_of(position, BlockHeader::decode(start, position)?)
    }

    fn count(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn no_key(&self, section: &'static str) -> TraceError {
        TraceError::NoKey {
            section,
            segment: self.header.segment.to_string(),
        }
    }

    /// What a catalog lists of this segment. Counts the blocks of a segment without footer.
    pub fn info(&self) -> Result<SegmentInfo, TraceError> {
        let (mut packets, mut blocks) = (0, 0);
        match &self.footer {
            Some(footer) => (packets, blocks) = (footer.packets, footer.blocks),
            None => self.blocks().flatten().for_each(|block| {
                packets += u64::from(block.header.packets);
                blocks += 1;
            }),
        }
        let file_bytes = self.file.metadata()?.len();
        Ok(SegmentInfo {
            header: self.header.clone(),
            header_bytes: self.blocks_start,
            footer: self.footer.clone(),
            file_bytes,
            packets,
            blocks,
        })
    }
}

/// Puts the position in the file into an error found within a section.
pub(super) fn locate(error: TraceError, at: u64) -> TraceError {
    match error {
        TraceError::Damaged { position, what } => TraceError::Damaged {
            position: at + position.saturating_sub(at),
            what,
        },
        other => other,
    }
}

const _: () = assert!(BLOCK_HEADER_BYTES < super::MAX_BLOCK_BYTES);
