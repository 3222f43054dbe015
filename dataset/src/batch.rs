//! Batches of rows and of packets, by column: what a writer takes and a reader gives.
//!
//! Owns the in-memory shape of a dataset's content; must never know how it is stored or sealed.

use std::ops::Range;

use crate::{DatasetError, header::Field};

/// Kind of a table's column. The numbers are those of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnKind {
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 64 bits.
    U64,
    /// Signed, 64 bits.
    I64,
    /// IEEE 754, 64 bits.
    F64,
    /// True or false.
    Bool,
    /// An address of 16 bytes in network order; IPv4 as `::ffff:a.b.c.d`.
    Address,
    /// Opaque bytes.
    Bytes,
    /// UTF-8.
    Text,
    /// Nanoseconds since the Unix epoch, packet time.
    TimeNs,
}

impl ColumnKind {
    /// Every kind, in the order of the file format.
    pub const ALL: [Self; 11] = [
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::I64,
        Self::F64,
        Self::Bool,
        Self::Address,
        Self::Bytes,
        Self::Text,
        Self::TimeNs,
    ];

    /// Lower-case name, as printed and as written in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
            Self::Bool => "bool",
            Self::Address => "address",
            Self::Bytes => "bytes",
            Self::Text => "text",
            Self::TimeNs => "time_ns",
        }
    }

    /// The kind of that [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.name() == name)
    }

    /// Bytes of one value, without the content of `Bytes` and `Text`.
    pub fn fixed_bytes(self) -> usize {
        match self {
            Self::U8 | Self::Bool => 1,
            Self::U16 => 2,
            Self::U32 | Self::Bytes | Self::Text => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::TimeNs => 8,
            Self::Address => 16,
        }
    }
}

/// Byte strings one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ragged {
    /// Where each string begins, and where the last one ends: one more than strings, the first 0.
    pub offsets: Vec<u32>,
    /// All strings.
    pub bytes: Vec<u8>,
}

impl Default for Ragged {
    fn default() -> Self {
        Self {
            offsets: vec![0],
            bytes: Vec::new(),
        }
    }
}

impl Ragged {
    /// Number of strings.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends one string. Panics where the whole would pass 4 GiB: batches are far smaller.
    pub fn push(&mut self, string: &[u8]) {
        self.bytes.extend_from_slice(string);
        self.offsets
            .push(u32::try_from(self.bytes.len()).expect("a batch is below 4 GiB"));
    }

