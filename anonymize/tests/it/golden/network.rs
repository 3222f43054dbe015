//! IPv4 and IPv6: addresses, identification, options, extension headers, fragments, checksums.

use super::{Golden, address6, body, eui64, frame, header, header_at};
use crate::frames::{
    BODY, DST, DST6, HOP, HOP6, INNER_SRC, MAC_A, SRC, SRC6, e4, e6, ipv4, ipv4_with, ipv6, ipv6_between,
    joined, link, tcp, udp,
};

pub fn frames() -> Vec<Golden> {
    [
        addresses(),
        interface_ids(),
        embedded(),
        identification(),
        options(),
        extension_headers(),
        fragments(),
        checksums(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn addresses() -> Vec<Golden> {
    let both = || vec![header(SRC), header(DST), body(BODY)];
    let both6 = || {
        [address6(DST6), address6(HOP6), vec![body(BODY)]]
            .into_iter()
            .flatten()
            .collect()
    };
    vec![
        frame(
            "IPv4 addresses",
            "tcp over ipv4",
            e4(ipv4(6, &tcp(&[], BODY))),
            both(),
        ),
        frame(
            "IPv4 addresses",
            "udp over ipv4",
            e4(ipv4(17, &udp(BODY))),
            both(),
        ),
        frame(
            "IPv4 addresses",
            "unknown protocol over ipv4",
            e4(ipv4(253, BODY)),
            both(),
        ),
        frame(
            "IPv6 addresses",
            "tcp over ipv6",
            e6(ipv6_between(HOP6, DST6, 6, &tcp(&[], BODY))),
            both6(),
        ),
        frame(
            "IPv6 addresses",
            "udp over ipv6",
            e6(ipv6_between(DST6, HOP6, 17, &udp(BODY))),
            both6(),
        ),
    ]
}

fn interface_ids() -> Vec<Golden> {
    const CLASS: &str = "EUI-64 interface ids";
    let mut link_local = SRC6;
    link_local[..8].copy_from_slice(&[0xfe, 0x80, 0, 0, 0, 0, 0, 0]);
    let mut group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0];
    group[13..].copy_from_slice(&SRC6[13..]);
    let mut other = DST6;
    other[0..2].copy_from_slice(&[0xff, 0x05]);
    let echo = [128, 0, 0xca, 0xfe, 0, 1, 0, 1];
    let solicited = [0x33, 0x33, 0xff, 0x33, 0x44, 0x55];
    vec![
        frame(CLASS, "eui-64 source", e6(ipv6(6, &tcp(&[], b""))), eui64(SRC6)),
        frame(
            CLASS,
            "eui-64 destination",
            e6(ipv6_between(DST6, SRC6, 17, &udp(b""))),
            eui64(SRC6),
        ),
        frame(
            CLASS,
            "eui-64 link-local",
            e6(ipv6_between(link_local, DST6, 58, &echo)),
            vec![body(&link_local[8..]), body(&link_local[13..])],
        ),
        frame(
            "solicited-node and group MACs",
            "solicited-node destination",
            link(solicited, 0x86dd, &ipv6_between(DST6, group, 58, &echo)),
            vec![body(solicited), body(&group[12..]), body(&group[13..])],
        ),
        frame(
            "solicited-node and group MACs",
            "group mac",
            link(
                [0x33, 0x33, 0xf1, 0x23, 0x45, 0x67],
                0x86dd,
                &ipv6_between(SRC6, other, 58, &echo),
            ),
            vec![header([0x33, 0x33, 0xf1, 0x23, 0x45, 0x67]), header(&other[8..])],
        ),
        frame(
            "solicited-node and group MACs",
            "ipv4 group mac",
            link(
                [1, 0, 0x5e, 0x43, 0x64, 0x17],
                0x0800,
                &crate::frames::ipv4_between(SRC, [239, 0xc3, 0x64, 0x17], 17, &[], &udp(b"")),
            ),
            vec![
                header([0x43, 0x64, 0x17]),
                header([239, 0xc3, 0x64, 0x17]),
                body(&MAC_A[3..]),
            ],
        ),
    ]
}

/// Addresses that hold an IPv4 address: the four bytes are searched for.
fn embedded() -> Vec<Golden> {
    let [a, b, c, d] = INNER_SRC;
    let to = |name, address: [u8; 16], mut secrets: Vec<_>| {
        secrets.push(header(&address[8..]));
        frame(
            "embedded IPv4",
            name,
            e6(ipv6_between(HOP6, address, 17, &udp(BODY))),
            secrets,
        )
    };
    let shown = || vec![header(INNER_SRC)];
    vec![
        to(
            "6to4",
            [0x20, 2, a, b, c, d, 0x5a, 0x5b, 1, 2, 3, 4, 5, 6, 7, 8],
            shown(),
        ),
        to(
            "nat64",
            [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d],
            shown(),
        ),
        to(
            "ipv4-mapped",
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d],
            shown(),
        ),
        to(
            "isatap",
            [0x20, 1, 0xd, 0xb8, 9, 8, 7, 6, 2, 0, 0x5e, 0xfe, a, b, c, d],
            shown(),
        ),
        // The client's address is inverted there.
        to(
            "teredo address",
            [
                0x20, 1, 0, 0, HOP[0], HOP[1], HOP[2], HOP[3], 0x80, 9, 0x63, 0xbf, !a, !b, !c, !d,
            ],
            vec![header(HOP), header([!a, !b, !c, !d])],
        ),
    ]
}

fn identification() -> Vec<Golden> {
    const CLASS: &str = "IP identification, TTL, flow label";
    let fragment = joined(&[&[17, 0, 0, 1, 0x9d, 0x8c, 0x7b, 0x6a], &udp(BODY)]);
    vec![
        frame(
            CLASS,
            "identification and ttl",
            e4(ipv4(6, &tcp(&[], b""))),
            vec![header_at(18, [0xbe, 0xef]), header_at(22, [61])],
        ),
        frame(
            CLASS,
            "flow label and hop limit",
            e6(ipv6(6, &tcp(&[], b""))),
            vec![header_at(15, [0x8a, 0xbc, 0xde]), header_at(21, [61])],
        ),
        frame(
            CLASS,
            "ipv6 fragment identification",
            e6(ipv6(44, &fragment)),
            vec![header([0x9d, 0x8c, 0x7b, 0x6a]), body(BODY)],
        ),
    ]
}

fn options() -> Vec<Golden> {
    let with = |name, options: &[u8], secrets| {
        frame(
            "IPv4 options",
            name,
            e4(ipv4_with(6, options, &tcp(&[], BODY))),
            secrets,
        )
    };
    let route = |kind: u8| joined(&[&[kind, 11, 8], &HOP, &[9, 8, 7, 6], &[0]]);
    let hops = || vec![header(HOP), header([9, 8, 7, 6]), body(BODY)];
    let stamp = joined(&[&[68, 12, 13, 1], &HOP, &[0x12, 0x34, 0x56, 0x78]]);
    vec![
        with("record route", &route(7), hops()),
        with("loose source route", &route(131), hops()),
        with("strict source route", &route(137), hops()),
        with(
            "timestamps with addresses",
            &stamp,
            vec![header(HOP), header([0x12, 0x34, 0x56, 0x78])],
        ),
        with(
            "timestamps alone",
            &[68, 12, 13, 0, 0x91, 0x82, 0x73, 0x64, 0x55, 0x46, 0x37, 0x28],
            vec![header([0x91, 0x82, 0x73, 0x64]), header([0x55, 0x46, 0x37, 0x28])],
        ),
        with(
            "security label",
            &[
                134, 12, 0x91, 0x82, 0x73, 0x64, 0x55, 0x46, 0x37, 0x28, 0x19, 0x1a,
            ],
            vec![header([0x91, 0x82, 0x73, 0x64, 0x55, 0x46])],
        ),
        with(
            "bytes after the end of options",
            &[0, 0x91, 0x82, 0x73, 0x64, 0x55, 0x46, 0x37],
            vec![body([0x91, 0x82, 0x73, 0x64])],
        ),
    ]
}

fn extension_headers() -> Vec<Golden> {
    const CLASS: &str = "IPv6 routing and destination options";
    let hop6 = || [address6(HOP6), vec![body(BODY)]].into_iter().flatten().collect();
    let routing = |kind: u8, left: u8, extra: [u8; 4], segment: [u8; 16]| {
        e6(ipv6(
            43,
            &joined(&[&[6, 2, kind, left], &extra, &segment, &tcp(&[], BODY)]),
        ))
    };
    let home = |address: [u8; 16]| {
        e6(ipv6(
            60,
            &joined(&[&[6, 2, 1, 2, 0, 0, 0xc9, 16], &address, &tcp(&[], BODY)]),
        ))
    };
    let hop_by_hop = joined(&[
        &[6, 1, 0x3e, 4],
        b"\x91\x82\x73\x64",
        &[1, 4],
        b"\x55\x46\x37\x28",
        &[0, 0],
    ]);
    vec![
        frame(
            CLASS,
            "routing header type 0",
            routing(0, 1, [0; 4], HOP6),
            hop6(),
        ),
        frame(
            CLASS,
            "routing header type 2",
            routing(2, 1, [0; 4], HOP6),
            hop6(),
        ),
        frame(
            CLASS,
            "segment routing",
            routing(4, 0, [0, 0, 0x7b, 0x6a], HOP6),
            hop6(),
        ),
        frame(
            CLASS,
            "segment of an eui-64 host",
            routing(4, 0, [0, 0, 0x7b, 0x6a], SRC6),
            eui64(SRC6),
        ),
        frame(
            CLASS,
            "compressed routing header",
            routing(3, 1, [0x88, 0, 0, 0], HOP6),
            vec![body(HOP6), body(&HOP6[8..])],
        ),
        frame(CLASS, "home address", home(HOP6), hop6()),
        frame(CLASS, "home address of an eui-64 host", home(SRC6), eui64(SRC6)),
        frame(
            CLASS,
            "unknown hop-by-hop option, padding that is not empty",
            e6(ipv6(0, &joined(&[&hop_by_hop, &tcp(&[], BODY)]))),
            vec![header([0x91, 0x82, 0x73, 0x64]), body([0x55, 0x46, 0x37, 0x28])],
        ),
    ]
}

fn fragments() -> Vec<Golden> {
    let later = |protocol: u8, payload: &[u8]| {
        let mut packet = ipv4(protocol, payload);
        packet[6..8].copy_from_slice(&[0x20, 9]);
        e4(packet)
    };
    let later6 = joined(&[&[17, 0, 0, 0x51, 1, 2, 3, 4], b"SECRETFRAGMENT!!"]);
    let mut first = ipv4(17, &udp(b"SECRETFRAGMENT!!"));
    first[6..8].copy_from_slice(&[0x20, 0]);
    vec![
        frame(
            "fragments",
            "later fragment",
            later(17, b"SECRETFRAGMENT!!"),
            vec![body(b"SECRET"), header(SRC)],
        ),
        frame(
            "fragments",
            "later fragment that looks like tcp",
            later(6, &tcp(&[], BODY)),
            vec![body(BODY), body([0xde, 0xad, 0x12, 0x34])],
        ),
        frame(
            "fragments",
            "first fragment",
            e4(first),
            vec![body(b"SECRET"), header(DST)],
        ),
        frame(
            "fragments",
            "later ipv6 fragment",
            e6(ipv6(44, &later6)),
            vec![body(b"SECRET")],
        ),
    ]
}

/// Stale values: with one, a network and a peer that are known, an address can be computed.
fn checksums() -> Vec<Golden> {
    const CLASS: &str = "stale IPv4, TCP, UDP checksums";
    let stale = |name, frame_bytes| frame(CLASS, name, frame_bytes, vec![body([0xca, 0xfe])]);
    vec![
        frame(
            CLASS,
            "ipv4 header checksum",
            e4(ipv4(253, BODY)),
            vec![body([0xab, 0xcd])],
        ),
        stale("tcp checksum", e4(ipv4(6, &tcp(&[], BODY)))),
        stale("udp checksum", e4(ipv4(17, &udp(BODY)))),
        stale("tcp checksum over ipv6", e6(ipv6(6, &tcp(&[], BODY)))),
        stale("udp checksum over ipv6", e6(ipv6(17, &udp(BODY)))),
        frame(
            "stale ICMPv6 checksum",
            "echo request over ipv6, checksum",
            e6(ipv6(
                58,
                &joined(&[&[128, 0, 0xca, 0xfe, 0x7b, 0x6a, 0, 1], BODY]),
            )),
            vec![body([0xca, 0xfe]), body(BODY)],
        ),
        frame(
            "stale ICMPv6 checksum",
            "unknown message over ipv6",
            e6(ipv6(58, &joined(&[&[200, 0, 0xca, 0xfe, 0, 0, 0, 0], BODY]))),
            vec![body([0xca, 0xfe]), body(BODY)],
        ),
    ]
}
