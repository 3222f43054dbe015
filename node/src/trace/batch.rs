//! A batch of captured packets on its way into one block. Holds raw packets: no Debug, no Serialize,
//! and it must never leave capture except sealed.

use como_anonymize::{LinkType, RawPacket};

/// Packets of one source, one link type and one sealing epoch, in the order of capture.
#[derive(Clone, Default)]
pub struct PacketBatch {
    /// LINKTYPE_ number of all packets.
    pub link: u32,
    /// Number of the first packet within its source.
    pub first_packet: u64,
    /// Offset in the source after the last packet.
    pub offset_after: u64,
    /// Time of each packet, ns since the Unix epoch.
    pub ts_ns: Vec<u64>,
    /// Length on the wire of each packet.
    pub wire_len: Vec<u32>,
    /// Start of each packet in `bytes`, and its end: one more than there are packets.
    pub offsets: Vec<u32>,
    /// The captured bytes.
    pub bytes: Vec<u8>,
}

impl PacketBatch {
    /// An empty batch with room for `bytes`.
    pub fn new(link: u32, first_packet: u64, bytes: usize) -> Self {
        Self {
            link,
            first_packet,
            offsets: vec![0],
            bytes: Vec::with_capacity(bytes),
            ..Self::default()
        }
    }

    /// Empties the batch for other packets, keeps the memory.
    pub fn restart(&mut self, link: u32, first_packet: u64) {
        (self.link, self.first_packet, self.offset_after) = (link, first_packet, 0);
        self.ts_ns.clear();
        self.wire_len.clear();
        self.offsets.clear();
        self.offsets.push(0);
        self.bytes.clear();
    }

    /// Packets held.
    pub fn len(&self) -> usize {
        self.ts_ns.len()
    }

    /// Whether no packet is held.
    pub fn is_empty(&self) -> bool {
        self.ts_ns.is_empty()
    }

    /// Adds a packet; `data` is at most [`super::MAX_CAPTURE_BYTES`] long.
    pub fn push(&mut self, ts_ns: u64, wire_len: u32, data: &[u8]) {
        self.ts_ns.push(ts_ns);
        self.wire_len.push(wire_len);
        self.bytes.extend_from_slice(data);
        self.offsets.push(self.bytes.len() as u32);
    }

    /// The captured bytes of packet `row`.
    pub fn data(&self, row: usize) -> &[u8] {
        &self.bytes[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }

    /// Packet `row` as the dissector takes it.
    pub fn packet(&self, row: usize) -> RawPacket<'_> {
        RawPacket {
            ts_ns: self.ts_ns[row],
            wire_len: self.wire_len[row],
            link: LinkType(self.link),
            data: self.data(row),
        }
    }

    /// All packets, in order.
    pub fn packets(&self) -> impl Iterator<Item = RawPacket<'_>> {
        (0..self.len()).map(|row| self.packet(row))
    }
}
