//! Rows that `store` writes, in the output layout of the ABI. Owns writing; must never hold more rows than
//! the module declared.

use crate::abi::{COLUMNS_MAX, OUTPUT_HEADER_BYTES, column_at};

/// Kind of an output column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One byte.
    U8,
    /// Two bytes.
    U16,
    /// Four bytes.
    U32,
    /// Eight bytes.
    U64,
    /// Eight bytes, signed.
    I64,
    /// Eight bytes, IEEE 754.
    F64,
    /// One byte, 0 or 1.
    Bool,
    /// Sixteen bytes, IPv4 as ::ffff:a.b.c.d.
    Address,
    /// Nanoseconds since the Unix epoch.
    TimeNs,
}

impl Kind {
    /// Width of a value.
    pub const fn bytes(self) -> usize {
        match self {
            Kind::U8 | Kind::Bool => 1,
            Kind::U16 => 2,
            Kind::U32 => 4,
            Kind::U64 | Kind::I64 | Kind::F64 | Kind::TimeNs => 8,
            Kind::Address => 16,
        }
    }
}

/// A value of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)] // named as in Kind
pub enum Value {
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    I64(i64),
    F64(f64),
    Bool(bool),
    Address([u8; 16]),
    TimeNs(u64),
}

impl Value {
    /// An address of [`Batch::address_words`](crate::Batch::address_words).
    pub fn address(words: [u64; 2]) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&words[0].to_le_bytes());
        bytes[8..].copy_from_slice(&words[1].to_le_bytes());
        Value::Address(bytes)
    }
}

impl Value {
    /// Its kind, and its bytes as two little-endian words.
    #[inline(never)]
    fn parts(&self) -> (Kind, u64, u64) {
        match *self {
            Value::U8(v) => (Kind::U8, u64::from(v), 0),
            Value::U16(v) => (Kind::U16, u64::from(v), 0),
            Value::U32(v) => (Kind::U32, u64::from(v), 0),
            Value::U64(v) => (Kind::U64, v, 0),
            Value::I64(v) => (Kind::I64, v as u64, 0),
            Value::F64(v) => (Kind::F64, v.to_bits(), 0),
            Value::Bool(v) => (Kind::Bool, u64::from(v), 0),
            Value::TimeNs(v) => (Kind::TimeNs, v, 0),
            Value::Address(v) => {
                let bytes = u128::from_le_bytes(v);
                (Kind::Address, bytes as u64, (bytes >> 64) as u64)
            }
        }
    }
}

/// Writes as many bytes as there is room for. One arm per width and no more in it: fuel is charged for all of them.
#[inline(never)]
fn put(out: &mut [u8], low: u64, high: u64) {
    if let Some((first, second)) = out.split_first_chunk_mut() {
        *first = low.to_le_bytes();
        if let Some(second) = second.first_chunk_mut() {
            *second = high.to_le_bytes();
        }
    } else if let Some(out) = out.first_chunk_mut() {
        *out = (low as u32).to_le_bytes();
    } else if let Some(out) = out.first_chunk_mut() {
        *out = (low as u16).to_le_bytes();
    } else if let Some(out) = out.first_mut() {
        *out = low as u8;
    }
}

macro_rules! from {
    ($($ty:ty => $variant:ident),*) => {$(
        impl From<$ty> for Value {
            fn from(value: $ty) -> Self {
                Value::$variant(value)
            }
        }
    )*};
}
from!(u8 => U8, u16 => U16, u32 => U32, u64 => U64, i64 => I64, f64 => F64, bool => Bool, [u8; 16] => Address);

/// The rows of one interval.
pub struct Rows<'a> {
    out: &'a mut [u8],
    schema: &'static [Kind],
    max: usize,
    rows: usize,
    /// Where each column starts while there is room for `max` rows: finish() moves them together.
    starts: [usize; COLUMNS_MAX],
}

impl<'a> Rows<'a> {
    /// An empty table in `out`, which has room for `max` rows of `schema`.
    ///
    /// # Panics
    /// Where the schema has more columns than a node takes.
    pub fn new(out: &'a mut [u8], schema: &'static [Kind], max: usize) -> Self {
        let mut starts = [0; COLUMNS_MAX];
        for (i, start) in starts[..schema.len()].iter_mut().enumerate() {
            *start = column_at(schema, i, max);
        }
        Self {
            out,
            schema,
            max,
            rows: 0,
            starts,
        }
    }

    /// Appends a row.
    ///
    /// # Panics
    /// Where there are more rows than [`MAX_ROWS`](crate::Module::MAX_ROWS), or values of other kinds than
    /// [`SCHEMA`](crate::Module::SCHEMA).
    pub fn push(&mut self, row: &[Value]) {
        assert!(self.rows < self.max, "more rows than MAX_ROWS");
        assert!(
            row.len() == self.schema.len(),
            "a row has as many values as SCHEMA has kinds"
        );
        for ((value, kind), start) in row.iter().zip(self.schema).zip(&self.starts) {
            let (of_value, low, high) = value.parts();
            assert!(of_value == *kind, "a value is of another kind than SCHEMA says");
            let width = kind.bytes();
            let at = start + self.rows * width;
            put(&mut self.out[at..at + width], low, high);
        }
        self.rows += 1;
    }

    /// Number of rows so far.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Completes the layout and returns its bytes.
    pub fn finish(self) -> usize {
        self.out[..OUTPUT_HEADER_BYTES].fill(0);
        self.out[..4].copy_from_slice(&(self.rows as u32).to_le_bytes());
        for (i, kind) in self.schema.iter().enumerate() {
            let from = self.starts[i];
            let to = column_at(self.schema, i, self.rows);
            let bytes = kind.bytes() * self.rows;
            self.out.copy_within(from..from + bytes, to);
            self.out[to + bytes..column_at(self.schema, i + 1, self.rows)].fill(0);
        }
        column_at(self.schema, self.schema.len(), self.rows)
    }
}
