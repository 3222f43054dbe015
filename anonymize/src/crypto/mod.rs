//! The keyed functions that every treatment is made of: the only files here that touch a cipher. They hold
//! keys, so none of them has `Debug`.

pub mod cryptopan;
mod flips;
pub mod permutation;
pub mod prf;

/// AES blocks handed to the cipher at once: what its widest implementation encrypts in one go.
pub(crate) const BLOCKS_IN_FLIGHT: usize = 64;
/// Bits of an address whose flips come from a table.
pub(crate) const TOP_BITS: u32 = 16;
