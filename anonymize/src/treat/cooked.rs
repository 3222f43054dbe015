//! Linux cooked capture and BSD loopback: what stands in the place of a link header. The address of a cooked header
//! goes through the MAC map where it is one; of other hardware it may be an IP address, and is zero.

use super::Anonymizer;
use crate::dissect::be16;
use crate::fields::{FieldRule, NONE, REAL};

/// Offsets of the hardware type, of the address length, and of the address in a cooked header.
pub(crate) const SLL_HARDWARE: usize = 2;
pub(crate) const SLL_ADDRESS: usize = 6;
pub(crate) const SLL2_HARDWARE: usize = 8;
pub(crate) const SLL2_ADDRESS: usize = 12;
/// ARPHRD_ETHER.
const HARDWARE_ETHERNET: u16 = 1;

/// Link headers that are none on the wire.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new(
        "Linux cooked",
        "packet type, hardware type, protocol",
        [NONE, NONE, "kept", REAL],
    ),
    FieldRule::new(
        "Linux cooked",
        "address",
        [
            NONE,
            NONE,
            "as Ethernet addresses; of other hardware zero",
            "as Ethernet addresses; not of six bytes zero",
        ],
    ),
    FieldRule::new("Linux cooked", "interface index", [NONE, NONE, "zero", REAL]),
    FieldRule::new("loopback", "address family", [NONE, NONE, "kept", REAL]),
];

/// Whether a cooked header whose hardware type and address are at these offsets has the address of an Ethernet card.
pub(crate) fn has_mac(header: &[u8], hardware: usize, address: usize, version: u8) -> bool {
    let len = if version == 1 {
        be16(header, address - 2)
    } else {
        header[address - 1].into()
    };
    be16(header, hardware) == HARDWARE_ETHERNET && len == 6
}

impl Anonymizer {
    pub(super) fn sll(&self, real: &[u8], out: &mut [u8]) {
        // Packet type, hardware type, address length.
        out[0..6].copy_from_slice(&real[0..6]);
        if has_mac(real, SLL_HARDWARE, SLL_ADDRESS, 1) {
            self.write_mac(&real[6..12], &mut out[6..12]);
        }
        out[14..16].copy_from_slice(&real[14..16]);
    }

    pub(super) fn sll2(&self, real: &[u8], out: &mut [u8]) {
        out[0..2].copy_from_slice(&real[0..2]);
        // Hardware type, packet type, address length.
        out[8..12].copy_from_slice(&real[8..12]);
        if has_mac(real, SLL2_HARDWARE, SLL2_ADDRESS, 2) {
            self.write_mac(&real[12..18], &mut out[12..18]);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::packet::LinkType;
    use crate::sample::{DST, INNER_DST, INNER_SRC, MAC_A, inner, node, released};

    #[test]
    fn a_mac_goes_through_its_map_and_the_interface_is_gone() {
        let sll = [&[0, 0, 0, 1, 0, 6][..], &MAC_A, &[0xee, 0xee, 8, 0], &inner()].concat();
        let out = released(LinkType::LINUX_SLL, &sll, &[&MAC_A, &INNER_SRC, &INNER_DST]);
        assert_eq!(out[..6], sll[..6]);
        assert_eq!(out[6..12], node().map_mac(MAC_A));
        assert_eq!(out[12..16], [0, 0, 8, 0]);
        let sll2 = [
            &[8, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef, 0, 1, 4, 6][..],
            &MAC_A,
            &[0xee, 0xee],
            &inner(),
        ]
        .concat();
        let out = released(LinkType::LINUX_SLL2, &sll2, &[&MAC_A, &[0xde, 0xad, 0xbe, 0xef]]);
        assert_eq!(out[12..18], node().map_mac(MAC_A));
        assert_eq!(out[18..20], [0, 0]);
    }

    #[test]
    fn the_address_of_a_tunnel_interface_is_an_ip_address_and_zero() {
        let tunnel = [&[0, 0, 3, 0, 0, 4][..], &DST, &[0; 4], &[8, 0], &inner()].concat();
        let out = released(LinkType::LINUX_SLL, &tunnel, &[&DST]);
        assert_eq!(out[6..14], [0; 8]);
    }

    #[test]
    fn loopback_keeps_its_family() {
        let packet = [&[2, 0, 0, 0][..], &inner()].concat();
        assert_eq!(released(LinkType::NULL, &packet, &[&INNER_SRC])[..4], packet[..4]);
    }
}
