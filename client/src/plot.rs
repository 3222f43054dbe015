//! A table dataset on a terminal: its first rows, its largest keys as bars, its course over time.
//!
//! Streams: holds sums, never the rows. Pure: batches in, text out.

use std::collections::{BTreeMap, HashMap};

use como_dataset::{Batch, ColumnKind, Field, Value};

use crate::error::{ClientError, Result};
use crate::head::{Head, titled};
use crate::{render, time};

/// Most intervals that are kept apart; more than that is a finer curve than any terminal shows.
const MAX_INTERVALS: usize = 1 << 20;
/// Most keys that are kept apart; rows of further keys count as `others`.
const MAX_KEYS: usize = 1 << 16;
/// Keys that get a bar.
const BARS: usize = 10;
/// Height of the curve, in lines.
const CURVE_LINES: usize = 8;
/// Widest label of a bar, in characters.
const MAX_LABEL_CHARS: usize = 40;
/// Eighths of a block, from empty to full.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The same, growing to the right.
const EIGHTHS_RIGHT: [char; 9] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// What is gathered of a table to be drawn.
pub struct Plot {
    fields: Vec<Field>,
    column: usize,
    keys: Vec<usize>,
    head: Head,
    by_time: BTreeMap<u64, f64>,
    by_key: HashMap<String, f64>,
    others: f64,
}

impl Plot {
    /// Draws `column`, or the first that is a number to be summed; keeps the first `head_rows` rows.
    pub fn new(fields: &[Field], column: Option<&str>, head_rows: usize) -> Result<Self> {
        let is_key =
            |field: &Field| field.kind != ColumnKind::TimeNs && matches!(field.merge.as_str(), "" | "key");
        let drawable = |field: &Field| is_number(field.kind) && !is_key(field);
        let column = match column {
            Some(name) => fields
                .iter()
                .position(|field| field.name == name && is_number(field.kind)),
            None => fields
                .iter()
                .position(|field| drawable(field) && field.merge == "sum")
                .or_else(|| fields.iter().position(drawable)),
        };
        let column = column.ok_or_else(|| {
            let numbers = fields
                .iter()
                .filter(|field| is_number(field.kind))
                .map(|field| field.name.as_str());
            ClientError::usage(
                "the table has no such column of numbers to draw",
                format!(
                    "choose one with --column: {}",
                    numbers.collect::<Vec<_>>().join(", ")
                ),
            )
        })?;
        let keys = (0..fields.len())
            .filter(|&i| i != column && is_key(&fields[i]))
            .collect();
        Ok(Self {
            fields: fields.to_vec(),
            column,
            keys,
            head: Head::new(fields, head_rows),
            by_time: BTreeMap::new(),
            by_key: HashMap::new(),
            others: 0.0,
        })
    }

    /// Takes a batch of rows.
    pub fn add(&mut self, batch: &Batch) {
        self.head.add(batch);
        for row in 0..batch.rows() {
            let Some(value) = batch
                .columns
                .get(self.column)
                .and_then(|column| number(column.value(row)))
            else {
                continue;
            };
            let merge = self.fields[self.column].merge.as_str();
            if let Some(Value::TimeNs(at)) = batch.columns.first().map(|column| column.value(row))
                && (self.by_time.len() < MAX_INTERVALS || self.by_time.contains_key(&at))
            {
                combine(merge, self.by_time.entry(at).or_insert(f64::NAN), value);
            }
            if self.keys.is_empty() {
                continue;
            }
            let key: Vec<String> = self
                .keys
                .iter()
                .map(|&i| text(batch.columns[i].value(row)))
                .collect();
            let key = key.join(" ");
            if self.by_key.len() < MAX_KEYS || self.by_key.contains_key(&key) {
                combine(merge, self.by_key.entry(key).or_insert(f64::NAN), value);
            } else {
                self.others += value;
            }
        }
    }

    /// Rows seen.
    pub fn rows(&self) -> u64 {
        self.head.rows()
    }

    /// The drawn column.
    pub fn column(&self) -> &Field {
        &self.fields[self.column]
    }

