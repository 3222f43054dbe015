//! A worker thread: treats and seals one batch at a time. Must never die of a packet.

use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

use como_anonymize::{Anonymizer, AsTable, View};

use super::PipelineError;
use super::control::{Control, Counters};
use super::order::Done;
use super::treat::{Treated, treat};
use super::views::{LiveParts, Wanted};
use crate::spares::{Lent, Spares};
use crate::trace::{BlockParts, BlockPosition, PacketBatch, SealScratch, SegmentSealer};

/// One batch to be sealed.
pub(super) struct Job {
    pub at: BlockPosition,
    pub batch: Lent<PacketBatch>,
    pub sealer: Arc<SegmentSealer>,
    pub anonymizer: Arc<Anonymizer>,
}

pub(super) struct Worker {
    pub jobs: Arc<Mutex<Receiver<Job>>>,
    pub done: SyncSender<Done>,
    pub control: Arc<Control>,
    pub undissected: Option<u64>,
    pub networks: Option<Arc<AsTable>>,
    /// `None`: nobody will ever want views.
    pub views: Option<Wanted>,
    /// Memory of views that nobody looks at any more.
    pub spare_views: Spares<Box<View>>,
    /// Memory of blocks that are on disk.
    pub blocks: Spares<Vec<u8>>,
}

impl Worker {
    pub fn run(self) -> Result<(), PipelineError> {
        let (mut treated, mut scratch) = (Treated::new(), SealScratch::default());
        loop {
            let job = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = job else { return Ok(()) };
            let networks = self.networks.as_deref();
            treat(
                &job.batch,
                &job.anonymizer,
                networks,
                self.undissected,
                &mut treated,
            );
            let parts = BlockParts {
                columns: &treated.view.columns,
                templates: &treated.templates,
                header_len: &treated.header_len,
            };
            let block = job.sealer.seal_packets(
                job.at,
                &job.batch,
                &parts,
                self.blocks.take().unwrap_or_default(),
                &mut scratch,
            )?;
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
            match &self.views {
                Some(wanted) if wanted.get() => {
                    done.live = Some(LiveParts::Kept {
                        view: self.spare_views.lend(treated.take_view(self.spare_views.take())),
                        batch: job.batch,
                        anonymizer: job.anonymizer,
                    });
                }
                views => done.live = views.as_ref().map(|_| LiveParts::skipped(&job.batch)),
            }
            if self.done.send(done).is_err() {
                return Ok(());
            }
        }
    }
}
