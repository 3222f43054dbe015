//! The key file: everything that the supervisor keeps, sealed under the root secret. Must never be
//! held by another process, and must never make a destroyed epoch's keys anew.

mod file;

pub use file::passphrase_params;

use crate::KeyError;
use crate::mapping::MappingKey;
use crate::root::RootSecret;
use crate::sealing::{Identity, Recipient};
use crate::signing::{SigningKey, VerifyingKey};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Nanoseconds of a sealing epoch: one day of packet time.
pub const SEALING_EPOCH_NS: u64 = 86_400_000_000_000;
/// Sealing epochs in a mapping epoch: 30 days.
pub const SEALING_EPOCHS_PER_MAPPING_EPOCH: u32 = 30;

/// The sealing epoch of a packet time: days since the Unix epoch.
pub fn sealing_epoch(ts_ns: u64) -> u32 {
    (ts_ns / SEALING_EPOCH_NS) as u32
}

/// The mapping epoch of a packet time.
pub fn mapping_epoch(ts_ns: u64) -> u32 {
    sealing_epoch(ts_ns) / SEALING_EPOCHS_PER_MAPPING_EPOCH
}

/// A section of the trace; each has an identity of its own per sealing epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Section {
    /// The anonymized view.
    A = 0,
    /// The real headers.
    R = 1,
    /// The rest of the packets.
    P = 2,
}

impl Section {
    /// All sections.
    pub const ALL: [Section; 3] = [Section::A, Section::R, Section::P];

    /// The section of its number in formats.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// What of an epoch is destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destroy {
    /// The identities of the trace's sections.
    Trace,
    /// The identities of the records.
    Records,
    /// Both.
    All,
}

/// The keys of a node.
#[derive(Clone, Debug)]
pub struct Keyring {
    /// Signs datasets, audit heads and the certificates of capture's runs.
    pub node_signing: SigningKey,
    trace: BTreeMap<(u32, Section), Identity>,
    records: BTreeMap<(u32, u8), Identity>,
    mappings: BTreeMap<u32, MappingKey>,
    audiences: BTreeMap<(u32, String), MappingKey>,
    destroyed_trace: BTreeSet<u32>,
    destroyed_records: BTreeSet<u32>,
    destroyed_mappings: BTreeSet<u32>,
    off_node_payload: Option<Recipient>,
    former_node_keys: Vec<VerifyingKey>,
}

/// Longest name of an audience, bytes.
pub const MAX_AUDIENCE_BYTES: usize = 512;

impl Keyring {
    /// A keyring with a fresh node signing key and no epoch yet.
    pub fn create() -> Self {
        Self::with_signing_key(SigningKey::generate())
    }

    fn with_signing_key(node_signing: SigningKey) -> Self {
        Self {
            node_signing,
            trace: BTreeMap::new(),
            records: BTreeMap::new(),
            mappings: BTreeMap::new(),
            audiences: BTreeMap::new(),
            destroyed_trace: BTreeSet::new(),
            destroyed_records: BTreeSet::new(),
            destroyed_mappings: BTreeSet::new(),
            off_node_payload: None,
            former_node_keys: Vec::new(),
        }
    }

    /// Opens the key file.
    pub fn load(path: &Path, root: &RootSecret) -> Result<Self, KeyError> {
        file::load(path, root)
    }

    /// Seals the keyring into `path`, replacing it at once.
    pub fn save(&self, path: &Path, root: &RootSecret) -> Result<(), KeyError> {
        file::save(self, path, root)
    }

    /// Takes a new node signing key. What the former one signed stays verifiable: its public half is kept.
    pub fn rotate_node_signing(&mut self) {
        self.former_node_keys.push(self.node_signing.verifying_key());
        self.node_signing = SigningKey::generate();
    }

    /// The public halves of the node's signing keys, the present one first, then the former ones from old
    /// to new.
    pub fn node_keys(&self) -> Vec<VerifyingKey> {
        let mut keys = vec![self.node_signing.verifying_key()];
        keys.extend(&self.former_node_keys);
        keys
    }

    /// Whom capture seals a section to. An identity that is absent is made: save the keyring before the
    /// recipient is used, or what is sealed to it is lost with this process.
    pub fn trace_recipient(&mut self, epoch: u32, section: Section) -> Result<Recipient, KeyError> {
        if self.destroyed_trace.contains(&epoch) {
            return Err(KeyError::Destroyed { what: "trace", epoch });
        }
        if section == Section::P
            && let Some(recipient) = &self.off_node_payload
        {
            return Ok(recipient.clone());
        }
        self.trace_identity(epoch, section).map(Identity::recipient)
    }

