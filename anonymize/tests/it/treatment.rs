//! The treatment of level `anonymized`: hand-made frames with planted secrets, one or more per leak class, and
//! the laws that every frame obeys.

use como_anonymize::columns::Column;
use como_anonymize::{
    Anonymizer, DenyReason, LinkType, Outcome, RawPacket, RowMeta, build, describe, dissect, rekey, restore,
    strip,
};
use como_keys::mapping::MappingKey;
use como_policies::AccessLevel;
use proptest::prelude::*;
use std::sync::LazyLock;

static NODE: LazyLock<Anonymizer> = LazyLock::new(|| Anonymizer::new(&MappingKey::from_bytes(&[0x11; 32])));
static PARTNER: LazyLock<Anonymizer> =
    LazyLock::new(|| Anonymizer::new(&MappingKey::from_bytes(&[0x22; 32])));
static OTHER: LazyLock<Anonymizer> = LazyLock::new(|| Anonymizer::new(&MappingKey::from_bytes(&[0x33; 32])));

const SRC: [u8; 4] = [203, 0, 113, 77];
const DST: [u8; 4] = [198, 51, 100, 23];
const HOP: [u8; 4] = [192, 88, 99, 33];
const SRC6: [u8; 16] = [
    0x20, 1, 0xd, 0xb8, 0xaa, 0xbb, 0xcc, 0xdd, 2, 0x11, 0x22, 0xff, 0xfe, 0x33, 0x44, 0x55,
];
const DST6: [u8; 16] = [
    0x20, 1, 0xd, 0xb8, 0x12, 0x34, 0x56, 0x78, 9, 0x8a, 0xbc, 0xde, 0xf1, 0x23, 0x45, 0x67,
];
const HOP6: [u8; 16] = [
    0x2a, 2, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xc1, 0xd2, 0xe3, 0xf4, 0xa5, 0xb6, 0xc7, 0xd8, 0xe9,
];
const MAC_A: [u8; 6] = [0x3c, 0x97, 0x0e, 0x12, 0x34, 0x56];
const MAC_B: [u8; 6] = [0x00, 0x1b, 0x21, 0x65, 0x43, 0x21];

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&MAC_B[..], &MAC_A, &ethertype.to_be_bytes(), payload].concat()
}

fn ipv4_with(protocol: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let mut header = vec![0x40 | (header_len / 4) as u8, 0xb8];
    header.extend(((header_len + payload.len()) as u16).to_be_bytes());
    header.extend([0xbe, 0xef, 0x40, 0, 61, protocol, 0xab, 0xcd]);
    header.extend(SRC);
    header.extend(DST);
    header.extend(options);
    header.extend(payload);
    header
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_with(protocol, &[], payload)
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x6b, 0x8a, 0xbc, 0xde];
    header.extend((payload.len() as u16).to_be_bytes());
    header.extend([next, 61]);
    header.extend(SRC6);
    header.extend(DST6);
    header.extend(payload);
    header
}

fn tcp(options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0xc7, 0x39, 0x01, 0xbb];
    header.extend([0xde, 0xad, 0x12, 0x34, 0xfe, 0xed, 0x56, 0x78]);
    header.extend([
        (5 + options.len() as u8 / 4) << 4,
        0x18,
        0x72,
        0x11,
        0xca,
        0xfe,
        0x13,
        0x37,
    ]);
    header.extend(options);
    header.extend(payload);
    header
}

fn udp(payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0xc7, 0x39, 0, 53];
    header.extend((8 + payload.len() as u16).to_be_bytes());
    header.extend([0xca, 0xfe]);
    header.extend(payload);
    header
}

fn icmp(kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    [&[kind, code, 0xca, 0xfe][..], &rest, payload].concat()
}

