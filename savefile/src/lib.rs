//! Capture files (libpcap's word: savefiles): pcap and pcapng, read and written, from files and pipes, in
//! constant memory. Must never look into a packet, nor let anything but packets out of a file: names, comments,
//! secrets and all other metadata are skipped unread.
//!
//! Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.

mod packet;
mod read;
mod write;

pub use packet::{Format, MAX_PACKET_BYTES, Packet};
pub use read::{Batch, End, OpenError, Progress, Reader, Record};
pub use write::{Encoder, Interface, Interfaces, Resolution, Section, WriteError, Writer};
