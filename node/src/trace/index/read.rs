//! The index of a sealed segment, read with its keys. Must never open a slot that the question does not need.

use std::cell::Cell;
use std::ops::Range;

use como_anonymize::bitmap::Bitmap;
use como_anonymize::filter::Filter;
use como_keys::digest::blake3;

use super::bloom::{Item, Pieces};
use super::{BlockTable, SLOT_FILTER, SLOT_HEAD, SLOT_OPAQUE, SLOT_TABLE, narrow};
use crate::trace::block::BlockKind;
use crate::trace::{BlockRef, SegmentReader, TraceError, section};

/// What the last index block of a segment tells of the whole.
pub struct SegmentIndex<'a> {
    segment: &'a SegmentReader,
    block: BlockRef,
}

impl SegmentReader {
    /// The index of a segment that has its end; `None`: open, or cut by a crash.
    pub fn index(&self) -> Result<Option<SegmentIndex<'_>>, TraceError> {
        let Some(footer) = self.footer() else {
            return Ok(None);
        };
        let block = self.block_at(footer.index.position)?;
        if block.header.kind != BlockKind::Index || blake3(&block.header.encode()) != footer.index.hash {
            return Err(TraceError::damaged(
                block.position,
                "the last index block is another than the footer names",
            ));
        }
        Ok(Some(SegmentIndex { segment: self, block }))
    }

    /// The table of all blocks but the last, of the index.
    pub fn table(&self) -> Result<Option<BlockTable>, TraceError> {
        self.index()?.map(|index| index.table()).transpose()
    }

    /// Of the blocks that a block of the index covers, those that may hold a packet which passes a filter on the node's
    /// pseudonyms. `above`: it will be evaluated at a level above `anonymized`. Gives the numbers of the covered blocks,
    /// and which of them.
    pub fn candidates(
        &self,
        part: &BlockRef,
        filter: &Filter,
        above: bool,
    ) -> Result<(Range<u32>, Bitmap), TraceError> {
        let (head, found) = narrow::candidates(|slot| self.open_index(part, slot), filter, above)?;
        Ok((head.covers(), found))
    }

    fn open_index(&self, block: &BlockRef, slot: usize) -> Result<Vec<u8>, TraceError> {
        let ciphers = self.ciphers.index.as_ref().ok_or_else(|| self.no_key("A"))?;
        let extra = if slot == SLOT_HEAD {
            block.header.fields()
        } else {
            Vec::new()
        };
        self.open_slot(block, slot, &ciphers[slot], &extra)
    }
}

impl SegmentIndex<'_> {
    /// Where no flow of the segment may pass a filter on the node's pseudonyms: the numbers, in order, of blocks that may
    /// all the same, because the level `above` sees more of their packets. `None`: flows may pass, and the parts of the
    /// index tell where.
    pub fn blocks_without_part(&self, filter: &Filter, above: bool) -> Result<Option<Vec<u32>>, TraceError> {
        if self.may_pass(filter)? {
            return Ok(None);
        }
        if !above || self.block.header.slots[SLOT_OPAQUE].sealed == 0 {
            return Ok(Some(Vec::new()));
        }
        let plain = self.segment.open_index(&self.block, SLOT_OPAQUE)?;
        narrow::decode_opaque(&plain).map(Some)
    }

    /// Whether any flow of the segment may pass, as far as the filter of all flows tells.
    fn may_pass(&self, filter: &Filter) -> Result<bool, TraceError> {
        let slot = self.block.header.slots[SLOT_FILTER];
        let key = self
            .segment
            .ciphers
            .filter_key
            .ok_or_else(|| self.segment.no_key("A"))?;
        let pieces = Pieces::new(key, section::raw_bytes(slot)?)?;
        let open = |piece| self.segment.open_piece(&self.block, SLOT_FILTER, piece);
        // A piece that does not open rules nothing out, and is told.
        let failed = Cell::new(None);
        let may_pass = filter.may_pass(&|fact| match Item::of(fact) {
            Some(item) => pieces.may_have(item, open).unwrap_or_else(|error| {
                failed.set(Some(error));
                true
            }),
            None => true,
        });
        match failed.take() {
            Some(error) => Err(error),
            None => Ok(may_pass),
        }
    }

    /// The table of all blocks but the last, which is this one.
    pub fn table(&self) -> Result<BlockTable, TraceError> {
        BlockTable::decode(&self.segment.open_index(&self.block, SLOT_TABLE)?)
    }

    /// The last block of the segment, whose part covers the blocks since the one before.
    pub fn block(&self) -> &BlockRef {
        &self.block
    }
}
