//! From a frame to its row: one dissection, one value per column, at any level. What comes from the real packet
//! alone (time, length, address classes, checksum verdicts) arrives in `RowMeta` and is carried over.

use crate::checksum::judge;
use crate::class::{class_v4, class_v6};
use crate::columns::{NO_VLAN, PacketRow};
use crate::deny::DenyReason;
use crate::dissect::link::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use crate::dissect::{Dissection, Layer, LayerKind, be16, be32, dissect};
use crate::packet::{LinkType, RawPacket};
use crate::treat::cooked::{SLL_ADDRESS, SLL_HARDWARE, SLL2_ADDRESS, SLL2_HARDWARE, has_mac};
use crate::tunnel::TunnelKind;

/// `fragment`: is one.
pub const IS_FRAGMENT: u8 = 1;
/// `fragment`: is not the first one.
pub const NOT_FIRST_FRAGMENT: u8 = 2;

/// What a row knows about its packet that the released frame does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowMeta {
    /// Packet time, nanoseconds since the Unix epoch, already floored to the level's grain.
    pub ts_ns: u64,
    /// Length on the wire, bytes.
    pub wire_len: u32,
    /// Sampling weight.
    pub weight: u32,
    /// `DenyReason` code, 0 = none.
    pub deny: u8,
    /// Class of the real source address.
    pub src_class: u8,
    /// Class of the real destination address.
    pub dst_class: u8,
    /// Verdicts on the real checksums.
    pub checksums: u8,
    /// Autonomous system of the real source address, 0 = none.
    pub src_as: u32,
    /// Autonomous system of the real destination address, 0 = none.
    pub dst_as: u32,
}

impl RowMeta {
    /// From the captured packet, the only place where classes and verdicts can come from. Autonomous systems come from
    /// [`AsTable::of_packet`](crate::AsTable::of_packet), where there is a table.
    pub fn of_packet(packet: &RawPacket<'_>, dissection: &Dissection) -> Self {
        let mut meta = RowMeta {
            ts_ns: packet.ts_ns,
            wire_len: packet.wire_len,
            weight: 1,
            deny: dissection.deny.map_or(0, |reason| reason.as_u8()),
            src_class: 0,
            dst_class: 0,
            checksums: 0,
            src_as: 0,
            dst_as: 0,
        };
        // A denied packet carries its length and the reason only.
        if meta.deny == 0 {
            (meta.src_class, meta.dst_class) = classes(packet.data, dissection);
            meta.checksums = judge(packet.data, dissection);
        }
        meta
    }

    /// Of a packet that stopped a dissector before: nothing is looked up in it.
    pub fn set_aside(packet: &RawPacket<'_>) -> Self {
        RowMeta {
            ts_ns: packet.ts_ns,
            wire_len: packet.wire_len,
            weight: 1,
            deny: DenyReason::Undissected.as_u8(),
            src_class: 0,
            dst_class: 0,
            checksums: 0,
            src_as: 0,
            dst_as: 0,
        }
    }

    /// From a row, for re-keying and restoring.
    pub fn of_row(row: &PacketRow) -> Self {
        RowMeta {
            ts_ns: row.ts_ns,
            wire_len: row.wire_len,
            weight: row.weight,
            deny: row.deny,
            src_class: row.src_class,
            dst_class: row.dst_class,
            checksums: row.checksums,
            src_as: row.src_as,
            dst_as: row.dst_as,
        }
    }
}

fn classes(data: &[u8], dissection: &Dissection) -> (u8, u8) {
    let v6 = |header: &[u8], at: usize| {
        header[at..]
            .first_chunk()
            .map_or(0, |bytes| class_v6(u128::from_be_bytes(*bytes)))
    };
    for layer in dissection.own() {
        let header = layer.of(data);
        match layer.kind {
            LayerKind::Ipv4 => return (class_v4(be32(header, 12)), class_v4(be32(header, 16))),
            LayerKind::Arp => return (class_v4(be32(header, 14)), class_v4(be32(header, 24))),
            LayerKind::Ipv6 => return (v6(header, 8), v6(header, 24)),
            _ => {}
        }
    }
    (0, 0)
}

/// The row of one frame, as visible at any level.
pub fn describe(meta: &RowMeta, link: LinkType, frame: &[u8]) -> PacketRow {
    describe_dissected(meta, frame, &dissect(link, frame))
}

/// The same for a frame that is already dissected.
pub fn describe_dissected(meta: &RowMeta, frame: &[u8], dissection: &Dissection) -> PacketRow {
    let mut row = row_of_meta(meta, frame.len());
    if frame.is_empty() {
        return row;
    }
    row.payload_offset = dissection.header_len.min(usize::from(u16::MAX)) as u16;
    row.tunnel = TunnelKind::outermost(dissection.layers()).map_or(0, TunnelKind::as_u8);
    for layer in dissection.own() {
        read_layer(layer, layer.of(frame), &mut row);
    }
    row
}

