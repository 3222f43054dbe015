//! CSV (RFC 4180): a header line, commas, quotes where needed, lines that end in CR LF.
//!
//! Owns quoting; must never change a value to please a spreadsheet.

use std::fmt::Write as _;
use std::io::Write;

use como_dataset::Schema;

use super::lines::{Lines, Spelling};
use super::{ConvertError, columns};

const END: &str = "\r\n";

/// The spelling of CSV.
pub(crate) struct Csv;

/// Writes the header line.
pub(crate) fn sink<W: Write>(mut out: W, schema: &Schema) -> Result<Lines<W, Csv>, ConvertError> {
    let mut line = String::new();
    let mut prefixes = Vec::new();
    for field in &columns(schema) {
        let prefix = if prefixes.is_empty() { "" } else { "," };
        line.push_str(prefix);
        Csv::push_text(&mut line, &field.name);
        prefixes.push(prefix.to_owned());
    }
    line.push_str(END);
    out.write_all(line.as_bytes())?;
    Ok(Lines::new(out, prefixes, END))
}

impl Spelling for Csv {
    const QUOTE: &str = "";

    fn push_text(line: &mut String, text: &str) {
        // An empty text is quoted, so that it cannot be read as a missing value, nor a line as none.
        if !text.is_empty() && !text.contains(['"', ',', '\r', '\n']) {
            return line.push_str(text);
        }
        line.push('"');
        line.push_str(&text.replace('"', "\"\""));
        line.push('"');
    }

    fn push_fraction(line: &mut String, value: f64) {
        write!(line, "{value}").expect("a string takes all");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_commas_and_lines_are_quoted() {
        let quoted = |text: &str| {
            let mut line = String::new();
            Csv::push_text(&mut line, text);
            line
        };
        assert_eq!(quoted("plain é"), "plain é");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"x\"\r\n"), "\"say \"\"x\"\"\r\n\"");
    }
}
