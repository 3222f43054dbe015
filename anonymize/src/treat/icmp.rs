//! ICMP for IPv4: type and code; identifiers permuted, sequence numbers kept; gateway and router addresses
//! mapped; times, masks, lifetimes and extension objects gone. What it quotes is treated as a packet.

use super::Anonymizer;
use super::scale::mtu_class;
use crate::dissect::be16;
use crate::dissect::icmp::ICMP_ROUTER_ADVERTISEMENT;
use crate::fields::{FieldRule, NONE, REAL};

const DESTINATION_UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;
const REDIRECT: u8 = 5;
const PARAMETER_PROBLEM: u8 = 12;

/// ICMP for IPv4.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new("ICMP, ICMPv6", "type, code", [NONE, "kept", "kept", REAL]),
    FieldRule::new(
        "ICMP, ICMPv6",
        "identifier",
        [NONE, NONE, "permuted: 16 bits", REAL],
    ),
    FieldRule::new("ICMP, ICMPv6", "sequence number", [NONE, NONE, "kept", REAL]),
    FieldRule::new(
        "ICMP, ICMPv6",
        "quoted packet",
        [NONE, NONE, "treated as a packet", "headers only"],
    ),
    FieldRule::new(
        "ICMP, ICMPv6",
        "extension objects (RFC 4884)",
        [NONE, NONE, "dropped", "dropped"],
    ),
    FieldRule::new(
        "ICMP, ICMPv6",
        "next-hop MTU",
        [NONE, NONE, "class: 0, 576, 1280, 1400, 1480, 1500, 9000", REAL],
    ),
    FieldRule::new(
        "ICMP, ICMPv6",
        "pointer of a parameter problem",
        [NONE, NONE, "kept", REAL],
    ),
    FieldRule::new(
        "ICMP",
        "gateway, router address",
        [NONE, NONE, "as IPv4 addresses", REAL],
    ),
    FieldRule::new(
        "ICMP",
        "timestamps, address mask, lifetime, preference",
        [NONE, NONE, "zero", REAL],
    ),
];

impl Anonymizer {
    pub(super) fn icmp(&self, real: &[u8], out: &mut [u8]) {
        out[0..2].copy_from_slice(&real[0..2]);
        match (real[0], real[1]) {
            // Echo, timestamp, address mask: requests and replies.
            (0 | 8 | 13 | 14 | 17 | 18, _) => self.icmp_identifier(real, out),
            (REDIRECT, _) => self.write_v4(&real[4..8], &mut out[4..8]),
            (DESTINATION_UNREACHABLE, FRAGMENTATION_NEEDED) => {
                let mtu = mtu_class(be16(real, 6).into()) as u16;
                out[6..8].copy_from_slice(&mtu.to_be_bytes());
            }
            (PARAMETER_PROBLEM, _) => out[4] = real[4],
            (ICMP_ROUTER_ADVERTISEMENT, _) if real.len() > 8 => {
                // Number of addresses and entry size; the lifetime is not released, nor are preferences.
                out[4..6].copy_from_slice(&real[4..6]);
                for (real, out) in real[8..].chunks_exact(8).zip(out[8..].chunks_exact_mut(8)) {
                    self.write_v4(real, out);
                }
            }
            _ => {}
        }
    }

    /// Identifier and sequence number, bytes 4 to 8 of queries in both families.
    pub(super) fn icmp_identifier(&self, real: &[u8], out: &mut [u8]) {
        out[4..6].copy_from_slice(&self.keys.icmp_id.map(be16(real, 4)).to_be_bytes());
        out[6..8].copy_from_slice(&real[6..8]);
    }
}
