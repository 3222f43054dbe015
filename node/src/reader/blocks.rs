//! Reads blocks of the trace: decryption, decompression, pseudonyms and filters on all cores, results in
//! the order of the trace.

use std::fs::File;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};

use como_anonymize::View;
use como_anonymize::bitmap::Bitmap;
use como_dataset::Gap;
use como_policies::{AccessLevel, Window};

use super::request::{Request, SegmentRequest};
use super::{Part, ReaderError, Totals, hours};
use crate::feed;
use crate::trace::{BlockKind, BlockRef, Damage, GroupSet, SegmentReader, TraceError};

/// Blocks that wait for a worker.
const MAX_WAITING_TASKS: usize = 8;
/// Section A keeps times to the millisecond: a packet may be up to this later than its block's last time.
const NS_PER_MS: u64 = 1_000_000;

/// A block for a worker.
struct Task<'a> {
    reader: Arc<SegmentReader>,
    block: BlockRef,
    segment: &'a SegmentRequest,
    reply: Sender<Part>,
}

/// Reads all segments of a request.
pub(super) fn read(request: &Request, parts: &SyncSender<Receiver<Part>>) {
    let (tasks, queue) = sync_channel::<Task<'_>>(MAX_WAITING_TASKS);
    let queue = Mutex::new(queue);
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    // A poisoned lock: another worker panicked, the request has failed already.
                    let Ok(Ok(task)) = queue.lock().map(|queue| queue.recv()) else {
                        return;
                    };
                    let part = decode(request, &task);
                    let _ = task.reply.send(part);
                }
            });
        }
        let mut last_ns = request.window.from_ns;
        for segment in &request.segments {
            if !read_segment(request, segment, &mut last_ns, &tasks, parts) {
                break;
            }
        }
        drop(tasks);
    });
}

/// False: nobody listens any more.
fn read_segment<'a>(
    request: &'a Request,
    segment: &'a SegmentRequest,
    last_ns: &mut u64,
    tasks: &SyncSender<Task<'a>>,
    parts: &SyncSender<Receiver<Part>>,
) -> bool {
    let reader = match open(request, segment) {
        Ok(reader) => Arc::new(reader),
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
    for block in reader.blocks() {
        let block = match block {
            Ok(block) => block,
            Err(damage) => {
                if !put(parts, damaged(&damage, *last_ns)) {
                    return false;
                }
                continue;
            }
        };
        if block.header.kind == BlockKind::Packets {
            match reader.time_range(&block) {
                Ok((first, last)) if !touches(request.window, first, last) => continue,
                Ok((_, last)) => *last_ns = last.max(*last_ns),
                Err(_) => {} // The worker finds the same and reports it.
            }
        }
        let (reply, part) = channel();
        let task = Task {
            reader: reader.clone(),
            block,
            segment,
            reply,
        };
        if tasks.send(task).is_err() || parts.send(part).is_err() {
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

fn touches(window: Window, first_ns: u64, last_ns: u64) -> bool {
    first_ns < window.to_ns && last_ns.saturating_add(NS_PER_MS) > window.from_ns
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
        .with_audience(request.audience(segment.mapping_epoch)))
}

/// Everything that one block gives.
fn decode(request: &Request, task: &Task<'_>) -> Part {
    let bytes = task.block.header.total_bytes();
    let lost = |what: TraceError| {
        let packets =
            (task.block.header.kind == BlockKind::Packets).then(|| task.block.header.packets.into());
        damaged(
            &Damage {
                position: task.block.position,
                bytes,
                packets,
                what,
            },
            request.window.from_ns,
        )
    };
    if task.block.header.kind == BlockKind::Gaps {
        return match task.reader.gaps(&task.block) {
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
        return match task
            .reader
            .view(&task.block, AccessLevel::Anonymized, request.groups)
        {
            Ok(view) => Part::Flows(hours::gather(request, &view), bytes, totals(&view)),
            Err(what) => lost(what),
        };
    }
    match views(request, task) {
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
fn views(request: &Request, task: &Task<'_>) -> Result<View, TraceError> {
    let audience = request.anonymizer(task.segment.mapping_epoch)?;
    let at = |level: AccessLevel, groups: GroupSet| {
        let view = task.reader.view(&task.block, level, groups)?;
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
