//! Rows with equal keys become one, by the rules that a schema declares for its other columns. Owns these rules; must
//! never run a guest: what only a guest can merge is refused here.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use como_dataset::{ColumnData, ColumnKind, Value};

use super::MergeError;
use crate::limits::MERGED_MAX_ROWS;
use crate::manifest::Merge;
use crate::output::Rows;

/// A column as merging sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeColumn {
    /// Type of its values.
    pub kind: ColumnKind,
    /// How they merge.
    pub merge: Merge,
}

impl Merge {
    /// Whether values of a kind can be merged so.
    pub fn fits(self, kind: ColumnKind) -> bool {
        use ColumnKind::*;
        match self {
            Merge::Key | Merge::Last => true,
            Merge::Sum => matches!(kind, U8 | U16 | U32 | U64 | I64 | F64),
            Merge::Min | Merge::Max => !matches!(kind, Bytes | Text),
            Merge::HyperLogLog => kind == Bytes,
            // A guest is handed rows in columns of fixed width.
            Merge::Guest => !matches!(kind, Bytes | Text),
        }
    }
}

/// Tables of one schema on their way to one: a row per key, ascending by key, column by column.
pub(super) struct RuleMerger {
    columns: Vec<MergeColumn>,
    rows: BTreeMap<Key, Vec<Cell>>,
}

impl RuleMerger {
    pub fn new(columns: &[MergeColumn]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: BTreeMap::new(),
        }
    }

    /// Takes the rows of a later table.
    pub fn add(&mut self, table: &Rows) -> Result<(), MergeError> {
        for row in 0..table.rows() {
            let mut key = Vec::new();
            let mut values = Vec::new();
            for (column, data) in self.columns.iter().zip(&table.columns) {
                let cell = Cell::from(data.value(row));
                match column.merge {
                    Merge::Key => key.push(cell),
                    _ => values.push(cell),
                }
            }
            self.add_row(Key(key), values)?;
        }
        Ok(())
    }

    fn add_row(&mut self, key: Key, values: Vec<Cell>) -> Result<(), MergeError> {
        let Some(known) = self.rows.get_mut(&key) else {
            if self.rows.len() >= MERGED_MAX_ROWS {
                return Err(MergeError::TooManyRows);
            }
            self.rows.insert(key, values);
            return Ok(());
        };
        let columns = self.columns.iter().filter(|column| column.merge != Merge::Key);
        for ((column, known), value) in columns.zip(known).zip(values) {
            known.merge(*column, value)?;
        }
        Ok(())
    }

    /// The merged rows; begins afresh.
    pub fn take(&mut self) -> Rows {
        let mut merged: Vec<ColumnData> = self.columns.iter().map(|c| ColumnData::new(c.kind)).collect();
        for (Key(key), values) in std::mem::take(&mut self.rows) {
            let (mut key, mut values) = (key.iter(), values.iter());
            for (column, to) in self.columns.iter().zip(&mut merged) {
                let cell = match column.merge {
                    Merge::Key => key.next(),
                    _ => values.next(),
                };
                let pushed = cell.is_some_and(|cell| to.push(cell.value(column.kind)));
                debug_assert!(pushed, "a cell is of its column's kind");
            }
        }
        Rows { columns: merged }
    }
}

/// A value that outlives its table.
#[derive(Debug, Clone)]
enum Cell {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Address([u8; 16]),
    Bytes(Vec<u8>),
}

impl From<Value<'_>> for Cell {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::U8(v) => Cell::Unsigned(v.into()),
            Value::U16(v) => Cell::Unsigned(v.into()),
            Value::U32(v) => Cell::Unsigned(v.into()),
            Value::U64(v) | Value::TimeNs(v) => Cell::Unsigned(v),
            Value::Bool(v) => Cell::Unsigned(v.into()),
            Value::I64(v) => Cell::Signed(v),
            Value::F64(v) => Cell::Float(v),
            Value::Address(v) => Cell::Address(v),
            Value::Bytes(v) => Cell::Bytes(v.to_vec()),
            Value::Text(v) => Cell::Bytes(v.as_bytes().to_vec()),
        }
    }
}

