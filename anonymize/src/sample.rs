//! Hand-made packets for the tests of this crate, and the laws that every released frame obeys.

use std::sync::LazyLock;

use como_keys::mapping::MappingKey;
use como_policies::AccessLevel;

use crate::columns::{Column, Columns};
use crate::dissect::{Dissection, Layer, LayerKind, dissect};
use crate::packet::{LinkType, RawPacket};
use crate::row::{RowMeta, describe};
use crate::strip::{restore, strip};
use crate::treat::{Anonymizer, Outcome};
use crate::view::rekey_addresses_and_ports;

static KEYS: LazyLock<[Anonymizer; 3]> =
    LazyLock::new(|| [0x11, 0x22, 0x33].map(|byte| Anonymizer::new(&MappingKey::from_bytes(&[byte; 32]))));

pub(crate) const SRC: [u8; 4] = [203, 0, 113, 77];
pub(crate) const DST: [u8; 4] = [198, 51, 100, 23];
pub(crate) const INNER_SRC: [u8; 4] = [192, 88, 99, 33];
pub(crate) const INNER_DST: [u8; 4] = [100, 127, 88, 201];
pub(crate) const SRC6: [u8; 16] = *b"\x20\x01\x0d\xb8\xaa\xbb\xcc\xdd\x02\x11\x22\xff\xfe\x33\x44\x55";
pub(crate) const DST6: [u8; 16] = *b"\x2a\x02\x77\x88\x99\xaa\xbb\xc1\xd2\xe3\xf4\xa5\xb6\xc7\xd8\xe9";
pub(crate) const MAC_A: [u8; 6] = [0x3c, 0x97, 0x0e, 0x12, 0x34, 0x56];
pub(crate) const MAC_B: [u8; 6] = [0x00, 0x1b, 0x21, 0x65, 0x43, 0x21];
pub(crate) const TEXT: &[u8] = b"SECRETBODY";

pub(crate) fn node() -> &'static Anonymizer {
    &KEYS[0]
}

pub(crate) fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&MAC_B[..], &MAC_A, &ethertype.to_be_bytes(), payload].concat()
}

fn ipv4_between(ends: [[u8; 4]; 2], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x45, 0xb8];
    header.extend((20 + payload.len() as u16).to_be_bytes());
    header.extend([0xbe, 0xef, 0x40, 0, 61, protocol, 0xab, 0xcd]);
    header.extend(ends.concat());
    header.extend(payload);
    header
}

pub(crate) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_between([SRC, DST], protocol, payload)
}

pub(crate) fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x6b, 0x8a, 0xbc, 0xde];
    header.extend((payload.len() as u16).to_be_bytes());
    header.extend([next, 61]);
    header.extend([SRC6, DST6].concat());
    header.extend(payload);
    header
}

pub(crate) fn udp(ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let mut header = ports.map(u16::to_be_bytes).concat();
    header.extend((8 + payload.len() as u16).to_be_bytes());
    header.extend([0xca, 0xfe]);
    header.extend(payload);
    header
}

/// What tunnels carry here: UDP between two addresses of its own, with a body.
pub(crate) fn inner() -> Vec<u8> {
    ipv4_between([INNER_SRC, INNER_DST], 17, &udp([50_001, 53], TEXT))
}

pub(crate) fn kinds(layers: &[Layer]) -> Vec<LayerKind> {
    layers.iter().map(|layer| layer.kind).collect()
}

/// The released form of a packet after the laws were checked, and that none of `secrets` is in it under all keys.
pub(crate) fn released(link: LinkType, packet: &[u8], secrets: &[&[u8]]) -> Vec<u8> {
    let outputs = check_laws(link, packet).expect("not denied");
    for secret in secrets {
        let contains = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == *secret);
        assert!(contains(packet), "the packet holds {secret:02x?}");
        assert!(!outputs.iter().all(|out| contains(out)), "{secret:02x?} leaks");
    }
    let [first, ..] = outputs;
    first
}

