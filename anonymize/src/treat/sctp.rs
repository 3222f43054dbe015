//! SCTP: ports, and the verification tag permuted. The checksum is written over the released bytes; chunks, which
//! hold addresses and cookies, are no header.

use super::Anonymizer;
use super::identifier::keeping_zero;
use crate::dissect::be32;
use crate::fields::{FieldRule, NONE, REAL};

/// SCTP; ports are in `port.rs`.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new(
        "SCTP",
        "verification tag",
        [NONE, NONE, "permuted: 32 bits, 0 kept", REAL],
    ),
    FieldRule::new("SCTP", "chunks", [NONE, NONE, "cut", "cut"]),
];

impl Anonymizer {
    pub(super) fn sctp(&self, real: &[u8], out: &mut [u8]) {
        self.write_ports(real, out);
        let tag = keeping_zero(be32(real, 4), |tag| {
            self.memory
                .sctp_tag
                .of(tag, |tag| self.keys.sctp_tag.map32(tag, 0))
        });
        out[4..8].copy_from_slice(&tag.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use crate::packet::LinkType;
    use crate::sample::{INNER_SRC, SRC, TEXT, ethernet, ipv4, released, released_ipv4};

    #[test]
    fn the_tag_is_permuted_and_chunks_are_cut() {
        let packet = [
            &[
                0xc7, 0x39, 0x0b, 0x59, 0xa1, 0xb2, 0xc3, 0xd4, 0xca, 0xfe, 0xca, 0xfe, 1, 0, 0, 20,
            ][..],
            &INNER_SRC,
            TEXT,
        ]
        .concat();
        let out = released_ipv4(132, &packet, &[&packet[4..8], &packet[8..12], &INNER_SRC, TEXT]);
        assert_eq!(out.len(), 12);
        let start = [&packet[..4], &[0; 4], &packet[8..]].concat();
        assert_eq!(released_ipv4(132, &start, &[])[4..8], [0; 4], "INIT has no tag");
    }

    #[test]
    fn a_quote_of_eight_bytes_is_treated_too() {
        let quoted = ipv4(132, &[0xc7, 0x39, 0x0b, 0x59, 0xa1, 0xb2, 0xc3, 0xd4]);
        let error = [&[3, 2, 0xca, 0xfe, 0, 0, 0, 0][..], &quoted].concat();
        let out = released(
            LinkType::ETHERNET,
            &ethernet(0x0800, &ipv4(1, &error)),
            &[&[0xa1, 0xb2, 0xc3, 0xd4], &SRC],
        );
        assert_eq!(out.len(), 34 + 8 + 28);
    }
}
