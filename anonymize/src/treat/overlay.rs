//! VXLAN and GENEVE: the network identifier permuted, GENEVE's options zero at their length. Everything else in the
//! two headers is constant or tells what is carried.

use super::Anonymizer;
use crate::fields::{FieldRule, NONE, REAL};

/// VXLAN and GENEVE.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new("VXLAN, GENEVE", "flags, payload type", [NONE, NONE, "kept", REAL]),
    FieldRule::new(
        "VXLAN, GENEVE",
        "network identifier",
        [NONE, NONE, "permuted: 24 bits", REAL],
    ),
    FieldRule::new("GENEVE", "options", [NONE, NONE, "zero, length kept", REAL]),
];

impl Anonymizer {
    pub(super) fn overlay(&self, real: &[u8], out: &mut [u8]) {
        out[0..4].copy_from_slice(&real[0..4]);
        let network = u32::from_be_bytes([0, real[4], real[5], real[6]]);
        let [_, mapped @ ..] = self.keys.vni.map(network, 0).to_be_bytes();
        out[4..7].copy_from_slice(&mapped);
    }
}

#[cfg(test)]
mod tests {
    use crate::sample::{INNER_SRC, MAC_A, TEXT, ethernet, inner, released_ipv4, udp};

    #[test]
    fn the_network_is_permuted_and_options_are_zero() {
        let carried = ethernet(0x0800, &inner());
        let vxlan = udp(
            [50_000, 4789],
            &[&[8, 0, 0, 0, 0xaa, 0xbb, 0xcc, 0][..], &carried].concat(),
        );
        let out = released_ipv4(17, &vxlan, &[&[0xaa, 0xbb, 0xcc], &MAC_A, &INNER_SRC, TEXT]);
        assert_eq!(out[8..12], [8, 0, 0, 0]);
        let head = [
            2, 0, 0x65, 0x58, 0xaa, 0xbb, 0xcc, 0, 1, 2, 3, 1, b'T', b'E', b'X', b'T',
        ];
        let geneve = udp([50_000, 6081], &[&head[..], &carried].concat());
        let same = released_ipv4(
            17,
            &geneve,
            &[&[0xaa, 0xbb, 0xcc], &head[8..12], b"TEXT", &MAC_A, TEXT],
        );
        assert_eq!(same[12..15], out[12..15], "one network, one pseudonym");
        assert_eq!(same[16..24], [0; 8]);
    }

    #[test]
    fn a_port_without_a_tunnel_is_cut_after_udp() {
        let out = released_ipv4(17, &udp([50_000, 4789], TEXT), &[TEXT]);
        assert_eq!(out.len(), 8);
    }
}
