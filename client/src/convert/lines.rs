//! Text formats of one line per row: CSV and JSON lines differ in their spelling only.
//!
//! Owns which kind of value is written how; must never drop or round a digit.

use std::fmt::Write as _;
use std::io::Write;
use std::marker::PhantomData;

use como_dataset::{Batch, PacketBatch, Value};

use super::{ConvertError, Sink, packet_rows, text};

/// How a format spells what the formats do not agree on.
pub(crate) trait Spelling {
    /// Around times, addresses and hex, which hold nothing that must be escaped.
    const QUOTE: &str;

    /// A text that may hold anything.
    fn push_text(line: &mut String, text: &str);

    /// A number with a fraction, or none at all.
    fn push_fraction(line: &mut String, value: f64);
}

/// Writes rows as lines.
pub(crate) struct Lines<W, S> {
    out: W,
    /// What stands before each value.
    prefixes: Vec<String>,
    /// What ends a line.
    end: &'static str,
    line: String,
    spelling: PhantomData<S>,
}

impl<W: Write, S: Spelling> Lines<W, S> {
    /// One prefix per column.
    pub(super) fn new(out: W, prefixes: Vec<String>, end: &'static str) -> Self {
        Self {
            out,
            prefixes,
            end,
            line: String::new(),
            spelling: PhantomData,
        }
    }
}

impl<W: Write, S: Spelling> Sink for Lines<W, S> {
    fn table(&mut self, batch: &Batch) -> Result<(), ConvertError> {
        for row in 0..batch.rows() {
            self.line.clear();
            for (prefix, column) in self.prefixes.iter().zip(&batch.columns) {
                self.line.push_str(prefix);
                push_value::<S>(&mut self.line, column.value(row));
            }
            self.line.push_str(self.end);
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

fn push_value<S: Spelling>(line: &mut String, value: Value<'_>) {
    let written = match value {
        Value::U8(v) => write!(line, "{v}"),
        Value::U16(v) => write!(line, "{v}"),
        Value::U32(v) => write!(line, "{v}"),
        Value::U64(v) => write!(line, "{v}"),
        Value::I64(v) => write!(line, "{v}"),
        Value::Bool(v) => write!(line, "{v}"),
        Value::Address(v) => write!(line, "{0}{1}{0}", S::QUOTE, text::address(v)),
        Value::F64(v) => return S::push_fraction(line, v),
        Value::Text(v) => return S::push_text(line, v),
        Value::Bytes(v) => return quoted::<S>(line, |line| text::push_hex(line, v)),
        Value::TimeNs(v) => return quoted::<S>(line, |line| text::push_time(line, v)),
    };
    written.expect("a string takes all");
}

fn quoted<S: Spelling>(line: &mut String, push: impl FnOnce(&mut String)) {
    line.push_str(S::QUOTE);
    push(line);
    line.push_str(S::QUOTE);
}
