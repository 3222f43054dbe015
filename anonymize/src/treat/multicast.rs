//! Group membership of both families: groups and sources mapped, numbers of them kept; delays, robustness and
//! auxiliary data are not released. No group (that of a general query) stays no group.

use super::Anonymizer;
use crate::dissect::be16;
use crate::dissect::multicast::{
    IGMP_QUERY, IGMP_QUERY_V3_LEN, IGMP_REPORT_V3, MLD_QUERY_V2_LEN, group_record_len,
};
use crate::fields::{FieldRule, NONE, REAL};

/// Version 1 and 2 reports, leave.
const IGMP_GROUP_MESSAGES: [u8; 3] = [0x12, 0x16, 0x17];

/// IGMP and MLD.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new("IGMP", "type", [NONE, NONE, "kept", REAL]),
    FieldRule::new(
        "IGMP",
        "group, source",
        [NONE, NONE, "as IPv4 addresses, 0 kept", REAL],
    ),
    FieldRule::new(
        "ICMPv6",
        "listener query and report: group, source",
        [NONE, NONE, "as IPv6 addresses, 0 kept", "as IPv6 addresses"],
    ),
    FieldRule::new(
        "IGMP, ICMPv6",
        "group record: type, numbers",
        [NONE, NONE, "kept", REAL],
    ),
    FieldRule::new(
        "IGMP, ICMPv6",
        "delay, robustness, interval",
        [NONE, NONE, "zero", REAL],
    ),
    FieldRule::new(
        "IGMP, ICMPv6",
        "group record: auxiliary data",
        [NONE, NONE, "zero", "zero"],
    ),
];

impl Anonymizer {
    pub(super) fn igmp(&self, real: &[u8], out: &mut [u8]) {
        out[0] = real[0];
        match real[0] {
            IGMP_REPORT_V3 => self.group_records(real, out, 4),
            IGMP_QUERY if real.len() >= IGMP_QUERY_V3_LEN => {
                self.write_groups(&real[4..8], &mut out[4..8], 4);
                out[10..12].copy_from_slice(&real[10..12]);
                self.write_groups(&real[IGMP_QUERY_V3_LEN..], &mut out[IGMP_QUERY_V3_LEN..], 4);
            }
            IGMP_QUERY => self.write_groups(&real[4..8], &mut out[4..8], 4),
            kind if IGMP_GROUP_MESSAGES.contains(&kind) => {
                self.write_groups(&real[4..8], &mut out[4..8], 4);
            }
            // Routing and tracing protocols that share the number: of them the type.
            _ => {}
        }
    }

    /// Queries of both versions, version 1 report and done.
    pub(super) fn listener_message(&self, real: &[u8], out: &mut [u8]) {
        self.write_groups(&real[8..24], &mut out[8..24], 16);
        if real.len() >= MLD_QUERY_V2_LEN {
            out[26..28].copy_from_slice(&real[26..28]);
            self.write_groups(&real[MLD_QUERY_V2_LEN..], &mut out[MLD_QUERY_V2_LEN..], 16);
        }
    }

    /// A report of group records behind 8 bytes; dissection checked that they end where `real` does.
    pub(super) fn group_records(&self, real: &[u8], out: &mut [u8], address_len: usize) {
        out[6..8].copy_from_slice(&real[6..8]);
        let mut at = 8;
        while let Some(record) = real.get(at..).filter(|rest| rest.len() >= 4) {
            let end = at + group_record_len(record, address_len);
            let addresses = at + 4..at + 4 + address_len * (1 + usize::from(be16(record, 2)));
            let Some(room) = out.get_mut(at..end) else { return };
            room[0..4].copy_from_slice(&record[0..4]);
            self.write_groups(&real[addresses.clone()], &mut out[addresses], address_len);
            at = end;
        }
    }

    fn write_groups(&self, real: &[u8], out: &mut [u8], address_len: usize) {
        let pairs = real
            .chunks_exact(address_len)
            .zip(out.chunks_exact_mut(address_len));
        for (real, out) in pairs.filter(|(real, _)| real.iter().any(|byte| *byte != 0)) {
            if address_len == 4 {
                self.write_v4(real, out);
            } else {
                self.write_v6(real, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::packet::LinkType;
    use crate::sample::{
        DST6, INNER_DST, INNER_SRC, SRC6, TEXT, ethernet, ipv6, node, released, released_ipv4,
    };

    fn v4(address: [u8; 4]) -> [u8; 4] {
        node().map_v4(u32::from_be_bytes(address)).to_be_bytes()
    }

    #[test]
    fn groups_and_sources_of_igmp_are_mapped() {
        let join = [&[0x16, 0x77, 0xca, 0xfe][..], &INNER_SRC].concat();
        let out = released_ipv4(2, &join, &[&INNER_SRC, &[0xca, 0xfe]]);
        assert_eq!((&out[..2], &out[4..8]), (&[0x16, 0][..], &v4(INNER_SRC)[..]));
        let query = [
            &[0x11, 0x77, 0xca, 0xfe, 0, 0, 0, 0, 0x8a, 0x7d, 0, 1][..],
            &INNER_DST,
        ]
        .concat();
        let out = released_ipv4(2, &query, &[&INNER_DST, &[0x8a, 0x7d]]);
        assert_eq!(
            (&out[4..12], &out[12..]),
            (&[0, 0, 0, 0, 0, 0, 0, 1][..], &v4(INNER_DST)[..])
        );
        let report = [
            &[0x22, 0, 0xca, 0xfe, 0, 0, 0, 1, 4, 2, 0, 1][..],
            &INNER_SRC,
            &INNER_DST,
            &TEXT[..8],
        ]
        .concat();
        let out = released_ipv4(2, &report, &[&INNER_SRC, &INNER_DST, &TEXT[..8]]);
        assert_eq!(
            out[8..20],
            [&[4, 2, 0, 1][..], &v4(INNER_SRC), &v4(INNER_DST)].concat()
        );
        assert_eq!(out[20..], [0; 8]);
        let other = [&[0x13, 0x77, 0xca, 0xfe][..], &INNER_SRC].concat();
        assert_eq!(
            released_ipv4(2, &other, &[&INNER_SRC])[4..8],
            [0; 4],
            "a protocol that is not followed"
        );
    }

    #[test]
    fn groups_and_sources_of_mld_are_mapped() {
        let v6 = |address: [u8; 16]| node().map_v6(u128::from_be_bytes(address)).to_be_bytes();
        let run = |message: &[u8]| {
            released(
                LinkType::ETHERNET,
                &ethernet(0x86dd, &ipv6(58, message)),
                &[&SRC6[8..], &DST6[..8]],
            )[54..]
                .to_vec()
        };
        let report = [&[143, 0, 0xca, 0xfe, 0, 0, 0, 1, 4, 0, 0, 1][..], &SRC6, &DST6].concat();
        assert_eq!(run(&report)[12..], [v6(SRC6), v6(DST6)].concat());
        let query = [
            &[130, 0, 0xca, 0xfe, 0x27, 0x10, 0, 0][..],
            &[0; 16],
            &[0x8a, 0x7d, 0, 2],
            &SRC6,
            &DST6,
        ]
        .concat();
        let out = run(&query);
        assert_eq!(out[4..28], [&[0; 22][..], &[0, 2]].concat());
        assert_eq!(out[28..], [v6(SRC6), v6(DST6)].concat());
    }
}
