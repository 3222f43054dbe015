//! What CoMo is for, end to end: people, a node, modules and datasets, through the real programs only.

mod again;
mod audiences;
mod endorsed;
mod exchange;
mod hours;
mod import;
mod interrupted;
mod metrics;
mod modules;
mod networks;
mod operator;
mod oracle;
mod queries;
mod records;
mod registry;
mod sampling;
mod tools;
mod trace;

/// Nanoseconds per second.
const SECOND: u64 = 1_000_000_000;

/// A time as `--from` and `--to` take it.
fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / SECOND, ns % SECOND)
}
