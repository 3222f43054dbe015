//! Figures that the project aims at and does not measure yet. Each stands in the table as short, with the part that
//! is missing: a figure that nobody measures must not look like one that is reached.

use super::Bench;
use crate::row::{Aim, Peer, Row};

/// Names of these rows.
pub const NAMES: &[&str] = &[
    "live capture, 100-900 k packets/s, lost",
    "live capture, 100-900 k packets/s, cores",
];

/// Unit, peer, aim, and which part is missing.
type Pending = (&'static str, Option<&'static str>, Aim, &'static str);

const PENDING: [Pending; NAMES.len()] = [
    (
        "packets",
        Some("best of tcpdump, dumpcap, netsniff-ng, stenographer"),
        Aim::RatioAtMost(1.0),
        "a load generator for a veth pair, and the peers on the other end",
    ),
    (
        "core-ns/packet",
        Some("best of tcpdump, dumpcap, netsniff-ng, stenographer"),
        Aim::Report,
        "a load generator for a veth pair, and the peers on the other end",
    ),
];

pub fn rows(_: &Bench) -> Vec<Row> {
    NAMES
        .iter()
        .zip(PENDING)
        .map(|(&name, (unit, peer, aim, missing))| Row {
            name,
            ours: Err(format!("not yet measured: missing is {missing}")),
            unit,
            peer: peer.map(|name| Peer {
                name,
                figure: Err("not yet measured".into()),
            }),
            aim,
            note: String::new(),
        })
        .collect()
}
