//! The bare loops that the trace is measured against: the same header and payload bytes, compressed and sealed on one core,
//! or opened and decompressed on all, and nothing else done with them. Must never be given less work than the trace has.

use std::hint::black_box;
use std::mem;

use como_anonymize::dissect;
use como_keys::aead::{BlockCipher, DataKey};

use super::Bench;
use super::anonymize::timed;
use crate::measure::Cost;

/// Captured bytes of one block.
const BLOCK_BYTES: usize = 128 << 10;
/// Captured bytes that the loop runs over, at most.
const SAMPLE_BYTES: usize = 256 << 20;
/// Packets of the sample, at most.
const SAMPLE_PACKETS: usize = 4_000_000;

/// Sealed pieces, with their plain lengths.
pub struct Bare {
    cipher: BlockCipher,
    pieces: Vec<(Vec<u8>, usize)>,
    /// Captured bytes in them.
    pub bytes: usize,
}

impl Bare {
    /// Compresses and seals the start of the trace, headers and the rest of each block apart.
    pub fn prepare(bench: &Bench) -> Result<Self, String> {
        let plain = Plain::of(bench)?;
        let cipher = DataKey::generate().cipher();
        let seal = |(number, piece): (usize, &Vec<u8>)| (sealed(&cipher, number, piece), piece.len());
        Ok(Self {
            pieces: plain.pieces.iter().enumerate().map(seal).collect(),
            bytes: plain.pieces.iter().map(Vec::len).sum(),
            cipher,
        })
    }

    /// Opens everything once.
    pub fn open(&self) -> Result<Cost, String> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let start = std::time::Instant::now();
        let open_each = |from: usize| -> Result<(), String> {
            let mut plain = vec![0; 2 * BLOCK_BYTES];
            for (number, (sealed, length)) in self.pieces.iter().enumerate().skip(from).step_by(workers) {
                let mut bytes = sealed.clone();
                let opened = self.cipher.open(number as u64, false, &[], &mut bytes);
                opened.map_err(|e| e.to_string())?;
                plain.resize(plain.len().max(*length), 0);
                let size = lz4_flex::block::decompress_into(&bytes, &mut plain).map_err(|e| e.to_string())?;
                black_box(&plain[..size]);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers)
                .map(|from| scope.spawn(move || open_each(from)))
                .collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| "a thread failed".to_owned())?)
        })?;
        let wall_s = start.elapsed().as_secs_f64();
        Ok(Cost {
            wall_s,
            cpu_s: wall_s * workers as f64,
        })
    }
}

/// Headers, and the rest, of each block of the start of the trace.
pub struct Plain {
    pieces: Vec<Vec<u8>>,
    /// Packets in them.
    pub packets: usize,
}

impl Plain {
    pub fn of(bench: &Bench) -> Result<Self, String> {
        let loaded = bench.trace.load(SAMPLE_PACKETS)?;
        let (mut pieces, mut packets, mut bytes) = (Vec::new(), 0, 0);
        let (mut headers, mut rest) = (Vec::new(), Vec::new());
        for data in loaded.iter() {
            let (head, tail) = data.split_at(dissect(loaded.link, data).header_len.min(data.len()));
            headers.extend_from_slice(head);
            rest.extend_from_slice(tail);
            packets += 1;
            bytes += data.len();
            if headers.len() + rest.len() >= BLOCK_BYTES {
                pieces.extend([mem::take(&mut headers), mem::take(&mut rest)]);
            }
            if bytes >= SAMPLE_BYTES {
                break;
            }
        }
        pieces.extend([headers, rest]);
        Ok(Self { pieces, packets })
    }

    /// Compresses and seals everything once, on one core.
    pub fn seal(&self) -> Cost {
        let cipher = DataKey::generate().cipher();
        timed(|| {
            for (number, piece) in self.pieces.iter().enumerate() {
                black_box(sealed(&cipher, number, piece));
            }
        })
    }
}

fn sealed(cipher: &BlockCipher, number: usize, plain: &[u8]) -> Vec<u8> {
    let mut sealed = lz4_flex::block::compress(plain);
    cipher.seal(number as u64, false, &[], &mut sealed);
    sealed
}
