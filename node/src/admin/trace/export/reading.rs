//! Reads the packets of an export on all cores and makes records of a capture file of them. Must never make a record of a
//! packet that the window or the filter leaves out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use como_anonymize::bitmap::Bitmap;
use como_anonymize::filter::{Filter, Names};
use como_anonymize::view::Treatment;
use como_anonymize::{Anonymizer, View};
use como_policies::{AccessLevel, Window};
use como_savefile::{Encoder, WriteError};

use super::pace::Pace;
use super::sources::Source;
use crate::admin::AdminNode;
use crate::config::Layout;
use crate::retrieval::plan::{Planned, Step};
use crate::retrieval::{self, Retriever, Search, Timed};
use crate::trace::{
    BlockKind, BlockRef, Damage, Gap, GroupSet, MAX_BLOCK_BYTES, Sections, SegmentReader, TraceError, Wanted,
};

/// Blocks of a part: its records should stay in the caches of a core until they are written.
const RUN_BLOCKS: usize = 2;
/// Buffers that are kept to be used again.
const MAX_SPARE_BUFFERS: usize = 64;
/// Packets of a batch that was put in order.
const GATHERED_PACKETS: usize = 4096;

/// What is read, and as what it comes out.
pub(super) struct Reading {
    pub sources: Vec<Source>,
    window: Window,
    level: AccessLevel,
    filter: Option<Filter>,
    /// The filter under the node's pseudonyms, by mapping epoch; an epoch that is missing is scanned.
    index_filters: BTreeMap<u32, Filter>,
    encoder: Encoder,
    spare: Mutex<Vec<Vec<u8>>>,
    /// How fast it may be read.
    pub pace: Pace,
    /// Of the node, which may be running.
    pub layout: Layout,
}

/// What a run of blocks gives.
pub(super) struct Part {
    pub records: Result<Vec<Records>, WriteError>,
    /// Packets that the level shows without bytes.
    pub denied: u64,
    pub gaps: Vec<Gap>,
    /// With the names of their segments.
    pub damaged: Vec<(String, Damage)>,
    /// Bytes of the trace that are done with it.
    pub bytes: u64,
}

/// Records of a capture file, of one link type. No Debug: they hold packets.
pub(super) struct Records {
    pub link: u32,
    pub bytes: Vec<u8>,
    /// Where each ends in `bytes`.
    ends: Vec<usize>,
    ts_ns: Vec<u64>,
}

impl Reading {
    pub fn new(
        node: &AdminNode,
        sources: Vec<Source>,
        pace: Pace,
        window: Window,
        level: AccessLevel,
        filter: Option<Filter>,
        encoder: Encoder,
    ) -> Self {
        let mut index_filters = BTreeMap::new();
        for source in &sources {
            let epoch = source.reader.header().mapping_epoch;
            let known = index_filters.contains_key(&epoch);
            if let Some(filter) = filter.as_ref().filter(|_| !known)
                && let Some(translated) = in_index(node, filter, level, epoch)
            {
                index_filters.insert(epoch, translated);
            }
        }
        Self {
            sources,
            window,
            level,
            filter,
            index_filters,
            encoder,
            spare: Mutex::default(),
            pace,
            layout: node.layout.clone(),
        }
    }

    /// Takes a buffer back whose records are written.
    pub fn give_back(&self, records: Records) {
        if let Ok(mut spare) = self.spare.lock()
            && spare.len() < MAX_SPARE_BUFFERS
        {
            spare.push(records.bytes);
        }
    }

    fn records(&self, link: u32) -> Records {
        let spare = self.spare.lock().ok().and_then(|mut spare| spare.pop());
        let mut bytes = spare.unwrap_or_default();
        bytes.clear();
        Records {
            link,
            bytes,
            ends: Vec::new(),
            ts_ns: Vec::new(),
        }
    }
}

/// A filter in the names of the index: the node's pseudonyms of an epoch. `None`: it cannot be said.
fn in_index(node: &AdminNode, filter: &Filter, level: AccessLevel, epoch: u32) -> Option<Filter> {
    if level == AccessLevel::Anonymized || !filter.names_pseudonyms_at(AccessLevel::Anonymized) {
        return Some(filter.clone());
    }
    let key = node.keyring.mapping_key_if_present(epoch)?;
    filter.under_node(Names::Real(&Anonymizer::new(key)))
}

impl Retriever for Reading {
    type Segment = Source;
    type Part = Part;

    fn window(&self) -> Window {
        self.window
    }

    fn run_blocks(&self) -> usize {
        RUN_BLOCKS
    }

