//! Link layers: Ethernet, VLAN tags, ARP, RAW. Owns the ethertype allow-list.

use super::{DenyReason, LayerKind, MAX_VLAN_TAGS, Span, Walk, be16};

pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHERTYPE_ARP: u16 = 0x0806;
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;
/// 802.1Q, 802.1ad, and the two values used before 802.1ad.
const VLAN_TPIDS: [u16; 4] = [0x8100, 0x88a8, 0x9100, 0x9200];
/// Ethertypes start here; below is an 802.3 length or undefined.
const FIRST_ETHERTYPE: u16 = 0x0600;

impl Walk<'_, '_> {
    pub(super) fn ethernet(mut self) -> Result<(), DenyReason> {
        let span = Span {
            at: 0,
            end: self.data.len(),
            cut: true,
            quote_depth: 0,
        };
        let header = span.take(self.data, 14)?;
        let mut ethertype = be16(header, 12);
        self.found.push(LayerKind::Ethernet, 0, 0, 14)?;
        let mut span = span.skip(14);
        for _ in 0..=MAX_VLAN_TAGS {
            match ethertype {
                ETHERTYPE_IPV4 => return self.ipv4(span),
                ETHERTYPE_IPV6 => return self.ipv6(span),
                ETHERTYPE_ARP => return self.arp(span),
                0..FIRST_ETHERTYPE => return Err(DenyReason::Llc),
                _ if VLAN_TPIDS.contains(&ethertype) => {
                    ethertype = be16(span.take(self.data, 4)?, 2);
                    self.found.push(LayerKind::Vlan, 0, span.at, 4)?;
                    span = span.skip(4);
                }
                _ => return Err(DenyReason::UnknownEthertype),
            }
        }
        Err(DenyReason::TooDeep)
    }

    pub(super) fn raw(mut self) -> Result<(), DenyReason> {
        let span = Span {
            at: 0,
            end: self.data.len(),
            cut: true,
            quote_depth: 0,
        };
        match span.take(self.data, 1)?[0] >> 4 {
            4 => self.ipv4(span),
            6 => self.ipv6(span),
            _ => Err(DenyReason::BadIpVersion),
        }
    }

    /// RFC 826, Ethernet and IPv4 only.
    fn arp(&mut self, span: Span) -> Result<(), DenyReason> {
        let fixed = span.take(self.data, 8)?;
        if be16(fixed, 0) != 1 || be16(fixed, 2) != ETHERTYPE_IPV4 || fixed[4] != 6 || fixed[5] != 4 {
            return Err(DenyReason::UnsupportedArp);
        }
        span.take(self.data, 28)?;
        self.found.push(LayerKind::Arp, 0, span.at, 28)
    }
}
