//! MAC addresses and VLAN tags. A MAC keeps its individual/group and universal/local bits; vendor and NIC part
//! are permuted, the NIC part bound to the real vendor. Broadcast and all-zero stay; a multicast MAC that
//! carries an IP group is rebuilt from the anonymized group.

use super::Anonymizer;
use super::address::Address;
use crate::dissect::be16;
use crate::fields::{FieldRule, NONE, REAL};

/// Individual/group and universal/local bits, in the first byte.
const KEPT_BITS: u8 = 0b11;
/// 12 bits of VLAN id; priority and drop eligibility are not released.
const VLAN_ID: u16 = 0x0fff;

/// Ethernet and VLAN tags.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new(
        "Ethernet",
        "address",
        [
            NONE,
            NONE,
            "permuted: 24+24 bits, I/G and U/L bits and broadcast kept",
            "vendor half kept, rest permuted",
        ],
    ),
    FieldRule::new(
        "Ethernet",
        "address of an IP group",
        [
            NONE,
            NONE,
            "rebuilt from the anonymized group",
            "real; of a solicited-node group the host's 24 bits permuted",
        ],
    ),
    FieldRule::new(
        "Ethernet",
        "ethertype",
        ["counter, k-threshold", "kept", "kept", REAL],
    ),
    FieldRule::new("VLAN", "id", [NONE, "presence", "permuted: 12 bits", REAL]),
    FieldRule::new("VLAN", "priority, drop eligibility", [NONE, NONE, "zero", REAL]),
];

impl Anonymizer {
    /// The pseudonym of a MAC address.
    pub fn map_mac(&self, mac: [u8; 6]) -> [u8; 6] {
        let [high, low] = [[0, 0, mac[0], mac[1]], [mac[2], mac[3], mac[4], mac[5]]].map(u32::from_be_bytes);
        let key = [u64::from(high) << 32 | u64::from(low)];
        let [image] = self.memory.mac.find(key).unwrap_or_else(|| {
            let [a, b, c, d, e, f] = self.pseudonym_of_mac(mac);
            let image = [u64::from_be_bytes([0, 0, a, b, c, d, e, f])];
            self.memory.mac.keep(key, image);
            image
        });
        let [.., a, b, c, d, e, f] = image.to_be_bytes();
        [a, b, c, d, e, f]
    }

    fn pseudonym_of_mac(&self, mac: [u8; 6]) -> [u8; 6] {
        if mac == [0xff; 6] || mac == [0; 6] {
            return mac;
        }
        // A group MAC seen without its IP packet tells no more than that it is one.
        if is_ipv4_group(mac) {
            return [1, 0, 0x5e, 0, 0, 0];
        }
        if is_ipv6_group(mac) {
            return [0x33, 0x33, 0, 0, 0, 0];
        }
        self.compute_mac(mac)
    }

    /// The pseudonym of an address without a meaning of its own.
    pub(super) fn compute_mac(&self, mac: [u8; 6]) -> [u8; 6] {
        // Cycle walking: an image with a meaning of its own is mapped on, so that what a MAC is (broadcast,
        // group of an IP family) can be told from the pseudonym and re-keying treats it alike.
        let mut image = mac;
        loop {
            image = self.permute_mac(image);
            let has_meaning =
                image == [0xff; 6] || image == [0; 6] || is_ipv4_group(image) || is_ipv6_group(image);
            if !has_meaning {
                return image;
            }
        }
    }

    fn permute_mac(&self, mac: [u8; 6]) -> [u8; 6] {
        let vendor = u32::from_be_bytes([0, mac[0], mac[1], mac[2]]);
        let nic = u32::from_be_bytes([0, mac[3], mac[4], mac[5]]);
        let kept = mac[0] & KEPT_BITS;
        let movable = (vendor >> 18) << 16 | vendor & 0xffff;
        // Every round's tweak: the kept bits, repeated in each 16-bit lane.
        let mapped = self
            .keys
            .mac_vendor
            .map(movable, u128::from(kept) * (u128::MAX / 0xffff));
        let mapped_nic = self
            .keys
            .mac_nic
            .map(nic, self.keys.mac_tweak.block(u128::from(vendor)));
        let [_, high, b, c] = mapped.to_be_bytes();
        let [_, d, e, f] = mapped_nic.to_be_bytes();
        [high << 2 | kept, b, c, d, e, f]
    }

