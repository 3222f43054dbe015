//! ICMP: errors with what they quote, redirects, router advertisements, times, extension objects, echoes.

use super::{Golden, address6, body, eui64, frame, header};
use crate::frames::{
    BODY, DST, HOP, HOP6, INNER_DST, INNER_DST6, INNER_SRC, INNER_SRC6, SRC6, e4, e6, icmp, inner4, ipv4,
    ipv4_between, ipv6, ipv6_between, joined, tcp, udp,
};

/// What is quoted: other addresses than the carrier's.
fn quoted_udp() -> Vec<u8> {
    ipv4_between(INNER_SRC, INNER_DST, 17, &[], &udp(b"SECRETQUOTE"))
}

fn quoted_tcp() -> Vec<u8> {
    ipv4_between(INNER_SRC, INNER_DST, 6, &[], &tcp(&[], b"SECRETQUOTE"))
}

pub fn frames() -> Vec<Golden> {
    let secrets = || {
        vec![
            header(INNER_SRC),
            header(INNER_DST),
            body(b"SECRETQUOTE"),
            body([0xab, 0xcd]),
            body([0xca, 0xfe]),
        ]
    };
    let error = |kind, code, rest, quote: &[u8]| e4(ipv4(1, &icmp(kind, code, rest, quote)));
    const COMMON: &str = "ICMP quotes: 3, 5, 11";
    const RARE: &str = "ICMP quotes: 4, 12";
    let cut = || vec![header(INNER_SRC), header(INNER_DST), body([0xab, 0xcd])];
    let nested = ipv4_between(INNER_SRC, INNER_DST, 1, &[], &icmp(3, 1, [0; 4], &quoted_udp()));
    let with_options = ipv4_between(
        INNER_SRC,
        INNER_DST,
        17,
        &joined(&[&[7, 11, 8], &HOP, &[9, 8, 7, 6], &[0]]),
        &udp(b"SECRETQUOTE"),
    );
    let mut frames = vec![
        frame(
            COMMON,
            "unreachable, udp quoted",
            error(3, 1, [0; 4], &quoted_udp()),
            secrets(),
        ),
        frame(
            COMMON,
            "unreachable, tcp quoted",
            error(3, 13, [0; 4], &quoted_tcp()),
            secrets(),
        ),
        frame(
            COMMON,
            "redirect, udp quoted",
            error(5, 1, HOP, &quoted_udp()),
            secrets(),
        ),
        frame(
            COMMON,
            "time exceeded, tcp quoted",
            error(11, 0, [0; 4], &quoted_tcp()),
            secrets(),
        ),
        frame(
            COMMON,
            "time exceeded, 8 bytes quoted",
            error(11, 0, [0; 4], &quoted_tcp()[..28]),
            cut(),
        ),
        frame(
            COMMON,
            "unreachable, header alone quoted",
            error(3, 3, [0; 4], &quoted_tcp()[..20]),
            cut(),
        ),
        frame(
            COMMON,
            "unreachable, an error quoted",
            error(3, 1, [0; 4], &nested),
            secrets(),
        ),
        frame(
            COMMON,
            "unreachable, options quoted",
            error(3, 1, [0; 4], &with_options),
            {
                let mut all = secrets();
                all.push(header(HOP));
                all
            },
        ),
        frame(
            RARE,
            "source quench",
            error(4, 0, [0; 4], &quoted_udp()),
            secrets(),
        ),
        frame(
            RARE,
            "source quench, tcp quoted",
            error(4, 0, [0; 4], &quoted_tcp()),
            secrets(),
        ),
        frame(
            RARE,
            "parameter problem",
            error(12, 0, [20, 0, 0, 0], &quoted_udp()),
            secrets(),
        ),
        frame(
            RARE,
            "parameter problem, tcp quoted",
            error(12, 0, [9, 0, 0, 0], &quoted_tcp()),
            secrets(),
        ),
        frame(
            "ICMP redirect gateway",
            "redirect for a host",
            error(5, 1, HOP, &quoted_udp()),
            vec![header(HOP)],
        ),
        frame(
            "ICMP redirect gateway",
            "redirect for a network",
            error(5, 0, HOP, &quoted_tcp()),
            vec![header(HOP)],
        ),
    ];
    frames.extend(queries());
    frames.extend(extensions());
    frames.extend(errors6());
    frames
}

