//! JSON lines: an object a row, names as in the schema.
//!
//! Owns the JSON form of values: integers exact (64 bits: some readers round above 2^53), numbers that
//! JSON lacks (NaN, infinities) null.

use std::fmt::Write as _;
use std::io::Write;

use como_dataset::Schema;

use super::columns;
use super::lines::{Lines, Spelling};

/// The spelling of JSON.
pub(crate) struct Jsonl;

/// What stands before each value: brace or comma, name, colon.
pub(crate) fn sink<W: Write>(out: W, schema: &Schema) -> Lines<W, Jsonl> {
    let prefixes = columns(schema)
        .iter()
        .enumerate()
        .map(|(i, field)| format!("{}{}:", if i == 0 { '{' } else { ',' }, quoted(&field.name)))
        .collect();
    Lines::new(out, prefixes, "}\n")
}

impl Spelling for Jsonl {
    const QUOTE: &str = "\"";

    fn push_text(line: &mut String, text: &str) {
        line.push_str(&quoted(text));
    }

    fn push_fraction(line: &mut String, value: f64) {
        write!(line, "{}", serde_json::Value::from(value)).expect("a string takes all");
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text is always JSON")
}
