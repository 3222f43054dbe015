//! The operator's commands that change or check a node's files: `init`, `check`, `partner`, `developer`,
//! `endorse`, `keys`.
//!
//! Every change is an event in the audit log, and a running supervisor is told by SIGHUP. Must never
//! start a role or touch the network.

pub mod cli;

pub use cli::{AdminCommand, run};
