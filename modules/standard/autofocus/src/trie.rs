//! The compressed report over sorted addresses: walks their binary trie without building it. Owns the rule which prefix
//! is reported; must never hold more than one path of the trie.

/// Bits of an address.
const BITS: u8 = 128;
/// Where IPv4 addresses begin: ::ffff:0:0/96.
const MAPPED_BITS: u8 = 96;
const MAPPED: u128 = 0xffff << 32;

/// A prefix whose addresses are not all seen yet. In one, those of longer prefixes are summed.
#[derive(Clone, Copy)]
struct Node {
    address: u128,
    len: u8,
    bytes: u64,
    /// Bytes that no longer prefix of the report has.
    residual: u64,
}

/// The walk: prefixes where the path to the next address branches off, shortest first.
///
/// Only addresses and branching points need a look: of the prefixes between two branching points all have the same
/// bytes, and the longest is the one to report.
pub struct Report {
    threshold: u64,
    path: [Node; BITS as usize],
    depth: usize,
}

impl Report {
    /// Reports prefixes of at least `threshold` bytes of their own.
    pub fn new(threshold: u64) -> Self {
        let nothing = Node {
            address: 0,
            len: 0,
            bytes: 0,
            residual: 0,
        };
        Self {
            threshold,
            path: [nothing; BITS as usize],
            depth: 0,
        }
    }

    /// `addresses` ascending, each once, with its bytes. Every reported prefix goes to `push`: IP version, prefix,
    /// length, bytes, residual. Returns the bytes that no reported prefix has.
    pub fn run(
        mut self,
        addresses: impl Iterator<Item = (u128, u64)>,
        push: &mut impl FnMut(u8, u128, u8, u64, u64),
    ) -> u64 {
        let mut rest = 0;
        let mut addresses = addresses.peekable();
        while let Some((address, bytes)) = addresses.next() {
            let leaf = Node {
                address,
                len: BITS,
                bytes,
                residual: bytes,
            };
            let shared = addresses
                .peek()
                .map_or(0, |(next, _)| common_prefix(address, *next));
            rest += self.close(leaf, shared, push);
        }
        rest
    }

    /// `node` is complete, and so is what stands in the path below the prefix of `shared` bits. Returns what belongs to
    /// no prefix: where `shared` is 0.
    fn close(&mut self, mut node: Node, shared: u8, push: &mut impl FnMut(u8, u128, u8, u64, u64)) -> u64 {
        loop {
            if node.residual >= self.threshold {
                let (version, len) = family(node.address, node.len);
                push(version, node.address, len, node.bytes, node.residual);
                node.residual = 0;
            }
            match self.path[..self.depth].last_mut() {
                Some(above) if above.len >= shared => {
                    above.bytes += node.bytes;
                    above.residual += node.residual;
                    if above.len == shared {
                        return 0;
                    }
                    node = *above;
                    self.depth -= 1;
                }
                _ => break,
            }
        }
        if shared == 0 {
            return node.residual;
        }
        self.path[self.depth] = Node {
            address: node.address & !(u128::MAX >> shared),
            len: shared,
            ..node
        };
        self.depth += 1;
        0
    }
}

/// Bits that two different addresses begin with alike; 0 where they are of two families.
fn common_prefix(a: u128, b: u128) -> u8 {
    if is_mapped(a) != is_mapped(b) {
        return 0;
    }
    (a ^ b).leading_zeros() as u8
}

fn is_mapped(address: u128) -> bool {
    address >> 32 == MAPPED >> 32
}

/// IP version and length of a prefix within its family.
fn family(address: u128, len: u8) -> (u8, u8) {
    if len >= MAPPED_BITS && is_mapped(address) {
        (4, len - MAPPED_BITS)
    } else {
        (6, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The definition, by brute force: from the longest prefixes to the shortest, sums over all addresses.
    fn naive(addresses: &BTreeMap<u128, u64>, threshold: u64) -> (Vec<(u128, u8, u64, u64)>, u64) {
        let mut open = addresses.clone();
        let mut found = Vec::new();
        for len in (1..=BITS).rev() {
            let mask = !(u128::MAX.checked_shr(u32::from(len)).unwrap_or(0));
            let mut sums: BTreeMap<u128, u64> = BTreeMap::new();
            for (address, bytes) in &open {
                *sums.entry(address & mask).or_default() += bytes;
            }
            for (prefix, residual) in sums {
                if residual >= threshold {
                    open.iter_mut()
                        .filter(|(address, _)| *address & mask == prefix)
                        .for_each(|(_, bytes)| *bytes = 0);
                    let of_all = addresses.iter().filter(|(address, _)| *address & mask == prefix);
                    found.push((prefix, len, of_all.map(|(_, bytes)| bytes).sum(), residual));
                }
            }
        }
        found.sort_unstable();
        (found, open.values().sum())
    }

    #[test]
    fn agrees_with_the_definition() {
        let mut state = 7u64;
        let mut next = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        for round in 0..60 {
            let count = 1 + next() % 60;
            let addresses: BTreeMap<u128, u64> = (0..count)
                .map(|_| {
                    // Clustered, in one family or the other.
                    let low = u128::from(((next() % 8) << 20) | ((next() % 4) << 8) | (next() % 16));
                    let base = if round % 2 == 0 { MAPPED } else { 0x2001_0db8 << 96 };
                    (base | low, 1 + next() % 1000)
                })
                .collect();
            let total: u64 = addresses.values().sum();
            for percent in [1, 5, 20, 50] {
                let threshold = (total * percent).div_ceil(100);
                let mut found = Vec::new();
                let rest = Report::new(threshold).run(
                    addresses.iter().map(|(address, bytes)| (*address, *bytes)),
                    &mut |version, prefix, len, bytes, residual| {
                        let len = if version == 4 { len + MAPPED_BITS } else { len };
                        found.push((prefix, len, bytes, residual));
                    },
                );
                found.sort_unstable();
                assert_eq!((found, rest), naive(&addresses, threshold));
            }
        }
    }
}
