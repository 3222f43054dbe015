//! Level `headers`: the real headers, written field by field out of the captured ones. Three things are not real:
//! the NIC part of a MAC, wherever it stands (link header, ARP, neighbour discovery, EUI-64 interface ids,
//! solicited-node groups), cookies and signatures in TCP options, and checksums. No byte of payload is ever copied,
//! no byte that no header format names, and nothing depends on an earlier packet.

use super::Anonymizer;
use super::icmp6::ROUTER_ADVERTISEMENT;
use super::ipv6::{HOME_ADDRESS, PAD_1, PAD_N, ROUTING_TYPE_0, ROUTING_TYPE_2, SEGMENT_ROUTING};
use super::neighbour;
use super::tcp::{END_OF_OPTIONS, NO_OPERATION};
use crate::checksum::fix_checksums;
use crate::dissect::icmp::neighbour_discovery_fixed_len;
use crate::dissect::{Dissection, Layer, LayerKind, be16};

/// TCP options that carry a cookie or a signature: MD5 (RFC 2385), AO (RFC 5925), Fast Open (RFC 7413).
const TCP_SECRETS: [u8; 3] = [19, 29, 34];
/// Options of experiments (RFC 6994), told apart by 16 bits.
const TCP_EXPERIMENTS: [u8; 2] = [253, 254];
/// Fast Open, before it had a number of its own.
const EXPERIMENT_FAST_OPEN: u16 = 0xf989;
/// Individual/group bit of a MAC, in the first byte.
const GROUP: u8 = 1;
/// Where, in an address, 24 bits may be those of a MAC.
pub(crate) const FIRST_NIC_BIT: u8 = 104;
/// Solicited-node groups (RFC 4291 section 2.7.1): 24 bits of a host's address follow.
const SOLICITED_NODE: [u8; 13] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff];
/// MAC addresses of these groups (RFC 2464 section 7).
const SOLICITED_NODE_MAC: [u8; 3] = [0x33, 0x33, 0xff];

impl Anonymizer {
    /// Appends what level `headers` shows of a packet to `out`; returns the bytes appended. A packet that was
    /// denied is shown up to its last valid header. `data` need not reach further than the headers; `dissection`
    /// must be that of `data`.
    pub fn show_headers(&self, data: &[u8], dissection: &Dissection, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.resize(start + dissection.header_len, 0);
        let frame = &mut out[start..];
        let mut used = 0;
        for layer in dissection.layers() {
            let from = layer.offset as usize;
            let (real, shown) = (layer.of(data), &mut frame[from..from + layer.len as usize]);
            used = from + self.show_layer(layer, real, shown);
        }
        out.truncate(start + used);
        fix_checksums(&mut out[start..], dissection.layers());
        used
    }

    /// Writes one header; returns its shown length (shorter than the real one where options were left out).
    fn show_layer(&self, layer: &Layer, real: &[u8], out: &mut [u8]) -> usize {
        match layer.kind {
            LayerKind::Ethernet => {
                self.show_mac(&real[0..6], &mut out[0..6]);
                self.show_mac(&real[6..12], &mut out[6..12]);
                out[12..14].copy_from_slice(&real[12..14]);
            }
            LayerKind::Arp => {
                out.copy_from_slice(real);
                self.show_mac(&real[8..14], &mut out[8..14]);
                self.show_mac(&real[18..24], &mut out[18..24]);
            }
            LayerKind::Ipv4 => {
                out[..20].copy_from_slice(&real[..20]);
                show_ipv4_options(&real[20..], &mut out[20..]);
            }
            LayerKind::Ipv6 => {
                out[..8].copy_from_slice(&real[..8]);
                self.show_addresses(&real[8..], &mut out[8..]);
            }
            LayerKind::HopByHop | LayerKind::DestinationOptions => self.show_ipv6_options(real, out),
            LayerKind::Routing => self.show_routing(real, out),
            LayerKind::Tcp => show_tcp(real, out),
            LayerKind::Udp => {
                out[..6].copy_from_slice(&real[..6]);
                // A mark that there is a checksum; its value comes from the shown bytes.
                out[7] = u8::from(real[6..8] != [0, 0]);
            }
            LayerKind::Icmp6 => return self.show_icmp6(real, out),
            LayerKind::Vlan
            | LayerKind::Fragment
            | LayerKind::Ah
            | LayerKind::Esp
            | LayerKind::TcpStub
            | LayerKind::Icmp => out.copy_from_slice(real),
        }
        real.len()
    }

    /// The NIC part of a MAC, or the 24 bits of an address that stand for one. Not bound to the vendor: a
    /// solicited-node group tells 24 bits alone, and has to agree with the address that it stands for.
    fn show_nic(&self, real: &[u8], out: &mut [u8]) {
        let real = u32::from_be_bytes([0, real[0], real[1], real[2]]);
        // Zero is no device: it stays, and the one image that would be zero goes on to that of zero.
        let permute = |value| self.keys.headers_nic.map(value, 0);
        let image = match (real, permute(real)) {
            (0, _) => 0,
            (_, 0) => permute(0),
            (_, image) => image,
        };
        out.copy_from_slice(&image.to_be_bytes()[1..]);
    }

    /// Vendor kept, NIC part permuted. Group addresses name no device and stay, but for those of solicited nodes.
    fn show_mac(&self, real: &[u8], out: &mut [u8]) {
        out.copy_from_slice(real);
        if !real.first_chunk().is_some_and(|mac| is_shown_mac(*mac)) {
            self.show_nic(&real[3..6], &mut out[3..6]);
        }
    }

