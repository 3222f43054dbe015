//! Filters: what they mean, what they refuse, and that evaluating columns equals asking row by row.

use como_anonymize::{Bitmap, Columns, Filter, NO_VLAN, PacketRow};
use como_policies::AccessLevel;
use proptest::prelude::*;

fn v4(a: u8, b: u8, c: u8, d: u8) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// A TCP SYN from 10.1.2.3:40000 to 10.1.9.9:443, 60 bytes, untagged.
fn syn() -> PacketRow {
    PacketRow {
        wire_len: 60,
        ethertype: 0x0800,
        vlan: NO_VLAN,
        ip_version: 4,
        protocol: 6,
        src: v4(10, 1, 2, 3),
        dst: v4(10, 1, 9, 9),
        src_port: 40000,
        dst_port: 443,
        tcp_flags: 2,
        src_mac: [2, 0, 0, 0, 0, 1],
        dst_mac: [2, 0, 0, 0, 0, 2],
        ..PacketRow::default()
    }
}

fn passes(text: &str, row: &PacketRow) -> bool {
    let mut columns = Columns::default();
    columns.push(row);
    let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{}", error.with_caret(text)));
    filter.eval(&columns).get(0)
}

#[test]
fn what_each_word_means() {
    let yes = [
        "",
        "ip",
        "tcp",
        "host 10.1.2.3",
        "src host 10.1.2.3",
        "10.1.9.9",
        "dst 10.1.9.9",
        "net 10.1",
        "net 10.0.0.0/8",
        "net 10.1.0.0 mask 255.255.0.0",
        "src and dst net 10.1.0.0/16",
        "port 443",
        "tcp dst port 443",
        "port 80 or 443",
        "portrange 400-500",
        "len = 60",
        "less 60",
        "greater 60",
        "tcp[tcpflags] & tcp-syn != 0",
        "not udp",
        "! udp && tcp",
        "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
        "tcp[13] == 2",
        "ether host 02:00:00:00:00:01",
        "ip proto 6",
        "ether src host 2:0:0:0:0:1",
        "src 10.1.2.3 or dst 10.1.2.3",
        "src or dst host 10.1.9.9",
        "len < 0x100",
        "proto tcp",
        // Equal precedence, left to right, as in pcap-filter: (tcp or udp) and ip.
        "tcp or udp and ip",
        "not (udp or icmp)",
        "net ::/0 or net 0.0.0.0/0",
    ];
    for text in yes {
        assert!(passes(text, &syn()), "{text}");
    }
    let no = [
        "ip6",
        "arp",
        "udp",
        "icmp",
        "host 10.1.2.4",
        "dst host 10.1.2.3",
        "net 11",
        "port 444",
        "udp port 443",
        "vlan",
        "vlan 0",
        "greater 61",
        "less 59",
        "tcp[tcpflags] & tcp-ack != 0",
        "ether dst host 02:00:00:00:00:01",
        "host ::ffff:10.1.2.3",
        "ip6 proto 6",
        "tcp or udp and ip6",
        "arp host 10.1.2.3",
    ];
    for text in no {
        assert!(!passes(text, &syn()), "{text}");
    }
    let late = PacketRow {
        fragment: 3,
        src_port: 0,
        dst_port: 0,
        tcp_flags: 0,
        ..syn()
    };
    assert!(
        !passes("port 0", &late) && !passes("tcp[tcpflags] == 0", &late),
        "a later fragment has no ports"
    );
    assert!(passes("vlan 7", &PacketRow { vlan: 7, ..syn() }));
    let arp = PacketRow {
        ethertype: 0x0806,
        ip_version: 0,
        protocol: 0,
        ..syn()
    };
    assert!(
        passes("host 10.1.2.3", &arp) && passes("arp net 10.1", &arp) && !passes("ip host 10.1.2.3", &arp)
    );
}