    /// The string at `row`. Panics beyond the end.
    pub fn get(&self, row: usize) -> &[u8] {
        &self.bytes[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }

    /// Appends some strings of another.
    pub(crate) fn extend(&mut self, from: &Self, rows: Range<usize>) {
        let (start, end) = (from.offsets[rows.start] as usize, from.offsets[rows.end] as usize);
        let base = self.bytes.len();
        self.bytes.extend_from_slice(&from.bytes[start..end]);
        self.offsets.extend(
            from.offsets[rows.start + 1..=rows.end]
                .iter()
                .map(|&o| (o as usize - start + base) as u32),
        );
    }

    /// Whether the offsets start at 0, ascend, and end at the end of the bytes.
    pub(crate) fn is_sound(&self) -> bool {
        self.offsets.first() == Some(&0)
            && self.offsets.windows(2).all(|w| w[0] <= w[1])
            && self
                .offsets
                .last()
                .is_some_and(|&end| end as usize == self.bytes.len())
    }
}

/// One value of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)] // named as in ColumnKind
pub enum Value<'a> {
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    I64(i64),
    F64(f64),
    Bool(bool),
    Address([u8; 16]),
    Bytes(&'a [u8]),
    Text(&'a str),
    TimeNs(u64),
}

/// The values of one column.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // named as in ColumnKind
pub enum ColumnData {
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    Address(Vec<[u8; 16]>),
    Bytes(Ragged),
    /// Each string is UTF-8 (checked when a batch is written and read).
    Text(Ragged),
    TimeNs(Vec<u64>),
}

/// Applies one expression to the vector of whichever kind the column is.
macro_rules! each_column {
    ($data:expr, $values:ident => $result:expr) => {
        match $data {
            ColumnData::U8($values) => $result,
            ColumnData::U16($values) => $result,
            ColumnData::U32($values) => $result,
            ColumnData::U64($values) => $result,
            ColumnData::I64($values) => $result,
            ColumnData::F64($values) => $result,
            ColumnData::Bool($values) => $result,
            ColumnData::Address($values) => $result,
            ColumnData::Bytes($values) => $result,
            ColumnData::Text($values) => $result,
            ColumnData::TimeNs($values) => $result,
        }
    };
}

impl ColumnData {
    /// An empty column.
    pub fn new(kind: ColumnKind) -> Self {
        match kind {
            ColumnKind::U8 => Self::U8(Vec::new()),
            ColumnKind::U16 => Self::U16(Vec::new()),
            ColumnKind::U32 => Self::U32(Vec::new()),
            ColumnKind::U64 => Self::U64(Vec::new()),
            ColumnKind::I64 => Self::I64(Vec::new()),
            ColumnKind::F64 => Self::F64(Vec::new()),
            ColumnKind::Bool => Self::Bool(Vec::new()),
            ColumnKind::Address => Self::Address(Vec::new()),
            ColumnKind::Bytes => Self::Bytes(Ragged::default()),
            ColumnKind::Text => Self::Text(Ragged::default()),
            ColumnKind::TimeNs => Self::TimeNs(Vec::new()),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> ColumnKind {
        match self {
            Self::U8(_) => ColumnKind::U8,
            Self::U16(_) => ColumnKind::U16,
            Self::U32(_) => ColumnKind::U32,
            Self::U64(_) => ColumnKind::U64,
            Self::I64(_) => ColumnKind::I64,
            Self::F64(_) => ColumnKind::F64,
            Self::Bool(_) => ColumnKind::Bool,
            Self::Address(_) => ColumnKind::Address,
            Self::Bytes(_) => ColumnKind::Bytes,
            Self::Text(_) => ColumnKind::Text,
            Self::TimeNs(_) => ColumnKind::TimeNs,
        }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        each_column!(self, values => values.len())
    }

    /// Whether it has no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at `row`. Panics beyond the end.
    pub fn value(&self, row: usize) -> Value<'_> {
        match self {
            Self::U8(v) => Value::U8(v[row]),
            Self::U16(v) => Value::U16(v[row]),
            Self::U32(v) => Value::U32(v[row]),
            Self::U64(v) => Value::U64(v[row]),
            Self::I64(v) => Value::I64(v[row]),
            Self::F64(v) => Value::F64(v[row]),
            Self::Bool(v) => Value::Bool(v[row]),
            Self::Address(v) => Value::Address(v[row]),
            Self::Bytes(v) => Value::Bytes(v.get(row)),
            Self::Text(v) => Value::Text(std::str::from_utf8(v.get(row)).unwrap_or("\u{fffd}")),
            Self::TimeNs(v) => Value::TimeNs(v[row]),
        }
    }

    /// Appends a value of the column's kind; another kind changes nothing and is `false`.
    #[must_use]
    pub fn push(&mut self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::U8(v), Value::U8(x)) => v.push(x),
            (Self::U16(v), Value::U16(x)) => v.push(x),
            (Self::U32(v), Value::U32(x)) => v.push(x),
            (Self::U64(v), Value::U64(x)) => v.push(x),
            (Self::I64(v), Value::I64(x)) => v.push(x),
            (Self::F64(v), Value::F64(x)) => v.push(x),
            (Self::Bool(v), Value::Bool(x)) => v.push(x),
            (Self::Address(v), Value::Address(x)) => v.push(x),
            (Self::Bytes(v), Value::Bytes(x)) => v.push(x),
            (Self::Text(v), Value::Text(x)) => v.push(x.as_bytes()),
            (Self::TimeNs(v), Value::TimeNs(x)) => v.push(x),
            _ => return false,
        }
        true
    }

    /// Appends rows of a column of the same kind; another kind is a defect of the caller.
    pub(crate) fn extend(&mut self, from: &Self, rows: Range<usize>) {
        match (self, from) {
            (Self::U8(to), Self::U8(v)) => to.extend_from_slice(&v[rows]),
            (Self::U16(to), Self::U16(v)) => to.extend_from_slice(&v[rows]),
            (Self::U32(to), Self::U32(v)) => to.extend_from_slice(&v[rows]),
            (Self::U64(to), Self::U64(v)) | (Self::TimeNs(to), Self::TimeNs(v)) => {
                to.extend_from_slice(&v[rows]);
            }
            (Self::I64(to), Self::I64(v)) => to.extend_from_slice(&v[rows]),
            (Self::F64(to), Self::F64(v)) => to.extend_from_slice(&v[rows]),
            (Self::Bool(to), Self::Bool(v)) => to.extend_from_slice(&v[rows]),
            (Self::Address(to), Self::Address(v)) => to.extend_from_slice(&v[rows]),
            (Self::Bytes(to), Self::Bytes(v)) | (Self::Text(to), Self::Text(v)) => to.extend(v, rows),
            _ => unreachable!("kinds were checked against the schema"),
        }
    }

    /// Whether strings are sound, and UTF-8 where they are text.
    pub(crate) fn is_sound(&self) -> bool {
        match self {
            Self::Bytes(v) => v.is_sound(),
            Self::Text(v) => v.is_sound() && (0..v.len()).all(|row| std::str::from_utf8(v.get(row)).is_ok()),
            _ => true,
        }
    }
}

/// Rows of a table, by column. The first column is the interval's start, `time`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// As many as the schema's fields, of their kinds, all of the same length.
    pub columns: Vec<ColumnData>,
}