fn run(anonymizer: &Anonymizer, frame: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    matches!(
        anonymizer.anonymize(LinkType::ETHERNET, frame, &mut out),
        Outcome::Framed { .. }
    )
    .then_some(out)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Name, frame, planted secrets.
type Golden = (&'static str, Vec<u8>, Vec<Vec<u8>>);

/// The golden set. A secret that appears under all three keys is a leak; under one it can be chance.
fn golden() -> Vec<Golden> {
    let quoted = ipv4(17, &udp(b"SECRETQUOTE"));
    let quoted_tcp = ipv4(6, &tcp(&[], b""));
    let route = |kind: u8| [&[kind, 11, 8][..], &HOP, &[9, 8, 7, 6], &[0]].concat();
    let stamp = [&[68, 12, 13, 1][..], &HOP, &[0x12, 0x34, 0x56, 0x78]].concat();
    let secret = |bytes: &[u8]| bytes.to_vec();
    let segments = |kind: u8, extra: [u8; 4]| [&[6, 2, kind, 1][..], &extra, &HOP6, &tcp(&[], b"")].concat();
    let home = [&[6, 2, 1, 2, 0, 0, 0xc9, 16][..], &HOP6, &tcp(&[], b"")].concat();
    let timestamps = [&[8, 10, 0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 0xa7, 0xb8, 1, 1][..]].concat();
    let tfo = [34, 10, 0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 0xa7, 0xb8, 1, 1];
    let mptcp = [&[30, 8, 0x30, 5][..], &HOP].concat();
    let sack = [1, 1, 5, 10, 0xfe, 0xed, 0x70, 0, 0xfe, 0xed, 0x80, 0];
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 2][..], &MAC_A, &SRC, &MAC_B, &DST].concat();
    let nd = |kind: u8, options: &[u8]| {
        ipv6(
            58,
            &[&[kind, 0, 0xca, 0xfe, 0x60, 0, 0, 0][..], &HOP6, options].concat(),
        )
    };
    let link_option = [&[1, 1][..], &MAC_A].concat();
    let prefix = [
        &[3, 4, 64, 0xc0, 0, 1, 2, 3, 0, 1, 2, 3, 0, 0, 0, 0][..],
        &HOP6[..8],
        &[0; 8],
    ]
    .concat();
    let rdnss = [&[25, 3, 0, 0, 0, 0, 0x11, 0x11][..], &HOP6].concat();
    let dnssl = [&[31, 3, 0, 0, 0, 0, 0x11, 0x11][..], b"\x06secret\x07example\0"].concat();
    let advertisement = [
        &[
            134, 0, 0xca, 0xfe, 64, 0, 7, 8, 0x31, 0x32, 0x33, 0x34, 0x41, 0x42, 0x43, 0x44,
        ][..],
        &prefix,
        &rdnss,
        &dnssl,
        &link_option,
    ]
    .concat();
    let v6_error = [
        &[3, 0, 0xca, 0xfe, 0, 0, 0, 0][..],
        &ipv6(17, &udp(b"SECRETQUOTE")),
    ]
    .concat();
    let both = vec![secret(&SRC), secret(&DST)];
    let both6 = vec![
        secret(&SRC6[..8]),
        secret(&SRC6[8..]),
        secret(&DST6[..8]),
        secret(&DST6[8..]),
    ];
    let hop = vec![secret(&HOP)];
    let hop6 = vec![secret(&HOP6[..8]), secret(&HOP6[8..])];
    let e4 = |packet: Vec<u8>| ethernet(0x0800, &packet);
    let e6 = |packet: Vec<u8>| ethernet(0x86dd, &packet);
    vec![
        (
            "L01 tcp",
            e4(ipv4(6, &tcp(&[], b"SECRETBODY"))),
            [both.clone(), vec![secret(b"SECRETBODY")]].concat(),
        ),
        (
            "L01b ipv6",
            e6(ipv6(6, &tcp(&[], b"SECRETBODY"))),
            [both6.clone(), vec![secret(b"SECRETBODY")]].concat(),
        ),
        (
            "L03 udp",
            e4(ipv4(17, &udp(b"SECRETBODY"))),
            vec![secret(b"SECRETBODY")],
        ),
        (
            "L05-3",
            e4(ipv4(1, &icmp(3, 1, [0; 4], &quoted))),
            [both.clone(), vec![secret(b"SECRETQUOTE")]].concat(),
        ),
        ("L05-4", e4(ipv4(1, &icmp(4, 0, [0; 4], &quoted))), both.clone()),
        (
            "L05-5",
            e4(ipv4(1, &icmp(5, 1, HOP, &quoted))),
            [both.clone(), hop.clone()].concat(),
        ),
        (
            "L05-11",
            e4(ipv4(1, &icmp(11, 0, [0; 4], &quoted_tcp))),
            both.clone(),
        ),
        (
            "L05-11 cut",
            e4(ipv4(1, &icmp(11, 0, [0; 4], &quoted_tcp[..28]))),
            both.clone(),
        ),
        ("L05-12", e4(ipv4(1, &icmp(12, 0, [0; 4], &quoted))), both.clone()),
        (
            "L07 router",
            e4(ipv4(
                1,
                &icmp(9, 0, [1, 2, 7, 8], &[&HOP[..], &[0, 0, 0, 1]].concat()),
            )),
            hop.clone(),
        ),
        (
            "L07b times",
            e4(ipv4(1, &icmp(14, 0, [1, 2, 0, 1], b"TIME1TIME2TI"))),
            vec![secret(b"TIME")],
        ),
        (
            "L08a arp",
            ethernet(0x0806, &arp),
            [both.clone(), vec![secret(&MAC_A), secret(&MAC_B)]].concat(),
        ),
        (
            "L08b vlan arp",
            ethernet(0x8100, &[&[0xa1, 0x23, 8, 6][..], &arp].concat()),
            both.clone(),
        ),
        (
            "L09a rr",
            e4(ipv4_with(6, &route(7), &tcp(&[], b""))),
            hop.clone(),
        ),
        (
            "L09b lsrr",
            e4(ipv4_with(6, &route(131), &tcp(&[], b""))),
            hop.clone(),
        ),
        (
            "L09c ts",
            e4(ipv4_with(6, &stamp, &tcp(&[], b""))),
            [hop.clone(), vec![vec![0x12, 0x34, 0x56, 0x78]]].concat(),
        ),
        ("L10a rh0", e6(ipv6(43, &segments(0, [0; 4]))), hop6.clone()),
        (
            "L10b srh",
            e6(ipv6(43, &segments(4, [0, 0x11, 0x22, 0x33]))),
            hop6.clone(),
        ),
        ("L10c home", e6(ipv6(60, &home)), hop6.clone()),
        (
            "L11a error",
            e6(ipv6(58, &v6_error)),
            [both6.clone(), vec![secret(b"SECRETQUOTE")]].concat(),
        ),
        (
            "L11b ns",
            e6(nd(135, &link_option)),
            [hop6.clone(), vec![secret(&MAC_A)]].concat(),
        ),
        (
            "L11c ra",
            e6(ipv6(58, &advertisement)),
            [hop6.clone(), vec![secret(b"secret"), secret(&MAC_A)]].concat(),
        ),
        (
            "L11d redirect",
            e6(nd(137, &[&SRC6[..], &link_option].concat())),
            [hop6.clone(), both6].concat(),
        ),
        (
            "L16 macs",
            e4(ipv4(6, &tcp(&[], b""))),
            vec![secret(&MAC_A[..3]), secret(&MAC_B[3..])],
        ),
        (
            "L21a timestamps",
            e4(ipv4(6, &tcp(&timestamps, b""))),
            vec![timestamps[2..6].to_vec(), timestamps[6..10].to_vec()],
        ),
        ("L21b mptcp", e4(ipv4(6, &tcp(&mptcp, b""))), hop),
        ("L21c tfo", e4(ipv4(6, &tcp(&tfo, b""))), vec![tfo[2..6].to_vec()]),
        (
            "L22 sack",
            e4(ipv4(6, &tcp(&sack, b""))),
            vec![sack[4..8].to_vec(), sack[8..12].to_vec()],
        ),
        (
            "L22 isn",
            e4(ipv4(6, &tcp(&[], b""))),
            vec![
                vec![0xde, 0xad, 0x12, 0x34],
                vec![0xfe, 0xed, 0x56, 0x78],
                vec![0x72, 0x11],
                vec![0x13, 0x37],
            ],
        ),
        (
            "L22 ip id and checksum",
            e4(ipv4(6, &tcp(&[], b""))),
            vec![vec![0xbe, 0xef], vec![0xab, 0xcd], vec![0xca, 0xfe]],
        ),
        (
            "L23 padding",
            [e4(ipv4(17, &udp(b""))), b"ETHERLEAK".to_vec()].concat(),
            vec![secret(b"ETHERLEAK")],
        ),
        (
            "L24 fragment",
            {
                let mut f = e4(ipv4(17, b"SECRETFRAGMENT"));
                f[14 + 7] = 9;
                f
            },
            vec![secret(b"SECRET")],
        ),
        (
            "L15 ipip",
            e4(ipv4(4, &[&ipv4(6, &tcp(&[], b""))[..12], &HOP, &HOP].concat())),
            vec![secret(&HOP)],
        ),
        (
            "L15 6in4",
            e4(ipv4(41, &ipv6(6, &tcp(&[], b"")))),
            vec![secret(&SRC6[..8]), secret(&DST6[8..])],
        ),
        (
            "L15 vxlan",
            e4(ipv4(
                17,
                &udp(&[&[8, 0, 0, 0, 0, 0, 7, 0][..], &MAC_A, &HOP].concat()),
            )),
            vec![secret(&HOP), secret(&MAC_A)],
        ),
        (
            "L18 dns",
            e4(ipv4(17, &udp(b"\x06secret\x07example"))),
            vec![secret(b"secret")],
        ),
        (
            "esp",
            e4(ipv4(50, b"\xa1\xb2\xc3\xd4\x01\x02\x03\x04SECRETBODY")),
            vec![vec![0xa1, 0xb2, 0xc3, 0xd4], secret(b"SECRETBODY")],
        ),
    ]
}

