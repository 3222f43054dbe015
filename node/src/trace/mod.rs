//! The segment format of the trace: blocks, sections, header, footer, recovery scan.
//!
//! Owns every byte of a segment file, in one place and under one version number. Must never open a
//! socket, start a process or decide who may read: it turns packets into sealed bytes and, given keys,
//! sealed bytes into views.
//!
//! ```text
//! segment = header frame, block*, footer frame        (a segment cut by a crash has no footer; the last block
//!           before the footer is of the index, and the footer names it)
//! frame   = magic, length, Cap'n Proto payload, signature of capture's run key, checksum
//! block   = clear header (fixed, little endian), sealed sections:
//!             X   entry: time range, counts, link type          key A/index
//!             A   column groups of the anonymized view          key A/group 0..5
//!             R   real header bytes, sub-millisecond time       key R
//!             P   everything else as captured, sub-us time      key P
//!           or gap records, or a part of the index (`index/`)
//! ```

mod batch;
mod block;
mod codec;
mod error;
mod footer;
mod frame;
mod gap;
mod groups;
mod header;
pub mod hostile;
mod ids;
mod index;
mod keys;
mod layers;
mod loaded;
mod reader;
mod scan;
mod sealer;
mod section;
mod templates;
mod views;

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

pub use batch::PacketBatch;
pub use block::{BLOCK_HEADER_BYTES, BlockHeader, BlockKind, MAX_BLOCK_BYTES, SLOTS, Slot};
pub use error::TraceError;
pub use footer::{EndReason, IndexPlace, SegmentFooter};
pub use gap::{Gap, GapCause};
pub use groups::{ColumnGroup, GroupSet};
pub use header::{MAX_HEADER_BYTES, Predecessor, SegmentHeader};
pub use ids::{ResumePoint, SegmentId, SourceId};
pub use index::{BlockTable, BlockTableEntry, MAX_PART_FLOWS, PART_BLOCKS, SegmentIndex};
pub use keys::{EpochKeys, ReadKeys, Retain, RunKey, SegmentKeys};
pub use loaded::Sections;
pub use reader::{BlockRef, Checked, Damage, Opened, SegmentInfo, SegmentReader, WindowItem};
pub use scan::{ScanEnd, ScanReport, scan};
pub use sealer::{
    BlockParts, BlockPosition, ItemBody, LedgerStart, MAX_GAPS_PER_BLOCK, SealedBlock, SealedItem,
    SegmentLedger, SegmentPlan, SegmentSealer, SegmentStart,
};
pub use section::SealScratch;
pub use templates::FrameTemplates;
pub use views::{Captured, Wanted};

/// Version of the segment format that this code writes, and the only one that it reads.
pub const FORMAT_VERSION: u16 = 3;

/// Largest captured packet in bytes: libpcap's own maximum snapshot length.
pub const MAX_CAPTURE_BYTES: usize = 262_144;
