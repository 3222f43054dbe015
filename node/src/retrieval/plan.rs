//! Which blocks of a segment a request needs: by time from the table of blocks, by its filter from the index. Must never
//! leave out a block that holds what is asked for: where the index does not read, or there is none, all blocks of the
//! window are read.

#[cfg(test)]
mod tests;

use std::num::NonZeroU64;
use std::ops::Range;

use como_anonymize::bitmap::Bitmap;
use como_anonymize::filter::Filter;
use como_policies::Window;

use crate::trace::{
    BlockHeader, BlockKind, BlockRef, BlockTableEntry, Damage, SegmentIndex, SegmentReader, TraceError,
};

/// Section A keeps times to the millisecond: a packet may be up to this later than its block's last time.
const NS_PER_MS: u64 = 1_000_000;
/// How far ahead of the workers the operating system is told what will be read, in blocks.
const AHEAD_BLOCKS: usize = 32;

/// One step through a segment.
pub enum Step {
    /// A block to be read.
    Read(Planned),
    /// A block of packets that need not be read, but whose packets take the module's time along.
    Passed(Planned),
    /// Bytes that do not read; found only where there is no table and all block headers are read.
    Damaged(Damage),
}

/// A block to be read.
#[derive(Clone)]
pub struct Planned {
    /// File offset of its header.
    pub position: u64,
    /// Its bytes in the file.
    pub bytes: u64,
    /// The same, and what was skipped before it: for the progress bar.
    pub done_bytes: u64,
    /// Its clear header, where it was read already.
    pub header: Option<Box<BlockHeader>>,
    /// Packets in it; `None`: gap records.
    pub packets: Option<u32>,
    /// Its last packet's time, where it is known.
    pub last_ns: Option<u64>,
}

/// The steps of one segment, in the order of the trace; `search`: what its index can be asked for.
pub fn plan(window: Window, search: Option<Search<'_>>, reader: &SegmentReader) -> Vec<Step> {
    match reader.index() {
        Ok(Some(index)) => match by_table(window, reader, &index, search.as_ref()) {
            Ok(steps) => return steps,
            Err(error) => unusable(&error),
        },
        Ok(None) => {}
        Err(error) => unusable(&error),
    }
    by_headers(window, reader, search.as_ref())
}

/// A filter under the node's pseudonyms, to be looked up in the index.
#[derive(Clone, Copy)]
pub struct Search<'a> {
    /// The filter.
    pub filter: &'a Filter,
    /// Whether what it stands for is evaluated at a level that sees more of some packets than the index does.
    pub above: bool,
    /// Whether blocks that are left out come out as [`Step::Passed`].
    pub passes: bool,
}

/// Blocks of which the index says that they may hold what is asked for.
enum Found {
    /// It says nothing: all of them.
    All,
    /// Of the covered numbers, these; others are not covered.
    Part(Range<u32>, Bitmap),
    /// These numbers, in order, and no others.
    Only(Vec<u32>),
}

impl Found {
    fn has(&self, number: u32) -> bool {
        match self {
            Self::All => true,
            Self::Part(covered, found) => {
                !covered.contains(&number) || found.get((number - covered.start) as usize)
            }
            Self::Only(numbers) => numbers.binary_search(&number).is_ok(),
        }
    }
}

impl Search<'_> {
    /// In the whole segment; `None`: its parts must be asked.
    fn in_segment(&self, index: &SegmentIndex<'_>) -> Result<Option<Found>, TraceError> {
        let only = index.blocks_without_part(self.filter, self.above)?;
        Ok(only.map(Found::Only))
    }

    /// In one part.
    fn in_part(&self, reader: &SegmentReader, part: Result<BlockRef, TraceError>) -> Found {
        match part.and_then(|part| reader.candidates(&part, self.filter, self.above)) {
            Ok((covered, found)) => Found::Part(covered, found),
            Err(error) => {
                unusable(&error);
                Found::All
            }
        }
    }
}

fn unusable(error: &TraceError) {
    tracing::warn!("the index of a segment does not read, blocks are read instead: {error}");
}

/// The steps of a sealed segment.
fn by_table(
    window: Window,
    reader: &SegmentReader,
    index: &SegmentIndex<'_>,
    search: Option<&Search<'_>>,
) -> Result<Vec<Step>, TraceError> {
    let in_segment = match search {
        Some(search) => search.in_segment(index)?,
        None => Some(Found::All),
    };
    let lossless = reader
        .footer()
        .is_some_and(|footer| footer.lost_packets == 0 && footer.unknown_losses == 0);
    let passes = search.is_some_and(|search| search.passes);
    if lossless && !passes && matches!(&in_segment, Some(Found::Only(none)) if none.is_empty()) {
        return Ok(Vec::new());
    }
    let table = index.table()?.0;
    let end = index.block().position;
    let mut steps = Steps::default();
    let mut number = 0;
    // Each run of blocks ends with the part of the index that covers it, the last one with the last block of all.
    for run in table.split_inclusive(|entry| entry.kind == BlockKind::Index) {
        let wanted = |entry: &BlockTableEntry| entry.kind == BlockKind::Packets && touches(window, entry);
        let in_part = match (&in_segment, search) {
            (None, Some(search)) if run.iter().any(wanted) => match run.last() {
                Some(last) if last.kind == BlockKind::Index => {
                    search.in_part(reader, reader.block_at(last.position))
                }
                _ => search.in_part(reader, Ok(index.block().clone())),
            },
            _ => Found::All,
        };
        let found = in_segment.as_ref().unwrap_or(&in_part);
        for entry in run {
            let next = table.get(number as usize + 1).map_or(end, |next| next.position);
            let step: Option<fn(Planned) -> Step> = match entry.kind {
                _ if entry.kind == BlockKind::Index || !touches(window, entry) => None,
                BlockKind::Packets if found.has(number) => Some(Step::Read),
                BlockKind::Packets => passes.then_some(Step::Passed),
                _ => Some(Step::Read),
            };
            steps.add(entry, next, step);
            number = number.saturating_add(1);
        }
    }
    Ok(steps.all)
}

