//! Reading: records one by one or in batches, from the start or from an exact offset. Keeps all before damage
//! and says where it ends; must never skip over damage as if nothing was there.

mod batch;
mod order;
mod pcap;
mod pcapng;
#[cfg(test)]
mod tests;
mod window;

use std::io::{self, Read, Seek};

use thiserror::Error;

pub use batch::{Batch, Progress};

use crate::{Format, Packet};
use pcap::{FILE_HEADER_BYTES, Pcap};
use pcapng::Pcapng;
use window::Window;

/// Why a stream does not open as a capture.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Nothing in it.
    #[error("it is empty\ngive a capture written by tcpdump, dumpcap or Wireshark")]
    Empty,
    /// A directory.
    #[error("it is a folder\nname one capture in it")]
    Folder,
    /// The header, or what begins like one, is not whole.
    #[error("it ends before its header does\ngive a capture that is whole")]
    CutHeader,
    /// It begins like a pcapng file and goes on otherwise.
    #[error("its header makes no sense\ngive a capture written by tcpdump, dumpcap or Wireshark")]
    BadHeader,
    /// Something else.
    #[error("it starts with neither magic number\ngive a capture written by tcpdump, dumpcap or Wireshark")]
    NoCapture,
    /// It cannot be read.
    #[error("{0}\ncheck the file and its permissions")]
    Io(#[from] io::Error),
}

/// A record of a capture file. No Debug: it holds real bytes.
pub enum Record<'a> {
    /// A packet, and the offset after it: resuming there gives the next one.
    Packet(Packet<'a>, u64),
    /// Bytes that are no packet.
    Skipped,
    /// There are no more.
    End(End),
}

/// How a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// After a record.
    Clean,
    /// Inside a record.
    Truncated,
    /// Nothing beyond this point makes sense.
    Corrupt,
}

/// A record as its format's parser found it: where the packet's bytes lie in the peeked record.
#[derive(Clone, Copy)]
enum Found {
    Packet {
        ts_ns: u64,
        wire_len: u32,
        link: u32,
        data_at: usize,
        data_bytes: usize,
        record_bytes: usize,
    },
    /// How packets are written: a section, an interface.
    Frame {
        record_bytes: usize,
    },
    Skipped {
        record_bytes: usize,
    },
    End,
    Truncated,
    Corrupt,
}

enum Parser {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

/// A capture being read.
pub struct Reader<R> {
    parser: Parser,
    window: Window<R>,
    /// The record that was looked at and not passed yet.
    current: Option<Found>,
}

impl<R: Read> Reader<R> {
    /// Opens a stream that stands at its beginning.
    pub fn new(input: R) -> Result<Self, OpenError> {
        let mut window = Window::new(input);
        let head = window.peek(FILE_HEADER_BYTES)?;
        if head.is_empty() {
            return Err(OpenError::Empty);
        }
        let is_cut = head.len() < FILE_HEADER_BYTES;
        let parser = if let Some(mut pcapng) = Pcapng::parse(head) {
            // The section header is the first block, whole.
            match pcapng.next(&mut window)? {
                Found::Frame { .. } => {}
                Found::Truncated => return Err(OpenError::CutHeader),
                _ => return Err(OpenError::BadHeader),
            }
            Parser::Pcapng(pcapng)
        } else if let Some(pcap) = Pcap::parse(head) {
            window.consume(FILE_HEADER_BYTES);
            Parser::Pcap(pcap)
        } else if is_cut {
            return Err(OpenError::CutHeader);
        } else {
            return Err(OpenError::NoCapture);
        };
        Ok(Self {
            parser,
            window,
            current: None,
        })
    }

    /// Which format it is in.
    pub fn format(&self) -> Format {
        match self.parser {
            Parser::Pcap(_) => Format::Pcap,
            Parser::Pcapng(_) => Format::Pcapng,
        }
    }

    /// The link type that a pcap file has for all packets; a pcapng file has one for each.
    pub fn link(&self) -> Option<u32> {
        match &self.parser {
            Parser::Pcap(pcap) => Some(pcap.link),
            Parser::Pcapng(_) => None,
        }
    }

    /// Offset of the next record.
    pub fn offset(&self) -> u64 {
        self.window.offset()
    }

    /// The next record; the same again until [`Reader::advance`].
    pub fn peek(&mut self) -> io::Result<Record<'_>> {
        let found = match self.current {
            Some(found) => found,
            None => self.parse()?,
        };
        self.current = Some(found);
        Ok(match found {
            Found::Packet {
                ts_ns,
                wire_len,
                link,
                data_at,
                data_bytes,
                record_bytes,
            } => {
                let packet = Packet {
                    ts_ns,
                    wire_len,
                    link,
                    data: self.window.peeked(data_at, data_bytes),
                };
                Record::Packet(packet, self.window.offset() + record_bytes as u64)
            }
            Found::Frame { .. } | Found::Skipped { .. } => Record::Skipped,
            Found::End => Record::End(End::Clean),
            Found::Truncated => Record::End(End::Truncated),
            Found::Corrupt => Record::End(End::Corrupt),
        })
    }

    /// Passes the record that was peeked. There is nothing beyond an end.
    pub fn advance(&mut self) {
        if let Some(
            Found::Packet { record_bytes, .. }
            | Found::Frame { record_bytes }
            | Found::Skipped { record_bytes },
        ) = self.current
        {
            self.window.consume(record_bytes);
            self.current = None;
        }
    }

    fn parse(&mut self) -> io::Result<Found> {
        match &mut self.parser {
            Parser::Pcap(pcap) => pcap.next(&mut self.window),
            Parser::Pcapng(pcapng) => pcapng.next(&mut self.window),
        }
    }
}

impl<R: Read + Seek> Reader<R> {
    /// Goes on at an offset that [`Record::Packet`] gave. A pcap file is entered at any record; a pcapng file is
    /// walked, because its interfaces come before.
    pub fn resume_at(&mut self, offset: u64) -> io::Result<()> {
        if let Parser::Pcap(_) = self.parser {
            if offset > self.offset() {
                self.current = None;
                self.window.jump(offset)?;
            }
            return Ok(());
        }
        while self.offset() < offset {
            if let Record::End(_) = self.peek()? {
                break;
            }
            self.advance();
        }
        Ok(())
    }
}
