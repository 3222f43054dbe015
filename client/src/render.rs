//! How values look on a terminal: sizes, counts, tables, and the JSON of a node as aligned text.
//!
//! Pure functions from values to text; must never print. Every text that came from elsewhere is made
//! safe for the terminal here.

use serde_json::{Map, Value};

use crate::answer::one_line;
use crate::time;

/// Most rows of a list that are shown; the rest is counted.
const MAX_ROWS: usize = 1000;
/// Columns of a rendered table are at most this wide, in characters.
const MAX_CELL_CHARS: usize = 80;

/// Bytes, in the unit that a person would use (powers of 1024).
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A count with thousands set apart.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A window of packet time.
pub fn window(from_ns: u64, to_ns: u64) -> String {
    let length = jiff::SignedDuration::from_nanos_i128(i128::from(to_ns.saturating_sub(from_ns)));
    format!(
        "{} to {} ({length:#})",
        time::Display(from_ns),
        time::Display(to_ns)
    )
}

/// A table with a header line; columns whose every cell is a number stand right.
pub fn table(header: &[String], rows: &[Vec<String>]) -> String {
    let cell = |text: &str| -> String {
        let mut text = one_line(text);
        if text.chars().count() > MAX_CELL_CHARS {
            text = text.chars().take(MAX_CELL_CHARS - 1).chain(['…']).collect();
        }
        text
    };
    let header: Vec<String> = header.iter().map(|text| cell(text)).collect();
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|text| cell(text)).collect())
        .collect();
    let mut text = String::new();
    let columns: Vec<(usize, bool)> = (0..header.len())
        .map(|c| {
            let cells = || rows.iter().filter_map(|row| row.get(c));
            let width = cells()
                .chain([&header[c]])
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0);
            (width, !rows.is_empty() && cells().all(|cell| is_number(cell)))
        })
        .collect();
    for row in [&header].into_iter().chain(&rows) {
        let cells = row.iter().zip(&columns).map(|(cell, &(width, right))| {
            if right {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn is_number(cell: &str) -> bool {
    cell.is_empty()
        || cell.starts_with(|c: char| c.is_ascii_digit() || c == '-') && !cell.contains(['T', ':'])
}

/// What a node says in JSON: scalars as aligned lines, lists of objects as tables.
pub fn json(value: &Value) -> String {
    match value {
        Value::Object(members) => object("", members),
        Value::Array(items) => list(items),
        scalar => format!("{}\n", shown("", scalar)),
    }
}

fn object(prefix: &str, members: &Map<String, Value>) -> String {
    let nested = |value: &Value| matches!(value, Value::Object(_)) || is_table(value);
    let name = |key: &str| {
        if prefix.is_empty() {
            one_line(key)
        } else {
            format!("{prefix}.{}", one_line(key))
        }
    };
    let scalars: Vec<_> = members
        .iter()
        .filter(|(_, value)| !nested(value))
        .map(|(key, value)| (name(key), shown(key, value)))
        .collect();
    let width = scalars
        .iter()
        .map(|(key, _)| key.chars().count())
        .max()
        .unwrap_or(0);
    let mut text: String = scalars
        .iter()
        .map(|(key, value)| format!("{key:<width$}  {value}\n"))
        .collect();
    for (key, value) in members {
        if let Value::Object(members) = value {
            text.push_str(&object(&name(key), members));
        }
    }
    for (key, value) in members.iter().filter(|(_, value)| is_table(value)) {
        if let Value::Array(items) = value {
            text.push_str(&format!("\n{}:\n{}", name(key), list(items)));
        }
    }
    text
}

fn is_table(value: &Value) -> bool {
    matches!(value, Value::Array(items) if items.first().is_some_and(Value::is_object))
}

fn list(items: &[Value]) -> String {
    if items.is_empty() {
        return "(none)\n".into();
    }
    let mut header: Vec<String> = Vec::new();
    for item in items.iter().take(MAX_ROWS).filter_map(Value::as_object) {
        for key in item
            .keys()
            .filter(|key| !header.contains(key))
            .cloned()
            .collect::<Vec<_>>()
        {
            header.push(key);
        }
    }
    if header.is_empty() {
        return items
            .iter()
            .take(MAX_ROWS)
            .map(|item| format!("{}\n", shown("", item)))
            .collect();
    }
    let row = |item: &Value| {
        header
            .iter()
            .map(|key| item.get(key).map_or(String::new(), |v| shown(key, v)))
            .collect()
    };
    let mut text = table(&header, &items.iter().take(MAX_ROWS).map(row).collect::<Vec<_>>());
    if items.len() > MAX_ROWS {
        text.push_str(&format!("… and {} more\n", items.len() - MAX_ROWS));
    }
    text
}

/// One value; names carry their unit, so `..._ns` is a time or a length and `...bytes` a size.
fn shown(key: &str, value: &Value) -> String {
    /// Nanoseconds above this are points in time (1980), below it lengths.
    const POINT_NS: u64 = 315_532_800 * time::NS_PER_S;
    match value {
        Value::Null => "-".into(),
        Value::String(text) => one_line(text),
        Value::Number(number) => match number.as_u64() {
            Some(ns) if key.ends_with("_ns") && ns >= POINT_NS => time::Display(ns).to_string(),
            Some(size) if key == "bytes" || key.ends_with("_bytes") => bytes(size),
            _ => number.to_string(),
        },
        Value::Array(items) => items
            .iter()
            .map(|item| shown(key, item))
            .collect::<Vec<_>>()
            .join(", "),
        // A module's argument, as one would write it behind --arg.
        Value::Object(members) if members.contains_key("name") && members.contains_key("default") => {
            let member = |name: &str| members.get(name).map_or(String::new(), |value| shown("", value));
            format!("{}={}", member("name"), member("default"))
        }
        other => one_line(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sizes_and_counts() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(count(7), "7");
        assert_eq!(count(1_234_567), "1 234 567");
    }

    #[test]
    fn a_status_reads_like_a_page() {
        // Members in alphabetical order: a feature of serde_json decides whether order is kept.
        let status = json!({
            "from_ns": 1_700_000_000_000_000_000_u64, "node": "spiffe://c/o/n", "trace_bytes": 2048,
            "modules": [{"name": "traffic", "packets": 12}, {"name": "top\u{1b}[2J", "packets": 3456, "state": "live"}],
            "capture": {"drops": 0},
        });
        let expected = "\
from_ns      2023-11-14T22:13:20Z
node         spiffe://c/o/n
trace_bytes  2.0 KiB
capture.drops  0

modules:
name     packets  state
traffic       12
top [2J     3456  live
";
        assert_eq!(super::json(&status), expected);
        assert_eq!(super::json(&json!([])), "(none)\n");
        let modules = json!([{"arguments": [{"default": 10, "max": 99, "name": "k"}], "name": "topports"}]);
        assert_eq!(super::json(&modules), "arguments  name\nk=10       topports\n");
    }

    #[test]
    fn a_wide_cell_is_cut() {
        let text = table(&["x".into()], &[vec!["é".repeat(500)]]);
        assert!(text.lines().all(|line| line.chars().count() <= MAX_CELL_CHARS));
    }
}
