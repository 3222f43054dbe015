//! Writing a segment: `SegmentSealer` turns batches into sealed blocks on any number of threads,
//! `SegmentLedger` opens and closes the segment around them, in order. Must never seal two blocks under
//! one number, and never touches the disk: what it makes goes to storage.

use como_anonymize::Columns;
use como_keys::aead::BlockCipher;
use como_keys::digest::{Hasher, blake3};

use super::block::{BLOCK_HEADER_BYTES, BlockHeader, BlockKind, MAX_BLOCK_BYTES, SLOTS, Slot};
use super::codec::{put_u32, put_u64};
use super::footer::{EndReason, IndexPlace, SegmentFooter};
use super::gap::Gap;
use super::groups::{self, ColumnGroup, NS_PER_MS};
use super::header::{Predecessor, SegmentHeader};
use super::index::{self, BlockFlows, BlockTable, BlockTableEntry, Bloom, PartBuilder};
use super::keys::{Ciphers, EpochKeys, Retain, RunKey, SegmentKeys};
use super::section::{self, Place, SealScratch};
use super::templates::FrameTemplates;
use super::{PacketBatch, ResumePoint, SegmentId, SourceId, TraceError, layers};

/// Slot of the sealed entry (of the gaps, in a block of gaps).
pub(super) const SLOT_ENTRY: usize = 0;
/// Slot of the first column group.
pub(super) const SLOT_GROUPS: usize = 1;
/// Slot of section R.
pub(super) const SLOT_R: usize = SLOT_GROUPS + ColumnGroup::COUNT;
/// Slot of section P.
pub(super) const SLOT_P: usize = SLOT_R + 1;
/// Bytes of a packet block's entry.
const ENTRY_BYTES: usize = 36;
/// The same once sealed: it is too short to be compressed.
const ENTRY_SEALED_BYTES: usize = ENTRY_BYTES + como_keys::aead::TAG_BYTES;
/// Gap records in one block; more wait for the next.
pub const MAX_GAPS_PER_BLOCK: usize = 1024;

/// One step of the way from capture to storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedItem {
    /// Position in the capture run, from 0 without holes; what storage acknowledges.
    pub sequence: u64,
    /// The segment it belongs to.
    pub segment: SegmentId,
    /// What to append.
    pub body: ItemBody,
}

/// What to append to the segment's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemBody {
    /// Its header frame: the segment begins.
    Open(Vec<u8>),
    /// One block.
    Block(Vec<u8>),
    /// Its footer frame: the segment ends.
    Close(Vec<u8>),
}

impl ItemBody {
    /// The bytes to append.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Open(bytes) | Self::Block(bytes) | Self::Close(bytes) => bytes,
        }
    }

    /// The same, given away.
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Open(bytes) | Self::Block(bytes) | Self::Close(bytes) => bytes,
        }
    }
}

/// A sealed block and what the footer needs to know of it.
pub struct SealedBlock {
    /// Header and sections, as they go to the file.
    pub bytes: Vec<u8>,
    entry: BlockTableEntry,
    flows: BlockFlows,
    section_bytes: [u64; 3],
    captured_bytes: u64,
    lost_packets: u64,
    unknown_losses: u32,
}

/// Bytes of sections A, R and P among the slots of a block.
fn section_bytes(slots: &[Slot; SLOTS]) -> [u64; 3] {
    let [a, r, p] = [0..SLOT_R, SLOT_R..SLOT_P, SLOT_P..SLOTS];
    [a, r, p].map(|section| slots[section].iter().map(|slot| u64::from(slot.sealed)).sum())
}

/// Seals the blocks of one segment. Shared by the worker threads.
pub struct SegmentSealer {
    segment: SegmentId,
    source: SourceId,
    retain: Retain,
    ciphers: Ciphers,
}

/// What treating a batch gave, from one dissection of each packet.
pub struct BlockParts<'a> {
    /// The packets at `anonymized`.
    pub columns: &'a Columns,
    /// Their frames.
    pub templates: &'a FrameTemplates,
    /// How many bytes of each captured packet are header.
    pub header_len: &'a [u32],
}

/// Where a block stands: in its segment and in the capture run.
#[derive(Clone, Copy, Debug)]
pub struct BlockPosition {
    /// Number within the segment: each is used once.
    pub number: u32,
    /// Sequence within the capture run.
    pub sequence: u64,
}