    pub(super) fn write_mac(&self, real: &[u8], out: &mut [u8]) {
        if let (Some(real), Some(out)) = (real.first_chunk(), out.first_chunk_mut()) {
            *out = self.map_mac(*real);
        }
    }

    pub(super) fn ethernet(&self, real: &[u8], out: &mut [u8]) {
        let (Some(real), Some(out)) = (real.first_chunk::<14>(), out.first_chunk_mut::<14>()) else {
            return;
        };
        self.write_mac(&real[0..6], &mut out[0..6]);
        self.write_mac(&real[6..12], &mut out[6..12]);
        out[12..14].copy_from_slice(&real[12..14]);
    }

    pub(super) fn vlan_tag(&self, real: &[u8], out: &mut [u8]) {
        let id = self.keys.vlan.map(be16(real, 0) & VLAN_ID);
        out[0..2].copy_from_slice(&id.to_be_bytes());
        out[2..4].copy_from_slice(&real[2..4]);
    }
}

fn is_ipv4_group(mac: [u8; 6]) -> bool {
    mac[..3] == [1, 0, 0x5e]
}

fn is_ipv6_group(mac: [u8; 6]) -> bool {
    mac[..2] == [0x33, 0x33]
}

/// RFC 1112 and RFC 2464: 23 or 32 bits of the group address, here of the anonymized one. `frame` and `data` begin
/// with the released and the captured Ethernet header.
pub(super) fn rebuild_multicast_mac(frame: &mut [u8], data: &[u8], released_dst: Address) {
    let Some(mac) = data.first_chunk::<6>() else {
        return;
    };
    match released_dst {
        Address::V4(group) if is_ipv4_group(*mac) => {
            frame[2..6].copy_from_slice(&(group & 0x007f_ffff | 0x5e00_0000).to_be_bytes());
        }
        Address::V6(group) if is_ipv6_group(*mac) => {
            frame[2..6].copy_from_slice(&(group as u32).to_be_bytes());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::dissect::{LayerKind, dissect};
    use crate::packet::LinkType;
    use crate::sample::{DST6, INNER_DST, TEXT, ethernet, inner, ipv6, node, released, released_ipv4, udp};

    #[test]
    fn a_group_mac_follows_its_own_ip_packet_inside_a_tunnel_and_outside() {
        let group = node().map_v4(u32::from_be_bytes(INNER_DST)) & 0x007f_ffff | 0x5e00_0000;
        let mut frame = ethernet(0x0800, &inner());
        frame[..6].copy_from_slice(&[1, 0, 0x5e, INNER_DST[1], INNER_DST[2], INNER_DST[3]]);
        let outside = released(LinkType::ETHERNET, &frame, &[&INNER_DST[1..]]);
        assert_eq!(outside[2..6], group.to_be_bytes());
        let inside = released_ipv4(97, &[&[0x30, 0][..], &frame].concat(), &[&INNER_DST[1..]]);
        assert_eq!(inside[2 + 2..2 + 6], group.to_be_bytes());

        let mut frame = ethernet(0x86dd, &ipv6(41, &ipv6(17, &udp([50_001, 53], TEXT))));
        frame[..6].copy_from_slice(&[0x33, 0x33, DST6[12], DST6[13], DST6[14], DST6[15]]);
        let out = released(LinkType::ETHERNET, &frame, &[&DST6[12..]]);
        let carrier = dissect(LinkType::ETHERNET, &out).layers()[1];
        assert_eq!(carrier.kind, LayerKind::Ipv6);
        assert_eq!(out[2..6], carrier.of(&out)[36..40]);
    }
}
