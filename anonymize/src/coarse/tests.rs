//! What a coarse row shows, and what the threshold holds back.

use como_keys::mapping::MappingKey;
use proptest::prelude::*;

use super::*;
use crate::columns::{Columns, NO_VLAN, PacketRow};
use crate::deny::DenyReason;
use crate::{Anonymizer, Filter, View};

fn packet(src: u8, dst: u8, port: u16) -> PacketRow {
    let end = |host: u8| {
        let mut address = [0; 16];
        (address[10], address[11], address[12], address[15]) = (0xff, 0xff, 10, host);
        address
    };
    PacketRow {
        ts_ns: 5 * BIN_NS + 7,
        wire_len: 100,
        weight: 1,
        ethertype: 0x0800,
        ip_version: 4,
        protocol: 6,
        vlan: NO_VLAN,
        src: end(src),
        dst: end(dst),
        src_port: 50_000,
        dst_port: port,
        tcp_flags: 0x10,
        tcp_seq: 77,
        ttl: 250,
        ..PacketRow::default()
    }
}

fn columns(rows: &[PacketRow]) -> Columns {
    let mut columns = Columns::default();
    rows.iter().for_each(|row| columns.push(row));
    columns
}

fn bin(rows: &[PacketRow]) -> Bin {
    let mut bins = Bins::default();
    let last_ns = rows.iter().map(|row| row.ts_ns).max().unwrap_or(0);
    bins.add(gather(&columns(rows)), last_ns);
    bins.pop().unwrap()
}

fn rows(views: &[View]) -> Vec<PacketRow> {
    let row = |view: &View, at| view.columns.row(at).unwrap();
    views
        .iter()
        .flat_map(|view| (0..view.len()).map(|at| row(view, at)).collect::<Vec<_>>())
        .collect()
}

fn audience(seed: u8) -> Anonymizer {
    Anonymizer::new(&MappingKey::from_bytes(&[seed; 32]))
}

fn released(packets: &[PacketRow]) -> Vec<PacketRow> {
    rows(&bin(packets).release(Some(&audience(1))))
}

#[test]
fn a_row_shows_the_bin_classes_and_powers_of_two_and_nothing_else() {
    let packets: Vec<PacketRow> = (0..10).flat_map(|src| [packet(src, 200, 443); 5]).collect();
    let all = released(&packets);
    assert_eq!(all.len(), 10);
    for row in all {
        assert!(is_pseudonym(&row.src) && is_pseudonym(&row.dst));
        let shown = PacketRow {
            ts_ns: 5 * BIN_NS,
            wire_len: 64,
            weight: 4,
            src_port: HIGH_PORT,
            src: row.src,
            dst: row.dst,
            tcp_seq: 0,
            ttl: 0,
            ..packet(0, 0, 443)
        };
        assert_eq!(row, shown);
    }
}

#[test]
fn nine_sources_are_not_enough_and_are_one_row() {
    let packets: Vec<PacketRow> = (0..9).map(|src| packet(src, 200, 443)).collect();
    let all = released(&packets);
    assert_eq!(all.len(), 1);
    assert_eq!(
        (all[0].deny, all[0].weight),
        (DenyReason::Suppressed.as_u8(), 8),
        "nine packets, floored"
    );
    assert_eq!((all[0].src, all[0].dst), ([0; 16], [0; 16]));
}

#[test]
fn one_source_that_asks_many_is_one_source() {
    let packets: Vec<PacketRow> = (0..50).map(|dst| packet(1, dst, 443)).collect();
    assert_eq!(released(&packets)[0].deny, DenyReason::Suppressed.as_u8());
}

#[test]
fn what_differs_in_anything_shown_is_counted_apart() {
    let mut packets: Vec<PacketRow> = (0..10).map(|src| packet(src, 200, 443)).collect();
    packets[3].tcp_flags = 0x12;
    assert_eq!(released(&packets).len(), 1, "nine and one, both below k");
}

#[test]
fn pseudonyms_differ_by_audience_and_keep_no_prefix() {
    let packets: Vec<PacketRow> = (0..16).map(|src| packet(src, 200, 443)).collect();
    let bin = bin(&packets);
    let [one, other] = [1, 2].map(|seed| rows(&bin.release(Some(&audience(seed)))));
    assert!(one.iter().all(|a| other.iter().all(|b| a.src != b.src)));
    let first_bits: std::collections::BTreeSet<u8> = one.iter().map(|row| row.src[8]).collect();
    assert!(first_bits.len() > 8, "hosts of one network are scattered");
    assert!(rows(&bin.release(None)).iter().all(|row| row.src == [0; 16]));
}

