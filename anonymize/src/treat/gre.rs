//! GRE and EtherIP: flags and payload type kept, the key and PPTP's call permuted, the sequence number shifted by a
//! keyed offset of its direction and key; PPTP's numbers zero, since the two directions name one call differently.

use super::{Anonymizer, Flow};
use crate::dissect::tunnel::{GRE_CHECKSUM, GRE_KEY, GRE_SEQUENCE, GRE_VERSION};
use crate::dissect::{be16, be32};
use crate::fields::{FieldRule, NONE, REAL};

/// GRE selects a sequence by its key.
const GRE: u8 = 47;

/// GRE and EtherIP.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new("GRE", "flags, version, payload type", [NONE, NONE, "kept", REAL]),
    FieldRule::new("GRE", "key", [NONE, NONE, "permuted: 32 bits", REAL]),
    FieldRule::new(
        "GRE",
        "sequence number",
        [NONE, NONE, "minus a keyed offset of its direction and key", REAL],
    ),
    FieldRule::new(
        "GRE",
        "source routes (RFC 1701), undefined flags",
        [
            NONE,
            NONE,
            "cut, with the whole header",
            "cut, with the whole header",
        ],
    ),
    FieldRule::new(
        "GRE",
        "ERSPAN header, the frame that it mirrors",
        [NONE, NONE, "cut", "cut"],
    ),
    FieldRule::new("GRE of PPTP", "payload length", [NONE, NONE, "kept", REAL]),
    FieldRule::new("GRE of PPTP", "call id", [NONE, NONE, "permuted: 16 bits", REAL]),
    FieldRule::new(
        "GRE of PPTP",
        "sequence and acknowledgement number",
        [NONE, NONE, "zero", REAL],
    ),
    FieldRule::new("EtherIP", "version", [NONE, NONE, "kept", REAL]),
];

impl Anonymizer {
    pub(super) fn gre(&self, real: &[u8], out: &mut [u8], flow: &Flow) {
        out[0..4].copy_from_slice(&real[0..4]);
        let flags = be16(real, 0);
        if flags & GRE_VERSION != 0 {
            // PPTP: payload length and call in place of the key.
            out[4..6].copy_from_slice(&real[4..6]);
            let call = self.keys.gre_call.map(be16(real, 6).into(), 0) as u16;
            out[6..8].copy_from_slice(&call.to_be_bytes());
            return;
        }
        // Checksum and reserved field stay zero here: the checksum is written over the released bytes.
        let mut at = if flags & GRE_CHECKSUM != 0 { 8 } else { 4 };
        let mut key = 0;
        if flags & GRE_KEY != 0 {
            key = be32(real, at);
            let pseudonym = self.memory.gre_key.of(key, |key| self.keys.gre_key.map32(key, 0));
            out[at..at + 4].copy_from_slice(&pseudonym.to_be_bytes());
            at += 4;
        }
        if flags & GRE_SEQUENCE != 0 {
            let offset = self.sequence_offset(flow.src, flow.dst, key, GRE);
            let relative = be32(real, at).wrapping_sub(offset);
            out[at..at + 4].copy_from_slice(&relative.to_be_bytes());
        }
    }

    pub(super) fn etherip(&self, real: &[u8], out: &mut [u8]) {
        // A constant.
        out.copy_from_slice(real);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{INNER_DST, INNER_SRC, MAC_A, MAC_B, TEXT, ethernet, inner, released_ipv4};

    #[test]
    fn key_and_sequence_are_pseudonyms_and_the_checksum_is_written_anew() {
        let header = [
            0xb0, 0, 8, 0, 0xca, 0xfe, 0, 0, 0xa1, 0xb2, 0xc3, 0xd4, 0x12, 0x34, 0x56, 0x78,
        ];
        let packet = [&header[..], &inner()].concat();
        let secrets = [
            &header[4..6],
            &header[8..12],
            &header[12..16],
            &INNER_SRC,
            &INNER_DST,
            TEXT,
        ];
        let out = released_ipv4(47, &packet, &secrets);
        assert_eq!(out[..4], header[..4]);
        let sum = crate::checksum::Sum::default().bytes(&out);
        assert_eq!(sum.checksum(), 0, "with a payload of zeros it is right");
        let next = [&header[..15], &[0x7b][..], &inner()].concat();
        let later = released_ipv4(47, &next, &[]);
        assert_eq!(
            be32(&later, 12).wrapping_sub(be32(&out, 12)),
            3,
            "distances are kept"
        );
    }

    #[test]
    fn a_version_that_is_not_followed_is_cut() {
        let routed = [&[0x40, 0, 8, 0, 0, 0, 0, 0][..], &INNER_SRC].concat();
        assert!(released_ipv4(47, &routed, &[&INNER_SRC]).is_empty());
    }

    #[test]
    fn pptp_is_its_header() {
        let packet = [
            &[0x30, 0x81, 0x88, 0x0b, 0, 10, 0xab, 0xcd, 1, 2, 3, 4, 5, 6, 7, 8][..],
            TEXT,
        ]
        .concat();
        let out = released_ipv4(47, &packet, &[TEXT, &[1, 2, 3, 4], &[5, 6, 7, 8]]);
        assert_eq!((out.len(), &out[..6]), (16, &packet[..6]));
        assert_ne!(out[6..8], packet[6..8]);
        assert_eq!(out[8..], [0; 8]);
    }

    #[test]
    fn routes_and_mirrored_frames_are_cut() {
        let routed = [
            &[0x40, 0, 8, 0, 0, 0, 0, 0, 0, 10, 0, 8][..],
            &INNER_SRC,
            &INNER_DST,
            &[0; 4],
            &inner(),
        ]
        .concat();
        assert!(released_ipv4(47, &routed, &[&INNER_SRC, &INNER_DST, TEXT]).is_empty());
        let frame = ethernet(0x0800, &inner());
        for (protocol, header) in [([0x88, 0xbe], 8), ([0x22, 0xeb], 12)] {
            let erspan = [
                &[0x10, 0][..],
                &protocol,
                &[0, 0, 0, 1],
                &vec![0x10; header],
                &frame,
            ]
            .concat();
            let secrets = [&MAC_A[3..], &MAC_B[3..], &INNER_SRC[..], &INNER_DST, TEXT];
            assert_eq!(released_ipv4(47, &erspan, &secrets).len(), 8);
        }
    }
}
