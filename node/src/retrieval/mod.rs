//! From a window and a filter to what is read of segments, for whoever reads the past: planned by the index, opened on all
//! cores, given in the order of the trace. Must never decide who may see what: keys, level and filter come from the
//! caller.

mod merge;
pub mod plan;
mod rows;

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};

use como_policies::Window;

use crate::trace::{Sections, SegmentReader, TraceError};
pub use merge::{Merge, Timed};
pub use plan::Search;
use plan::{Ahead, Planned, Step};
pub use rows::candidates;

/// Runs that wait for a worker.
const MAX_WAITING_RUNS: usize = 8;
/// Segments that a worker opens and plans in one go: where the index rules most of them out, handing each over alone would
/// take longer than planning it.
const SEGMENTS_AT_ONCE: usize = 4;
/// Segments that are opened and planned ahead of the one whose blocks are read, at most.
const SEGMENTS_AHEAD: usize = 16;
/// Packets after which a run ends: enough that handing it on costs little beside reading it.
const RUN_PACKETS: u32 = 8192;
/// Where few blocks are read, each worker gets at least so many runs.
const RUNS_PER_WORKER: usize = 2;

/// Somebody who reads segments, and what becomes of their blocks.
pub trait Retriever: Sync {
    /// A segment that is asked for.
    type Segment: Sync;
    /// What a run of blocks gives.
    type Part: Send;

    /// Packet times that are asked for.
    fn window(&self) -> Window;
    /// Most blocks of a run.
    fn run_blocks(&self) -> usize;
    /// Opens a segment, with the keys that it is read with.
    fn open(&self, segment: &Self::Segment) -> Result<Arc<SegmentReader>, TraceError>;
    /// What the index of a segment can be asked for; `None`: everything in the window is read.
    fn search(&self, segment: &Self::Segment) -> Option<Search<'_>>;
    /// Whether a block can be passed over that [`Step::Passed`] names; `before_ns`: the last time before it. Where not, it is
    /// read.
    fn passes_over(&self, block: &Planned, before_ns: u64) -> bool;
    /// Reads a run of blocks; on any thread.
    fn read(&self, run: Run<'_, Self::Segment>, sections: &mut Sections) -> Self::Part;
    /// A worker opened and planned a segment, and may have to wait before it reads on.
    fn planned(&self);
    /// A segment was read to its end, which `last_ns` is the last time of.
    fn ended(&self, segment: &Self::Segment, reader: &SegmentReader, last_ns: u64) -> Option<Self::Part>;
    /// A segment does not open; `false`: nothing can follow.
    fn unopened(&self, segment: &Self::Segment, why: TraceError, last_ns: u64) -> (Self::Part, bool);
}

/// Neighbouring steps of a plan, done by one worker.
pub struct Run<'a, S> {
    /// The segment as it was asked for.
    pub segment: &'a S,
    /// The same, opened.
    pub reader: Arc<SegmentReader>,
    /// What is to be read of it.
    pub steps: Vec<Step>,
    /// Latest packet time of what was read before.
    pub last_ns: u64,
}

/// Work for a worker.
enum Work<'a, R: Retriever> {
    Plan(Vec<&'a R::Segment>, Sender<Result<Opened, TraceError>>),
    Run(Run<'a, R::Segment>, Sender<R::Part>),
}

/// A segment, and what of it is to be read.
struct Opened {
    reader: Arc<SegmentReader>,
    steps: Vec<Step>,
}

/// Reads segments; what their runs give goes to `parts` in the order of the trace, whichever worker is done first. Ends
/// early where nobody listens any more.
pub fn retrieve<'a, R: Retriever>(
    retriever: &'a R,
    segments: impl IntoIterator<Item = &'a R::Segment>,
    parts: &SyncSender<Receiver<R::Part>>,
) where
    R::Segment: 'a,
{
    let (tasks, queue) = sync_channel::<Work<'_, R>>(MAX_WAITING_RUNS);
    let queue = Mutex::new(queue);
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut sections = Sections::default();
                loop {
                    // A poisoned lock: another worker panicked, the request has failed already.
                    let Ok(Ok(work)) = queue.lock().map(|queue| queue.recv()) else {
                        return;
                    };
                    // Where nobody waits for the answer, nobody listens any more.
                    match work {
                        Work::Plan(segments, reply) => {
                            let opened = segments
                                .into_iter()
                                .map(|segment| open_and_plan(retriever, segment));
                            let _ = opened.map(|opened| reply.send(opened)).find(Result::is_err);
                        }
                        Work::Run(run, reply) => drop(reply.send(retriever.read(run, &mut sections))),
                    }
                }
            });
        }
        let mut dispatch = Dispatch {
            retriever,
            tasks: &tasks,
            parts,
            workers,
            last_ns: retriever.window().from_ns,
        };
        dispatch.all(segments.into_iter());
        drop(tasks);
    });
}

