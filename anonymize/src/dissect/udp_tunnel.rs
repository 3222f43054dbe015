//! Tunnels that a UDP port announces: VXLAN (RFC 7348), GENEVE (RFC 8926), GTP-U (3GPP TS 29.281), L2TP version 2
//! (RFC 2661), Teredo (RFC 4380). A port proves nothing: a tunnel stands only where its header and what it carries
//! parse without a contradiction; everything else is UDP, and its payload is no header.

use super::link::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use super::tunnel::BRIDGED_ETHERNET;
use super::{DenyReason, LayerKind, MAX_TUNNEL_DEPTH, Span, Walk, be16, be32};

pub(crate) const PORT_L2TP: u16 = 1701;
pub(crate) const PORT_GTP_U: u16 = 2152;
pub(crate) const PORT_TEREDO: u16 = 3544;
pub(crate) const PORT_VXLAN: u16 = 4789;
pub(crate) const PORT_GENEVE: u16 = 6081;

/// The I flag alone, reserved bits zero.
const VXLAN_FLAGS: u32 = 0x0800_0000;

/// Version 1, protocol type GTP; the reserved bit is zero.
const GTP_VERSION_MASK: u8 = 0xf8;
const GTP_VERSION: u8 = 0x30;
const GTP_EXTENSION: u8 = 0x04;
/// Any of E, S, PN: four bytes more.
const GTP_OPTIONAL: u8 = 0x07;
const GTP_PACKET: u8 = 255;
/// Echo, error indication, supported extensions, end marker: messages without a packet.
const GTP_SIGNALS: [u8; 5] = [1, 2, 26, 31, 254];
/// GTP extension headers followed.
const MAX_GTP_EXTENSIONS: usize = 8;

pub(crate) const L2TP_CONTROL: u16 = 0x8000;
pub(crate) const L2TP_LENGTH: u16 = 0x4000;
pub(crate) const L2TP_SEQUENCE: u16 = 0x0800;
pub(crate) const L2TP_OFFSET: u16 = 0x0200;
const L2TP_PRIORITY: u16 = 0x0100;
const L2TP_VERSION: u16 = 2;

const TEREDO_AUTHENTICATION: u16 = 1;
const TEREDO_ORIGIN: u16 = 0;

impl Walk<'_, '_> {
    /// `span` is what was captured of the payload, `wire_len` its length by the UDP header.
    pub(super) fn udp_tunnel(&mut self, ports: [u16; 2], span: Span, wire_len: usize) {
        let either = |port: u16| ports.contains(&port);
        let to = ports[1];
        // The verdict is in what stands: the packet is never denied for its payload.
        let _ = if to == PORT_VXLAN {
            self.strictly(|walk| walk.vxlan(span))
        } else if to == PORT_GENEVE {
            self.strictly(|walk| walk.geneve(span))
        } else if either(PORT_GTP_U) {
            self.strictly(|walk| walk.gtp(span, wire_len))
        } else if either(PORT_L2TP) {
            self.strictly(|walk| walk.l2tp(span, wire_len))
        } else if either(PORT_TEREDO) {
            self.strictly(|walk| walk.teredo(span, wire_len))
        } else {
            Ok(())
        };
    }

    /// Like `carried`, but what is wrong inside is told.
    fn enter(
        &mut self,
        span: Span,
        follow: impl FnOnce(&mut Self, Span) -> Result<(), DenyReason>,
    ) -> Result<(), DenyReason> {
        if span.tunnel_depth >= MAX_TUNNEL_DEPTH || span.available() == 0 {
            return Ok(());
        }
        let inner = Span {
            tunnel_depth: span.tunnel_depth + 1,
            ..span
        };
        follow(self, inner)
    }

    fn vxlan(&mut self, span: Span) -> Result<(), DenyReason> {
        let header = span.take(self.data, 8)?;
        if be32(header, 0) != VXLAN_FLAGS || header[7] != 0 {
            return Err(DenyReason::Malformed);
        }
        self.push(LayerKind::Vxlan, span, 8)?;
        self.enter(span.skip(8), Self::ethernet)
    }

    fn geneve(&mut self, span: Span) -> Result<(), DenyReason> {
        let fixed = span.take(self.data, 8)?;
        let protocol = be16(fixed, 2);
        let is_known = matches!(protocol, ETHERTYPE_IPV4 | ETHERTYPE_IPV6 | BRIDGED_ETHERNET);
        if fixed[0] >> 6 != 0 || fixed[1] & 0x3f != 0 || fixed[7] != 0 || !is_known {
            return Err(DenyReason::Malformed);
        }
        let len = 8 + usize::from(fixed[0] & 0x3f) * 4;
        span.take(self.data, len)?;
        self.push(LayerKind::Geneve, span, len)?;
        self.enter(span.skip(len), |walk, inner| {
            walk.carried_ethertype(protocol, inner)
        })
    }

