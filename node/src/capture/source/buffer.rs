//! A window onto a stream that knows its absolute offset. Must never grow beyond the largest record.

use std::io::{self, Read};

/// Bytes read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// A buffered reader that gives whole records without copying them out.
pub(super) struct Window<R> {
    input: R,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
}

impl<R: Read> Window<R> {
    /// Starts at an absolute offset of the stream, where `input` stands.
    pub fn new(input: R, offset: u64) -> Self {
        Self {
            input,
            bytes: vec![0; CHUNK_BYTES],
            start: 0,
            end: 0,
            offset,
        }
    }

    /// Offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next `count` bytes, or as many as are left.
    pub fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.end - self.start < count {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.bytes.len() < count {
                self.bytes.resize(count, 0);
            }
            while self.end < count {
                match self.input.read(&mut self.bytes[self.end..]) {
                    Ok(0) => break,
                    Ok(read) => self.end += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(&self.bytes[self.start..self.end.min(self.start + count)])
    }

    /// The next `count` bytes, which [`Window::peek`] has already given.
    pub fn peeked(&self, count: usize) -> &[u8] {
        &self.bytes[self.start..self.start + count]
    }

    /// Moves past bytes that were peeked.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start);
        self.start += count;
        self.offset += count as u64;
    }
}

/// Integers of a file in its own byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    /// A field of two bytes; 0 beyond the end.
    pub fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let field = bytes
            .get(at..)
            .and_then(|b| b.first_chunk())
            .copied()
            .unwrap_or_default();
        if self == Self::Little {
            u16::from_le_bytes(field)
        } else {
            u16::from_be_bytes(field)
        }
    }

    /// A field of four bytes; 0 beyond the end.
    pub fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let field = bytes
            .get(at..)
            .and_then(|b| b.first_chunk())
            .copied()
            .unwrap_or_default();
        if self == Self::Little {
            u32::from_le_bytes(field)
        } else {
            u32::from_be_bytes(field)
        }
    }

    /// A field of eight bytes; 0 beyond the end.
    pub fn u64(self, bytes: &[u8], at: usize) -> u64 {
        let field = bytes
            .get(at..)
            .and_then(|b| b.first_chunk())
            .copied()
            .unwrap_or_default();
        if self == Self::Little {
            u64::from_le_bytes(field)
        } else {
            u64::from_be_bytes(field)
        }
    }
}

/// A record of a capture file.
pub(super) enum Record {
    /// A packet: where its bytes lie in the peeked record.
    Packet {
        ts_ns: u64,
        wire_len: u32,
        link: u32,
        data: std::ops::Range<usize>,
        record_bytes: usize,
    },
    /// Bytes that are no packet.
    Other { record_bytes: usize },
    /// The clean end.
    End,
    /// The end inside a record.
    Truncated,
    /// Nothing beyond this point makes sense.
    Corrupt,
}
