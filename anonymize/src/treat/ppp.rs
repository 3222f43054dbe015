//! PPP and PPPoE: the protocol number kept, the session permuted.

use super::Anonymizer;
use super::identifier::keeping_zero;
use crate::dissect::be16;
use crate::fields::{FieldRule, NONE, REAL};

/// PPP and PPPoE.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new("PPP", "address, control, protocol", [NONE, NONE, "kept", REAL]),
    FieldRule::new("PPPoE", "code, length", [NONE, NONE, "kept", REAL]),
    FieldRule::new(
        "PPPoE",
        "session id",
        [NONE, NONE, "permuted: 16 bits, 0 kept", REAL],
    ),
    FieldRule::new("PPPoE", "tags of discovery", [NONE, NONE, "cut", "cut"]),
];

impl Anonymizer {
    pub(super) fn ppp(&self, real: &[u8], out: &mut [u8]) {
        // Constants, and a protocol number of the allow-list.
        out.copy_from_slice(real);
    }

    pub(super) fn pppoe(&self, real: &[u8], out: &mut [u8]) {
        out[0..2].copy_from_slice(&real[0..2]);
        let session = keeping_zero(be16(real, 2).into(), |id| self.keys.pppoe.map(id, 0)) as u16;
        out[2..4].copy_from_slice(&session.to_be_bytes());
        out[4..6].copy_from_slice(&real[4..6]);
    }
}

#[cfg(test)]
mod tests {
    use crate::packet::LinkType;
    use crate::sample::{INNER_SRC, TEXT, ethernet, inner, released};

    #[test]
    fn sessions_are_permuted_and_tags_are_cut() {
        let session = |id: [u8; 2]| {
            let len = (inner().len() as u16 + 2).to_be_bytes();
            ethernet(
                0x8864,
                &[&[0x11, 0], &id[..], &len, &[0, 0x21], &inner()].concat(),
            )
        };
        let out = released(LinkType::ETHERNET, &session([0xab, 0xcd]), &[&INNER_SRC, TEXT]);
        assert_eq!(
            (&out[14..16], &out[18..22]),
            (&[0x11, 0][..], &session([0, 0])[18..22])
        );
        assert_ne!(out[16..18], [0xab, 0xcd]);
        let other = released(LinkType::ETHERNET, &session([0xab, 0xce]), &[]);
        assert_ne!(out[16..18], other[16..18]);
        let discovery = ethernet(0x8863, &[&[0x11, 9, 0, 0, 0, 10][..], TEXT].concat());
        let out = released(LinkType::ETHERNET, &discovery, &[TEXT]);
        assert_eq!(out[14..], [0x11, 9, 0, 0, 0, 10]);
        assert_eq!(
            released(LinkType::PPP_ETHER, &discovery[14..], &[TEXT]),
            out[14..]
        );
    }
}