impl Batch {
    /// An empty batch of a schema.
    pub fn new(fields: &[Field]) -> Self {
        Self {
            columns: fields.iter().map(|f| ColumnData::new(f.kind)).collect(),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, ColumnData::len)
    }

    /// Appends a row. Refuses, changing nothing, a row of other kinds than the columns.
    pub fn push_row(&mut self, row: &[Value<'_>]) -> Result<(), DatasetError> {
        let before = self.rows();
        let fits = row.len() == self.columns.len()
            && self
                .columns
                .iter_mut()
                .zip(row)
                .all(|(column, value)| column.push(*value));
        if fits {
            return Ok(());
        }
        for column in &mut self.columns {
            truncate(column, before);
        }
        Err(DatasetError::SchemaMismatch {
            what: "a row's values are not of the columns' kinds".into(),
        })
    }

    /// Appends all rows of a batch of the same schema. Panics where it has columns of other kinds.
    pub fn append(&mut self, from: &Self) {
        self.extend(from, 0..from.rows());
    }

    /// Appends some rows of a batch of the same schema.
    pub(crate) fn extend(&mut self, from: &Self, rows: Range<usize>) {
        for (to, from) in self.columns.iter_mut().zip(&from.columns) {
            to.extend(from, rows.clone());
        }
    }

    /// Checks the batch against a schema.
    pub(crate) fn check(&self, fields: &[Field]) -> Result<(), DatasetError> {
        let mismatch = |what: String| Err(DatasetError::SchemaMismatch { what });
        if self.columns.len() != fields.len() {
            return mismatch(format!(
                "{} columns where the schema has {}",
                self.columns.len(),
                fields.len()
            ));
        }
        for (column, field) in self.columns.iter().zip(fields) {
            if column.kind() != field.kind {
                return mismatch(format!(
                    "column `{}` holds {} where the schema says {}",
                    field.name,
                    column.kind().name(),
                    field.kind.name()
                ));
            }
            if column.len() != self.rows() {
                return mismatch(format!("column `{}` is not as long as the first", field.name));
            }
            if !column.is_sound() {
                return mismatch(format!(
                    "column `{}` has offsets or text that are not sound",
                    field.name
                ));
            }
        }
        Ok(())
    }
}

fn truncate(column: &mut ColumnData, rows: usize) {
    match column {
        ColumnData::Bytes(v) | ColumnData::Text(v) => {
            v.offsets.truncate(rows + 1);
            v.bytes.truncate(v.offsets[rows] as usize);
        }
        ColumnData::U8(v) => v.truncate(rows),
        ColumnData::U16(v) => v.truncate(rows),
        ColumnData::U32(v) => v.truncate(rows),
        ColumnData::U64(v) | ColumnData::TimeNs(v) => v.truncate(rows),
        ColumnData::I64(v) => v.truncate(rows),
        ColumnData::F64(v) => v.truncate(rows),
        ColumnData::Bool(v) => v.truncate(rows),
        ColumnData::Address(v) => v.truncate(rows),
    }
}

/// Packets, by column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacketBatch {
    /// Packet time, ns since the Unix epoch.
    pub ts_ns: Vec<u64>,
    /// Bytes on the wire.
    pub wire_len: Vec<u32>,
    /// The bytes released of each packet: at most as many as on the wire, or a synthetic frame.
    pub frames: Ragged,
}

