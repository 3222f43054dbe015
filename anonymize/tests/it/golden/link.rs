//! Link layers: MACs, VLAN tags, ARP, what is no IP, what does not parse, and link types other than Ethernet.

use como_anonymize::{DenyReason, LinkType};

use super::{Golden, Secret, body, frame, header, header_at, mac};
use crate::frames::{
    BODY, DST, INNER_MAC, MAC_A, MAC_B, SRC, e4, ethernet, ipv4, ipv6, joined, link, tcp, udp,
};

pub fn frames() -> Vec<Golden> {
    [macs(), arp(), tags(), not_ip(), broken(), padding()]
        .into_iter()
        .flatten()
        .collect()
}

fn all(parts: Vec<Vec<Secret>>) -> Vec<Secret> {
    parts.into_iter().flatten().collect()
}

fn macs() -> Vec<Golden> {
    let cooked = joined(&[
        &[0, 0, 0, 1, 0, 6],
        &INNER_MAC,
        &[0, 0, 8, 0],
        &ipv4(6, &tcp(&[], BODY)),
    ]);
    let cooked2 = joined(&[
        &[8, 0, 0, 0, 0x7b, 0x6a, 0x5d, 0x4c, 0, 1, 0, 6],
        &INNER_MAC,
        &[0, 0],
        &ipv4(6, &tcp(&[], BODY)),
    ]);
    let of = |name, link, bytes, secrets| Golden {
        link,
        ..frame("MACs", name, bytes, secrets)
    };
    let ends = || vec![header(SRC), header(DST), body(BODY)];
    vec![
        frame(
            "MACs",
            "unicast",
            e4(ipv4(6, &tcp(&[], b""))),
            all(vec![mac(MAC_A), mac(MAC_B)]),
        ),
        frame(
            "MACs",
            "broadcast destination",
            link([0xff; 6], 0x0800, &ipv4(17, &udp(b""))),
            mac(MAC_A),
        ),
        frame(
            "MACs",
            "group of a protocol",
            link([0x01, 0x80, 0xc2, 0x9e, 0x8d, 0x7c], 0x0800, &ipv4(17, &udp(b""))),
            vec![header([0x01, 0x80, 0xc2, 0x9e, 0x8d, 0x7c])],
        ),
        of(
            "linux cooked capture",
            LinkType(113),
            cooked,
            all(vec![mac(INNER_MAC), ends()]),
        ),
        of(
            "linux cooked capture, version 2",
            LinkType(276),
            cooked2,
            all(vec![mac(INNER_MAC), ends()]),
        ),
        of("raw ip", LinkType::RAW, ipv4(6, &tcp(&[], BODY)), ends()),
        of(
            "bsd loopback",
            LinkType(0),
            joined(&[&[2, 0, 0, 0], &ipv4(6, &tcp(&[], BODY))]),
            ends(),
        ),
        of(
            "ppp",
            LinkType(9),
            joined(&[&[0xff, 3, 0, 0x21], &ipv4(6, &tcp(&[], BODY))]),
            ends(),
        ),
    ]
}

fn arp() -> Vec<Golden> {
    let body_of = |op: u8| joined(&[&[0, 1, 8, 0, 6, 4, 0, op], &INNER_MAC, &SRC, &MAC_B, &DST]);
    let secrets = || all(vec![vec![header(SRC), header(DST)], mac(INNER_MAC), mac(MAC_B)]);
    let odd = joined(&[&[0, 6, 8, 0, 6, 4, 0, 1], &INNER_MAC, &SRC, &MAC_B, &DST]);
    vec![
        frame("ARP", "arp request", ethernet(0x0806, &body_of(1)), secrets()),
        frame("ARP", "arp reply", ethernet(0x0806, &body_of(2)), secrets()),
        frame(
            "ARP",
            "arp behind 802.1q",
            ethernet(0x8100, &joined(&[&[0xa1, 0x23, 8, 6], &body_of(2)])),
            secrets(),
        ),
        frame(
            "ARP",
            "arp of another hardware",
            ethernet(0x0806, &odd),
            vec![body(SRC), body(INNER_MAC)],
        )
        .denied(DenyReason::UnsupportedArp),
    ]
}

fn tags() -> Vec<Golden> {
    const CLASS: &str = "VLAN and QinQ";
    let packet = ipv4(6, &tcp(&[], BODY));
    vec![
        frame(
            CLASS,
            "802.1q",
            ethernet(0x8100, &joined(&[&[0xa1, 0x23, 8, 0], &packet])),
            vec![header([0xa1, 0x23]), header(SRC), body(BODY)],
        ),
        frame(
            CLASS,
            "802.1ad over 802.1q",
            ethernet(
                0x88a8,
                &joined(&[&[0xa1, 0x23, 0x81, 0, 0xc4, 0x56, 8, 0], &packet]),
            ),
            vec![header([0xa1, 0x23]), header([0xc4, 0x56]), header(DST)],
        ),
        frame(
            CLASS,
            "802.1q over ipv6",
            ethernet(
                0x8100,
                &joined(&[&[0xa1, 0x23, 0x86, 0xdd], &ipv6(17, &udp(BODY))]),
            ),
            vec![header([0xa1, 0x23]), body(BODY)],
        ),
    ]
}

