//! What a filter rules out before it sees packets: never one that passes, whoever's names the filter uses.

use std::net::{Ipv4Addr, Ipv6Addr};

use como_anonymize::filter::{Fact, Names};
use como_anonymize::{
    Anonymizer, Column, Columns, Filter, LinkType, PacketRow, RawPacket, View, build, rekey,
};
use como_keys::mapping::MappingKey;
use como_policies::AccessLevel;
use proptest::prelude::*;

/// Few of everything, so that random filters and packets meet; a multicast group, a EUI-64 interface id, a
/// solicited-node group among them.
const V4: [[u8; 4]; 4] = [[10, 1, 2, 3], [10, 1, 9, 9], [224, 0, 0, 251], [192, 0, 2, 1]];
const V6: [&str; 4] = [
    "2001:db8::1",
    "2001:db8::211:22ff:fe33:4455",
    "ff02::1:ff33:4455",
    "2001:db8:7::2",
];
const PORTS: [u16; 5] = [53, 443, 40_000, 40_001, 51_515];

#[derive(Clone, Debug)]
struct Packet {
    v6: bool,
    tcp: bool,
    ends: (usize, usize),
    ports: (usize, usize),
    later_fragment: bool,
    payload: usize,
}

impl Packet {
    fn frame(&self) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        let protocol = if self.tcp { 6 } else { 17 };
        let mut l4 = [
            PORTS[self.ports.0].to_be_bytes(),
            PORTS[self.ports.1].to_be_bytes(),
        ]
        .concat();
        if self.tcp {
            l4.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 1, 0, 0, 0, 0, 0]);
        } else {
            l4.extend_from_slice(&[0, 8 + self.payload as u8, 0, 0]);
        }
        l4.resize(l4.len() + self.payload, 7);
        if self.v6 {
            let address = |at: usize| V6[at].parse::<Ipv6Addr>().unwrap().octets();
            frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, l4.len() as u8, protocol, 64]);
            frame.extend_from_slice(&address(self.ends.0));
            frame.extend_from_slice(&address(self.ends.1));
        } else {
            let offset = if self.later_fragment { 9 } else { 0 };
            frame.extend_from_slice(&[
                8,
                0,
                0x45,
                0,
                0,
                20 + l4.len() as u8,
                0,
                1,
                0,
                offset,
                64,
                protocol,
                0,
                0,
            ]);
            frame.extend_from_slice(&V4[self.ends.0]);
            frame.extend_from_slice(&V4[self.ends.1]);
        }
        frame.extend_from_slice(&l4);
        frame
    }
}

prop_compose! {
    fn packet()(v6: bool, tcp: bool, ends in (0usize..4, 0usize..4), ports in (0usize..5, 0usize..5), later_fragment in prop::bool::weighted(0.1),
                payload in 0usize..4) -> Packet {
        Packet { v6, tcp, ends, ports, later_fragment, payload }
    }
}

