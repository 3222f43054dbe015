//! Reading the audit log back and checking its chain and heads. Must never write.

use super::{Line, MAX_LINE_BYTES, head_statement};
use crate::labels::payload_type;
use crate::signing::{Signature, VerifyingKey};
use crate::{KeyError, digest};
use serde::de::IgnoredAny;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditReport {
    /// Lines in the log, heads included.
    pub lines: u64,
    /// Signed heads among them.
    pub heads: u64,
    /// Lines after the last signed head: only the chain covers them.
    pub unsigned_tail: u64,
    /// Bytes after the last whole line: written, but not acknowledged, when a process died.
    pub torn_bytes: u64,
    /// Hex SHA-256 of the last line: what a witness keeps.
    pub last_hash: String,
}

/// Checks the whole chain and every signed head against the node's keys (the present and former ones). The
/// error names the first bad line.
pub fn verify(path: &Path, node_keys: &[VerifyingKey]) -> Result<AuditReport, KeyError> {
    report(path, node_keys, None)
}

/// The same, and that a line is there whose hash (hex) a witness has kept. Without one, a log that was cut after some
/// line, or written anew from there on, verifies as far as it goes.
pub fn verify_witnessed(
    path: &Path,
    node_keys: &[VerifyingKey],
    line_hash: &str,
) -> Result<AuditReport, KeyError> {
    report(path, node_keys, Some(line_hash))
}

fn report(path: &Path, node_keys: &[VerifyingKey], witness: Option<&str>) -> Result<AuditReport, KeyError> {
    let mut file = File::open(path).map_err(|source| KeyError::File {
        path: path.to_owned(),
        doing: "read",
        source,
        fix: "check the path of the audit log",
    })?;
    let chain = Chain::read(path, &mut file, Some(node_keys), witness)?;
    Ok(AuditReport {
        lines: chain.lines,
        heads: chain.heads,
        unsigned_tail: chain.since_head,
        torn_bytes: chain.torn_bytes,
        last_hash: hex::encode(chain.last_hash),
    })
}

/// The state of a chain after its last whole line.
pub(super) struct Chain {
    pub lines: u64,
    pub heads: u64,
    pub since_head: u64,
    pub last_hash: [u8; 32],
    pub length_bytes: u64,
    pub torn_bytes: u64,
}

