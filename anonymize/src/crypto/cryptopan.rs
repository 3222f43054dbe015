//! Crypto-PAn (Xu, Fan, Ammar, Moon, 2002) for IPv4 and IPv6, exactly as published: pad' = AES(key[..16],
//! key[16..]), bit i flips by the top bit of AES(first i bits of the address, then pad'). Never keeps a result.

use aes::Block;
use zeroize::Zeroizing;

use super::flips::{Flips, LANES, Words, word};
use super::prf::Prf;
use super::{BLOCKS_IN_FLIGHT, TOP_BITS};

/// Groups of four addresses that are mapped together where there are many: what the first stores wait for is hidden.
const GROUPS: usize = 16;

/// What both families share: the cipher, the pad, and the flips of the top 16 bits (128 KiB).
struct Core {
    prf: Prf,
    pad: Zeroizing<u128>,
    top: Zeroizing<Vec<u16>>,
}

impl Core {
    fn new(key: &[u8; 32]) -> Self {
        let (cipher_key, raw_pad) = key.split_at(16);
        let mut halves = [[0u8; 16]; 2];
        halves[0].copy_from_slice(cipher_key);
        halves[1].copy_from_slice(raw_pad);
        let prf = Prf::new(&halves[0]);
        let pad = Zeroizing::new(prf.block(u128::from_be_bytes(halves[1])));
        let top = Zeroizing::new(top_flips(&prf, *pad));
        Core { prf, pad, top }
    }

    /// Maps up to `4 G` values through the flips of `BITS` bits below the top ones, each value given as the top 64
    /// bits of an address.
    fn map<const BITS: usize, const G: usize>(&self, heads: &mut [u64]) {
        let pad = (*self.pad >> 64) as u64;
        let block = [word(pad), word(*self.pad as u64)];
        let mut groups = [[0; 2 * LANES]; G];
        for (group, heads) in groups.iter_mut().zip(heads.chunks(LANES)) {
            for (lane, head) in heads.iter().enumerate() {
                group[2 * lane] = word(head ^ pad);
            }
        }
        let mut words: Words = [0; 2 * LANES];
        words.as_chunks_mut().0.fill(block);
        self.prf.with(Flips::<BITS> {
            pad: words,
            groups: &mut groups,
        });
        for (group, heads) in groups.iter().zip(heads.chunks_mut(LANES)) {
            for (lane, head) in heads.iter_mut().enumerate() {
                let top = u64::from(self.top[(*head >> (u64::BITS - TOP_BITS)) as usize]);
                *head ^=
                    top << (u64::BITS - TOP_BITS) | group[2 * lane] << (u64::BITS - TOP_BITS - BITS as u32);
            }
        }
    }

    /// The flips of the last 64 bits of a whole address.
    fn low_flips(&self, address: u128) -> u64 {
        let mut blocks = [Block::default(); BLOCKS_IN_FLIGHT];
        for (bit, block) in blocks.iter_mut().enumerate() {
            *block = padded(address, 64 + bit as u32, *self.pad);
        }
        self.prf.blocks(&mut blocks);
        blocks
            .iter()
            .fold(0, |flips, block| flips << 1 | u64::from(block[0] >> 7))
    }

    /// The address whose first `bits` bits map to those of `mapped`, both left-aligned; zero below. Each bit
    /// needs those before it: one block after the other.
    fn unmap(&self, mapped: u128, bits: u32) -> u128 {
        (0..bits).fold(0, |address, bit| {
            let [flip, ..] = self
                .prf
                .block(u128::from_be_bytes(padded(address, bit, *self.pad).0))
                .to_be_bytes();
            let mapped_bit = mapped >> (127 - bit) & 1;
            address | (mapped_bit ^ u128::from(flip >> 7)) << (127 - bit)
        })
    }
}

fn padded(address: u128, bits: u32, pad: u128) -> Block {
    let tail = u128::MAX.checked_shr(bits).unwrap_or(0);
    Block::from(((address & !tail) | (pad & tail)).to_be_bytes())
}

/// The flips of the top 16 bits of every prefix: 2^16 - 1 blocks instead of 16 for each of 2^16 prefixes.
fn top_flips(prf: &Prf, pad: u128) -> Vec<u16> {
    let mut table = vec![0u16; 1 << 16];
    let mut blocks = [Block::default(); BLOCKS_IN_FLIGHT];
    for depth in 0..16u32 {
        let covered = 1usize << (16 - depth);
        let mut prefix = 0usize;
        while prefix < 1 << depth {
            let batch = BLOCKS_IN_FLIGHT.min((1 << depth) - prefix);
            for (at, block) in blocks[..batch].iter_mut().enumerate() {
                let address = ((prefix + at) as u128).checked_shl(128 - depth).unwrap_or(0);
                *block = padded(address, depth, pad);
            }
            prf.blocks(&mut blocks[..batch]);
            for (at, block) in blocks[..batch].iter().enumerate() {
                let flip = u16::from(block[0] >> 7) << (15 - depth);
                let first = (prefix + at) * covered;
                for entry in &mut table[first..first + covered] {
                    *entry |= flip;
                }
            }
            prefix += batch;
        }
    }
    table
}

/// Crypto-PAn over 32 bits.
pub struct CryptoPan4(Core);

impl CryptoPan4 {
    /// Precomputes the top-16 table under a 32-byte Crypto-PAn key.
    pub fn new(key: &[u8; 32]) -> Self {
        CryptoPan4(Core::new(key))
    }

    /// The pseudonym of one address.
    pub fn map(&self, address: u32) -> u32 {
        self.map_few([address])[0]
    }

