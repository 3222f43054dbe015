//! Link layers: Ethernet, VLAN tags, Linux cooked capture, BSD loopback, RAW, and ARP. Owns the lists of link
//! types and ethertypes that are let in.

use super::{DenyReason, LayerKind, MAX_VLAN_TAGS, Span, Walk, be16, be32};
use crate::packet::LinkType;

pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHERTYPE_ARP: u16 = 0x0806;
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;
pub(crate) const ETHERTYPE_MPLS: u16 = 0x8847;
pub(crate) const ETHERTYPE_MPLS_MULTICAST: u16 = 0x8848;
const ETHERTYPE_PPPOE_DISCOVERY: u16 = 0x8863;
const ETHERTYPE_PPPOE_SESSION: u16 = 0x8864;
/// 802.1Q, 802.1ad, and the two values used before 802.1ad.
const VLAN_TPIDS: [u16; 4] = [0x8100, 0x88a8, 0x9100, 0x9200];
/// Ethertypes start here; below is an 802.3 length or undefined.
const FIRST_ETHERTYPE: u16 = 0x0600;
/// AF_INET, the same everywhere.
const FAMILY_IPV4: u32 = 2;
/// AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, macOS.
const FAMILIES_IPV6: [u32; 4] = [10, 24, 28, 30];

impl Walk<'_, '_> {
    /// The whole packet, by its link type.
    pub(super) fn link(mut self, link: LinkType) -> Result<(), DenyReason> {
        let span = Span {
            at: 0,
            end: self.data.len(),
            cut: true,
            quote_depth: 0,
            tunnel_depth: 0,
        };
        match link {
            LinkType::ETHERNET => self.ethernet(span),
            LinkType::RAW | LinkType::RAW_BSD | LinkType::RAW_OPENBSD => self.raw(span),
            LinkType::IPV4 => self.ipv4(span),
            LinkType::IPV6 => self.ipv6(span),
            LinkType::NULL | LinkType::LOOP => self.loopback(span),
            LinkType::LINUX_SLL => {
                let header = span.take(self.data, 16)?;
                self.push(LayerKind::Sll, span, 16)?;
                self.ethertype(be16(header, 14), span.skip(16))
            }
            LinkType::LINUX_SLL2 => {
                let header = span.take(self.data, 20)?;
                self.push(LayerKind::Sll2, span, 20)?;
                self.ethertype(be16(header, 0), span.skip(20))
            }
            LinkType::PPP | LinkType::PPP_HDLC => self.ppp(span),
            LinkType::PPP_ETHER => self.pppoe(span),
            LinkType::IEEE802_11 | LinkType::IEEE802_11_RADIOTAP => Err(DenyReason::Wireless),
            _ => Err(DenyReason::UnknownLinkType),
        }
    }

    pub(super) fn ethernet(&mut self, span: Span) -> Result<(), DenyReason> {
        let header = span.take(self.data, 14)?;
        self.push(LayerKind::Ethernet, span, 14)?;
        self.ethertype(be16(header, 12), span.skip(14))
    }

    /// What follows a link header that names it by ethertype.
    fn ethertype(&mut self, mut ethertype: u16, mut span: Span) -> Result<(), DenyReason> {
        for _ in 0..=MAX_VLAN_TAGS {
            match ethertype {
                ETHERTYPE_IPV4 => return self.ipv4(span),
                ETHERTYPE_IPV6 => return self.ipv6(span),
                ETHERTYPE_ARP => return self.arp(span),
                ETHERTYPE_MPLS | ETHERTYPE_MPLS_MULTICAST => return self.mpls(span),
                ETHERTYPE_PPPOE_DISCOVERY | ETHERTYPE_PPPOE_SESSION => return self.pppoe(span),
                0..FIRST_ETHERTYPE => return Err(DenyReason::Llc),
                _ if VLAN_TPIDS.contains(&ethertype) => {
                    ethertype = be16(span.take(self.data, 4)?, 2);
                    self.push(LayerKind::Vlan, span, 4)?;
                    span = span.skip(4);
                }
                _ => return Err(DenyReason::UnknownEthertype),
            }
        }
        Err(DenyReason::TooDeep)
    }

