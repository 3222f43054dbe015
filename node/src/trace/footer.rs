//! The segment footer: what the segment holds, that nothing is missing, and the sealed table of its
//! blocks, in which the index grows. Must never be written before the last block is durable.

use como_capnp::trace_capnp::{block_table, segment_footer};
use como_keys::aead::BlockCipher;
use como_keys::signing::VerifyingKey;

use super::block::{BlockKind, Slot};
use super::error::TraceError;
use super::frame::FOOTER;
use super::keys::RunKey;
use super::section::{self, Place};
use super::{FORMAT_VERSION, SegmentId};

/// Slot number of the table in the associated data: none of a block.
const TABLE_SLOT: usize = 0xff;
/// One day of blocks at 10 Gbit/s is far less: more entries than this in one segment are refused.
const MAX_TABLE_ENTRIES: usize = 1 << 18;

/// Why a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EndReason {
    /// It was full.
    Size = 0,
    /// The next packet belongs to another sealing epoch.
    Epoch = 1,
    /// The source has no more packets.
    SourceEnd = 2,
    /// Capture was told to stop.
    Stop = 3,
}

impl EndReason {
    fn from_u8(code: u8) -> Option<Self> {
        [Self::Size, Self::Epoch, Self::SourceEnd, Self::Stop]
            .into_iter()
            .find(|r| *r as u8 == code)
    }
}

/// The footer of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFooter {
    /// The segment's id.
    pub segment: SegmentId,
    /// Blocks of all kinds.
    pub blocks: u64,
    /// Packets stored.
    pub packets: u64,
    /// Their bytes on the wire.
    pub wire_bytes: u64,
    /// Their captured bytes.
    pub captured_bytes: u64,
    /// Packets known to be lost.
    pub lost_packets: u64,
    /// Gaps whose count nobody knows.
    pub unknown_losses: u32,
    /// Earliest packet time, floored to 1 ms; 0 in a segment without packets.
    pub first_ns: u64,
    /// Latest packet time, floored to 1 ms.
    pub last_ns: u64,
    /// BLAKE3 over the BLAKE3 digests of all blocks, in order.
    pub blocks_hash: [u8; 32],
    /// The block table, sealed under A.
    pub table: Vec<u8>,
    /// Its length before sealing, with the raw bit.
    pub table_plain: u32,
    /// Why the segment ended.
    pub reason: EndReason,
}

/// One block in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockTableEntry {
    /// File offset of the block header.
    pub position: u64,
    /// What the block holds.
    pub kind: BlockKind,
    /// Earliest packet time (or gap start), floored to 1 ms.
    pub first_ns: u64,
    /// Latest packet time (or gap end), floored to 1 ms.
    pub last_ns: u64,
    /// Packets in it.
    pub packets: u32,
    /// Their bytes on the wire.
    pub wire_bytes: u64,
}

/// All blocks of a segment, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockTable(pub Vec<BlockTableEntry>);

impl SegmentFooter {
    /// The signed frame, as it closes the file.
    pub fn encode(&self, run: &RunKey) -> Vec<u8> {
        let mut message = capnp::message::Builder::new_default();
        let mut out = message.init_root::<segment_footer::Builder<'_>>();
        out.set_version(FORMAT_VERSION);
        out.set_segment(&self.segment.0);
        out.set_blocks(self.blocks);
        out.set_packets(self.packets);
        out.set_wire_bytes(self.wire_bytes);
        out.set_captured_bytes(self.captured_bytes);
        out.set_lost_packets(self.lost_packets);
        out.set_unknown_losses(self.unknown_losses);
        out.set_first_ns(self.first_ns);
        out.set_last_ns(self.last_ns);
        out.set_blocks_hash(&self.blocks_hash);
        out.set_table(&self.table);
        out.set_table_plain(self.table_plain);
        out.set_reason(self.reason as u8);
        FOOTER.write(&como_capnp::write_message(&message), &run.signing)
    }

    /// Reads a footer frame at `position` of a segment whose run key is `key`.
    pub fn decode(bytes: &[u8], position: u64, key: &VerifyingKey) -> Result<Self, TraceError> {
        let frame = FOOTER.read(bytes, position)?;
        FOOTER.verify(&frame, key)?;
        Self::from_message(frame.payload, position)
    }

