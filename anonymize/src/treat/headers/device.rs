//! Level `headers`: device numbers. The NIC part of a MAC is permuted wherever it stands, by one permutation, so that
//! one device stays one: in MACs, in EUI-64 interface ids, in solicited-node groups. All else of them is real.

use super::super::Anonymizer;

/// Individual/group bit of a MAC, in the first byte.
const GROUP: u8 = 1;
/// Where, in an address, 24 bits may be those of a MAC.
pub(crate) const FIRST_NIC_BIT: u8 = 104;
/// Solicited-node groups (RFC 4291 section 2.7.1): 24 bits of a host's address follow.
const SOLICITED_NODE: [u8; 13] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff];
/// MAC addresses of these groups (RFC 2464 section 7).
const SOLICITED_NODE_MAC: [u8; 3] = [0x33, 0x33, 0xff];

impl Anonymizer {
    /// The NIC part of a MAC, or the 24 bits of an address that stand for one. Not bound to the vendor: a
    /// solicited-node group tells 24 bits alone, and has to agree with the address that it stands for.
    pub(super) fn show_nic(&self, real: &[u8], out: &mut [u8]) {
        let real = u32::from_be_bytes([0, real[0], real[1], real[2]]);
        // Zero is no device: it stays, and the one image that would be zero goes on to that of zero.
        let permute = |value| self.keys.headers_nic.map(value, 0);
        let image = match (real, permute(real)) {
            (0, _) => 0,
            (_, 0) => permute(0),
            (_, image) => image,
        };
        out.copy_from_slice(&image.to_be_bytes()[1..]);
    }

    /// Vendor kept, NIC part permuted. Group addresses name no device and stay, but for those of solicited nodes.
    pub(super) fn show_mac(&self, real: &[u8], out: &mut [u8]) {
        out.copy_from_slice(real);
        if !real.first_chunk().is_some_and(|mac| is_shown_mac(*mac)) {
            self.show_nic(&real[3..6], &mut out[3..6]);
        }
    }

    /// An IPv6 address. An EUI-64 interface id (RFC 4291 appendix A) is shown as that of the shown MAC.
    pub(super) fn show_address(&self, real: &[u8], out: &mut [u8]) {
        out.copy_from_slice(real);
        if !real
            .first_chunk()
            .is_some_and(|address| is_shown_address(*address))
        {
            self.show_nic(&real[13..16], &mut out[13..16]);
        }
    }

    /// Whole addresses, one after the other; a rest stays zero.
    pub(super) fn show_addresses(&self, real: &[u8], out: &mut [u8]) {
        for (real, out) in real.chunks_exact(16).zip(out.chunks_exact_mut(16)) {
            self.show_address(real, out);
        }
    }
}

/// Whether level `headers` shows a MAC as it is.
pub(crate) fn is_shown_mac(mac: [u8; 6]) -> bool {
    mac[0] & GROUP != 0 && mac[..3] != SOLICITED_NODE_MAC
}

/// Whether level `headers` shows an IPv6 address as it is.
pub(crate) fn is_shown_address(address: [u8; 16]) -> bool {
    let is_eui64 = address[0] != 0xff && address[11..13] == [0xff, 0xfe];
    !is_eui64 && address[..13] != SOLICITED_NODE
}