    fn gtp(&mut self, span: Span, wire_len: usize) -> Result<(), DenyReason> {
        let fixed = span.take(self.data, 8)?;
        let (flags, kind) = (fixed[0], fixed[1]);
        let is_signal = GTP_SIGNALS.contains(&kind);
        if flags & GTP_VERSION_MASK != GTP_VERSION
            || 8 + usize::from(be16(fixed, 2)) != wire_len
            || !(kind == GTP_PACKET || is_signal)
        {
            return Err(DenyReason::Malformed);
        }
        let mut len = 8;
        if flags & GTP_OPTIONAL != 0 {
            let mut next = span.take(self.data, 12)?[11];
            len = 12;
            let mut left = MAX_GTP_EXTENSIONS;
            while flags & GTP_EXTENSION != 0 && next != 0 {
                let units = usize::from(span.take(self.data, len + 1)?[len]);
                if units == 0 || left == 0 {
                    return Err(DenyReason::Malformed);
                }
                len += units * 4;
                left -= 1;
                next = span.take(self.data, len)?[len - 1];
            }
        }
        self.push(LayerKind::Gtp, span, len)?;
        if is_signal {
            return Ok(());
        }
        self.enter(span.skip(len), |walk, inner| {
            let version = inner.take(walk.data, 1)?[0] >> 4;
            walk.ip(version, inner)
        })
    }

    fn l2tp(&mut self, span: Span, wire_len: usize) -> Result<(), DenyReason> {
        const KNOWN: u16 = L2TP_CONTROL | L2TP_LENGTH | L2TP_SEQUENCE | L2TP_OFFSET | L2TP_PRIORITY;
        const OF_CONTROL: u16 = L2TP_CONTROL | L2TP_LENGTH | L2TP_SEQUENCE;
        let flags = be16(span.take(self.data, 6)?, 0);
        let is_control = flags & L2TP_CONTROL != 0;
        if flags & !KNOWN != L2TP_VERSION || is_control && flags & KNOWN != OF_CONTROL {
            return Err(DenyReason::Malformed);
        }
        let mut len = 6;
        if flags & L2TP_LENGTH != 0 {
            len += 2;
            if usize::from(be16(span.take(self.data, len)?, 2)) != wire_len {
                return Err(DenyReason::Malformed);
            }
        }
        if flags & L2TP_SEQUENCE != 0 {
            len += 4;
        }
        if flags & L2TP_OFFSET != 0 {
            let padding = usize::from(be16(span.take(self.data, len + 2)?, len));
            len += 2 + padding;
        }
        span.take(self.data, len)?;
        self.push(LayerKind::L2tp, span, len)?;
        if is_control {
            return Ok(());
        }
        self.enter(span.skip(len), Self::ppp)
    }

    fn teredo(&mut self, span: Span, wire_len: usize) -> Result<(), DenyReason> {
        let mut rest = span;
        if be16(rest.take(self.data, 2)?, 0) == TEREDO_AUTHENTICATION {
            let fixed = rest.take(self.data, 4)?;
            // Client identifier, authentication value, nonce of 8 bytes, confirmation byte.
            let len = 4 + usize::from(fixed[2]) + usize::from(fixed[3]) + 9;
            rest.take(self.data, len)?;
            self.push(LayerKind::TeredoAuthentication, rest, len)?;
            rest = rest.skip(len);
        }
        if be16(rest.take(self.data, 2)?, 0) == TEREDO_ORIGIN {
            rest.take(self.data, 8)?;
            self.push(LayerKind::TeredoOrigin, rest, 8)?;
            rest = rest.skip(8);
        }
        let fixed = rest.take(self.data, 40)?;
        // Trailers may follow the packet (RFC 6081), nothing may be missing of it.
        if 40 + usize::from(be16(fixed, 4)) + (rest.at - span.at) > wire_len {
            return Err(DenyReason::Malformed);
        }
        self.enter(rest, Self::ipv6)
    }
}

