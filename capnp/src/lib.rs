//! Cap'n Proto schemas of every message and file header, and their generated code.
//!
//! Owns the wire and file vocabulary; must never hold logic beyond reading and writing messages
//! within named limits.

/// Largest single Cap'n Proto message that any reader accepts, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Traversal is charged per getter call, so the limit is this many times the message's own words.
const TRAVERSAL_FACTOR: usize = 8;

/// A message in one contiguous buffer.
pub type Message = capnp::message::Reader<capnp::serialize::OwnedSegments>;

/// Parses one message that must fill `bytes` exactly.
///
/// Refuses messages over [`MAX_MESSAGE_BYTES`] before allocating anything.
pub fn read_message(bytes: &[u8]) -> Result<Message, capnp::Error> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(capnp::Error::failed(format!(
            "message of {} bytes is above the limit of {MAX_MESSAGE_BYTES}",
            bytes.len()
        )));
    }
    let mut options = capnp::message::ReaderOptions::new();
    options.traversal_limit_in_words(Some((bytes.len() / 8 + 64) * TRAVERSAL_FACTOR));
    let mut rest = bytes;
    let message = capnp::serialize::read_message(&mut rest, options)?;
    if !rest.is_empty() {
        return Err(capnp::Error::failed(format!(
            "{} bytes follow the message",
            rest.len()
        )));
    }
    Ok(message)
}

/// Serialises a message into bytes that [`read_message`] accepts.
pub fn write_message<A: capnp::message::Allocator>(message: &capnp::message::Builder<A>) -> Vec<u8> {
    capnp::serialize::write_message_to_words(message)
}

macro_rules! schema {
    ($name:ident, $file:literal, $doc:literal) => {
        #[doc = $doc]
        #[allow(missing_docs, clippy::all)]
        pub mod $name {
            include!(concat!(env!("OUT_DIR"), "/", $file));
        }
    };
}
schema!(
    module_capnp,
    "module_capnp.rs",
    "Module manifests and the signing envelope."
);
schema!(dataset_capnp, "dataset_capnp.rs", "The dataset container.");
schema!(
    trace_capnp,
    "trace_capnp.rs",
    "Segment headers and footers of the trace."
);
schema!(record_capnp, "record_capnp.rs", "Headers of record files.");
schema!(
    wire_capnp,
    "wire_capnp.rs",
    "Messages between the node's processes."
);
schema!(
    api_capnp,
    "api_capnp.rs",
    "What partners, developers and operators ask of a node."
);