#[test]
fn no_planted_secret_appears() {
    for (name, frame, secrets) in golden() {
        let outputs: Vec<_> = [&*NODE, &*PARTNER, &*OTHER]
            .map(|key| run(key, &frame).expect(name))
            .into();
        for secret in secrets {
            assert!(
                contains(&frame, &secret),
                "{name}: the frame holds its secret {secret:02x?}"
            );
            let leaks = outputs.iter().filter(|output| contains(output, &secret)).count();
            assert!(leaks < 3, "{name}: {secret:02x?} leaks");
        }
        assert!(outputs[0].len() <= frame.len(), "{name}");
    }
}

#[test]
fn what_is_not_on_the_allow_list_is_denied() {
    let whole = ethernet(0x0800, &ipv4(6, &tcp(&[], b"")));
    let mut version_5 = whole.clone();
    version_5[14] = 0x55;
    for (frame, reason) in [
        (ethernet(0x88cc, b"lldp"), DenyReason::UnknownEthertype),
        (ethernet(0x88f7, b"precision time"), DenyReason::UnknownEthertype),
        (ethernet(0x0026, b"\x42\x42\x03stp"), DenyReason::Llc),
        (version_5, DenyReason::BadIpVersion),
        (whole[..40].to_vec(), DenyReason::Truncated),
        (
            ethernet(0x0806, &[0, 6, 8, 0, 6, 4, 0, 1, 0, 0, 0, 0]),
            DenyReason::UnsupportedArp,
        ),
        (ethernet(0x0800, &ipv4(6, b"short")), DenyReason::Malformed),
        (Vec::new(), DenyReason::Truncated),
    ] {
        let mut out = Vec::new();
        assert_eq!(
            NODE.anonymize(LinkType::ETHERNET, &frame, &mut out),
            Outcome::Denied(reason)
        );
        assert!(out.is_empty());
    }
    assert_eq!(
        NODE.anonymize(LinkType(105), &whole, &mut Vec::new()),
        Outcome::Denied(DenyReason::Wireless)
    );
}

