//! The CoMo node: the paper's core processes as roles of one binary.
//!
//! Folders follow the data path. Roles (capture, export, storage, query, reader, runner, supervisor)
//! never import each other; `roles.rs` alone names them all.

pub mod admin;
pub mod capture;
pub mod config;
pub mod link;
pub mod process;
pub mod query;
pub mod registry;
pub mod storage;
pub mod trace;
