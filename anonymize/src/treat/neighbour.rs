//! Neighbour discovery options (RFC 4861, 8106): link-layer addresses through the MAC map, prefixes and DNS
//! servers through the IPv6 map, MTU by class. Every other option, the redirected packet and the DNS search
//! list among them, is left out.

use super::Anonymizer;
use super::scale::mtu_class;
use crate::dissect::be32;
use crate::fields::{FieldRule, NONE, REAL};

pub(super) const SOURCE_LINK_ADDRESS: u8 = 1;
pub(super) const TARGET_LINK_ADDRESS: u8 = 2;
pub(super) const PREFIX_INFORMATION: u8 = 3;
pub(super) const MTU: u8 = 5;
pub(super) const RECURSIVE_DNS_SERVER: u8 = 25;
pub(super) const DNS_SEARCH_LIST: u8 = 31;
/// On-link and autonomous flags.
const PREFIX_FLAGS: u8 = 0xc0;

/// Options of neighbour discovery.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new(
        "ICMPv6",
        "option: link-layer address",
        [
            NONE,
            NONE,
            "as Ethernet addresses",
            "vendor half kept, rest permuted",
        ],
    ),
    FieldRule::new(
        "ICMPv6",
        "option: prefix, DNS server",
        [
            NONE,
            NONE,
            "as IPv6 addresses; lifetimes zero",
            "as IPv6 addresses",
        ],
    ),
    FieldRule::new(
        "ICMPv6",
        "option: MTU",
        [NONE, NONE, "class, as next-hop MTU", REAL],
    ),
    FieldRule::new("ICMPv6", "option: search list", [NONE, NONE, "left out", REAL]),
    FieldRule::new(
        "ICMPv6",
        "options: redirected packet, others",
        [NONE, NONE, "left out", "left out"],
    ),
];

impl Anonymizer {
    /// Writes the released options one after the other; returns their length, at most that of `real`.
    pub(super) fn neighbour_options(&self, real: &[u8], out: &mut [u8]) -> usize {
        write_options(real, out, |kind, option, room| {
            let released = self.neighbour_option(kind, option, room);
            if released {
                room[0..2].copy_from_slice(&option[0..2]);
            }
            released
        })
    }

    /// Writes one option's value; false if the option is left out (then nothing was written).
    fn neighbour_option(&self, kind: u8, option: &[u8], room: &mut [u8]) -> bool {
        match (kind, option.len()) {
            (SOURCE_LINK_ADDRESS | TARGET_LINK_ADDRESS, 8) => self.write_mac(&option[2..8], &mut room[2..8]),
            (PREFIX_INFORMATION, 32) => {
                room[2] = option[2].min(128);
                room[3] = option[3] & PREFIX_FLAGS;
                self.write_v6(&option[16..], &mut room[16..]);
                clear_beyond(&mut room[16..32], room_bits(option[2]));
            }
            (MTU, 8) => room[4..8].copy_from_slice(&mtu_class(be32(option, 4)).to_be_bytes()),
            (RECURSIVE_DNS_SERVER, 24..) => {
                let servers = option[8..].chunks_exact(16);
                for (real, out) in servers.zip(room[8..].chunks_exact_mut(16)) {
                    self.write_v6(real, out);
                }
            }
            _ => return false,
        }
        true
    }
}

/// Lets `write` write the options one after the other, those left out for which it returns false; returns their
/// length, at most that of `real`.
pub(super) fn write_options(
    real: &[u8],
    out: &mut [u8],
    write: impl Fn(u8, &[u8], &mut [u8]) -> bool,
) -> usize {
    let (mut from, mut to) = (0, 0);
    // Dissection stopped at the first option that is broken: all of these are whole.
    while let Some(&[kind, units]) = real[from..].first_chunk() {
        let len = usize::from(units) * 8;
        let (Some(option), Some(room)) = (real.get(from..from + len), out.get_mut(to..to + len)) else {
            break;
        };
        if len == 0 {
            break;
        }
        if write(kind, option, room) {
            to += len;
        }
        from += len;
    }
    to
}

/// Up to 64 bits the map preserves prefixes, and the rest of the field can be cleared, as on the wire. A longer
/// prefix is mapped as an address.
fn room_bits(prefix_len: u8) -> usize {
    if prefix_len <= 64 { prefix_len.into() } else { 128 }
}

fn clear_beyond(address: &mut [u8], bits: usize) {
    for (at, byte) in address.iter_mut().enumerate() {
        let kept = bits.saturating_sub(at * 8).min(8);
        *byte &= !(0xffu16 >> kept) as u8;
    }
}