    /// An IPv6 address. An EUI-64 interface id (RFC 4291 appendix A) is shown as that of the shown MAC.
    fn show_address(&self, real: &[u8], out: &mut [u8]) {
        out.copy_from_slice(real);
        if !real
            .first_chunk()
            .is_some_and(|address| is_shown_address(*address))
        {
            self.show_nic(&real[13..16], &mut out[13..16]);
        }
    }

    /// Whole addresses, one after the other; a rest stays zero.
    fn show_addresses(&self, real: &[u8], out: &mut [u8]) {
        for (real, out) in real.chunks_exact(16).zip(out.chunks_exact_mut(16)) {
            self.show_address(real, out);
        }
    }

    /// Hop-by-hop and destination options as they are, padding empty. After a broken option nothing is shown.
    fn show_ipv6_options(&self, real: &[u8], out: &mut [u8]) {
        out[0..2].copy_from_slice(&real[0..2]);
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
            match (option[0], len) {
                (PAD_N, _) => room[0..2].copy_from_slice(&option[0..2]),
                (HOME_ADDRESS, 16) => {
                    room[0..2].copy_from_slice(&option[0..2]);
                    self.show_address(&option[2..], &mut room[2..]);
                }
                _ => room.copy_from_slice(option),
            }
            at = end;
        }
    }

    /// The segments of known types; of others the fixed four bytes, as formats that shorten addresses exist.
    fn show_routing(&self, real: &[u8], out: &mut [u8]) {
        out[0..4].copy_from_slice(&real[0..4]);
        let segments = match real[2] {
            ROUTING_TYPE_0 | ROUTING_TYPE_2 => usize::MAX,
            SEGMENT_ROUTING => {
                // Last entry, flags, tag.
                out[4..8].copy_from_slice(&real[4..8]);
                usize::from(real[4]) + 1
            }
            _ => return,
        };
        let end = real.len().min(8usize.saturating_add(segments.saturating_mul(16)));
        self.show_addresses(&real[8..end], &mut out[8..end]);
    }

    fn show_icmp6(&self, real: &[u8], out: &mut [u8]) -> usize {
        out[..8].copy_from_slice(&real[..8]);
        let Some(fixed_len) = neighbour_discovery_fixed_len(real[0]) else {
            // Multicast listener messages have a group here, all others end before.
            self.show_addresses(&real[8..], &mut out[8..]);
            return real.len();
        };
        if real[0] == ROUTER_ADVERTISEMENT {
            out[8..fixed_len].copy_from_slice(&real[8..fixed_len]);
        } else {
            self.show_addresses(&real[8..fixed_len], &mut out[8..fixed_len]);
        }
        fixed_len
            + neighbour::write_options(&real[fixed_len..], &mut out[fixed_len..], |kind, option, room| {
                self.show_neighbour_option(kind, option, room)
            })
    }

    /// Options that say something of the network. The others are left out: a redirect quotes a packet, payload
    /// and all, and what is not known may do so too.
    fn show_neighbour_option(&self, kind: u8, option: &[u8], room: &mut [u8]) -> bool {
        room.copy_from_slice(option);
        match (kind, option.len()) {
            (neighbour::SOURCE_LINK_ADDRESS | neighbour::TARGET_LINK_ADDRESS, 8) => {
                self.show_mac(&option[2..8], &mut room[2..8]);
            }
            (neighbour::PREFIX_INFORMATION, 32) => self.show_address(&option[16..32], &mut room[16..32]),
            (neighbour::RECURSIVE_DNS_SERVER, 24..) => self.show_addresses(&option[8..], &mut room[8..]),
            (neighbour::MTU, 8) | (neighbour::DNS_SEARCH_LIST, 16..) => {}
            _ => {
                room.fill(0);
                return false;
            }
        }
        true
    }
}

/// Whether level `headers` shows a MAC as it is.
pub(crate) fn is_shown_mac(mac: [u8; 6]) -> bool {
    mac[0] & GROUP != 0 && mac[..3] != SOLICITED_NODE_MAC
}

/// Whether level `headers` shows an IPv6 address as it is.
pub(crate) fn is_shown_address(address: [u8; 16]) -> bool {
    let is_eui64 = address[0] != 0xff && address[11..13] == [0xff, 0xfe];
    !is_eui64 && address[..13] != SOLICITED_NODE
}

fn show_tcp(real: &[u8], out: &mut [u8]) {
    out[..16].copy_from_slice(&real[..16]);
    out[18..20].copy_from_slice(&real[18..20]);
    let (real, out) = (&real[20..], &mut out[20..]);
    whole_options(real, |option, at| {
        let is_secret = TCP_SECRETS.contains(&option[0])
            || TCP_EXPERIMENTS.contains(&option[0])
                && option.len() >= 4
                && be16(option, 2) == EXPERIMENT_FAST_OPEN;
        let room = &mut out[at..at + option.len()];
        if is_secret {
            room.fill(NO_OPERATION);
        } else {
            room.copy_from_slice(option);
        }
    });
}

/// Options as they are; from the end mark or the first broken one on, nothing.
fn show_ipv4_options(real: &[u8], out: &mut [u8]) {
    whole_options(real, |option, at| {
        out[at..at + option.len()].copy_from_slice(option)
    });
}

/// Calls `show` with each whole option of IPv4 or TCP and its place, no-operations included.
fn whole_options(area: &[u8], mut show: impl FnMut(&[u8], usize)) {
    let mut at = 0;
    while let Some(&kind) = area.get(at) {
        let len = match kind {
            END_OF_OPTIONS => return,
            NO_OPERATION => 1,
            _ => area.get(at + 1).map_or(0, |len| usize::from(*len)),
        };
        let Some(option) = area
            .get(at..at + len)
            .filter(|_| len > usize::from(kind != NO_OPERATION))
        else {
            return;
        };
        show(option, at);
        at += len;
    }
}
