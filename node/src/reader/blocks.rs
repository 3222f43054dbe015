//! What a request makes of the blocks of the trace: gaps, flows, views at its level and audience, cut by its filter.
//! Must never let a packet out that the asker's own view of it does not pass.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};

use como_anonymize::bitmap::Bitmap;
use como_anonymize::{Rekeying, View};
use como_dataset::Gap;
use como_modules::limits::EMPTY_INTERVALS_MAX;
use como_policies::{AccessLevel, Window};

use super::request::{Request, SegmentRequest};
use super::{Output, Part, ReaderError, Totals, hours};
use crate::feed::{self, MAX_BATCH_PACKETS};
use crate::retrieval::plan::{Planned, Step};
use crate::retrieval::{self, Retriever, Search};
use crate::trace::{BlockKind, BlockRef, Damage, GroupSet, Sections, SegmentReader, TraceError, Wanted};

/// Most blocks that make one part of the feed.
const RUN_BLOCKS: usize = 16;
/// Intervals of a module that a block which is passed over may span, with the pause before it: fewer than an interval
/// runner skips at once, so that it steps through them one by one, as it does from packet to packet.
const MAX_PASSED_INTERVALS: u64 = EMPTY_INTERVALS_MAX / 2;
/// Bytes that are read of a block at once before its lengths are known: header, times and lengths of its packets.
const FIRST_READ_BYTES: u64 = 6 << 10;

type Run<'a> = retrieval::Run<'a, SegmentRequest>;

/// Reads segments of a request, by their place in it, for its present window.
pub(super) fn read(request: &Request, segments: &[usize], parts: &SyncSender<Receiver<Part>>) {
    let segments = segments.iter().map(|at| &request.segments[*at]);
    retrieval::retrieve(request, segments, parts);
}

impl Retriever for Request {
    type Segment = SegmentRequest;
    type Part = Part;

    fn window(&self) -> Window {
        self.window
    }

    fn run_blocks(&self) -> usize {
        RUN_BLOCKS
    }

    fn open(&self, segment: &SegmentRequest) -> Result<Arc<SegmentReader>, TraceError> {
        open(self, segment).map(Arc::new)
    }

    fn search(&self, segment: &SegmentRequest) -> Option<Search<'_>> {
        self.index_filter(segment.mapping_epoch).map(|filter| Search {
            filter,
            above: self.asks_above_the_index(),
            passes: self.module_interval_ns.is_some(),
        })
    }

    /// Not where time takes such a step in the block or before it that only its packets say which intervals the module
    /// leaves out.
    fn passes_over(&self, block: &Planned, before_ns: u64) -> bool {
        let interval_ns = self.module_interval_ns.unwrap_or(1).max(1);
        block.packets.is_some()
            && block
                .last_ns
                .is_some_and(|last_ns| last_ns.saturating_sub(before_ns) / interval_ns < MAX_PASSED_INTERVALS)
    }

    fn read(&self, run: Run<'_>, sections: &mut Sections) -> Part {
        let mut out = Out::default();
        for step in &run.steps {
            match step {
                Step::Read(planned) => block(self, &run, planned, sections, &mut out),
                Step::Passed(planned) => out.passed(self, planned),
                Step::Damaged(damage) => out.damaged(self, damage, run.last_ns),
            }
            settle(self);
        }
        out.part(self, run.done_bytes())
    }

    fn planned(&self) {
        settle(self);
    }

    fn ended(&self, segment: &SegmentRequest, reader: &SegmentReader, last_ns: u64) -> Option<Part> {
        // Capture died here: what it had not handed over yet is lost, and nobody counted it.
        let cut = reader.footer().is_none() && !is_open(&segment.file);
        cut.then(|| gap_part(last_ns, last_ns.saturating_add(1), "unsealed end"))
    }

    fn unopened(&self, segment: &SegmentRequest, why: TraceError, last_ns: u64) -> (Part, bool) {
        match why {
            TraceError::Io(e) if e.kind() == std::io::ErrorKind::NotFound => {
                // It expired between the plan and now.
                (gap_part(last_ns, last_ns.saturating_add(1), "expired"), true)
            }
            source => {
                let file = segment.file.clone();
                (Part::Failed(ReaderError::Segment { file, source }), false)
            }
        }
    }
}

