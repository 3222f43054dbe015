//! IPv6 and its extension headers: addresses, traffic class kept, flow label permuted, hop limit as hops;
//! segments of routing headers and the home address mapped; unknown options become padding, unknown routing
//! data zero; fragment identification permuted per sender.

use super::address::Address;
use super::identifier::keeping_zero;
use super::scale::hops_as_ttl;
use super::{Anonymizer, Flow};
use crate::dissect::be32;
use crate::fields::{FieldRule, NONE, REAL};

pub(crate) const PAD_1: u8 = 0;
pub(super) const PAD_N: u8 = 1;
const ROUTER_ALERT: u8 = 5;
const JUMBO_PAYLOAD: u8 = 0xc2;
pub(crate) const HOME_ADDRESS: u8 = 0xc9;
pub(crate) const ROUTING_TYPE_0: u8 = 0;
pub(crate) const ROUTING_TYPE_2: u8 = 2;
pub(crate) const SEGMENT_ROUTING: u8 = 4;
const FLOW_LABEL: u32 = 0x000f_ffff;

/// IPv6 and its extension headers; addresses are in `address.rs`.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new(
        "IPv6",
        "version, payload length, next header",
        [
            "protocol: counter, k-threshold",
            "version, protocol",
            "kept",
            REAL,
        ],
    ),
    FieldRule::new("IPv6", "traffic class", [NONE, NONE, "kept", REAL]),
    FieldRule::new(
        "IPv6",
        "flow label",
        [NONE, NONE, "permuted: 20 bits, 0 kept", REAL],
    ),
    FieldRule::new("IPv6", "hop limit", [NONE, NONE, "255 minus the hops", REAL]),
    FieldRule::new(
        "IPv6",
        "fragment offset, M",
        [NONE, "whether any was a fragment", "kept", REAL],
    ),
    FieldRule::new(
        "IPv6",
        "fragment identification",
        [NONE, NONE, "permuted per sender: 32 bits", REAL],
    ),
    FieldRule::new(
        "IPv6",
        "routing header: segments",
        [
            NONE,
            NONE,
            "mapped (types 0, 2, 4); other data zero",
            "as IPv6 addresses (types 0, 2, 4); other data zero",
        ],
    ),
    FieldRule::new(
        "IPv6",
        "options: home address",
        [NONE, NONE, "mapped", "as IPv6 addresses"],
    ),
    FieldRule::new(
        "IPv6",
        "options: router alert, jumbo length",
        [NONE, NONE, "kept", REAL],
    ),
    FieldRule::new(
        "IPv6",
        "options: others",
        [NONE, NONE, "padding of the same length", "real; padding empty"],
    ),
];

impl Anonymizer {
    pub(super) fn ipv6(&self, real: &[u8], out: &mut [u8], flow: &mut Flow) {
        let address = |at: usize| {
            real[at..]
                .first_chunk()
                .map_or(0, |bytes| u128::from_be_bytes(*bytes))
        };
        let addresses = [address(8), address(24)];
        let mapped = self.map_v6_few(addresses);
        *flow = Flow {
            src: Address::V6(addresses[0]),
            dst: Address::V6(addresses[1]),
            released_dst: Address::V6(mapped[1]),
        };
        let word = be32(real, 0);
        let label = self.flow_label(word & FLOW_LABEL);
        out[0..4].copy_from_slice(&(word & !FLOW_LABEL | label).to_be_bytes());
        // Payload length and next header.
        out[4..7].copy_from_slice(&real[4..7]);
        out[7] = hops_as_ttl(real[7]);
        out[8..24].copy_from_slice(&mapped[0].to_be_bytes());
        out[24..40].copy_from_slice(&mapped[1].to_be_bytes());
    }

    /// 0 means "no label" (RFC 6437) and stays.
    fn flow_label(&self, label: u32) -> u32 {
        keeping_zero(label, |label| self.keys.flow_label.map(label, 0))
    }

    pub(super) fn ipv6_fragment(&self, real: &[u8], out: &mut [u8], flow: &Flow) {
        out[0] = real[0];
        // Offset and M; the reserved bits are not released.
        out[2] = real[2];
        out[3] = real[3] & 0xf9;
        let Address::V6(src) = flow.src else { return };
        let host = self.keys.ipv6_fragment_host.block(src) as u64;
        out[4..8].copy_from_slice(
            &self
                .keys
                .ipv6_fragment_id
                .map32(be32(real, 4), host)
                .to_be_bytes(),
        );
    }

    /// Hop-by-hop and destination options. A broken option turns the rest into padding of one byte each.
    pub(super) fn ipv6_options(&self, real: &[u8], out: &mut [u8]) {
        out[0..2].copy_from_slice(&real[0..2]);
        whole_options(real, out, |option, room| {
            let len = option[1];
            room[0..2].copy_from_slice(&[PAD_N, len]);
            match (option[0], len) {
                // A value that routers act on, and a length: both as on the wire.
                (ROUTER_ALERT, 2) | (JUMBO_PAYLOAD, 4) => room.copy_from_slice(option),
                (HOME_ADDRESS, 16) => {
                    room[0] = HOME_ADDRESS;
                    self.write_v6(&option[2..], &mut room[2..]);
                }
                _ => {}
            }
        });
    }

    /// RFC 5095 type 0, RFC 6275 type 2, RFC 8754 segment routing; of others the fixed four bytes alone.
    pub(super) fn routing(&self, real: &[u8], out: &mut [u8]) {
        out[0..4].copy_from_slice(&real[0..4]);
        let segments = match real[2] {
            ROUTING_TYPE_0 | ROUTING_TYPE_2 => usize::MAX,
            SEGMENT_ROUTING => {
                out[4] = real[4];
                usize::from(real[4]) + 1
            }
            _ => 0,
        };
        for (real, out) in real[8..]
            .chunks_exact(16)
            .zip(out[8..].chunks_exact_mut(16))
            .take(segments)
        {
            self.write_v6(real, out);
        }
    }
}

/// Hands each option of two bytes and more, and its room in `out`, to `show`, up to the first that is broken.
/// `out` has the length of `real`.
pub(super) fn whole_options(real: &[u8], out: &mut [u8], mut show: impl FnMut(&[u8], &mut [u8])) {
    let mut at = 2;
    while at < real.len() {
        if real[at] == PAD_1 {
            at += 1;
            continue;
        }
        let Some(&len) = real.get(at + 1) else { return };
        let end = at + 2 + usize::from(len);
        let (Some(option), Some(room)) = (real.get(at..end), out.get_mut(at..end)) else {
            return;
        };
        show(option, room);
        at = end;
    }
}
