//! L2TP version 2: flags and length kept, tunnel and session permuted, sequence numbers and padding zero.

use super::Anonymizer;
use super::identifier::keeping_zero;
use crate::dissect::be16;
use crate::dissect::udp_tunnel::{L2TP_LENGTH, L2TP_OFFSET, L2TP_SEQUENCE};
use crate::fields::{FieldRule, NONE, REAL};

/// L2TP.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new(
        "L2TP",
        "flags, version, length, offset size",
        [NONE, NONE, "kept", REAL],
    ),
    FieldRule::new(
        "L2TP",
        "tunnel id, session id",
        [NONE, NONE, "permuted: 16 bits, 0 kept", REAL],
    ),
    FieldRule::new("L2TP", "sequence numbers", [NONE, NONE, "zero", REAL]),
    FieldRule::new("L2TP", "offset padding", [NONE, NONE, "zero", "zero"]),
    FieldRule::new(
        "L2TP",
        "attributes of control messages",
        [NONE, NONE, "cut", "cut"],
    ),
];

impl Anonymizer {
    pub(super) fn l2tp(&self, real: &[u8], out: &mut [u8]) {
        out[0..2].copy_from_slice(&real[0..2]);
        let flags = be16(real, 0);
        let mut at = 2;
        if flags & L2TP_LENGTH != 0 {
            out[2..4].copy_from_slice(&real[2..4]);
            at = 4;
        }
        let tunnel = keeping_zero(be16(real, at).into(), |id| self.keys.l2tp_tunnel.map(id, 0)) as u16;
        let session = keeping_zero(be16(real, at + 2).into(), |id| self.keys.l2tp_session.map(id, 0)) as u16;
        out[at..at + 2].copy_from_slice(&tunnel.to_be_bytes());
        out[at + 2..at + 4].copy_from_slice(&session.to_be_bytes());
        at += if flags & L2TP_SEQUENCE != 0 { 8 } else { 4 };
        if flags & L2TP_OFFSET != 0 {
            out[at..at + 2].copy_from_slice(&real[at..at + 2]);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::sample::{INNER_DST, TEXT, inner, released_ipv4, udp};

    #[test]
    fn tunnel_and_session_are_permuted_each_for_itself() {
        let head = |len: u16| {
            [
                &[0x4a, 2][..],
                &len.to_be_bytes(),
                &[
                    0x5a, 0xa5, 0x5a, 0xa5, 0xb1, 0xb2, 0xb3, 0xb4, 0, 2, 0xee, 0xee, 0xff, 3, 0, 0x21,
                ],
            ]
            .concat()
        };
        let len = (head(0).len() + inner().len()) as u16;
        let message = udp([1701, 1701], &[head(len), inner()].concat());
        let secrets = [
            &[0x5a, 0xa5, 0x5a, 0xa5][..],
            &[0xb1, 0xb2],
            &[0xb3, 0xb4],
            &[0xee, 0xee],
            &INNER_DST,
            TEXT,
        ];
        let out = released_ipv4(17, &message, &secrets);
        assert_eq!(out[8..12], head(len)[..4]);
        assert_ne!(out[12..14], out[14..16], "two fields, two permutations");
        assert_eq!(out[16..24], [0, 0, 0, 0, 0, 2, 0, 0]);
    }

    #[test]
    fn a_control_message_is_its_header() {
        let hello = udp(
            [1701, 1701],
            &[&[0xc8, 2, 0, 22, 0, 7, 0, 0, 0xab, 0xcd, 0xab, 0xce][..], TEXT].concat(),
        );
        let out = released_ipv4(17, &hello, &[TEXT, &[0xab, 0xcd, 0xab, 0xce]]);
        assert_eq!(out.len(), 8 + 12);
        assert_eq!(out[14..16], [0, 0], "no session yet");
    }
}