fn queries() -> Vec<Golden> {
    let message = |kind, rest, payload: &[u8]| e4(ipv4(1, &icmp(kind, 0, rest, payload)));
    const ROUTERS: &str = "ICMP router advertisement";
    const TIMES: &str = "ICMP timestamp and mask";
    let times = || vec![header(b"TIME1"), header(b"TIME2"), header(b"TIM3")];
    let two = joined(&[&HOP, &[0, 0, 0, 1], &INNER_SRC, &[0x91, 0x82, 0x73, 0x64]]);
    vec![
        frame(
            ROUTERS,
            "one router",
            message(9, [1, 2, 0x7b, 0x6a], &joined(&[&HOP, &[0, 0, 0, 1]])),
            vec![header(HOP), header([0x7b, 0x6a])],
        ),
        frame(
            ROUTERS,
            "two routers",
            message(9, [2, 2, 0x7b, 0x6a], &two),
            vec![header(HOP), header(INNER_SRC), header([0x91, 0x82, 0x73, 0x64])],
        ),
        frame(
            TIMES,
            "timestamp",
            message(13, [0x7b, 0x6a, 0, 1], b"TIME1TIM3..."),
            vec![header(b"TIME1"), header(b"TIM3"), header([0x7b, 0x6a])],
        ),
        frame(
            TIMES,
            "timestamp reply",
            message(14, [0x7b, 0x6a, 0, 1], b"TIME1TIME2TI"),
            times()[..2].iter().map(copy).collect(),
        ),
        frame(
            TIMES,
            "address mask reply",
            message(18, [0x7b, 0x6a, 0, 1], &[255, 255, 0xf1, 0x80]),
            vec![header([255, 255, 0xf1, 0x80])],
        ),
        frame(
            "ICMP echo",
            "echo request",
            message(8, [0x7b, 0x6a, 0, 1], BODY),
            vec![header([0x7b, 0x6a]), body(BODY)],
        ),
        frame(
            "ICMP echo",
            "echo reply",
            message(0, [0x7b, 0x6a, 0, 1], BODY),
            vec![header([0x7b, 0x6a]), body(BODY)],
        ),
        frame(
            "ICMP echo",
            "echo request over ipv6",
            e6(ipv6(58, &icmp(128, 0, [0x7b, 0x6a, 0, 1], BODY))),
            vec![header([0x7b, 0x6a]), body(BODY)],
        ),
    ]
}

fn copy(secret: &super::Secret) -> super::Secret {
    super::Secret {
        bytes: secret.bytes.clone(),
        ..*secret
    }
}

/// RFC 4884 and 5837: objects behind a quote that is padded to 128 bytes.
fn extensions() -> Vec<Golden> {
    const CLASS: &str = "ICMP extension objects";
    let with = |object: &[u8]| {
        let mut quote = quoted_udp();
        quote.resize(128, 0);
        e4(ipv4(
            1,
            &icmp(
                3,
                1,
                [0, 32, 0, 0],
                &joined(&[&quote, &[0x20, 0, 0xca, 0xfe], object]),
            ),
        ))
    };
    let interface = joined(&[
        &[0, 36, 2, 0x0e],
        &[0, 0, 0x7b, 0x6a],
        &[0, 1, 0, 0],
        &HOP,
        &[16],
        b"secret-eth0\0\0\0\0",
    ]);
    let labels = [0, 8, 1, 1, 0x9d, 0x8c, 0x7b, 0x40];
    vec![
        frame(
            CLASS,
            "interface information",
            with(&interface),
            vec![
                body(HOP),
                body(b"secret-eth0"),
                body([0x7b, 0x6a]),
                header(INNER_SRC),
            ],
        ),
        frame(
            CLASS,
            "mpls labels",
            with(&labels),
            vec![body([0x9d, 0x8c, 0x7b]), header(INNER_DST)],
        ),
    ]
}

fn errors6() -> Vec<Golden> {
    const CLASS: &str = "ICMPv6 errors";
    let error =
        |kind, rest, quote: &[u8]| e6(ipv6_between(HOP6, INNER_DST6, 58, &icmp(kind, 0, rest, quote)));
    let udp6 = || ipv6_between(INNER_SRC6, INNER_DST6, 17, &udp(b"SECRETQUOTE"));
    let tcp6 = || ipv6_between(INNER_SRC6, INNER_DST6, 6, &tcp(&[], b"SECRETQUOTE"));
    let secrets = || {
        let mut all = address6(INNER_SRC6);
        all.extend([body(b"SECRETQUOTE"), body([0xca, 0xfe])]);
        all
    };
    let quoted_eui64 = ipv6(17, &udp(b"SECRETQUOTE"));
    vec![
        frame(
            CLASS,
            "unreachable over ipv6",
            error(1, [0; 4], &udp6()),
            secrets(),
        ),
        frame(CLASS, "packet too big", error(2, [0, 0, 0x05, 0x7b], &tcp6()), {
            let mut all = secrets();
            all.push(header([0, 0, 0x05, 0x7b]));
            all
        }),
        frame(
            CLASS,
            "time exceeded over ipv6",
            error(3, [0; 4], &udp6()),
            secrets(),
        ),
        frame(
            CLASS,
            "parameter problem over ipv6",
            error(4, [0, 0, 0, 40], &tcp6()),
            secrets(),
        ),
        frame(CLASS, "an eui-64 host quoted", error(1, [0; 4], &quoted_eui64), {
            let mut all = eui64(SRC6);
            all.push(body(b"SECRETQUOTE"));
            all
        }),
        // Nothing says that an ICMP error must quote its own family: what does not parse is payload.
        frame(
            CLASS,
            "ipv4 quoted over ipv6",
            error(1, [0; 4], &inner4()),
            vec![body(INNER_SRC), body(BODY)],
        ),
        frame(
            "ICMP quotes: 3, 5, 11",
            "ipv6 quoted over ipv4",
            e4(ipv4(1, &icmp(3, 1, [0; 4], &udp6()))),
            vec![body(&INNER_SRC6[..8]), body(&INNER_DST6[8..]), header(DST)],
        ),
    ]
}
