//! Runs a module natively, on bytes laid out as the node lays them out: for unit tests and as the oracle of
//! the compiled guest. Owns test tooling; no part of it is in a guest.

use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use crate::abi::{
    ALIGN_BYTES, BATCH_MAX_FRAME_BYTES, BATCH_MAX_PACKETS, HEADER_BYTES, OUTPUT_HEADER_BYTES,
    TABLE_HEADER_BYTES, TABLE_MAX_ROWS, arena_bytes, column_at, frame_bytes_at, frames_at, output_bytes,
    table_column_at,
};
use crate::{Args, Batch, Cell, Column, ColumnId, Kind, Load, Merge, Module, Rows, Stored, Value};

/// A module's state may be larger than a test thread's stack.
const STACK_BYTES: usize = 256 << 20;

/// Packets for a test: columns that are not set are zero, and the weight is 1.
#[derive(Clone)]
pub struct Packets {
    len: usize,
    columns: BTreeMap<u8, Vec<u8>>,
    frames: Vec<Vec<u8>>,
}

impl Packets {
    /// `len` packets.
    pub fn new(len: usize) -> Self {
        let packets = Self {
            len,
            columns: BTreeMap::new(),
            frames: vec![Vec::new(); len],
        };
        packets.set(crate::columns::WEIGHT, &vec![1; len])
    }

    /// Sets a column, a value per packet.
    pub fn set<T: Cell>(mut self, column: Column<T>, values: &[T]) -> Self {
        assert_eq!(values.len(), self.len, "a value per packet");
        let mut bytes = Vec::new();
        values.iter().for_each(|v| v.write(&mut bytes));
        self.columns.insert(column.id().number, bytes);
        self
    }

    /// Sets a column by the little-endian bytes of its values.
    pub fn set_bytes(mut self, column: ColumnId, bytes: Vec<u8>) -> Self {
        assert_eq!(bytes.len(), self.len * column.bytes, "a value per packet");
        self.columns.insert(column.number, bytes);
        self
    }

    /// Sets the visible bytes of every packet.
    pub fn frames(mut self, frames: &[&[u8]]) -> Self {
        assert_eq!(frames.len(), self.len, "a frame per packet");
        self.frames = frames.iter().map(|f| f.to_vec()).collect();
        self
    }
}

impl Packets {
    /// How many packets from `from` on are the next batch: as many as fit, frames too.
    fn batch_len<M: Module>(&self, from: usize) -> usize {
        let most = (self.len - from).min(BATCH_MAX_PACKETS);
        if !M::WANTS_FRAMES {
            return most;
        }
        let mut bytes = 0;
        let fit = self.frames[from..from + most].iter().take_while(|frame| {
            bytes += frame.len();
            bytes <= BATCH_MAX_FRAME_BYTES
        });
        fit.count().max(1)
    }
}

/// A module under test.
pub struct Guest<M: Module> {
    state: Box<M>,
    arena: Vec<u8>,
    output: Vec<u8>,
}

impl<M: Module + Send> Guest<M> {
    /// Starts it with `args`, in the order of module.toml.
    pub fn new(args: &[i64]) -> Self {
        let build = std::thread::Builder::new().stack_size(STACK_BYTES);
        let state = build
            .spawn(|| Box::new(M::INITIAL))
            .expect("a thread")
            .join()
            .expect("a state");
        let mut guest = Self {
            state,
            arena: vec![0; arena_bytes::<M>()],
            output: vec![0; output_bytes::<M>()],
        };
        for (i, arg) in args.iter().enumerate() {
            guest.arena[HEADER_BYTES + 8 * i..][..8].copy_from_slice(&arg.to_le_bytes());
        }
        guest
            .state
            .init(&Args::new(&guest.arena, 8 * args.len()))
            .expect("init accepts the arguments");
        guest
    }

    /// Hands over packets, in batches as the node makes them.
    pub fn update(&mut self, packets: Packets) -> &mut Self {
        let mut from = 0;
        while from < packets.len {
            let count = packets.batch_len::<M>(from);
            self.lay_down(&packets, from, count);
            self.state.update(&Batch::new::<M>(&self.arena, count));
            from += count;
        }
        self
    }