    fn open(&self, source: &Source) -> Result<Arc<SegmentReader>, TraceError> {
        Ok(source.reader.clone())
    }

    fn search(&self, source: &Source) -> Option<Search<'_>> {
        let filter = self.index_filters.get(&source.reader.header().mapping_epoch)?;
        Some(Search {
            filter,
            above: self.level > AccessLevel::Anonymized,
            passes: false,
        })
    }

    fn passes_over(&self, _: &Planned, _: u64) -> bool {
        true
    }

    fn read(&self, mut run: retrieval::Run<'_, Source>, sections: &mut Sections) -> Part {
        let mut out = Out {
            reading: self,
            records: Vec::new(),
            part: Part::of(run.done_bytes()),
        };
        for step in std::mem::take(&mut run.steps) {
            let written = match step {
                Step::Read(planned) => out.block(&run, &planned, sections),
                Step::Passed(_) => Ok(()),
                Step::Damaged(damage) => {
                    out.part.damaged.push((run.segment.name.clone(), damage));
                    Ok(())
                }
            };
            if let Err(error) = written {
                out.part.records = Err(error);
                return out.part;
            }
            self.pace.settle();
        }
        out.part.records = Ok(out.records);
        out.part
    }

    fn planned(&self) {
        self.pace.settle();
    }

    fn ended(&self, _: &Source, _: &SegmentReader, _: u64) -> Option<Part> {
        None
    }

    fn unopened(&self, source: &Source, why: TraceError, _: u64) -> (Part, bool) {
        let mut part = Part::of(source.bytes);
        let damage = Damage {
            position: 0,
            bytes: source.bytes,
            packets: source.reader.footer().map(|footer| footer.packets),
            what: why,
        };
        part.damaged.push((source.name.clone(), damage));
        (part, true)
    }
}

/// A part as it is gathered.
struct Out<'a> {
    reading: &'a Reading,
    records: Vec<Records>,
    part: Part,
}

impl Out<'_> {
    /// What one block gives; one that does not read is damage.
    fn block(
        &mut self,
        run: &retrieval::Run<'_, Source>,
        planned: &Planned,
        sections: &mut Sections,
    ) -> Result<(), WriteError> {
        self.try_block(run, planned, sections).unwrap_or_else(|what| {
            let damage = Damage {
                position: planned.position,
                bytes: planned.bytes,
                packets: planned.packets.map(u64::from),
                what,
            };
            self.part.damaged.push((run.segment.name.clone(), damage));
            Ok(())
        })
    }

    /// The outer error is the trace's, the inner one the output's.
    fn try_block(
        &mut self,
        run: &retrieval::Run<'_, Source>,
        planned: &Planned,
        sections: &mut Sections,
    ) -> Result<Result<(), WriteError>, TraceError> {
        let reading = self.reading;
        let reader = &run.reader;
        let bytes = planned.bytes.min(MAX_BLOCK_BYTES as u64);
        let block = reader.block_in(sections, planned.position, bytes)?;
        if block.header.kind == BlockKind::Gaps {
            let window = reading.window;
            let touches = |gap: &Gap| gap.from_ns < window.to_ns && gap.to_ns >= window.from_ns;
            self.part
                .gaps
                .extend(reader.gaps(&block)?.into_iter().filter(touches));
            return Ok(Ok(()));
        }
        if reading.level == AccessLevel::Payload && reading.filter.is_none() {
            return self.captured(reader, &block, sections);
        }
        let rows = match reading.search(run.segment) {
            Some(search) => Some(retrieval::candidates(reader, sections, &block, &search)?),
            None => None,
        };
        let treatment = match reading.filter {
            Some(_) => Treatment::Described,
            None => Treatment::Shown,
        };
        let wanted = Wanted {
            level: reading.level,
            groups: GroupSet::ALL,
            treatment,
            rows: rows.as_ref(),
        };
        let view = reader.view_in(sections, &block, &wanted)?;
        Ok(self.view(&view))
    }

    /// All packets of a block, byte for byte: nobody looks into them.
    fn captured(
        &mut self,
        reader: &SegmentReader,
        block: &BlockRef,
        sections: &mut Sections,
    ) -> Result<Result<(), WriteError>, TraceError> {
        let captured = reader.captured(sections, block)?;
        let (window, encoder) = (self.reading.window, self.reading.encoder);
        let mut written = Ok(());
        let records = self.of_link(captured.link.0);
        for (row, ts_ns) in captured.ts_ns.iter().enumerate() {
            if window.contains(*ts_ns) && written.is_ok() {
                let pieces = captured.pieces(row);
                written = records.push(encoder, *ts_ns, captured.wire_len[row], pieces);
            }
        }
        Ok(written)
    }

    /// Rows within the window that the filter, which sees this very view, selects.
    fn view(&mut self, view: &View) -> Result<(), WriteError> {
        let window = self.reading.window;
        let mut keep = Bitmap::of(&view.columns.ts_ns, |ts| window.contains(*ts));
        if let Some(filter) = &self.reading.filter {
            keep.and(&filter.eval(&view.columns));
        }
        let encoder = self.reading.encoder;
        let mut denied = 0;
        let records = self.of_link(view.link.0);
        for row in keep.ones() {
            let data = view.frames.get(row).unwrap_or_default();
            // At the levels above, a packet without bytes was captured without.
            denied += u64::from(data.is_empty() && view.columns.deny.get(row).is_some_and(|deny| *deny != 0));
            records.push(
                encoder,
                view.columns.ts_ns[row],
                view.columns.wire_len[row],
                [data, &[]],
            )?;
        }
        self.part.denied += denied;
        Ok(())
    }

    /// The records that a packet of a link type is appended to.
    fn of_link(&mut self, link: u32) -> &mut Records {
        if self.records.last().is_none_or(|last| last.link != link) {
            self.records.push(self.reading.records(link));
        }
        self.records
            .last_mut()
            .expect("one was pushed where there was none")
    }
}

