//! TCP: ports, flags kept, sequence numbers minus a keyed offset of their direction, window as a power of two,
//! urgent pointer zero, options in one order: segment size class, selective acknowledgement, window scale.
//! Every other option (timestamps, TFO, MPTCP, MD5, AO, unknown) becomes no-operations of the same length.

use std::cmp::Ordering;

use super::address::Address;
use super::ipsec::PORTS;
use super::scale::{mss_class, window_log2};
use super::{Anonymizer, Flow};
use crate::dissect::{be16, be32};
use crate::fields::{FieldRule, NONE, REAL};

const FLAG_ACK: u8 = 0x10;
pub(super) const END_OF_OPTIONS: u8 = 0;
pub(super) const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
/// RFC 7323 section 2.3.
const MAX_WINDOW_SCALE: u8 = 14;
/// How nearly everybody writes a timestamp that is the only option (RFC 7323, appendix A); its 8 bytes follow.
const TIMESTAMP_ALONE: [u8; 4] = [NO_OPERATION, NO_OPERATION, 8, 10];
/// Allow-listed kinds, in the order of their release.
const RELEASE_ORDER: [u8; 4] = [MAXIMUM_SEGMENT_SIZE, SACK_PERMITTED, WINDOW_SCALE, SACK];

/// TCP; ports are in `port.rs`.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new(
        "TCP",
        "sequence and acknowledgement number",
        [NONE, NONE, "minus a keyed offset of their direction", REAL],
    ),
    FieldRule::new("TCP", "flags", [NONE, "union", "kept", REAL]),
    FieldRule::new("TCP", "window", [NONE, NONE, "floored to a power of two", REAL]),
    FieldRule::new("TCP", "urgent pointer", [NONE, NONE, "zero", REAL]),
    FieldRule::new(
        "TCP",
        "options: maximum segment size",
        [NONE, NONE, "class: 0, 536, 1220, 1460, 8960", REAL],
    ),
    FieldRule::new(
        "TCP",
        "options: window scale, SACK permitted",
        [NONE, NONE, "kept", REAL],
    ),
    FieldRule::new(
        "TCP",
        "options: SACK",
        [NONE, NONE, "as acknowledgement numbers", REAL],
    ),
    FieldRule::new(
        "TCP",
        "options: MD5, AO, fast open",
        [
            NONE,
            NONE,
            "no-operations of the same length",
            "no-operations of the same length",
        ],
    ),
    FieldRule::new(
        "TCP",
        "options: timestamps, MPTCP, others",
        [NONE, NONE, "no-operations of the same length", REAL],
    ),
];

impl Anonymizer {
    /// RFC 9293. All offsets within 20 bytes, which dissection checked.
    pub(super) fn tcp(&self, real: &[u8], out: &mut [u8], flow: &Flow) {
        let offsets = self.offsets(real, flow);
        let (Some((fixed, options)), Some((out, out_options))) =
            (real.split_first_chunk::<20>(), out.split_first_chunk_mut::<20>())
        else {
            return;
        };
        self.write_ports(fixed, out);
        out[4..8].copy_from_slice(&be32(fixed, 4).wrapping_sub(offsets[0]).to_be_bytes());
        let flags = fixed[13];
        if flags & FLAG_ACK != 0 {
            out[8..12].copy_from_slice(&be32(fixed, 8).wrapping_sub(offsets[1]).to_be_bytes());
        }
        out[12] = fixed[12] & 0xf0;
        out[13] = flags;
        out[14..16].copy_from_slice(&window_log2(be16(fixed, 14)).to_be_bytes());
        if !options.is_empty() {
            write_options(options, out_options, offsets[1]);
        }
    }

    /// What an ICMP error quotes: ports and sequence number.
    pub(super) fn tcp_stub(&self, real: &[u8], out: &mut [u8], flow: &Flow) {
        let offsets = self.offsets(real, flow);
        self.write_ports(real, out);
        out[4..8].copy_from_slice(&be32(real, 4).wrapping_sub(offsets[0]).to_be_bytes());
    }

    /// The offsets of this direction and of the opposite one: two words of one block, which both directions compute
    /// from the lower end and the higher.
    fn offsets(&self, real: &[u8], flow: &Flow) -> [u32; 2] {
        let ports = be32(real, 0);
        let [own_port, opposite_port] = [be16(real, 0), be16(real, 2)];
        let turned = ports.rotate_left(16);
        let (order, block) = match (flow.src, flow.dst) {
            (Address::V4(src), Address::V4(dst)) => {
                let order = (src, own_port).cmp(&(dst, opposite_port));
                let [low, high, ports] = if order.is_le() {
                    [src, dst, ports]
                } else {
                    [dst, src, turned]
                };
                (order, self.sequence_block_v4(low, high, ports, PORTS))
            }
            (src, dst) => {
                let order = (src, own_port).cmp(&(dst, opposite_port));
                let block = if order.is_le() {
                    self.sequence_block(src, dst, ports, PORTS)
                } else {
                    self.sequence_block(dst, src, turned, PORTS)
                };
                (order, block)
            }
        };
        let [low, high] = [block as u32, (block >> 32) as u32];
        match order {
            Ordering::Less => [low, high],
            // One end that talks to itself has one direction.
            Ordering::Equal => [low, low],
            Ordering::Greater => [high, low],
        }
    }
}

/// `out` has the length of `real`: the data offset, and with it the payload's length, stays true.
fn write_options(real: &[u8], out: &mut [u8], opposite: u32) {
    out.fill(NO_OPERATION);
    // Most of all packets: nothing to release.
    if real.len() == 12 && real.starts_with(&TIMESTAMP_ALONE) {
        return;
    }
    // The first of a kind counts: a repetition could carry information that no receiver reads.
    let mut first = [None; RELEASE_ORDER.len()];
    for option in options(real).filter(|option| is_well_formed(option)) {
        if let Some(place) = RELEASE_ORDER.iter().position(|kind| *kind == option[0]) {
            first[place].get_or_insert(option);
        }
    }
    let mut at = 0;
    for option in first.into_iter().flatten() {
        let kind = option[0];
        let Some(room) = out.get_mut(at..at + option.len()) else {
            return;
        };
        at += option.len();
        room[0] = kind;
        room[1] = option.len() as u8;
        match kind {
            MAXIMUM_SEGMENT_SIZE => room[2..4].copy_from_slice(&mss_class(be16(option, 2)).to_be_bytes()),
            WINDOW_SCALE => room[2] = option[2].min(MAX_WINDOW_SCALE),
            SACK => {
                for edge in (2..option.len()).step_by(4) {
                    let relative = be32(option, edge).wrapping_sub(opposite);
                    room[edge..edge + 4].copy_from_slice(&relative.to_be_bytes());
                }
            }
            _ => {}
        }
    }
}

fn is_well_formed(option: &[u8]) -> bool {
    match option[0] {
        MAXIMUM_SEGMENT_SIZE => option.len() == 4,
        WINDOW_SCALE => option.len() == 3,
        SACK_PERMITTED => option.len() == 2,
        SACK => matches!(option.len(), 10 | 18 | 26 | 34),
        _ => false,
    }
}

/// The options longer than a byte, up to the end mark or the first that does not fit.
fn options(area: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = area;
    std::iter::from_fn(move || {
        while let [NO_OPERATION, after @ ..] = rest {
            rest = after;
        }
        let (kind, len) = (*rest.first()?, usize::from(*rest.get(1)?));
        if kind == END_OF_OPTIONS || len < 2 {
            return None;
        }
        let (option, after) = rest.split_at_checked(len)?;
        rest = after;
        Some(option)
    })
}
