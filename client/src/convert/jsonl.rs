//! JSON lines: an object a row, names as in the schema.
//!
//! Owns the JSON form of values: integers exact (64 bits: some readers round above 2^53), numbers that
//! JSON lacks (NaN, infinities) null.

use std::{fmt::Write as _, io::Write};

use como_dataset::{Batch, PacketBatch, Schema, Value};

use super::{ConvertError, Sink, columns, packet_rows, text};

pub(super) struct Jsonl<W> {
    out: W,
    /// What stands before each value: brace or comma, name, colon.
    prefixes: Vec<String>,
    line: String,
}

impl<W: Write> Jsonl<W> {
    pub(super) fn new(out: W, schema: &Schema) -> Self {
        let prefixes = columns(schema)
            .iter()
            .enumerate()
            .map(|(i, field)| format!("{}{}:", if i == 0 { '{' } else { ',' }, quoted(&field.name)))
            .collect();
        Self {
            out,
            prefixes,
            line: String::new(),
        }
    }
}

impl<W: Write> Sink for Jsonl<W> {
    fn table(&mut self, batch: &Batch) -> Result<(), ConvertError> {
        for row in 0..batch.rows() {
            self.line.clear();
            for (prefix, column) in self.prefixes.iter().zip(&batch.columns) {
                self.line.push_str(prefix);
                push_value(&mut self.line, column.value(row));
            }
            self.line.push_str("}\n");
            self.out.write_all(self.line.as_bytes())?;
        }
        Ok(())
    }

    fn packets(&mut self, batch: &PacketBatch) -> Result<(), ConvertError> {
        self.table(&packet_rows(batch))
    }

    fn finish(&mut self) -> Result<(), ConvertError> {
        Ok(self.out.flush()?)
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text is always JSON")
}

fn push_value(line: &mut String, value: Value<'_>) {
    let written = match value {
        Value::U8(v) => write!(line, "{v}"),
        Value::U16(v) => write!(line, "{v}"),
        Value::U32(v) => write!(line, "{v}"),
        Value::U64(v) => write!(line, "{v}"),
        Value::I64(v) => write!(line, "{v}"),
        Value::F64(v) => write!(line, "{}", serde_json::Value::from(v)),
        Value::Bool(v) => write!(line, "{v}"),
        Value::Address(v) => write!(line, "\"{}\"", text::address(v)),
        Value::Text(v) => write!(line, "{}", quoted(v)),
        Value::Bytes(v) => {
            line.push('"');
            text::push_hex(line, v);
            return line.push('"');
        }
        Value::TimeNs(v) => {
            line.push('"');
            text::push_time(line, v);
            return line.push('"');
        }
    };
    written.expect("a string takes all");
}
