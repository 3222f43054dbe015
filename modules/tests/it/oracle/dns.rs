//! What `dns` must say: naive counts of messages.

use std::collections::BTreeMap;

use super::run::{Cell, Packets, Row};

pub fn expected(packets: &Packets<'_>, rows: &[Row]) {
    let mut found: BTreeMap<[u64; 4], [u64; 3]> = BTreeMap::new();
    for seen in &packets.all {
        let Some(message) = &seen.dns else { continue };
        let key = match message {
            None => [2, 0, 0, 0],
            Some(m) if m.is_response => [1, m.opcode.into(), m.rcode.into(), m.qtype.into()],
            Some(m) => [0, m.opcode.into(), 0, m.qtype.into()],
        };
        let weight = u64::from(seen.weight);
        let answers = message.as_ref().map_or(0, |m| u64::from(m.answers));
        let sums = found.entry(key).or_default();
        for (sum, value) in sums.iter_mut().zip([1, u64::from(seen.udp_payload_len), answers]) {
            *sum += weight * value;
        }
    }
    let expected: Vec<Row> = found
        .into_iter()
        .map(|(key, sums)| key.into_iter().chain(sums).map(Cell::Number).collect())
        .collect();
    let mut rows = rows.to_vec();
    rows.sort();
    assert_eq!(rows, expected, "{}", packets.name);
}
