//! ICMPv6: type and code; echo identifiers permuted; multicast listener groups and neighbour discovery targets
//! mapped. What an error quotes is treated as a packet.

use super::Anonymizer;
use super::scale::mtu_class;
use crate::dissect::be32;
use crate::dissect::icmp::neighbour_discovery_fixed_len;
use crate::dissect::multicast::{MLD_QUERY, MLD_REPORT_V2};
use crate::fields::{FieldRule, NONE, REAL};

const PACKET_TOO_BIG: u8 = 2;
const PARAMETER_PROBLEM: u8 = 4;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
pub(super) const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// A pointer beyond any header that a quote holds tells of payload.
const MAX_POINTER: u32 = 1280;

/// ICMPv6; what both families share is in `icmp.rs`, options of neighbour discovery in `neighbour.rs`.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new(
        "ICMPv6",
        "target, destination of neighbour discovery",
        [NONE, NONE, "as IPv6 addresses", "as IPv6 addresses"],
    ),
    FieldRule::new(
        "ICMPv6",
        "router advertisement: hop limit, flags",
        [NONE, NONE, "kept", REAL],
    ),
    FieldRule::new(
        "ICMPv6",
        "router advertisement: lifetime",
        [NONE, NONE, "zero or 1800", REAL],
    ),
    FieldRule::new(
        "ICMPv6",
        "router advertisement: timers",
        [NONE, NONE, "zero", REAL],
    ),
];

impl Anonymizer {
    /// Returns the released length: neighbour discovery options that are not on the allow-list are left out.
    pub(super) fn icmp6(&self, real: &[u8], out: &mut [u8]) -> usize {
        out[0..2].copy_from_slice(&real[0..2]);
        match real[0] {
            PACKET_TOO_BIG => out[4..8].copy_from_slice(&mtu_class(be32(real, 4)).to_be_bytes()),
            PARAMETER_PROBLEM if be32(real, 4) <= MAX_POINTER => out[4..8].copy_from_slice(&real[4..8]),
            ECHO_REQUEST | ECHO_REPLY => self.icmp_identifier(real, out),
            MLD_QUERY | 131 | 132 => self.listener_message(real, out),
            MLD_REPORT_V2 => self.group_records(real, out, 16),
            kind => {
                let Some(fixed_len) = neighbour_discovery_fixed_len(kind) else {
                    return real.len();
                };
                match kind {
                    // Hop limit and flags; of the lifetime only whether there is one.
                    ROUTER_ADVERTISEMENT => {
                        out[4..6].copy_from_slice(&real[4..6]);
                        let lives = real[6..8] != [0, 0];
                        out[6..8].copy_from_slice(&if lives { 1800u16 } else { 0 }.to_be_bytes());
                    }
                    // Router, solicited, override.
                    NEIGHBOUR_ADVERTISEMENT => out[4] = real[4] & 0xe0,
                    _ => {}
                }
                // Target, and for a redirect the destination: whole addresses from byte 8 to the options.
                if kind != ROUTER_ADVERTISEMENT {
                    let targets = real[8..fixed_len].chunks_exact(16);
                    for (real, out) in targets.zip(out[8..fixed_len].chunks_exact_mut(16)) {
                        self.write_v6(real, out);
                    }
                }
                return fixed_len + self.neighbour_options(&real[fixed_len..], &mut out[fixed_len..]);
            }
        }
        real.len()
    }
}
