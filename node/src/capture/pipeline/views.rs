//! Live views: each sealed block's packets for export, if it keeps up. Must never make a link wait: a full queue
//! sheds the block, counts it, and tells the consumer with the next one. A file waits for room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SendError, SyncSender, TrySendError, sync_channel};

use como_anonymize::{Anonymizer, View};

use super::control::Counters;
use crate::spares::Lent;
use crate::trace::{Gap, GapCause, PacketBatch, SourceId};

/// One block as live modules get it.
pub struct LiveBlock {
    /// Sequence of the block within the capture run.
    pub sequence: u64,
    /// Where the packets came from.
    pub source: SourceId,
    /// The view at `anonymized` under the node's keys.
    pub view: Lent<Box<View>>,
    /// The raw packets, from which the views of the levels above are built, within capture.
    pub batch: Lent<PacketBatch>,
    /// The node's own pseudonyms in the block's mapping epoch.
    pub anonymizer: Arc<Anonymizer>,
    /// What this consumer missed just before.
    pub shed_before: Option<Gap>,
}

/// Whether anybody wants live views: where nobody does, no block is kept for them.
#[derive(Clone, Default)]
pub struct Wanted(Arc<AtomicBool>);

impl Wanted {
    /// Wanted from the start.
    pub fn always() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// Says whether they are.
    pub fn set(&self, wanted: bool) {
        self.0.store(wanted, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a worker leaves of a block for live modules.
pub(super) enum LiveParts {
    /// The block, for whoever is there.
    Kept {
        view: Lent<Box<View>>,
        batch: Lent<PacketBatch>,
        anonymizer: Arc<Anonymizer>,
    },
    /// Nobody was there; whoever comes next is told what it did not see.
    Skipped(Gap),
}

impl LiveParts {
    /// The packets of a batch that nobody looks at.
    pub fn skipped(batch: &PacketBatch) -> Self {
        LiveParts::Skipped(unseen(batch))
    }
}

/// The sending end of live views.
pub struct ViewSink {
    blocks: SyncSender<LiveBlock>,
    wanted: Wanted,
    waits: bool,
    shed: Option<Gap>,
}

impl ViewSink {
    /// A sink whose queue holds `blocks`; when it is full, blocks are shed, or waited for. What is not wanted does not come.
    pub fn new(blocks: usize, wanted: Wanted, waits: bool) -> (Self, Receiver<LiveBlock>) {
        let (sender, receiver) = sync_channel(blocks);
        (
            Self {
                blocks: sender,
                wanted,
                waits,
                shed: None,
            },
            receiver,
        )
    }

    pub(super) fn wanted(&self) -> Wanted {
        self.wanted.clone()
    }

    pub(super) fn offer(&mut self, sequence: u64, source: SourceId, live: LiveParts, counters: &Counters) {
        let (view, batch, anonymizer) = match live {
            LiveParts::Kept {
                view,
                batch,
                anonymizer,
            } => (view, batch, anonymizer),
            LiveParts::Skipped(gap) => {
                self.shed = Some(grown(self.shed.take(), gap));
                return;
            }
        };
        let block = LiveBlock {
            sequence,
            source,
            view,
            batch,
            anonymizer,
            shed_before: self.shed.take(),
        };
        let sent = match self.waits {
            true => self.blocks.send(block).map_err(|SendError(block)| block),
            false => self.blocks.try_send(block).map_err(|error| match error {
                TrySendError::Full(block) | TrySendError::Disconnected(block) => block,
            }),
        };
        if let Err(block) = sent {
            Counters::add(&counters.shed_packets, block.batch.len() as u64);
            self.shed = Some(grown(block.shed_before, unseen(&block.batch)));
        }
    }
}

fn unseen(batch: &PacketBatch) -> Gap {
    Gap {
        from_ns: batch.ts_ns.iter().copied().min().unwrap_or(0),
        to_ns: batch.ts_ns.iter().copied().max().unwrap_or(0),
        cause: GapCause::Shed,
        packets: Some(batch.len() as u64),
    }
}

fn grown(before: Option<Gap>, gap: Gap) -> Gap {
    match before {
        None => gap,
        Some(before) => Gap {
            from_ns: before.from_ns.min(gap.from_ns),
            to_ns: before.to_ns.max(gap.to_ns),
            packets: before.packets.zip(gap.packets).map(|(a, b)| a + b),
            ..gap
        },
    }
}

#[cfg(test)]
mod tests {
    use como_anonymize::LinkType;
    use como_keys::mapping::MappingKey;
    use como_policies::AccessLevel;

    use super::*;

    #[test]
    fn views_that_nobody_wants_are_not_kept_and_the_next_reader_is_told() {
        let (wanted, counters) = (Wanted::default(), Counters::default());
        let (mut sink, blocks) = ViewSink::new(8, wanted.clone(), false);
        let key = Arc::new(Anonymizer::new(&MappingKey::from_bytes(&[1; 32])));
        let mut offer = |sequence: u64| {
            let mut batch = PacketBatch::new(1, sequence, 64);
            batch.push(sequence * 10, 60, &[0; 60]);
            let view = View::new(AccessLevel::Anonymized, LinkType::ETHERNET);
            let live = match wanted.get() {
                false => LiveParts::skipped(&batch),
                true => LiveParts::Kept {
                    view: Lent::own(Box::new(view)),
                    batch: Lent::own(batch),
                    anonymizer: key.clone(),
                },
            };
            sink.offer(sequence, SourceId([0; 16]), live, &counters);
        };
        (0..3).for_each(&mut offer);
        wanted.set(true);
        (3..5).for_each(&mut offer);
        let told: Vec<_> = blocks
            .try_iter()
            .map(|block| block.shed_before.map(|gap| (gap.from_ns, gap.to_ns, gap.packets)))
            .collect();
        assert_eq!(told, [Some((0, 20, Some(3))), None], "not seen, told once");
        assert_eq!(counters.snapshot().shed_packets, 0, "and not counted as shed");
    }
}
