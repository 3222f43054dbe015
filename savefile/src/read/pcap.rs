//! Classic pcap: microseconds and nanoseconds, both byte orders, and the "modified" variant of old Linux
//! patches. Reads records; must never trust a length beyond [`MAX_PACKET_BYTES`].

use std::io::{self, Read};

use super::Found;
use super::order::Order;
use super::window::Window;
use crate::MAX_PACKET_BYTES;

/// Bytes of the file header.
pub(super) const FILE_HEADER_BYTES: usize = 24;
/// Bits of the link type field that name the link; the others tell of checksums at the end of frames.
const LINK_MASK: u32 = 0x03ff_ffff;

/// How a pcap file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pcap {
    order: Order,
    /// Nanoseconds of one unit of the fraction: 1 or 1000.
    unit_ns: u64,
    record_header_bytes: usize,
    /// Link type of every packet.
    pub link: u32,
}

impl Pcap {
    /// From the first bytes of a file, if they are a pcap header.
    pub fn parse(header: &[u8]) -> Option<Self> {
        if header.len() < FILE_HEADER_BYTES {
            return None;
        }
        let (order, magic) = match Order::Little.u32(header, 0) {
            magic @ (0xa1b2_c3d4 | 0xa1b2_3c4d | 0xa1b2_cd34) => (Order::Little, magic),
            _ => (Order::Big, Order::Big.u32(header, 0)),
        };
        let (unit_ns, record_header_bytes) = match magic {
            0xa1b2_c3d4 => (1000, 16),
            0xa1b2_3c4d => (1, 16),
            0xa1b2_cd34 => (1000, 24),
            _ => return None,
        };
        Some(Self {
            order,
            unit_ns,
            record_header_bytes,
            link: order.u32(header, 20) & LINK_MASK,
        })
    }

    /// The next record.
    pub fn next<R: Read>(&self, window: &mut Window<R>) -> io::Result<Found> {
        let header = window.peek(self.record_header_bytes)?;
        let Some(fields) = header
            .first_chunk::<16>()
            .filter(|_| header.len() == self.record_header_bytes)
        else {
            return Ok(if header.is_empty() {
                Found::End
            } else {
                Found::Truncated
            });
        };
        let [seconds, fraction, captured, wire_len] = self.order.words(fields);
        let ts_ns = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * self.unit_ns;
        let captured = captured as usize;
        if captured > MAX_PACKET_BYTES {
            return Ok(Found::Corrupt);
        }
        let record_bytes = self.record_header_bytes + captured;
        if window.peek(record_bytes)?.len() < record_bytes {
            return Ok(Found::Truncated);
        }
        Ok(Found::Packet {
            ts_ns,
            wire_len,
            link: self.link,
            data_at: self.record_header_bytes,
            data_bytes: captured,
            record_bytes,
        })
    }
}
