//! Tunnels that an IP protocol number or an ethertype announces: IP in IP (RFC 2003, 2473, 4213), GRE (RFC 2784,
//! 2890, 2637), EtherIP (RFC 3378), MPLS (RFC 3032). Owns how deep tunnels are followed, and that what does not
//! parse inside one ends the headers of the packet without denying it.

use super::link::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_MPLS, ETHERTYPE_MPLS_MULTICAST};
use super::{DenyReason, LayerKind, MAX_TUNNEL_DEPTH, Span, Walk, be16, be32};

/// Transparent Ethernet bridging, the payload type of Ethernet in GRE and GENEVE.
pub(crate) const BRIDGED_ETHERNET: u16 = 0x6558;
/// Version 3, reserved bits zero (RFC 3378).
const ETHERIP_VERSION: u16 = 0x3000;
/// MPLS labels followed in one stack.
const MAX_LABELS: usize = 8;
const BOTTOM_OF_STACK: u32 = 1 << 8;

pub(crate) const GRE_CHECKSUM: u16 = 0x8000;
pub(crate) const GRE_KEY: u16 = 0x2000;
pub(crate) const GRE_SEQUENCE: u16 = 0x1000;
/// Version 1 alone: an acknowledgement number follows.
pub(crate) const GRE_ACKNOWLEDGEMENT: u16 = 0x0080;
pub(crate) const GRE_VERSION: u16 = 0x0007;
/// The PPP payload of PPTP, the only one that version 1 has.
const GRE_PPTP: u16 = 0x880b;

impl Walk<'_, '_> {
    /// What a tunnel carries. Beyond the depth limit, and where it does not parse, the headers end.
    pub(super) fn carried(
        &mut self,
        span: Span,
        follow: impl FnOnce(&mut Self, Span) -> Result<(), DenyReason>,
    ) -> Result<(), DenyReason> {
        if span.tunnel_depth < MAX_TUNNEL_DEPTH && span.available() > 0 {
            let inner = Span {
                tunnel_depth: span.tunnel_depth + 1,
                ..span
            };
            // Headers up to the one that is broken stand; nothing else of the packet is released.
            let _ = follow(self, inner);
        }
        Ok(())
    }

    /// By the payload types that GRE and GENEVE share with Ethernet; others end the headers.
    pub(super) fn carried_ethertype(&mut self, ethertype: u16, span: Span) -> Result<(), DenyReason> {
        match ethertype {
            ETHERTYPE_IPV4 => self.ipv4(span),
            ETHERTYPE_IPV6 => self.ipv6(span),
            ETHERTYPE_MPLS | ETHERTYPE_MPLS_MULTICAST => self.mpls(span),
            BRIDGED_ETHERNET => self.ethernet(span),
            _ => Ok(()),
        }
    }

    /// Version 0 without source routes (RFC 1701 section 2); version 1 is its header alone.
    pub(super) fn gre(&mut self, span: Span) -> Result<(), DenyReason> {
        let fixed = span.take(self.data, 4)?;
        let (flags, protocol) = (be16(fixed, 0), be16(fixed, 2));
        let optional = |flag: u16| if flags & flag != 0 { 4 } else { 0 };
        let known = match flags & GRE_VERSION {
            0 => GRE_CHECKSUM | GRE_KEY | GRE_SEQUENCE,
            1 if protocol == GRE_PPTP && flags & GRE_KEY != 0 => {
                GRE_KEY | GRE_SEQUENCE | GRE_ACKNOWLEDGEMENT | GRE_VERSION
            }
            _ => return Ok(()),
        };
        // Routes hold addresses in forms of their own, and undefined bits may announce fields: not a header then.
        if flags & !known != 0 {
            return Ok(());
        }
        let len = 4
            + optional(GRE_CHECKSUM)
            + optional(GRE_KEY)
            + optional(GRE_SEQUENCE)
            + optional(GRE_ACKNOWLEDGEMENT);
        span.take(self.data, len)?;
        self.push(LayerKind::Gre, span, len)?;
        if flags & GRE_VERSION != 0 {
            return Ok(());
        }
        self.carried(span.skip(len), |walk, inner| {
            walk.carried_ethertype(protocol, inner)
        })
    }

    pub(super) fn etherip(&mut self, span: Span) -> Result<(), DenyReason> {
        if be16(span.take(self.data, 2)?, 0) != ETHERIP_VERSION {
            return Ok(());
        }
        self.push(LayerKind::EtherIp, span, 2)?;
        self.carried(span.skip(2), Self::ethernet)
    }

    /// The label stack, and behind it IP or a pseudowire of Ethernet; anything else ends the headers.
    pub(super) fn mpls(&mut self, span: Span) -> Result<(), DenyReason> {
        let mut len = 0;
        loop {
            let entry = be32(span.take(self.data, len + 4)?, len);
            len += 4;
            if entry & BOTTOM_OF_STACK != 0 {
                break;
            }
            if len == MAX_LABELS * 4 {
                return Err(DenyReason::TooDeep);
            }
        }
        self.push(LayerKind::Mpls, span, len)?;
        let inner = span.skip(len);
        // The first nibble tells IP from a control word (RFC 4928).
        match self.data.get(inner.at).filter(|_| inner.available() > 0) {
            Some(byte) if byte >> 4 == 4 => self.strictly(|walk| walk.ipv4(inner)),
            Some(byte) if byte >> 4 == 6 => self.strictly(|walk| walk.ipv6(inner)),
            Some(byte) if byte >> 4 == 0 => self.pseudowire(inner),
            _ => Ok(()),
        }
    }

