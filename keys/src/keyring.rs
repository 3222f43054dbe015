//! The key file: everything that the supervisor keeps, sealed under the root secret. Must never be
//! held by another process, and must never make a destroyed epoch's keys anew.

use crate::KeyError;
use crate::mapping::MappingKey;
use crate::root::RootSecret;
use crate::sealing::Identity;
use crate::signing::SigningKey;
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
#[derive(Clone)]
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
}

impl Keyring {
    /// A keyring with a fresh node signing key and no epoch yet.
    pub fn create() -> Self {
        Self {
            node_signing: SigningKey::generate(),
            trace: BTreeMap::new(),
            records: BTreeMap::new(),
            mappings: BTreeMap::new(),
            audiences: BTreeMap::new(),
            destroyed_trace: BTreeSet::new(),
            destroyed_records: BTreeSet::new(),
            destroyed_mappings: BTreeSet::new(),
        }
    }

    /// Opens the key file.
    pub fn load(_path: &Path, _root: &RootSecret) -> Result<Self, KeyError> {
        todo!()
    }

    /// Seals the keyring into `path`, replacing it at once.
    pub fn save(&self, _path: &Path, _root: &RootSecret) -> Result<(), KeyError> {
        todo!()
    }

    /// The identity of a section in a sealing epoch, made when absent (save the keyring before use).
    pub fn trace_identity(&mut self, epoch: u32, section: Section) -> Result<&Identity, KeyError> {
        if self.destroyed_trace.contains(&epoch) {
            return Err(KeyError::Destroyed { what: "trace", epoch });
        }
        Ok(self
            .trace
            .entry((epoch, section))
            .or_insert_with(Identity::generate))
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
