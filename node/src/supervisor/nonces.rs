//! The nonces of requests that were taken, until they expire: in memory, and in a file, so that a restart opens no
//! window for replays. Must never forget one that could still be good.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::answers::Refusal;

/// Nonces remembered; beyond it requests are refused as `busy` until some expire.
pub const MAX_NONCES: usize = 100_000;
/// Bytes of an entry of the file: the nonce, then its expiry (ns, little endian).
const ENTRY_BYTES: usize = 24;

/// Nonces seen, with their expiry.
#[derive(Default)]
pub struct Nonces {
    seen: BTreeMap<[u8; 16], u64>,
    /// `None`: in memory only.
    file: Option<File>,
}

impl Nonces {
    /// What an earlier run remembered and is not over, written anew; a torn last entry was never answered.
    pub fn open(path: &Path, now_ns: u64) -> io::Result<Self> {
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let mut seen = BTreeMap::new();
        for entry in bytes.chunks_exact(ENTRY_BYTES) {
            let (nonce, expiry) = entry.split_first_chunk::<16>().expect("an entry has 24 bytes");
            let expiry_ns = u64::from_le_bytes(*expiry.first_chunk().expect("an entry has 24 bytes"));
            if expiry_ns > now_ns {
                seen.insert(*nonce, expiry_ns);
            }
        }
        let fresh = path.with_extension("tmp");
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        let kept: Vec<u8> = seen
            .iter()
            .flat_map(|(nonce, expiry)| entry(nonce, *expiry))
            .collect();
        file.write_all(&kept)?;
        file.sync_data()?;
        std::fs::rename(&fresh, path)?;
        Ok(Self {
            seen,
            file: Some(file),
        })
    }

    /// Takes a nonce, once.
    pub fn take(&mut self, nonce: [u8; 16], expiry_ns: u64, now_ns: u64) -> Result<(), Refusal> {
        if self.seen.len() >= MAX_NONCES {
            self.seen.retain(|_, expiry| *expiry > now_ns);
        }
        if self.seen.len() >= MAX_NONCES {
            return Err(Refusal::Busy(format!(
                "{MAX_NONCES} requests came within ten minutes"
            )));
        }
        if self.seen.contains_key(&nonce) {
            return Err(Refusal::NotAuthentic("this request was sent before".into()));
        }
        if let Some(file) = &mut self.file {
            // What cannot be remembered is not answered.
            file.write_all(&entry(&nonce, expiry_ns))
                .and_then(|()| file.sync_data())
                .map_err(|e| Refusal::Internal(format!("the request cannot be remembered: {e}")))?;
        }
        self.seen.insert(nonce, expiry_ns);
        Ok(())
    }
}

fn entry(nonce: &[u8; 16], expiry_ns: u64) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    entry[..16].copy_from_slice(nonce);
    entry[16..].copy_from_slice(&expiry_ns.to_le_bytes());
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_known_after_a_restart_until_it_expires() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nonces");
        let kind = |taken: Result<(), Refusal>| taken.err().map_or("taken", |refusal| refusal.kind());
        let mut nonces = Nonces::open(&path, 0).unwrap();
        assert_eq!(kind(nonces.take([1; 16], 100, 1)), "taken");
        assert_eq!(kind(nonces.take([2; 16], 200, 1)), "taken");
        assert_eq!(kind(nonces.take([1; 16], 100, 1)), "not-authentic");
        drop(nonces);
        // The machine lost its power within an entry.
        let mut torn = std::fs::read(&path).unwrap();
        torn.extend([3; 10]);
        std::fs::write(&path, torn).unwrap();

        let mut nonces = Nonces::open(&path, 150).unwrap();
        assert_eq!(kind(nonces.take([2; 16], 200, 150)), "not-authentic");
        assert_eq!(
            kind(nonces.take([1; 16], 300, 150)),
            "taken",
            "its first use is long over"
        );
        drop(nonces);
        let mut nonces = Nonces::open(&path, 150).unwrap();
        assert_eq!(kind(nonces.take([1; 16], 300, 150)), "not-authentic");
        assert_eq!(std::fs::read(&path).unwrap().len(), 2 * ENTRY_BYTES);
    }
}
