//! Pseudonyms of the level `coarse`: 64 bits of a keyed function per audience, epoch and family, which keep no
//! prefix. Shown as addresses of 100::/64, the discard-only block (RFC 6666), which no host has: a pseudonym can
//! be named in a filter, and taken for an address by nobody.

use crate::treat::Anonymizer;

/// Upper 64 bits of every pseudonym: 100::/64.
pub const PSEUDONYM_PREFIX: u64 = 0x0100_0000_0000_0000;

/// Whether an address column's value is a pseudonym of this level.
pub fn is_pseudonym(address: &[u8; 16]) -> bool {
    address[..8] == PSEUDONYM_PREFIX.to_be_bytes()
}

impl Anonymizer {
    /// The pseudonym of an address as a view at `anonymized` under the node's keys shows it.
    pub(super) fn coarse_pseudonym(&self, ip_version: u8, address: [u8; 16]) -> [u8; 16] {
        let prf = if ip_version == 6 {
            &self.keys().coarse_v6
        } else {
            &self.keys().coarse_v4
        };
        let host = prf.block(u128::from_be_bytes(address)) as u64;
        (u128::from(PSEUDONYM_PREFIX) << 64 | u128::from(host)).to_be_bytes()
    }
}