/// The serial half of writing a segment: opens it, keeps account of its blocks in order, closes it.
pub struct SegmentLedger {
    segment: SegmentId,
    run: RunKey,
    ciphers: Ciphers,
    position: u64,
    hasher: Hasher,
    source: SourceId,
    table: BlockTable,
    part: PartBuilder,
    filter: Bloom,
    /// Numbers of blocks of which the levels above see more than the index does.
    opaque: Vec<u32>,
    index: IndexPlace,
    section_bytes: [u64; 3],
    packets: u64,
    wire_bytes: u64,
    captured_bytes: u64,
    lost_packets: u64,
    unknown_losses: u32,
}

/// What a new segment is about.
#[derive(Clone, Debug)]
pub struct SegmentPlan {
    /// SPIFFE id of the node.
    pub node: String,
    /// Where the packets come from.
    pub source: SourceId,
    /// The same for people.
    pub source_description: String,
    /// Which sections to keep.
    pub retain: Retain,
    /// LINKTYPE_ of the first block.
    pub link: u32,
    /// Wall time, ns since the Unix epoch.
    pub created_ns: u64,
    /// Packet time of the first packet or gap, ns since the Unix epoch.
    pub first_ns: u64,
}

/// A segment about to be written: the shared half now, the serial half once its predecessor is closed.
pub struct SegmentStart {
    /// For the workers.
    pub sealer: SegmentSealer,
    header: SegmentHeader,
    run: RunKey,
    keys: SegmentKeys,
}

impl SegmentStart {
    /// Makes fresh keys and wraps them to the epoch's identities.
    pub fn new(plan: SegmentPlan, epoch: &EpochKeys, run: &RunKey) -> Result<Self, TraceError> {
        let segment = SegmentId::random();
        let keys = SegmentKeys::generate(plan.retain);
        let header = SegmentHeader {
            segment,
            node: plan.node,
            sealing_epoch: epoch.sealing_epoch,
            mapping_epoch: epoch.mapping_epoch,
            source: plan.source,
            source_description: plan.source_description,
            link: plan.link,
            retain: plan.retain,
            keys: keys.wrap(segment, epoch)?,
            certificate: run.certificate.clone(),
            predecessor: None,
            created_ns: plan.created_ns,
            first_ns: plan.first_ns - plan.first_ns % NS_PER_MS,
        };
        let ciphers = Ciphers::new(&keys.read_keys());
        let sealer = SegmentSealer {
            segment,
            source: plan.source,
            retain: plan.retain,
            ciphers,
        };
        Ok(Self {
            sealer,
            header,
            run: run.clone(),
            keys,
        })
    }

    /// The segment's id.
    pub fn segment(&self) -> SegmentId {
        self.header.segment
    }

    /// Splits into the workers' half and what opens the ledger.
    pub fn split(self) -> (SegmentSealer, LedgerStart) {
        (
            self.sealer,
            LedgerStart {
                header: self.header,
                run: self.run,
                keys: self.keys,
            },
        )
    }
}

/// Opens the ledger once the predecessor is known.
pub struct LedgerStart {
    header: SegmentHeader,
    run: RunKey,
    keys: SegmentKeys,
}

impl LedgerStart {
    /// The segment's id.
    pub fn segment(&self) -> SegmentId {
        self.header.segment
    }

    /// The header frame and the ledger.
    pub fn open(mut self, predecessor: Option<Predecessor>) -> (Vec<u8>, SegmentLedger) {
        self.header.predecessor = predecessor;
        let frame = self.header.encode(&self.run);
        let ciphers = Ciphers::new(&self.keys.read_keys());
        let filter_key = ciphers.filter_key.expect("a ledger has A's keys");
        let ledger = SegmentLedger {
            segment: self.header.segment,
            run: self.run,
            ciphers,
            position: frame.len() as u64,
            hasher: Hasher::new(),
            source: self.header.source,
            table: BlockTable::default(),
            part: PartBuilder::new(0),
            filter: Bloom::of_segment(filter_key),
            opaque: Vec::new(),
            index: IndexPlace::default(),
            section_bytes: [0; 3],
            packets: 0,
            wire_bytes: 0,
            captured_bytes: 0,
            lost_packets: 0,
            unknown_losses: 0,
        };
        (frame, ledger)
    }
}

impl SegmentSealer {
    /// The segment's id.
    pub fn segment(&self) -> SegmentId {
        self.segment
    }

