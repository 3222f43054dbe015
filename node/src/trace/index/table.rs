//! The table of all blocks of a segment: where each lies, what it holds and when. Stands in the segment's last index
//! block.

use como_capnp::trace_capnp::block_table;

use crate::trace::TraceError;
use crate::trace::block::BlockKind;

/// One day of blocks at 10 Gbit/s is far less: more entries than this in one segment are refused.
pub(super) const MAX_TABLE_ENTRIES: usize = 1 << 18;

/// One block in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockTableEntry {
    /// File offset of the block header.
    pub position: u64,
    /// What the block holds.
    pub kind: BlockKind,
    /// Earliest packet time (or gap start), floored to 1 ms.
    pub first_ns: u64,
    /// Latest packet time (or gap end), floored to 1 ms.
    pub last_ns: u64,
    /// Packets in it.
    pub packets: u32,
    /// Their bytes on the wire.
    pub wire_bytes: u64,
}

/// All blocks of a segment, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockTable(pub Vec<BlockTableEntry>);

impl BlockTable {
    /// The stored form: a Cap'n Proto message of lists.
    pub(in crate::trace) fn encode(&self) -> Vec<u8> {
        const NS_PER_MS: u64 = 1_000_000;
        let mut message = capnp::message::Builder::new_default();
        let mut out = message.init_root::<block_table::Builder<'_>>();
        let rows = self.0.len() as u32;
        macro_rules! fill {
            ($($init:ident: $value:expr;)*) => {$(
                let mut list = out.reborrow().$init(rows);
                for (row, entry) in self.0.iter().enumerate() {
                    let value: fn(&BlockTableEntry) -> _ = $value;
                    list.set(row as u32, value(entry));
                }
            )*};
        }
        fill! {
            init_position: |e| e.position;
            init_kind: |e| e.kind as u8;
            init_first_ms: |e| e.first_ns / NS_PER_MS;
            init_last_ms: |e| e.last_ns / NS_PER_MS;
            init_packets: |e| e.packets;
            init_wire_bytes: |e| e.wire_bytes;
        }
        como_capnp::write_message(&message)
    }

    /// Reads what [`BlockTable::encode`] wrote.
    pub(in crate::trace) fn decode(bytes: &[u8]) -> Result<Self, TraceError> {
        const NS_PER_MS: u64 = 1_000_000;
        let bad = || TraceError::damaged(0, "the block table does not parse");
        let message = como_capnp::read_message(bytes).map_err(|_| bad())?;
        let table = message.get_root::<block_table::Reader<'_>>().map_err(|_| bad())?;
        let lists = || -> Result<_, capnp::Error> {
            Ok((
                table.get_position()?,
                table.get_kind()?,
                table.get_first_ms()?,
                table.get_last_ms()?,
                table.get_packets()?,
                table.get_wire_bytes()?,
            ))
        };
        let (position, kind, first, last, packets, wire) = lists().map_err(|_| bad())?;
        let rows = position.len();
        if rows as usize > MAX_TABLE_ENTRIES
            || [kind.len(), first.len(), last.len(), packets.len(), wire.len()]
                .iter()
                .any(|&len| len != rows)
        {
            return Err(bad());
        }
        let entry = |row| {
            Some(BlockTableEntry {
                position: position.get(row),
                kind: match kind.get(row) {
                    1 => BlockKind::Packets,
                    2 => BlockKind::Gaps,
                    3 => BlockKind::Index,
                    _ => return None,
                },
                first_ns: first.get(row).saturating_mul(NS_PER_MS),
                last_ns: last.get(row).saturating_mul(NS_PER_MS),
                packets: packets.get(row),
                wire_bytes: wire.get(row),
            })
        };
        (0..rows)
            .map(entry)
            .collect::<Option<Vec<_>>>()
            .map(Self)
            .ok_or_else(bad)
    }
}