    /// The column over time: (interval's start in ns, value).
    pub fn series(&self) -> impl Iterator<Item = (u64, f64)> + '_ {
        self.by_time.iter().map(|(&at, &value)| (at, value))
    }

    /// The largest keys, largest first.
    pub fn largest(&self) -> Vec<(&str, f64)> {
        let mut keys: Vec<(&str, f64)> = self
            .by_key
            .iter()
            .map(|(key, &value)| (key.as_str(), value))
            .collect();
        keys.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        keys.truncate(BARS);
        keys
    }

    /// The page, `width` characters wide.
    pub fn render(&self, width: usize) -> String {
        let width = width.clamp(40, 200);
        let mut page = self.head.render();
        let title = crate::answer::one_line(&titled(self.column()));
        if !self.by_key.is_empty() {
            let keys: Vec<&str> = self.keys.iter().map(|&i| self.fields[i].name.as_str()).collect();
            page.push_str(&format!(
                "\n{title} by {}\n",
                crate::answer::one_line(&keys.join(", "))
            ));
            page.push_str(&bars(&self.largest(), width));
            if self.by_key.len() > BARS {
                page.push_str(&format!(
                    "… and {} more\n",
                    render::count((self.by_key.len() - BARS) as u64)
                ));
            }
            if self.others > 0.0 {
                page.push_str(&format!("others: {}\n", compact(self.others)));
            }
        }
        if self.by_time.len() > 1 {
            page.push_str(&format!("\n{title} over time\n"));
            page.push_str(&self.curve(width));
        }
        page
    }

    /// One column of blocks per stretch of time; a stretch shows the largest interval in it, so that
    /// a peak is never averaged away.
    fn curve(&self, width: usize) -> String {
        let (Some((&first, _)), Some((&last, _))) =
            (self.by_time.first_key_value(), self.by_time.last_key_value())
        else {
            return String::new();
        };
        let top = self.by_time.values().copied().fold(0.0, f64::max);
        let label = compact(top);
        let margin = label.chars().count().max(1) + 2;
        let columns = (width - margin).min(self.by_time.len());
        let mut peaks = vec![0.0_f64; columns];
        for (i, &value) in self.by_time.values().enumerate() {
            let slot = &mut peaks[i * columns / self.by_time.len()];
            *slot = slot.max(value);
        }
        // Few intervals are drawn wider, so that three of them are not three hairs.
        let wide = ((width - margin) / columns).clamp(1, 4);
        let mut text = String::new();
        for line in (0..CURVE_LINES).rev() {
            let axis = match line {
                l if l + 1 == CURVE_LINES => label.as_str(),
                0 => "0",
                _ => "",
            };
            let blocks = peaks.iter().flat_map(|&peak| {
                std::iter::repeat_n(
                    EIGHTHS[eighths(peak, top, CURVE_LINES).saturating_sub(8 * line).min(8)],
                    wide,
                )
            });
            let blocks: String = blocks.collect();
            text.push_str(format!("{axis:>0$} ┤{blocks}", margin - 2).trim_end());
            text.push('\n');
        }
        let pad = " ".repeat(margin);
        text.push_str(&format!(
            "{pad}{} … {}\n",
            time::Display(first),
            time::Display(last)
        ));
        text
    }
}

fn bars(keys: &[(&str, f64)], width: usize) -> String {
    let top = keys.first().map_or(0.0, |(_, value)| *value);
    let label = |key: &str| -> String {
        crate::answer::one_line(key)
            .chars()
            .take(MAX_LABEL_CHARS)
            .collect()
    };
    let labels: Vec<(String, String)> = keys
        .iter()
        .map(|(key, value)| (label(key), compact(*value)))
        .collect();
    let widest = |pick: fn(&(String, String)) -> &String| {
        labels
            .iter()
            .map(|pair| pick(pair).chars().count())
            .max()
            .unwrap_or(0)
    };
    let (left, right) = (widest(|pair| &pair.0), widest(|pair| &pair.1));
    let room = width.saturating_sub(left + right + 4).max(10);
    let mut text = String::new();
    for ((key, value), (_, number)) in labels.iter().zip(keys) {
        let length = eighths(*number, top, room);
        let mut bar: String = std::iter::repeat_n('█', length / 8).collect();
        if !length.is_multiple_of(8) {
            bar.push(EIGHTHS_RIGHT[length % 8]);
        }
        text.push_str(&format!("{key:>left$}  {value:>right$} {bar}\n"));
    }
    text
}

/// Height of `value` in eighths of a cell, where `top` is `cells` cells; anything above zero is seen.
fn eighths(value: f64, top: f64, cells: usize) -> usize {
    if !(value > 0.0 && top > 0.0) {
        return 0;
    }
    ((value / top * (cells * 8) as f64).round() as usize).clamp(1, cells * 8)
}

/// Combines two rows by the column's rule; NaN stands for none yet.
fn combine(merge: &str, sum: &mut f64, value: f64) {
    *sum = match merge {
        _ if sum.is_nan() => value,
        "min" => sum.min(value),
        "max" => sum.max(value),
        "last" => value,
        _ => *sum + value,
    };
}

fn is_number(kind: ColumnKind) -> bool {
    use ColumnKind::*;
    matches!(kind, U8 | U16 | U32 | U64 | I64 | F64)
}

fn number(value: Value<'_>) -> Option<f64> {
    match value {
        Value::U8(v) => Some(f64::from(v)),
        Value::U16(v) => Some(f64::from(v)),
        Value::U32(v) => Some(f64::from(v)),
        Value::U64(v) => Some(v as f64),
        Value::I64(v) => Some(v as f64),
        Value::F64(v) if v.is_finite() => Some(v),
        _ => None,
    }
}

