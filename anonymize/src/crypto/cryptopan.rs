//! Crypto-PAn (Xu, Fan, Ammar, Moon, 2002) for IPv4 and IPv6, exactly as published: pad' = AES(key[..16],
//! key[16..]), bit i flips by the top bit of AES(first i bits of the address, then pad'). Never keeps a result.

use aes::Block;
use zeroize::Zeroizing;

use super::BLOCKS_IN_FLIGHT;
use super::prf::Prf;

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

    /// The flips of bits `from..from + N` of an address given left-aligned, as the low N bits of the result.
    fn flips<const N: usize>(&self, address: u128, from: u32) -> u128 {
        let mut blocks = [Block::default(); N];
        for (bit, block) in blocks.iter_mut().enumerate() {
            *block = padded(address, from + bit as u32, *self.pad);
        }
        self.prf.blocks(&mut blocks);
        collect(&blocks)
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

fn collect(blocks: &[Block]) -> u128 {
    blocks
        .iter()
        .fold(0, |flips, block| flips << 1 | u128::from(block[0] >> 7))
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
        let low = self.0.flips::<16>(u128::from(address) << 96, 16) as u32;
        address ^ (u32::from(self.0.top[(address >> 16) as usize]) << 16 | low)
    }

    /// The address that has this pseudonym.
    pub fn unmap(&self, pseudonym: u32) -> u32 {
        (self.0.unmap(u128::from(pseudonym) << 96, 32) >> 96) as u32
    }

    /// The pseudonyms of two addresses, 32 blocks in flight.
    pub fn map_pair(&self, addresses: [u32; 2]) -> [u32; 2] {
        self.map_many(addresses)
    }

    /// The pseudonyms of N addresses, 16 N blocks in flight; four fill the widest cipher.
    pub fn map_many<const N: usize>(&self, addresses: [u32; N]) -> [u32; N] {
        let template = self.0.pad.to_be_bytes();
        let pad = (*self.0.pad >> 96) as u32;
        let mut blocks = [[Block::from(template); 16]; N];
        for (address, blocks) in addresses.iter().zip(&mut blocks) {
            for (bit, block) in blocks.iter_mut().enumerate() {
                let tail = u32::MAX >> (16 + bit);
                block[..4].copy_from_slice(&((address & !tail) | (pad & tail)).to_be_bytes());
            }
        }
        self.0.prf.blocks(blocks.as_flattened_mut());
        let mut out = addresses;
        for (address, blocks) in out.iter_mut().zip(&blocks) {
            let low = blocks
                .iter()
                .fold(0, |flips, block| flips << 1 | u32::from(block[0] >> 7));
            *address ^= u32::from(self.0.top[(*address >> 16) as usize]) << 16 | low;
        }
        out
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
        high | (address ^ self.0.flips::<64>(address, 64)) & u128::from(u64::MAX)
    }

    /// The first 64 bits alone.
    pub fn map_prefix(&self, prefix: u64) -> u64 {
        let low = self.0.flips::<48>(u128::from(prefix) << 64, 16) as u64;
        prefix ^ (u64::from(self.0.top[(prefix >> 48) as usize]) << 48 | low)
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

    #[test]
    fn many_at_once_equals_one_by_one() {
        let map = CryptoPan4::new(b"32-char-str-for-AES-key-and-pad.");
        let addresses = [0, 1, 0xc000_0201, u32::MAX];
        assert_eq!(map.map_many(addresses), addresses.map(|address| map.map(address)));
        assert_eq!(map.map(0), u32::from_be_bytes([7, 3, 253, 250]));
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
