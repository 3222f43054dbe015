//! The index of the sealed trace: which blocks may hold a packet that a filter asks for. Written by capture while it
//! seals, under the node's anonymized addresses, and never more than section A shows. It is always an
//! over-approximation: what passes, only the filter on the view decides.
//!
//! ```text
//! index block = a block of kind 3, every PART_BLOCKS blocks, and one as the last block of a segment
//!   slot 0   head: which blocks, what each holds (its zone), counts           AD: the clear header
//!        1   addresses, sorted                                                \
//!        2   flows: canonical ends, ports, protocol, by address               | flow dictionary of the
//!        3   for each flow the blocks that hold it                            | blocks since the last part
//!        4   filters of blocks with flows that the dictionary has no room for /
//!        5   table of all blocks of the segment                 \ in the last one only,
//!        6   blocks of which higher levels see more; absent: none  | which the signed footer names by place and hash
//!        7   filter of all addresses, their pairs, pairs and ports / in pieces, each sealed apart
//! ```
//! A part stands behind the blocks that it covers: the open segment and one that a crash cut have all parts but the
//! last, and what no part covers is scanned. Each slot has a key of its own under A.

mod bloom;
mod dictionary;
mod flow;
mod narrow;
mod part;
mod read;
mod table;
#[cfg(test)]
mod tests;
mod zone;

pub use read::SegmentIndex;
pub use table::{BlockTable, BlockTableEntry};

pub(super) use bloom::Bloom;
pub(super) use dictionary::PartBuilder;
pub(super) use flow::{BlockFlows, summarize};
pub(super) use narrow::encode_opaque;

/// Blocks that one part covers; their numbers within it are bytes.
pub const PART_BLOCKS: usize = 256;
/// Flows in the dictionary of one part. Flows beyond them, as a flood makes, go to filters of their blocks.
pub const MAX_PART_FLOWS: usize = 1 << 16;

/// Slots of an index block.
pub(super) const SLOT_HEAD: usize = 0;
pub(super) const SLOT_ADDRESSES: usize = 1;
pub(super) const SLOT_FLOWS: usize = 2;
pub(super) const SLOT_POSTINGS: usize = 3;
pub(super) const SLOT_OVERFLOW: usize = 4;
pub(super) const SLOT_TABLE: usize = 5;
pub(super) const SLOT_OPAQUE: usize = 6;
pub(super) const SLOT_FILTER: usize = 7;
/// How many slots an index block uses: each has a key.
pub(super) const INDEX_SLOTS: usize = 8;
/// Bytes of a piece of the filter before it is sealed; the last one is shorter where all of it is.
pub(super) const FILTER_PIECE_BYTES: usize = bloom::PIECE_BYTES;
