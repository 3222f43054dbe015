//! The segment footer: what the segment holds, that nothing is missing, and where its index ends. Must never be
//! written before the last block is durable.

use como_capnp::trace_capnp::segment_footer;
use como_keys::signing::VerifyingKey;

use super::error::TraceError;
use super::frame::FOOTER;
use super::keys::RunKey;
use super::{FORMAT_VERSION, SegmentId};

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

/// Where the last index block of a segment lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexPlace {
    /// File offset of its clear header.
    pub position: u64,
    /// BLAKE3 of its clear header, which holds the hash of its slots.
    pub hash: [u8; 32],
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
    /// Where the segment's last index block lies, which has the table of blocks and the filter.
    pub index: IndexPlace,
    /// Why the segment ended.
    pub reason: EndReason,
    /// Sealed bytes of sections A (with the index), R and P.
    pub section_bytes: [u64; 3],
}

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
        out.set_index_position(self.index.position);
        out.set_index_hash(&self.index.hash);
        out.set_reason(self.reason as u8);
        let mut sections = out.init_section_bytes(self.section_bytes.len() as u32);
        (0..)
            .zip(self.section_bytes)
            .for_each(|(at, bytes)| sections.set(at, bytes));
        FOOTER.write(&como_capnp::write_message(&message), &run.signing)
    }

    /// Reads a footer frame at `position` of a segment whose run key is `key`, and gives its digest; `vouched`: the digest
    /// of the footer that somebody checked already.
    pub(super) fn decode(
        bytes: &[u8],
        position: u64,
        key: &VerifyingKey,
        vouched: Option<&[u8; 32]>,
    ) -> Result<(Self, [u8; 32]), TraceError> {
        let frame = FOOTER.read(bytes, position)?;
        FOOTER.verify(&frame, key, vouched)?;
        Ok((Self::from_message(frame.payload, position)?, frame.digest))
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
            let index_hash = <[u8; 32]>::try_from(footer.get_index_hash()?);
            let (Some(segment), Ok(blocks_hash), Ok(index_hash), Some(reason)) =
                (segment, hash, index_hash, EndReason::from_u8(footer.get_reason()))
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
                index: IndexPlace {
                    position: footer.get_index_position(),
                    hash: index_hash,
                },
                reason,
                section_bytes: {
                    let sections = footer.get_section_bytes()?;
                    std::array::from_fn(|at| sections.try_get(at as u32).unwrap_or(0))
                },
            }))
        };
        read().map_err(|_| bad())?.ok_or_else(bad)
    }
}