    fn lay_down(&mut self, packets: &Packets, from: usize, count: usize) {
        self.arena.fill(0);
        let mut at = HEADER_BYTES;
        for id in M::COLUMNS {
            if let Some(bytes) = packets.columns.get(&id.number) {
                let part = &bytes[from * id.bytes..(from + count) * id.bytes];
                self.arena[at..at + part.len()].copy_from_slice(part);
            }
            at += (id.bytes * BATCH_MAX_PACKETS).next_multiple_of(ALIGN_BYTES);
        }
        if !M::WANTS_FRAMES {
            return;
        }
        let mut used = 0;
        for (i, frame) in packets.frames[from..from + count].iter().enumerate() {
            let start = frame_bytes_at(M::COLUMNS) + used;
            self.arena[start..start + frame.len()].copy_from_slice(frame);
            used += frame.len();
            let offset = frames_at(M::COLUMNS) + 4 * (i + 1);
            self.arena[offset..offset + 4].copy_from_slice(&(used as u32).to_le_bytes());
        }
    }

    /// Ends the interval.
    pub fn store(&mut self) -> Table {
        let mut rows = Rows::new(&mut self.output, M::SCHEMA, M::MAX_ROWS);
        self.state.store(&mut rows);
        let bytes = rows.finish();
        Table {
            bytes: self.output[..bytes].to_vec(),
            schema: M::SCHEMA,
        }
    }
}

/// The parts of a table, as the node lays them down.
fn parts(table: &Table, interval_start_ns: u64) -> impl Iterator<Item = (Vec<u8>, usize)> {
    let rows = table.rows();
    (0..rows.div_ceil(TABLE_MAX_ROWS).max(1)).map(move |part| {
        let (from, to) = (part * TABLE_MAX_ROWS, rows.min((part + 1) * TABLE_MAX_ROWS));
        let columns = table.schema.len();
        let mut area = vec![0; TABLE_HEADER_BYTES + table_column_at(table.schema, columns)];
        area[..8].copy_from_slice(&interval_start_ns.to_le_bytes());
        area[16..20].copy_from_slice(&((to - from) as u32).to_le_bytes());
        area[20] = u8::from(to < rows);
        for (column, kind) in table.schema.iter().enumerate() {
            let source = column_at(table.schema, column, rows);
            let bytes = &table.bytes[source + from * kind.bytes()..source + to * kind.bytes()];
            let at = TABLE_HEADER_BYTES + table_column_at(table.schema, column);
            area[at..at + bytes.len()].copy_from_slice(bytes);
        }
        (area, to - from)
    })
}

impl<M: Merge + Send> Guest<M> {
    /// Hands over a table that was stored before, of the interval that begins then.
    pub fn merge(&mut self, table: &Table, interval_start_ns: u64) -> &mut Self {
        for (area, rows) in parts(table, interval_start_ns) {
            self.state.merge(&Stored::new::<M>(&area, rows));
        }
        self
    }
}

impl<M: Load + Send> Guest<M> {
    /// Hands over a table of an answer; what its parts become comes out, part by part.
    pub fn load(&mut self, table: &Table, interval_start_ns: u64) -> Vec<Table> {
        let loaded = parts(table, interval_start_ns).map(|(area, part)| {
            let mut rows = Rows::new(&mut self.output, M::SCHEMA, M::MAX_ROWS);
            self.state.load(&Stored::new::<M>(&area, part), &mut rows);
            let bytes = rows.finish();
            Table {
                bytes: self.output[..bytes].to_vec(),
                schema: M::SCHEMA,
            }
        });
        loaded.collect()
    }
}

/// What `store` wrote.
pub struct Table {
    bytes: Vec<u8>,
    schema: &'static [Kind],
}

impl Table {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        debug_assert!(self.bytes.len() >= OUTPUT_HEADER_BYTES);
        u32::from_le_bytes(*self.bytes.first_chunk().expect("a header")) as usize
    }

    /// The values of one row.
    pub fn row(&self, row: usize) -> Vec<Value> {
        (0..self.schema.len())
            .map(|column| self.value(row, column))
            .collect()
    }

    /// The bytes as the node reads them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn value(&self, row: usize, column: usize) -> Value {
        let kind = self.schema[column];
        let at = column_at(self.schema, column, self.rows()) + row * kind.bytes();
        let bytes = &self.bytes[at..at + kind.bytes()];
        let mut wide = [0; 8];
        if kind != Kind::Address {
            wide[..bytes.len()].copy_from_slice(bytes);
        }
        let number = u64::from_le_bytes(wide);
        match kind {
            Kind::U8 => Value::U8(bytes[0]),
            Kind::U16 => Value::U16(number as u16),
            Kind::U32 => Value::U32(number as u32),
            Kind::U64 => Value::U64(number),
            Kind::I64 => Value::I64(number as i64),
            Kind::F64 => Value::F64(f64::from_bits(number)),
            Kind::Bool => Value::Bool(bytes[0] == 1),
            Kind::Address => Value::Address(*bytes.first_chunk().expect("sixteen bytes")),
            Kind::TimeNs => Value::TimeNs(number),
        }
    }
}