#[test]
fn rekeying_changes_pseudonyms_and_nothing_else() {
    for (name, frame, _) in golden() {
        let packet = RawPacket {
            ts_ns: 1_234_567,
            wire_len: frame.len() as u32,
            link: LinkType::ETHERNET,
            data: &frame,
        };
        let node = build(AccessLevel::Anonymized, LinkType::ETHERNET, [packet], Some(&NODE));
        let partner = rekey(&node, &PARTNER);
        assert_eq!(partner.columns.deny, [0], "{name}");
        assert_eq!(
            node.frames.offsets, partner.frames.offsets,
            "{name}: the layout is kept"
        );
        for column in Column::ALL
            .iter()
            .filter(|column| !column.is_pseudonymous_at(AccessLevel::Anonymized))
        {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            node.columns.write_le(*column, 0, 1, &mut ours);
            partner.columns.write_le(*column, 0, 1, &mut theirs);
            assert_eq!(ours, theirs, "{name}: {}", column.name());
        }
        let direct = build(
            AccessLevel::Anonymized,
            LinkType::ETHERNET,
            [packet],
            Some(&PARTNER),
        );
        assert_ne!(
            direct.columns.src, partner.columns.src,
            "{name}: the audience never sees the node's inner key"
        );
    }
}

#[test]
fn stripping_and_restoring_gives_the_frame_back() {
    for (name, frame, _) in golden() {
        let out = run(&NODE, &frame).unwrap();
        let meta = RowMeta {
            ts_ns: 0,
            wire_len: 0,
            weight: 1,
            deny: 0,
            src_class: 0,
            dst_class: 0,
            checksums: 0,
        };
        let row = describe(&meta, LinkType::ETHERNET, &out);
        let mut stripped = out.clone();
        strip(LinkType::ETHERNET, &mut stripped);
        assert_ne!(stripped, out, "{name}");
        restore(LinkType::ETHERNET, &mut stripped, &row);
        assert_eq!(stripped, out, "{name}");
    }
}

