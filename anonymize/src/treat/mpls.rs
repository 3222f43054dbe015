//! MPLS: labels permuted, traffic class and bottom of stack kept, TTL as hops; of a pseudowire's control word its
//! presence alone.

use super::Anonymizer;
use super::identifier::keeping;
use super::scale::hops_as_ttl;
use crate::dissect::be32;
use crate::fields::{FieldRule, NONE, REAL};

/// Labels below are special-purpose (RFC 7274): they tell what follows, not whose it is.
const FIRST_LABEL: u32 = 16;

/// MPLS.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new(
        "MPLS",
        "label",
        [NONE, NONE, "permuted: 20 bits, special-purpose labels kept", REAL],
    ),
    FieldRule::new(
        "MPLS",
        "traffic class, bottom of stack",
        [NONE, NONE, "kept", REAL],
    ),
    FieldRule::new("MPLS", "time to live", [NONE, NONE, "255 minus the hops", REAL]),
    FieldRule::new("MPLS", "pseudowire control word", [NONE, NONE, "zero", REAL]),
];

impl Anonymizer {
    pub(super) fn mpls(&self, real: &[u8], out: &mut [u8]) {
        for (real, out) in real.chunks_exact(4).zip(out.chunks_exact_mut(4)) {
            let entry = be32(real, 0);
            let label = keeping(
                entry >> 12,
                |label| label < FIRST_LABEL,
                |label| self.keys.mpls.map(label, 0),
            );
            let hops = hops_as_ttl(real[3]);
            out.copy_from_slice(&(label << 12 | entry & 0xf00 | u32::from(hops)).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::LinkType;
    use crate::sample::{INNER_SRC, TEXT, ethernet, inner, released};

    #[test]
    fn labels_are_permuted_and_ttls_become_hops() {
        // Label 0xabcde with traffic class 5, then the router alert label, bottom of stack.
        let stack = [0xab, 0xcd, 0xea, 60, 0, 0, 0x11, 250];
        let packet = ethernet(0x8847, &[&stack[..], &inner()].concat());
        let out = released(LinkType::ETHERNET, &packet, &[&stack[..2], &INNER_SRC, TEXT]);
        let label = be32(&out, 14) >> 12;
        assert!(label >= FIRST_LABEL && label != 0xa_bcde);
        assert_eq!((out[16] & 0xf, out[17]), (0xa, 251));
        assert_eq!(out[18..22], [0, 0, 0x11, 250]);
    }

    #[test]
    fn a_control_word_is_its_presence() {
        let wire = [
            &[1, 2, 0x31, 64, 0x0a, 0xbb, 0x12, 0x34][..],
            &ethernet(0x0800, &inner()),
        ]
        .concat();
        let out = released(
            LinkType::ETHERNET,
            &ethernet(0x8847, &wire),
            &[&wire[4..8], &wire[8..14]],
        );
        assert_eq!(out[18..22], [0; 4]);
    }
}