/// A filter over the values that a view shows, which differ from level to level.
#[derive(Clone, Debug)]
enum Asked {
    Word(&'static str),
    Host {
        row: usize,
        side: &'static str,
    },
    Net {
        row: usize,
        bits: u8,
    },
    Port {
        row: usize,
        more: u16,
        side: &'static str,
    },
    Longer(u32),
    Not(Box<Asked>),
    Both(Box<Asked>, Box<Asked>),
    Some(Box<Asked>, Box<Asked>),
}

impl Asked {
    fn text(&self, rows: &[PacketRow]) -> String {
        let row = |at: &usize| &rows[at % rows.len()];
        let ip = |address: [u8; 16]| Ipv6Addr::from(address);
        match self {
            Asked::Word(word) => (*word).into(),
            Asked::Host { row: at, side } => match ip(row(at).src).to_ipv4_mapped() {
                Some(address) => format!("{side} host {address}"),
                None => format!("{side} host {}", ip(row(at).src)),
            },
            Asked::Net { row: at, bits } => match ip(row(at).dst).to_ipv4_mapped() {
                Some(address) => {
                    let bits = bits % 33;
                    let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                    format!("net {}/{bits}", Ipv4Addr::from(u32::from(address) & mask))
                }
                None => {
                    let bits = bits % 129;
                    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                    format!(
                        "net {}/{bits}",
                        Ipv6Addr::from(u128::from(ip(row(at).dst)) & mask)
                    )
                }
            },
            Asked::Port { row: at, more, side } => {
                let from = row(at).src_port;
                match more {
                    0 => format!("{side} port {from}"),
                    more => format!("{side} portrange {from}-{}", from.saturating_add(*more)),
                }
            }
            Asked::Longer(len) => format!("len > {len}"),
            Asked::Not(inner) => format!("not ({})", inner.text(rows)),
            Asked::Both(a, b) => format!("({}) and ({})", a.text(rows), b.text(rows)),
            Asked::Some(a, b) => format!("({}) or ({})", a.text(rows), b.text(rows)),
        }
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    let side = || prop::sample::select(vec!["", "src", "dst", "src and dst"]);
    let leaf = prop_oneof![
        1 => prop::sample::select(vec!["tcp", "udp", "ip6", "ip", "vlan", "arp", "tcp[tcpflags] & tcp-syn != 0"]).prop_map(Asked::Word),
        3 => (any::<usize>(), side()).prop_map(|(row, side)| Asked::Host { row, side }),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(row, bits)| Asked::Net { row, bits }),
        2 => (any::<usize>(), prop::sample::select(vec![0u16, 0, 1, 9, 3000]), side())
            .prop_map(|(row, more, side)| Asked::Port { row, more, side }),
        1 => (40u32..60).prop_map(Asked::Longer),
    ];
    leaf.prop_recursive(4, 12, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| Asked::Not(Box::new(a))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Asked::Both(Box::new(a), Box::new(b))),
            (inner.clone(), inner).prop_map(|(a, b)| Asked::Some(Box::new(a), Box::new(b))),
        ]
    })
}

fn are_ends(row: &PacketRow, a: [u8; 16], b: [u8; 16]) -> bool {
    (a, b) == (row.src, row.dst) || (b, a) == (row.src, row.dst)
}

/// Answers for a collection of the packets of one row.
fn may(row: &PacketRow, fact: Fact) -> bool {
    let under = |address: [u8; 16], prefix: u128, bits: u8| {
        u128::from_be_bytes(address) & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0) == prefix
    };
    match fact {
        Fact::IpVersion(version) => row.ip_version == version,
        Fact::Arp => row.ethertype == 0x0806,
        Fact::Protocol(protocol) => row.protocol == protocol,
        Fact::Address { prefix, bits } => under(row.src, prefix, bits) || under(row.dst, prefix, bits),
        Fact::Pair(a, b) => are_ends(row, a, b),
        Fact::PairPort(a, b, port) => are_ends(row, a, b) && [row.src_port, row.dst_port].contains(&port),
        Fact::Tunnel(kind) => row.tunnel == kind,
        Fact::Vlan => row.vlan != como_anonymize::NO_VLAN,
        Fact::Length(from, to) => (from..=to).contains(&row.wire_len),
    }
}

fn rows(view: &View) -> Vec<PacketRow> {
    (0..view.len()).map(|at| view.columns.row(at).unwrap()).collect()
}

/// What the index keeps of a row.
fn flow_columns(columns: &Columns) -> Columns {
    let mut flows = columns.clone();
    let kept = [
        Column::TsNs,
        Column::Ethertype,
        Column::IpVersion,
        Column::Protocol,
        Column::Fragment,
        Column::Src,
        Column::Dst,
        Column::SrcPort,
        Column::DstPort,
    ];
    for column in Column::ALL.iter().filter(|column| !kept.contains(column)) {
        assert!(flows.read_le(*column, &[]));
    }
    flows
}

