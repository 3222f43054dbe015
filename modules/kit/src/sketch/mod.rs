//! Sketches of fixed size, ready to be a module's state: each file owns the mathematics of one, names its source and
//! states its error, which its tests measure. Must never depend on packets or columns.
//!
//! | sketch | answers | error |
//! |---|---|---|
//! | [`HyperLogLog`] | how many distinct items, any number | standard error 1.04 / sqrt(registers) |
//! | [`LinearCounter`] | how many distinct items, up to some times its bits | standard error below 1 / sqrt(bits) up to twice the bits |
//! | [`MultiResolution`] | how many distinct items, small and large, in 100 bytes | standard error 12 % (64 bits a level), 8 % (128) |
//! | [`TopK`] | which items weigh most, and how much | too high by at most total / slots, told for each |
//! | [`CountMin`] | how much any item weighs | too high by e / width of the total at most, but for a share e^-rows of the items |

mod bitmap;
mod countmin;
mod hyperloglog;
mod topk;

pub use crate::hash::hash;
pub use bitmap::{LinearCounter, MultiResolution};
pub use countmin::CountMin;
pub use hyperloglog::HyperLogLog;
pub use topk::{TopK, Tracked};
