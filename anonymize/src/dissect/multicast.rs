//! Group membership: IGMP versions 1 to 3 (RFC 1112, 2236, 3376) and MLD (RFC 2710, 3810). Owns where group records
//! end; a message that ends inside one is broken.

use super::{DenyReason, LayerKind, Span, Walk, be16};

pub(crate) const IGMP_QUERY: u8 = 0x11;
pub(crate) const IGMP_REPORT_V3: u8 = 0x22;
pub(crate) const MLD_QUERY: u8 = 130;
pub(crate) const MLD_REPORT_V2: u8 = 143;
/// Bytes of a version 3 query before its sources; a shorter query is of version 1 or 2.
pub(crate) const IGMP_QUERY_V3_LEN: usize = 12;
/// Bytes of a version 2 query before its sources; a shorter query is of version 1.
pub(crate) const MLD_QUERY_V2_LEN: usize = 28;

/// Length of a group record: type, auxiliary length, number of sources, group, sources, auxiliary words.
/// `record` holds at least its first four bytes.
pub(crate) fn group_record_len(record: &[u8], address_len: usize) -> usize {
    4 + address_len * (1 + usize::from(be16(record, 2))) + usize::from(record[1]) * 4
}

impl Walk<'_, '_> {
    pub(super) fn igmp(&mut self, span: Span) -> Result<(), DenyReason> {
        let fixed = span.take(self.data, 8)?;
        let len = match fixed[0] {
            IGMP_QUERY if span.available() >= IGMP_QUERY_V3_LEN => {
                let sources = be16(span.take(self.data, IGMP_QUERY_V3_LEN)?, 10);
                IGMP_QUERY_V3_LEN + usize::from(sources) * 4
            }
            IGMP_REPORT_V3 => self.group_records(span, be16(fixed, 6), 4)?,
            _ => 8,
        };
        span.take(self.data, len)?;
        self.push(LayerKind::Igmp, span, len)
    }

    /// Length of a multicast listener query.
    pub(super) fn listener_query(&self, span: Span) -> Result<usize, DenyReason> {
        if span.available() < MLD_QUERY_V2_LEN {
            return Ok(24);
        }
        let sources = be16(span.take(self.data, MLD_QUERY_V2_LEN)?, 26);
        Ok(MLD_QUERY_V2_LEN + usize::from(sources) * 16)
    }

    /// Length of a report of `count` group records behind 8 bytes.
    pub(super) fn group_records(
        &self,
        span: Span,
        count: u16,
        address_len: usize,
    ) -> Result<usize, DenyReason> {
        let mut len = 8;
        for _ in 0..count {
            let record = &span.take(self.data, len + 4)?[len..];
            len += group_record_len(record, address_len);
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::dissect;
    use crate::packet::LinkType;
    use crate::sample::{ipv4, ipv6};

    fn header_len(packet: &[u8]) -> Result<usize, DenyReason> {
        let found = dissect(LinkType::RAW, packet);
        found
            .deny
            .map_or(Ok(found.layers().last().unwrap().len as usize), Err)
    }

    #[test]
    fn messages_of_every_version() {
        let record = |sources: u8, words: u8| {
            [
                &[4, words, 0, sources][..],
                &[9; 4 * 8][..4 + 4 * usize::from(sources) + 4 * usize::from(words)],
            ]
            .concat()
        };
        let report = |records: &[Vec<u8>]| {
            [
                &[0x22, 0, 0, 0, 0, 0, 0, records.len() as u8][..],
                &records.concat(),
            ]
            .concat()
        };
        assert_eq!(header_len(&ipv4(2, &[0x16, 0, 0, 0, 239, 1, 2, 3])), Ok(8));
        assert_eq!(
            header_len(&ipv4(2, &[0x11, 1, 0, 0, 0, 0, 0, 0, 2, 3, 0, 1, 9, 9, 9, 9])),
            Ok(16)
        );
        assert_eq!(
            header_len(&ipv4(2, &report(&[record(2, 1), record(0, 0)]))),
            Ok(8 + 20 + 8)
        );
        assert_eq!(
            header_len(&ipv4(2, &report(&[record(2, 1)])[..20])),
            Err(DenyReason::Malformed)
        );
        let mld = [&[143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 1][..], &[9; 32]].concat();
        assert_eq!(header_len(&ipv6(58, &mld)), Ok(44));
        assert_eq!(header_len(&ipv6(58, &mld[..40])), Err(DenyReason::Malformed));
        assert_eq!(
            header_len(&ipv6(58, &[&[130, 0, 0, 0, 0, 0, 0, 0][..], &[9; 16]].concat())),
            Ok(24)
        );
    }
}
