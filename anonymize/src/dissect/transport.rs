//! TCP (RFC 9293), UDP (RFC 768), SCTP (RFC 9260), ESP (RFC 4303). Owns the allow-list of IP protocols; others end
//! the headers.

use super::{DenyReason, LayerKind, Span, Walk, be16};

pub(crate) const PROTOCOL_ICMP: u8 = 1;
pub(crate) const PROTOCOL_IGMP: u8 = 2;
const PROTOCOL_IPV4: u8 = 4;
pub(crate) const PROTOCOL_TCP: u8 = 6;
pub(crate) const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_IPV6: u8 = 41;
const PROTOCOL_GRE: u8 = 47;
pub(crate) const PROTOCOL_ESP: u8 = 50;
pub(crate) const PROTOCOL_AH: u8 = 51;
pub(crate) const PROTOCOL_ICMP6: u8 = 58;
const PROTOCOL_ETHERIP: u8 = 97;
pub(crate) const PROTOCOL_SCTP: u8 = 132;
const PROTOCOL_MPLS: u8 = 137;

impl Walk<'_, '_> {
    /// An unknown protocol is not an error: its packet is its IP headers.
    pub(super) fn transport(&mut self, span: Span, protocol: u8) -> Result<(), DenyReason> {
        match protocol {
            PROTOCOL_TCP => self.tcp(span),
            PROTOCOL_UDP => self.udp(span),
            PROTOCOL_ICMP => self.icmp(span),
            PROTOCOL_ICMP6 => self.icmp6(span),
            PROTOCOL_IGMP => self.igmp(span),
            PROTOCOL_SCTP => self.sctp(span),
            PROTOCOL_AH => self.authentication(span),
            PROTOCOL_ESP => {
                span.take(self.data, 8)?;
                self.push(LayerKind::Esp, span, 8)
            }
            PROTOCOL_IPV4 => self.carried(span, Self::ipv4),
            PROTOCOL_IPV6 => self.carried(span, Self::ipv6),
            // A version that is not followed is no header, so a released frame may end before it.
            PROTOCOL_GRE | PROTOCOL_ETHERIP if span.available() == 0 => Ok(()),
            PROTOCOL_GRE => self.gre(span),
            PROTOCOL_ETHERIP => self.etherip(span),
            PROTOCOL_MPLS => self.carried(span, Self::mpls),
            _ => Ok(()),
        }
    }

    #[inline]
    fn tcp(&mut self, span: Span) -> Result<(), DenyReason> {
        let quoted = span.quote_depth > 0;
        let whole = span.take(self.data, 20).and_then(|fixed| {
            let len = usize::from(fixed[12] >> 4) * 4;
            if len < 20 {
                return Err(DenyReason::Malformed);
            }
            span.take(self.data, len).map(<[u8]>::len)
        });
        match whole {
            Ok(len) => self.push(LayerKind::Tcp, span, len),
            // RFC 792 promises 8 bytes of the quoted packet's payload, no more.
            Err(_) if quoted => {
                span.take(self.data, 8)?;
                self.push(LayerKind::TcpStub, span, 8)
            }
            Err(reason) => Err(reason),
        }
    }

    fn udp(&mut self, span: Span) -> Result<(), DenyReason> {
        let header = span.take(self.data, 8)?;
        let ports = [be16(header, 0), be16(header, 2)];
        let len = usize::from(be16(header, 4));
        match len {
            // A jumbogram's (RFC 2675): no tunnel is that long.
            0 => return self.push(LayerKind::Udp, span, 8),
            1..8 => return Err(DenyReason::Malformed),
            _ => self.push(LayerKind::Udp, span, 8)?,
        }
        let end = span.at + len;
        let payload = Span {
            end: end.min(span.end),
            cut: span.cut && end > span.end,
            ..span.skip(8)
        };
        self.udp_tunnel(ports, payload, len - 8);
        Ok(())
    }

    fn sctp(&mut self, span: Span) -> Result<(), DenyReason> {
        let len = if span.quote_depth > 0 && span.available() < 12 {
            8
        } else {
            12
        };
        span.take(self.data, len)?;
        self.push(LayerKind::Sctp, span, len)
    }
}
