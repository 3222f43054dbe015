//! Segments that a question opened before: their verified headers and unwrapped data keys, so that the next question
//! does not pay for them again. Must never outlive the identities that opened them: whoever destroys keys calls
//! [`OpenedSegments::forget_all`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use como_keys::aead::DataKey;
use como_keys::keyring::{Keyring, Section};

use super::requests::first_line;
use crate::trace::SegmentHeader;

/// Longest segment header that is read, in bytes.
const MAX_HEADER_BYTES: u64 = 128 << 10;
/// Segments that are remembered; with more, all are forgotten and opened anew as they are asked for.
const MAX_OPENED: usize = 4096;

/// The segments, by id.
#[derive(Default)]
pub(super) struct OpenedSegments(BTreeMap<[u8; 16], Opened>);

/// One segment.
pub(super) struct Opened {
    /// Its header, which the node's key vouches for.
    pub header: SegmentHeader,
    keys: [Option<DataKey>; 3],
}

impl OpenedSegments {
    /// A segment whose file is at `path`; read and verified where it is not known yet.
    pub fn open(&mut self, id: &[u8; 16], path: &Path, keyring: &Keyring) -> Result<&mut Opened, String> {
        if !self.0.contains_key(id) {
            let header = read_header(path).map_err(|why| format!("unreadable: {why}"))?;
            if header.segment.0 != *id {
                return Err("unreadable: it is another segment than storage says".into());
            }
            header
                .verify(&keyring.node_signing.verifying_key())
                .map_err(|e| first_line(&e))?;
            if self.0.len() >= MAX_OPENED {
                self.0.clear();
            }
            let keys = [None, None, None];
            self.0.insert(*id, Opened { header, keys });
        }
        self.0.get_mut(id).ok_or_else(|| "unreadable".into())
    }

    /// An expired segment.
    pub fn forget(&mut self, id: &[u8; 16]) {
        self.0.remove(id);
    }

    /// Keys were destroyed: what they opened is opened no more.
    pub fn forget_all(&mut self) {
        self.0.clear();
    }
}

impl Opened {
    /// The data key of a section, as long as the identity that opens it is there.
    pub fn key(&mut self, section: Section, keyring: &Keyring) -> Result<DataKey, String> {
        let Some(identity) = keyring.trace_identity_if_present(self.header.sealing_epoch, section) else {
            return Err("destroyed".into());
        };
        let known = &mut self.keys[section as usize];
        if known.is_none() {
            *known = Some(
                self.header
                    .unwrap_key(section, identity)
                    .map_err(|e| first_line(&e))?,
            );
        }
        known.clone().ok_or_else(|| "destroyed".into())
    }
}

fn read_header(path: &Path) -> Result<SegmentHeader, String> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(|e| e.to_string())?;
    file.take(MAX_HEADER_BYTES)
        .read_to_end(&mut start)
        .map_err(|e| e.to_string())?;
    SegmentHeader::decode(&start)
        .map(|(header, _)| header)
        .map_err(|e| first_line(&e))
}
