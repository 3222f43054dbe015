//! IPv4: Crypto-PAn. IPv6: Crypto-PAn on the first 64 bits; the interface id by a permutation tweaked with the
//! real prefix, so that one interface id in two networks does not match (P3). Special-purpose and embedded
//! addresses go through the map like all others; their class is told in a column of its own.

use super::Anonymizer;
use crate::crypto::BLOCKS_IN_FLIGHT;
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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
        self.map_v4_few([address])[0]
    }

    /// The pseudonyms of a header's addresses.
    pub(super) fn map_v4_few<const N: usize>(&self, addresses: [u32; N]) -> [u32; N] {
        let known = addresses.map(|address| self.memory.ipv4.find(address));
        if known.iter().all(Option::is_some) {
            return known.map(Option::unwrap_or_default);
        }
        let mapped = self.keys.ipv4.map_few(addresses);
        for (address, mapped) in addresses.into_iter().zip(mapped) {
            self.memory.ipv4.keep(address, mapped);
        }
        mapped
    }

    /// The pseudonym of an IPv6 address.
    pub fn map_v6(&self, address: u128) -> u128 {
        self.map_v6_few([address])[0]
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

    /// The pseudonyms of a header's addresses.
    pub(super) fn map_v6_few<const N: usize>(&self, addresses: [u128; N]) -> [u128; N] {
        let key = |address| <[u64; 2]>::from(split(address));
        let known = addresses.map(|address| self.memory.ipv6.find(key(address)));
        if known.iter().all(Option::is_some) {
            return known.map(|known| known.map_or(0, |[prefix, interface]| join(prefix, interface)));
        }
        let mapped = self.compute_v6(addresses);
        for (address, mapped) in addresses.into_iter().zip(mapped) {
            self.memory.ipv6.keep(key(address), key(mapped));
        }
        mapped
    }

    fn compute_v6<const N: usize>(&self, addresses: [u128; N]) -> [u128; N] {
        if self.keys.ipv6_whole {
            return addresses.map(|address| self.keys.ipv6_prefix.map(address));
        }
        let prefixes = addresses.map(|address| split(address).0);
        let interfaces = addresses.map(|address| split(address).1);
        let mapped = self.keys.ipv6_prefix.map_few_prefixes(prefixes);
        let interfaces = self.keys.ipv6_interface.map64_few(interfaces, prefixes);
        std::array::from_fn(|at| join(mapped[at], interfaces[at]))
    }

    /// Replaces every IPv4 address by its pseudonym: many at once cost less.
    pub fn map_all_v4(&self, addresses: &mut [u32]) {
        self.keys.ipv4.map_all(addresses);
    }

    /// Replaces every IPv6 address by its pseudonym: many at once cost less.
    pub fn map_all_v6(&self, addresses: &mut [u128]) {
        if self.keys.ipv6_whole {
            for address in addresses {
                *address = self.keys.ipv6_prefix.map(*address);
            }
            return;
        }
        for addresses in addresses.chunks_mut(BLOCKS_IN_FLIGHT) {
            let (mut prefixes, mut interfaces) = ([0; BLOCKS_IN_FLIGHT], [0; BLOCKS_IN_FLIGHT]);
            for (at, address) in addresses.iter().enumerate() {
                (prefixes[at], interfaces[at]) = split(*address);
            }
            let count = addresses.len();
            self.keys
                .ipv6_interface
                .map64_all(&mut interfaces[..count], &prefixes[..count]);
            self.keys.ipv6_prefix.map_all_prefixes(&mut prefixes[..count]);
            for (at, address) in addresses.iter_mut().enumerate() {
                *address = join(prefixes[at], interfaces[at]);
            }
        }
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
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for ((at, version), ethertype) in (0..addresses.len()).zip(versions).zip(ethertypes) {
            match (*version, *ethertype) {
                (6, _) | (0, ETHERTYPE_IPV6) => v6.push(at),
                (4, _) | (0, ETHERTYPE_ARP) => v4.push(at),
                _ => {}
            }
        }
        let mut mapped: Vec<u32> = v4
            .iter()
            .map(|at| u128::from_be_bytes(addresses[*at]) as u32)
            .collect();
        self.map_all_v4(&mut mapped);
        for (at, address) in v4.into_iter().zip(mapped) {
            addresses[at][12..].copy_from_slice(&address.to_be_bytes());
        }
        let mut mapped: Vec<u128> = v6.iter().map(|at| u128::from_be_bytes(addresses[*at])).collect();
        self.map_all_v6(&mut mapped);
        for (at, address) in v6.into_iter().zip(mapped) {
            addresses[at] = address.to_be_bytes();
        }
    }
}

fn split(address: u128) -> (u64, u64) {
    ((address >> 64) as u64, address as u64)
}

fn join(prefix: u64, interface: u64) -> u128 {
    u128::from(prefix) << 64 | u128::from(interface)
}