    /// The identity of a section in a sealing epoch, made when absent (save the keyring before use).
    pub fn trace_identity(&mut self, epoch: u32, section: Section) -> Result<&Identity, KeyError> {
        if self.destroyed_trace.contains(&epoch) {
            return Err(KeyError::Destroyed { what: "trace", epoch });
        }
        if section == Section::P && self.off_node_payload.is_some() {
            return Err(KeyError::OffNode);
        }
        Ok(self
            .trace
            .entry((epoch, section))
            .or_insert_with(Identity::generate))
    }

    /// From now on payload is sealed to `recipient`, whose identity the operator keeps elsewhere. Destroying
    /// an epoch on the node does not destroy that identity.
    pub fn keep_payload_off_node(&mut self, recipient: Recipient) {
        self.off_node_payload = Some(recipient);
    }

    /// The identity of a section in a sealing epoch, where it exists and was not destroyed.
    pub fn trace_identity_if_present(&self, epoch: u32, section: Section) -> Option<&Identity> {
        self.trace.get(&(epoch, section))
    }

    /// The identity of records of an output level (0..=4) in a sealing epoch, made when absent.
    pub fn record_identity(&mut self, epoch: u32, output_level: u8) -> Result<&Identity, KeyError> {
        if self.destroyed_records.contains(&epoch) {
            return Err(KeyError::Destroyed {
                what: "record",
                epoch,
            });
        }
        Ok(self
            .records
            .entry((epoch, output_level))
            .or_insert_with(Identity::generate))
    }

    /// The identity of records, where it exists and was not destroyed.
    pub fn record_identity_if_present(&self, epoch: u32, output_level: u8) -> Option<&Identity> {
        self.records.get(&(epoch, output_level))
    }

    /// The node's own pseudonym key of a mapping epoch, made when absent.
    pub fn mapping_key(&mut self, mapping_epoch: u32) -> Result<MappingKey, KeyError> {
        if self.destroyed_mappings.contains(&mapping_epoch) {
            return Err(KeyError::Destroyed {
                what: "mapping",
                epoch: mapping_epoch,
            });
        }
        Ok(self
            .mappings
            .entry(mapping_epoch)
            .or_insert_with(MappingKey::generate)
            .clone())
    }

    /// The mapping key of an epoch that has one: what was written under it can be looked up, and nothing new is made.
    pub fn mapping_key_if_present(&self, mapping_epoch: u32) -> Option<&MappingKey> {
        self.mappings.get(&mapping_epoch)
    }

    /// An audience's pseudonym key of a mapping epoch, made when absent.
    pub fn audience_key(&mut self, mapping_epoch: u32, audience: &str) -> Result<MappingKey, KeyError> {
        if self.destroyed_mappings.contains(&mapping_epoch) {
            return Err(KeyError::Destroyed {
                what: "mapping",
                epoch: mapping_epoch,
            });
        }
        Ok(self
            .audiences
            .entry((mapping_epoch, audience.to_owned()))
            .or_insert_with(MappingKey::generate)
            .clone())
    }

    /// Whether an audience's pseudonym key of a mapping epoch was made.
    pub fn has_audience_key(&self, mapping_epoch: u32, audience: &str) -> bool {
        self.audiences.contains_key(&(mapping_epoch, audience.to_owned()))
    }

    /// Forgets the identities of a sealing epoch for ever; true if there were any. Save afterwards.
    pub fn destroy_epoch(&mut self, epoch: u32, what: Destroy) -> bool {
        let before = self.trace.len() + self.records.len();
        if what != Destroy::Records {
            self.trace.retain(|(e, _), _| *e != epoch);
            self.destroyed_trace.insert(epoch);
        }
        if what != Destroy::Trace {
            self.records.retain(|(e, _), _| *e != epoch);
            self.destroyed_records.insert(epoch);
        }
        before != self.trace.len() + self.records.len()
    }