#[test]
fn checksums_are_those_of_a_payload_of_zeros() {
    for (name, frame, _) in golden() {
        let mut out = run(&NODE, &frame).unwrap();
        let found = dissect(LinkType::ETHERNET, &frame);
        let quotes = found.layers().iter().any(|layer| layer.quote_depth > 0);
        out.resize(frame.len().max(out.len()), 0);
        let packet = RawPacket {
            ts_ns: 0,
            wire_len: 0,
            link: LinkType::ETHERNET,
            data: &out,
        };
        let verdicts = RowMeta::of_packet(&packet, &dissect(LinkType::ETHERNET, &out)).checksums;
        assert!(
            ![verdicts & 3, verdicts >> 2].contains(&2) || quotes,
            "{name}: {verdicts:04b}"
        );
    }
}

fn common_bits(left: u128, right: u128) -> u32 {
    (left ^ right).leading_zeros()
}

proptest! {
    #[test]
    fn prefixes_are_preserved_exactly(a: u32, flip in 0u32..32, noise: u32) {
        let b = (a ^ (0x8000_0000 >> flip)) ^ (noise & (u32::MAX.checked_shr(flip + 1).unwrap_or(0)));
        prop_assert_eq!((NODE.map_v4(a) ^ NODE.map_v4(b)).leading_zeros(), flip);
        let twice = |x| PARTNER.map_v4(NODE.map_v4(x));
        prop_assert_eq!((twice(a) ^ twice(b)).leading_zeros(), flip);
    }

    #[test]
    fn ipv6_prefixes_to_64_bits_and_interface_ids_bound_to_them(a: u128, flip in 0u32..128, noise: u128) {
        let b = (a ^ (1 << 127 >> flip)) ^ (noise & (u128::MAX.checked_shr(flip + 1).unwrap_or(0)));
        let (x, y) = (NODE.map_v6(a), NODE.map_v6(b));
        prop_assert_ne!(x, y);
        if flip < 64 {
            prop_assert_eq!(common_bits(x, y), flip);
            let moved = NODE.map_v6((b >> 64 << 64) | (a & u128::from(u64::MAX)));
            prop_assert_ne!(moved as u64, x as u64, "one interface id in two networks");
        } else {
            prop_assert!(common_bits(x, y) >= 64);
        }
    }

    #[test]
    fn the_map_does_not_depend_on_history(a: u32, others in prop::collection::vec(any::<u32>(), 0..8)) {
        let before = NODE.map_v4(a);
        for other in others { NODE.map_v4(other); }
        prop_assert_eq!(NODE.map_v4(a), before);
    }

    #[test]
    fn macs_keep_their_kind(mac: [u8; 6]) {
        let mapped = NODE.map_mac(mac);
        prop_assert_eq!(mapped[0] & 3, mac[0] & 3);
        prop_assert_eq!(mapped == [0xff; 6], mac == [0xff; 6]);
    }

    /// Hostile input: no panic, at any level; what is framed can be re-keyed and restored.
    #[test]
    fn any_bytes(index in 0usize..64, changes in prop::collection::vec((any::<u16>(), any::<u8>()), 0..12), cut: u16) {
        let frames = golden();
        let mut frame = frames[index % frames.len()].1.clone();
        for (at, value) in changes {
            let at = usize::from(at) % frame.len();
            frame[at] = value;
        }
        if cut.is_multiple_of(3) { frame.truncate(usize::from(cut) % (frame.len() + 1)); }
        let found = dissect(LinkType::ETHERNET, &frame);
        prop_assert!(found.header_len <= frame.len());
        let packet = RawPacket { ts_ns: 5, wire_len: 9, link: LinkType::ETHERNET, data: &frame };
        for level in AccessLevel::ALL {
            let view = build(level, LinkType::ETHERNET, [packet], Some(&NODE));
            prop_assert_eq!(view.len(), 1);
        }
        if let Some(out) = run(&NODE, &frame) {
            let again = run(&PARTNER, &out);
            prop_assert_eq!(again.map(|frame| frame.len()), Some(out.len()));
            let meta = RowMeta { ts_ns: 0, wire_len: 0, weight: 1, deny: 0, src_class: 0, dst_class: 0, checksums: 0 };
            let row = describe(&meta, LinkType::ETHERNET, &out);
            let mut back = out.clone();
            strip(LinkType::ETHERNET, &mut back);
            restore(LinkType::ETHERNET, &mut back, &row);
            prop_assert_eq!(back, out);
        }
    }
}
