//! TCP numbers and options, payload behind TCP and UDP, IPsec.

use super::{Golden, body, frame, header};
use crate::frames::{BODY, HOP, e4, e6, ipv4, ipv6, joined, tcp, udp_to};

pub fn frames() -> Vec<Golden> {
    [numbers(), options(), payload(), ipsec()]
        .into_iter()
        .flatten()
        .collect()
}

fn numbers() -> Vec<Golden> {
    let all = || {
        vec![
            header([0xde, 0xad, 0x12, 0x34]),
            header([0xfe, 0xed, 0x56, 0x78]),
            header([0x72, 0x11]),
            header([0x13, 0x37]),
            header([0xc7, 0x39]),
        ]
    };
    vec![
        frame(
            "TCP numbers",
            "isn, window, urgent, port",
            e4(ipv4(6, &tcp(&[], b""))),
            all(),
        ),
        frame(
            "TCP numbers",
            "the same over ipv6",
            e6(ipv6(6, &tcp(&[], b""))),
            all(),
        ),
    ]
}

fn options() -> Vec<Golden> {
    let with =
        |name, options: &[u8], secrets| frame("TCP options", name, e4(ipv4(6, &tcp(options, BODY))), secrets);
    const COOKIE: [u8; 8] = [0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 0xa7, 0xb8];
    let filled = |head: &[u8], rest: &[u8]| joined(&[head, rest]);
    let digest = [
        0x91, 0x82, 0x73, 0x64, 0x55, 0x46, 0x37, 0x28, 0x19, 0x1a, 0x2b, 0x3c, 0x4d, 0x5e, 0x6f, 0x70,
    ];
    vec![
        with(
            "timestamps",
            &joined(&[&[8, 10], &COOKIE, &[1, 1]]),
            vec![header(&COOKIE[..4]), header(&COOKIE[4..])],
        ),
        with(
            "mptcp address",
            &filled(&[30, 8, 0x30, 5], &HOP),
            vec![header(HOP)],
        ),
        with(
            "mptcp key",
            &joined(&[&[30, 12, 0, 0x81], &COOKIE]),
            vec![header(COOKIE)],
        ),
        with(
            "fast open cookie",
            &joined(&[&[34, 10], &COOKIE, &[1, 1]]),
            vec![body(COOKIE)],
        ),
        with(
            "experimental fast open cookie",
            &joined(&[&[254, 12, 0xf9, 0x89], &COOKIE]),
            vec![body(COOKIE), body([0xf9, 0x89])],
        ),
        with(
            "md5 signature",
            &joined(&[&[19, 18], &digest, &[1, 1]]),
            vec![body(digest)],
        ),
        with(
            "authentication",
            &joined(&[&[29, 16, 0x7b, 0x6a], &digest[..12]]),
            vec![body(&digest[..12]), body([0x7b, 0x6a])],
        ),
        with(
            "selective acknowledgement",
            &[1, 1, 5, 10, 0xfe, 0xed, 0x70, 0x71, 0xfe, 0xed, 0x80, 0x81],
            vec![header([0xfe, 0xed, 0x70, 0x71]), header([0xfe, 0xed, 0x80, 0x81])],
        ),
        with("segment size", &[2, 4, 0x05, 0x7b], vec![header([0x05, 0x7b])]),
        with(
            "experiment",
            &joined(&[&[253, 12, 0x7b, 0x6a], &COOKIE]),
            vec![header(COOKIE)],
        ),
        with(
            "bytes after the end of tcp options",
            &joined(&[&[0], &COOKIE[..7]]),
            vec![body(&COOKIE[..7])],
        ),
        with(
            "broken option",
            &joined(&[&[2, 40], &COOKIE[..6]]),
            vec![body(&COOKIE[..6])],
        ),
    ]
}

fn payload() -> Vec<Golden> {
    vec![
        frame(
            "payload",
            "behind tcp",
            e4(ipv4(6, &tcp(&[1, 1, 1, 1], BODY))),
            vec![body(BODY)],
        ),
        frame(
            "payload",
            "behind udp",
            e6(ipv6(17, &udp_to(40_000, BODY))),
            vec![body(BODY)],
        ),
    ]
}

fn ipsec() -> Vec<Golden> {
    let esp = joined(&[&[0xa1, 0xb2, 0xc3, 0xd4, 0x91, 0x82, 0x73, 0x64], BODY]);
    let ah = joined(&[
        &[6, 4, 0, 0, 0xa1, 0xb2, 0xc3, 0xd4, 0x91, 0x82, 0x73, 0x64],
        b"INTEGRITYVAL",
        &tcp(&[], BODY),
    ]);
    let numbers = || {
        vec![
            header([0xa1, 0xb2, 0xc3, 0xd4]),
            header([0x91, 0x82, 0x73, 0x64]),
            body(BODY),
        ]
    };
    let mut of_ah = numbers();
    of_ah.push(header(b"INTEGRITYVAL"));
    vec![
        frame("IPsec", "esp", e4(ipv4(50, &esp)), numbers()),
        frame("IPsec", "esp over ipv6", e6(ipv6(50, &esp)), numbers()),
        frame("IPsec", "ah", e4(ipv4(51, &ah)), of_ah),
    ]
}
