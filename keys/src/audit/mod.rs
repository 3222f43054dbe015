//! The one append-only, hash-chained audit log: JSON lines, each naming the hash of the line before, with
//! heads signed by the node. Must never be rewritten, and must never hold data of packets.
//!
//! ```text
//! {"seq":0,"time_ns":1,"prev":"00..00","event":{...}}
//! {"seq":1,"time_ns":2,"prev":"<hex SHA-256 of line 0, without its newline>","event":{...}}
//! {"seq":2,"time_ns":3,"prev":"...","head":{"key":"<key id>","signature":"<hex>"}}
//! ```
//!
//! A head signs (DSSE, `application/vnd.como.audit-head.v1`) its `seq` and `time_ns` (8 bytes each,
//! big-endian) and `prev` (32 bytes): with it, the whole log before it. Whoever controls the disk can still
//! cut the log after some head or forge lines after the last one; a witness who keeps the hash of a line sees that
//! ([`verify_witnessed`]). The node tells everybody whom it answers the hash of its newest line.

mod verify;

pub use verify::{AuditReport, verify, verify_witnessed};

use crate::labels::payload_type;
use crate::signing::{KeyId, SigningKey};
use crate::{KeyError, digest};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use verify::Chain;

/// Lines between two signed heads.
pub const HEAD_EVERY: u64 = 64;
/// Longest line of the log, bytes: longer events are refused.
pub const MAX_LINE_BYTES: usize = 1 << 20;

const FIX_FILE: &str = "check that the folder exists, is writable and has space left";

/// An open log; it holds the file's lock, so that there is one writer.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    file: File,
    node_key: SigningKey,
    next_seq: u64,
    last_hash: [u8; 32],
    since_head: u64,
    /// End of the last whole line.
    length_bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<E> {
    seq: u64,
    time_ns: u64,
    prev: String,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    event: Option<E>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    head: Option<Head>,
}

fn none<E>() -> Option<E> {
    None
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    key: KeyIdText,
    signature: String,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct KeyIdText(String);

/// What the log records itself.
#[derive(Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
enum OwnEvent {
    /// A process died while it wrote a line that it had not acknowledged.
    TornLineCut { bytes: u64 },
}

impl AuditLog {
    /// Opens or creates the log. Its chain is checked first: a broken one is refused, by line. A last line
    /// without its end was never acknowledged: it is cut, and the log says so.
    pub fn open(path: &Path, node_key: SigningKey) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File {
            path: path.to_owned(),
            doing: "opened",
            source,
            fix: FIX_FILE,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        file.try_lock().map_err(|_| KeyError::File {
            path: path.to_owned(),
            doing: "locked",
            source: std::io::ErrorKind::ResourceBusy.into(),
            fix: "another process writes it: stop the other node first",
        })?;
        let chain = Chain::read(path, &mut file, None, None)?;
        let torn_bytes = chain.torn_bytes;
        let mut log = Self {
            path: path.to_owned(),
            file,
            node_key,
            next_seq: chain.lines,
            last_hash: chain.last_hash,
            since_head: chain.since_head,
            length_bytes: chain.length_bytes,
        };
        if torn_bytes > 0 {
            log.cut().map_err(failed)?;
            log.append(now_ns(), &OwnEvent::TornLineCut { bytes: torn_bytes })?;
        }
        Ok(log)
    }

    /// Appends an event at wall time `time_ns` and waits until it is on disk; returns its sequence number.
    /// After an error the log is as it was before.
    pub fn append(&mut self, time_ns: u64, event: &impl Serialize) -> Result<u64, KeyError> {
        let line = Line {
            seq: self.next_seq,
            time_ns,
            prev: hex::encode(self.last_hash),
            event: Some(event),
            head: None,
        };
        let seq = self.write(&line)?;
        self.since_head += 1;
        if self.since_head >= HEAD_EVERY {
            self.sign_head(time_ns)?;
        }
        Ok(seq)
    }

    /// Lines of the log, and the hash of the last in hex: what a witness keeps.
    pub fn head(&self) -> (u64, String) {
        (self.next_seq, hex::encode(self.last_hash))
    }

    /// Signs the log up to here (done by itself every [`HEAD_EVERY`] lines). Nothing new, nothing done.
    pub fn sign_head(&mut self, time_ns: u64) -> Result<(), KeyError> {
        if self.since_head == 0 {
            return Ok(());
        }
        let statement = head_statement(self.next_seq, time_ns, &self.last_hash);
        let signature = self.node_key.sign_dsse(payload_type::AUDIT_HEAD, &statement);
        let key = KeyIdText(self.node_key.verifying_key().key_id().to_string());
        let line = Line::<()> {
            seq: self.next_seq,
            time_ns,
            prev: hex::encode(self.last_hash),
            event: None,
            head: Some(Head {
                key,
                signature: hex::encode(signature.0),
            }),
        };
        self.write(&line)?;
        self.since_head = 0;
        Ok(())
    }

    fn write<E: Serialize>(&mut self, line: &Line<E>) -> Result<u64, KeyError> {
        let malformed = |why: String| KeyError::Malformed {
            what: "the event for the audit log".to_owned(),
            why,
            fix: "shorten what it names",
        };
        let mut bytes = serde_json::to_vec(line).map_err(|error| malformed(error.to_string()))?;
        if bytes.len() >= MAX_LINE_BYTES {
            return Err(malformed(format!(
                "it has {} bytes, the limit is {MAX_LINE_BYTES}",
                bytes.len()
            )));
        }
        let hash = digest::sha256(&bytes);
        bytes.push(b'\n');
        if let Err(source) = self.file.write_all(&bytes).and_then(|()| self.file.sync_data()) {
            // Half a line must not stay: the next one would be glued to it.
            let _ = self.cut();
            return Err(KeyError::File {
                path: self.path.clone(),
                doing: "written",
                source,
                fix: FIX_FILE,
            });
        }
        self.length_bytes += bytes.len() as u64;
        self.last_hash = hash;
        self.next_seq += 1;
        Ok(line.seq)
    }

    /// Cuts what follows the last whole line.
    fn cut(&mut self) -> std::io::Result<()> {
        self.file.set_len(self.length_bytes)?;
        self.file.seek(SeekFrom::End(0))?;
        self.file.sync_all()
    }
}

fn head_statement(seq: u64, time_ns: u64, prev: &[u8; 32]) -> Vec<u8> {
    [&seq.to_be_bytes()[..], &time_ns.to_be_bytes(), prev].concat()
}

fn now_ns() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl KeyIdText {
    fn parse(&self) -> Option<KeyId> {
        self.0.parse().ok()
    }
}
