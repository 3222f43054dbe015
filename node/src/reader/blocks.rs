//! Reads blocks of the trace: decryption, decompression, pseudonyms and filters on all cores, results in
//! the order of the trace.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};

use como_anonymize::View;
use como_anonymize::bitmap::Bitmap;
use como_dataset::Gap;
use como_modules::limits::EMPTY_INTERVALS_MAX;
use como_policies::AccessLevel;

use super::plan::{self, Ahead, Planned, Search, Step};
use super::request::{Request, SegmentRequest};
use super::{Part, ReaderError, Totals, hours};
use crate::feed;
use crate::trace::{BlockKind, BlockRef, Damage, GroupSet, SegmentReader, TraceError};

/// Blocks that wait for a worker.
const MAX_WAITING_TASKS: usize = 8;

/// Segments that are opened and planned ahead of the one whose blocks are read.
const SEGMENTS_AHEAD: usize = 4;

/// Intervals of a module that a block which is passed over may span, with the pause before it: fewer than an interval
/// runner skips at once, so that it steps through them one by one, as it does from packet to packet.
const MAX_PASSED_INTERVALS: u64 = EMPTY_INTERVALS_MAX / 2;

/// Work for a worker.
enum Work<'a> {
    Plan(&'a SegmentRequest, Sender<Result<Opened, TraceError>>),
    Block(Box<Task<'a>>),
}

/// A segment, and what of it is to be read.
struct Opened {
    reader: Arc<SegmentReader>,
    steps: Vec<Step>,
}

/// A block to be read.
struct Task<'a> {
    reader: Arc<SegmentReader>,
    block: Planned,
    segment: &'a SegmentRequest,
    reply: Sender<Part>,
}

/// Reads all segments of a request.
pub(super) fn read(request: &Request, parts: &SyncSender<Receiver<Part>>) {
    let (tasks, queue) = sync_channel::<Work<'_>>(MAX_WAITING_TASKS);
    let queue = Mutex::new(queue);
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    // A poisoned lock: another worker panicked, the request has failed already.
                    let Ok(Ok(work)) = queue.lock().map(|queue| queue.recv()) else {
                        return;
                    };
                    // Where nobody waits for the answer, nobody listens any more.
                    match work {
                        Work::Plan(segment, reply) => drop(reply.send(open_and_plan(request, segment))),
                        Work::Block(task) => drop(task.reply.send(decode(request, &task))),
                    }
                    request.bucket.settle(request.read_bytes.load(Ordering::Relaxed));
                }
            });
        }
        let mut last_ns = request.window.from_ns;
        let mut segments = request.segments.iter();
        let mut planned = VecDeque::with_capacity(SEGMENTS_AHEAD);
        loop {
            for segment in segments.by_ref().take(SEGMENTS_AHEAD - planned.len()) {
                let (reply, opened) = channel();
                // Fails where all workers are gone; then nothing comes out of `opened`.
                let _ = tasks.send(Work::Plan(segment, reply));
                planned.push_back((segment, opened));
            }
            let Some((segment, opened)) = planned.pop_front() else {
                break;
            };
            let gone = || std::io::Error::other("a worker thread failed").into();
            let opened = opened.recv().unwrap_or_else(|_| Err(gone()));
            let passing = request.module_interval_ns.map(Passing);
            if !read_segment(segment, opened, passing, &mut last_ns, &tasks, parts) {
                break;
            }
        }
        drop(tasks);
    });
}

fn open_and_plan(request: &Request, segment: &SegmentRequest) -> Result<Opened, TraceError> {
    let reader = open(request, segment)?;
    let search = request.index_filter(segment.mapping_epoch).map(|filter| Search {
        filter,
        above: request.asks_above_the_index(),
        passes: request.module_interval_ns.is_some(),
    });
    let steps = plan::plan(request.window, search, &reader);
    Ok(Opened {
        reader: Arc::new(reader),
        steps,
    })
}

/// False: nobody listens any more.
fn read_segment<'a>(
    segment: &'a SegmentRequest,
    opened: Result<Opened, TraceError>,
    passing: Option<Passing>,
    last_ns: &mut u64,
    tasks: &SyncSender<Work<'a>>,
    parts: &SyncSender<Receiver<Part>>,
) -> bool {
    let Opened { reader, steps } = match opened {
        Ok(opened) => opened,
        Err(TraceError::Io(e)) if e.kind() == std::io::ErrorKind::NotFound => {
            // It expired between the plan and now.
            return put(parts, gap_part(*last_ns, *last_ns + 1, "expired"));
        }
        Err(source) => {
            put(
                parts,
                Part::Failed(ReaderError::Segment {
                    file: segment.file.clone(),
                    source,
                }),
            );
            return false;
        }
    };
    let mut ahead = Ahead::new(&reader);
    for (at, step) in steps.iter().enumerate() {
        ahead.announce(&steps, at);
        let block = match step {
            Step::Passed(block) => match passing.and_then(|passing| passing.over(block, last_ns)) {
                Some(part) => {
                    if !put(parts, part) {
                        return false;
                    }
                    continue;
                }
                None => block.clone(),
            },
            Step::Read(block) => block.clone(),
            Step::Damaged(damage) => {
                if !put(parts, damaged(damage, *last_ns)) {
                    return false;
                }
                continue;
            }
        };
        *last_ns = block.last_ns.unwrap_or(0).max(*last_ns);
        let (reply, part) = channel();
        let task = Task {
            reader: reader.clone(),
            block,
            segment,
            reply,
        };
        if tasks.send(Work::Block(Box::new(task))).is_err() || parts.send(part).is_err() {
            return false;
        }
    }
    if reader.footer().is_none() && !is_open(&segment.file) {
        // Capture died here: what it had not handed over yet is lost, and nobody counted it.
        return put(
            parts,
            gap_part(*last_ns, last_ns.saturating_add(1), "unsealed end"),
        );
    }
    true
}

