//! Events of the audit log: submissions, decisions, key events, deaths. Names of people, modules and
//! keys only; never anything derived from a packet, and filter texts only sealed to the operator.

use como_policies::Decision;
use serde::Serialize;

/// One entry of the log, beside its number, time and hash chain.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'a> {
    /// The node started.
    Started {
        version: &'a str,
        mode: &'a str,
        policy: &'a str,
    },
    /// The node stopped on request.
    Stopped,
    /// Keys, registry or configuration were read again.
    Reloaded { policy: &'a str },
    /// The policy answered.
    Decided {
        asker: &'a str,
        action: &'a str,
        resource: &'a str,
        level: Option<&'a str>,
        from_ns: Option<u64>,
        to_ns: Option<u64>,
        cost_bytes: u64,
        policy: &'a str,
        #[serde(flatten)]
        decision: &'a Decision,
        query: Option<&'a str>,
        /// HPKE to the operator, hex; absent where there is no filter.
        #[serde(skip_serializing_if = "Option::is_none")]
        filter_sealed: Option<String>,
    },
    /// A request was refused before any decision.
    Refused {
        asker: &'a str,
        kind: &'a str,
        detail: &'a str,
    },
    /// A module came, or was refused at admission.
    Submitted {
        asker: &'a str,
        module: &'a str,
        hash: &'a str,
        release: u64,
        developer: &'a str,
        level: &'a str,
        output_level: &'a str,
    },
    /// A module was withdrawn.
    Revoked {
        asker: &'a str,
        module: &'a str,
        hash: &'a str,
    },
    /// A module runs on the live stream.
    ModuleStarted {
        instance: u64,
        module: &'a str,
        hash: &'a str,
        audience: &'a str,
    },
    /// It does not any more.
    ModuleStopped {
        instance: u64,
        hash: &'a str,
        why: &'a str,
    },
    /// A module misbehaved.
    ModuleFault {
        hash: &'a str,
        what: &'a str,
        faults: u32,
        blacklisted: bool,
    },
    /// A process ended that should not have.
    Died {
        role: &'a str,
        pid: u32,
        end: &'a str,
        restart: bool,
    },
    /// Another revocation list is in force.
    RevocationsTaken { number: u64 },
    /// Keys of an epoch were made.
    KeysMade { sealing_epoch: u32 },
    /// A query ended; `bytes` left the node sealed to the asker.
    QueryEnded {
        query: &'a str,
        asker: &'a str,
        state: &'a str,
        /// What `explain` told before, of the window whatever the filter, and what its reader read.
        bytes_estimated: u64,
        bytes_read: u64,
        /// How long its reader's workers waited so that capture need not.
        paused_ms: u64,
        bytes: u64,
        packets: u64,
        rows: u64,
        detail: &'a str,
    },
    /// A dataset was signed.
    Signed {
        query: &'a str,
        header: &'a str,
        root: &'a str,
    },
    /// A result was fetched.
    Fetched { query: &'a str, asker: &'a str },
    /// Storage expired a segment.
    Expired { segment: &'a str },
    /// A capture file was brought in, all that reads of it.
    Imported {
        file: &'a str,
        packets: u64,
        #[serde(skip_serializing_if = "str::is_empty")]
        damage: &'a str,
    },
}
