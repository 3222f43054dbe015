//! Neighbour discovery (RFC 4861): targets, link-layer addresses, prefixes, DNS servers, what a redirect quotes.

use super::{Golden, Secret, address6, body, eui64, frame, header, mac};
use crate::frames::{BODY, DST6, HOP6, INNER_DST6, INNER_SRC6, MAC_A, SRC6, e6, ipv6_between, joined, tcp};

/// From one host without a MAC in its address to another.
fn message(kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    e6(ipv6_between(
        DST6,
        INNER_DST6,
        58,
        &joined(&[&[kind, 0, 0xca, 0xfe, flags, 0, 0, 0], body]),
    ))
}

const OTHER_MAC: [u8; 6] = [0x00, 0x26, 0xb9, 0x9e, 0x8d, 0x7c];

fn link_option(kind: u8) -> Vec<u8> {
    joined(&[&[kind, 1], &OTHER_MAC])
}

fn all(parts: Vec<Vec<Secret>>) -> Vec<Secret> {
    parts.into_iter().flatten().collect()
}

pub fn frames() -> Vec<Golden> {
    [hosts(), routers(), redirects()].into_iter().flatten().collect()
}

fn hosts() -> Vec<Golden> {
    const CLASS: &str = "ND solicitation and advertisement";
    let nonce = [14, 1, 0x91, 0x82, 0x73, 0x64, 0x55, 0x46];
    let found = || all(vec![address6(HOP6), mac(OTHER_MAC)]);
    vec![
        frame(
            CLASS,
            "neighbour solicitation",
            message(135, 0, &joined(&[&HOP6, &link_option(1)])),
            found(),
        ),
        frame(
            CLASS,
            "neighbour advertisement",
            message(136, 0x60, &joined(&[&HOP6, &link_option(2)])),
            found(),
        ),
        frame(
            CLASS,
            "solicitation of an eui-64 host",
            message(135, 0, &joined(&[&SRC6, &link_option(1)])),
            eui64(SRC6),
        ),
        frame(
            CLASS,
            "router solicitation",
            message(133, 0, &link_option(1)),
            mac(OTHER_MAC),
        ),
        frame(
            CLASS,
            "solicitation with a nonce",
            message(135, 0, &joined(&[&HOP6, &nonce])),
            vec![body([0x91, 0x82, 0x73, 0x64])],
        ),
        // The device numbers of the link header, the option and the address are one, and stay one.
        frame(
            CLASS,
            "advertisement of the sender",
            message(136, 0x60, &joined(&[&HOP6, &[2, 1], &MAC_A])),
            all(vec![mac(MAC_A), address6(HOP6)]),
        ),
    ]
}

fn routers() -> Vec<Golden> {
    const CLASS: &str = "ND router advertisement";
    let times = [0x31, 0x32, 0x33, 0x34, 0x41, 0x42, 0x43, 0x44];
    let advertise = |options: &[&[u8]]| {
        let fixed = joined(&[&[134, 0, 0xca, 0xfe, 64, 0, 7, 8], &times, &options.concat()]);
        e6(ipv6_between(DST6, INNER_DST6, 58, &fixed))
    };
    let prefix = |len: u8, address: &[u8; 16]| {
        joined(&[
            &[
                3, 4, len, 0xc0, 0x61, 0x62, 0x63, 0x64, 0x71, 0x72, 0x73, 0x74, 0, 0, 0, 0,
            ],
            address,
        ])
    };
    let mut network = [0; 16];
    network[..8].copy_from_slice(&HOP6[..8]);
    let servers = joined(&[&[25, 5, 0, 0, 0x11, 0x12, 0x13, 0x14], &HOP6, &INNER_SRC6]);
    let names = joined(&[&[31, 3, 0, 0, 0x11, 0x12, 0x13, 0x14], b"\x06secret\x07example\0"]);
    vec![
        frame(
            CLASS,
            "prefix",
            advertise(&[&prefix(64, &network), &link_option(1)]),
            all(vec![
                vec![
                    header(&HOP6[..8]),
                    header(times),
                    header([0x61, 0x62, 0x63, 0x64]),
                    header([0x71, 0x72, 0x73, 0x74]),
                ],
                mac(OTHER_MAC),
            ]),
        ),
        frame(
            CLASS,
            "prefix that is an eui-64 address",
            advertise(&[&prefix(128, &SRC6)]),
            eui64(SRC6),
        ),
        frame(
            CLASS,
            "dns servers",
            advertise(&[&servers]),
            all(vec![address6(HOP6), address6(INNER_SRC6)]),
        ),
        frame(
            CLASS,
            "dns search list",
            advertise(&[&names]),
            vec![header(b"secret\x07example")],
        ),
        frame(
            CLASS,
            "unknown option",
            advertise(&[&[200, 2], b"SECRETBODY....", &link_option(1)]),
            all(vec![vec![body(BODY)], mac(OTHER_MAC)]),
        ),
    ]
}

fn redirects() -> Vec<Golden> {
    const CLASS: &str = "ND redirect";
    let quoted = {
        let mut quoted = ipv6_between(INNER_SRC6, INNER_DST6, 6, &tcp(&[], BODY));
        quoted.resize(quoted.len().next_multiple_of(8), 0);
        quoted
    };
    let units = 1 + quoted.len() as u8 / 8;
    let redirected = joined(&[&[4, units, 0, 0, 0, 0, 0, 0], &quoted]);
    vec![
        frame(
            CLASS,
            "redirect over ipv6",
            message(137, 0, &joined(&[&HOP6, &INNER_SRC6, &link_option(2)])),
            all(vec![address6(HOP6), address6(INNER_SRC6), mac(OTHER_MAC)]),
        ),
        frame(
            CLASS,
            "redirect with the packet",
            message(137, 0, &joined(&[&HOP6, &HOP6, &link_option(2), &redirected])),
            all(vec![
                address6(HOP6),
                mac(OTHER_MAC),
                vec![body(BODY), body(INNER_SRC6)],
            ]),
        ),
    ]
}
