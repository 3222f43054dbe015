//! Rows that were stored before, as `merge` and `load` are handed them. Owns reading; must never write.

use crate::abi::{TABLE_HEADER_BYTES, TABLE_MAX_ROWS, table_column_at};
use crate::{Cell, Kind, Module};

/// Flag of the header: more rows of the same table follow.
const MORE: u32 = 1;

/// A part of a table of the module's own rows: all of it, where there are no more than 1024.
pub struct Stored<'a> {
    area: &'a [u8],
    schema: &'static [Kind],
    rows: usize,
}

impl<'a> Stored<'a> {
    /// Reads the table area of module `M`.
    pub fn new<M: Module>(area: &'a [u8], rows: usize) -> Self {
        Self {
            area,
            schema: M::SCHEMA,
            rows: rows.min(TABLE_MAX_ROWS),
        }
    }

    /// Number of rows in this part; 0 where the table is empty.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Whether this part is the table's last.
    pub fn is_last(&self) -> bool {
        let flags = self.area[20..24]
            .first_chunk()
            .map_or(0, |b| u32::from_le_bytes(*b));
        flags & MORE == 0
    }

    /// Start of the interval that the rows are of, nanoseconds since the Unix epoch.
    pub fn interval_start_ns(&self) -> u64 {
        self.header(0)
    }

    /// Length of that interval, nanoseconds.
    pub fn interval_ns(&self) -> u64 {
        self.header(8)
    }

    fn header(&self, at: usize) -> u64 {
        self.area[at..at + 8]
            .first_chunk()
            .map_or(0, |b| u64::from_le_bytes(*b))
    }

    /// The values of column number `column` of [`SCHEMA`](crate::Module::SCHEMA), a value per row.
    ///
    /// # Panics
    /// Where values of that column have another width.
    pub fn column<T: Cell>(&self, column: usize) -> impl ExactSizeIterator<Item = T> + Clone + use<'a, T> {
        T::read(self.bytes_of(column, size_of::<T>()))
    }

    /// The addresses of a column as two words each, as [`Batch::address_words`](crate::Batch::address_words) has them.
    pub fn address_words(&self, column: usize) -> impl ExactSizeIterator<Item = [u64; 2]> + Clone + use<'a> {
        let bytes = self.bytes_of(column, 16);
        let words = bytes.as_chunks::<8>().0.as_chunks::<2>().0.iter();
        words.map(|words| words.map(u64::from_le_bytes))
    }

    fn bytes_of(&self, column: usize, width: usize) -> &'a [u8] {
        assert!(self.schema[column].bytes() == width, "a column of another width");
        let at = TABLE_HEADER_BYTES + table_column_at(self.schema, column);
        &self.area[at..at + width * self.rows]
    }
}