    fn raw(&mut self, span: Span) -> Result<(), DenyReason> {
        match span.take(self.data, 1)?[0] >> 4 {
            4 => self.ipv4(span),
            6 => self.ipv6(span),
            _ => Err(DenyReason::BadIpVersion),
        }
    }

    /// The family stands in the byte order of the capturing host (NULL) or the network (LOOP): files of the one
    /// are labelled as the other often enough to accept both in both.
    fn loopback(&mut self, span: Span) -> Result<(), DenyReason> {
        let family = be32(span.take(self.data, 4)?, 0);
        let family = if family > 0xffff {
            family.swap_bytes()
        } else {
            family
        };
        let version = match family {
            FAMILY_IPV4 => 4,
            _ if FAMILIES_IPV6.contains(&family) => 6,
            _ => return Err(DenyReason::UnknownEthertype),
        };
        self.push(LayerKind::Loopback, span, 4)?;
        self.ip(version, span.skip(4))
    }

    /// RFC 826, Ethernet and IPv4 only.
    fn arp(&mut self, span: Span) -> Result<(), DenyReason> {
        let fixed = span.take(self.data, 8)?;
        if be16(fixed, 0) != 1 || be16(fixed, 2) != ETHERTYPE_IPV4 || fixed[4] != 6 || fixed[5] != 4 {
            return Err(DenyReason::UnsupportedArp);
        }
        span.take(self.data, 28)?;
        self.push(LayerKind::Arp, span, 28)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::dissect;
    use crate::sample::{MAC_A, inner, ipv6, kinds};

    #[test]
    fn every_link_type_finds_its_packet() {
        let packet6 = ipv6(59, b"");
        let sll = [&[0, 0, 0, 1, 0, 6][..], &MAC_A, &[0, 0, 8, 0], &inner()].concat();
        let sll2 = [
            &[8, 0, 0, 0, 0, 0, 0, 7, 0, 1, 0, 6][..],
            &MAC_A,
            &[0, 0],
            &inner(),
        ]
        .concat();
        for (link, data) in [
            (LinkType::RAW, inner()),
            (LinkType::RAW_BSD, packet6.clone()),
            (LinkType::RAW_OPENBSD, inner()),
            (LinkType::IPV4, inner()),
            (LinkType::IPV6, packet6.clone()),
            (LinkType::NULL, [&[2, 0, 0, 0][..], &inner()].concat()),
            (LinkType::NULL, [&[0, 0, 0, 30][..], &packet6].concat()),
            (LinkType::LOOP, [&[0, 0, 0, 2][..], &inner()].concat()),
            (LinkType::LOOP, [&[24, 0, 0, 0][..], &packet6].concat()),
            (LinkType::LINUX_SLL, sll),
            (LinkType::LINUX_SLL2, sll2),
        ] {
            let found = dissect(link, &data);
            assert_eq!(found.deny, None, "{link:?}");
            let ip = [LayerKind::Ipv4, LayerKind::Ipv6];
            assert!(
                kinds(found.layers()).iter().any(|kind| ip.contains(kind)),
                "{link:?}"
            );
        }
    }

    #[test]
    fn wireless_is_denied_with_a_reason_of_its_own() {
        for link in [LinkType::IEEE802_11, LinkType::IEEE802_11_RADIOTAP] {
            let found = dissect(link, &inner());
            assert_eq!((found.deny, found.header_len), (Some(DenyReason::Wireless), 0));
        }
        assert_eq!(
            dissect(LinkType(147), &inner()).deny,
            Some(DenyReason::UnknownLinkType)
        );
        let family = [&[0, 0, 0, 99][..], &inner()].concat();
        assert_eq!(
            dissect(LinkType::NULL, &family).deny,
            Some(DenyReason::UnknownEthertype)
        );
    }
}
