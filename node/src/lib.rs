//! The CoMo node: the paper's core processes as roles of one binary.
//!
//! Folders follow the data path. Roles (capture, export, storage, query, reader, runner, supervisor)
//! never import each other; `roles.rs` alone names them all.

pub mod admin;
pub mod allowance;
pub mod capture;
pub mod config;
pub mod export;
pub mod feed;
pub mod link;
pub mod process;
pub mod query;
pub mod reader;
pub mod records;
pub mod registry;
pub mod retrieval;
pub mod ring;
pub mod roles;
pub mod runner;
pub mod spares;
pub mod storage;
pub mod supervisor;
pub mod trace;
pub mod wire;
