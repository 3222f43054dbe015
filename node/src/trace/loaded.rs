//! The sections of one block: read with as few calls as pays, opened where they are wanted. Memory is used again from
//! block to block. Must never read a section that was not asked for, but where it lies between two that were and is
//! short, or with the block's header.

use std::fs::File;
use std::ops::Range;

use como_keys::aead::BlockCipher;

use super::block::SLOTS;
use super::error::TraceError;
use super::reader::BlockRef;
use super::scan;
use super::section::{self, Place};

/// A section that nobody asked for is read along where it is at most this long: a call costs as much.
pub(super) const MAX_READ_ALONG_BYTES: u64 = 8 << 10;

/// One block's sections, sealed and opened; one for each thread that reads.
#[derive(Default)]
pub struct Sections {
    /// What was read, run after run.
    bytes: Vec<u8>,
    /// Ranges within the block, and where each stands in `bytes`.
    runs: Vec<(Range<u64>, usize)>,
    /// Opened sections that were compressed; longer than they need to be, so that no byte is zeroed twice.
    plain: [Vec<u8>; SLOTS],
    opened: [Option<Opened>; SLOTS],
}

/// Where an opened section stands.
#[derive(Clone)]
enum Opened {
    /// In `bytes`: it was not compressed.
    InPlace(Range<usize>),
    /// In its own buffer, so many bytes of it.
    Plain(usize),
}

impl Sections {
    /// Forgets the block before, and reads the start of another one, which may be all of it.
    pub(super) fn start(&mut self, file: &File, position: u64, bytes: u64) -> Result<&[u8], TraceError> {
        self.runs.clear();
        self.opened = Default::default();
        let read = scan::read_into(file, position, bytes as usize, &mut self.bytes, 0)?;
        self.runs.push((0..read as u64, 0));
        Ok(&self.bytes[..read])
    }

    /// Reads the sections of a block that are not there yet, given in order; gives how many bytes that took.
    pub(super) fn read(&mut self, file: &File, block: &BlockRef, slots: &[usize]) -> Result<u64, TraceError> {
        let mut wanted: Vec<Range<u64>> = Vec::new();
        for range in slots.iter().map(|slot| block.header.section_range(*slot)) {
            if self.find(&range).is_some() {
                continue;
            }
            match wanted.last_mut() {
                Some(last) if range.start <= last.end + MAX_READ_ALONG_BYTES => last.end = range.end,
                _ => wanted.push(range),
            }
        }
        let mut total = 0;
        for range in wanted {
            let length = (range.end - range.start) as usize;
            let at = self
                .runs
                .last()
                .map_or(0, |(run, at)| at + (run.end - run.start) as usize);
            let position = block.position + range.start;
            if scan::read_into(file, position, length, &mut self.bytes, at)? < length {
                return Err(TraceError::damaged(position, "the file ends inside a block"));
            }
            self.runs.push((range, at));
            total += length as u64;
        }
        Ok(total)
    }

    /// Opens a section that was read, once; `extra` is further associated data.
    pub(super) fn open(
        &mut self,
        block: &BlockRef,
        place: Place,
        cipher: &BlockCipher,
        extra: &[u8],
    ) -> Result<(), TraceError> {
        if self.opened[place.slot].is_some() {
            return Ok(());
        }
        let sealed = self
            .find(&block.header.section_range(place.slot))
            .ok_or(TraceError::damaged(block.position, "a section was not read"))?;
        let slot = block.header.slots[place.slot];
        let text = section::open(cipher, place, slot, &mut self.bytes[sealed.clone()], extra)?;
        self.opened[place.slot] = Some(match section::plain_bytes(slot) {
            None => Opened::InPlace(sealed.start..sealed.start + text),
            Some(length) => {
                let plain = &mut self.plain[place.slot];
                if plain.len() < length {
                    plain.resize(length, 0);
                }
                let packed = &self.bytes[sealed.start..sealed.start + text];
                section::unpack(packed, &mut plain[..length])?;
                Opened::Plain(length)
            }
        });
        Ok(())
    }

    /// A section that was opened; empty where it was not.
    pub(super) fn plain(&self, slot: usize) -> &[u8] {
        match &self.opened[slot] {
            Some(Opened::InPlace(range)) => &self.bytes[range.clone()],
            Some(Opened::Plain(length)) => &self.plain[slot][..*length],
            None => &[],
        }
    }

    /// Where a range of the block stands in `bytes`, if it was read.
    fn find(&self, wanted: &Range<u64>) -> Option<Range<usize>> {
        let (run, at) = self
            .runs
            .iter()
            .find(|(run, _)| run.start <= wanted.start && wanted.end <= run.end)?;
        let start = at + (wanted.start - run.start) as usize;
        Some(start..start + (wanted.end - wanted.start) as usize)
    }
}
