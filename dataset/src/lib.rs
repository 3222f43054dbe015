//! The CoMo dataset (`.como`): what leaves a node, sealed to its recipients and signed by the node.
//!
//! Owns the container: writing it without any private key, verifying it without an identity, opening
//! it with one. Must never decide who may have what, and never hold the node's signing key.
//!
//! - [`mod@format`] has the layout, limits and padding policy; `capnp/schema/dataset.capnp` the messages.
//! - A runner writes with [`DatasetWriter`]; the supervisor looks at [`Unsigned`] and signs its
//!   [`statement`]; whoever holds the file appends the signature with [`attach_signature`].
//! - Anybody checks origin and integrity with [`verify`]; a recipient reads with [`DatasetReader`].
//!
//! Recipients share the data key, so a recipient could seal chunks of its own: **only the node's
//! signature, which covers header and ciphertext, proves origin.** A reader that is not given the
//! node's public key proves integrity for its own use, not origin.

mod batch;
mod chunk;
mod codec;
mod error;
pub mod format;
mod head;
mod header;
mod reader;
mod seal;
mod trailer;
mod writer;

pub use batch::{Batch, ColumnData, ColumnKind, PacketBatch, Ragged, Value};
pub use chunk::{Chunk, decode_rows, encode_rows};
pub use error::DatasetError;
pub use head::Head;
pub use header::{Completeness, Field, Gap, Header, Kind, ModuleRef, Sampled, Schema};
pub use reader::{DatasetReader, Verified, verify};
pub use trailer::{attach_signature, statement};
pub use writer::{DatasetWriter, Unsigned};
