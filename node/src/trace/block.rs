//! The clear header of a block: what resuming and recovery need without any key. Must never hold
//! anything derived from a packet beyond counts and lengths.
//!
//! ```text
//!   0  magic "CoMB"          4  version u16      6  kind u8      7  zero
//!   8  block number u32     12  packets u32     16  sequence u64
//!  24  source id [16]       40  source offset after the block u64
//!  48  first packet u64     56  9 slots of (sealed bytes u32, plain bytes u32 with the raw bit on top)
//! 128  BLAKE3 of the sections [32]
//! 160  checksum: first 8 bytes of BLAKE3 over bytes 0..160
//! 168  the sections, in slot order
//! ```
//! Hash and checksum find accidents without a key; bytes 0..128 are also associated data of the block's
//! sealed entry, which finds forgeries.

use super::codec::{Reader, put_u32, put_u64};
use super::error::TraceError;
use super::{FORMAT_VERSION, SourceId};

/// Bytes of a block's clear header.
pub const BLOCK_HEADER_BYTES: usize = 168;
/// Sections that a block may have: X, six column groups of A, R, P.
pub const SLOTS: usize = 9;
/// Largest block, header and sections, in bytes. A reader refuses more before allocating anything.
pub const MAX_BLOCK_BYTES: usize = 16 << 20;

/// First bytes of every block.
pub(super) const MAGIC: [u8; 4] = *b"CoMB";
/// Set in a slot's plain length where LZ4 gained too little and the section is stored as it is.
pub(super) const RAW_BIT: u32 = 1 << 31;
const CHECKED_BYTES: usize = BLOCK_HEADER_BYTES - 8;
const FIELDS_BYTES: usize = 128;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BlockKind {
    /// Packets, in sections X, A, R and P.
    Packets = 1,
    /// Gap records, in slot X.
    Gaps = 2,
    /// A part of the index, in slots of its own.
    Index = 3,
}

/// Sealed and plain length of one section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Bytes in the file, with the tag; 0: the section is absent.
    pub sealed: u32,
    /// Bytes before compression; the top bit says that there was none.
    pub plain: u32,
}

/// The clear header of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// What the block holds.
    pub kind: BlockKind,
    /// Position among the segment's blocks, from 0: the nonce of its sections.
    pub number: u32,
    /// Packets in the block.
    pub packets: u32,
    /// Position among all items of the capture run, for acknowledgements.
    pub sequence: u64,
    /// Where the packets came from.
    pub source: SourceId,
    /// Offset in the source after the block's last packet.
    pub offset_after: u64,
    /// Number of the block's first packet within its source.
    pub first_packet: u64,
    /// Lengths of the sections: X, A groups, R, P.
    pub slots: [Slot; SLOTS],
    /// BLAKE3 of the sections.
    pub body_hash: [u8; 32],
}

impl BlockHeader {
    /// The stored form.
    pub fn encode(&self) -> [u8; BLOCK_HEADER_BYTES] {
        let mut out = self.fields();
        out.extend_from_slice(&self.body_hash);
        out.extend_from_slice(&checksum(&out));
        out.try_into().expect("the layout adds up to BLOCK_HEADER_BYTES")
    }

