//! PPP (RFC 1661, 1662) and PPPoE (RFC 2516). Owns which PPP protocols are followed; of all others the protocol
//! number is the last header.

use super::{DenyReason, LayerKind, Span, Walk, be16};

const ADDRESS_AND_CONTROL: [u8; 2] = [0xff, 0x03];
const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;
const PPP_MPLS: u16 = 0x0281;
/// LCP, PAP, CHAP, EAP, and the control protocols of IPv4, IPv6 and MPLS: known, and without a packet inside.
const PPP_CONTROL: [u16; 7] = [0xc021, 0xc023, 0xc223, 0xc227, 0x8021, 0x8057, 0x8281];
/// Version 1, type 1.
const PPPOE_VERSION: u8 = 0x11;
const PPPOE_SESSION_DATA: u8 = 0;

impl Walk<'_, '_> {
    /// RFC 2516. Discovery is its fixed header: its tags name services, hosts and people.
    pub(super) fn pppoe(&mut self, span: Span) -> Result<(), DenyReason> {
        let header = span.take(self.data, 6)?;
        if header[0] != PPPOE_VERSION {
            return Err(DenyReason::Malformed);
        }
        self.push(LayerKind::Pppoe, span, 6)?;
        if header[1] != PPPOE_SESSION_DATA {
            return Ok(());
        }
        // Short frames are padded: the session ends where its length says.
        let end = span.at + 6 + usize::from(be16(header, 4));
        let session = Span {
            end: end.min(span.end),
            cut: span.cut && end > span.end,
            ..span.skip(6)
        };
        self.ppp(session)
    }

    /// Address and control are there or compressed away; so is the first byte of the protocol number.
    pub(super) fn ppp(&mut self, span: Span) -> Result<(), DenyReason> {
        let framed = span.available() >= 2 && *span.take(self.data, 2)? == ADDRESS_AND_CONTROL;
        let before = if framed { 2 } else { 0 };
        let first = span.take(self.data, before + 1)?[before];
        // The last byte of a protocol number is odd, the first one even (RFC 1661 section 2).
        let (protocol, len) = if first & 1 == 1 {
            (first.into(), before + 1)
        } else {
            (be16(span.take(self.data, before + 2)?, before), before + 2)
        };
        let inner = span.skip(len);
        match protocol {
            PPP_IPV4 | PPP_IPV6 | PPP_MPLS => self.push(LayerKind::Ppp, span, len)?,
            _ if PPP_CONTROL.contains(&protocol) => return self.push(LayerKind::Ppp, span, len),
            _ => return Err(DenyReason::UnknownEthertype),
        }
        match protocol {
            PPP_IPV4 => self.ipv4(inner),
            PPP_IPV6 => self.ipv6(inner),
            _ => self.mpls(inner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::dissect;
    use crate::packet::LinkType;
    use crate::sample::{TEXT, ethernet, inner, kinds};

    #[test]
    fn framed_bare_and_compressed() {
        use LayerKind::{Ipv4, Ppp, Udp};
        for head in [&[0xff, 3, 0, 0x21][..], &[0, 0x21], &[0x21], &[0xff, 3, 0x21]] {
            let found = dissect(LinkType::PPP, &[head, &inner()].concat());
            assert_eq!((found.deny, kinds(found.layers())), (None, vec![Ppp, Ipv4, Udp]));
            assert_eq!(found.layers()[0].len as usize, head.len());
        }
    }

    #[test]
    fn control_protocols_are_their_number_and_others_are_denied() {
        let control = dissect(LinkType::PPP_HDLC, b"\xff\x03\xc2\x23\x01name of the peer");
        assert_eq!((control.deny, control.header_len), (None, 4));
        let other = dissect(LinkType::PPP, b"\xff\x03\x00\x2dcompressed headers");
        assert_eq!(other.deny, Some(DenyReason::UnknownEthertype));
    }

    #[test]
    fn pppoe_ends_where_its_length_says() {
        let len = inner().len() as u16 + 2;
        let session = [
            &[0x11, 0, 0x12, 0x34][..],
            &len.to_be_bytes(),
            &[0, 0x21],
            &inner(),
            TEXT,
        ]
        .concat();
        let found = dissect(LinkType::ETHERNET, &ethernet(0x8864, &session));
        assert_eq!(found.deny, None);
        assert_eq!(found.own().len(), 5, "Ethernet, PPPoE, PPP, IPv4, UDP");
        let discovery = [&[0x11, 9, 0, 0, 0, 10][..], TEXT].concat();
        assert_eq!(
            dissect(LinkType::ETHERNET, &ethernet(0x8863, &discovery)).header_len,
            20
        );
    }
}