/// Waits until what was read so far is allowed: capture comes first.
fn settle(request: &Request) {
    request.bucket.settle(request.read_bytes.load(Ordering::Relaxed));
}

fn is_open(file: &str) -> bool {
    file.ends_with(".open")
}

fn open(request: &Request, segment: &SegmentRequest) -> Result<SegmentReader, TraceError> {
    let path = request.directory.join(&segment.file);
    // An open segment may have ended between the plan and now, well or not.
    let file = File::open(&path)
        .or_else(|_| File::open(path.with_extension("seg")))
        .or_else(|_| File::open(path.with_extension("cut")))?;
    let reader = SegmentReader::open_checked(file, &segment.checked)?;
    if let Some(key) = &request.node_key {
        reader.verify_unless(&segment.checked, key)?;
    }
    Ok(reader
        .with_keys(&segment.keys)
        .with_audience(request.audience(segment.mapping_epoch))
        .counting(request.read_bytes.clone()))
}

/// What a run gives, as it is gathered.
#[derive(Default)]
struct Out {
    outputs: Vec<Output>,
    /// Packets of several blocks that travel as one view.
    view: Option<View>,
    totals: Totals,
}

impl Out {
    fn view(&mut self, request: &Request, view: View) {
        if view.is_empty() {
            return;
        }
        self.totals.packets += view.len() as u64;
        if let Some(known) = &mut self.view
            && known.len() + view.len() <= MAX_BATCH_PACKETS
            && known.append(&view)
        {
            return;
        }
        let before = self.view.replace(view);
        self.encode(request, before);
    }

    fn encode(&mut self, request: &Request, view: Option<View>) {
        let encoded = view.map(|view| feed::encode_view(&view, request.frames, Some(&request.sent)));
        self.outputs.extend(encoded.map(Output::Message));
    }

    fn message(&mut self, request: &Request, message: Vec<u8>) {
        let before = self.view.take();
        self.encode(request, before);
        self.outputs.push(Output::Message(message));
    }

    fn gap(&mut self, request: &Request, gap: &Gap) {
        self.message(request, feed::encode_gap(gap));
    }

    /// A block that need not be read, whose packets take the module's time along.
    fn passed(&mut self, request: &Request, block: &Planned) {
        let packets = block.packets.map_or(0, u64::from);
        self.totals.packets += packets;
        let now_ns = block.last_ns.unwrap_or(0);
        self.message(request, feed::encode_passed(now_ns, packets));
    }

    fn damaged(&mut self, request: &Request, damage: &Damage, around_ns: u64) {
        tracing::warn!(
            "{} bytes of a segment at {} do not read",
            damage.bytes,
            damage.position
        );
        self.totals.damaged += 1;
        self.gap(
            request,
            &Gap {
                from_ns: around_ns,
                to_ns: around_ns.saturating_add(1),
                cause: "damaged block".into(),
                count: damage.packets,
            },
        );
    }

    fn part(mut self, request: &Request, bytes: u64) -> Part {
        let last = self.view.take();
        self.encode(request, last);
        Part::Run(self.outputs, bytes, self.totals)
    }
}

/// Everything that one block gives.
fn block(request: &Request, run: &Run<'_>, planned: &Planned, sections: &mut Sections, out: &mut Out) {
    if let Err(what) = try_block(request, run, planned, sections, out) {
        let damage = Damage {
            position: planned.position,
            bytes: planned.done_bytes,
            packets: planned.packets.map(u64::from),
            what,
        };
        out.damaged(request, &damage, request.window.from_ns);
    }
}

