//! Record files: rows that live modules computed, interval by interval, sealed to the record identity of
//! their output level. Owns the format, in one place; must never hold a private key.
//!
//! ```text
//! magic "COMOREC1" | u32 header bytes | header (record.capnp) | block*
//! block: 40-byte clear head | sealed rows
//! head : u32 magic | u8 flags | u24 sampling | u64 number | u64 from_ns | u64 to_ns | u32 sealed bytes | u32 message bytes
//! ```
//! Numbers are little-endian. Flag 1: nothing of the interval is missing. Sampling: one packet in so many was looked at,
//! 0: all. A block's rows are one Cap'n Proto table (dataset.capnp), LZ4 compressed,
//! sealed with ChaCha20-Poly1305 under the file's data key; the nonce is the block number and the
//! associated data is the head, so that no block can be moved, replayed or given another interval.

mod file;
mod header;

pub use file::{Block, Head, Recovered, Stretch, recover};
pub use header::{Header, file_start, metric};

use como_keys::aead::{BlockCipher, DataKey, TAG_BYTES};

/// First bytes of a record file.
pub const MAGIC: [u8; 8] = *b"COMOREC1";
/// Version of the header.
pub const VERSION: u16 = 1;
/// Bytes of a block's clear head.
pub const HEAD_BYTES: usize = 40;
/// Largest header, in bytes.
pub const MAX_HEADER_BYTES: usize = 64 << 10;
/// Largest rows message of one block, in bytes: a module's largest output and its framing.
pub const MAX_ROWS_BYTES: usize = 8 << 20;
/// Info string that binds wrapped keys to this format.
pub const WRAP_INFO: &[u8] = b"como/record/1";

/// What is wrong with a record file.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not written by this program, or by another version.
    #[error("not a record file of version {VERSION}: {0}\nKeep it out of the records directory.")]
    NotRecords(String),
    /// Does not open: damaged, or another key.
    #[error(
        "record block {0} does not open\nThe file is damaged; the window is computed from the trace instead."
    )]
    Damaged(u64),
    /// The file cannot be read.
    #[error("record file: {0}\nCheck the disk.")]
    Io(#[from] std::io::Error),
}

/// Seals blocks of one record file.
pub struct Sealer {
    cipher: BlockCipher,
    number: u64,
}

impl Sealer {
    /// A sealer under a fresh data key, which the caller has wrapped into the header.
    pub fn new(key: &DataKey) -> Self {
        Self {
            cipher: key.cipher(),
            number: 0,
        }
    }

    /// Seals the rows of one interval; returns the block's bytes.
    pub fn seal(&mut self, interval: Stretch, complete: bool, rows: &[u8]) -> Vec<u8> {
        let mut sealed = lz4_flex::block::compress(rows);
        let head = Head {
            number: self.number,
            from_ns: interval.from_ns,
            to_ns: interval.to_ns,
            complete,
            one_in: interval.one_in,
            sealed_bytes: (sealed.len() + TAG_BYTES) as u32,
            rows_bytes: rows.len() as u32,
        };
        let head = head.to_bytes();
        self.cipher.seal(self.number, false, &head, &mut sealed);
        self.number += 1;
        [&head[..], &sealed].concat()
    }
}

/// Opens one block; the rows message comes out.
pub fn open(cipher: &BlockCipher, block: Block) -> Result<(Head, Vec<u8>), RecordError> {
    let Block { head, mut sealed } = block;
    let damaged = || RecordError::Damaged(head.number);
    if head.rows_bytes as usize > MAX_ROWS_BYTES {
        return Err(damaged());
    }
    cipher
        .open(head.number, false, &head.to_bytes(), &mut sealed)
        .map_err(|_| damaged())?;
    let rows = lz4_flex::block::decompress(&sealed, head.rows_bytes as usize).map_err(|_| damaged())?;
    Ok((head, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(from_ns: u64, to_ns: u64, one_in: u32) -> Stretch {
        Stretch {
            from_ns,
            to_ns,
            one_in,
        }
    }

    fn file(key: &DataKey, blocks: u64) -> Vec<u8> {
        let mut sealer = Sealer::new(key);
        (0..blocks)
            .flat_map(|i| {
                sealer.seal(
                    stretch(i * 10, i * 10 + 10, i as u32 + 1),
                    i != 1,
                    format!("rows of {i}").as_bytes(),
                )
            })
            .collect()
    }

    #[test]
    fn blocks_open_in_order_with_their_intervals() {
        let key = DataKey::generate();
        let bytes = file(&key, 3);
        let mut at = std::io::Cursor::new(&bytes);
        let cipher = key.cipher();
        for i in 0..3 {
            let block = Block::read(&mut at).unwrap().unwrap();
            let (head, rows) = open(&cipher, block).unwrap();
            assert_eq!(
                (head.number, head.from_ns, head.to_ns, head.complete, head.one_in),
                (i, i * 10, i * 10 + 10, i != 1, i as u32 + 1)
            );
            assert_eq!(rows, format!("rows of {i}").into_bytes());
        }
        assert!(Block::read(&mut at).unwrap().is_none());
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let key = DataKey::generate();
        let cipher = key.cipher();
        let good = file(&key, 1);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let read = Block::read(&mut std::io::Cursor::new(&bad));
            let opened = read.ok().flatten().map(|block| open(&cipher, block).is_ok());
            assert_ne!(opened, Some(true), "bit {bit}");
        }
    }

    #[test]
    fn a_torn_tail_is_cut_and_what_is_whole_stays() {
        let key = DataKey::generate();
        let bytes = file(&key, 2);
        let first = file(&key, 1).len();
        for cut in first..bytes.len() {
            let recovered = recover(&mut std::io::Cursor::new(&bytes[..cut]), 0).unwrap();
            assert_eq!(
                (recovered.blocks, recovered.valid_bytes),
                (1, first as u64),
                "cut at {cut}"
            );
            assert_eq!(recovered.stretches, [stretch(0, 10, 1)]);
        }
    }

    #[test]
    fn stretches_break_at_holes_incomplete_intervals_and_other_sampling() {
        let key = DataKey::generate();
        let mut sealer = Sealer::new(&key);
        let mut bytes = Vec::new();
        for (from, to, complete, one_in) in [
            (0, 10, true, 1),
            (10, 20, true, 1),
            (20, 30, false, 1),
            (30, 40, true, 1),
            (50, 60, true, 1),
            (60, 70, true, 8),
            (70, 80, true, 8),
            (80, 90, true, 1),
        ] {
            bytes.extend(sealer.seal(stretch(from, to, one_in), complete, b""));
        }
        let recovered = recover(&mut std::io::Cursor::new(&bytes), 0).unwrap();
        let expected = [(0, 20, 1), (30, 40, 1), (50, 60, 1), (60, 80, 8), (80, 90, 1)]
            .map(|(from, to, one_in)| stretch(from, to, one_in));
        assert_eq!(recovered.stretches, expected);
    }
}
