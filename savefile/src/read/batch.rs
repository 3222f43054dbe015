//! Many packets at once, without copying them: the reader's buffer itself is handed over, and the batch's old one
//! taken in its place. Must never hold more than one buffer.

use std::io::{self, Read};

use super::{End, Found, Reader};
use crate::Packet;

/// Packets that were read together, in a buffer that is used again.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    places: Vec<Place>,
    skipped: u64,
}

struct Place {
    ts_ns: u64,
    wire_len: u32,
    link: u32,
    at: usize,
    data_bytes: usize,
}

/// Whether there may be more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be more.
    More,
    /// No more.
    Ended(End),
}

impl Batch {
    /// Number of packets.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Records that are no packets, and do not tell how packets are written: statistics, names, secrets.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The packets in the order of the file.
    pub fn packets(&self) -> impl Iterator<Item = Packet<'_>> {
        self.places.iter().map(|place| Packet {
            ts_ns: place.ts_ns,
            wire_len: place.wire_len,
            link: place.link,
            data: &self.bytes[place.at..place.at + place.data_bytes],
        })
    }
}

impl<R: Read> Reader<R> {
    /// Replaces what `batch` holds by the next packets: as many as one read of the stream gave, about 256 KiB of a
    /// file. From a slow pipe that is what is there, so that nobody waits for a full batch.
    pub fn read_batch(&mut self, batch: &mut Batch) -> io::Result<Progress> {
        batch.places.clear();
        batch.skipped = 0;
        let progress = self.gather(batch);
        self.window.seal(false);
        self.window.hand_over(&mut batch.bytes);
        progress
    }

    fn gather(&mut self, batch: &mut Batch) -> io::Result<Progress> {
        let mut read_any = false;
        let mut peeked = self.current.take();
        loop {
            let found = match peeked.take() {
                Some(found) => found,
                None => self.parse()?,
            };
            match found {
                Found::Packet {
                    ts_ns,
                    wire_len,
                    link,
                    data_at,
                    data_bytes,
                    record_bytes,
                } => {
                    batch.places.push(Place {
                        ts_ns,
                        wire_len,
                        link,
                        at: self.window.start() + data_at,
                        data_bytes,
                    });
                    self.window.consume(record_bytes);
                }
                Found::Frame { record_bytes } => self.window.consume(record_bytes),
                Found::Skipped { record_bytes } => {
                    batch.skipped += 1;
                    self.window.consume(record_bytes);
                }
                // In a sealed window this is the end of the buffer, or damage that shows again in the next call.
                _ if read_any => return Ok(Progress::More),
                Found::End => return Ok(Progress::Ended(End::Clean)),
                Found::Truncated => return Ok(Progress::Ended(End::Truncated)),
                Found::Corrupt => return Ok(Progress::Ended(End::Corrupt)),
            }
            read_any = true;
            // From the first record on, places in the buffer must hold.
            self.window.seal(true);
        }
    }
}