impl Cell {
    /// As a value of its column's kind.
    fn value(&self, kind: ColumnKind) -> Value<'_> {
        match (self, kind) {
            (Cell::Unsigned(v), ColumnKind::U8) => Value::U8(*v as u8),
            (Cell::Unsigned(v), ColumnKind::U16) => Value::U16(*v as u16),
            (Cell::Unsigned(v), ColumnKind::U32) => Value::U32(*v as u32),
            (Cell::Unsigned(v), ColumnKind::TimeNs) => Value::TimeNs(*v),
            (Cell::Unsigned(v), ColumnKind::Bool) => Value::Bool(*v != 0),
            (Cell::Unsigned(v), _) => Value::U64(*v),
            (Cell::Signed(v), _) => Value::I64(*v),
            (Cell::Float(v), _) => Value::F64(*v),
            (Cell::Address(v), _) => Value::Address(*v),
            (Cell::Bytes(v), ColumnKind::Text) => Value::Text(std::str::from_utf8(v).unwrap_or_default()),
            (Cell::Bytes(v), _) => Value::Bytes(v),
        }
    }

    fn merge(&mut self, column: MergeColumn, later: Cell) -> Result<(), MergeError> {
        match column.merge {
            Merge::Sum => self.sum(column.kind, &later),
            Merge::Min if later.order(self) == Ordering::Less => *self = later,
            Merge::Max if later.order(self) == Ordering::Greater => *self = later,
            Merge::Last => *self = later,
            Merge::HyperLogLog => return self.registers(&later),
            Merge::Key | Merge::Guest | Merge::Min | Merge::Max => {}
        }
        Ok(())
    }

    /// A sum that does not fit its kind stays at the largest or smallest value that does.
    fn sum(&mut self, kind: ColumnKind, later: &Cell) {
        match (self, later) {
            (Cell::Unsigned(sum), Cell::Unsigned(more)) => {
                let largest = match kind {
                    ColumnKind::U8 => u8::MAX.into(),
                    ColumnKind::U16 => u16::MAX.into(),
                    ColumnKind::U32 => u32::MAX.into(),
                    _ => u64::MAX,
                };
                *sum = sum.saturating_add(*more).min(largest);
            }
            (Cell::Signed(sum), Cell::Signed(more)) => *sum = sum.saturating_add(*more),
            (Cell::Float(sum), Cell::Float(more)) => *sum += more,
            _ => {}
        }
    }

    /// Registers of HyperLogLog: the larger of each. Flajolet et al., "HyperLogLog", 2007: the registers of a union.
    fn registers(&mut self, later: &Cell) -> Result<(), MergeError> {
        match (self, later) {
            (Cell::Bytes(mine), Cell::Bytes(theirs)) if mine.len() == theirs.len() => {
                for (mine, theirs) in mine.iter_mut().zip(theirs) {
                    *mine = (*mine).max(*theirs);
                }
                Ok(())
            }
            _ => Err(MergeError::Registers),
        }
    }

    fn order(&self, other: &Cell) -> Ordering {
        match (self, other) {
            (Cell::Unsigned(a), Cell::Unsigned(b)) => a.cmp(b),
            (Cell::Signed(a), Cell::Signed(b)) => a.cmp(b),
            (Cell::Float(a), Cell::Float(b)) => a.total_cmp(b),
            (Cell::Address(a), Cell::Address(b)) => a.cmp(b),
            (Cell::Bytes(a), Cell::Bytes(b)) => a.cmp(b),
            // Columns were checked to be of their kinds.
            _ => Ordering::Equal,
        }
    }
}

/// The values of the key columns, in order.
#[derive(Debug)]
struct Key(Vec<Cell>);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let cells = self.0.iter().zip(&other.0);
        cells
            .map(|(a, b)| a.order(b))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}
impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Key {}
