//! What `pattern-search` must say: a naive search in what follows the transport header.

use std::collections::BTreeSet;

use super::run::{Cell, Packets, Row};
use super::seen::{TCP, UDP};

/// Sources, and destinations, below which nothing is told.
const GROUP_MIN: usize = 10;

pub fn expected(packets: &Packets<'_>, rows: &[Row]) {
    let length = packets.args[1] as usize;
    let pattern = &packets.args[0].to_be_bytes()[8 - length..];
    let searched = packets
        .all
        .iter()
        .filter(|seen| seen.version != 0 && [TCP, UDP].contains(&seen.protocol));
    let (mut all, mut hits, mut bytes) = (0, 0, 0);
    let (mut sources, mut destinations) = (BTreeSet::new(), BTreeSet::new());
    for seen in searched {
        let weight = u64::from(seen.weight);
        all += weight;
        if seen.payload.windows(length).any(|window| window == pattern) {
            hits += weight;
            bytes += weight * u64::from(seen.wire_len);
            sources.insert(seen.src);
            destinations.insert(seen.dst);
        }
    }
    if sources.len() < GROUP_MIN || destinations.len() < GROUP_MIN {
        (hits, bytes) = (0, 0);
    }
    assert_eq!(rows, [[all, hits, bytes].map(Cell::Number)], "{}", packets.name);
}