impl Part {
    fn of(bytes: u64) -> Self {
        Self {
            records: Ok(Vec::new()),
            denied: 0,
            gaps: Vec::new(),
            damaged: Vec::new(),
            bytes,
        }
    }
}

impl Records {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ts_ns.len()
    }

    fn push(
        &mut self,
        encoder: Encoder,
        ts_ns: u64,
        wire_len: u32,
        pieces: [&[u8]; 2],
    ) -> Result<(), WriteError> {
        encoder.record(&mut self.bytes, 0, ts_ns, wire_len, pieces)?;
        self.ends.push(self.bytes.len());
        self.ts_ns.push(ts_ns);
        Ok(())
    }

    fn record(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[row]]
    }
}

impl Timed for Records {
    fn times(&self) -> &[u64] {
        &self.ts_ns
    }

    fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn gather(batches: &[Self], order: &[(u32, u32)]) -> Vec<Self> {
        let mut gathered: Vec<Self> = Vec::new();
        for &(batch, row) in order {
            let (batch, row) = (&batches[batch as usize], row as usize);
            let full = |records: &Self| records.link != batch.link || records.len() == GATHERED_PACKETS;
            if gathered.last().is_none_or(full) {
                gathered.push(Self {
                    link: batch.link,
                    bytes: Vec::new(),
                    ends: Vec::new(),
                    ts_ns: Vec::new(),
                });
            }
            if let Some(to) = gathered.last_mut() {
                to.bytes.extend_from_slice(batch.record(row));
                to.ends.push(to.bytes.len());
                to.ts_ns.push(batch.ts_ns[row]);
            }
        }
        gathered
    }
}

#[cfg(test)]
mod tests {
    use como_savefile::Resolution;

    use super::*;
    use crate::retrieval::Merge;

    fn records(link: u32, times: &[u64]) -> Records {
        let mut records = Records {
            link,
            bytes: Vec::new(),
            ends: Vec::new(),
            ts_ns: Vec::new(),
        };
        for ts_ns in times {
            let data = ts_ns.to_le_bytes();
            let encoder = Encoder::Pcap(Resolution::Nanoseconds);
            records
                .push(encoder, *ts_ns, 8, [&data[..3], &data[3..]])
                .unwrap();
        }
        records
    }

    #[test]
    fn records_that_come_late_stand_in_their_place_and_keep_their_link_type() {
        let mut merge = Merge::default();
        let mut out = Vec::new();
        merge.push(records(1, &[10, 30]), &mut out);
        merge.push(records(101, &[20, 20, 40]), &mut out);
        merge.push(records(1, &[35]), &mut out);
        merge.finish(&mut out);
        let stand: Vec<(u32, Vec<u64>)> = out.iter().map(|r| (r.link, r.ts_ns.clone())).collect();
        let expected = [
            (1, vec![10]),
            (101, vec![20, 20]),
            (1, vec![30]),
            (1, vec![35]),
            (101, vec![40]),
        ];
        assert_eq!(stand, expected);
        for (of, (link, times)) in out.iter().zip(&expected) {
            assert_eq!(of.bytes, records(*link, times).bytes);
        }
        assert_eq!(merge.late(), 0);
    }
}
