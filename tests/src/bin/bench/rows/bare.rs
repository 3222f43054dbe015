//! The bare loop that reading the trace is measured against: the same header and payload bytes, opened and decompressed on
//! all cores, and nothing done with them. Must never be given less work than a reader has.

use std::hint::black_box;

use como_anonymize::dissect;
use como_keys::aead::{BlockCipher, DataKey};

use super::Bench;
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
        let packets = bench.trace.load(SAMPLE_PACKETS)?;
        let mut bare = Self {
            cipher: DataKey::generate().cipher(),
            pieces: Vec::new(),
            bytes: 0,
        };
        let (mut headers, mut rest) = (Vec::new(), Vec::new());
        for data in packets.iter() {
            let (head, tail) = data.split_at(dissect(packets.link, data).header_len.min(data.len()));
            headers.extend_from_slice(head);
            rest.extend_from_slice(tail);
            if headers.len() + rest.len() >= BLOCK_BYTES {
                bare.seal(&mut headers);
                bare.seal(&mut rest);
            }
            if bare.bytes >= SAMPLE_BYTES {
                break;
            }
        }
        bare.seal(&mut headers);
        bare.seal(&mut rest);
        Ok(bare)
    }

    fn seal(&mut self, plain: &mut Vec<u8>) {
        let mut sealed = lz4_flex::block::compress(plain);
        self.cipher
            .seal(self.pieces.len() as u64, false, &[], &mut sealed);
        self.bytes += plain.len();
        self.pieces.push((sealed, plain.len()));
        plain.clear();
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
