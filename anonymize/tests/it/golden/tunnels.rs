//! Tunnels: what they carry is a packet like any other, and their own numbers are pseudonyms. Each carries IPv4 and
//! IPv6; the last frames go deeper than anybody follows, or only look like a tunnel.

use super::{Golden, Secret, address6, body, frame, header, mac};
use crate::frames::{
    BODY, HOP, INNER_DST, INNER_MAC, INNER_SRC, INNER_SRC6, MAC_B, e4, e6, ethernet, inner4, inner6, ipv4,
    ipv6, joined, udp_to,
};

/// The numbers that tunnels bear in these frames: 24 and 32 bits.
const ID24: [u8; 3] = [0x9d, 0x8c, 0x7b];
const ID32: [u8; 4] = [0x9d, 0x8c, 0x7b, 0x6a];

/// What the carried packet must not show.
fn inner(six: bool) -> Vec<Secret> {
    let mut secrets = if six {
        address6(INNER_SRC6)
    } else {
        vec![header(INNER_SRC), header(INNER_DST)]
    };
    secrets.extend([header([0xde, 0xad, 0x12, 0x34]), body([0xca, 0xfe]), body(BODY)]);
    secrets
}

fn with(six: bool, more: Vec<Secret>) -> Vec<Secret> {
    inner(six).into_iter().chain(more).collect()
}

fn inner_frame(six: bool) -> Vec<u8> {
    let (ethertype, packet) = carried(six);
    joined(&[&MAC_B, &INNER_MAC, &ethertype, &packet])
}

fn carried(six: bool) -> ([u8; 2], Vec<u8>) {
    if six {
        ([0x86, 0xdd], inner6())
    } else {
        ([8, 0], inner4())
    }
}