    /// Forgets the node's and all audiences' pseudonym keys of a mapping epoch for ever.
    pub fn destroy_mapping_epoch(&mut self, mapping_epoch: u32) -> bool {
        let before = self.mappings.len() + self.audiences.len();
        self.mappings.remove(&mapping_epoch);
        self.audiences.retain(|(e, _), _| *e != mapping_epoch);
        self.destroyed_mappings.insert(mapping_epoch);
        before != self.mappings.len() + self.audiences.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aead::DataKey;

    #[test]
    fn epochs_follow_packet_time() {
        assert_eq!(sealing_epoch(SEALING_EPOCH_NS - 1), 0);
        assert_eq!(sealing_epoch(SEALING_EPOCH_NS), 1);
        assert_eq!(mapping_epoch(30 * SEALING_EPOCH_NS), 1);
        assert_eq!(mapping_epoch(30 * SEALING_EPOCH_NS - 1), 0);
        assert_eq!(sealing_epoch(u64::MAX), 213_503);
    }

    #[test]
    fn every_epoch_section_level_and_audience_has_a_key_of_its_own() {
        let mut keyring = Keyring::create();
        let mut seen = BTreeSet::new();
        for epoch in [1, 2] {
            for section in Section::ALL {
                assert!(seen.insert(*keyring.trace_identity(epoch, section).unwrap().to_bytes()));
            }
            for level in 0..=4 {
                assert!(seen.insert(*keyring.record_identity(epoch, level).unwrap().to_bytes()));
            }
            assert!(seen.insert(*keyring.mapping_key(epoch).unwrap().expose()));
            for audience in ["a", "b"] {
                assert!(seen.insert(*keyring.audience_key(epoch, audience).unwrap().expose()));
            }
        }
        // Asking again makes nothing new.
        assert!(!seen.insert(*keyring.trace_identity(1, Section::A).unwrap().to_bytes()));
        assert!(!seen.insert(*keyring.audience_key(1, "a").unwrap().expose()));
    }

    #[test]
    fn nobody_opens_a_destroyed_epoch_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let root = RootSecret::generate();
        let mut keyring = Keyring::create();
        let key = DataKey::generate();
        let sealed = keyring
            .trace_recipient(7, Section::R)
            .unwrap()
            .wrap(b"trace", b"segment", &key);
        keyring.record_identity(7, 2).unwrap();
        keyring.save(&path, &root).unwrap();

        let mut keyring = Keyring::load(&path, &root).unwrap();
        let opened = keyring
            .trace_identity(7, Section::R)
            .unwrap()
            .unwrap(b"trace", b"segment", &sealed);
        assert_eq!(opened.unwrap().expose(), key.expose());
        assert!(keyring.destroy_epoch(7, Destroy::Trace));
        assert!(!keyring.destroy_epoch(7, Destroy::Trace), "nothing left");
        keyring.save(&path, &root).unwrap();

        let mut keyring = Keyring::load(&path, &root).unwrap();
        assert!(keyring.trace_identity_if_present(7, Section::R).is_none());
        assert!(matches!(
            keyring.trace_identity(7, Section::R),
            Err(KeyError::Destroyed {
                what: "trace",
                epoch: 7
            })
        ));
        assert!(keyring.trace_recipient(7, Section::P).is_err());
        assert!(
            keyring.record_identity_if_present(7, 2).is_some(),
            "records were not asked for"
        );
        keyring.destroy_epoch(7, Destroy::All);
        assert!(keyring.record_identity(7, 2).is_err());

        keyring.mapping_key(0).unwrap();
        keyring.audience_key(0, "a").unwrap();
        assert!(keyring.mapping_key_if_present(0).is_some() && keyring.mapping_key_if_present(1).is_none());
        assert!(keyring.destroy_mapping_epoch(0));
        assert!(keyring.mapping_key_if_present(0).is_none());
        assert!(keyring.mapping_key(0).is_err() && keyring.audience_key(0, "b").is_err());
    }

    #[test]
    fn what_a_former_node_key_signed_stays_verifiable() {
        let folder = tempfile::tempdir().unwrap();
        let (path, log) = (folder.path().join("keys"), folder.path().join("audit.jsonl"));
        let root = RootSecret::generate();
        let mut keyring = Keyring::create();
        for _ in 0..3 {
            let mut audit = crate::audit::AuditLog::open(&log, keyring.node_signing.clone()).unwrap();
            audit.append(1, &"rotated").unwrap();
            audit.sign_head(2).unwrap();
            keyring.rotate_node_signing();
        }
        keyring.save(&path, &root).unwrap();
        let keyring = Keyring::load(&path, &root).unwrap();
        assert_eq!(keyring.node_keys().len(), 4);
        assert_eq!(keyring.node_keys()[0], keyring.node_signing.verifying_key());
        assert_eq!(crate::audit::verify(&log, &keyring.node_keys()).unwrap().heads, 3);
        assert!(crate::audit::verify(&log, &keyring.node_keys()[..1]).is_err());
    }

    #[test]
    fn payload_kept_off_the_node_is_sealed_but_never_opened_there() {
        let elsewhere = Identity::generate();
        let mut keyring = Keyring::create();
        keyring.keep_payload_off_node(elsewhere.recipient());
        let key = DataKey::generate();
        let sealed = keyring
            .trace_recipient(1, Section::P)
            .unwrap()
            .wrap(b"i", b"a", &key);
        assert!(matches!(
            keyring.trace_identity(1, Section::P),
            Err(KeyError::OffNode)
        ));
        assert_eq!(
            elsewhere.unwrap(b"i", b"a", &sealed).unwrap().expose(),
            key.expose()
        );
        assert!(keyring.trace_identity(1, Section::R).is_ok());
    }

    #[test]
    fn debug_of_a_keyring_shows_no_key() {
        let mut keyring = Keyring::create();
        keyring.trace_identity(1, Section::A).unwrap();
        keyring.mapping_key(0).unwrap();
        let shown = format!("{keyring:?}");
        assert_eq!(shown.matches("[redacted]").count(), 3, "{shown}");
        assert!(!shown.contains(&hex::encode(keyring.node_signing.expose())));
    }
}