/// Passing over blocks for a module with intervals of so many nanoseconds.
#[derive(Clone, Copy)]
struct Passing(u64);

impl Passing {
    /// What a block gives that need not be read. `None`: it must be read after all, since time takes such a step in it or
    /// before it that only its packets say which intervals the module leaves out.
    fn over(self, block: &Planned, last_ns: &mut u64) -> Option<Part> {
        let now_ns = block.last_ns?;
        let packets = u64::from(block.packets?);
        if now_ns.saturating_sub(*last_ns) / self.0 >= MAX_PASSED_INTERVALS {
            return None;
        }
        *last_ns = now_ns.max(*last_ns);
        let messages = vec![feed::encode_passed(now_ns, packets)];
        Some(Part::Feed(
            messages,
            block.done_bytes,
            Totals { packets, damaged: 0 },
        ))
    }
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
    let reader = SegmentReader::open(file)?;
    if let Some(key) = &request.node_key {
        reader.verify(key)?;
    }
    Ok(reader
        .with_keys(&segment.keys)
        .with_audience(request.audience(segment.mapping_epoch))
        .counting(request.read_bytes.clone()))
}

/// Everything that one block gives.
fn decode(request: &Request, task: &Task<'_>) -> Part {
    let bytes = task.block.done_bytes;
    let lost = |what: TraceError| {
        damaged(
            &Damage {
                position: task.block.position,
                bytes,
                packets: task.block.packets.map(u64::from),
                what,
            },
            request.window.from_ns,
        )
    };
    let block = match &task.block.header {
        Some(header) => Ok(BlockRef {
            position: task.block.position,
            header: header.clone(),
        }),
        None => task.reader.block_at(task.block.position),
    };
    let block = match block {
        Ok(block) => block,
        Err(what) => return lost(what),
    };
    if block.header.kind == BlockKind::Gaps {
        return match task.reader.gaps(&block) {
            Ok(gaps) => {
                let window = request.window;
                let gaps = gaps
                    .iter()
                    .filter(|g| g.from_ns < window.to_ns && g.to_ns >= window.from_ns);
                let grain_ns = request.grain_ns();
                let messages = gaps.map(|g| feed::encode_gap(&public_gap(g, grain_ns))).collect();
                Part::Feed(messages, bytes, Totals::default())
            }
            Err(what) => lost(what),
        };
    }
    if request.view_level <= AccessLevel::Coarse {
        return match task.reader.view(&block, AccessLevel::Anonymized, request.groups) {
            Ok(view) => Part::Flows(hours::gather(request, &view), bytes, totals(&view)),
            Err(what) => lost(what),
        };
    }
    match views(request, task, &block) {
        Ok(view) if view.is_empty() => Part::Feed(Vec::new(), bytes, Totals::default()),
        Ok(view) => Part::Feed(
            vec![feed::encode_view(&view, request.frames, Some(&request.sent))],
            bytes,
            totals(&view),
        ),
        Err(what) => lost(what),
    }
}

fn totals(view: &View) -> Totals {
    Totals {
        packets: view.len() as u64,
        damaged: 0,
    }
}

/// The block as the runner may see it: at the view's level and audience, cut by the asker's filter, which
/// sees the asker's own view.
fn views(request: &Request, task: &Task<'_>, block: &BlockRef) -> Result<View, TraceError> {
    let audience = request.anonymizer(task.segment.mapping_epoch)?;
    let at = |level: AccessLevel, groups: GroupSet| {
        let view = task.reader.view(block, level, groups)?;
        Ok::<_, TraceError>(if level <= AccessLevel::Anonymized {
            match audience {
                Some(audience) => request.rekey.apply(view, audience),
                None => view,
            }
        } else {
            view
        })
    };
    let view = at(request.view_level, request.groups)?;
    let mut keep = match &request.filter {
        None => Bitmap::all(view.len()),
        Some(filter) if request.ask_level == request.view_level => filter.eval(&view.columns),
        Some(filter) => filter.eval(&at(request.ask_level, GroupSet::ALL)?.columns),
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

fn damaged(damage: &Damage, around_ns: u64) -> Part {
    tracing::warn!(
        "{} bytes of a segment at {} do not read",
        damage.bytes,
        damage.position
    );
    let gap = Gap {
        from_ns: around_ns,
        to_ns: around_ns.saturating_add(1),
        cause: "damaged block".into(),
        count: damage.packets,
    };
    Part::Feed(
        vec![feed::encode_gap(&gap)],
        damage.bytes,
        Totals {
            packets: 0,
            damaged: 1,
        },
    )
}

fn gap_part(from_ns: u64, to_ns: u64, cause: &str) -> Part {
    let gap = Gap {
        from_ns,
        to_ns,
        cause: cause.to_owned(),
        count: None,
    };
    Part::Feed(vec![feed::encode_gap(&gap)], 0, Totals::default())
}

/// Sends a part that no worker is needed for; false: nobody listens any more.
fn put(parts: &SyncSender<Receiver<Part>>, part: Part) -> bool {
    let (sender, receiver) = channel();
    sender.send(part).is_ok() && parts.send(receiver).is_ok()
}
