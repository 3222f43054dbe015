//! From a source to sealed blocks: one thread reads, several treat and seal, one puts in order.
//!
//! ```text
//! source -> [dispatch] -> jobs -> [worker]* -> done -> [order] -> SealedItem (to storage)
//!                |                                        \---> LiveBlock (to live modules, sheds)
//!                \-- at most `queue_blocks` blocks in flight; a file waits, and so does the kernel's ring;
//!                    a link without one drops newest ------------------------------------------/
//! ```
//! The pipeline knows no other process: its output is a channel. Must never reorder, renumber or drop
//! silently: received = stored + counted losses.

mod control;
mod dispatch;
#[cfg(debug_assertions)]
pub mod fault;
mod order;
mod permits;
#[cfg(test)]
mod tests;
mod threads;
mod treat;
mod views;
mod worker;

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use como_anonymize::AsTable;
use thiserror::Error;

use crate::spares::Spares;
pub use control::{Counters, Snapshot};
pub use views::{LiveBlock, ViewSink, Wanted};

use crate::capture::source::{PacketSource, SourceError};
use crate::trace::{EpochKeys, GapCause, ResumePoint, Retain, RunKey, SealedItem, SourceId, TraceError};
use control::Control;
use permits::Permits;
use threads::Threads;

/// Most worker threads of one pipeline.
const MAX_WORKERS: usize = 64;
/// Blocks of a file that are in flight, for each worker: enough that none waits, few enough that they stay in the caches.
const FILE_BLOCKS_PER_WORKER: usize = 4;
/// Sealed blocks whose memory is kept for others, at most: as many as wait for storage's syncs.
const SPARE_BLOCKS: usize = 192;
/// Batches and views, at most; more are in flight in a burst only.
const SPARE_BATCHES: usize = 32;

/// How to capture one source.
#[derive(Clone, Debug)]
pub struct PipelineConfig {
    /// SPIFFE id of the node.
    pub node: String,
    /// Id of the source.
    pub source: SourceId,
    /// The source for people: file name or interface.
    pub source_description: String,
    /// Which sections to keep.
    pub retain: Retain,
    /// A segment ends once it has this many captured bytes.
    pub segment_bytes: u64,
    /// A block ends once it has this many captured bytes.
    pub block_bytes: usize,
    /// A block has at most this many packets.
    pub block_packets: usize,
    /// A block of a live or paced source waits at most this long for more packets, wall time.
    pub flush_after: Duration,
    /// Worker threads; 0: one for each core.
    pub workers: usize,
    /// Blocks between source and storage. When all are in flight, a file waits and a link drops newest.
    pub queue_blocks: usize,
    /// Where the source continues: what it gives first has this number.
    pub resume: ResumePoint,
    /// This many packets go one by one, each only after storage has the one before: finds a packet that
    /// kills capture.
    pub careful_packets: u64,
    /// The number of a packet known to kill capture: stored undissected.
    pub undissected: Option<u64>,
    /// Whom addresses belong to, where the operator says it.
    pub networks: Option<Arc<AsTable>>,
}

impl PipelineConfig {
    /// Defaults for a source.
    pub fn new(node: &str, source: SourceId, source_description: &str) -> Self {
        Self {
            node: node.to_owned(),
            source,
            source_description: source_description.to_owned(),
            retain: Retain::default(),
            segment_bytes: 256 << 20,
            block_bytes: 256 << 10,
            block_packets: 4096,
            flush_after: Duration::from_millis(300),
            workers: 0,
            queue_blocks: 64,
            resume: ResumePoint::default(),
            careful_packets: 0,
            undissected: None,
            networks: None,
        }
    }
}

/// Why a pipeline ended early.
#[derive(Debug, Error)]
pub enum PipelineError {
    /// The source does not read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A segment cannot be sealed.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The supervisor gives no keys for an epoch.
    #[error(
        "no keys for sealing epoch {epoch}: {why}\npackets of a destroyed epoch cannot be stored; check the clock or the file"
    )]
    NoEpochKeys {
        /// Days since the Unix epoch.
        epoch: u32,
        /// What the supervisor says.
        why: String,
    },
    /// A thread of the pipeline ended by itself.
    #[error("a thread of the capture pipeline died\nthis is a defect of the program: please report it")]
    ThreadDied,
}

/// Asks for the keys of a sealing epoch; may wait for the supervisor.
pub type EpochKeysFn = Box<dyn FnMut(u32) -> Result<EpochKeys, PipelineError> + Send>;

/// Tells a pipeline what storage has.
#[derive(Clone)]
pub struct Acknowledger {
    control: Arc<Control>,
    blocks: Spares<Vec<u8>>,
}

impl Acknowledger {
    /// Storage has everything up to and including this sequence.
    pub fn acknowledge(&self, sequence: u64) {
        self.control.acknowledge(sequence);
    }

