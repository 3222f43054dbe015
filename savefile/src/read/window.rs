//! A window onto a stream that knows its absolute offset. Must never grow beyond the largest record.

use std::io::{self, Read, Seek, SeekFrom};

/// Bytes read at once: what a core's cache holds beside the work on it. As many KiB cost `como anonymize` less processor time
/// than 64, 128 or 1024.
const CHUNK_BYTES: usize = 1 << 18;

/// A buffered reader that gives whole records without copying them out.
pub(super) struct Window<R> {
    input: R,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
    sealed: bool,
}

impl<R: Read> Window<R> {
    /// Starts at offset 0 of the stream.
    pub fn new(input: R) -> Self {
        Self {
            input,
            bytes: vec![0; CHUNK_BYTES],
            start: 0,
            end: 0,
            offset: 0,
            sealed: false,
        }
    }

    /// Offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Place of the next byte in the buffer: the same until the window moves.
    pub fn start(&self) -> usize {
        self.start
    }

    /// The next `count` bytes, or as many as are left (while sealed: as are in the buffer).
    #[inline]
    pub fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.end - self.start < count && !self.sealed {
            self.refill(count)?;
        }
        Ok(&self.bytes[self.start..self.end.min(self.start + count)])
    }

    /// Bytes from `from` on, counted from the next byte, which [`Window::peek`] has already given.
    pub fn peeked(&self, from: usize, count: usize) -> &[u8] {
        &self.bytes[self.start + from..self.start + from + count]
    }

    /// Moves past bytes that were peeked.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start);
        self.start += count;
        self.offset += count as u64;
    }

    /// While sealed, bytes keep their place in the buffer, because nothing is read.
    pub fn seal(&mut self, sealed: bool) {
        self.sealed = sealed;
    }

    /// Gives the buffer away and goes on in `spare`, which takes over what is not consumed yet.
    pub fn hand_over(&mut self, spare: &mut Vec<u8>) {
        let rest = self.end - self.start;
        if spare.len() < CHUNK_BYTES.max(rest) {
            spare.resize(CHUNK_BYTES.max(rest), 0);
        }
        spare[..rest].copy_from_slice(&self.bytes[self.start..self.end]);
        std::mem::swap(&mut self.bytes, spare);
        (self.start, self.end) = (0, rest);
    }

    #[cold]
    fn refill(&mut self, count: usize) -> io::Result<()> {
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
        Ok(())
    }
}

impl<R: Read + Seek> Window<R> {
    /// Goes on at an absolute offset.
    pub fn jump(&mut self, offset: u64) -> io::Result<()> {
        self.input.seek(SeekFrom::Start(offset))?;
        (self.start, self.end, self.offset) = (0, 0, offset);
        Ok(())
    }
}
