//! What a dataset says about itself: its header, in the clear, and how complete it is, sealed.
//!
//! Owns the meaning of the header's fields; must never seal or open anything.

use como_keys::signing::KeyId;
use como_policies::{AccessLevel, Window};

use crate::ColumnKind;

/// The header of a dataset: in the clear, so that a mirror can sort and verify what it cannot open.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// SPIFFE id of the node.
    pub node: String,
    /// Id of the key that signs the dataset.
    pub node_key: KeyId,
    /// The query that it answers.
    pub query_id: String,
    /// Rows or packets.
    pub kind: Kind,
    /// The level that the content was made for.
    pub level: AccessLevel,
    /// Packet time that was asked, snapped to the level's grain.
    pub window: Window,
    /// Canonical text of the asker's filter; empty: none.
    pub filter: String,
    /// The module that made the rows; `None` for a trace or SQL.
    pub module: Option<ModuleRef>,
    /// For whom pseudonyms were made.
    pub audience: String,
    /// Epoch of the pseudonyms.
    pub mapping_epoch: u32,
    /// Shape of the content; agrees with `kind`.
    pub schema: Schema,
    /// Gaps known when the dataset was begun. [`Completeness`] has all.
    pub gaps: Vec<Gap>,
    /// Intervals known then to be interrupted.
    pub interrupted: Vec<Window>,
    /// Wall time of creation, ns since the Unix epoch.
    pub created_ns: u64,
    /// Hash of the policy set that allowed it.
    pub policy_hash: String,
}

/// Rows or packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rows of a declared schema.
    Table,
    /// Packets of one link type.
    Packets,
}

/// A module, and how it ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleRef {
    /// Its name.
    pub name: String,
    /// Its release number.
    pub release: u64,
    /// SHA-256 of the wasm, hex.
    pub hash_hex: String,
    /// Its arguments, by name.
    pub args: Vec<(String, i64)>,
    /// Length of the intervals that rows are of, ns; 0: that of its manifest.
    pub interval_ns: u64,
}

/// Shape of the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Columns of a table, in order.
    Table(Vec<Field>),
    /// Packets of this link type (LINKTYPE_ number).
    Packets {
        /// LINKTYPE_ number of libpcap's registry.
        link_type: u32,
    },
}

impl Schema {
    /// The kind that it belongs to.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Table(_) => Kind::Table,
            Self::Packets { .. } => Kind::Packets,
        }
    }

    /// The table's fields; none for packets.
    pub fn fields(&self) -> &[Field] {
        match self {
            Self::Table(fields) => fields,
            Self::Packets { .. } => &[],
        }
    }
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, unique in the schema.
    pub name: String,
    /// Kind of its values.
    pub kind: ColumnKind,
    /// Unit of its values, as in `bytes`; may be empty.
    pub unit: String,
    /// For people.
    pub description: String,
    /// How rows of several intervals or nodes combine, as in `sum`; empty: part of the key.
    pub merge: String,
}

/// A stretch where packets were lost, shed or destroyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// First instant, ns since the Unix epoch.
    pub from_ns: u64,
    /// End, exclusive.
    pub to_ns: u64,
    /// Why, in one or two words.
    pub cause: String,
    /// Packets lost, where they were counted.
    pub count: Option<u64>,
}

/// Intervals whose rows were computed of some of the packets, each of which stood for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// From the start of the first to the end of the last.
    pub window: Window,
    /// One packet in so many was looked at, at worst.
    pub one_in: u32,
}

/// How complete a dataset is; known at its end, sealed in its last chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completeness {
    /// All gaps in the window.
    pub gaps: Vec<Gap>,
    /// Intervals whose rows are partial.
    pub interrupted: Vec<Window>,
    /// Intervals whose rows are estimates; in order of time.
    pub sampled: Vec<Sampled>,
    /// Rows withheld by a threshold.
    pub suppressed_rows: u64,
    /// Packets in the dataset, or that the module saw.
    pub packets: u64,
    /// Rows in the dataset.
    pub rows: u64,
}

impl Completeness {
    /// Nothing is missing: no gap, no interrupted interval, no suppressed row. Rows may be estimates of all packets.
    pub fn is_complete(&self) -> bool {
        self.gaps.is_empty() && self.interrupted.is_empty() && self.suppressed_rows == 0
    }
}