    /// RFC 4448: an Ethernet frame behind a control word.
    fn pseudowire(&mut self, span: Span) -> Result<(), DenyReason> {
        self.carried(span, |walk, inner| {
            walk.strictly(|walk| {
                inner.take(walk.data, 4 + 14)?;
                walk.push(LayerKind::PseudowireControl, span, 4)?;
                walk.ethernet(inner.skip(4))
            })
        })
    }

    /// Runs `parse` on what only looks like a protocol. Where it contradicts itself nothing of it stands and all is
    /// well; where it merely ends too early, its headers stand and the reason is passed on.
    pub(super) fn strictly(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<(), DenyReason>,
    ) -> Result<(), DenyReason> {
        let before = (self.found.count, self.found.header_len);
        match parse(self) {
            Ok(()) => Ok(()),
            Err(reason @ (DenyReason::Truncated | DenyReason::TooDeep)) => Err(reason),
            Err(_) => {
                (self.found.count, self.found.header_len) = before;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::dissect;
    use crate::packet::LinkType;
    use crate::sample::{TEXT, ethernet, inner, ipv4, ipv6, kinds, udp};

    fn layers(packet: &[u8]) -> Vec<LayerKind> {
        let found = dissect(LinkType::RAW, packet);
        assert_eq!(found.deny, None);
        kinds(found.layers())
    }

    #[test]
    fn ip_in_ip_of_every_combination() {
        use LayerKind::{Ipv4, Ipv6, Udp};
        let inner6 = ipv6(17, &udp([50_001, 53], TEXT));
        assert_eq!(layers(&ipv4(4, &inner())), [Ipv4, Ipv4, Udp]);
        assert_eq!(layers(&ipv4(41, &inner6)), [Ipv4, Ipv6, Udp]);
        assert_eq!(layers(&ipv6(4, &inner())), [Ipv6, Ipv4, Udp]);
        assert_eq!(layers(&ipv6(41, &inner6)), [Ipv6, Ipv6, Udp]);
    }

    #[test]
    fn beyond_the_depth_limit_the_headers_end() {
        let mut packet = inner();
        for _ in 0..MAX_TUNNEL_DEPTH + 3 {
            packet = ipv4(4, &packet);
        }
        let found = dissect(LinkType::RAW, &packet);
        assert_eq!(found.deny, None);
        let depths: Vec<u8> = found.layers().iter().map(|layer| layer.tunnel_depth).collect();
        assert_eq!(depths, [0, 1, 2, 3, 4]);
        assert_eq!(found.header_len, 5 * 20);
    }

    #[test]
    fn what_is_broken_inside_ends_the_headers() {
        use LayerKind::{Gre, Ipv4};
        assert_eq!(layers(&ipv4(4, &inner()[..19])), [Ipv4]);
        assert_eq!(
            layers(&ipv4(4, b"\x65no version 4 here, though it says so")),
            [Ipv4]
        );
        assert_eq!(layers(&ipv4(47, b"\0\0\x08\0garbage")), [Ipv4, Gre]);
        // Source routes, and a version that nobody defined.
        assert_eq!(layers(&ipv4(47, b"\x40\0\x08\0routes follow here")), [Ipv4]);
        assert_eq!(layers(&ipv4(47, b"\x20\x05\x88\x0bversion 5")), [Ipv4]);
    }

    #[test]
    fn ethernet_behind_gre_etherip_and_mpls() {
        use LayerKind::{EtherIp, Ethernet, Gre, Ipv4, Mpls, PseudowireControl, Udp};
        let frame = ethernet(0x0800, &inner());
        let gre = [&[0, 0, 0x65, 0x58][..], &frame].concat();
        assert_eq!(layers(&ipv4(47, &gre)), [Ipv4, Gre, Ethernet, Ipv4, Udp]);
        let etherip = [&[0x30, 0][..], &frame].concat();
        assert_eq!(layers(&ipv4(97, &etherip)), [Ipv4, EtherIp, Ethernet, Ipv4, Udp]);
        let wire = [&[0, 1, 1, 64, 0, 0, 0, 7][..], &frame].concat();
        let found = dissect(LinkType::ETHERNET, &ethernet(0x8847, &wire));
        let expected = [Ethernet, Mpls, PseudowireControl, Ethernet, Ipv4, Udp];
        assert_eq!(kinds(found.layers()), expected);
        assert_eq!(
            found.own().len(),
            6,
            "the outermost IP packet is behind the pseudowire"
        );
    }

    #[test]
    fn a_label_stack_without_an_end_is_too_deep_and_one_with_other_content_ends_the_headers() {
        let endless = ethernet(0x8847, &[0; 400]);
        assert_eq!(
            dissect(LinkType::ETHERNET, &endless).deny,
            Some(DenyReason::TooDeep)
        );
        let other = ethernet(0x8848, &[&[0, 1, 1, 64][..], b"\x10associated channel"].concat());
        let found = dissect(LinkType::ETHERNET, &other);
        assert_eq!((found.deny, found.header_len), (None, 18));
        let cut = ethernet(0x8847, &[&[0, 1, 1, 64][..], &inner()[..12]].concat());
        assert_eq!(
            dissect(LinkType::ETHERNET, &cut).deny,
            Some(DenyReason::Truncated)
        );
    }
}
