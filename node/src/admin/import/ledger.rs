//! Which capture files were imported: one small file for each, named by the digest of its content. Written
//! before the first packet goes in and after the last is on disk. Must never decide how much of a file is
//! stored: storage knows that.

use std::fs;
use std::path::PathBuf;

use como_keys::KeyError;
use serde::{Deserialize, Serialize};

use crate::admin::AdminError;
use crate::admin::events::now_ns;
use crate::config::Layout;

/// Version of the entries that this code writes, and the only one that it reads.
const VERSION: u32 = 1;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    version: u32,
    /// BLAKE3 of its content, hex.
    pub digest: String,
    /// Its length.
    pub bytes: u64,
    /// Under which storage knows it: its path when it was first imported.
    pub name: String,
    /// Wall time when all of it was on disk; `None`: it is not yet.
    pub finished_ns: Option<u64>,
    /// Packets of it that are stored, once it is finished.
    pub packets: u64,
}

impl Entry {
    /// Of a file that was never imported.
    pub(super) fn new(digest: String, bytes: u64, name: String) -> Self {
        Self {
            version: VERSION,
            digest,
            bytes,
            name,
            finished_ns: None,
            packets: 0,
        }
    }
}

/// All entries of a node.
#[derive(Clone, Debug)]
pub struct Ledger {
    folder: PathBuf,
}

impl Ledger {
    /// The ledger of a node, which may be empty.
    pub fn open(layout: &Layout) -> Result<Self, AdminError> {
        let folder = layout.imports();
        fs::create_dir_all(&folder).map_err(AdminError::file(&folder))?;
        Ok(Self { folder })
    }

    /// The entry of a content; `None`: it was never begun.
    pub fn entry(&self, digest: &str) -> Result<Option<Entry>, AdminError> {
        let path = self.path(digest);
        if !path.exists() {
            return Ok(None);
        }
        let text = crate::registry::read_bounded(&path)?;
        let malformed = |why: String| KeyError::Malformed {
            what: path.display().to_string(),
            why,
            fix: "move the file away: what is stored of the capture is recognised nevertheless where its path is the same",
        };
        let entry: Entry = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        if entry.version != VERSION || entry.digest != digest {
            return Err(malformed("it is of another version or another file".to_owned()).into());
        }
        Ok(Some(entry))
    }

    /// A file is about to be imported.
    pub fn begin(&self, entry: &Entry) -> Result<(), AdminError> {
        self.write(entry)
    }

    /// All of a file is on disk.
    pub fn finish(&self, entry: &Entry, packets: u64) -> Result<(), AdminError> {
        self.write(&Entry {
            finished_ns: Some(now_ns()),
            packets,
            ..entry.clone()
        })
    }

    fn write(&self, entry: &Entry) -> Result<(), AdminError> {
        let path = self.path(&entry.digest);
        let text = serde_json::to_vec(entry).expect("an entry is plain data");
        crate::registry::replace(&path, &text).map_err(AdminError::file(&path))
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.json"))
    }
}
