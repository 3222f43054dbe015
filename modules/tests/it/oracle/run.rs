//! Runs a compiled module over a view, interval by interval as a node does, and hands each interval's rows and packets to
//! the oracle. Owns the naive rule which packet belongs to which interval.

use std::collections::BTreeMap;

use como_anonymize::{Bitmap, Filter};
use como_dataset::Value;
use como_modules::{IntervalRunner, Manifest};

use super::seen::Seen;
use super::shown::Shown;
use crate::support::{admit, standard};

/// Packets of one view handed over at a time: not a divisor of a batch.
const VIEW_PACKETS: usize = 777;

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    Number(u64),
    Address([u8; 16]),
}

impl Cell {
    pub fn number(self) -> u64 {
        match self {
            Cell::Number(number) => number,
            Cell::Address(_) => panic!("an address"),
        }
    }

    pub fn address(self) -> [u8; 16] {
        match self {
            Cell::Address(address) => address,
            Cell::Number(_) => panic!("a number"),
        }
    }
}

pub type Row = Vec<Cell>;
/// The packets of one interval that a reader saw, all of them; and the arguments in the manifest's order.
pub struct Packets<'a> {
    pub all: Vec<&'a Seen>,
    pub args: Vec<u64>,
    /// Capture and interval, for messages.
    pub name: String,
}
/// What the rows of an interval must be. Fails the test where they are not.
pub type Check = fn(&Packets<'_>, &[Row]);

/// A manifest and its code.
pub struct Module {
    pub manifest: Manifest,
    pub wasm: Vec<u8>,
}

/// Runs a standard module, and checks every interval.
pub fn check(module: &str, args: &[(&str, i64)], shown: &Shown, expected: Check) {
    check_module(&load(module), args, shown, expected);
}

/// Runs any module, and checks every interval.
pub fn check_module(module: &Module, args: &[(&str, i64)], shown: &Shown, expected: Check) {
    let manifest = &module.manifest;
    let values: Vec<u64> = manifest
        .args
        .iter()
        .map(|arg| {
            args.iter()
                .find(|(name, _)| *name == arg.name)
                .map_or(arg.default, |(_, v)| *v) as u64
        })
        .collect();
    let name = &manifest.name;
    let mut packets = intervals(manifest, &shown.seen);
    for (start_ns, rows) in rows_of(module, args, shown) {
        let packets = Packets {
            all: packets.remove(&start_ns).unwrap_or_default(),
            args: values.clone(),
            name: format!("{name} {args:?} on {}, interval {start_ns}", shown.name),
        };
        expected(&packets, &rows);
    }
    assert!(
        packets.is_empty(),
        "{name}: intervals {:?} are missing",
        packets.keys()
    );
}

fn load(module: &str) -> Module {
    let (manifest, wasm) = standard(module);
    Module { manifest, wasm }
}

/// A packet belongs to the interval of its time; one that comes late, to that which is open.
fn intervals<'a>(manifest: &Manifest, seen: &'a [Seen]) -> BTreeMap<u64, Vec<&'a Seen>> {
    let mut found: BTreeMap<u64, Vec<&Seen>> = BTreeMap::new();
    let mut open = 0;
    for packet in seen {
        open = open.max(packet.ts_ns - packet.ts_ns % manifest.interval_ns);
        found.entry(open).or_default().push(packet);
    }
    found
}

/// The rows of every interval of a standard module, by its start.
pub fn rows(module: &str, args: &[(&str, i64)], shown: &Shown) -> Vec<(u64, Vec<Row>)> {
    rows_of(&load(module), args, shown)
}

/// The rows of every interval of any module, by its start.
pub fn rows_of(module: &Module, args: &[(&str, i64)], shown: &Shown) -> Vec<(u64, Vec<Row>)> {
    let manifest = &module.manifest;
    let module = admit(manifest, &module.wasm).expect("admitted");
    let args: Vec<_> = args
        .iter()
        .map(|(name, value)| (name.to_string(), *value))
        .collect();
    let instance = module.instantiate(&args).expect("started");
    let filter = if manifest.filter.is_empty() {
        Filter::any()
    } else {
        Filter::parse(&manifest.filter).expect("a filter")
    };
    let mut runner = IntervalRunner::new(instance, filter, 0, u64::MAX);
    let mut found = Vec::new();
    let mut take = |interval: como_modules::IntervalRows| {
        let row = |row| interval.rows.columns.iter().map(|c| cell(c.value(row))).collect();
        found.push((
            interval.interval_start_ns,
            (0..interval.rows.rows()).map(row).collect(),
        ));
    };
    let indices: Vec<usize> = (0..shown.view.len()).collect();
    for part in indices.chunks(VIEW_PACKETS) {
        let keep = Bitmap::of(&indices, |i| part.contains(i));
        runner
            .push(&shown.view.select(&keep), None, &mut take)
            .expect("no fault");
    }
    let end_ns = shown.view.columns.ts_ns.iter().max().map_or(0, |last| last + 1);
    runner.finish(end_ns, &mut take).expect("no fault");
    found
}

fn cell(value: Value<'_>) -> Cell {
    match value {
        Value::U8(v) => Cell::Number(v.into()),
        Value::U16(v) => Cell::Number(v.into()),
        Value::U32(v) => Cell::Number(v.into()),
        Value::U64(v) | Value::TimeNs(v) => Cell::Number(v),
        Value::Bool(v) => Cell::Number(v.into()),
        Value::Address(v) => Cell::Address(v),
        other => panic!("{other:?} is in no standard module"),
    }
}