    /// Seals a batch with what one treatment made of it, into the memory of an earlier block.
    pub fn seal_packets(
        &self,
        at: BlockPosition,
        batch: &PacketBatch,
        parts: &BlockParts<'_>,
        mut bytes: Vec<u8>,
        scratch: &mut SealScratch,
    ) -> Result<SealedBlock, TraceError> {
        let mut slots = [Slot::default(); SLOTS];
        // The entry comes first and is sealed last: it vouches for the lengths of the others.
        bytes.clear();
        bytes.resize(BLOCK_HEADER_BYTES + ENTRY_SEALED_BYTES, 0);
        bytes.reserve(batch.bytes.len());
        let mut put = |slot: usize, cipher, fill: &dyn Fn(&mut Vec<u8>)| {
            scratch.plain.clear();
            fill(&mut scratch.plain);
            slots[slot] = section::append(cipher, self.place(at, slot), scratch, &mut bytes, |_| Vec::new());
        };
        for group in ColumnGroup::ALL {
            let cipher = &self.ciphers.groups.as_ref().expect("a sealer has A's keys")[group as usize];
            put(SLOT_GROUPS + group as usize, cipher, &|out| {
                groups::encode(parts.columns, parts.templates, group, out);
            });
        }
        if let Some(cipher) = &self.ciphers.r {
            put(SLOT_R, cipher, &|out| {
                layers::encode_headers(batch, parts.header_len, out);
            });
        }
        if let Some(cipher) = &self.ciphers.p {
            put(SLOT_P, cipher, &|out| {
                layers::encode_rest(batch, parts.header_len, out);
            });
        }
        let entry = Entry {
            first_ns: floor_ms(batch.ts_ns.iter().copied().min().unwrap_or(0)),
            last_ns: floor_ms(batch.ts_ns.iter().copied().max().unwrap_or(0)),
            wire_bytes: batch.wire_len.iter().map(|&len| u64::from(len)).sum(),
            captured_bytes: batch.bytes.len() as u64,
            link: batch.link,
        };
        let header = BlockHeader {
            kind: BlockKind::Packets,
            number: at.number,
            packets: batch.len() as u32,
            sequence: at.sequence,
            source: self.source,
            offset_after: batch.offset_after,
            first_packet: batch.first_packet,
            slots,
            body_hash: [0; 32],
        };
        self.finish(header, &entry.encode(), &self.ciphers.entry, scratch, &mut bytes)?;
        Ok(SealedBlock {
            bytes,
            flows: index::summarize(batch, parts.columns, parts.header_len),
            section_bytes: section_bytes(&slots),
            captured_bytes: entry.captured_bytes,
            entry: BlockTableEntry {
                position: 0,
                kind: BlockKind::Packets,
                first_ns: entry.first_ns,
                last_ns: entry.last_ns,
                packets: batch.len() as u32,
                wire_bytes: entry.wire_bytes,
            },
            lost_packets: 0,
            unknown_losses: 0,
        })
    }

    /// Seals at most [`MAX_GAPS_PER_BLOCK`] gap records; the source continues at `resume`.
    pub fn seal_gaps(
        &self,
        at: BlockPosition,
        resume: ResumePoint,
        gaps: &[Gap],
    ) -> Result<SealedBlock, TraceError> {
        if gaps.len() > MAX_GAPS_PER_BLOCK {
            return Err(TraceError::Limit {
                what: "the gaps of a block",
                limit: MAX_GAPS_PER_BLOCK as u64,
            });
        }
        let mut plain = Vec::new();
        put_u32(&mut plain, gaps.len() as u32);
        gaps.iter().for_each(|gap| gap.encode(&mut plain));
        let header = BlockHeader {
            kind: BlockKind::Gaps,
            number: at.number,
            packets: 0,
            sequence: at.sequence,
            source: self.source,
            offset_after: resume.offset,
            first_packet: resume.next_packet,
            slots: [Slot::default(); SLOTS],
            body_hash: [0; 32],
        };
        let mut bytes = vec![0; BLOCK_HEADER_BYTES];
        let mut scratch = SealScratch::default();
        self.finish(header, &plain, &self.ciphers.gaps, &mut scratch, &mut bytes)?;
        Ok(SealedBlock {
            bytes,
            flows: BlockFlows::default(),
            section_bytes: [0; 3],
            entry: BlockTableEntry {
                position: 0,
                kind: BlockKind::Gaps,
                first_ns: floor_ms(gaps.iter().map(|gap| gap.from_ns).min().unwrap_or(0)),
                last_ns: floor_ms(gaps.iter().map(|gap| gap.to_ns).max().unwrap_or(0)),
                packets: 0,
                wire_bytes: 0,
            },
            captured_bytes: 0,
            lost_packets: gaps.iter().filter_map(|gap| gap.packets).sum(),
            unknown_losses: gaps.iter().filter(|gap| gap.packets.is_none()).count() as u32,
        })
    }

