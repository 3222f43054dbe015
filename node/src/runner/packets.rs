//! Packets of a download while they wait for earlier ones. Must never change a packet.

use como_anonymize::View;
use como_dataset::PacketBatch;

use crate::retrieval::Timed;

/// Packets of a batch that was put in order.
const GATHERED_PACKETS: usize = 4096;
/// Bytes that a packet takes beside its frame.
const PACKET_BYTES: usize = 16;

/// Packets as a view shows them.
#[derive(Default)]
pub(super) struct Packets(pub PacketBatch);

impl Packets {
    /// Those of a view.
    pub fn of(view: View) -> Self {
        let mut batch = PacketBatch {
            ts_ns: view.columns.ts_ns,
            wire_len: view.columns.wire_len,
            ..PacketBatch::default()
        };
        if view.frames.len() == batch.ts_ns.len() {
            batch.frames.offsets = view.frames.offsets;
            batch.frames.bytes = view.frames.bytes;
        } else {
            // Nothing of a packet but its time and length is shown.
            batch.frames.offsets = vec![0; batch.ts_ns.len() + 1];
        }
        Self(batch)
    }
}

impl Timed for Packets {
    fn times(&self) -> &[u64] {
        &self.0.ts_ns
    }

    fn bytes(&self) -> usize {
        self.0.frames.bytes.len() + self.0.len() * PACKET_BYTES
    }

    fn gather(batches: &[Self], order: &[(u32, u32)]) -> Vec<Self> {
        let chunk = |chunk: &[(u32, u32)]| {
            let mut gathered = PacketBatch::default();
            for &(batch, row) in chunk {
                let (from, row) = (&batches[batch as usize].0, row as usize);
                gathered.push(from.ts_ns[row], from.wire_len[row], from.frames.get(row));
            }
            Self(gathered)
        };
        order.chunks(GATHERED_PACKETS).map(chunk).collect()
    }
}