fn open_and_plan<R: Retriever>(retriever: &R, segment: &R::Segment) -> Result<Opened, TraceError> {
    let reader = retriever.open(segment)?;
    let steps = plan::plan(retriever.window(), retriever.search(segment), &reader);
    retriever.planned();
    Ok(Opened { reader, steps })
}

/// Hands work to the workers, and the places of its results to who listens.
struct Dispatch<'a, 't, R: Retriever> {
    retriever: &'a R,
    tasks: &'t SyncSender<Work<'a, R>>,
    parts: &'t SyncSender<Receiver<R::Part>>,
    workers: usize,
    last_ns: u64,
}

impl<'a, R: Retriever> Dispatch<'a, '_, R> {
    fn all(&mut self, mut segments: impl Iterator<Item = &'a R::Segment>) {
        let mut planned = VecDeque::with_capacity(SEGMENTS_AHEAD);
        // The first ones one by one: their blocks are waited for.
        let mut alone = self.workers;
        loop {
            while SEGMENTS_AHEAD - planned.len() >= SEGMENTS_AT_ONCE {
                let at_once = if alone > 0 { 1 } else { SEGMENTS_AT_ONCE };
                alone = alone.saturating_sub(1);
                let next: Vec<_> = segments.by_ref().take(at_once).collect();
                if next.is_empty() {
                    break;
                }
                let (reply, opened) = channel();
                let opened = Rc::new(opened);
                planned.extend(next.iter().map(|segment| (*segment, opened.clone())));
                // Fails where all workers are gone; then nothing comes out of `opened`.
                let _ = self.tasks.send(Work::Plan(next, reply));
            }
            let Some((segment, opened)) = planned.pop_front() else {
                return;
            };
            let gone = || io::Error::other("a worker thread failed").into();
            let goes_on = match opened.recv().unwrap_or_else(|_| Err(gone())) {
                Ok(opened) => self.segment(segment, opened),
                Err(why) => {
                    let (part, goes_on) = self.retriever.unopened(segment, why, self.last_ns);
                    self.put(part) && goes_on
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    /// False: nobody listens any more.
    fn segment(&mut self, segment: &'a R::Segment, Opened { reader, steps }: Opened) -> bool {
        let longest = self.run_blocks(steps.len());
        let mut ahead = Ahead::new(&reader);
        let mut steps = steps.into_iter();
        while !steps.as_slice().is_empty() {
            ahead.announce(steps.as_slice());
            let run = self.run(segment, &reader, &mut steps, longest);
            ahead.passed(run.steps.len());
            let (reply, part) = channel();
            if self.tasks.send(Work::Run(run, reply)).is_err() || self.parts.send(part).is_err() {
                return false;
            }
        }
        match self.retriever.ended(segment, &reader, self.last_ns) {
            Some(part) => self.put(part),
            None => true,
        }
    }

    /// The next run.
    fn run(
        &mut self,
        segment: &'a R::Segment,
        reader: &Arc<SegmentReader>,
        steps: &mut impl Iterator<Item = Step>,
        longest: usize,
    ) -> Run<'a, R::Segment> {
        let mut run = Run {
            segment,
            reader: reader.clone(),
            steps: Vec::with_capacity(longest),
            last_ns: self.last_ns,
        };
        let mut packets = 0u32;
        while run.steps.len() < longest && packets < RUN_PACKETS {
            let step = match steps.next() {
                None => break,
                Some(Step::Passed(block)) if !self.retriever.passes_over(&block, self.last_ns) => {
                    Step::Read(block)
                }
                Some(step) => step,
            };
            if let Step::Read(block) | Step::Passed(block) = &step {
                packets = packets.saturating_add(block.packets.unwrap_or(0));
                self.last_ns = block.last_ns.unwrap_or(0).max(self.last_ns);
            }
            run.steps.push(step);
        }
        run
    }

    fn run_blocks(&self, steps: usize) -> usize {
        steps
            .div_ceil(self.workers * RUNS_PER_WORKER)
            .clamp(1, self.retriever.run_blocks())
    }

    /// Sends a part that no worker is needed for; false: nobody listens any more.
    fn put(&self, part: R::Part) -> bool {
        let (sender, receiver) = channel();
        sender.send(part).is_ok() && self.parts.send(receiver).is_ok()
    }
}

impl<S> Run<'_, S> {
    /// Bytes of the trace that are done with the run, read or not.
    pub fn done_bytes(&self) -> u64 {
        let of = |step: &Step| match step {
            Step::Read(block) | Step::Passed(block) => block.done_bytes,
            Step::Damaged(damage) => damage.bytes,
        };
        self.steps.iter().map(of).sum()
    }
}
