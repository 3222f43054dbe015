//! The keys of one segment: made by capture, wrapped to the section identities of the sealing epoch,
//! opened for readers by the supervisor. Must never write a data key anywhere but wrapped.

use std::sync::Arc;

use como_anonymize::Anonymizer;
use como_keys::aead::{BlockCipher, DataKey};
use como_keys::keyring::Section;
use como_keys::sealing::{Identity, Recipient, WrappedKey};
use como_keys::signing::{Certificate, SigningKey};
use serde::{Deserialize, Serialize};

use super::SegmentId;
use super::error::TraceError;
use super::groups::ColumnGroup;
use super::index::INDEX_SLOTS;

/// Which sections of the trace are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Retain {
    /// Section A only.
    Anonymized = 0,
    /// A and R.
    #[default]
    Headers = 1,
    /// A, R and P: every packet back byte for byte.
    Payload = 2,
}

impl Retain {
    /// The setting of a stored number.
    pub fn from_u8(code: u8) -> Option<Self> {
        [Self::Anonymized, Self::Headers, Self::Payload]
            .into_iter()
            .find(|r| *r as u8 == code)
    }

    /// Whether a section is kept.
    pub fn keeps(self, section: Section) -> bool {
        section as u8 <= self as u8
    }
}

/// What capture needs for packets of one sealing epoch. Holds public keys and the mapping, no private key.
#[derive(Clone)]
pub struct EpochKeys {
    /// Days since the Unix epoch.
    pub sealing_epoch: u32,
    /// Of the pseudonyms.
    pub mapping_epoch: u32,
    /// Whom the data keys of A, R and P are wrapped to; one per retained section, in that order.
    pub recipients: Vec<Recipient>,
    /// Makes the anonymized view.
    pub anonymizer: Arc<Anonymizer>,
}

/// Capture's signing key of this run, and the node's word for it.
#[derive(Clone)]
pub struct RunKey {
    /// Signs segment headers and footers.
    pub signing: SigningKey,
    /// Issued by the node key, role [`RunKey::ROLE`].
    pub certificate: Certificate,
}

impl RunKey {
    /// The role that the certificate of a run key names.
    pub const ROLE: &'static str = "capture/run";
}

/// The data keys of a segment while it is being written.
pub struct SegmentKeys {
    sections: Vec<DataKey>,
}

impl SegmentKeys {
    /// Fresh keys for the retained sections.
    pub fn generate(retain: Retain) -> Self {
        Self {
            sections: (0..=retain as u8).map(|_| DataKey::generate()).collect(),
        }
    }

    /// Wraps each key to the recipient of its section.
    pub fn wrap(&self, segment: SegmentId, epoch: &EpochKeys) -> Result<Vec<WrappedKey>, TraceError> {
        if epoch.recipients.len() < self.sections.len() {
            return Err(TraceError::NoKey {
                section: "to be retained",
                segment: segment.to_string(),
            });
        }
        let wrap = |((key, recipient), section)| {
            Recipient::wrap(
                recipient,
                WRAP_INFO,
                &wrap_context(segment, epoch.sealing_epoch, section),
                key,
            )
        };
        Ok(self
            .sections
            .iter()
            .zip(&epoch.recipients)
            .zip(Section::ALL)
            .map(wrap)
            .collect())
    }

    /// The same keys as a reader of everything holds them.
    pub fn read_keys(&self) -> ReadKeys {
        let key = |section: Section| self.sections.get(section as usize).cloned();
        ReadKeys {
            a: key(Section::A),
            r: key(Section::R),
            p: key(Section::P),
        }
    }
}

/// The data keys that a reader was given: those of its request's level and no more.
#[derive(Clone, Debug, Default)]
pub struct ReadKeys {
    /// Opens the anonymized view and the index.
    pub a: Option<DataKey>,
    /// Opens the real headers.
    pub r: Option<DataKey>,
    /// Opens the rest.
    pub p: Option<DataKey>,
}

const WRAP_INFO: &[u8] = b"como segment data key v1";

fn wrap_context(segment: SegmentId, sealing_epoch: u32, section: Section) -> Vec<u8> {
    let mut out = segment.0.to_vec();
    out.extend_from_slice(&sealing_epoch.to_le_bytes());
    out.push(section as u8);
    out
}

/// Opens one section's wrapped data key. For the supervisor, which alone holds identities.
pub(super) fn unwrap(
    identity: &Identity,
    segment: SegmentId,
    sealing_epoch: u32,
    section: Section,
    wrapped: &WrappedKey,
) -> Result<DataKey, TraceError> {
    Ok(identity.unwrap(WRAP_INFO, &wrap_context(segment, sealing_epoch, section), wrapped)?)
}

/// Ready ciphers of a segment, one key for each purpose.
pub(super) struct Ciphers {
    pub entry: Option<BlockCipher>,
    pub gaps: Option<BlockCipher>,
    pub index: Option<[BlockCipher; INDEX_SLOTS]>,
    /// What the filter of all flows hashes with.
    pub filter_key: Option<[u8; 16]>,
    pub groups: Option<[BlockCipher; ColumnGroup::COUNT]>,
    pub r: Option<BlockCipher>,
    pub p: Option<BlockCipher>,
}

impl Ciphers {
    pub fn new(keys: &ReadKeys) -> Self {
        let derived = |label| keys.a.as_ref().map(|a| a.derive(label, 0).cipher());
        Self {
            entry: derived("trace entry"),
            gaps: derived("trace gaps"),
            index: keys
                .a
                .as_ref()
                .map(|a| std::array::from_fn(|slot| a.derive("trace index", slot as u32).cipher())),
            filter_key: keys.a.as_ref().map(|a| {
                let key = a.derive("trace index filter", 0);
                std::array::from_fn(|at| key.expose()[at])
            }),
            groups: keys
                .a
                .as_ref()
                .map(|a| std::array::from_fn(|group| a.derive("trace group", group as u32).cipher())),
            r: keys.r.as_ref().map(DataKey::cipher),
            p: keys.p.as_ref().map(DataKey::cipher),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retain_keeps_what_its_name_says() {
        assert!(Retain::Anonymized.keeps(Section::A) && !Retain::Anonymized.keeps(Section::R));
        assert!(Retain::Headers.keeps(Section::R) && !Retain::Headers.keeps(Section::P));
        assert!(
            Section::ALL
                .into_iter()
                .all(|section| Retain::Payload.keeps(section))
        );
    }
}