    /// Takes the memory of a block that storage has.
    pub fn give_back(&self, block: Vec<u8>) {
        self.blocks.give(block);
    }
}

/// A running pipeline.
pub struct Pipeline {
    items: Option<Receiver<SealedItem>>,
    control: Arc<Control>,
    permits: Permits,
    blocks: Spares<Vec<u8>>,
    threads: Threads,
}

impl Pipeline {
    /// Starts the threads. `views` gets every block for live modules, as far as it keeps up.
    pub fn start(
        config: PipelineConfig,
        run: RunKey,
        source: Box<dyn PacketSource>,
        epoch_keys: EpochKeysFn,
        views: Option<ViewSink>,
    ) -> Self {
        let workers = match config.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            some => some,
        };
        let workers = workers.min(MAX_WORKERS);
        let queue_blocks = match source.is_live() {
            true => config.queue_blocks,
            false => config.queue_blocks.min(workers * FILE_BLOCKS_PER_WORKER),
        };
        let in_flight = queue_blocks.max(workers + 2);
        let control = Arc::new(Control::default());
        // The permits bound everything in flight, so that none of these channels ever fills.
        let (permits, permits_back) = Permits::new(in_flight);
        let (job_out, job_in) = sync_channel(in_flight);
        // A block may open a segment and close another, and the index may be due for both.
        let (done_out, done_in) = sync_channel(5 * in_flight);
        let (item_out, items) = sync_channel(in_flight);
        let (batches, blocks) = (Spares::new(SPARE_BATCHES), Spares::new(SPARE_BLOCKS));
        let spare_views = Spares::new(SPARE_BATCHES);
        let jobs = Arc::new(Mutex::new(job_in));
        let mut threads = Threads::new(&control, &permits);
        for index in 0..workers {
            let worker = worker::Worker {
                jobs: jobs.clone(),
                done: done_out.clone(),
                control: control.clone(),
                undissected: config.undissected,
                networks: config.networks.clone(),
                views: views.as_ref().map(ViewSink::wanted),
                spare_views: spare_views.clone(),
                blocks: blocks.clone(),
            };
            threads.spawn(&format!("seal-{index}"), done_out.clone(), move || worker.run());
        }
        let output = item_out.clone();
        let order = order::Order::new(
            done_in,
            item_out,
            permits_back,
            views,
            control.clone(),
            config.source,
        );
        threads.spawn("order", output, move || order.run());
        let output = done_out.clone();
        let ends = dispatch::Ends {
            permits: permits.clone(),
            batches,
            jobs: job_out,
            done: done_out,
        };
        let dispatch = dispatch::Dispatch::new(config, run, epoch_keys, ends, control.clone());
        threads.spawn("dispatch", output, move || dispatch.run(source));
        Self {
            items: Some(items),
            control,
            permits,
            blocks,
            threads,
        }
    }

    /// Gives away the sealed items, in order of their sequence; closed after the last. Who drops them stops the pipeline.
    ///
    /// # Panics
    /// The second time.
    pub fn take_items(&mut self) -> Receiver<SealedItem> {
        self.items.take().expect("items are taken once")
    }

    /// A handle to acknowledge from another thread.
    pub fn acknowledger(&self) -> Acknowledger {
        Acknowledger {
            control: self.control.clone(),
            blocks: self.blocks.clone(),
        }
    }

    /// Stops reading; what was read is sealed, the segment closed, the channel ended.
    pub fn stop(&self) {
        self.control.stop();
    }

    /// Whether a thread ended with an error, which [`Pipeline::join`] gives.
    pub fn has_failed(&self) -> bool {
        self.control.failed()
    }

    /// The newest packet time in a sealed block, or on an idle link the time up to which nothing came; ns since the Unix
    /// epoch, 0: none yet.
    pub fn newest_ns(&self) -> u64 {
        self.control.newest.get()
    }

    /// Why a file source did not read to its end, where it did not.
    pub fn source_damage(&self) -> Option<GapCause> {
        self.control.damage.get().copied()
    }

    /// How many of the places between source and storage are taken, per mille.
    pub fn fill(&self) -> u16 {
        self.permits.fill()
    }

    /// What was done so far.
    pub fn counters(&self) -> Snapshot {
        self.control.counters.snapshot()
    }

    /// Packets lost so far, by cause.
    pub fn losses(&self) -> std::collections::BTreeMap<&'static str, u64> {
        self.control.losses.get()
    }

    /// Waits for the threads and gives the first error of any. Items not taken are lost; whoever took them must go on
    /// reading, or have dropped them.
    pub fn join(self) -> Result<(), PipelineError> {
        drop(self.items);
        self.control.stop();
        self.threads.join()
    }
}