    /// Which sections are kept.
    pub fn retain(&self) -> Retain {
        self.retain
    }

    fn place(&self, at: BlockPosition, slot: usize) -> Place {
        Place {
            segment: self.segment,
            number: at.number,
            slot,
        }
    }

    /// Seals slot 0 with the clear header as associated data, and writes both before the sections that `bytes` holds
    /// behind the room for them.
    fn finish(
        &self,
        mut header: BlockHeader,
        entry: &[u8],
        cipher: &Option<BlockCipher>,
        scratch: &mut SealScratch,
        bytes: &mut Vec<u8>,
    ) -> Result<(), TraceError> {
        let cipher = cipher.as_ref().expect("a sealer has A's keys");
        let place = Place {
            segment: self.segment,
            number: header.number,
            slot: SLOT_ENTRY,
        };
        scratch.plain.clear();
        scratch.plain.extend_from_slice(entry);
        let mut sealed = Vec::new();
        section::append(cipher, place, scratch, &mut sealed, |slot| {
            header.slots[SLOT_ENTRY] = slot;
            header.fields()
        });
        if header.total_bytes() > MAX_BLOCK_BYTES as u64 {
            return Err(TraceError::Limit {
                what: "a block",
                limit: MAX_BLOCK_BYTES as u64,
            });
        }
        let room = (bytes.len() - BLOCK_HEADER_BYTES).min(sealed.len());
        bytes[BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + room].copy_from_slice(&sealed[..room]);
        bytes.extend_from_slice(&sealed[room..]);
        debug_assert_eq!(bytes.len() as u64, header.total_bytes());
        header.body_hash = blake3(&bytes[BLOCK_HEADER_BYTES..]);
        bytes[..BLOCK_HEADER_BYTES].copy_from_slice(&header.encode());
        Ok(())
    }
}

impl SegmentLedger {
    /// Takes account of the next block, in order.
    pub fn add(&mut self, block: &SealedBlock) {
        if block.flows.is_opaque() {
            self.opaque.push(self.table.0.len() as u32);
        }
        self.account(&block.bytes, block.entry);
        self.part.add(&block.flows, &mut self.filter);
        (0..3).for_each(|section| self.section_bytes[section] += block.section_bytes[section]);
        self.packets += u64::from(block.entry.packets);
        self.wire_bytes += block.entry.wire_bytes;
        self.captured_bytes += block.captured_bytes;
        self.lost_packets += block.lost_packets;
        self.unknown_losses += block.unknown_losses;
    }