/// The laws of every released frame: its layout is that of the packet, also when re-keyed; re-keying keeps what is
/// no pseudonym; stripping and restoring gives it back; continued by zeros it has good checksums. Gives the frames
/// under three keys, `None` where the packet is denied.
pub(crate) fn check_laws(link: LinkType, packet: &[u8]) -> Option<[Vec<u8>; 3]> {
    let found = dissect(link, packet);
    assert!(found.header_len <= packet.len());
    let outputs = KEYS.each_ref().map(|key| {
        let mut out = Vec::new();
        let outcome = key.anonymize(link, packet, &mut out);
        assert_eq!(matches!(outcome, Outcome::Framed { .. }), found.deny.is_none());
        out
    });
    if found.deny.is_some() {
        return None;
    }
    let out = &outputs[0];
    let layout = layout(&found, found.header_len - out.len());
    let of_released = dissect(link, out);
    assert_eq!(
        (of_released.layers(), of_released.deny),
        (&layout[..], None),
        "the layout is kept"
    );
    let mut again = Vec::new();
    KEYS[1].anonymize(link, out, &mut again);
    assert_eq!(dissect(link, &again).layers(), layout, "and when re-keyed");
    let raw = |data| RawPacket {
        ts_ns: 0,
        wire_len: 0,
        link,
        data,
    };
    let row = describe(&RowMeta::of_packet(&raw(out), &of_released), link, out);
    let row_again = describe(&RowMeta::of_row(&row), link, &again);
    for column in Column::ALL
        .iter()
        .filter(|column| !column.is_pseudonymous_at(AccessLevel::Anonymized))
    {
        let values = [&row, &row_again].map(|row| {
            let mut columns = Columns::default();
            columns.push(row);
            let mut bytes = Vec::new();
            columns.write_le(*column, 0, 1, &mut bytes);
            bytes
        });
        assert_eq!(values[0], values[1], "{}", column.name());
    }
    let mut columns = Columns::default();
    columns.push(&row);
    rekey_addresses_and_ports(&mut columns, &KEYS[1]);
    assert_eq!(
        (
            columns.src[0],
            columns.dst[0],
            columns.src_port[0],
            columns.dst_port[0]
        ),
        (
            row_again.src,
            row_again.dst,
            row_again.src_port,
            row_again.dst_port
        ),
        "addresses and ports alone re-key as the frame does"
    );
    let mut stripped = out.clone();
    let found = dissect(link, &stripped);
    strip(&found, &mut stripped);
    assert_eq!(
        dissect(link, &stripped).layers(),
        found.layers(),
        "stripping moves no header"
    );
    restore(&found, &mut stripped, &row);
    assert_eq!(&stripped, out, "stripped and restored");
    let mut whole = out.clone();
    whole.resize(packet.len().max(out.len()), 0);
    let of_whole = dissect(link, &whole);
    // Zeros may look like headers that the packet did not have.
    if of_whole.layers() == layout {
        let verdicts = RowMeta::of_packet(&raw(&whole), &of_whole).checksums;
        assert!(![verdicts & 3, verdicts >> 2].contains(&2), "{verdicts:04b}");
    }
    Some(outputs)
}

/// Where the headers are after `left_out` bytes of the last one's options were dropped.
fn layout(found: &Dissection, left_out: usize) -> Vec<Layer> {
    let mut layers = found.layers().to_vec();
    if let Some(last) = layers.last_mut() {
        last.len -= left_out as u32;
    }
    layers
}

