//! IPv4: Crypto-PAn. IPv6: Crypto-PAn on the first 64 bits; the interface id by a permutation tweaked with the
//! real prefix, so that one interface id in two networks does not match (P3). Special-purpose and embedded
//! addresses go through the map like all others; their class is told in a column of its own.

use super::Anonymizer;
use crate::dissect::link::{ETHERTYPE_ARP, ETHERTYPE_IPV6};
use crate::fields::{FieldRule, NONE, REAL};

/// Addresses, wherever a header has one.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new(
        "IPv4",
        "address",
        [
            "number of distinct, k-threshold",
            "64-bit keyed pseudonym",
            "prefix-preserving pseudonym (Crypto-PAn)",
            REAL,
        ],
    ),
    FieldRule::new(
        "IPv6",
        "address, first 64 bits",
        [
            "number of distinct, k-threshold",
            "64-bit keyed pseudonym of the whole address",
            "prefix-preserving pseudonym (Crypto-PAn)",
            REAL,
        ],
    ),
    FieldRule::new(
        "IPv6",
        "address, interface id",
        [
            NONE,
            NONE,
            "permuted: 64 bits, bound to the real prefix",
            "real; of EUI-64 and solicited-node groups the host's 24 bits permuted",
        ],
    ),
    FieldRule::new(
        "IP",
        "special-purpose class of an address",
        [
            "counter, k-threshold",
            "kept",
            "kept, in a column of its own",
            "kept",
        ],
    ),
];

/// An address of either family.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Address {
    V4(u32),
    V6(u128),
}

impl Default for Address {
    fn default() -> Self {
        Address::V4(0)
    }
}

impl Anonymizer {
    /// The pseudonym of an IPv4 address.
    pub fn map_v4(&self, address: u32) -> u32 {
        self.keys.ipv4.map(address)
    }

    /// The pseudonym of an IPv6 address.
    pub fn map_v6(&self, address: u128) -> u128 {
        if self.keys.ipv6_whole {
            return self.keys.ipv6_prefix.map(address);
        }
        let (prefix, interface) = split(address);
        let mapped = self.keys.ipv6_prefix.map_prefix(prefix);
        join(mapped, self.keys.ipv6_interface.map64(interface, prefix))
    }

    /// The address that has this IPv4 pseudonym.
    pub(crate) fn unmap_v4(&self, pseudonym: u32) -> u32 {
        self.keys.ipv4.unmap(pseudonym)
    }

    /// The address that has this IPv6 pseudonym.
    pub(crate) fn unmap_v6(&self, pseudonym: u128) -> u128 {
        if self.keys.ipv6_whole {
            return self.keys.ipv6_prefix.unmap(pseudonym);
        }
        let (mapped, interface) = split(pseudonym);
        let prefix = self.keys.ipv6_prefix.unmap_prefix(mapped);
        join(prefix, self.keys.ipv6_interface.unmap64(interface, prefix))
    }

    /// Up to how many bits the map of IPv6 addresses preserves prefixes.
    pub(crate) fn v6_prefix_bits(&self) -> u8 {
        if self.keys.ipv6_whole { 128 } else { 64 }
    }

    pub(super) fn map_v6_pair(&self, addresses: [u128; 2]) -> [u128; 2] {
        if self.keys.ipv6_whole {
            return addresses.map(|address| self.keys.ipv6_prefix.map(address));
        }
        let parts = addresses.map(split);
        let prefixes = parts.map(|(prefix, _)| prefix);
        let interfaces = self
            .keys
            .ipv6_interface
            .map64_pair(parts.map(|(_, interface)| interface), prefixes);
        let mapped = if prefixes[0] == prefixes[1] {
            [self.keys.ipv6_prefix.map_prefix(prefixes[0]); 2]
        } else {
            prefixes.map(|prefix| self.keys.ipv6_prefix.map_prefix(prefix))
        };
        [join(mapped[0], interfaces[0]), join(mapped[1], interfaces[1])]
    }

    /// Maps 4 bytes of a header into the same place of the released one.
    pub(super) fn write_v4(&self, real: &[u8], out: &mut [u8]) {
        if let (Some(real), Some(out)) = (real.first_chunk(), out.first_chunk_mut()) {
            *out = self.map_v4(u32::from_be_bytes(*real)).to_be_bytes();
        }
    }

    /// Maps 16 bytes of a header into the same place of the released one.
    pub(super) fn write_v6(&self, real: &[u8], out: &mut [u8]) {
        if let (Some(real), Some(out)) = (real.first_chunk(), out.first_chunk_mut()) {
            *out = self.map_v6(u128::from_be_bytes(*real)).to_be_bytes();
        }
    }

    /// Re-keys one address column in place.
    pub(crate) fn rekey_addresses(&self, versions: &[u8], ethertypes: &[u16], addresses: &mut [[u8; 16]]) {
        for ((address, version), ethertype) in addresses.iter_mut().zip(versions).zip(ethertypes) {
            match (*version, *ethertype) {
                (6, _) | (0, ETHERTYPE_IPV6) => {
                    *address = self.map_v6(u128::from_be_bytes(*address)).to_be_bytes();
                }
                (4, _) | (0, ETHERTYPE_ARP) => {
                    let [.., a, b, c, d] = *address;
                    let mapped = self.map_v4(u32::from_be_bytes([a, b, c, d]));
                    address[12..].copy_from_slice(&mapped.to_be_bytes());
                }
                _ => {}
            }
        }
    }
}

fn split(address: u128) -> (u64, u64) {
    ((address >> 64) as u64, address as u64)
}

fn join(prefix: u64, interface: u64) -> u128 {
    u128::from(prefix) << 64 | u128::from(interface)
}
