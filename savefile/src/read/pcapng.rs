//! pcapng: sections in either byte order, several interfaces with their own link type and time unit.
//! Names, comments, secrets and all other metadata are skipped unread: they must never get out of the file.

use std::io::{self, Read};

use super::Found;
use super::order::Order;
use super::window::Window;
use crate::MAX_PACKET_BYTES;

/// Largest block accepted, in bytes: a packet of maximum size and generous options.
const MAX_BLOCK_BYTES: usize = MAX_PACKET_BYTES + (1 << 20);
/// Interfaces that one section may describe.
const MAX_INTERFACES: usize = 4096;
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const OPTION_TSRESOL: u16 = 9;
const OPTION_TSOFFSET: u16 = 14;
const NS_PER_S: u128 = 1_000_000_000;

/// The state of a pcapng stream: byte order and interfaces of the current section.
pub(super) struct Pcapng {
    order: Order,
    interfaces: Vec<Interface>,
    /// Time of the packet before: simple packets have none of their own.
    last_ns: u64,
}

#[derive(Clone, Copy)]
struct Interface {
    link: u32,
    snap: usize,
    units_per_s: u128,
    offset_s: i64,
}

impl Pcapng {
    /// From the first bytes of a file, if a section header starts there.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= 12 && Order::Little.u32(bytes, 0) == SECTION_HEADER)
            .then(|| section_order(bytes))
            .flatten()
            .map(|order| Self {
                order,
                interfaces: Vec::new(),
                last_ns: 0,
            })
    }

    /// The next block.
    pub fn next<R: Read>(&mut self, window: &mut Window<R>) -> io::Result<Found> {
        let head = window.peek(12)?;
        if head.is_empty() {
            return Ok(Found::End);
        }
        if head.len() < 12 {
            return Ok(Found::Truncated);
        }
        if self.order.u32(head, 0) == SECTION_HEADER {
            match section_order(head) {
                Some(order) => (self.order, self.interfaces) = (order, Vec::new()),
                None => return Ok(Found::Corrupt),
            }
        }
        let (kind, length) = (self.order.u32(head, 0), self.order.u32(head, 4) as usize);
        if length < 12 || length % 4 != 0 || length > MAX_BLOCK_BYTES {
            return Ok(Found::Corrupt);
        }
        let block = window.peek(length)?;
        if block.len() < length {
            return Ok(Found::Truncated);
        }
        if self.order.u32(block, length - 4) as usize != length {
            return Ok(Found::Corrupt);
        }
        let record = match kind {
            INTERFACE => self
                .interface(block)
                .map(|()| Found::Frame { record_bytes: length }),
            ENHANCED_PACKET => self.packet(block, self.order.u32(block, 8)),
            OLD_PACKET => self.packet(block, self.order.u16(block, 8).into()),
            SIMPLE_PACKET => self.simple_packet(block),
            SECTION_HEADER => Some(Found::Frame { record_bytes: length }),
            _ => Some(Found::Skipped { record_bytes: length }),
        };
        let record = record.unwrap_or(Found::Corrupt);
        if let Found::Packet { ts_ns, .. } = record {
            self.last_ns = ts_ns;
        }
        Ok(record)
    }

    fn interface(&mut self, block: &[u8]) -> Option<()> {
        let mut interface = Interface {
            link: self.order.u16(block, 8).into(),
            snap: self.order.u32(block, 12) as usize,
            units_per_s: 1_000_000,
            offset_s: 0,
        };
        let mut options = block.get(16..block.len() - 4)?;
        while options.len() >= 4 {
            let (code, length) = (
                self.order.u16(options, 0),
                usize::from(self.order.u16(options, 2)),
            );
            let value = options.get(4..4 + length)?;
            match (code, value) {
                (0, _) => break,
                (OPTION_TSRESOL, &[resolution]) => interface.units_per_s = units_per_second(resolution)?,
                (OPTION_TSOFFSET, value) if value.len() == 8 => {
                    interface.offset_s = self.order.u64(value, 0) as i64
                }
                _ => {}
            }
            options = options.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        }
        (self.interfaces.len() < MAX_INTERFACES).then(|| self.interfaces.push(interface))
    }

    fn packet(&self, block: &[u8], interface: u32) -> Option<Found> {
        const DATA: usize = 28;
        let interface = self.interfaces.get(interface as usize)?;
        let field = |at| self.order.u32(block, at);
        let units = u128::from(field(12)) << 32 | u128::from(field(16));
        let data_bytes = field(20) as usize;
        if data_bytes > MAX_PACKET_BYTES || DATA + data_bytes + 4 > block.len() {
            return None;
        }
        let ns = (units * NS_PER_S / interface.units_per_s).cast_signed()
            + i128::from(interface.offset_s) * NS_PER_S.cast_signed();
        let ts_ns = u64::try_from(ns).ok()?;
        Some(Found::Packet {
            ts_ns,
            wire_len: field(24),
            link: interface.link,
            data_at: DATA,
            data_bytes,
            record_bytes: block.len(),
        })
    }

    fn simple_packet(&self, block: &[u8]) -> Option<Found> {
        const DATA: usize = 12;
        let interface = self.interfaces.first()?;
        let wire_len = self.order.u32(block, 8);
        let snap = if interface.snap == 0 {
            usize::MAX
        } else {
            interface.snap
        };
        let captured = (wire_len as usize)
            .min(snap)
            .min(block.len().checked_sub(DATA + 4)?);
        (captured <= MAX_PACKET_BYTES).then_some(Found::Packet {
            ts_ns: self.last_ns,
            wire_len,
            link: interface.link,
            data_at: DATA,
            data_bytes: captured,
            record_bytes: block.len(),
        })
    }
}

fn section_order(bytes: &[u8]) -> Option<Order> {
    match Order::Little.u32(bytes, 8) {
        0x1a2b_3c4d => Some(Order::Little),
        0x4d3c_2b1a => Some(Order::Big),
        _ => None,
    }
}

/// `if_tsresol`: a power of ten, or of two with the top bit set. None: finer than anything real.
fn units_per_second(resolution: u8) -> Option<u128> {
    let exponent = u32::from(resolution & 0x7f);
    match resolution & 0x80 {
        0 if exponent <= 18 => Some(10u128.pow(exponent)),
        0x80 if exponent <= 63 => Some(1 << exponent),
        _ => None,
    }
}