/// A value as text: addresses as addresses, times as RFC 3339, bytes as hex.
pub fn text(value: Value<'_>) -> String {
    match value {
        Value::U8(v) => v.to_string(),
        Value::U16(v) => v.to_string(),
        Value::U32(v) => v.to_string(),
        Value::U64(v) => v.to_string(),
        Value::I64(v) => v.to_string(),
        Value::F64(v) => format!("{v:.4}"),
        Value::Bool(v) => v.to_string(),
        Value::Address(v) => std::net::Ipv6Addr::from(v).to_canonical().to_string(),
        Value::Bytes(v) => hex::encode(v),
        Value::Text(v) => v.to_owned(),
        Value::TimeNs(v) => time::Display(v).to_string(),
    }
}

/// A number in at most six characters or so: 1.2k, 3.4M.
fn compact(value: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")];
    for (least, unit) in UNITS {
        if value.abs() >= least {
            let scale = if unit == "k" { 1e3 } else { least };
            return format!("{:.1}{unit}", value / scale);
        }
    }
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, kind: ColumnKind, merge: &str) -> Field {
        Field {
            name: name.into(),
            kind,
            unit: String::new(),
            description: String::new(),
            merge: merge.into(),
        }
    }

    fn table() -> (Vec<Field>, Batch) {
        let fields = vec![
            field("time", ColumnKind::TimeNs, ""),
            field("port", ColumnKind::U16, "key"),
            field("bytes", ColumnKind::U64, "sum"),
        ];
        let mut batch = Batch::new(&fields);
        for second in 0..20_u64 {
            for (port, bytes) in [(443, 8000 * (second + 1)), (53, 100)] {
                let row = [
                    Value::TimeNs(second * time::NS_PER_S),
                    Value::U16(port),
                    Value::U64(bytes),
                ];
                batch.push_row(&row).unwrap();
            }
        }
        (fields, batch)
    }

    #[test]
    fn sums_are_by_key_and_by_interval() {
        let (fields, batch) = table();
        let mut plot = Plot::new(&fields, None, 3).unwrap();
        plot.add(&batch);
        assert_eq!(plot.column().name, "bytes");
        assert_eq!(plot.largest(), [("443", 1_680_000.0), ("53", 2000.0)]);
        assert_eq!(plot.series().next(), Some((0, 8100.0)));
        assert_eq!((plot.series().count(), plot.rows()), (20, 40));
    }

    #[test]
    fn the_page_has_table_bars_and_curve_within_its_width() {
        let (fields, batch) = table();
        let mut plot = Plot::new(&fields, None, 3).unwrap();
        plot.add(&batch);
        for width in [40, 80, 200] {
            let page = plot.render(width);
            assert!(page.contains("… and 37 more rows"), "{page}");
            assert!(page.contains("bytes by port") && page.contains("bytes over time"));
            assert!(page.contains("443  1.7M ██"), "{page}");
            let small = page.contains(" 53  2000 ▏") || page.contains(" 53  2000 ▎");
            assert!(small, "a small key is still seen: {page}");
            assert!(page.contains("160.1k ┤"), "{page}");
            assert!(
                page.lines().all(|line| line.chars().count() <= width.max(60)),
                "{page}"
            );
        }
    }

    #[test]
    fn rules_of_merging_are_kept() {
        for (merge, expected) in [("sum", 9.0), ("min", 2.0), ("max", 4.0), ("last", 3.0)] {
            let fields = [
                field("time", ColumnKind::TimeNs, ""),
                field("v", ColumnKind::U8, merge),
            ];
            let mut batch = Batch::new(&fields);
            for v in [2, 4, 3] {
                batch.push_row(&[Value::TimeNs(0), Value::U8(v)]).unwrap();
            }
            let mut plot = Plot::new(&fields, None, 0).unwrap();
            plot.add(&batch);
            assert_eq!(plot.series().next(), Some((0, expected)), "{merge}");
        }
    }

    #[test]
    fn hostile_tables_do_not_break_the_page() {
        let fields = [
            field("time", ColumnKind::TimeNs, ""),
            field("a\x1bb", ColumnKind::Text, "key"),
            field("v", ColumnKind::F64, "max"),
        ];
        let mut batch = Batch::new(&fields);
        for (i, v) in [f64::NAN, f64::INFINITY, -5.0, 0.0, f64::MIN_POSITIVE]
            .into_iter()
            .enumerate()
        {
            let row = [
                Value::TimeNs(u64::MAX - i as u64),
                Value::Text("\x1b[2J\n"),
                Value::F64(v),
            ];
            batch.push_row(&row).unwrap();
        }
        let mut plot = Plot::new(&fields, None, 10).unwrap();
        plot.add(&batch);
        let page = plot.render(80);
        assert!(!page.contains('\x1b'), "{page:?}");
    }

    #[test]
    fn a_table_without_numbers_is_refused_with_what_there_is() {
        let fields = [
            field("time", ColumnKind::TimeNs, ""),
            field("name", ColumnKind::Text, "key"),
        ];
        assert!(Plot::new(&fields, None, 1).is_err());
        let (fields, _) = table();
        let error = Plot::new(&fields, Some("nope"), 1).err().unwrap();
        assert!(error.to_string().contains("port, bytes"));
    }
}
