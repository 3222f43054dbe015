//! The inner loop of Crypto-PAn, for four addresses at once: which of 16 or 48 bits flip. Owns the layout that lets the
//! compiler keep a whole batch of blocks in vector registers, from the address to the flips. Never keeps a result.
//!
//! Block `4 z + lane` is that of bit `z` of address `lane`, so that what differs between neighbours is data and not
//! code. The closure is inlined into the cipher's own code for the processor at hand: with wide registers the blocks
//! are never in memory.

use aes::Block;
use aes::cipher::array::Array;
use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherEncBackend, BlockCipherEncClosure, BlockSizeUser};

use super::BLOCKS_IN_FLIGHT;

/// Addresses in a group: the blocks of a 512-bit register.
pub(super) const LANES: usize = 4;

/// Four blocks as little-endian words, two for each.
pub(super) type Words = [u64; 2 * LANES];

/// The word that begins a block with the top 64 bits of an address.
pub(super) fn word(head: u64) -> u64 {
    u64::from_le_bytes(head.to_be_bytes())
}

/// `BITS` (16 or 48) bits below the top 16 of four addresses for each group. Goes in: the first word of each
/// block of address XOR pad, the second zero. Comes out: the flips, in the low bits of each block's first word.
pub(super) struct Flips<'a, const BITS: usize> {
    pub pad: Words,
    pub groups: &'a mut [Words],
}

impl<const BITS: usize> BlockSizeUser for Flips<'_, BITS> {
    type BlockSize = U16;
}

impl<const BITS: usize> BlockCipherEncClosure for Flips<'_, BITS> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        for group in self.groups {
            let mut flips = [0; 2 * LANES];
            batch::<B, 16>(backend, self.pad, *group, &mut flips);
            if BITS > 16 {
                batch::<B, 32>(backend, self.pad, *group, &mut flips);
                batch::<B, 48>(backend, self.pad, *group, &mut flips);
            }
            *group = flips;
        }
    }
}

/// Appends the flips of 16 bits, from bit `FROM` on.
#[inline(always)]
fn batch<B: BlockCipherEncBackend<BlockSize = U16>, const FROM: u32>(
    backend: &B,
    pad: Words,
    difference: Words,
    flips: &mut Words,
) {
    // The bits that a block takes from the address. A recurrence, like that of the flips: from a closed form the compiler
    // makes a loop over bits that gathers and scatters words, instead of one over words.
    let mut taken = u64::MAX << (u64::BITS - FROM);
    let mut blocks = [Block::default(); BLOCKS_IN_FLIGHT];
    for four in blocks.as_chunks_mut::<LANES>().0 {
        for ((bytes, pad), difference) in words_mut(four).iter_mut().zip(pad).zip(difference) {
            *bytes = (pad ^ difference & word(taken)).to_le_bytes();
        }
        taken = taken >> 1 | 1 << (u64::BITS - 1);
    }
    encrypt(backend, &mut blocks);
    for four in blocks.as_chunks_mut::<LANES>().0 {
        for (flips, bytes) in flips.iter_mut().zip(words_mut(four)) {
            *flips = *flips << 1 | u64::from_le_bytes(*bytes) >> 7 & 1;
        }
    }
}

/// As many at once as the cipher takes, the others one by one.
#[inline(always)]
pub(super) fn encrypt<B: BlockCipherEncBackend<BlockSize = U16>>(
    backend: &B,
    blocks: &mut [Block; BLOCKS_IN_FLIGHT],
) {
    let (batches, rest) = Array::<Block, B::ParBlocksSize>::slice_as_chunks_mut(blocks);
    for batch in batches {
        backend.encrypt_par_blocks(batch.into());
    }
    for block in rest {
        backend.encrypt_block(block.into());
    }
}

/// The words of some blocks, in their order.
#[inline(always)]
pub(super) fn words_mut(blocks: &mut [Block]) -> &mut [[u8; 8]] {
    Array::slice_as_flattened_mut(blocks).as_chunks_mut().0
}
