//! IPv4 (RFC 791) and IPv6 (RFC 8200) with extension headers. Owns where an IP packet ends: bytes beyond it
//! (padding, trailers) belong to no header.

use super::transport::PROTOCOL_AH;
use super::{DenyReason, LayerKind, Span, Walk, be16};

const MORE_FRAGMENTS: u16 = 0x2000;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

impl Walk<'_, '_> {
    /// By the version that something else told.
    pub(super) fn ip(&mut self, version: u8, span: Span) -> Result<(), DenyReason> {
        match version {
            4 => self.ipv4(span),
            6 => self.ipv6(span),
            _ => Err(DenyReason::BadIpVersion),
        }
    }

    #[inline]
    pub(super) fn ipv4(&mut self, span: Span) -> Result<(), DenyReason> {
        let fixed = span.take(self.data, 20)?;
        if fixed[0] >> 4 != 4 {
            return Err(DenyReason::BadIpVersion);
        }
        let header_len = usize::from(fixed[0] & 0xf) * 4;
        let total_len = usize::from(be16(fixed, 2));
        let quoted = span.quote_depth > 0;
        // Some stacks quote a header whose length they had already changed; a quote ends where its carrier does.
        if header_len < 20 || (!quoted && total_len < header_len) {
            return Err(DenyReason::Malformed);
        }
        span.take(self.data, header_len)?;
        self.push(LayerKind::Ipv4, span, header_len)?;
        let fragment = be16(fixed, 6);
        if fragment & 0x1fff != 0 {
            return Ok(());
        }
        let mut payload = within(span, total_len).skip(header_len);
        // The first fragment: the rest of what its headers speak of is in others.
        payload.cut |= fragment & MORE_FRAGMENTS != 0;
        self.transport(payload, fixed[9])
    }

    pub(super) fn ipv6(&mut self, span: Span) -> Result<(), DenyReason> {
        let fixed = span.take(self.data, 40)?;
        if fixed[0] >> 4 != 6 {
            return Err(DenyReason::BadIpVersion);
        }
        self.push(LayerKind::Ipv6, span, 40)?;
        let payload_len = usize::from(be16(fixed, 4));
        let mut next = fixed[6];
        // Length 0 with hop-by-hop options is a jumbogram (RFC 2675): it ends where the capture does.
        let jumbo = payload_len == 0 && next == HOP_BY_HOP;
        let mut span = if jumbo {
            Span { cut: true, ..span }
        } else {
            within(span, 40 + payload_len)
        }
        .skip(40);
        loop {
            let kind = match next {
                HOP_BY_HOP => LayerKind::HopByHop,
                ROUTING => LayerKind::Routing,
                DESTINATION_OPTIONS => LayerKind::DestinationOptions,
                FRAGMENT => LayerKind::Fragment,
                _ => return self.transport(span, next),
            };
            let fixed = span.take(self.data, 8)?;
            let len = if kind == LayerKind::Fragment {
                8
            } else {
                (usize::from(fixed[1]) + 1) * 8
            };
            span.take(self.data, len)?;
            self.push(kind, span, len)?;
            if kind == LayerKind::Fragment && be16(fixed, 2) & 0xfff8 != 0 {
                return Ok(());
            }
            next = fixed[0];
            span = span.skip(len);
            span.cut |= kind == LayerKind::Fragment && fixed[3] & 1 != 0;
        }
    }

    /// RFC 4302; the same in IPv4 and IPv6.
    pub(super) fn authentication(&mut self, span: Span) -> Result<(), DenyReason> {
        let fixed = span.take(self.data, 12)?;
        let len = (usize::from(fixed[1]) + 2) * 4;
        if len < 12 {
            return Err(DenyReason::Malformed);
        }
        span.take(self.data, len)?;
        self.push(LayerKind::Ah, span, len)?;
        // Two authentication headers in a row exist in no sane packet: do not follow them for ever.
        match fixed[0] {
            PROTOCOL_AH => Err(DenyReason::TooDeep),
            next => self.transport(span.skip(len), next),
        }
    }
}

/// `span` cut to an IP packet of `total_len` bytes.
fn within(span: Span, total_len: usize) -> Span {
    if span.quote_depth > 0 {
        return span;
    }
    let end = span.at + total_len;
    Span {
        end: end.min(span.end),
        cut: end > span.end,
        ..span
    }
}
