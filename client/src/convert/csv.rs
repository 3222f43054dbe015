//! CSV (RFC 4180): a header line, commas, quotes where needed, lines that end in CR LF.
//!
//! Owns quoting; must never change a value to please a spreadsheet.

use std::{fmt::Write as _, io::Write};

use como_dataset::{Batch, PacketBatch, Schema, Value};

use super::{ConvertError, Sink, columns, packet_rows, text};

pub(crate) struct Csv<W> {
    out: W,
    line: String,
}

impl<W: Write> Csv<W> {
    pub(crate) fn new(mut out: W, schema: &Schema) -> Result<Self, ConvertError> {
        let mut line = String::new();
        for (i, field) in columns(schema).iter().enumerate() {
            separate(&mut line, i);
            push_quoted(&mut line, &field.name);
        }
        line.push_str("\r\n");
        out.write_all(line.as_bytes())?;
        Ok(Self { out, line })
    }
}

impl<W: Write> Sink for Csv<W> {
    fn table(&mut self, batch: &Batch) -> Result<(), ConvertError> {
        for row in 0..batch.rows() {
            self.line.clear();
            for (i, column) in batch.columns.iter().enumerate() {
                separate(&mut self.line, i);
                push_value(&mut self.line, column.value(row));
            }
            self.line.push_str("\r\n");
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

fn separate(line: &mut String, column: usize) {
    if column > 0 {
        line.push(',');
    }
}

fn push_value(line: &mut String, value: Value<'_>) {
    let written = match value {
        Value::U8(v) => write!(line, "{v}"),
        Value::U16(v) => write!(line, "{v}"),
        Value::U32(v) => write!(line, "{v}"),
        Value::U64(v) => write!(line, "{v}"),
        Value::I64(v) => write!(line, "{v}"),
        Value::F64(v) => write!(line, "{v}"),
        Value::Bool(v) => write!(line, "{v}"),
        Value::Address(v) => write!(line, "{}", text::address(v)),
        Value::Bytes(v) => return text::push_hex(line, v),
        Value::Text(v) => return push_quoted(line, v),
        Value::TimeNs(v) => return text::push_time(line, v),
    };
    written.expect("a string takes all");
}

fn push_quoted(line: &mut String, text: &str) {
    // An empty text is quoted, so that it cannot be read as a missing value, nor a line as none.
    if !text.is_empty() && !text.contains(['"', ',', '\r', '\n']) {
        return line.push_str(text);
    }
    line.push('"');
    line.push_str(&text.replace('"', "\"\""));
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_commas_and_lines_are_quoted() {
        let quoted = |text: &str| {
            let mut line = String::new();
            push_quoted(&mut line, text);
            line
        };
        assert_eq!(quoted("plain é"), "plain é");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"x\"\r\n"), "\"say \"\"x\"\"\r\n\"");
    }
}