fn try_block(
    request: &Request,
    run: &Run<'_>,
    planned: &Planned,
    sections: &mut Sections,
    out: &mut Out,
) -> Result<(), TraceError> {
    let first = match request.view_level {
        // All of the block will be needed.
        AccessLevel::Payload if request.search(run.segment).is_none_or(|search| search.passes) => {
            planned.bytes
        }
        _ => FIRST_READ_BYTES.min(planned.bytes),
    };
    let block = run.reader.block_in(sections, planned.position, first)?;
    if block.header.kind == BlockKind::Gaps {
        let (window, grain_ns) = (request.window, request.grain_ns());
        let touches = |gap: &&crate::trace::Gap| gap.from_ns < window.to_ns && gap.to_ns >= window.from_ns;
        for gap in run.reader.gaps(&block)?.iter().filter(touches) {
            out.gap(request, &public_gap(gap, grain_ns));
        }
        return Ok(());
    }
    if request.view_level <= AccessLevel::Coarse {
        let wanted = Wanted::all(AccessLevel::Anonymized, request.groups);
        let view = run.reader.view_in(sections, &block, &wanted)?;
        out.totals.packets += view.len() as u64;
        out.outputs.push(Output::Flows(hours::gather(request, &view)));
        return Ok(());
    }
    let view = views(request, run, &block, sections)?;
    out.view(request, view);
    Ok(())
}

/// The block as the runner may see it: at the view's level and audience, cut by the asker's filter, which
/// sees the asker's own view. What the index says of its rows only leaves out what could not pass.
fn views(
    request: &Request,
    run: &Run<'_>,
    block: &BlockRef,
    sections: &mut Sections,
) -> Result<View, TraceError> {
    let audience = request.anonymizer(run.segment.mapping_epoch)?;
    let rows = match request.search(run.segment) {
        // Where a module's own filter is looked up, packets that do not pass still take its time along.
        Some(search) if !search.passes => Some(retrieval::candidates(&run.reader, sections, block, &search)?),
        _ => None,
    };
    if rows.as_ref().is_some_and(|rows| rows.count() == 0) {
        return Ok(View::new(request.view_level, como_anonymize::LinkType::ETHERNET));
    }
    let mut at = |level: AccessLevel, groups: GroupSet, rekey: Rekeying| {
        let wanted = Wanted {
            level,
            groups,
            treatment: request.treatment,
            rows: rows.as_ref(),
        };
        let view = run.reader.view_in(sections, block, &wanted)?;
        Ok::<_, TraceError>(match audience {
            Some(audience) if level <= AccessLevel::Anonymized => rekey.apply(view, audience),
            _ => view,
        })
    };
    let view = at(request.view_level, request.groups, request.rekey)?;
    let mut keep = match &request.filter {
        None => Bitmap::all(view.len()),
        Some(filter) if request.ask_level == request.view_level => filter.eval(&view.columns),
        Some(filter) => filter.eval(&at(request.ask_level, GroupSet::ALL, request.rekey)?.columns),
    };
    if request.cut {
        let window = request.window;
        keep.and(&Bitmap::of(&view.columns.ts_ns, |ts| window.contains(*ts)));
    }
    Ok(if keep.count() == view.len() {
        view
    } else {
        view.select(&keep)
    })
}

/// A gap begins and ends with packets: its times are no finer than theirs are shown.
fn public_gap(gap: &crate::trace::Gap, grain_ns: u64) -> Gap {
    Gap {
        from_ns: gap.from_ns - gap.from_ns % grain_ns,
        to_ns: gap.to_ns.checked_next_multiple_of(grain_ns).unwrap_or(gap.to_ns),
        cause: gap.cause.as_str().to_owned(),
        count: gap.packets,
    }
}

fn gap_part(from_ns: u64, to_ns: u64, cause: &str) -> Part {
    let gap = Gap {
        from_ns,
        to_ns,
        cause: cause.to_owned(),
        count: None,
    };
    Part::message(feed::encode_gap(&gap), 0)
}