#[test]
fn refusals_name_the_word_and_its_position() {
    for (text, position) in [
        ("host example.org", 5),
        ("tcp port http", 9),
        ("tcp and gateway foo", 8),
        ("net 10.0.0.1/8", 4),
        ("net 10.0.0.0/33", 13),
        ("ip host ::1", 8),
        ("host 1.2.3.4/24", 5),
        ("tcp[0] = 1", 4),
        ("(tcp", 4),
        ("tcp)", 3),
        ("tcp udp", 4),
        ("portrange 9-3", 10),
        ("port 70000", 5),
        ("vlan 4096", 5),
        ("ether tcp", 6),
        ("icmp port 7", 0),
        ("port", 4),
        ("ip \u{1F600}", 3),
        ("src", 3),
        ("net 1.2.3.4 mask 255.0.255.0", 17),
    ] {
        let error = Filter::parse(text).expect_err(text);
        assert_eq!(error.position, position, "{text}: {error}");
        assert_eq!(error.to_string().lines().count(), 2, "{error}");
        let caret = error.with_caret(text);
        assert_eq!(
            caret.lines().nth(1).unwrap().chars().count(),
            text[..position].chars().count() + 1,
            "{caret}"
        );
    }
    assert!(Filter::parse(&"(".repeat(4000)).is_err() && Filter::parse(&"!".repeat(4000)).is_err());
    assert!(Filter::parse(&"tcp or ".repeat(500)).is_err() && Filter::parse(&" ".repeat(5000)).is_err());
}

#[test]
fn pseudonyms_are_told() {
    for text in [
        "host 10.0.0.1",
        "net 10",
        "port 40000",
        "portrange 80-2000",
        "ether host 2:0:0:0:0:1",
        "vlan 3",
    ] {
        assert!(
            Filter::parse(text)
                .unwrap()
                .names_pseudonyms_at(AccessLevel::Anonymized),
            "{text}"
        );
    }
    for text in [
        "",
        "tcp",
        "port 443",
        "not port 8080",
        "len > 3",
        "vlan",
        "portrange 0-65535",
        "tcp[13] = 2",
    ] {
        assert!(
            !Filter::parse(text)
                .unwrap()
                .names_pseudonyms_at(AccessLevel::Anonymized),
            "{text}"
        );
    }
    // At `headers` NIC parts alone are pseudonyms, and what is made of them.
    for text in [
        "ether host 2:0:0:0:0:1",
        "ether host 33:33:ff:0:0:1",
        "host 2001:db8::211:22ff:fe33:4455",
        "host ff02::1:ff33:4455",
    ] {
        let filter = Filter::parse(text).unwrap();
        assert!(filter.names_pseudonyms_at(AccessLevel::Headers), "{text}");
        assert!(!filter.names_pseudonyms_at(AccessLevel::Payload), "{text}");
    }
    for text in [
        "host 10.0.0.1",
        "port 40000",
        "vlan 3",
        "ether host ff:ff:ff:ff:ff:ff",
        "host 2001:db8::1",
        "net 2001:db8::211:22ff:fe00:0/104",
    ] {
        let filter = Filter::parse(text).unwrap();
        assert!(!filter.names_pseudonyms_at(AccessLevel::Headers), "{text}");
    }
}

/// A test in two forms: its text, and the plain question about one row.
#[derive(Clone, Debug)]
enum Naive {
    Tcp,
    Ip6,
    Vlan,
    Host(u8),
    SrcNet(u8),
    Port(u16),
    Longer(u32),
    Syn,
    Not(Box<Naive>),
    And(Box<Naive>, Box<Naive>),
    Or(Box<Naive>, Box<Naive>),
}

impl Naive {
    fn text(&self) -> String {
        match self {
            Naive::Tcp => "tcp".into(),
            Naive::Ip6 => "ip6".into(),
            Naive::Vlan => "vlan".into(),
            Naive::Host(d) => format!("host 10.1.2.{d}"),
            Naive::SrcNet(c) => format!("src net 10.1.{c}"),
            Naive::Port(port) => format!("port {port}"),
            Naive::Longer(len) => format!("len > {len}"),
            Naive::Syn => "tcp[tcpflags] & tcp-syn != 0".into(),
            Naive::Not(inner) => format!("not ({})", inner.text()),
            Naive::And(a, b) => format!("({}) and ({})", a.text(), b.text()),
            Naive::Or(a, b) => format!("({}) || ({})", a.text(), b.text()),
        }
    }

