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
pub(crate) mod oracle;
mod queries;
pub(crate) mod records;
mod registry;
mod sampling;
mod tools;
mod trace;

/// Nanoseconds per second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// A time as `--from` and `--to` take it.
pub(crate) fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / SECOND, ns % SECOND)
}
