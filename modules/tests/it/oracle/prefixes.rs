//! What `autofocus` must say: its definition, by brute force over every prefix length.

use std::collections::BTreeMap;

use super::run::{Cell, Packets, Row};

const MAPPED: u128 = 0xffff;

pub fn autofocus(packets: &Packets<'_>, rows: &[Row]) {
    let seen: Vec<_> = packets.all.iter().filter(|seen| seen.is_ip()).collect();
    let bytes_of = |weight: u32, len: u32| u64::from(weight) * u64::from(len);
    let total: u64 = seen.iter().map(|s| bytes_of(s.weight, s.wire_len)).sum();
    let threshold = (total * packets.args[0]).div_ceil(100).max(1);
    let mut expected = Vec::new();
    for side in [0, 1] {
        let mut open: BTreeMap<u128, u64> = BTreeMap::new();
        for s in &seen {
            let address = u128::from_be_bytes(if side == 0 { s.src } else { s.dst });
            *open.entry(address).or_default() += bytes_of(s.weight, s.wire_len);
        }
        if total > 0 {
            report(side, threshold, open, total, &mut expected);
        }
    }
    expected.sort();
    let mut rows = rows.to_vec();
    rows.sort();
    assert_eq!(rows, expected, "{}", packets.name);
}

fn report(side: u64, threshold: u64, mut open: BTreeMap<u128, u64>, total: u64, expected: &mut Vec<Row>) {
    let all = open.clone();
    let mut push = |version: u64, prefix: u128, len: u32, bytes: u64, residual: u64| {
        let numbers = [u64::from(len), bytes, residual, 0].map(Cell::Number);
        let head = [
            Cell::Number(side),
            Cell::Number(version),
            Cell::Address(prefix.to_be_bytes()),
        ];
        expected.push([&head[..], &numbers].concat());
    };
    for len in (1..=128u32).rev() {
        let mask = !u128::MAX.checked_shr(len).unwrap_or(0);
        let is_mapped = |address: u128| address >> 32 == MAPPED;
        let within = |address: u128| !is_mapped(address) || len >= 96;
        let mut sums: BTreeMap<u128, u64> = BTreeMap::new();
        for (address, bytes) in open.iter().filter(|(address, _)| within(**address)) {
            *sums.entry(address & mask).or_default() += bytes;
        }
        for (prefix, residual) in sums.into_iter().filter(|(_, residual)| *residual >= threshold) {
            let inside = |address: u128| within(address) && address & mask == prefix;
            let of_all = all.iter().filter(|(address, _)| inside(**address));
            let bytes = of_all.map(|(_, bytes)| bytes).sum();
            if is_mapped(prefix) {
                push(4, prefix, len - 96, bytes, residual);
            } else {
                push(6, prefix, len, bytes, residual);
            }
            open.iter_mut()
                .filter(|(address, _)| inside(**address))
                .for_each(|(_, bytes)| *bytes = 0);
        }
    }
    push(0, 0, 0, total, open.values().sum());
}
