//! Segments that a question opened before: their verified headers, digests of what was verified, and unwrapped data keys,
//! so that neither the next question nor its reader pays for them again. Must never outlive the identities that opened them: whoever destroys keys calls
//! [`OpenedSegments::forget_all`].

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use como_keys::aead::DataKey;
use como_keys::keyring::{Keyring, Section};

use super::requests::first_line;
use crate::trace::{Checked, SegmentHeader, SegmentReader};

/// Segments that are remembered; with more, all are forgotten and opened anew as they are asked for.
const MAX_OPENED: usize = 4096;

/// The segments, by id.
#[derive(Default)]
pub(super) struct OpenedSegments(BTreeMap<[u8; 16], Opened>);

/// One segment.
pub(super) struct Opened {
    /// Its header, which the node's key vouches for.
    pub header: SegmentHeader,
    /// What was checked of it.
    pub checked: Checked,
    keys: [Option<DataKey>; 3],
}

impl OpenedSegments {
    /// A segment whose file is at `path`; read and verified where it is not known yet, or got its end since.
    pub fn open(
        &mut self,
        id: &[u8; 16],
        path: &Path,
        has_end: bool,
        keyring: &Keyring,
    ) -> Result<&mut Opened, String> {
        let known = self.0.get(id).map(|opened| opened.checked);
        if known.is_none_or(|checked| has_end && checked.footer.is_none()) {
            let file = File::open(path).map_err(|e| format!("unreadable: {e}"))?;
            let reader = SegmentReader::open_checked(file, &known.unwrap_or_default())
                .map_err(|e| format!("unreadable: {}", first_line(&e)))?;
            if reader.header().segment.0 != *id {
                return Err("unreadable: it is another segment than storage says".into());
            }
            let checked = reader
                .verify(&keyring.node_signing.verifying_key())
                .map_err(|e| first_line(&e))?;
            match self.0.get_mut(id) {
                Some(opened) if opened.checked.header == checked.header => opened.checked = checked,
                _ => self.insert(*id, reader.header().clone(), checked),
            }
        }
        self.0.get_mut(id).ok_or_else(|| "unreadable".into())
    }

    fn insert(&mut self, id: [u8; 16], header: SegmentHeader, checked: Checked) {
        if self.0.len() >= MAX_OPENED {
            self.0.clear();
        }
        let opened = Opened {
            header,
            checked,
            keys: [None, None, None],
        };
        self.0.insert(id, opened);
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
