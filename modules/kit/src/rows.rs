//! Rows that `store` writes, in the output layout of the ABI. Owns writing; must never hold more rows than
//! the module declared.

use crate::abi::{OUTPUT_HEADER_BYTES, column_at};

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
}

impl<'a> Rows<'a> {
    /// An empty table in `out`, which has room for `max` rows of `schema`.
    pub fn new(out: &'a mut [u8], schema: &'static [Kind], max: usize) -> Self {
        Self {
            out,
            schema,
            max,
            rows: 0,
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
        for (i, (value, kind)) in row.iter().zip(self.schema).enumerate() {
            // Columns stand as far apart as a full table needs; finish() moves them together.
            let at = column_at(self.schema, i, self.max) + self.rows * kind.bytes();
            let put = &mut self.out[at..at + kind.bytes()];
            match (value, kind) {
                (Value::U8(v), Kind::U8) => put[0] = *v,
                (Value::U16(v), Kind::U16) => put.copy_from_slice(&v.to_le_bytes()),
                (Value::U32(v), Kind::U32) => put.copy_from_slice(&v.to_le_bytes()),
                (Value::U64(v), Kind::U64) | (Value::TimeNs(v), Kind::TimeNs) => {
                    put.copy_from_slice(&v.to_le_bytes());
                }
                (Value::I64(v), Kind::I64) => put.copy_from_slice(&v.to_le_bytes()),
                (Value::F64(v), Kind::F64) => put.copy_from_slice(&v.to_le_bytes()),
                (Value::Bool(v), Kind::Bool) => put[0] = u8::from(*v),
                (Value::Address(v), Kind::Address) => put.copy_from_slice(v),
                _ => panic!("a value is of another kind than SCHEMA says"),
            }
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
            let from = column_at(self.schema, i, self.max);
            let to = column_at(self.schema, i, self.rows);
            let bytes = kind.bytes() * self.rows;
            self.out.copy_within(from..from + bytes, to);
            self.out[to + bytes..column_at(self.schema, i + 1, self.rows)].fill(0);
        }
        column_at(self.schema, self.schema.len(), self.rows)
    }
}
