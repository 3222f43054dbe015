//! Hand-made packets for the tests of this crate, and the laws that every released frame obeys.

use std::sync::LazyLock;

use como_keys::mapping::MappingKey;

use crate::dissect::{Layer, LayerKind, dissect};
use crate::packet::{LinkType, RawPacket};
use crate::row::{RowMeta, describe};
use crate::strip::{restore, strip};
use crate::treat::{Anonymizer, Outcome};

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

/// The released form of a packet, after every law was checked on it: its layout is that of the packet, also when
/// re-keyed; stripping and restoring gives it back; none of `secrets` is in it under all keys.
pub(crate) fn released(link: LinkType, packet: &[u8], secrets: &[&[u8]]) -> Vec<u8> {
    let found = dissect(link, packet);
    let outputs = KEYS.each_ref().map(|key| {
        let mut out = Vec::new();
        assert!(matches!(
            key.anonymize(link, packet, &mut out),
            Outcome::Framed { .. }
        ));
        out
    });
    for secret in secrets {
        let contains = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == *secret);
        assert!(contains(packet), "the packet holds {secret:02x?}");
        assert!(!outputs.iter().all(|out| contains(out)), "{secret:02x?} leaks");
    }
    let out = &outputs[0];
    assert_eq!(dissect(link, out).layers(), found.layers(), "the layout is kept");
    let mut again = Vec::new();
    KEYS[1].anonymize(link, out, &mut again);
    assert_eq!(
        dissect(link, &again).layers(),
        found.layers(),
        "and when re-keyed"
    );
    let raw = |data| RawPacket {
        ts_ns: 0,
        wire_len: 0,
        link,
        data,
    };
    let row = describe(&RowMeta::of_packet(&raw(out), &dissect(link, out)), link, out);
    let mut stripped = out.clone();
    strip(link, &mut stripped);
    restore(link, &mut stripped, &row);
    assert_eq!(&stripped, out, "stripped and restored");
    // The frame that is released, continued by zeros, is a packet with good checksums.
    let mut whole = out.clone();
    whole.resize(packet.len().max(out.len()), 0);
    let verdicts = RowMeta::of_packet(&raw(&whole), &dissect(link, &whole)).checksums;
    assert!(![verdicts & 3, verdicts >> 2].contains(&2), "{verdicts:04b}");
    out.clone()
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