    /// Seals the next block of the index, which covers all blocks since the one before; due after at most
    /// [`super::PART_BLOCKS`] of them, and as the last block of the segment. The source continues at `resume`.
    pub fn seal_index(
        &mut self,
        at: BlockPosition,
        resume: ResumePoint,
        last: bool,
    ) -> Result<Vec<u8>, TraceError> {
        let part = std::mem::replace(&mut self.part, PartBuilder::new(at.number.saturating_add(1)));
        let mut plain = part.encode();
        if last {
            plain[index::SLOT_TABLE] = self.table.encode();
            self.filter.fold();
            if !self.opaque.is_empty() {
                plain[index::SLOT_OPAQUE] = index::encode_opaque(&self.opaque);
            }
        }
        let ciphers = self.ciphers.index.as_ref().expect("a ledger has A's keys");
        let place = |slot| Place {
            segment: self.segment,
            number: at.number,
            slot,
        };
        let mut header = BlockHeader {
            kind: BlockKind::Index,
            number: at.number,
            packets: 0,
            sequence: at.sequence,
            source: self.source,
            offset_after: resume.offset,
            first_packet: resume.next_packet,
            slots: [Slot::default(); SLOTS],
            body_hash: [0; 32],
        };
        let mut scratch = SealScratch::default();
        let mut behind = Vec::new();
        for slot in index::SLOT_HEAD + 1..index::SLOT_FILTER {
            if plain[slot].is_empty() {
                continue; // A slot without bytes is absent.
            }
            scratch.plain = std::mem::take(&mut plain[slot]);
            header.slots[slot] =
                section::append(&ciphers[slot], place(slot), &mut scratch, &mut behind, |_| {
                    Vec::new()
                });
        }
        if last {
            // In pieces: who looks for a flow opens those alone that would have it.
            let (slot, bits) = (index::SLOT_FILTER, self.filter.to_bytes());
            let (cipher, piece_bytes) = (&ciphers[slot], index::FILTER_PIECE_BYTES);
            header.slots[slot] = section::append_pieces(cipher, place(slot), &bits, piece_bytes, &mut behind);
        }
        // The head comes first and is sealed last, as the entry of a block of packets.
        let mut bytes = vec![0; BLOCK_HEADER_BYTES];
        scratch.plain = std::mem::take(&mut plain[index::SLOT_HEAD]);
        let head = &ciphers[index::SLOT_HEAD];
        section::append(head, place(index::SLOT_HEAD), &mut scratch, &mut bytes, |slot| {
            header.slots[index::SLOT_HEAD] = slot;
            header.fields()
        });
        bytes.append(&mut behind);
        if header.total_bytes() > MAX_BLOCK_BYTES as u64 {
            return Err(TraceError::Limit {
                what: "a block",
                limit: MAX_BLOCK_BYTES as u64,
            });
        }
        header.body_hash = blake3(&bytes[BLOCK_HEADER_BYTES..]);
        bytes[..BLOCK_HEADER_BYTES].copy_from_slice(&header.encode());
        self.section_bytes[0] += bytes.len() as u64;
        self.index = IndexPlace {
            position: self.position,
            hash: blake3(&bytes[..BLOCK_HEADER_BYTES]),
        };
        self.account(
            &bytes,
            BlockTableEntry {
                position: self.position,
                kind: BlockKind::Index,
                first_ns: 0,
                last_ns: 0,
                packets: 0,
                wire_bytes: 0,
            },
        );
        Ok(bytes)
    }

    fn account(&mut self, bytes: &[u8], entry: BlockTableEntry) {
        // The header holds the hash of the sections: hashing headers hashes everything.
        self.hasher.update(&blake3(&bytes[..BLOCK_HEADER_BYTES]));
        self.table.0.push(BlockTableEntry {
            position: self.position,
            ..entry
        });
        self.position += bytes.len() as u64;
    }

    /// Bytes of the file so far.
    pub fn bytes(&self) -> u64 {
        self.position
    }

    /// The footer frame, and how the next segment names this one. The last block was the index's last.
    pub fn close(self, reason: EndReason) -> (Vec<u8>, Predecessor) {
        let packets = || {
            self.table
                .0
                .iter()
                .filter(|entry| entry.kind == BlockKind::Packets)
        };
        let footer = SegmentFooter {
            segment: self.segment,
            blocks: self.table.0.len() as u64,
            packets: self.packets,
            wire_bytes: self.wire_bytes,
            captured_bytes: self.captured_bytes,
            lost_packets: self.lost_packets,
            unknown_losses: self.unknown_losses,
            first_ns: packets().map(|entry| entry.first_ns).min().unwrap_or(0),
            last_ns: packets().map(|entry| entry.last_ns).max().unwrap_or(0),
            blocks_hash: self.hasher.finish(),
            index: self.index,
            reason,
            section_bytes: self.section_bytes,
        };
        let frame = footer.encode(&self.run);
        let predecessor = Predecessor {
            segment: self.segment,
            footer_hash: blake3(&frame),
        };
        (frame, predecessor)
    }
}

/// The sealed entry of a block of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub first_ns: u64,
    pub last_ns: u64,
    pub wire_bytes: u64,
    pub captured_bytes: u64,
    pub link: u32,
}

impl Entry {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ENTRY_BYTES);
        for value in [self.first_ns, self.last_ns, self.wire_bytes, self.captured_bytes] {
            put_u64(&mut out, value);
        }
        put_u32(&mut out, self.link);
        out
    }

    pub fn decode(plain: &[u8]) -> Result<Self, TraceError> {
        let mut input = super::codec::Reader(plain);
        let entry = Self {
            first_ns: input.u64()?,
            last_ns: input.u64()?,
            wire_bytes: input.u64()?,
            captured_bytes: input.u64()?,
            link: input.u32()?,
        };
        input.end()?;
        Ok(entry)
    }
}

fn floor_ms(ns: u64) -> u64 {
    ns - ns % NS_PER_MS
}
