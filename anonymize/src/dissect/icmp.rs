//! ICMP (RFC 792, 950, 1256) and ICMPv6 (RFC 4443, 4861, 2710, 3810). Owns which messages have a body that is a
//! header, and which quote a packet; of all others the first 8 bytes are the header.

use super::multicast::{MLD_QUERY, MLD_REPORT_V2};
use super::{DenyReason, LayerKind, MAX_QUOTE_DEPTH, Span, Walk, be16};

/// ICMPv4 errors: destination unreachable, source quench, redirect, time exceeded, parameter problem.
pub(crate) const ICMP_ERRORS: [u8; 5] = [3, 4, 5, 11, 12];
pub(crate) const ICMP_ROUTER_ADVERTISEMENT: u8 = 9;
/// ICMPv6 errors: destination unreachable, packet too big, time exceeded, parameter problem.
pub(crate) const ICMP6_ERRORS: [u8; 4] = [1, 2, 3, 4];

/// Bytes of an ICMPv6 message before its options; `None` where the message has no options that are followed.
pub(crate) fn neighbour_discovery_fixed_len(kind: u8) -> Option<usize> {
    match kind {
        133 => Some(8),
        134 => Some(16),
        135 | 136 => Some(24),
        137 => Some(40),
        _ => None,
    }
}

impl Walk<'_, '_> {
    pub(super) fn icmp(&mut self, span: Span) -> Result<(), DenyReason> {
        let fixed = span.take(self.data, 8)?;
        let len = match fixed[0] {
            13 | 14 => 20,
            17 | 18 => 12,
            // Entry size is in 32-bit words; only the two-word form is defined.
            ICMP_ROUTER_ADVERTISEMENT if fixed[5] == 2 => 8 + usize::from(fixed[4]) * 8,
            _ => 8,
        };
        span.take(self.data, len)?;
        self.push(LayerKind::Icmp, span, len)?;
        if ICMP_ERRORS.contains(&fixed[0]) {
            // Destination unreachable, time exceeded, parameter problem may tell the quote's length in words.
            let words = if matches!(fixed[0], 3 | 11 | 12) {
                fixed[5]
            } else {
                0
            };
            self.quote(span.skip(8), 4, usize::from(words) * 4);
        }
        Ok(())
    }

    pub(super) fn icmp6(&mut self, span: Span) -> Result<(), DenyReason> {
        let fixed = span.take(self.data, 8)?;
        let len = match fixed[0] {
            MLD_QUERY => self.listener_query(span)?,
            131 | 132 => 24,
            MLD_REPORT_V2 => self.group_records(span, be16(fixed, 6), 16)?,
            kind => match neighbour_discovery_fixed_len(kind) {
                Some(fixed_len) => {
                    span.take(self.data, fixed_len)?;
                    fixed_len + self.options_len(span.skip(fixed_len))
                }
                None => 8,
            },
        };
        span.take(self.data, len)?;
        self.push(LayerKind::Icmp6, span, len)?;
        if ICMP6_ERRORS.contains(&fixed[0]) {
            let words = if matches!(fixed[0], 1 | 3) { fixed[4] } else { 0 };
            self.quote(span.skip(8), 6, usize::from(words) * 8);
        }
        Ok(())
    }

    /// Length of the whole options that follow (RFC 4861 section 4.6); a broken one ends them.
    fn options_len(&self, span: Span) -> usize {
        let mut rest = span;
        while let Ok(head) = rest.take(self.data, 2) {
            let len = usize::from(head[1]) * 8;
            if len == 0 || rest.take(self.data, len).is_err() {
                break;
            }
            rest = rest.skip(len);
        }
        rest.at - span.at
    }

    /// The start of the packet that an error quotes; extension objects follow it where `quoted_len` is not 0
    /// (RFC 4884). What does not parse ends the headers without denying the error itself: a quote is cut short by
    /// design.
    fn quote(&mut self, span: Span, version: u8, quoted_len: usize) {
        if span.quote_depth >= MAX_QUOTE_DEPTH || span.available() == 0 {
            return;
        }
        let end = if quoted_len > 0 {
            span.end.min(span.at + quoted_len)
        } else {
            span.end
        };
        let quoted = Span {
            end,
            cut: true,
            quote_depth: span.quote_depth + 1,
            ..span
        };
        let _ = self.ip(version, quoted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::dissect;
    use crate::packet::LinkType;
    use crate::sample::{TEXT, ipv4, ipv6, kinds, udp};

    #[test]
    fn what_follows_the_stated_length_of_a_quote_is_not_of_it() {
        let quoted = ipv4(17, &udp([53, 50_001], TEXT));
        let error = |words: u8| ipv4(1, &[&[11, 0, 0, 0, 0, words, 0, 0][..], &quoted].concat());
        let layers = |packet: &[u8]| kinds(dissect(LinkType::RAW, packet).layers());
        assert_eq!(
            layers(&error(0)),
            [LayerKind::Ipv4, LayerKind::Icmp, LayerKind::Ipv4, LayerKind::Udp]
        );
        assert_eq!(
            layers(&error(5)),
            [LayerKind::Ipv4, LayerKind::Icmp, LayerKind::Ipv4]
        );
        let quoted6 = ipv6(17, &udp([53, 50_001], TEXT));
        let error6 = ipv6(58, &[&[3, 0, 0, 0, 5, 0, 0, 0][..], &quoted6].concat());
        assert_eq!(
            layers(&error6),
            [LayerKind::Ipv6, LayerKind::Icmp6, LayerKind::Ipv6]
        );
    }

    #[test]
    fn quotes_deeper_than_the_limit_end_the_headers() {
        let mut packet = ipv4(17, &udp([53, 50_001], TEXT));
        for _ in 0..MAX_QUOTE_DEPTH + 2 {
            packet = ipv4(1, &[&[3, 0, 0, 0, 0, 0, 0, 0][..], &packet].concat());
        }
        let found = dissect(LinkType::RAW, &packet);
        let deepest = found.layers().iter().map(|layer| layer.quote_depth).max();
        assert_eq!((found.deny, deepest), (None, Some(MAX_QUOTE_DEPTH)));
    }
}