pub fn frames() -> Vec<Golden> {
    [
        plain(),
        gre(),
        vxlan(),
        geneve(),
        gtp(),
        mpls(),
        pppoe(),
        l2tp(),
        teredo(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn plain() -> Vec<Golden> {
    vec![
        frame("IPIP", "ipip", e4(ipv4(4, &inner4())), inner(false)),
        frame(
            "IPIP",
            "ipip behind 802.1q",
            ethernet(0x8100, &joined(&[&[0, 7, 8, 0], &ipv4(4, &inner4())])),
            inner(false),
        ),
        frame(
            "IPIP",
            "five in one",
            e4(ipv4(4, &ipv4(4, &ipv4(4, &ipv4(4, &ipv4(4, &inner4())))))),
            vec![body(INNER_SRC), body(BODY)],
        ),
        frame(
            "IPIP",
            "a header alone in ipip",
            e4(ipv4(4, &joined(&[&inner4()[..12], &HOP, &HOP]))),
            vec![header(HOP)],
        ),
        frame("6in4", "6in4", e4(ipv4(41, &inner6())), inner(true)),
        frame("6in4", "6in6", e6(ipv6(41, &inner6())), inner(true)),
        frame("4in6", "4in6", e6(ipv6(4, &inner4())), inner(false)),
        frame(
            "4in6",
            "4in6 behind destination options",
            e6(ipv6(60, &joined(&[&[4, 0, 1, 4, 0, 0, 0, 0], &inner4()]))),
            inner(false),
        ),
    ]
}

fn gre() -> Vec<Golden> {
    let keyed = |ethertype: [u8; 2], payload: &[u8]| joined(&[&[0x20, 0], &ethertype, &ID32, payload]);
    let transparent = joined(&[&[0, 0, 0x65, 0x58], &inner_frame(false)]);
    vec![
        frame(
            "GRE",
            "gre with a key",
            e4(ipv4(47, &keyed([8, 0], &inner4()))),
            with(false, vec![header(ID32)]),
        ),
        frame(
            "GRE",
            "gre over ipv6",
            e6(ipv6(47, &keyed([0x86, 0xdd], &inner6()))),
            with(true, vec![header(ID32)]),
        ),
        frame(
            "GRE",
            "ethernet in gre",
            e4(ipv4(47, &transparent)),
            with(false, mac(INNER_MAC)),
        ),
    ]
}

fn vxlan() -> Vec<Golden> {
    let packet = |six| udp_to(4789, &joined(&[&[8, 0, 0, 0], &ID24, &[0], &inner_frame(six)]));
    let secrets = |six| {
        with(
            six,
            [vec![header(ID24)], mac(INNER_MAC)]
                .into_iter()
                .flatten()
                .collect(),
        )
    };
    vec![
        frame("VXLAN", "vxlan", e4(ipv4(17, &packet(false))), secrets(false)),
        frame(
            "VXLAN",
            "vxlan over ipv6",
            e6(ipv6(17, &packet(true))),
            secrets(true),
        ),
        frame(
            "VXLAN",
            "a frame that ends too early in vxlan",
            e4(ipv4(
                17,
                &udp_to(4789, &joined(&[&[8, 0, 0, 0, 0, 0, 7, 0], &INNER_MAC, &HOP])),
            )),
            vec![body(HOP), body(INNER_MAC)],
        ),
        frame(
            "VXLAN",
            "no vxlan behind its port",
            e4(ipv4(17, &udp_to(4789, &joined(&[b"GET ", BODY, &INNER_MAC])))),
            vec![body(BODY), body(INNER_MAC)],
        ),
    ]
}

fn geneve() -> Vec<Golden> {
    let packet = |six| {
        let (ethertype, packet) = carried(six);
        udp_to(6081, &joined(&[&[0, 0], &ethertype, &ID24, &[0], &packet]))
    };
    let bridged = udp_to(
        6081,
        &joined(&[
            &[2, 0, 0x65, 0x58],
            &ID24,
            &[0, 1, 2, 3, 1, 0x91, 0x82, 0x73, 0x64],
            &inner_frame(false),
        ]),
    );
    vec![
        frame(
            "GENEVE",
            "geneve",
            e4(ipv4(17, &packet(false))),
            with(false, vec![header(ID24)]),
        ),
        frame(
            "GENEVE",
            "geneve with ipv6",
            e4(ipv4(17, &packet(true))),
            with(true, vec![header(ID24)]),
        ),
        frame(
            "GENEVE",
            "ethernet in geneve",
            e6(ipv6(17, &bridged)),
            with(false, mac(INNER_MAC)),
        ),
    ]
}

fn gtp() -> Vec<Golden> {
    let packet = |flags: u8, optional: &[u8], six| {
        let payload = joined(&[optional, &carried(six).1]);
        let len = (payload.len() as u16).to_be_bytes();
        udp_to(2152, &joined(&[&[flags, 255], &len, &ID32, &payload]))
    };
    let session = [0, 0, 0, 0x85, 1, 0x10, 9, 0];
    vec![
        frame(
            "GTP-U",
            "gtp-u",
            e4(ipv4(17, &packet(0x30, &[], false))),
            with(false, vec![header(ID32)]),
        ),
        frame(
            "GTP-U",
            "gtp-u with ipv6",
            e4(ipv4(17, &packet(0x30, &[], true))),
            with(true, vec![header(ID32)]),
        ),
        frame(
            "GTP-U",
            "gtp-u with an extension header",
            e6(ipv6(17, &packet(0x34, &session, false))),
            with(false, vec![header(ID32)]),
        ),
    ]
}

fn mpls() -> Vec<Golden> {
    // Labels 0x9d8c7 and 0x5a4b3, the second at the bottom of the stack.
    let stack = [0x9d, 0x8c, 0x70, 64, 0x5a, 0x4b, 0x31, 64];
    let labels = || vec![header([0x9d, 0x8c, 0x70]), header([0x5a, 0x4b, 0x31])];
    vec![
        frame(
            "MPLS",
            "mpls",
            ethernet(0x8847, &joined(&[&stack, &inner4()])),
            with(false, labels()),
        ),
        frame(
            "MPLS",
            "mpls with ipv6",
            ethernet(0x8847, &joined(&[&stack[4..], &inner6()])),
            with(true, vec![header([0x5a, 0x4b, 0x31])]),
        ),
        frame(
            "MPLS",
            "ethernet over mpls",
            ethernet(0x8847, &joined(&[&stack, &[0; 4], &inner_frame(false)])),
            with(false, mac(INNER_MAC)),
        ),
    ]
}

fn pppoe() -> Vec<Golden> {
    let session = |protocol: u8, packet: &[u8]| {
        let len = (packet.len() as u16 + 2).to_be_bytes();
        ethernet(
            0x8864,
            &joined(&[&[0x11, 0, 0x9d, 0x8c], &len, &[0, protocol], packet]),
        )
    };
    let discovery = joined(&[&[0x11, 9, 0x9d, 0x8c, 0, 14, 1, 1, 0, 10], BODY]);
    vec![
        frame(
            "PPPoE",
            "pppoe",
            session(0x21, &inner4()),
            with(false, vec![header([0x9d, 0x8c])]),
        ),
        frame(
            "PPPoE",
            "pppoe with ipv6",
            session(0x57, &inner6()),
            with(true, vec![header([0x9d, 0x8c])]),
        ),
        frame(
            "PPPoE",
            "pppoe discovery",
            ethernet(0x8863, &discovery),
            vec![header([0x9d, 0x8c]), body(BODY)],
        ),
    ]
}

fn l2tp() -> Vec<Golden> {
    let packet = |protocol: u8, packet: &[u8]| {
        let payload = joined(&[&[0xff, 3, 0, protocol], packet]);
        let len = (8 + payload.len() as u16).to_be_bytes();
        udp_to(1701, &joined(&[&[0x40, 2], &len, &ID32, &payload]))
    };
    vec![
        frame(
            "L2TP",
            "l2tp",
            e4(ipv4(17, &packet(0x21, &inner4()))),
            with(false, vec![header(ID32)]),
        ),
        frame(
            "L2TP",
            "l2tp with ipv6",
            e4(ipv4(17, &packet(0x57, &inner6()))),
            with(true, vec![header(ID32)]),
        ),
    ]
}

fn teredo() -> Vec<Golden> {
    let origin = joined(&[&[0, 0, 0x9d, 0x8c], &[!198, !51, !100, !99]]);
    let authentication = joined(&[&[0, 1, 4, 4], b"USERAUTH", b"NONCEnon", &[0]]);
    vec![
        frame(
            "Teredo",
            "teredo",
            e4(ipv4(17, &udp_to(3544, &inner6()))),
            inner(true),
        ),
        frame(
            "Teredo",
            "teredo with an origin",
            e4(ipv4(17, &udp_to(3544, &joined(&[&origin, &inner6()])))),
            with(true, vec![header(&origin[2..])]),
        ),
        frame(
            "Teredo",
            "teredo with an authentication",
            e4(ipv4(17, &udp_to(3544, &joined(&[&authentication, &inner6()])))),
            with(true, vec![body(b"USERAUTH"), body(b"NONCEnon")]),
        ),
    ]
}
