//! The level `aggregate`: counters of an hour that the host computes itself, over all traffic, each released only
//! where at least k sources and k destinations are in it. There is no packet view at this level and no filter:
//! everybody who may ask gets the same table, so that two answers cannot be subtracted. Must never show an address.

use std::collections::{BTreeMap, HashSet};

use crate::coarse::{Bin, FlowKey, FlowSums, HIGH_PORT, K};
use crate::deny::DenyReason;

/// One counter of one bin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// What is grouped by.
    pub dimension: Dimension,
    /// The group: a number of its dimension.
    pub value: u16,
    /// Packets, sampling weights included.
    pub packets: u64,
    /// Bytes on the wire.
    pub bytes: u64,
    /// Distinct sources, counted by the host; 0 where packets have no address.
    pub sources: u64,
    /// Distinct destinations.
    pub destinations: u64,
}

/// What counters are grouped by. The names are those of the released table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// All packets that have addresses.
    All,
    /// Ethertype.
    Ethertype,
    /// IP protocol.
    Protocol,
    /// Service: the lower exact port of the two; 65535 where neither is exact.
    Service,
    /// Class of the source address.
    SourceClass,
    /// Class of the destination address.
    DestinationClass,
    /// Reason for which packets are not looked into.
    Denied,
}

impl Dimension {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Dimension::All => "all",
            Dimension::Ethertype => "ethertype",
            Dimension::Protocol => "protocol",
            Dimension::Service => "service",
            Dimension::SourceClass => "source-class",
            Dimension::DestinationClass => "destination-class",
            Dimension::Denied => "denied",
        }
    }
}

#[derive(Default)]
struct Group {
    sums: FlowSums,
    sources: HashSet<[u8; 16]>,
    destinations: HashSet<[u8; 16]>,
}

/// The counters of a bin, by dimension and value. A group below the threshold is left out, and is not part of
/// another group of its dimension.
pub fn count(bin: &Bin) -> Vec<Counter> {
    let mut groups: BTreeMap<(Dimension, u16), Group> = BTreeMap::new();
    let (flows, overflow) = bin.flows();
    for (key, sums) in flows {
        for group in groups_of(&key).into_iter().flatten() {
            let group = groups.entry(group).or_default();
            group.sums.add(&sums);
            if key.kind.deny == 0 {
                group.sources.insert(key.src);
                group.destinations.insert(key.dst);
            }
        }
    }
    let beyond = (Dimension::Denied, DenyReason::TooManyFlows.as_u8().into());
    groups.entry(beyond).or_default().sums.add(&overflow);
    groups.into_iter().filter_map(released).collect()
}

/// The groups that a flow is in, one a dimension.
fn groups_of(key: &FlowKey) -> [Option<(Dimension, u16)>; 6] {
    let kind = &key.kind;
    if kind.deny != 0 {
        return [
            Some((Dimension::Denied, kind.deny.into())),
            None,
            None,
            None,
            None,
            None,
        ];
    }
    let has_ip = kind.ip_version != 0;
    let has_ports = kind.src_port != 0 || kind.dst_port != 0;
    [
        Some((Dimension::All, 0)),
        Some((Dimension::Ethertype, kind.ethertype)),
        has_ip.then_some((Dimension::Protocol, kind.protocol.into())),
        has_ports.then(|| (Dimension::Service, service(kind.src_port, kind.dst_port))),
        has_ip.then_some((Dimension::SourceClass, kind.src_class.into())),
        has_ip.then_some((Dimension::DestinationClass, kind.dst_class.into())),
    ]
}

/// The well-known end names the service; of two, the lower.
fn service(src: u16, dst: u16) -> u16 {
    let exact = |port: u16| (port != 0 && port != HIGH_PORT).then_some(port);
    exact(src)
        .into_iter()
        .chain(exact(dst))
        .min()
        .unwrap_or(HIGH_PORT)
}

fn released(((dimension, value), group): ((Dimension, u16), Group)) -> Option<Counter> {
    let is_large = match dimension {
        // These packets have no address to count by; the count itself is large enough, or stays here.
        Dimension::Denied => group.sums.packets >= K as u64,
        _ => group.sources.len() >= K && group.destinations.len() >= K,
    };
    is_large.then_some(Counter {
        dimension,
        value,
        packets: group.sums.packets,
        bytes: group.sums.bytes,
        sources: group.sources.len() as u64,
        destinations: group.destinations.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coarse::{Bins, gather};
    use crate::columns::{Columns, NO_VLAN, PacketRow};

    /// `sources` hosts that each ask `destinations` servers once, at a port.
    fn traffic(sources: u8, destinations: u8, port: u16) -> Vec<PacketRow> {
        let pairs = (0..sources).flat_map(|s| (0..destinations).map(move |d| (s, d)));
        pairs
            .map(|(s, d)| PacketRow {
                ts_ns: 1,
                wire_len: 100,
                weight: 1,
                ethertype: 0x0800,
                ip_version: 4,
                protocol: 17,
                vlan: NO_VLAN,
                src: [s + 1; 16],
                dst: [d + 100; 16],
                src_port: 40_000,
                dst_port: port,
                ..PacketRow::default()
            })
            .collect()
    }

    fn counted(rows: &[PacketRow]) -> Vec<Counter> {
        let mut columns = Columns::default();
        rows.iter().for_each(|row| columns.push(row));
        let mut bins = Bins::default();
        bins.add(gather(&columns), 1);
        count(&bins.pop().unwrap())
    }

    fn find(counters: &[Counter], dimension: Dimension, value: u16) -> Option<&Counter> {
        counters
            .iter()
            .find(|c| c.dimension == dimension && c.value == value)
    }

    #[test]
    fn a_group_of_k_sources_and_destinations_is_counted_exactly() {
        let counters = counted(&traffic(10, 10, 53));
        let dns = find(&counters, Dimension::Service, 53).unwrap();
        assert_eq!((dns.packets, dns.bytes), (100, 10_000));
        assert_eq!((dns.sources, dns.destinations), (10, 10));
        assert_eq!(find(&counters, Dimension::All, 0).unwrap().packets, 100);
    }

    #[test]
    fn one_host_fewer_on_either_side_is_not_told() {
        for (sources, destinations) in [(9, 20), (20, 9)] {
            let mut rows = traffic(10, 10, 53);
            rows.extend(traffic(sources, destinations, 123));
            let counters = counted(&rows);
            assert!(find(&counters, Dimension::Service, 53).is_some());
            assert!(
                find(&counters, Dimension::Service, 123).is_none(),
                "{sources} {destinations}"
            );
        }
    }

    #[test]
    fn one_host_with_many_packets_is_one_host() {
        let rows: Vec<PacketRow> = std::iter::repeat_n(traffic(1, 20, 443), 100).flatten().collect();
        assert!(counted(&rows).is_empty());
    }

    #[test]
    fn denied_packets_are_counted_by_reason() {
        let denied = PacketRow {
            deny: DenyReason::Llc.as_u8(),
            weight: 1,
            wire_len: 60,
            ..PacketRow::default()
        };
        let counters = counted(&[denied; 10]);
        assert_eq!(counters.len(), 1);
        assert_eq!(
            (counters[0].dimension, counters[0].packets),
            (Dimension::Denied, 10)
        );
        assert!(counted(&[denied; 9]).is_empty());
    }
}
