//! TCP (RFC 9293), UDP (RFC 768), ESP (RFC 4303). Owns the allow-list of IP protocols; others end the headers.

use super::{DenyReason, LayerKind, Span, Walk, be16};

pub(crate) const PROTOCOL_ICMP: u8 = 1;
pub(crate) const PROTOCOL_TCP: u8 = 6;
pub(crate) const PROTOCOL_UDP: u8 = 17;
pub(crate) const PROTOCOL_ESP: u8 = 50;
pub(crate) const PROTOCOL_AH: u8 = 51;
pub(crate) const PROTOCOL_ICMP6: u8 = 58;

impl Walk<'_, '_> {
    /// An unknown protocol (a tunnel among them) is not an error: its packet is its IP headers.
    pub(super) fn transport(&mut self, span: Span, protocol: u8) -> Result<(), DenyReason> {
        match protocol {
            PROTOCOL_TCP => self.tcp(span),
            PROTOCOL_UDP => self.udp(span),
            PROTOCOL_ICMP => self.icmp(span),
            PROTOCOL_ICMP6 => self.icmp6(span),
            PROTOCOL_AH => self.authentication(span),
            PROTOCOL_ESP => {
                span.take(self.data, 8)?;
                self.found.push(LayerKind::Esp, span.quote_depth, span.at, 8)
            }
            _ => Ok(()),
        }
    }

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
            Ok(len) => self.found.push(LayerKind::Tcp, span.quote_depth, span.at, len),
            // RFC 792 promises 8 bytes of the quoted packet's payload, no more.
            Err(_) if quoted => {
                span.take(self.data, 8)?;
                self.found.push(LayerKind::TcpStub, span.quote_depth, span.at, 8)
            }
            Err(reason) => Err(reason),
        }
    }

    fn udp(&mut self, span: Span) -> Result<(), DenyReason> {
        let header = span.take(self.data, 8)?;
        // Length 0 is a jumbogram's (RFC 2675).
        if (1..8).contains(&be16(header, 4)) {
            return Err(DenyReason::Malformed);
        }
        self.found.push(LayerKind::Udp, span.quote_depth, span.at, 8)
    }
}
