//! Blocks of a record file: their clear heads, reading them in order, and recovery after a kill.

use std::io::{Read, Seek, SeekFrom};

use como_keys::aead::TAG_BYTES;

use super::{HEAD_BYTES, MAX_ROWS_BYTES, RecordError};

const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"CREB");
const FLAG_COMPLETE: u32 = 1;
/// Where the sampling rate stands among the flags: above the lowest byte.
const ONE_IN_SHIFT: u32 = 8;
/// Largest sampling rate that a head holds; a larger one is told as this.
const MAX_ONE_IN: u32 = (1 << (u32::BITS - ONE_IN_SHIFT)) - 1;

/// Packet times that rows are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Start, ns.
    pub from_ns: u64,
    /// End, exclusive, ns.
    pub to_ns: u64,
    /// One packet in so many was looked at, at worst; 1: all.
    pub one_in: u32,
}

/// What a block says in the clear: its place and its interval, never its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number in its file, from 0: also the nonce.
    pub number: u64,
    /// Start of the interval, ns.
    pub from_ns: u64,
    /// End of the interval, ns.
    pub to_ns: u64,
    /// Whether nothing of the interval is missing.
    pub complete: bool,
    /// One packet in so many was looked at, at worst; 1: all.
    pub one_in: u32,
    /// Bytes that follow.
    pub sealed_bytes: u32,
    /// Bytes of the rows message.
    pub rows_bytes: u32,
}

impl Head {
    /// The head as stored, and as authenticated.
    pub fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[0..4].copy_from_slice(&BLOCK_MAGIC.to_le_bytes());
        let one_in = match self.one_in {
            0 | 1 => 0,
            one_in => one_in.min(MAX_ONE_IN),
        };
        let flags = (u32::from(self.complete) * FLAG_COMPLETE) | (one_in << ONE_IN_SHIFT);
        bytes[4..8].copy_from_slice(&flags.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.from_ns.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.to_ns.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.sealed_bytes.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.rows_bytes.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; HEAD_BYTES]) -> Option<Self> {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let flags = u32_at(4);
        let head = Self {
            number: u64_at(8),
            from_ns: u64_at(16),
            to_ns: u64_at(24),
            complete: flags & FLAG_COMPLETE != 0,
            one_in: (flags >> ONE_IN_SHIFT).max(1),
            sealed_bytes: u32_at(32),
            rows_bytes: u32_at(36),
        };
        let sound = u32_at(0) == BLOCK_MAGIC
            && flags & ((1 << ONE_IN_SHIFT) - 1) <= FLAG_COMPLETE
            && flags >> ONE_IN_SHIFT != 1
            && head.from_ns < head.to_ns
            && head.sealed_bytes as usize >= TAG_BYTES
            && head.sealed_bytes as usize <= MAX_ROWS_BYTES + MAX_ROWS_BYTES / 100 + 1024;
        sound.then_some(head)
    }
}

/// One block, still sealed.
pub struct Block {
    /// Its clear head.
    pub head: Head,
    /// Its sealed rows.
    pub sealed: Vec<u8>,
}

impl Block {
    /// Reads the next block; `None` at the end of the file, or where a torn tail begins.
    pub fn read(from: &mut impl Read) -> Result<Option<Self>, RecordError> {
        let mut head = [0; HEAD_BYTES];
        if !fill(from, &mut head)? {
            return Ok(None);
        }
        let Some(head) = Head::from_bytes(&head) else {
            return Ok(None);
        };
        let mut sealed = vec![0; head.sealed_bytes as usize];
        if !fill(from, &mut sealed)? {
            return Ok(None);
        }
        Ok(Some(Self { head, sealed }))
    }
}

/// What a record file holds after its writer ended, however it ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Whole blocks.
    pub blocks: u64,
    /// Bytes up to the end of the last whole block; what follows is a torn tail.
    pub valid_bytes: u64,
    /// Stretches of packet time without a hole and sampled alike, in order.
    pub stretches: Vec<Stretch>,
}

impl Recovered {
    /// Takes one more block; true when it begins a new stretch.
    pub fn add(&mut self, head: &Head) -> bool {
        self.blocks += 1;
        self.valid_bytes += HEAD_BYTES as u64 + u64::from(head.sealed_bytes);
        if !head.complete {
            return false;
        }
        match self.stretches.last_mut() {
            Some(last) if last.to_ns == head.from_ns && last.one_in == head.one_in => {
                last.to_ns = head.to_ns;
                false
            }
            _ => {
                self.stretches.push(Stretch {
                    from_ns: head.from_ns,
                    to_ns: head.to_ns,
                    one_in: head.one_in,
                });
                true
            }
        }
    }
}

/// Scans the blocks of a file from `start` on (the end of its header).
pub fn recover(file: &mut (impl Read + Seek), start: u64) -> Result<Recovered, RecordError> {
    file.seek(SeekFrom::Start(start))?;
    let mut recovered = Recovered {
        valid_bytes: start,
        ..Recovered::default()
    };
    while let Some(block) = Block::read(file)? {
        if block.head.number != recovered.blocks {
            break;
        }
        recovered.add(&block.head);
    }
    Ok(recovered)
}

/// Fills `buffer`; false where the file ends first.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> Result<bool, RecordError> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e.into()),
    }
}