#[test]
fn a_filter_can_name_a_pseudonym_and_no_address() {
    let packets: Vec<PacketRow> = (0..10).map(|src| packet(src, 200, 443)).collect();
    let view = bin(&packets).release(Some(&audience(1))).remove(0);
    let count = |text: &str| Filter::parse(text).unwrap().eval(&view.columns).count();
    let named = std::net::Ipv6Addr::from(view.columns.src[4]);
    assert_eq!(count(&format!("host {named}")), 1);
    assert_eq!(
        count(&format!(
            "dst host {}",
            std::net::Ipv6Addr::from(view.columns.dst[0])
        )),
        10
    );
    for text in ["host 10.0.0.4", "net 10.0.0.0/8", "net 0.0.0.0/0"] {
        assert_eq!(count(text), 0, "{text}");
    }
    assert_eq!(count("tcp and port 443"), 10);
}

#[test]
fn a_bin_is_released_once_when_late_packets_had_their_time() {
    let mut bins = Bins::default();
    let add = |bins: &mut Bins, ts_ns: u64| {
        let row = PacketRow {
            ts_ns,
            ..packet(1, 2, 80)
        };
        bins.add(gather(&columns(&[row])), ts_ns);
    };
    add(&mut bins, BIN_NS - 1);
    add(&mut bins, BIN_NS + LATE_NS - 1);
    assert!(bins.pop_over().is_none());
    add(&mut bins, BIN_NS - 2);
    add(&mut bins, BIN_NS + LATE_NS);
    let first = bins.pop_over().unwrap();
    assert_eq!(
        (first.start_ns, first.flows().0.next().unwrap().1.packets),
        (0, 2)
    );
    assert!(bins.pop_over().is_none());
    add(&mut bins, 5);
    assert_eq!(bins.late_packets(), 1);
    assert_eq!(bins.pop().unwrap().start_ns, BIN_NS);
    assert!(bins.pop().is_none());
}

#[test]
fn a_flood_of_flows_is_bounded_and_counted() {
    let mut flood = Bins::default();
    let flows = (0..MAX_FLOWS_PER_BIN as u128 + 500).map(|n| {
        let key = FlowKey {
            src: n.to_be_bytes(),
            ..FlowKey::default()
        };
        let sums = FlowSums {
            packets: 1,
            bytes: 64,
            ..FlowSums::default()
        };
        ((0, key), sums)
    });
    flood.add(flows.collect(), 1);
    let bin = flood.pop().unwrap();
    let (flows, overflow) = bin.flows();
    assert_eq!((flows.count(), overflow.packets), (MAX_FLOWS_PER_BIN, 500));
}

proptest! {
    /// The order of packets, and how they were cut into batches, is gone.
    #[test]
    fn rows_do_not_depend_on_order_or_batches(
        hosts in proptest::collection::vec((0u8..30, 0u8..4, 0usize..3), 1..120),
        cut in 0usize..120,
    ) {
        let packets: Vec<PacketRow> = hosts.iter().map(|(s, d, p)| packet(*s, *d, [80, 443, 9999][*p])).collect();
        let mut reversed = packets.clone();
        reversed.reverse();
        let mut bins = Bins::default();
        let (first, second) = reversed.split_at(cut.min(reversed.len()));
        for part in [first, second] {
            bins.add(gather(&columns(part)), 0);
        }
        prop_assert_eq!(released(&packets), rows(&bins.pop().unwrap().release(Some(&audience(1)))));
    }

    /// Every released row is shared by k sources; denied rows have no end.
    #[test]
    fn no_tuple_of_fewer_than_k_sources_is_released(
        hosts in proptest::collection::vec((0u8..40, 0u8..4, 0usize..3), 1..200),
    ) {
        let packets: Vec<PacketRow> = hosts.iter().map(|(s, d, p)| packet(*s, *d, [80, 443, 9999][*p])).collect();
        let all = released(&packets);
        for row in &all {
            if row.deny != 0 {
                prop_assert_eq!((row.src, row.dst), ([0; 16], [0; 16]));
                continue;
            }
            let tuple = |other: &PacketRow| PacketRow { src: [0; 16], dst: [0; 16], ..*other };
            let sources: std::collections::BTreeSet<_> =
                all.iter().filter(|other| tuple(other) == tuple(row)).map(|other| other.src).collect();
            prop_assert!(sources.len() >= K);
        }
    }
}
