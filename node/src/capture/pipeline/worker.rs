//! A worker thread: treats and seals one batch at a time. Must never die of a packet.

use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

use como_anonymize::Anonymizer;

use super::PipelineError;
use super::control::{Control, Counters};
use super::order::Done;
use super::treat::treat;
use super::views::{LiveParts, Wanted};
use crate::trace::{BlockPosition, PacketBatch, SegmentSealer};

/// One batch to be sealed.
pub(super) struct Job {
    pub at: BlockPosition,
    pub batch: PacketBatch,
    pub sealer: Arc<SegmentSealer>,
    pub anonymizer: Arc<Anonymizer>,
}

pub(super) struct Worker {
    pub jobs: Arc<Mutex<Receiver<Job>>>,
    pub done: SyncSender<Done>,
    pub control: Arc<Control>,
    pub undissected: Option<u64>,
    /// `None`: nobody will ever want views.
    pub views: Option<Wanted>,
}

impl Worker {
    pub fn run(self) -> Result<(), PipelineError> {
        loop {
            let job = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = job else { return Ok(()) };
            let treated = treat(&job.batch, &job.anonymizer, self.undissected);
            let block = job
                .sealer
                .seal_packets(job.at, &job.batch, &treated.view, &treated.header_len)?;
            let counters = &self.control.counters;
            Counters::add(&counters.stored_packets, job.batch.len() as u64);
            self.control
                .newest
                .raise(job.batch.ts_ns.iter().copied().max().unwrap_or(0));
            Counters::add(&counters.stored_bytes, job.batch.bytes.len() as u64);
            Counters::add(&counters.sealed_bytes, block.bytes.len() as u64);
            Counters::add(&counters.denied_packets, treated.denied);
            Counters::add(&counters.undissected_packets, treated.undissected);
            let mut done = Done::block(job.at.sequence, job.sealer.segment(), block);
            done.live = self
                .views
                .as_ref()
                .map(|wanted| LiveParts::of(treated.view, job.batch, job.anonymizer, wanted));
            if self.done.send(done).is_err() {
                return Ok(());
            }
        }
    }
}
