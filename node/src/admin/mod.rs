//! The operator's commands that change, check or read a node's files: `init`, `check`, `reload`, `partner`, `developer`,
//! `endorse`, `withdraw`, `revocations`, `keys`, `module`, `query`, `trace`.
//!
//! Every change is an event in the audit log, and a running supervisor is told by SIGHUP. Must never
//! start a role or serve the network.

mod card;
pub mod check;
pub mod cli;
mod developers;
mod endorse;
mod error;
pub mod events;
pub mod import;
pub mod init;
mod keys;
mod node;
mod offloads;
mod orders;
mod partners;
mod reload;
mod revocations;
mod runs;
mod secret;
#[cfg(test)]
mod tests;
mod trace;

pub use check::{Finding, State, check};
pub use cli::{AdminCommand, run};
pub use error::AdminError;
pub use events::take as take_events;
pub use init::{InitOptions, init};
pub use node::{AdminNode, renew_revocations};
pub use orders::{DestroyOrder, Order, Outcome, forget_answers, take as take_orders};
pub use secret::root_secret;