/// Packets of every kind, for breaking them.
pub(crate) fn samples() -> Vec<(LinkType, Vec<u8>)> {
    let frame = ethernet(0x0800, &inner());
    let inner6 = ipv6(17, &udp([50_001, 53], TEXT));
    let v4 = |protocol: u8, parts: &[&[u8]]| ethernet(0x0800, &ipv4(protocol, &parts.concat()));
    let v6 = |next: u8, parts: &[&[u8]]| ethernet(0x86dd, &ipv6(next, &parts.concat()));
    let over_udp = |port: u16, parts: &[&[u8]]| v4(17, &[&udp([port, port], &parts.concat())]);
    let len = |extra: usize| ((inner().len() + extra) as u16).to_be_bytes();
    let vxlan = [&[8, 0, 0, 0, 1, 2, 3, 0][..], &frame].concat();
    let in_ethernet = [
        v4(4, &[&inner()]),
        v4(41, &[&inner6]),
        v4(41, &[&ipv6(4, &ipv4(4, &inner()))]),
        v6(4, &[&inner()]),
        v6(41, &[&inner6]),
        v4(
            47,
            &[&[0xb0, 0, 8, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8], &inner()],
        ),
        v4(47, &[&[0, 0, 0x65, 0x58], &frame]),
        v4(47, &[&[0, 0, 0x88, 0x47, 0xab, 0xcd, 0xe1, 60], &inner()]),
        v4(
            47,
            &[
                &[0x30, 0x81, 0x88, 0x0b, 0, 10, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2],
                TEXT,
            ],
        ),
        v4(97, &[&[0x30, 0], &frame]),
        over_udp(4789, &[&vxlan]),
        over_udp(4789, &[&[8, 0, 0, 0, 1, 2, 3, 0], &over_udp(4789, &[&vxlan])]),
        over_udp(6081, &[&[1, 0, 0x65, 0x58, 1, 2, 3, 0, 1, 2, 3, 0], &frame]),
        over_udp(2152, &[&[0x30, 255], &len(0), &[1, 2, 3, 4], &inner()]),
        over_udp(
            2152,
            &[
                &[0x34, 255],
                &len(8),
                &[1, 2, 3, 4, 0, 0, 0, 0x85, 1, 7, 7, 0],
                &inner(),
            ],
        ),
        over_udp(
            1701,
            &[
                &[0x4a, 2],
                &len(18),
                &[0, 7, 0, 8, 0, 1, 0, 2, 0, 2, 9, 9, 0xff, 3, 0, 0x21],
                &inner(),
            ],
        ),
        over_udp(
            3544,
            &[&[0, 1, 1, 1], &[7; 11], &[0, 0, 1, 2, 3, 4, 5, 6], &inner6],
        ),
        ethernet(
            0x8847,
            &[&[0xab, 0xcd, 0xe0, 60, 0, 16, 1, 60][..], &inner()].concat(),
        ),
        ethernet(
            0x8847,
            &[&[0xab, 0xcd, 0xe1, 60, 0, 0, 0, 7][..], &frame].concat(),
        ),
        ethernet(
            0x8864,
            &[&[0x11, 0, 0x12, 0x34][..], &len(2), &[0, 0x21], &inner()].concat(),
        ),
        v4(
            132,
            &[&[0xc7, 0x39, 0x0b, 0x59, 1, 2, 3, 4, 9, 9, 9, 9, 1, 0, 0, 4]],
        ),
        v4(
            2,
            &[
                &[0x22, 0, 0, 0, 0, 0, 0, 1, 4, 1, 0, 1],
                &INNER_SRC,
                &INNER_DST,
                &[7; 4],
            ],
        ),
        v4(2, &[&[0x11, 1, 0, 0, 0, 0, 0, 0, 2, 3, 0, 1], &INNER_DST]),
        v6(58, &[&[143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 1], &SRC6, &DST6]),
        v6(58, &[&[130, 0, 0, 0, 0, 0, 0, 0], &DST6, &[2, 3, 0, 1], &SRC6]),
        v6(
            58,
            &[
                &[134, 0, 0, 0, 64, 0, 7, 8],
                &[0; 8],
                &[31, 1, 0, 0, 0, 0, 0, 0, 1, 1],
                &MAC_A,
            ],
        ),
        v6(58, &[&[1, 0, 0, 0, 0, 0, 0, 0], &ipv6(4, &inner())]),
        v4(
            1,
            &[&[3, 1, 0, 0, 0, 17, 0, 0], &ipv4(17, &udp([4789, 4789], &vxlan))],
        ),
        v4(
            1,
            &[
                &[11, 0, 0, 0, 0, 0, 0, 0],
                &ipv4(1, &[&[3, 0, 0, 0, 0, 0, 0, 0][..], &inner()].concat()),
            ],
        ),
    ];
    let mut all: Vec<_> = in_ethernet.map(|packet| (LinkType::ETHERNET, packet)).into();
    all.extend([
        (
            LinkType::LINUX_SLL,
            [&[0, 0, 0, 1, 0, 6][..], &MAC_A, &[0, 0, 8, 0], &inner()].concat(),
        ),
        (
            LinkType::LINUX_SLL2,
            [
                &[8, 0, 0, 0, 0, 0, 0, 7, 0, 1, 0, 6][..],
                &MAC_A,
                &[0, 0],
                &inner(),
            ]
            .concat(),
        ),
        (LinkType::NULL, [&[2, 0, 0, 0][..], &inner()].concat()),
        (LinkType::LOOP, [&[0, 0, 0, 24][..], &inner6].concat()),
        (LinkType::PPP, [&[0xff, 3, 0, 0x57][..], &inner6].concat()),
        (LinkType::RAW, ipv4(4, &inner6)),
    ]);
    all
}

/// The same for the payload of an IPv4 packet in an Ethernet frame; gives what was released of the payload.
pub(crate) fn released_ipv4(protocol: u8, payload: &[u8], secrets: &[&[u8]]) -> Vec<u8> {
    released(
        LinkType::ETHERNET,
        &ethernet(0x0800, &ipv4(protocol, payload)),
        secrets,
    )[34..]
        .to_vec()
}