    /// Everything but hash and checksum: associated data of the sealed entry.
    pub(super) fn fields(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BLOCK_HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&[self.kind as u8, 0]);
        put_u32(&mut out, self.number);
        put_u32(&mut out, self.packets);
        put_u64(&mut out, self.sequence);
        out.extend_from_slice(&self.source.0);
        put_u64(&mut out, self.offset_after);
        put_u64(&mut out, self.first_packet);
        for slot in self.slots {
            put_u32(&mut out, slot.sealed);
            put_u32(&mut out, slot.plain);
        }
        debug_assert_eq!(out.len(), FIELDS_BYTES);
        out
    }

    /// Parses and checks a stored header; `position` is where it was found.
    pub fn decode(bytes: &[u8], position: u64) -> Result<Self, TraceError> {
        let damaged = |what| TraceError::damaged(position, what);
        let Some(bytes) = bytes.first_chunk::<BLOCK_HEADER_BYTES>() else {
            return Err(damaged("the file ends inside a block header"));
        };
        if bytes[..4] != MAGIC {
            return Err(damaged("no block starts here"));
        }
        if bytes[CHECKED_BYTES..] != checksum(&bytes[..CHECKED_BYTES]) {
            return Err(damaged("the checksum of a block header is wrong"));
        }
        let version = u16::from_le_bytes([bytes[4], bytes[5]]);
        if version != FORMAT_VERSION {
            return Err(TraceError::Version {
                found: version,
                known: FORMAT_VERSION,
            });
        }
        let kind = match bytes[6] {
            1 => BlockKind::Packets,
            2 => BlockKind::Gaps,
            3 => BlockKind::Index,
            _ => return Err(damaged("unknown kind of block")),
        };
        let mut rest = Reader(&bytes[8..CHECKED_BYTES]);
        let header = Self {
            kind,
            number: rest.u32()?,
            packets: rest.u32()?,
            sequence: rest.u64()?,
            source: SourceId(rest.array()?),
            offset_after: rest.u64()?,
            first_packet: rest.u64()?,
            slots: {
                let mut slots = [Slot::default(); SLOTS];
                for slot in &mut slots {
                    *slot = Slot {
                        sealed: rest.u32()?,
                        plain: rest.u32()?,
                    };
                }
                slots
            },
            body_hash: rest.array()?,
        };
        if header.total_bytes() > MAX_BLOCK_BYTES as u64 {
            return Err(damaged("a block is longer than any block may be"));
        }
        Ok(header)
    }

    /// Bytes of all sections.
    pub fn body_bytes(&self) -> u64 {
        self.slots.iter().map(|slot| u64::from(slot.sealed)).sum()
    }

    /// Bytes of header and sections.
    pub fn total_bytes(&self) -> u64 {
        BLOCK_HEADER_BYTES as u64 + self.body_bytes()
    }

    /// Where a section lies, counted from the start of the block.
    pub fn section_range(&self, slot: usize) -> std::ops::Range<u64> {
        let start = self.slots[..slot]
            .iter()
            .map(|slot| u64::from(slot.sealed))
            .sum::<u64>()
            + BLOCK_HEADER_BYTES as u64;
        start..start + u64::from(self.slots[slot].sealed)
    }

    /// Number of the packet after the block's last.
    pub fn next_packet(&self) -> u64 {
        self.first_packet.saturating_add(self.packets.into())
    }
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    *como_keys::digest::blake3(bytes)
        .first_chunk()
        .expect("BLAKE3 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> BlockHeader {
        let mut slots = [Slot::default(); SLOTS];
        slots[3] = Slot {
            sealed: 77,
            plain: 1000 | RAW_BIT,
        };
        BlockHeader {
            kind: BlockKind::Packets,
            number: 7,
            packets: 3,
            sequence: 99,
            source: SourceId([5; 16]),
            offset_after: 1 << 40,
            first_packet: 123,
            slots,
            body_hash: [9; 32],
        }
    }

    #[test]
    fn a_header_comes_back() {
        assert_eq!(BlockHeader::decode(&header().encode(), 0).unwrap(), header());
        assert_eq!(header().section_range(4), 245..245);
    }

    #[test]
    fn any_flipped_bit_of_a_header_is_found() {
        let good = header().encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(BlockHeader::decode(&bad, 0).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut old = header().encode();
        old[4] = 1;
        let sum = checksum(&old[..CHECKED_BYTES]);
        old[CHECKED_BYTES..].copy_from_slice(&sum);
        let error = BlockHeader::decode(&old, 0).unwrap_err();
        assert!(
            matches!(
                error,
                TraceError::Version {
                    found: 1,
                    known: FORMAT_VERSION
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn giant_sections_are_refused() {
        let mut huge = header();
        huge.slots[8].sealed = u32::MAX;
        assert!(BlockHeader::decode(&huge.encode(), 0).is_err());
    }
}