/// Steps, and how far they reach.
#[derive(Default)]
struct Steps {
    all: Vec<Step>,
    skipped_bytes: u64,
}

impl Steps {
    /// The block of `entry`, up to `end`: a step, or skipped.
    fn add(&mut self, entry: &BlockTableEntry, end: u64, step: Option<fn(Planned) -> Step>) {
        let bytes = end.saturating_sub(entry.position);
        let Some(step) = step else {
            self.skipped_bytes += bytes;
            return;
        };
        let packets = entry.kind == BlockKind::Packets;
        self.all.push(step(Planned {
            position: entry.position,
            bytes,
            done_bytes: bytes + std::mem::take(&mut self.skipped_bytes),
            header: None,
            packets: packets.then_some(entry.packets),
            last_ns: packets.then_some(entry.last_ns),
        }));
    }
}

/// The steps of a segment without its end, or whose table does not read: every block header is looked at.
fn by_headers(window: Window, reader: &SegmentReader, search: Option<&Search<'_>>) -> Vec<Step> {
    let mut steps = Vec::new();
    // Where the steps begin that the next part of the index covers.
    let mut uncovered = 0;
    for block in reader.blocks() {
        let block = match block {
            Ok(block) => block,
            Err(damage) => {
                steps.push(Step::Damaged(damage));
                continue;
            }
        };
        if block.header.kind == BlockKind::Index {
            if let Some(search) = search {
                let found = search.in_part(reader, Ok(block));
                let covered = steps.split_off(uncovered);
                steps.extend(
                    covered
                        .into_iter()
                        .filter_map(|step| needed(step, &found, search.passes)),
                );
            }
            uncovered = steps.len();
            continue;
        }
        let packets = (block.header.kind == BlockKind::Packets).then_some(block.header.packets);
        let last_ns = match (packets, reader.time_range(&block)) {
            (Some(_), Ok((first, last))) if !touches_range(window, first, last) => continue,
            (Some(_), Ok((_, last))) => Some(last),
            _ => None, // Who reads it finds what is wrong, and reports it.
        };
        steps.push(Step::Read(Planned {
            position: block.position,
            bytes: block.header.total_bytes(),
            done_bytes: block.header.total_bytes(),
            header: Some(Box::new(block.header)),
            packets,
            last_ns,
        }));
    }
    steps
}

fn needed(step: Step, found: &Found, passes: bool) -> Option<Step> {
    match step {
        Step::Read(block) => match (&block.header, block.packets) {
            (Some(header), Some(_)) if !found.has(header.number) => match block.last_ns {
                Some(_) => passes.then_some(Step::Passed(block)),
                None if passes => Some(Step::Read(block)), // Until when is not known.
                None => None,
            },
            _ => Some(Step::Read(block)),
        },
        other => Some(other),
    }
}

fn touches(window: Window, entry: &BlockTableEntry) -> bool {
    touches_range(window, entry.first_ns, entry.last_ns)
}

fn touches_range(window: Window, first_ns: u64, last_ns: u64) -> bool {
    first_ns < window.to_ns && last_ns.saturating_add(NS_PER_MS) > window.from_ns
}

/// Tells the operating system what will be read, so that it reads several blocks at once.
pub(super) struct Ahead<'a> {
    reader: &'a SegmentReader,
    /// How many of the coming steps were told.
    told: usize,
}

impl<'a> Ahead<'a> {
    pub fn new(reader: &'a SegmentReader) -> Self {
        Self { reader, told: 0 }
    }

    /// These steps are about to be read, the first one at once.
    pub fn announce(&mut self, coming: &[Step]) {
        // Half of the distance at once: neighbours become one range.
        if self.told > AHEAD_BLOCKS / 2 || self.told >= coming.len() {
            return;
        }
        let until = AHEAD_BLOCKS.min(coming.len());
        let mut range: Option<(u64, u64)> = None;
        for step in &coming[self.told..until] {
            let Step::Read(block) = step else { continue };
            match &mut range {
                Some((_, end)) if *end == block.position => *end += block.bytes,
                _ => {
                    self.tell(range.replace((block.position, block.position + block.bytes)));
                }
            }
        }
        self.tell(range);
        self.told = until;
    }

    /// So many steps were handed to workers.
    pub fn passed(&mut self, steps: usize) {
        self.told = self.told.saturating_sub(steps);
    }

    fn tell(&self, range: Option<(u64, u64)>) {
        if let Some((start, end)) = range
            && let Some(length) = NonZeroU64::new(end - start)
        {
            self.reader.will_need(start, length);
        }
    }
}
