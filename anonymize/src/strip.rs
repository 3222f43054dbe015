//! Taking out of a synthetic frame what the columns hold, and putting it back: section A stores each value once.
//! What steers dissection (lengths, protocols, fragment offsets, ICMP type) stays in the frame.

use crate::checksum::fix_checksums;
use crate::columns::{NO_VLAN, PacketRow};
use crate::dissect::{Dissection, Layer, LayerKind};

/// Zeroes, in a frame that `Anonymizer::anonymize` wrote, the fields that its row holds, and the checksums that
/// follow from the rest. `found` is the frame's dissection, and stays that of what is left.
pub fn strip(found: &Dissection, frame: &mut [u8]) {
    let mut tagged = false;
    let own = found.own();
    for (number, layer) in own.iter().enumerate() {
        let at = layer.offset as usize;
        let mut zero = |from: usize, to: usize| frame[at + from..at + to].fill(0);
        match layer.kind {
            LayerKind::Ethernet if layer.tunnel_depth == 0 => zero(0, 12),
            LayerKind::Vlan if !tagged => {
                zero(0, 2);
                tagged = true;
            }
            LayerKind::Arp => {
                zero(14, 18);
                zero(24, 28);
            }
            LayerKind::Ipv4 => {
                zero(1, 2);
                zero(4, 6);
                zero(8, 9);
                zero(10, 20);
            }
            LayerKind::Ipv6 => {
                zero(7, 40);
                let version_and_label = [frame[at] & 0xf0, frame[at + 1] & 0x0f];
                frame[at..at + 2].copy_from_slice(&version_and_label);
            }
            LayerKind::Tcp => {
                zero(0, 12);
                zero(13, 18);
            }
            LayerKind::Sctp => {
                zero(0, 4);
                zero(8, 12);
            }
            LayerKind::Udp => {
                // A tunnel is told by its port: restoring must find it again.
                if number + 1 == found.layers().len() {
                    zero(0, 4);
                }
                // Whether there is a checksum is a fact of its own; restoring replaces the mark.
                let mark = u8::from(frame[at + 6..at + 8] != [0, 0]);
                frame[at + 6..at + 8].copy_from_slice(&[0, mark]);
            }
            LayerKind::Icmp | LayerKind::Icmp6 => zero(1, 4),
            LayerKind::Igmp => zero(2, 4),
            _ => {}
        }
    }
    clear_checksums(frame, &found.layers()[own.len()..]);
}

/// Undoes `strip` with the frame's row and dissection. The frame is then byte for byte what was stripped.
pub fn restore(found: &Dissection, frame: &mut [u8], row: &PacketRow) {
    let mut tagged = false;
    for layer in found.own() {
        let at = layer.offset as usize;
        let mut put =
            |from: usize, bytes: &[u8]| frame[at + from..at + from + bytes.len()].copy_from_slice(bytes);
        match layer.kind {
            LayerKind::Ethernet if layer.tunnel_depth == 0 => {
                put(0, &row.dst_mac);
                put(6, &row.src_mac);
            }
            LayerKind::Vlan if !tagged => {
                tagged = true;
                if row.vlan != NO_VLAN {
                    put(0, &row.vlan.to_be_bytes());
                }
            }
            LayerKind::Arp => {
                put(14, &row.src[12..]);
                put(24, &row.dst[12..]);
            }
            LayerKind::Ipv4 => {
                put(1, &[row.tos]);
                put(4, &row.ip_id.to_be_bytes());
                put(8, &[row.ttl]);
                put(12, &row.src[12..]);
                put(16, &row.dst[12..]);
            }
            LayerKind::Ipv6 => {
                put(7, &[row.ttl]);
                put(8, &row.src);
                put(24, &row.dst);
                frame[at] |= row.tos >> 4;
                frame[at + 1] |= row.tos << 4;
            }
            LayerKind::Tcp => {
                put(0, &row.src_port.to_be_bytes());
                put(2, &row.dst_port.to_be_bytes());
                put(4, &row.tcp_seq.to_be_bytes());
                put(8, &row.tcp_ack.to_be_bytes());
                put(13, &[row.tcp_flags]);
                put(14, &row.tcp_window.to_be_bytes());
            }
            LayerKind::Udp | LayerKind::Sctp => {
                put(0, &row.src_port.to_be_bytes());
                put(2, &row.dst_port.to_be_bytes());
            }
            LayerKind::Icmp | LayerKind::Icmp6 => put(1, &[row.icmp_code]),
            _ => {}
        }
    }
    fix_checksums(frame, found.layers());
}

/// Checksums of headers that are in no column (quoted ones, and those inside a tunnel) follow from the released bytes
/// too, and do not compress.
fn clear_checksums(frame: &mut [u8], layers: &[Layer]) {
    for layer in layers {
        let at = layer.offset as usize;
        match layer.kind {
            LayerKind::Ipv4 => frame[at + 10..at + 12].fill(0),
            LayerKind::Tcp => frame[at + 16..at + 18].fill(0),
            LayerKind::Udp => {
                let mark = u8::from(frame[at + 6..at + 8] != [0, 0]);
                frame[at + 6..at + 8].copy_from_slice(&[0, mark]);
            }
            LayerKind::Sctp if layer.len >= 12 => frame[at + 8..at + 12].fill(0),
            LayerKind::Icmp | LayerKind::Icmp6 | LayerKind::Igmp => frame[at + 2..at + 4].fill(0),
            _ => {}
        }
    }
}
