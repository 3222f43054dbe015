//! A batch of packets and the arguments of `init`, read out of the arena. Owns reading; must never write.

use crate::abi::{ALIGN_BYTES, BATCH_MAX_PACKETS, HEADER_BYTES, frame_bytes_at, frames_at};
use crate::{Cell, Column, ColumnId, Module};

/// Packets, as columns.
pub struct Batch<'a> {
    arena: &'a [u8],
    columns: &'static [ColumnId],
    packets: usize,
}

impl<'a> Batch<'a> {
    /// Reads the arena of module `M`.
    pub fn new<M: Module>(arena: &'a [u8], packets: usize) -> Self {
        Self {
            arena,
            columns: M::COLUMNS,
            packets: packets.min(BATCH_MAX_PACKETS),
        }
    }

    /// Number of packets.
    #[allow(clippy::len_without_is_empty)] // a batch is never empty
    pub fn len(&self) -> usize {
        self.packets
    }

    /// The values of one column, a value per packet.
    ///
    /// # Panics
    /// Where the module did not declare the column: the host sends only what is declared.
    pub fn column<T: Cell>(
        &self,
        column: Column<T>,
    ) -> impl ExactSizeIterator<Item = T> + Clone + use<'a, T> {
        T::read(self.bytes_of(column.id()))
    }

    fn bytes_of(&self, wanted: ColumnId) -> &'a [u8] {
        let mut at = HEADER_BYTES;
        for id in self.columns {
            if id.number == wanted.number {
                return &self.arena[at..at + wanted.bytes * self.packets];
            }
            at += (id.bytes * BATCH_MAX_PACKETS).next_multiple_of(ALIGN_BYTES);
        }
        panic!("the column is not in COLUMNS")
    }

    /// The addresses of one column as two words each: for hashing and comparing, where the order of bytes does
    /// not matter and a guest is several times faster with words than with bytes.
    pub fn address_words(
        &self,
        column: Column<[u8; 16]>,
    ) -> impl ExactSizeIterator<Item = [u64; 2]> + Clone + use<'a> {
        self.bytes_of(column.id())
            .as_chunks::<8>()
            .0
            .as_chunks::<2>()
            .0
            .iter()
            .map(|words| words.map(u64::from_le_bytes))
    }

    /// The visible bytes of packet `packet`; empty where the module did not ask for frames.
    pub fn frame(&self, packet: usize) -> &'a [u8] {
        let offset = |n: usize| {
            let at = frames_at(self.columns) + 4 * n;
            let bytes = self.arena.get(at..at + 4).and_then(|b| b.first_chunk::<4>());
            bytes.map_or(0, |b| u32::from_le_bytes(*b) as usize)
        };
        let start = frame_bytes_at(self.columns);
        self.arena
            .get(start + offset(packet)..start + offset(packet + 1))
            .unwrap_or(&[])
    }

    /// Start of the measurement interval, nanoseconds since the Unix epoch.
    pub fn interval_start_ns(&self) -> u64 {
        self.header(0)
    }

    /// Length of the measurement interval, nanoseconds.
    pub fn interval_ns(&self) -> u64 {
        self.header(8)
    }

    fn header(&self, at: usize) -> u64 {
        self.arena[at..at + 8]
            .first_chunk()
            .map_or(0, |b| u64::from_le_bytes(*b))
    }
}

/// An address of [`Batch::address_words`] as a number: ascending as addresses are.
pub fn address_number(words: [u64; 2]) -> u128 {
    u128::from(words[0].swap_bytes()) << 64 | u128::from(words[1].swap_bytes())
}

/// The arguments of `init`.
pub struct Args<'a>(&'a [u8]);

impl<'a> Args<'a> {
    /// Reads `bytes` bytes of arguments out of the arena.
    pub fn new(arena: &'a [u8], bytes: usize) -> Self {
        Self(arena.get(HEADER_BYTES..HEADER_BYTES + bytes).unwrap_or(&[]))
    }

    /// Argument number `n` of module.toml, which must be there and in the range that module.toml says: a node checks
    /// that too. The error is for `init` to return.
    pub fn within(&self, n: usize, range: core::ops::RangeInclusive<i64>) -> Result<i64, i32> {
        self.get(n)
            .filter(|value| range.contains(value))
            .ok_or(n as i32 + 1)
    }

    /// Argument number `n` of module.toml.
    pub fn get(&self, n: usize) -> Option<i64> {
        self.0.as_chunks::<8>().0.get(n).map(|b| i64::from_le_bytes(*b))
    }
}