    /// The address that has this pseudonym.
    pub fn unmap(&self, pseudonym: u32) -> u32 {
        (self.0.unmap(u128::from(pseudonym) << 96, 32) >> 96) as u32
    }

    /// The pseudonyms of up to four addresses at the cost of one.
    pub fn map_few<const N: usize>(&self, addresses: [u32; N]) -> [u32; N] {
        const { assert!(N <= LANES) }
        let mut heads = addresses.map(|address| u64::from(address) << 32);
        self.0.map::<16, 1>(&mut heads);
        heads.map(|head| (head >> 32) as u32)
    }

    /// Replaces every address by its pseudonym.
    pub fn map_all(&self, addresses: &mut [u32]) {
        let (many, few) = addresses.as_chunks_mut::<{ GROUPS * LANES }>();
        for addresses in many {
            let mut heads = addresses.map(|address| u64::from(address) << 32);
            self.0.map::<16, GROUPS>(&mut heads);
            *addresses = heads.map(|head| (head >> 32) as u32);
        }
        for addresses in few.chunks_mut(LANES) {
            let mut four = [0; LANES];
            four[..addresses.len()].copy_from_slice(addresses);
            addresses.copy_from_slice(&self.map_few(four)[..addresses.len()]);
        }
    }
}

/// Crypto-PAn over 128 bits, and over the first 64.
pub struct CryptoPan6(Core);

impl CryptoPan6 {
    /// Precomputes the top-16 table under a 32-byte Crypto-PAn key.
    pub fn new(key: &[u8; 32]) -> Self {
        CryptoPan6(Core::new(key))
    }

    /// The whole address, every bit prefix-preserving: for agreement with other tools and the vectors.
    pub fn map(&self, address: u128) -> u128 {
        let high = u128::from(self.map_prefix((address >> 64) as u64)) << 64;
        high | u128::from(address as u64 ^ self.0.low_flips(address))
    }

    /// The first 64 bits alone.
    pub fn map_prefix(&self, prefix: u64) -> u64 {
        self.map_few_prefixes([prefix])[0]
    }

    /// The first 64 bits of up to four addresses at the cost of one.
    pub fn map_few_prefixes<const N: usize>(&self, mut prefixes: [u64; N]) -> [u64; N] {
        const { assert!(N <= LANES) }
        self.0.map::<48, 1>(&mut prefixes);
        prefixes
    }

    /// Replaces the first 64 bits of every address by their pseudonym.
    pub fn map_all_prefixes(&self, prefixes: &mut [u64]) {
        for prefixes in prefixes.chunks_mut(GROUPS * LANES) {
            self.0.map::<48, GROUPS>(prefixes);
        }
    }

    /// The address that [`CryptoPan6::map`] gives this pseudonym.
    pub fn unmap(&self, pseudonym: u128) -> u128 {
        self.0.unmap(pseudonym, 128)
    }

    /// The first 64 bits of the addresses whose first 64 bits have this pseudonym.
    pub fn unmap_prefix(&self, pseudonym: u64) -> u64 {
        (self.0.unmap(u128::from(pseudonym) << 64, 64) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8; 32] = b"32-char-str-for-AES-key-and-pad.";

    /// Crypto-PAn by its definition, without a table and bit by bit.
    fn by_definition(address: u128, bits: u32) -> u128 {
        let core = Core::new(KEY);
        (0..bits).fold(address, |image, bit| {
            let block = padded(address, bit, *core.pad);
            let flip = core.prf.block(u128::from_be_bytes(block.0)) >> 127;
            image ^ flip << (127 - bit)
        })
    }

    #[test]
    fn many_at_once_equals_the_definition() {
        let v4 = CryptoPan4::new(KEY);
        assert_eq!(v4.map(0), u32::from_be_bytes([7, 3, 253, 250]));
        let addresses: Vec<u32> = (0..70u32).map(|n| n.wrapping_mul(2_654_435_761)).collect();
        let images: Vec<u32> = addresses
            .iter()
            .map(|address| (by_definition(u128::from(*address) << 96, 32) >> 96) as u32)
            .collect();
        for count in [0, 1, 3, 4, 64, 67, 70] {
            let mut mapped = addresses[..count].to_vec();
            v4.map_all(&mut mapped);
            assert_eq!(mapped, images[..count]);
        }
        assert_eq!(v4.map_few([addresses[1], addresses[2]]), [images[1], images[2]]);
    }

    #[test]
    fn many_ipv6_addresses_equal_the_definition() {
        let v6 = CryptoPan6::new(KEY);
        let address = |n: u64| u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) * 0x1_0000_0000_0000_0007;
        let mut prefixes: Vec<u64> = (0..70).map(|n| (address(n) >> 64) as u64).collect();
        v6.map_all_prefixes(&mut prefixes);
        for (n, mapped) in (0..70).zip(prefixes) {
            let image = by_definition(address(n), 128);
            assert_eq!(mapped, (image >> 64) as u64);
            assert_eq!(v6.map(address(n)), image);
        }
    }

    #[test]
    fn a_pseudonym_leads_back_to_its_address() {
        let map = CryptoPan4::new(b"32-char-str-for-AES-key-and-pad.");
        for address in [0, 1, 0xc000_0201, 0x7fff_ffff, u32::MAX] {
            assert_eq!(map.unmap(map.map(address)), address);
        }
        let map = CryptoPan6::new(b"32-char-str-for-AES-key-and-pad.");
        for address in [0, 1, 0x2001_0db8_0000_0001_0000_0000_0000_0042, u128::MAX] {
            assert_eq!(map.unmap(map.map(address)), address);
            let prefix = (address >> 64) as u64;
            assert_eq!(map.unmap_prefix(map.map_prefix(prefix)), prefix);
        }
    }
}