    fn holds(&self, row: &PacketRow) -> bool {
        let whole = row.fragment & 2 == 0;
        match self {
            Naive::Tcp => row.ip_version > 0 && row.protocol == 6,
            Naive::Ip6 => row.ip_version == 6,
            Naive::Vlan => row.vlan != NO_VLAN,
            Naive::Host(d) => {
                let address = v4(10, 1, 2, *d);
                (row.ip_version == 4 || row.ethertype == 0x0806) && (row.src == address || row.dst == address)
            }
            Naive::SrcNet(c) => {
                (row.ip_version == 4 || row.ethertype == 0x0806) && row.src[..15] == v4(10, 1, *c, 0)[..15]
            }
            Naive::Port(port) => {
                whole && [6, 17].contains(&row.protocol) && [row.src_port, row.dst_port].contains(port)
            }
            Naive::Longer(len) => row.wire_len > *len,
            Naive::Syn => whole && row.protocol == 6 && row.tcp_flags & 2 != 0,
            Naive::Not(inner) => !inner.holds(row),
            Naive::And(a, b) => a.holds(row) && b.holds(row),
            Naive::Or(a, b) => a.holds(row) || b.holds(row),
        }
    }
}

fn naive() -> impl Strategy<Value = Naive> {
    let leaf = prop_oneof![
        Just(Naive::Tcp),
        Just(Naive::Ip6),
        Just(Naive::Vlan),
        Just(Naive::Syn),
        (0u8..4).prop_map(Naive::Host),
        (0u8..4).prop_map(Naive::SrcNet),
        (0u16..4).prop_map(Naive::Port),
        (0u32..4).prop_map(Naive::Longer),
    ];
    leaf.prop_recursive(5, 24, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| Naive::Not(Box::new(a))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Naive::And(Box::new(a), Box::new(b))),
            (inner.clone(), inner).prop_map(|(a, b)| Naive::Or(Box::new(a), Box::new(b))),
        ]
    })
}

prop_compose! {
    fn row()(version in prop::sample::select(vec![0u8, 4, 6]), protocol in prop::sample::select(vec![1u8, 6, 17]),
             ports in (0u16..4, 0u16..4), ends in (0u8..4, 0u8..4, 0u8..4), wire_len in 0u32..5, tcp_flags: u8,
             fragment in 0u8..4, tagged: bool) -> PacketRow {
        PacketRow {
            ip_version: version,
            ethertype: match version { 4 => 0x0800, 6 => 0x86dd, _ => 0x0806 },
            protocol: if version == 0 { 0 } else { protocol },
            src: v4(10, 1, ends.0, ends.1), dst: v4(10, 1, 2, ends.2),
            src_port: ports.0, dst_port: ports.1, wire_len, tcp_flags, fragment,
            vlan: if tagged { 1 } else { NO_VLAN },
            ..PacketRow::default()
        }
    }
}

proptest! {
    #[test]
    fn columns_and_rows_agree(naive in naive(), rows in prop::collection::vec(row(), 0..150)) {
        let filter = Filter::parse(&naive.text()).unwrap();
        let mut columns = Columns::default();
        rows.iter().for_each(|row| columns.push(row));
        let expected = Bitmap::of(&rows, |row| naive.holds(row));
        prop_assert_eq!(filter.eval(&columns), expected.clone());
        let again = Filter::parse(&filter.canonical()).unwrap();
        prop_assert_eq!(again.canonical(), filter.canonical());
        prop_assert_eq!(again.eval(&columns), expected);
    }

    #[test]
    fn the_parser_never_panics(text in "\\PC{0,60}") {
        let _ = Filter::parse(&text).map_err(|error| error.with_caret(&text));
    }

    #[test]
    fn nor_on_its_own_words(words in prop::collection::vec(prop::sample::select(vec![
        "src", "dst", "or", "and", "not", "(", ")", "host", "net", "port", "portrange", "tcp", "[", "tcpflags", "]",
        "&", "tcp-syn", "!=", "0", "10.1", "/", "8", "::", "1-2", "ether", "vlan", "len", "proto", "ip", "ip6", "mask",
    ]), 0..14)) {
        let text = words.join(" ");
        if let Ok(filter) = Filter::parse(&text) {
            let canonical = filter.canonical();
            prop_assert_eq!(Filter::parse(&canonical).unwrap().canonical(), canonical);
        }
    }
}