impl Chain {
    /// Reads from the beginning. Without `node_keys` the signatures of heads are not checked; with a `witness`, the hash
    /// of some line must be this.
    pub(super) fn read(
        path: &Path,
        file: &mut File,
        node_keys: Option<&[VerifyingKey]>,
        witness: Option<&str>,
    ) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File {
            path: path.to_owned(),
            doing: "read",
            source,
            fix: "check the disk; restore the log from the copy that your witness holds",
        };
        file.rewind().map_err(failed)?;
        let mut reader = BufReader::new(file);
        let mut chain = Self {
            lines: 0,
            heads: 0,
            since_head: 0,
            last_hash: [0; 32],
            length_bytes: 0,
            torn_bytes: 0,
        };
        let mut line = Vec::new();
        let mut seen = false;
        let whole = |chain: Self, seen: bool| match witness {
            Some(hash) if !seen => Err(chain.broken(
                path,
                format!(
                    "the log ends without the line {hash} that the witness saw: it was cut, or written anew"
                ),
            )),
            _ => Ok(chain),
        };
        loop {
            line.clear();
            let limit = MAX_LINE_BYTES as u64 + 1;
            let read = (&mut reader)
                .take(limit)
                .read_until(b'\n', &mut line)
                .map_err(failed)? as u64;
            if read == 0 {
                return whole(chain, seen);
            }
            if line.last() != Some(&b'\n') {
                if read < limit {
                    chain.torn_bytes = read;
                    return whole(chain, seen);
                }
                return Err(chain.broken(path, format!("the line is longer than {MAX_LINE_BYTES} bytes")));
            }
            line.pop();
            chain
                .check(&line, node_keys)
                .map_err(|why| chain.broken(path, why))?;
            chain.lines += 1;
            chain.length_bytes += read;
            chain.last_hash = digest::sha256(&line);
            seen |= witness.is_some_and(|hash| hash.eq_ignore_ascii_case(&hex::encode(chain.last_hash)));
        }
    }

    fn check(&mut self, bytes: &[u8], node_keys: Option<&[VerifyingKey]>) -> Result<(), String> {
        let line: Line<IgnoredAny> =
            serde_json::from_slice(bytes).map_err(|error| format!("it is not a line of the log: {error}"))?;
        if line.seq != self.lines {
            return Err(format!("its sequence number is {}, not {}", line.seq, self.lines));
        }
        if line.prev != hex::encode(self.last_hash) {
            return Err("it does not name the hash of the line before".to_owned());
        }
        let Some(head) = &line.head else {
            self.since_head += 1;
            return if line.event.is_some() {
                Ok(())
            } else {
                Err("it holds no event".to_owned())
            };
        };
        if line.event.is_some() {
            return Err("it is a head and an event at once".to_owned());
        }
        if let Some(keys) = node_keys {
            let id = head.key.parse();
            let key = keys.iter().find(|key| Some(key.key_id()) == id).ok_or_else(|| {
                format!(
                    "it is signed with key {}, which is none of this node's",
                    head.key.0
                )
            })?;
            let signature = hex::decode(&head.signature)
                .ok()
                .and_then(|s| Signature::from_slice(&s).ok());
            let statement = head_statement(line.seq, line.time_ns, &self.last_hash);
            signature
                .and_then(|signature| {
                    key.verify_dsse(payload_type::AUDIT_HEAD, &statement, &signature)
                        .ok()
                })
                .ok_or("its signature is not valid")?;
        }
        self.heads += 1;
        self.since_head = 0;
        Ok(())
    }

    fn broken(&self, path: &Path, why: String) -> KeyError {
        KeyError::AuditChain {
            path: path.to_owned(),
            line: self.lines + 1,
            why,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AuditLog, HEAD_EVERY};
    use super::*;
    use crate::signing::SigningKey;
    use std::path::PathBuf;

    struct Fixture {
        _folder: tempfile::TempDir,
        path: PathBuf,
        key: SigningKey,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("audit.jsonl");
            Self {
                _folder: folder,
                path,
                key: SigningKey::generate(),
            }
        }

        fn open(&self) -> Result<AuditLog, KeyError> {
            AuditLog::open(&self.path, self.key.clone())
        }

        fn verify(&self) -> Result<AuditReport, KeyError> {
            verify(&self.path, &[self.key.verifying_key()])
        }

        fn bad_line(&self) -> u64 {
            match self.verify() {
                Err(KeyError::AuditChain { line, .. }) => line,
                other => panic!("{other:?}"),
            }
        }

        fn lines(&self) -> Vec<String> {
            std::fs::read_to_string(&self.path)
                .unwrap()
                .lines()
                .map(str::to_owned)
                .collect()
        }

        fn rewrite(&self, lines: &[String]) {
            std::fs::write(&self.path, lines.join("\n") + "\n").unwrap();
        }
    }

    fn event(number: u64) -> serde_json::Value {
        serde_json::json!({ "kind": "decision", "number": number })
    }

    #[test]
    fn a_log_goes_on_after_a_restart_and_verifies() {
        let fixture = Fixture::new();
        for start in [0, 2] {
            let mut log = fixture.open().unwrap();
            assert_eq!(log.append(start, &event(start)).unwrap(), start);
            assert_eq!(log.append(start + 1, &event(start + 1)).unwrap(), start + 1);
        }
        fixture.open().unwrap().sign_head(9).unwrap();
        fixture.open().unwrap().sign_head(10).unwrap();
        let report = fixture.verify().unwrap();
        assert_eq!(
            (
                report.lines,
                report.heads,
                report.unsigned_tail,
                report.torn_bytes
            ),
            (5, 1, 0, 0)
        );
        assert_eq!(
            report.last_hash,
            hex::encode(digest::sha256(fixture.lines()[4].as_bytes()))
        );
    }

    #[test]
    fn a_head_is_signed_every_so_many_lines() {
        let fixture = Fixture::new();
        let mut log = fixture.open().unwrap();
        for number in 0..HEAD_EVERY + 3 {
            log.append(number, &event(number)).unwrap();
        }
        let report = fixture.verify().unwrap();
        assert_eq!(
            (report.lines, report.heads, report.unsigned_tail),
            (HEAD_EVERY + 4, 1, 3)
        );
    }

    #[test]
    fn every_change_is_found_and_named_by_line() {
        let fixture = Fixture::new();
        let mut log = fixture.open().unwrap();
        for number in 0..5 {
            log.append(number, &event(number)).unwrap();
        }
        log.sign_head(6).unwrap();
        drop(log);
        let good = fixture.lines();

        let mut lines = good.clone();
        lines[1] = lines[1].replace("\"number\":1", "\"number\":7");
        fixture.rewrite(&lines);
        assert_eq!(
            fixture.bad_line(),
            3,
            "the line after the changed one no longer fits"
        );
        assert!(fixture.open().is_err(), "a broken log is not continued");

        let mut lines = good.clone();
        lines.remove(2);
        fixture.rewrite(&lines);
        assert_eq!(fixture.bad_line(), 3);

        let mut lines = good.clone();
        lines.swap(3, 4);
        fixture.rewrite(&lines);
        assert_eq!(fixture.bad_line(), 4);

        let mut lines = good.clone();
        lines[2] = "not json".into();
        fixture.rewrite(&lines);
        assert_eq!(fixture.bad_line(), 3);

        // A chain made anew after a change still lacks the signature.
        let mut lines = good.clone();
        lines[4] = lines[4].replace("\"number\":4", "\"number\":9");
        let hash = hex::encode(digest::sha256(lines[4].as_bytes()));
        let old = hex::encode(digest::sha256(good[4].as_bytes()));
        lines[5] = lines[5].replace(&old, &hash);
        fixture.rewrite(&lines);
        assert_eq!(fixture.bad_line(), 6);

        fixture.rewrite(&good);
        assert!(fixture.verify().is_ok());
        let stranger = SigningKey::generate().verifying_key();
        assert!(matches!(
            verify(&fixture.path, &[stranger]),
            Err(KeyError::AuditChain { line: 6, .. })
        ));
        // After a rotation both keys are known.
        assert!(verify(&fixture.path, &[stranger, fixture.key.verifying_key()]).is_ok());
    }

    #[test]
    fn a_witness_finds_a_log_that_was_cut_or_written_anew() {
        let fixture = Fixture::new();
        let mut log = fixture.open().unwrap();
        for number in 0..5 {
            log.append(number, &event(number)).unwrap();
            log.sign_head(number).unwrap();
        }
        let (lines, seen) = log.head();
        drop(log);
        let keys = [fixture.key.verifying_key()];
        let witnessed = || verify_witnessed(&fixture.path, &keys, &seen);
        assert_eq!(witnessed().unwrap().lines, lines);
        let good = fixture.lines();
        for kept in 1..good.len() {
            fixture.rewrite(&good[..kept]);
            assert!(fixture.verify().is_ok(), "cut behind a line, the rest is a log");
            let found = witnessed().unwrap_err();
            assert!(matches!(found, KeyError::AuditChain { line, .. } if line == kept as u64 + 1));
        }
        // The node itself writes on after the cut: still not what was seen.
        fixture.rewrite(&good[..4]);
        let mut log = fixture.open().unwrap();
        for number in 0..20 {
            log.append(number, &event(number)).unwrap();
        }
        drop(log);
        assert!(fixture.verify().is_ok() && witnessed().is_err());
    }

    #[test]
    fn a_torn_line_is_cut_and_the_log_says_so() {
        let fixture = Fixture::new();
        fixture.open().unwrap().append(1, &event(1)).unwrap();
        let mut bytes = std::fs::read(&fixture.path).unwrap();
        bytes.extend_from_slice(b"{\"seq\":1,\"tim");
        std::fs::write(&fixture.path, &bytes).unwrap();
        assert_eq!(fixture.verify().unwrap().torn_bytes, 13);
        let mut log = fixture.open().unwrap();
        assert_eq!(log.append(3, &event(3)).unwrap(), 2);
        let report = fixture.verify().unwrap();
        assert_eq!((report.lines, report.torn_bytes), (3, 0));
        assert!(fixture.lines()[1].contains("torn_line_cut"));
    }

    #[test]
    fn there_is_one_writer_and_lines_are_bounded() {
        let fixture = Fixture::new();
        let mut log = fixture.open().unwrap();
        assert!(matches!(
            fixture.open(),
            Err(KeyError::File { doing: "locked", .. })
        ));
        assert!(log.append(1, &"x".repeat(MAX_LINE_BYTES)).is_err());
        assert_eq!(
            log.append(1, &event(1)).unwrap(),
            0,
            "the refused event left nothing"
        );
        let long = vec![b'x'; MAX_LINE_BYTES + 10];
        std::fs::write(&fixture.path, long).unwrap();
        assert_eq!(fixture.bad_line(), 1);
    }
}
