//! A module on its developer's own machine: built, admitted and run by the very code that a node runs it with, over
//! the packets of a capture file.
//!
//! Owns the way from a folder to rows without a node. Must never make a way to run a module at a node that nobody
//! signed: the signature made here is of a key that is thrown away.

mod bench;
mod build;
mod idle;
mod module;
mod run;
#[cfg(test)]
mod tests;
mod views;

pub use bench::{Figures, MAX_KEPT_BYTES, MAX_KEPT_PACKETS, ROUNDS, bench};
pub use build::TARGET;
pub use module::{find, load, manifest_of};
pub(crate) use module::{not_wasm, of_module};
pub use run::{Report, run};
pub use views::{Seen, Sight, each};
