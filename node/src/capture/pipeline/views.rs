//! Live views: each sealed block's packets for export, if it keeps up. Must never make capture wait: a
//! full queue sheds the block, counts it, and tells the consumer with the next one.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use como_anonymize::View;

use super::control::Counters;
use crate::trace::{Gap, GapCause, PacketBatch, SourceId};

/// One block as live modules get it.
pub struct LiveBlock {
    /// Sequence of the block within the capture run.
    pub sequence: u64,
    /// Where the packets came from.
    pub source: SourceId,
    /// The view at `anonymized` under the node's keys.
    pub view: Arc<View>,
    /// The raw packets, from which the views of the levels above are built, within capture.
    pub batch: Arc<PacketBatch>,
    /// What this consumer missed just before.
    pub shed_before: Option<Gap>,
}

/// What a worker leaves of a block for live modules.
pub(super) struct LiveParts {
    pub view: View,
    pub batch: PacketBatch,
}

/// The sending end of live views.
pub struct ViewSink {
    blocks: SyncSender<LiveBlock>,
    shed: Option<Gap>,
}

impl ViewSink {
    /// A sink whose queue holds `blocks`; when it is full, blocks are shed.
    pub fn new(blocks: usize) -> (Self, Receiver<LiveBlock>) {
        let (sender, receiver) = sync_channel(blocks);
        (
            Self {
                blocks: sender,
                shed: None,
            },
            receiver,
        )
    }

    pub(super) fn offer(&mut self, sequence: u64, source: SourceId, live: LiveParts, counters: &Counters) {
        let block = LiveBlock {
            sequence,
            source,
            view: Arc::new(live.view),
            batch: Arc::new(live.batch),
            shed_before: self.shed.take(),
        };
        if let Err(TrySendError::Full(block) | TrySendError::Disconnected(block)) =
            self.blocks.try_send(block)
        {
            Counters::add(&counters.shed_packets, block.batch.len() as u64);
            self.shed = Some(grown(block.shed_before, &block.batch));
        }
    }
}

fn grown(before: Option<Gap>, batch: &PacketBatch) -> Gap {
    let from_ns = batch.ts_ns.iter().copied().min().unwrap_or(0);
    let to_ns = batch.ts_ns.iter().copied().max().unwrap_or(0);
    let before = before.unwrap_or(Gap {
        from_ns,
        to_ns,
        cause: GapCause::Shed,
        packets: Some(0),
    });
    Gap {
        from_ns: before.from_ns.min(from_ns),
        to_ns: before.to_ns.max(to_ns),
        packets: before.packets.map(|count| count + batch.len() as u64),
        ..before
    }
}
