//! Sections of one block as they lie in the file: read with as few calls as pays. Must never read a section that was
//! not asked for, but where it lies between two that were and is short.

use std::fs::File;
use std::ops::Range;

use super::error::TraceError;
use super::reader::BlockRef;
use super::scan;

/// A section that nobody asked for is read along where it is at most this long: a call costs as much.
const MAX_READ_ALONG_BYTES: u64 = 8 << 10;

/// What was read.
pub(super) struct Loaded {
    /// Ranges within the block, and their bytes.
    runs: Vec<(Range<u64>, Vec<u8>)>,
}

impl Loaded {
    /// Reads sections, given in order.
    pub fn read(file: &File, block: &BlockRef, slots: &[usize]) -> Result<Self, TraceError> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for range in slots.iter().map(|slot| block.header.section_range(*slot)) {
            match ranges.last_mut() {
                Some(last) if range.start <= last.end + MAX_READ_ALONG_BYTES => last.end = range.end,
                _ => ranges.push(range),
            }
        }
        let read = |range: Range<u64>| {
            let length = (range.end - range.start) as usize;
            let bytes = scan::read_range(file, block.position + range.start, length)?;
            Ok((range, bytes))
        };
        Ok(Self {
            runs: ranges.into_iter().map(read).collect::<Result<_, TraceError>>()?,
        })
    }

    /// How many bytes were read.
    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(|(range, _)| range.end - range.start).sum()
    }

    /// One section, sealed.
    pub fn of(&self, block: &BlockRef, slot: usize) -> Result<Vec<u8>, TraceError> {
        let wanted = block.header.section_range(slot);
        self.runs
            .iter()
            .find(|(range, _)| range.start <= wanted.start && wanted.end <= range.end)
            .map(|(range, bytes)| {
                bytes[(wanted.start - range.start) as usize..(wanted.end - range.start) as usize].to_vec()
            })
            .ok_or(TraceError::damaged(block.position, "a section was not read"))
    }
}
