//! What the counting modules must say: naive sums over the packets of an interval.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

use super::run::{Cell, Packets, Row};
use super::seen::{Seen, TCP, UDP};

/// Standard error of `flowcount`, and how many of them are taken for chance.
const FLOWCOUNT_ERROR: f64 = 0.0082;
const STANDARD_ERRORS: f64 = 4.0;
/// Addresses that `topaddr` counts exactly, and those that it tracks beside them.
const TOPADDR_EXACT: usize = 12_288;
const TOPADDR_TRACKED: u64 = 512;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Sum {
    packets: u64,
    bytes: u64,
}

impl AddAssign<&Seen> for Sum {
    fn add_assign(&mut self, seen: &Seen) {
        self.packets += u64::from(seen.weight);
        self.bytes += u64::from(seen.weight) * u64::from(seen.wire_len);
    }
}

fn sums<'a, K: Ord>(packets: &Packets<'a>, keys: impl Fn(&Seen) -> Vec<K>) -> BTreeMap<K, Sum> {
    let mut found: BTreeMap<K, Sum> = BTreeMap::new();
    for seen in &packets.all {
        for key in keys(seen) {
            *found.entry(key).or_default() += seen;
        }
    }
    found
}

fn numbers(values: &[u64]) -> Row {
    values.iter().map(|value| Cell::Number(*value)).collect()
}

pub fn traffic(packets: &Packets<'_>, rows: &[Row]) {
    let sum = sums(packets, |_| vec![()]).remove(&()).unwrap_or_default();
    assert_eq!(rows, [numbers(&[sum.packets, sum.bytes])], "{}", packets.name);
}

pub fn protocol(packets: &Packets<'_>, rows: &[Row]) {
    let found = sums(packets, |seen| {
        vec![match seen.version {
            _ if seen.denied => (0, 0),
            4 => (0x0800, seen.protocol),
            6 => (0x86dd, seen.protocol),
            _ => (seen.ethertype, 0),
        }]
    });
    let mut expected: Vec<Row> = found
        .into_iter()
        .map(|((ethertype, protocol), sum)| {
            numbers(&[ethertype.into(), protocol.into(), sum.packets, sum.bytes])
        })
        .collect();
    expected.sort();
    let mut rows = rows.to_vec();
    rows.sort();
    assert_eq!(rows, expected, "{}", packets.name);
}

pub fn packet_sizes(packets: &Packets<'_>, rows: &[Row]) {
    let bin = packets.args[0];
    let found = sums(packets, |seen| {
        let len = u64::from(seen.wire_len);
        vec![if len >= 65_536 { 65_536 } else { len / bin * bin }]
    });
    let expected: Vec<Row> = found
        .into_iter()
        .map(|(from, sum)| numbers(&[from, sum.packets, sum.bytes]))
        .collect();
    assert_eq!(rows, expected, "{}", packets.name);
}

pub fn topports(packets: &Packets<'_>, rows: &[Row]) {
    let found = sums(packets, |seen| {
        let with_ports = seen.is_ip() && [TCP, UDP].contains(&seen.protocol) && !seen.later_fragment;
        let ports = with_ports.then(|| BTreeSet::from([seen.src_port, seen.dst_port]));
        let keys = ports.into_iter().flatten();
        keys.map(|port| (seen.protocol, port)).collect()
    });
    let mut best: Vec<_> = found.into_iter().collect();
    best.sort_by_key(|(key, sum)| (Reverse((sum.bytes, sum.packets)), *key));
    best.truncate(packets.args[0] as usize);
    let expected: Vec<Row> = best
        .into_iter()
        .map(|((protocol, port), sum)| numbers(&[protocol.into(), port.into(), sum.packets, sum.bytes]))
        .collect();
    assert_eq!(rows, expected, "{}", packets.name);
}

pub fn topas(packets: &Packets<'_>, rows: &[Row]) {
    let found = sums(packets, |seen| {
        seen.is_ip()
            .then_some((seen.src_as, seen.dst_as))
            .into_iter()
            .collect()
    });
    let expected: Vec<Row> = found
        .into_iter()
        .map(|((source, destination), sum)| {
            numbers(&[source.into(), destination.into(), sum.packets, sum.bytes])
        })
        .collect();
    assert_eq!(rows, expected, "{}", packets.name);
}