    pub(super) fn from_message(payload: &[u8], position: u64) -> Result<Self, TraceError> {
        let bad = || TraceError::damaged(position, "the segment footer does not parse");
        let message = como_capnp::read_message(payload).map_err(|_| bad())?;
        let footer = message
            .get_root::<segment_footer::Reader<'_>>()
            .map_err(|_| bad())?;
        if footer.get_version() != FORMAT_VERSION {
            return Err(TraceError::Version {
                found: footer.get_version(),
                known: FORMAT_VERSION,
            });
        }
        let read = || -> Result<Option<Self>, capnp::Error> {
            let segment = SegmentId::from_slice(footer.get_segment()?);
            let hash = <[u8; 32]>::try_from(footer.get_blocks_hash()?);
            let (Some(segment), Ok(blocks_hash), Some(reason)) =
                (segment, hash, EndReason::from_u8(footer.get_reason()))
            else {
                return Ok(None);
            };
            Ok(Some(Self {
                segment,
                blocks: footer.get_blocks(),
                packets: footer.get_packets(),
                wire_bytes: footer.get_wire_bytes(),
                captured_bytes: footer.get_captured_bytes(),
                lost_packets: footer.get_lost_packets(),
                unknown_losses: footer.get_unknown_losses(),
                first_ns: footer.get_first_ns(),
                last_ns: footer.get_last_ns(),
                blocks_hash,
                table: footer.get_table()?.to_vec(),
                table_plain: footer.get_table_plain(),
                reason,
            }))
        };
        read().map_err(|_| bad())?.ok_or_else(bad)
    }

    /// Opens the block table.
    pub(super) fn open_table(&self, cipher: &BlockCipher) -> Result<BlockTable, TraceError> {
        let slot = Slot {
            sealed: self.table.len() as u32,
            plain: self.table_plain,
        };
        let place = Place {
            segment: self.segment,
            number: 0,
            slot: TABLE_SLOT,
        };
        BlockTable::decode(&section::open(cipher, place, slot, self.table.clone(), &[])?)
    }
}

impl BlockTable {
    /// Seals the table; gives the bytes and the plain length with the raw bit.
    pub(super) fn seal(&self, segment: SegmentId, cipher: &BlockCipher) -> (Vec<u8>, u32) {
        let place = Place {
            segment,
            number: 0,
            slot: TABLE_SLOT,
        };
        let (bytes, slot) = section::seal(cipher, place, self.encode(), &[]);
        (bytes, slot.plain)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        const NS_PER_MS: u64 = 1_000_000;
        let mut message = capnp::message::Builder::new_default();
        let mut out = message.init_root::<block_table::Builder<'_>>();
        let rows = self.0.len() as u32;
        macro_rules! fill {
            ($($init:ident: $value:expr;)*) => {$(
                let mut list = out.reborrow().$init(rows);
                for (row, entry) in self.0.iter().enumerate() {
                    let value: fn(&BlockTableEntry) -> _ = $value;
                    list.set(row as u32, value(entry));
                }
            )*};
        }
        fill! {
            init_position: |e| e.position;
            init_kind: |e| e.kind as u8;
            init_first_ms: |e| e.first_ns / NS_PER_MS;
            init_last_ms: |e| e.last_ns / NS_PER_MS;
            init_packets: |e| e.packets;
            init_wire_bytes: |e| e.wire_bytes;
        }
        como_capnp::write_message(&message)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, TraceError> {
        const NS_PER_MS: u64 = 1_000_000;
        let bad = || TraceError::damaged(0, "the block table does not parse");
        let message = como_capnp::read_message(bytes).map_err(|_| bad())?;
        let table = message.get_root::<block_table::Reader<'_>>().map_err(|_| bad())?;
        let lists = || -> Result<_, capnp::Error> {
            Ok((
                table.get_position()?,
                table.get_kind()?,
                table.get_first_ms()?,
                table.get_last_ms()?,
                table.get_packets()?,
                table.get_wire_bytes()?,
            ))
        };
        let (position, kind, first, last, packets, wire) = lists().map_err(|_| bad())?;
        let rows = position.len();
        if rows as usize > MAX_TABLE_ENTRIES
            || [kind.len(), first.len(), last.len(), packets.len(), wire.len()]
                .iter()
                .any(|&len| len != rows)
        {
            return Err(bad());
        }
        let entry = |row| {
            Some(BlockTableEntry {
                position: position.get(row),
                kind: match kind.get(row) {
                    1 => BlockKind::Packets,
                    2 => BlockKind::Gaps,
                    _ => return None,
                },
                first_ns: first.get(row).saturating_mul(NS_PER_MS),
                last_ns: last.get(row).saturating_mul(NS_PER_MS),
                packets: packets.get(row),
                wire_bytes: wire.get(row),
            })
        };
        (0..rows)
            .map(entry)
            .collect::<Option<Vec<_>>>()
            .map(Self)
            .ok_or_else(bad)
    }
}
