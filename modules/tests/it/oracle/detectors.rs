//! What the detectors must say: exact sets of peers and targets, and the criteria applied to them. Distinct numbers of the
//! modules are sketches: within four standard errors.

use std::collections::{BTreeMap, BTreeSet};

use super::run::{Packets, Row};
use super::seen::Seen;

type Address = [u8; 16];
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
/// Four standard errors of the bitmaps, with one and with two words a level.
const SMALL_ERROR: f64 = 4.0 * 0.12;
const LARGE_ERROR: f64 = 4.0 * 0.08;

fn is_near(estimate: u64, exact: usize, error: f64) -> bool {
    (estimate.abs_diff(exact as u64) as f64) <= (error * exact as f64).max(1.0)
}

fn is_syn(seen: &Seen) -> bool {
    seen.is_tcp() && seen.flags & (SYN | ACK | RST | FIN) == SYN
}

pub fn superaddr(packets: &Packets<'_>, rows: &[Row]) {
    let (k, fan_in) = (packets.args[0] as usize, packets.args[1] == 1);
    let mut found: BTreeMap<Address, (BTreeSet<Address>, u64)> = BTreeMap::new();
    for seen in packets.all.iter().filter(|seen| seen.is_ip()) {
        let (address, peer) = if fan_in {
            (seen.dst, seen.src)
        } else {
            (seen.src, seen.dst)
        };
        let entry = found.entry(address).or_default();
        entry.0.insert(peer);
        entry.1 += u64::from(seen.weight);
    }
    assert_eq!(rows.len(), k.min(found.len()), "{}", packets.name);
    assert!(rows.is_sorted_by(|a, b| a[1] >= b[1]), "{}", packets.name);
    for row in rows {
        let (peers, count) = &found[&row[0].address()];
        assert_eq!(row[2].number(), *count, "{}", packets.name);
        let estimate = row[1].number();
        assert!(
            is_near(estimate, peers.len(), LARGE_ERROR),
            "{}: {estimate} of {}",
            packets.name,
            peers.len()
        );
    }
    // Whoever has clearly more peers than the last row is named.
    let least = rows.last().map_or(0, |row| row[1].number()) as f64;
    let named: BTreeSet<_> = rows.iter().map(|row| row[0].address()).collect();
    for (address, (peers, _)) in &found {
        let clearly_more = peers.len() as f64 * (1.0 - LARGE_ERROR) > least + 1.0;
        assert!(
            !clearly_more || named.contains(address),
            "{}: {} peers",
            packets.name,
            peers.len()
        );
    }
}

#[derive(Default)]
struct Source {
    syns: u64,
    answers: u64,
    refusals: u64,
    addresses: BTreeSet<Address>,
    targets: BTreeSet<(Address, u16)>,
}

pub fn scanner_detector(packets: &Packets<'_>, rows: &[Row]) {
    let (least, percent) = (packets.args[0] as f64, packets.args[1]);
    let mut sources: BTreeMap<Address, Source> = BTreeMap::new();
    for seen in packets.all.iter().filter(|seen| seen.is_tcp()) {
        let weight = u64::from(seen.weight);
        if is_syn(seen) {
            let source = sources.entry(seen.src).or_default();
            source.syns += weight;
            source.addresses.insert(seen.dst);
            source.targets.insert((seen.dst, seen.dst_port));
        } else if let Some(asked) = sources.get_mut(&seen.dst) {
            if seen.flags & RST != 0 {
                asked.refusals += weight;
            } else if seen.flags & (SYN | ACK) == SYN | ACK {
                asked.answers += weight;
            }
        }
    }
    let mut named = BTreeSet::new();
    for row in rows {
        let source = &sources[&row[0].address()];
        let counts = [1, 2, 3].map(|i: usize| row[i].number());
        assert_eq!(
            counts,
            [source.syns, source.answers, source.refusals],
            "{}",
            packets.name
        );
        assert!(
            is_near(row[4].number(), source.addresses.len(), SMALL_ERROR),
            "{}: {row:?}",
            packets.name
        );
        assert!(
            is_near(row[5].number(), source.targets.len(), SMALL_ERROR),
            "{}: {row:?}",
            packets.name
        );
        assert!(
            row[5].number() as f64 >= least && source.answers * 100 <= source.syns * percent,
            "{}",
            packets.name
        );
        named.insert(row[0].address());
    }
    for (address, source) in &sources {
        let clearly = source.targets.len() as f64 * (1.0 - SMALL_ERROR) > least + 1.0;
        let scans = clearly && source.answers * 100 <= source.syns * percent;
        assert!(
            !scans || named.contains(address),
            "{}: {} targets",
            packets.name,
            source.targets.len()
        );
    }
}

pub fn syn_flood(packets: &Packets<'_>, rows: &[Row]) {
    let (least, percent) = (packets.args[0], packets.args[1]);
    let mut targets: BTreeMap<(Address, u16), (u64, u64, BTreeSet<Address>)> = BTreeMap::new();
    for seen in packets.all.iter().filter(|seen| seen.is_tcp()) {
        let weight = u64::from(seen.weight);
        if is_syn(seen) {
            let target = targets.entry((seen.dst, seen.dst_port)).or_default();
            target.0 += weight;
            target.2.insert(seen.src);
            continue;
        }
        if seen.flags & (FIN | RST) != 0
            && let Some(target) = targets.get_mut(&(seen.dst, seen.dst_port))
        {
            target.1 += weight;
        }
        if seen.flags & RST != 0
            && let Some(target) = targets.get_mut(&(seen.src, seen.src_port))
        {
            target.1 += weight;
        }
    }
    targets.retain(|_, (syns, ends, _)| *syns >= least && *ends * 100 <= *syns * percent);
    for row in rows {
        let (syns, ends, sources) = targets
            .remove(&(row[0].address(), row[1].number() as u16))
            .unwrap_or_else(|| panic!("{}: {row:?} is not flooded", packets.name));
        assert_eq!(
            (row[2].number(), row[3].number()),
            (syns, ends),
            "{}",
            packets.name
        );
        assert!(
            is_near(row[4].number(), sources.len(), SMALL_ERROR),
            "{}: {row:?}",
            packets.name
        );
    }
    assert!(
        targets.is_empty(),
        "{}: {} targets are missing",
        packets.name,
        targets.len()
    );
}