/// No row that passes the filter is ruled out by the translated one; returns how many rows were ruled out.
fn rules_out(
    filter: &Filter,
    shown: &View,
    translated: &Filter,
    node: &View,
) -> Result<usize, TestCaseError> {
    let passes = filter.eval(&shown.columns);
    let flows = translated.flows_that_may_pass(&flow_columns(&node.columns));
    for (at, row) in rows(node).iter().enumerate().filter(|(at, _)| passes.get(*at)) {
        prop_assert!(
            flows.get(at),
            "{} ruled out row {at} of {}",
            translated.canonical(),
            filter.canonical()
        );
        prop_assert!(
            translated.may_pass(&|fact| may(row, fact)),
            "{}",
            translated.canonical()
        );
    }
    Ok(flows.len() - flows.count())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn nothing_that_passes_is_ruled_out(packets in prop::collection::vec(packet(), 1..12), asked in asked()) {
        let keys = [1u8, 2].map(|n| Anonymizer::new(&MappingKey::from_bytes(&[n; 32])));
        let [node, audience] = &keys;
        let frames: Vec<Vec<u8>> = packets.iter().map(Packet::frame).collect();
        let raw = || frames.iter().map(|data| RawPacket { ts_ns: 0, wire_len: data.len() as u32, link: LinkType(1), data });
        let stored = build(AccessLevel::Anonymized, LinkType(1), raw(), Some(node));
        let views = [
            (rekey(&stored, audience), Some(Names::Audience(audience))),
            (build(AccessLevel::Headers, LinkType(1), raw(), Some(audience)), Some(Names::Real(node))),
            (build(AccessLevel::Payload, LinkType(1), raw(), None), Some(Names::Real(node))),
            (stored.clone(), None),
        ];
        for (shown, names) in &views {
            let text = asked.text(&rows(shown));
            let filter = Filter::parse(&text).unwrap_or_else(|error| panic!("{}", error.with_caret(&text)));
            let translated = match names {
                Some(names) => filter.under_node(*names),
                None => Some(filter.clone()),
            };
            if let Some(translated) = translated {
                rules_out(&filter, shown, &translated, &stored)?;
            }
        }
    }
}

#[test]
fn a_host_and_a_port_rule_out_all_others_in_whoever_s_names() {
    let [node, audience] = [1u8, 2].map(|n| Anonymizer::new(&MappingKey::from_bytes(&[n; 32])));
    let packet = |end: usize, port: usize, v6: bool| Packet {
        v6,
        tcp: true,
        ends: (end, 3),
        ports: (port, 1),
        later_fragment: false,
        payload: 0,
    };
    let frames: Vec<Vec<u8>> = [
        packet(0, 2, false),
        packet(0, 3, false),
        packet(1, 2, false),
        packet(0, 2, true),
        packet(1, 2, true),
    ]
    .iter()
    .map(Packet::frame)
    .collect();
    let raw = || {
        frames.iter().map(|data| RawPacket {
            ts_ns: 0,
            wire_len: 60,
            link: LinkType(1),
            data,
        })
    };
    let stored = build(AccessLevel::Anonymized, LinkType(1), raw(), Some(&node));
    for (shown, names) in [
        (rekey(&stored, &audience), Names::Audience(&audience)),
        (
            build(AccessLevel::Payload, LinkType(1), raw(), None),
            Names::Real(&node),
        ),
    ] {
        for at in [0, 3] {
            let row = shown.columns.row(at).unwrap();
            let address = Ipv6Addr::from(row.src);
            let host = address
                .to_ipv4_mapped()
                .map_or(address.to_string(), |v4| v4.to_string());
            let filter = Filter::parse(&format!("tcp and host {host} and port {}", row.src_port)).unwrap();
            let translated = filter.under_node(names).unwrap();
            let kept: Vec<usize> = translated
                .flows_that_may_pass(&flow_columns(&stored.columns))
                .ones()
                .collect();
            assert_eq!(kept, [at], "{}", translated.canonical());
            // And what the collection as a whole does not have is seen without looking at flows.
            for other in 0..frames.len() {
                let row = stored.columns.row(other).unwrap();
                let same_host = row.src == stored.columns.src[at];
                assert_eq!(translated.may_pass(&|fact| may(&row, fact)), same_host, "{other}");
            }
        }
    }
}
