//! The ordering thread: puts what the workers finish back into sequence, opens and closes segments, and
//! hands items to storage's sender and views to live modules. Must never let one out of order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use super::PipelineError;
use super::control::Control;
use super::views::{LiveParts, ViewSink};
use crate::trace::{
    EndReason, ItemBody, LedgerStart, Predecessor, SealedBlock, SealedItem, SegmentId, SegmentLedger,
    SourceId,
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
    Close(EndReason),
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
    permits: SyncSender<()>,
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
        permits: SyncSender<()>,
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
                if self.emit(done).is_err() {
                    // Nobody takes items any more: let the other threads run dry.
                    self.control.stop();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn emit(&mut self, done: Done) -> Result<(), Gone> {
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
                // The dispatcher may be gone already; then nobody needs the permit.
                let _ = self.permits.try_send(());
                (segment, ItemBody::Block(block.bytes))
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
            .map_err(|_| Gone)
    }
}

/// The receiver of the items was dropped.
struct Gone;
