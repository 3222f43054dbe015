//! The table area: where the host lays rows of earlier tables down for a guest's `merge` and `load`, column by column.
//! Owns its layout (docs/module-abi.md, "Merging and loading"); must never run a guest.

use std::ops::Range;

use como_dataset::{ColumnData, ColumnKind};

use crate::limits::{COLUMN_ALIGN_BYTES, TABLE_AREA_MAX_ROWS, TABLE_HEADER_BYTES};
use crate::manifest::OutputColumn;
use crate::merge::Interval;
use crate::output::Rows;

/// Flag: more rows of the same table follow in the next call.
const MORE: u32 = 1;

/// Where the columns lie, relative to the area's start. Depends on the schema alone.
#[derive(Debug, Clone)]
pub(crate) struct TableArea {
    /// Offset and width of each column.
    columns: Vec<(usize, usize)>,
    /// Bytes that the guest must reserve.
    pub bytes: usize,
}

impl TableArea {
    /// The area for rows of `schema`; `None` where a column has no fixed width.
    pub fn new(schema: &[OutputColumn]) -> Option<Self> {
        let mut at = TABLE_HEADER_BYTES;
        let mut columns = Vec::with_capacity(schema.len());
        for column in schema {
            if matches!(column.kind, ColumnKind::Bytes | ColumnKind::Text) {
                return None;
            }
            let width = column.kind.fixed_bytes();
            columns.push((at, width));
            at += (width * TABLE_AREA_MAX_ROWS).next_multiple_of(COLUMN_ALIGN_BYTES);
        }
        Some(Self { columns, bytes: at })
    }

    /// The parts in which a table of so many rows is laid down: at least one, which may be empty.
    pub fn parts(rows: usize) -> impl Iterator<Item = Range<usize>> {
        let parts = rows.div_ceil(TABLE_AREA_MAX_ROWS).max(1);
        (0..parts).map(move |part| part * TABLE_AREA_MAX_ROWS..rows.min((part + 1) * TABLE_AREA_MAX_ROWS))
    }

    /// Writes one part of a table. The caller has checked that the table is of the schema.
    pub fn write(&self, area: &mut [u8], interval: Interval, table: &Rows, part: Range<usize>) {
        let header = &mut area[..TABLE_HEADER_BYTES];
        header.fill(0);
        header[0..8].copy_from_slice(&interval.start_ns.to_le_bytes());
        header[8..16].copy_from_slice(&interval.length_ns.to_le_bytes());
        header[16..20].copy_from_slice(&(part.len() as u32).to_le_bytes());
        let flags = if part.end < table.rows() { MORE } else { 0 };
        header[20..24].copy_from_slice(&flags.to_le_bytes());
        for (&(at, width), column) in self.columns.iter().zip(&table.columns) {
            let rows = &mut area[at..at + width * TABLE_AREA_MAX_ROWS];
            let (rows, rest) = rows.split_at_mut(width * part.len());
            write_column(rows, column, part.clone());
            rest.fill(0);
        }
    }
}

fn write_column(to: &mut [u8], column: &ColumnData, rows: Range<usize>) {
    fn put<T: Copy, const N: usize>(to: &mut [u8], values: &[T], bytes: impl Fn(T) -> [u8; N]) {
        for (place, value) in to.as_chunks_mut::<N>().0.iter_mut().zip(values) {
            *place = bytes(*value);
        }
    }
    match column {
        ColumnData::U8(v) => to.copy_from_slice(&v[rows]),
        ColumnData::U16(v) => put(to, &v[rows], u16::to_le_bytes),
        ColumnData::U32(v) => put(to, &v[rows], u32::to_le_bytes),
        ColumnData::U64(v) | ColumnData::TimeNs(v) => put(to, &v[rows], u64::to_le_bytes),
        ColumnData::I64(v) => put(to, &v[rows], i64::to_le_bytes),
        ColumnData::F64(v) => put(to, &v[rows], f64::to_le_bytes),
        ColumnData::Bool(v) => put(to, &v[rows], |v| [u8::from(v)]),
        ColumnData::Address(v) => put(to, &v[rows], |v| v),
        // TableArea::new refuses a schema with these.
        ColumnData::Bytes(_) | ColumnData::Text(_) => {}
    }
}
