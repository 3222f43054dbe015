//! One-block pseudo-random functions and a key stream, both on AES-128. Owns the cipher's interface.

use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit};
use aes::{Aes128, Block};

use super::BLOCKS_IN_FLIGHT;

/// Blocks from which on a remainder is cheaper as a whole batch of the widest cipher, which else takes its blocks one
/// by one (measured: 16 alone 18 ns, 32 alone 38 ns, 48 alone 57 ns, 64 together 21 ns).
const WORTH_A_BATCH: usize = 24;

/// AES-128 under one field's key. Inputs of one instance must be of one fixed form.
pub(crate) struct Prf(Aes128);

impl Prf {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Prf(Aes128::new(key.into()))
    }

    /// One block.
    pub(crate) fn block(&self, input: u128) -> u128 {
        self.few([input])[0]
    }

    /// Some independent blocks, in flight together.
    pub(crate) fn few<const N: usize>(&self, inputs: [u128; N]) -> [u128; N] {
        let mut outputs = [0; N];
        self.with(Few {
            inputs,
            outputs: &mut outputs,
        });
        outputs
    }

    /// What is done in the cipher's own code for the processor at hand.
    pub(super) fn with(&self, work: impl BlockCipherEncClosure<BlockSize = U16>) {
        self.0.encrypt_with_backend(work);
    }

    pub(crate) fn blocks(&self, blocks: &mut [Block]) {
        let (batches, rest) = blocks.as_chunks_mut::<BLOCKS_IN_FLIGHT>();
        self.0.encrypt_blocks(batches.as_flattened_mut());
        if rest.len() < WORTH_A_BATCH || !encrypts_widely() {
            return self.0.encrypt_blocks(rest);
        }
        let mut batch = [Block::default(); BLOCKS_IN_FLIGHT];
        batch[..rest.len()].copy_from_slice(rest);
        self.0.encrypt_blocks(&mut batch);
        rest.copy_from_slice(&batch[..rest.len()]);
    }
}

/// Blocks that are put together in registers. Handed over in memory, a block that was written in two halves is read
/// only when both have left the store buffer: 15 ns for each instead of 2.
struct Few<'a, const N: usize> {
    inputs: [u128; N],
    outputs: &'a mut [u128; N],
}

impl<const N: usize> BlockSizeUser for Few<'_, N> {
    type BlockSize = U16;
}

impl<const N: usize> BlockCipherEncClosure for Few<'_, N> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        for (output, input) in self.outputs.iter_mut().zip(self.inputs) {
            let mut block = Block::from(input.to_be_bytes());
            backend.encrypt_block((&mut block).into());
            *output = u128::from_be_bytes(block.0);
        }
    }
}

/// Whether the cipher has an implementation for [`BLOCKS_IN_FLIGHT`] blocks here.
fn encrypts_widely() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("vaes");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// AES in counter mode, for filling secret tables.
pub(crate) struct KeyStream {
    prf: Prf,
    counter: u128,
    buffer: [Block; BLOCKS_IN_FLIGHT],
    used: usize,
}

impl KeyStream {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        let buffer = [Block::default(); BLOCKS_IN_FLIGHT];
        KeyStream {
            prf: Prf::new(key),
            counter: 0,
            buffer,
            used: BLOCKS_IN_FLIGHT * 4,
        }
    }

    pub(crate) fn next_u32(&mut self) -> u32 {
        if self.used == BLOCKS_IN_FLIGHT * 4 {
            for block in &mut self.buffer {
                *block = Block::from(self.counter.to_be_bytes());
                self.counter += 1;
            }
            self.prf.blocks(&mut self.buffer);
            self.used = 0;
        }
        let word = self.buffer[self.used / 4].0.as_chunks::<4>().0[self.used % 4];
        self.used += 1;
        u32::from_be_bytes(word)
    }

    /// Uniform below `bound` (> 0), by rejection.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        loop {
            let word = self.next_u32();
            // The first test holds nearly always, and spares the division of the second.
            if word < u32::MAX - bound || word < u32::MAX - u32::MAX % bound {
                return word % bound;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_at_once_each_block_is_the_same() {
        let prf = Prf::new(&[5; 16]);
        for count in [0, 1, 2, 16, 23, 24, 32, 48, 63, 64, 65, 96, 112, 128, 150] {
            let input = |at: usize| (at as u128) << 77 | 3;
            let mut blocks: Vec<Block> = (0..count)
                .map(|at| Block::from(input(at).to_be_bytes()))
                .collect();
            prf.blocks(&mut blocks);
            for (at, block) in blocks.iter().enumerate() {
                assert_eq!(
                    u128::from_be_bytes(block.0),
                    prf.block(input(at)),
                    "{at} of {count}"
                );
            }
        }
    }
}