pub fn flowcount(packets: &Packets<'_>, rows: &[Row]) {
    let flows: BTreeSet<_> = packets
        .all
        .iter()
        .filter(|seen| seen.is_ip() && !seen.later_fragment)
        .map(|seen| (seen.src, seen.dst, seen.protocol, seen.src_port, seen.dst_port))
        .collect();
    // What follows the number is the sketch that a record keeps: no more rows than it has parts, or flows.
    let most_rows = 1 + flows.len().min(256);
    assert!((1..=most_rows).contains(&rows.len()), "{}", packets.name);
    let (found, exact) = (rows[0][0].number(), flows.len() as u64);
    let most = (exact as f64 * FLOWCOUNT_ERROR * STANDARD_ERRORS).ceil() as u64;
    assert!(
        found.abs_diff(exact) <= most,
        "{}: {found} flows of {exact}",
        packets.name
    );
}

pub fn flow(packets: &Packets<'_>, rows: &[Row]) {
    type Record = (Sum, u64, u64, u8);
    let mut flows: BTreeMap<_, Record> = BTreeMap::new();
    for seen in packets.all.iter().filter(|seen| seen.is_ip()) {
        let key = (seen.src, seen.dst, seen.protocol, seen.src_port, seen.dst_port);
        let record = flows.entry(key).or_insert((Sum::default(), u64::MAX, 0, 0));
        record.0 += *seen;
        record.1 = record.1.min(seen.ts_ns);
        record.2 = record.2.max(seen.ts_ns);
        record.3 |= seen.flags;
    }
    let mut expected: Vec<Row> = flows
        .into_iter()
        .map(|((src, dst, protocol, from, to), (sum, first, last, flags))| {
            let flag = |bit: u8| u64::from(flags >> bit & 1);
            let mut row = vec![Cell::Address(src), Cell::Address(dst)];
            row.extend(numbers(&[
                protocol.into(),
                from.into(),
                to.into(),
                sum.packets,
                sum.bytes,
                first,
                last,
            ]));
            row.extend(numbers(&[flag(1), flag(0), flag(2)]));
            row
        })
        .collect();
    expected.sort();
    let mut rows = rows.to_vec();
    rows.sort();
    assert_eq!(rows, expected, "{}", packets.name);
}

/// Exact where all addresses find a place; else within the guarantees of Space-Saving.
pub fn topaddr(packets: &Packets<'_>, rows: &[Row]) {
    let found = sums(packets, |seen| {
        let addresses = seen.is_ip().then(|| BTreeSet::from([seen.src, seen.dst]));
        addresses.into_iter().flatten().collect()
    });
    let total: u64 = found.values().map(|sum| sum.bytes).sum();
    let k = packets.args[0] as usize;
    if found.len() <= TOPADDR_EXACT {
        let mut best: Vec<_> = found.into_iter().collect();
        best.sort_by_key(|(address, sum)| (Reverse(sum.bytes), *address));
        let expected: Vec<Row> = best
            .iter()
            .take(k)
            .map(|(address, sum)| {
                [
                    &[Cell::Address(*address)][..],
                    &numbers(&[sum.bytes, 0, sum.packets]),
                ]
                .concat()
            })
            .collect();
        assert_eq!(rows, expected, "{}", packets.name);
        return;
    }
    assert_eq!(rows.len(), k, "{}", packets.name);
    assert!(rows.is_sorted_by(|a, b| a[1] >= b[1]), "{}", packets.name);
    for row in rows {
        let exact = found[&row[0].address()];
        let [bytes, error, seen] = [1, 2, 3].map(|i: usize| row[i].number());
        assert!(
            (bytes - error..=bytes).contains(&exact.bytes),
            "{}: {row:?}, {exact:?}",
            packets.name
        );
        assert!(
            error <= total / TOPADDR_TRACKED && seen <= exact.packets,
            "{}: {row:?}",
            packets.name
        );
        assert!(
            error > 0 || (bytes, seen) == (exact.bytes, exact.packets),
            "{}: {row:?}",
            packets.name
        );
    }
    let least = rows[k - 1][1].number().max(total / TOPADDR_TRACKED);
    let named: BTreeSet<_> = rows.iter().map(|row| row[0].address()).collect();
    for (address, sum) in found.iter().filter(|(_, sum)| sum.bytes > least) {
        assert!(
            named.contains(address),
            "{}: {address:?} with {sum:?} is missing",
            packets.name
        );
    }
}