fn row_of_meta(meta: &RowMeta, cap_len: usize) -> PacketRow {
    PacketRow {
        ts_ns: meta.ts_ns,
        wire_len: meta.wire_len,
        cap_len: cap_len as u32,
        weight: meta.weight,
        deny: meta.deny,
        vlan: NO_VLAN,
        src_class: meta.src_class,
        dst_class: meta.dst_class,
        checksums: meta.checksums,
        src_as: meta.src_as,
        dst_as: meta.dst_as,
        ..PacketRow::default()
    }
}

/// An IPv4 address as a column holds it: ::ffff:a.b.c.d.
pub(crate) fn mapped(address: u32) -> [u8; 16] {
    (u128::from(address) | 0xffff << 32).to_be_bytes()
}

/// `header` is never shorter than the kind's fixed part: dissection checked it on the same bytes.
fn read_layer(layer: &Layer, header: &[u8], row: &mut PacketRow) {
    match layer.kind {
        // That of a pseudowire's payload is deeper than the packet's own.
        LayerKind::Ethernet if layer.tunnel_depth > 0 => {}
        LayerKind::Ethernet => {
            row.dst_mac.copy_from_slice(&header[0..6]);
            row.src_mac.copy_from_slice(&header[6..12]);
            row.ethertype = be16(header, 12);
        }
        LayerKind::Sll => {
            if has_mac(header, SLL_HARDWARE, SLL_ADDRESS, 1) {
                row.src_mac.copy_from_slice(&header[SLL_ADDRESS..SLL_ADDRESS + 6]);
            }
            row.ethertype = be16(header, 14);
        }
        LayerKind::Sll2 => {
            if has_mac(header, SLL2_HARDWARE, SLL2_ADDRESS, 2) {
                row.src_mac
                    .copy_from_slice(&header[SLL2_ADDRESS..SLL2_ADDRESS + 6]);
            }
            row.ethertype = be16(header, 0);
        }
        LayerKind::Vlan => {
            if row.vlan == NO_VLAN {
                row.vlan = be16(header, 0) & 0x0fff;
            }
            row.ethertype = be16(header, 2);
        }
        LayerKind::Arp => {
            row.ethertype = ETHERTYPE_ARP;
            row.arp_op = be16(header, 6).min(0xff) as u8;
            row.src = mapped(be32(header, 14));
            row.dst = mapped(be32(header, 24));
        }
        LayerKind::Ipv4 => {
            row.ethertype = ETHERTYPE_IPV4;
            row.ip_version = 4;
            row.tos = header[1];
            row.ip_id = be16(header, 4);
            let (more, offset) = (be16(header, 6) & 0x2000, be16(header, 6) & 0x1fff);
            row.fragment = fragment_bits(more != 0, offset != 0);
            row.ttl = header[8];
            row.protocol = header[9];
            row.src = mapped(be32(header, 12));
            row.dst = mapped(be32(header, 16));
        }
        LayerKind::Ipv6 => {
            row.ethertype = ETHERTYPE_IPV6;
            row.ip_version = 6;
            row.tos = (be16(header, 0) >> 4) as u8;
            row.protocol = header[6];
            row.ttl = header[7];
            row.src.copy_from_slice(&header[8..24]);
            row.dst.copy_from_slice(&header[24..40]);
        }
        LayerKind::HopByHop | LayerKind::Routing | LayerKind::DestinationOptions | LayerKind::Ah => {
            row.protocol = header[0];
        }
        LayerKind::Fragment => {
            row.protocol = header[0];
            row.fragment = fragment_bits(header[3] & 1 != 0, be16(header, 2) & 0xfff8 != 0);
        }
        LayerKind::Tcp => {
            row.src_port = be16(header, 0);
            row.dst_port = be16(header, 2);
            row.tcp_seq = be32(header, 4);
            row.tcp_ack = be32(header, 8);
            row.tcp_flags = header[13];
            row.tcp_window = be16(header, 14);
        }
        LayerKind::Udp | LayerKind::Sctp => {
            row.src_port = be16(header, 0);
            row.dst_port = be16(header, 2);
        }
        LayerKind::Icmp | LayerKind::Icmp6 => {
            row.icmp_type = header[0];
            row.icmp_code = header[1];
        }
        // A header that has no column, or one that only quotes and tunnels have.
        LayerKind::Loopback
        | LayerKind::Ppp
        | LayerKind::Pppoe
        | LayerKind::Mpls
        | LayerKind::PseudowireControl
        | LayerKind::Igmp
        | LayerKind::Esp
        | LayerKind::TcpStub
        | LayerKind::Gre
        | LayerKind::EtherIp
        | LayerKind::Vxlan
        | LayerKind::Geneve
        | LayerKind::Gtp
        | LayerKind::L2tp
        | LayerKind::TeredoAuthentication
        | LayerKind::TeredoOrigin => {}
    }
}

fn fragment_bits(more: bool, offset: bool) -> u8 {
    (u8::from(more || offset) * IS_FRAGMENT) | (u8::from(offset) * NOT_FIRST_FRAGMENT)
}
