//! The ordering thread: puts what the workers finish back into sequence, opens and closes segments, and
//! hands items to storage's sender and views to live modules. Must never let one out of order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use super::PipelineError;
use super::control::{Control, Counters};
use super::permits::PermitsBack;
use super::views::{LiveParts, ViewSink};
use crate::trace::{
    BlockPosition, EndReason, ItemBody, LedgerStart, Predecessor, ResumePoint, SealedBlock, SealedItem,
    SegmentId, SegmentLedger, SourceId, TraceError,
};

/// Something finished, with its place in the sequence.
pub(super) struct Done {
    pub sequence: u64,
    pub live: Option<LiveParts>,
    step: Step,
}

enum Step {
    Open(Box<LedgerStart>),
    Block(SegmentId, SealedBlock),
    Index(Box<IndexStep>),
    Close(EndReason),
}

/// A block of the index is due.
struct IndexStep {
    at: BlockPosition,
    resume: ResumePoint,
    last: bool,
}

impl Done {
    pub fn open(sequence: u64, ledger: LedgerStart) -> Self {
        Self {
            sequence,
            live: None,
            step: Step::Open(Box::new(ledger)),
        }
    }

    pub fn block(sequence: u64, segment: SegmentId, block: SealedBlock) -> Self {
        Self {
            sequence,
            live: None,
            step: Step::Block(segment, block),
        }
    }

    /// A block of the index, made here because it sums up the blocks before it; `last`: of its segment.
    pub fn index(at: BlockPosition, resume: ResumePoint, last: bool) -> Self {
        Self {
            sequence: at.sequence,
            live: None,
            step: Step::Index(Box::new(IndexStep { at, resume, last })),
        }
    }

    pub fn close(sequence: u64, reason: EndReason) -> Self {
        Self {
            sequence,
            live: None,
            step: Step::Close(reason),
        }
    }
}

pub(super) struct Order {
    done: Receiver<Done>,
    items: SyncSender<SealedItem>,
    permits: PermitsBack,
    views: Option<ViewSink>,
    control: Arc<Control>,
    source: SourceId,
    ledger: Option<(SegmentId, SegmentLedger)>,
    predecessor: Option<Predecessor>,
}

impl Order {
    pub fn new(
        done: Receiver<Done>,
        items: SyncSender<SealedItem>,
        permits: PermitsBack,
        views: Option<ViewSink>,
        control: Arc<Control>,
        source: SourceId,
    ) -> Self {
        Self {
            done,
            items,
            permits,
            views,
            control,
            source,
            ledger: None,
            predecessor: None,
        }
    }

    pub fn run(mut self) -> Result<(), PipelineError> {
        let mut next = 0;
        // Bounded by the permits of blocks in flight.
        let mut early = BTreeMap::new();
        while let Ok(done) = self.done.recv() {
            early.insert(done.sequence, done);
            while let Some(done) = early.remove(&next) {
                next += 1;
                match self.emit(done) {
                    Ok(()) => {}
                    // Nobody takes items any more: let the other threads run dry.
                    Err(Ended::Gone) => {
                        self.control.stop();
                        return Ok(());
                    }
                    Err(Ended::Failed(error)) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn emit(&mut self, done: Done) -> Result<(), Ended> {
        let sequence = done.sequence;
        let (segment, body) = match done.step {
            Step::Open(start) => {
                let segment = start.segment();
                let (frame, ledger) = start.open(self.predecessor.take());
                self.ledger = Some((segment, ledger));
                (segment, ItemBody::Open(frame))
            }
            Step::Block(segment, block) => {
                if let Some((_, ledger)) = &mut self.ledger {
                    ledger.add(&block);
                }
                if let (Some(views), Some(live)) = (&mut self.views, done.live) {
                    views.offer(sequence, self.source, live, &self.control.counters);
                }
                self.permits.give();
                (segment, ItemBody::Block(block.bytes))
            }
            Step::Index(step) => {
                let Some((segment, ledger)) = &mut self.ledger else {
                    return Ok(());
                };
                let bytes = ledger.seal_index(step.at, step.resume, step.last)?;
                Counters::add(&self.control.counters.sealed_bytes, bytes.len() as u64);
                (*segment, ItemBody::Block(bytes))
            }
            Step::Close(reason) => {
                let Some((segment, ledger)) = self.ledger.take() else {
                    return Ok(());
                };
                let (frame, predecessor) = ledger.close(reason);
                self.predecessor = Some(predecessor);
                (segment, ItemBody::Close(frame))
            }
        };
        self.items
            .send(SealedItem {
                sequence,
                segment,
                body,
            })
            .map_err(|_| Ended::Gone)
    }
}

/// Why no item follows.
enum Ended {
    /// The receiver of the items was dropped.
    Gone,
    /// A block of the index cannot be sealed.
    Failed(TraceError),
}

impl From<TraceError> for Ended {
    fn from(error: TraceError) -> Self {
        Self::Failed(error)
    }
}