/// Bytes of padding at the end of an L2TP header that dissection found.
pub(crate) fn l2tp_offset_padding(header: &[u8]) -> usize {
    let flags = be16(header, 0);
    if flags & L2TP_OFFSET == 0 {
        return 0;
    }
    let optional = |flag: u16, len: usize| if flags & flag != 0 { len } else { 0 };
    let fixed = 6 + optional(L2TP_LENGTH, 2) + optional(L2TP_SEQUENCE, 4) + 2;
    header.len().saturating_sub(fixed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::dissect;
    use crate::packet::LinkType;
    use crate::sample::{DST6, SRC6, TEXT, ethernet, inner, ipv4, ipv6, kinds, udp};

    fn layers(ports: [u16; 2], payload: &[u8]) -> Vec<LayerKind> {
        let found = dissect(LinkType::RAW, &ipv4(17, &udp(ports, payload)));
        assert_eq!(found.deny, None);
        kinds(&found.layers()[2..])
    }

    fn vxlan() -> Vec<u8> {
        [&[8, 0, 0, 0, 1, 2, 3, 0][..], &ethernet(0x0800, &inner())].concat()
    }

    fn gtp(packet: &[u8]) -> Vec<u8> {
        [
            &[0x30, 255][..],
            &(packet.len() as u16).to_be_bytes(),
            &[0xa1, 0xb2, 0xc3, 0xd4],
            packet,
        ]
        .concat()
    }

    #[test]
    fn a_tunnel_stands_where_it_parses() {
        use LayerKind::{Ethernet, Geneve, Gtp, Ipv4, Ipv6, L2tp, Ppp, TeredoOrigin, Udp, Vxlan};
        assert_eq!(
            layers([50_000, PORT_VXLAN], &vxlan()),
            [Vxlan, Ethernet, Ipv4, Udp]
        );
        let geneve = [&[1, 0, 0x08, 0, 1, 2, 3, 0, 0, 1, 2, 0][..], &inner()].concat();
        assert_eq!(layers([50_000, PORT_GENEVE], &geneve), [Geneve, Ipv4, Udp]);
        assert_eq!(layers([PORT_GTP_U, 50_000], &gtp(&inner())), [Gtp, Ipv4, Udp]);
        let l2tp = [&[0, 2, 0, 1, 0, 2, 0xff, 3, 0, 0x21][..], &inner()].concat();
        assert_eq!(layers([PORT_L2TP, PORT_L2TP], &l2tp), [L2tp, Ppp, Ipv4, Udp]);
        let bubble = ipv6(59, b"");
        assert_eq!(layers([50_000, PORT_TEREDO], &bubble), [Ipv6]);
        let origin = [&[0, 0, 1, 2, 3, 4, 5, 6][..], &bubble].concat();
        assert_eq!(layers([PORT_TEREDO, 50_000], &origin), [TeredoOrigin, Ipv6]);
    }

    #[test]
    fn a_port_alone_proves_nothing() {
        for port in [PORT_VXLAN, PORT_GENEVE, PORT_GTP_U, PORT_L2TP, PORT_TEREDO] {
            assert_eq!(layers([50_000, port], TEXT), [], "{port}");
            assert_eq!(layers([50_000, port], b""), [], "{port}");
        }
        // Each time one thing is wrong: a flag, a length, what is carried.
        let mut flags = vxlan();
        flags[3] = 1;
        assert_eq!(layers([50_000, PORT_VXLAN], &flags), []);
        let lldp = [&[8, 0, 0, 0, 1, 2, 3, 0][..], &ethernet(0x88cc, TEXT)].concat();
        assert_eq!(layers([50_000, PORT_VXLAN], &lldp), []);
        let mut longer = gtp(&inner());
        longer.push(0);
        assert_eq!(layers([PORT_GTP_U; 2], &longer), []);
        assert_eq!(layers([PORT_GTP_U; 2], &gtp(b"\x10no IP packet")), []);
        assert_eq!(
            layers([50_000, PORT_VXLAN], &vxlan()[..40]),
            [],
            "what is missing was never sent"
        );
    }

    #[test]
    fn a_tunnel_that_the_capture_cuts_stands_up_to_there() {
        let packet = ipv4(17, &udp([50_000, PORT_VXLAN], &vxlan()));
        let found = dissect(LinkType::RAW, &packet[..28 + 8 + 14 + 10]);
        assert_eq!(
            kinds(&found.layers()[2..]),
            [LayerKind::Vxlan, LayerKind::Ethernet]
        );
        assert_eq!(found.deny, None);
    }

    #[test]
    fn extension_headers_of_gtp_are_followed_to_their_end() {
        let chain = [0, 0, 0, 0x85, 1, 0xaa, 0xbb, 0xc0, 2, 1, 2, 3, 4, 5, 6, 0];
        let mut message = gtp(&[&chain[..], &inner()].concat());
        message[0] |= GTP_EXTENSION;
        assert_eq!(
            layers([PORT_GTP_U; 2], &message),
            [LayerKind::Gtp, LayerKind::Ipv4, LayerKind::Udp]
        );
        message[12] = 0;
        assert_eq!(
            layers([PORT_GTP_U; 2], &message),
            [],
            "an extension header without length"
        );
    }

    #[test]
    fn a_quoted_tunnel_is_followed() {
        let quoted = ipv4(17, &udp([50_000, PORT_GTP_U], &gtp(&inner())));
        let error = [&[3, 1, 0, 0, 0, 0, 0, 0][..], &quoted[..28 + 8 + 28]].concat();
        let found = dissect(LinkType::RAW, &ipv4(1, &error));
        let last = found.layers().last().unwrap();
        assert_eq!(
            (last.kind, last.quote_depth, last.tunnel_depth),
            (LayerKind::Udp, 1, 1)
        );
    }

    #[test]
    fn what_teredo_carries_must_fit() {
        let mut packet = ipv6(59, b"");
        packet[5] = 1;
        assert_eq!(layers([50_000, PORT_TEREDO], &packet), []);
        assert_eq!(packet[8..40], [SRC6, DST6].concat());
    }
}