impl PacketBatch {
    /// Number of packets.
    pub fn len(&self) -> usize {
        self.ts_ns.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ts_ns.is_empty()
    }

    /// Appends a packet.
    pub fn push(&mut self, ts_ns: u64, wire_len: u32, frame: &[u8]) {
        self.ts_ns.push(ts_ns);
        self.wire_len.push(wire_len);
        self.frames.push(frame);
    }

    /// Appends some packets of another.
    pub(crate) fn extend(&mut self, from: &Self, packets: Range<usize>) {
        self.ts_ns.extend_from_slice(&from.ts_ns[packets.clone()]);
        self.wire_len.extend_from_slice(&from.wire_len[packets.clone()]);
        self.frames.extend(&from.frames, packets);
    }

    /// Whether columns are of one length and the frames sound.
    pub(crate) fn is_sound(&self) -> bool {
        self.wire_len.len() == self.len() && self.frames.len() == self.len() && self.frames.is_sound()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_the_wrong_kind_changes_nothing() {
        let mut batch = Batch {
            columns: vec![
                ColumnData::new(ColumnKind::Text),
                ColumnData::new(ColumnKind::U32),
            ],
        };
        batch.push_row(&[Value::Text("a"), Value::U32(1)]).unwrap();
        let before = batch.clone();
        assert!(batch.push_row(&[Value::Text("b"), Value::U64(2)]).is_err());
        assert!(batch.push_row(&[Value::Text("b")]).is_err());
        assert_eq!(batch, before);
    }

    #[test]
    fn names_of_kinds_read_back() {
        for kind in ColumnKind::ALL {
            assert_eq!(ColumnKind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(ColumnKind::from_name("u128"), None);
    }

    #[test]
    fn unsound_strings_are_seen() {
        let mut ragged = Ragged::default();
        ragged.push(b"ab");
        assert!(ragged.is_sound());
        for offsets in [vec![], vec![1, 2], vec![0, 1], vec![0, 3], vec![0, 2, 1, 2]] {
            assert!(
                !Ragged {
                    offsets: offsets.clone(),
                    bytes: b"ab".to_vec()
                }
                .is_sound(),
                "{offsets:?}"
            );
        }
        let text = ColumnData::Text(Ragged {
            offsets: vec![0, 1],
            bytes: vec![0xff],
        });
        assert!(!text.is_sound());
    }
}
