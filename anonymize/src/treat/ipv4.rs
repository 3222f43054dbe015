//! IPv4: addresses, DSCP/ECN and fragment bits kept, identification permuted per sender, TTL as hops, options
//! with their addresses mapped and everything else in them gone.

use super::address::Address;
use super::scale::hops_as_ttl;
use super::{Anonymizer, Flow};
use crate::dissect::{be16, be32};
use crate::fields::{FieldRule, NONE, REAL};

pub(crate) const END_OF_OPTIONS: u8 = 0;
pub(crate) const NO_OPERATION: u8 = 1;
const RECORD_ROUTE: u8 = 7;
const TIMESTAMP: u8 = 68;
pub(crate) const LOOSE_SOURCE_ROUTE: u8 = 131;
pub(crate) const STRICT_SOURCE_ROUTE: u8 = 137;
const ROUTER_ALERT: u8 = 148;
/// Identifications that are permuted: all but 0.
const IP_IDS: u32 = (1 << 16) - 1;

/// IPv4; addresses are in `address.rs`.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new(
        "IPv4",
        "version, header length, total length, protocol",
        [
            "protocol: counter, k-threshold",
            "version, protocol",
            "kept",
            REAL,
        ],
    ),
    FieldRule::new("IPv4", "DSCP, ECN", [NONE, NONE, "kept", REAL]),
    FieldRule::new(
        "IPv4",
        "identification",
        [NONE, NONE, "permuted per sender, 0 kept", REAL],
    ),
    FieldRule::new(
        "IPv4",
        "flags, fragment offset",
        [NONE, "whether any was a fragment", "kept", REAL],
    ),
    FieldRule::new("IPv4", "time to live", [NONE, NONE, "255 minus the hops", REAL]),
    FieldRule::new(
        "IPv4",
        "options: routes, timestamps",
        [NONE, NONE, "addresses mapped, times zero", REAL],
    ),
    FieldRule::new("IPv4", "options: router alert", [NONE, NONE, "kept", REAL]),
    FieldRule::new(
        "IPv4",
        "options: others",
        [NONE, NONE, "no-operations of the same length", REAL],
    ),
];

impl Anonymizer {
    pub(super) fn ipv4(&self, real: &[u8], out: &mut [u8], flow: &mut Flow) {
        let (Some((real, options)), Some((out, out_options))) =
            (real.split_first_chunk::<20>(), out.split_first_chunk_mut::<20>())
        else {
            return;
        };
        let addresses = [be32(real, 12), be32(real, 16)];
        let mapped = self.map_v4_few(addresses);
        *flow = Flow {
            src: Address::V4(addresses[0]),
            dst: Address::V4(addresses[1]),
            released_dst: Address::V4(mapped[1]),
        };
        // Version and header length, DSCP and ECN, total length.
        out[0..4].copy_from_slice(&real[0..4]);
        out[4..6].copy_from_slice(&self.ip_id(be16(real, 4), addresses[0]).to_be_bytes());
        // Flags and fragment offset.
        out[6..8].copy_from_slice(&real[6..8]);
        out[8] = hops_as_ttl(real[8]);
        out[9] = real[9];
        out[12..16].copy_from_slice(&mapped[0].to_be_bytes());
        out[16..20].copy_from_slice(&mapped[1].to_be_bytes());
        if !options.is_empty() {
            self.ipv4_options(options, out_options);
        }
    }

    /// A permutation of 1..=65535 for each sender: two keyed rotations around a secret table. 0 stays 0, which
    /// senders of unfragmentable packets use.
    fn ip_id(&self, id: u16, src: u32) -> u16 {
        if id == 0 {
            return 0;
        }
        let [first, second, third] = self.ip_id_rotations(src);
        // Both are below the modulus.
        let rotate = |value: u16, by: u16| {
            let sum = u32::from(value) + u32::from(by);
            sum.checked_sub(IP_IDS).unwrap_or(sum) as u16
        };
        let once = self.keys.ip_id.map(rotate(id - 1, first));
        let twice = self.keys.ip_id.map(rotate(once, second));
        rotate(twice, third) + 1
    }

    /// By how much identifications of a sender are rotated before, between and after the table: below 65535 each.
    fn ip_id_rotations(&self, src: u32) -> [u16; 3] {
        let [packed] = self.memory.ip_id_host.find([src.into()]).unwrap_or_else(|| {
            let block = self.keys.ip_id_host.block(src.into());
            let rotation = |at: u32| u64::from((block >> (32 * at)) as u32 % IP_IDS);
            let packed = [rotation(0) | rotation(1) << 16 | rotation(2) << 32];
            self.memory.ip_id_host.keep([src.into()], packed);
            packed
        });
        [packed as u16, (packed >> 16) as u16, (packed >> 32) as u16]
    }

    /// Type and length kept where the option is known; unknown ones, and the rest after a broken one, become
    /// no-operations.
    fn ipv4_options(&self, real: &[u8], out: &mut [u8]) {
        out.fill(NO_OPERATION);
        let mut at = 0;
        while at < real.len() {
            let (kind, len) = match (real[at], real.get(at + 1)) {
                (END_OF_OPTIONS, _) => return,
                (NO_OPERATION, _) => {
                    at += 1;
                    continue;
                }
                (kind, Some(len)) => (kind, usize::from(*len)),
                (_, None) => return,
            };
            let (Some(option), Some(room)) = (real.get(at..at + len), out.get_mut(at..at + len)) else {
                return;
            };
            match kind {
                _ if len < 2 => return,
                RECORD_ROUTE | LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE if len >= 3 && len % 4 == 3 => {
                    room[0..3].copy_from_slice(&option[0..3]);
                    for (real, out) in option[3..].chunks_exact(4).zip(room[3..].chunks_exact_mut(4)) {
                        self.write_slot(real, out);
                    }
                }
                TIMESTAMP if len >= 4 && len % 4 == 0 => self.timestamp_option(option, room),
                ROUTER_ALERT if len == 4 => room.copy_from_slice(&[ROUTER_ALERT, 4, 0, 0]),
                _ => {}
            }
            at += len;
        }
    }

    /// RFC 791: flag 0 is times alone, 1 and 3 are pairs of address and time. Times become zero.
    fn timestamp_option(&self, option: &[u8], room: &mut [u8]) {
        room.fill(0);
        room[0..4].copy_from_slice(&option[0..4]);
        if matches!(option[3] & 0xf, 1 | 3) {
            for (real, out) in option[4..].chunks_exact(8).zip(room[4..].chunks_exact_mut(8)) {
                self.write_slot(&real[..4], &mut out[..4]);
            }
        }
    }

    /// A slot of a route that no router has filled yet holds no address.
    fn write_slot(&self, real: &[u8], out: &mut [u8]) {
        out.fill(0);
        if real != [0; 4] {
            self.write_v4(real, out);
        }
    }
}
