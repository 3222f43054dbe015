//! The one append-only, hash-chained audit log: JSON lines, each naming the hash of the line before,
//! with heads signed by the node. Must never be rewritten; must never hold data of packets.

use crate::KeyError;
use crate::signing::{SigningKey, VerifyingKey};
use serde::Serialize;
use std::path::Path;

/// An open log; one writer.
pub struct AuditLog {
    #[allow(dead_code)]
    next_seq: u64,
}

/// What `verify` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditReport {
    /// Lines in the log, heads included.
    pub lines: u64,
    /// Signed heads among them.
    pub heads: u64,
    /// Lines after the last signed head: only the chain covers them.
    pub unsigned_tail: u64,
    /// Hex SHA-256 of the last line.
    pub last_hash: String,
}

impl AuditLog {
    /// Opens or creates the log; verifies the chain first and refuses a broken one by line.
    pub fn open(_path: &Path, _node_key: SigningKey) -> Result<Self, KeyError> {
        todo!()
    }
    /// Appends an event at wall time `time_ns` and waits until it is on disk; returns its sequence.
    pub fn append(&mut self, _time_ns: u64, _event: &impl Serialize) -> Result<u64, KeyError> {
        todo!()
    }
    /// Signs the head now (also done every [`HEAD_EVERY`] lines).
    pub fn sign_head(&mut self, _time_ns: u64) -> Result<(), KeyError> {
        todo!()
    }
}

/// Lines between two signed heads.
pub const HEAD_EVERY: u64 = 64;

/// Checks the whole chain and every signed head; the error names the first bad line.
pub fn verify(_path: &Path, _node_key: &VerifyingKey) -> Result<AuditReport, KeyError> {
    todo!()
}
