//! What applications and routing protocols say about hosts and people: payload, whatever it looks like.

use super::{Golden, Secret, body, frame, header};
use crate::frames::{
    HOP, INNER_MAC, INNER_SRC, INNER_SRC6, SRC, e4, e6, ipv4, ipv6, joined, tcp, udp, udp_to,
};

pub fn frames() -> Vec<Golden> {
    [names(), routing()].into_iter().flatten().collect()
}

fn names() -> Vec<Golden> {
    const CLASS: &str = "names and addresses in applications";
    let over_udp = |name, port, payload: &[u8], secrets| {
        frame(CLASS, name, e4(ipv4(17, &udp_to(port, payload))), secrets)
    };
    let over_tcp =
        |name, payload: &[u8], secrets| frame(CLASS, name, e4(ipv4(6, &tcp(&[], payload))), secrets);
    let question = b"\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0\x06secret\x07example\0\0\x01\0\x01";
    let answer = joined(&[question, b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04", &HOP]);
    let subnet = joined(&[
        question,
        b"\0\0\x29\x10\0\0\0\0\0\0\x0c\0\x08\0\x08\0\x01\x20\0",
        &HOP,
    ]);
    let dhcp = joined(&[
        &[2, 1, 6, 0, 0x9d, 0x8c, 0x7b, 0x6a, 0, 0, 0, 0],
        &HOP,
        &INNER_SRC,
        &[0; 8],
        &INNER_MAC,
    ]);
    let ntp = joined(&[&[0x24, 2, 6, 0xe9, 0, 0, 0, 1, 0, 0, 0, 1], &HOP]);
    let hello = b"\x16\x03\x01\0\x40\x01\0\0\x3c\x03\x03\0\0\0\x13\0\x11\0\0\x0esecret.example";
    vec![
        over_udp(
            "dns question",
            53,
            question,
            vec![body(b"secret"), body(b"\x12\x34\x81\x80")],
        ),
        over_udp("dns answer", 53, &answer, vec![body(HOP), body(b"example")]),
        over_udp("dns client subnet", 53, &subnet, vec![body(HOP)]),
        over_udp(
            "dns reverse name",
            53,
            b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x0277\x03113\x010\x03203\x07in-addr",
            vec![body(b"77\x03113\x010\x03203")],
        ),
        over_udp(
            "dhcp",
            68,
            &dhcp,
            vec![body(HOP), body(INNER_SRC), body(INNER_MAC)],
        ),
        over_udp("ntp reference", 123, &ntp, vec![body(HOP)]),
        over_udp(
            "syslog",
            514,
            b"<34>sshd: login of secret-user from 203.0.113.77",
            vec![body(b"secret-user"), body(b"203.0.113.77")],
        ),
        over_udp(
            "stun mapped address",
            3478,
            &joined(&[
                b"\x01\x01\0\x0c\x21\x12\xa4\x42TRANSACTION!\0\x01\0\x08\0\x01\x9d\x8c",
                &HOP,
            ]),
            vec![body(HOP), body(b"TRANSACTION!")],
        ),
        over_tcp(
            "http forwarded for",
            b"GET /secret HTTP/1.1\r\nX-Forwarded-For: 203.0.113.77\r\n\r\n",
            vec![body(b"/secret"), body(b"203.0.113.77")],
        ),
        over_tcp("tls server name", hello, vec![body(b"secret.example")]),
        frame(
            CLASS,
            "mdns over ipv6",
            e6(ipv6(
                17,
                &udp(b"\0\0\x84\0\0\0\0\x01\0\0\0\0\x06secret\x05local\0"),
            )),
            vec![body(b"secret\x05local")],
        ),
    ]
}

fn routing() -> Vec<Golden> {
    const CLASS: &str = "routing protocols and SCTP";
    let over = |name, protocol, payload: &[u8], secrets: Vec<Secret>| {
        let mut secrets = secrets;
        secrets.push(header(SRC));
        frame(CLASS, name, e4(ipv4(protocol, payload)), secrets)
    };
    let ospf = joined(&[
        &[2, 1, 0, 48],
        &HOP,
        &[0, 0, 0, 0, 0xca, 0xfe, 0, 1],
        b"PASSWORD",
        &INNER_SRC,
    ]);
    let vrrp = joined(&[&[0x21, 0x7b, 100, 1, 0, 1, 0xca, 0xfe], &HOP, b"PASSWORD"]);
    let init = joined(&[
        &[0xc7, 0x39, 0x0b, 0x59, 0, 0, 0, 0, 0x91, 0x82, 0x73, 0x64],
        &[
            1, 0, 0, 28, 0x9d, 0x8c, 0x7b, 0x6a, 0, 1, 0, 0, 0, 1, 0, 1, 0x55, 0x46, 0x37, 0x28,
        ],
        &[0, 5, 0, 8],
        &HOP,
    ]);
    let data = joined(&[
        &[
            0xc7, 0x39, 0x0b, 0x59, 0x9d, 0x8c, 0x7b, 0x6a, 0x91, 0x82, 0x73, 0x64,
        ],
        &[0, 3, 0, 26, 0x55, 0x46, 0x37, 0x28, 0, 0, 0, 0, 0, 0, 0, 0],
        b"SECRETBODY",
    ]);
    let eigrp = joined(&[&[2, 5, 0xca, 0xfe, 0, 0, 0, 0], b"PASSWORD", &HOP]);
    vec![
        over(
            "ospf hello",
            89,
            &ospf,
            vec![body(HOP), body(INNER_SRC), body(b"PASSWORD")],
        ),
        over("vrrp", 112, &vrrp, vec![body(HOP), body(b"PASSWORD")]),
        over("eigrp", 88, &eigrp, vec![body(HOP), body(b"PASSWORD")]),
        over(
            "sctp init with an address",
            132,
            &init,
            vec![
                body(HOP),
                body([0x9d, 0x8c, 0x7b, 0x6a]),
                body([0x91, 0x82, 0x73, 0x64]),
            ],
        ),
        over(
            "sctp data",
            132,
            &data,
            vec![
                header([0x9d, 0x8c, 0x7b, 0x6a]),
                body(b"SECRETBODY"),
                body([0x91, 0x82, 0x73, 0x64]),
            ],
        ),
        frame(
            CLASS,
            "pim over ipv6",
            e6(ipv6(103, &joined(&[&[0x23, 0, 0xca, 0xfe, 1, 0], &INNER_SRC6]))),
            vec![body(&INNER_SRC6[..8]), body(&INNER_SRC6[8..])],
        ),
    ]
}