fn not_ip() -> Vec<Golden> {
    const LLDP: &str = "LLDP and its like";
    let known = |class, name, ethertype, payload: &[u8], secrets: Vec<Secret>| {
        let secrets = all(vec![secrets, mac(MAC_A)]);
        frame(class, name, ethernet(ethertype, payload), secrets).denied(DenyReason::UnknownEthertype)
    };
    let llc = |name, payload: &[u8], secret: &[u8]| {
        let secrets = all(vec![vec![body(secret)], mac(MAC_A)]);
        frame(
            "LLC and SNAP",
            name,
            ethernet(payload.len() as u16, payload),
            secrets,
        )
        .denied(DenyReason::Llc)
    };
    let lldp = joined(&[&[2, 7, 4], &INNER_MAC, &[10, 11], b"secret-host"]);
    vec![
        known(
            LLDP,
            "lldp",
            0x88cc,
            &lldp,
            vec![body(INNER_MAC), body(b"secret-host")],
        ),
        known(
            LLDP,
            "eapol",
            0x888e,
            b"\x01\0\0\x12\x02\x01\0\x12\x01secret-user",
            vec![body(b"secret-user")],
        ),
        known(
            LLDP,
            "lacp",
            0x8809,
            &joined(&[&[1, 1, 1, 20, 0, 1], &INNER_MAC]),
            vec![body(INNER_MAC)],
        ),
        known(
            "unknown ethertype",
            "experimental",
            0x88b5,
            BODY,
            vec![body(BODY)],
        ),
        known(
            "unknown ethertype",
            "profinet",
            0x8892,
            b"\x80\0SECRETBODY",
            vec![body(BODY)],
        ),
        frame(
            "unknown ethertype",
            "unknown behind 802.1q",
            ethernet(0x8100, &joined(&[&[0xa1, 0x23, 0x88, 0xb5], BODY])),
            vec![body(BODY), header([0xa1, 0x23])],
        )
        .denied(DenyReason::UnknownEthertype),
        llc(
            "spanning tree",
            &joined(&[&[0x42, 0x42, 3, 0, 0, 0, 0, 0, 0x80, 1], &INNER_MAC]),
            &INNER_MAC,
        ),
        llc(
            "cdp over snap",
            b"\xaa\xaa\x03\0\0\x0c\x20\0\x02\xb4\0\0\0\x01\0\x0fsecret-host",
            b"secret-host",
        ),
        llc(
            "ip over snap",
            &joined(&[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &ipv4(6, &tcp(&[], BODY))]),
            &SRC,
        ),
    ]
}

fn broken() -> Vec<Golden> {
    let whole = e4(ipv4(6, &tcp(&[], BODY)));
    let whole6 = ethernet(0x86dd, &ipv6(6, &tcp(&[], BODY)));
    let version = |version: u8| {
        let mut frame = whole.clone();
        frame[14] = version << 4 | 5;
        frame
    };
    let cut = |name, bytes: &[u8], secrets| {
        frame("truncated", name, bytes.to_vec(), secrets).denied(DenyReason::Truncated)
    };
    let odd =
        |name, bytes, secrets| frame("IP version", name, bytes, secrets).denied(DenyReason::BadIpVersion);
    vec![
        cut("inside the ipv4 header", &whole[..32], vec![body(SRC)]),
        // Headers up to the last valid one.
        cut(
            "inside the tcp header",
            &whole[..40],
            vec![header(SRC), header(DST), body([0xc7, 0x39])],
        ),
        cut(
            "inside the ipv6 header",
            &whole6[..40],
            vec![body([0x20, 1, 0xd, 0xb8, 0xaa])],
        ),
        cut("inside the link header", &MAC_B, vec![body(MAC_B)]),
        frame(
            "truncated",
            "tcp header beyond its packet",
            e4(ipv4(6, b"SECRETBODY")),
            vec![body(BODY), header(SRC)],
        )
        .denied(DenyReason::Malformed),
        odd("version 5", version(5), vec![body(SRC), body(DST), body(BODY)]),
        odd("version 0", version(0), vec![body(SRC), body(DST)]),
        odd(
            "ipv6 behind the ipv4 ethertype",
            e4(ipv6(6, &tcp(&[], BODY))),
            vec![body(BODY), body([0xaa, 0xbb, 0xcc, 0xdd])],
        ),
        odd(
            "ipv4 behind the ipv6 ethertype",
            ethernet(0x86dd, &joined(&[&ipv4(6, &tcp(&[], BODY)), &[0; 20]])),
            vec![body(SRC)],
        ),
    ]
}

fn padding() -> Vec<Golden> {
    let padded = |packet: Vec<u8>, padding: &[u8]| joined(&[&packet, padding]);
    let arp = joined(&[&[0, 1, 8, 0, 6, 4, 0, 1], &MAC_A, &SRC, &[0; 6], &DST]);
    vec![
        frame(
            "padding",
            "etherleak behind udp",
            padded(e4(ipv4(17, &udp(b""))), b"ETHERLEAK"),
            vec![body(b"ETHERLEAK")],
        ),
        frame(
            "padding",
            "etherleak behind arp",
            padded(ethernet(0x0806, &arp), b"ETHERLEAK"),
            vec![body(b"ETHERLEAK"), header_at(28, SRC)],
        ),
        frame(
            "padding",
            "trailer behind ipv6",
            padded(ethernet(0x86dd, &ipv6(6, &tcp(&[], b""))), b"TRAILER-FCS"),
            vec![body(b"TRAILER-FCS")],
        ),
    ]
}
