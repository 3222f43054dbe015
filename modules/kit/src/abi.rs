//! Numbers of the guest ABI, version 1 (docs/module-abi.md). Owns the guest's copy of them, which
//! como-modules' tests compare with the host's; must never depend on the host.

use crate::{ColumnId, Kind, Module};

/// Version that `como_abi` returns.
pub const VERSION: i32 = 1;
/// Most packets in one batch.
pub const BATCH_MAX_PACKETS: usize = 1024;
/// The batch header at the start of the arena, in bytes.
pub const HEADER_BYTES: usize = 64;
/// Most frame bytes in one batch.
pub const BATCH_MAX_FRAME_BYTES: usize = 512 << 10;
/// Arena and output columns start at multiples of this, in bytes.
pub const ALIGN_BYTES: usize = 16;
/// Most arguments of a module.
pub const ARGS_MAX: usize = 16;
/// Most columns of an output.
pub const COLUMNS_MAX: usize = 64;
/// The header of the table area, in bytes.
pub const TABLE_HEADER_BYTES: usize = 64;
/// Most rows in the table area.
pub const TABLE_MAX_ROWS: usize = 1024;
/// The header of the output, in bytes.
pub const OUTPUT_HEADER_BYTES: usize = 16;

const fn align(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGN_BYTES)
}

/// Bytes of the arena of a module.
pub const fn arena_bytes<M: Module>() -> usize {
    let mut at = frames_at(M::COLUMNS);
    if M::WANTS_FRAMES {
        at += align(4 * (BATCH_MAX_PACKETS + 1)) + BATCH_MAX_FRAME_BYTES;
    }
    let args = HEADER_BYTES + 8 * ARGS_MAX;
    if at > args { at } else { args }
}

/// Where the offsets of the frames start.
pub const fn frames_at(columns: &[ColumnId]) -> usize {
    let mut at = HEADER_BYTES;
    let mut i = 0;
    while i < columns.len() {
        at += align(columns[i].bytes * BATCH_MAX_PACKETS);
        i += 1;
    }
    at
}

/// Where the bytes of the frames start.
pub const fn frame_bytes_at(columns: &[ColumnId]) -> usize {
    frames_at(columns) + align(4 * (BATCH_MAX_PACKETS + 1))
}

/// Bytes of the output of a module with all its rows.
pub const fn output_bytes<M: Module>() -> usize {
    column_at(M::SCHEMA, M::SCHEMA.len(), M::MAX_ROWS)
}

/// Where output column `column` starts when there are `rows` rows.
pub const fn column_at(schema: &[Kind], column: usize, rows: usize) -> usize {
    let mut at = OUTPUT_HEADER_BYTES;
    let mut i = 0;
    while i < column {
        at += align(schema[i].bytes() * rows);
        i += 1;
    }
    at
}

/// Bytes of the table area of a module with `merge` or `load`.
pub const fn table_bytes<M: Module>() -> usize {
    TABLE_HEADER_BYTES + table_column_at(M::SCHEMA, M::SCHEMA.len())
}

/// Where column `column` starts in the table area, behind its header.
pub const fn table_column_at(schema: &[Kind], column: usize) -> usize {
    column_at(schema, column, TABLE_MAX_ROWS) - OUTPUT_HEADER_BYTES
}
