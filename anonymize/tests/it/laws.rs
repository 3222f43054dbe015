//! The laws of the treatments, and of leaks that no single packet shows. P1 to P20 are the leaks that are known from
//! other tools; each has a test of its number: P14 stands with the command line (`client/tests/anonymize.rs`), P19
//! with the node's answers (`node/src/supervisor/levels.rs`), all others here.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use como_anonymize::{
    Anonymizer, Column, CryptoPan4, Filter, LinkType, RawPacket, View, build, rekey,
    rekey_addresses_and_ports,
};
use como_keys::mapping::MappingKey;
use como_policies::AccessLevel;
use como_policies::AccessLevel::{Anonymized, Headers, Payload};
use proptest::prelude::*;

use crate::frames::{BODY, DST, SRC, e4, e6, icmp, ipv4, ipv4_between, ipv6, ipv6_between, tcp, udp, udp_to};
use crate::golden::golden;
use crate::oracle::{KEYS, contains};

fn packet(data: &[u8]) -> RawPacket<'_> {
    RawPacket {
        ts_ns: 1_234_567_891,
        wire_len: data.len() as u32,
        link: LinkType::ETHERNET,
        data,
    }
}

fn view(level: AccessLevel, key: &Anonymizer, data: &[u8]) -> View {
    build(level, LinkType::ETHERNET, [packet(data)], Some(key))
}

/// All that a view tells.
fn told(view: &View) -> (Option<como_anonymize::PacketRow>, Vec<u8>) {
    (view.columns.row(0), view.frames.bytes.clone())
}

fn tcp4(src: u32) -> Vec<u8> {
    e4(ipv4_between(src.to_be_bytes(), DST, 6, &[], &tcp(&[], BODY)))
}

/// The bytes of one column.
fn column(view: &View, column: Column) -> Vec<u8> {
    let mut bytes = Vec::new();
    view.columns.write_le(column, 0, view.len(), &mut bytes);
    bytes
}

proptest! {
    #[test]
    fn ipv4_prefixes_are_preserved_exactly_for_every_audience(a: u32, flip in 0u32..32, noise: u32) {
        let b = (a ^ (0x8000_0000 >> flip)) ^ (noise & u32::MAX.checked_shr(flip + 1).unwrap_or(0));
        for map in [
            &(|x| KEYS[0].map_v4(x)) as &dyn Fn(u32) -> u32,
            &|x| KEYS[1].map_v4(KEYS[0].map_v4(x)),
            &|x| KEYS[2].map_v4(KEYS[0].map_v4(x)),
        ] {
            prop_assert_eq!((map(a) ^ map(b)).leading_zeros(), flip);
        }
    }

    #[test]
    fn ipv6_prefixes_are_preserved_exactly_on_the_first_64_bits(a: u128, flip in 0u32..128, noise: u128) {
        let b = (a ^ (1 << 127 >> flip)) ^ (noise & u128::MAX.checked_shr(flip + 1).unwrap_or(0));
        let twice = |x| KEYS[1].map_v6(KEYS[0].map_v6(x));
        for (x, y) in [(KEYS[0].map_v6(a), KEYS[0].map_v6(b)), (twice(a), twice(b))] {
            if flip < 64 {
                prop_assert_eq!((x ^ y).leading_zeros(), flip);
            } else {
                prop_assert!(x != y && x >> 64 == y >> 64, "one network, two hosts");
            }
        }
    }

    #[test]
    fn p1_the_map_does_not_depend_on_history(a: u32, b: u128, others in prop::collection::vec(any::<u32>(), 0..8)) {
        let (before, before6) = (KEYS[0].map_v4(a), KEYS[0].map_v6(b));
        let zero = KEYS[0].map_v4(0);
        let many: Vec<_> = others.iter().map(|other| tcp4(*other)).chain([tcp4(a)]).collect();
        let together = build(Anonymized, LinkType::ETHERNET, many.iter().map(|data| packet(data)), Some(&KEYS[0]));
        let alone = view(Anonymized, &KEYS[0], &tcp4(a));
        prop_assert_eq!(together.columns.row(others.len()), alone.columns.row(0));
        prop_assert_eq!(together.frames.get(others.len()), alone.frames.get(0));
        prop_assert_eq!((KEYS[0].map_v4(a), KEYS[0].map_v6(b), KEYS[0].map_v4(0)), (before, before6, zero));
    }

    #[test]
    fn p3_an_interface_id_is_bound_to_its_network(prefix: u64, other: u64, interface: u64) {
        prop_assume!(prefix != other);
        let at = |prefix: u64| KEYS[0].map_v6(u128::from(prefix) << 64 | u128::from(interface)) as u64;
        prop_assert_ne!(at(prefix), at(other), "one interface id in two networks");
        let twin = KEYS[0].map_v6(u128::from(prefix) << 64 | u128::from(prefix));
        prop_assert_ne!((twin >> 64) as u64, twin as u64, "equal halves do not stay equal");
    }

    #[test]
    fn rekeying_is_the_composition_of_both_maps(src: u32, src6: u128) {
        for audience in &KEYS[1..] {
            let node = view(Anonymized, &KEYS[0], &tcp4(src));
            let theirs = rekey(&node, audience);
            let expected = Ipv4Addr::from(audience.map_v4(KEYS[0].map_v4(src))).to_ipv6_mapped().octets();
            prop_assert_eq!(theirs.columns.src[0], expected);
            let node6 = view(Anonymized, &KEYS[0], &e6(ipv6_between(src6.to_be_bytes(), src6.to_be_bytes(), 17, &udp(b""))));
            let theirs6 = rekey(&node6, audience);
            prop_assert_eq!(u128::from_be_bytes(theirs6.columns.src[0]), audience.map_v6(KEYS[0].map_v6(src6)));
            // Columns alone give the same as whole frames.
            for (node, theirs) in [(node, theirs), (node6, theirs6)] {
                let mut columns = node.columns.clone();
                rekey_addresses_and_ports(&mut columns, audience);
                prop_assert_eq!((&columns.src, &columns.dst), (&theirs.columns.src, &theirs.columns.dst));
                prop_assert_eq!((&columns.src_port, &columns.dst_port), (&theirs.columns.src_port, &theirs.columns.dst_port));
            }
        }
    }

    #[test]
    fn p9_no_checksum_tells_of_what_is_not_shown(body in prop::collection::vec(any::<u8>(), 10), stale: u16) {
        for protocol in [6, 17, 1] {
            let make = |body: &[u8], stale: u16| {
                let mut packet = match protocol {
                    6 => ipv4(6, &tcp(&[], body)),
                    17 => ipv4(17, &udp_to(40_000, body)),
                    _ => ipv4(1, &icmp(8, 0, [0, 1, 0, 1], body)),
                };
                packet[10..12].copy_from_slice(&stale.to_be_bytes());
                e4(packet)
            };
            for level in [Anonymized, Headers] {
                let frame = |data: &[u8]| view(level, &KEYS[0], data).frames.bytes;
                prop_assert_eq!(frame(&make(&body, stale)), frame(&make(BODY, 0xabcd)));
            }
        }
    }

    #[test]
    fn macs_keep_their_kind(mac: [u8; 6]) {
        let mapped = KEYS[0].map_mac(mac);
        prop_assert_eq!(mapped[0] & 3, mac[0] & 3);
        prop_assert_eq!(mapped == [0xff; 6], mac == [0xff; 6]);
    }

    #[test]
    fn p20_nothing_tells_the_time_below_the_grain(ns in 0u64..1_000_000, other in 0u64..1_000_000) {
        let data = tcp4(7);
        let at = |level, ns| {
            let packet = RawPacket { ts_ns: 9_000_000_000 + ns, ..packet(&data) };
            told(&build(level, LinkType::ETHERNET, [packet], Some(&KEYS[0])))
        };
        prop_assert_eq!(at(Anonymized, ns), at(Anonymized, other));
        prop_assert_eq!(at(Headers, ns), at(Headers, ns / 1000 * 1000 + other % 1000));
    }
}

#[test]
fn every_map_is_a_bijection() {
    // A whole block of addresses, all of whose images lie in one block of the size.
    let images: BTreeSet<u32> = (0..=u16::MAX)
        .map(|low| KEYS[0].map_v4(0xc000_0000 | u32::from(low)))
        .collect();
    assert_eq!(images.len(), 1 << 16);
    assert_eq!(
        images
            .iter()
            .map(|image| image >> 16)
            .collect::<BTreeSet<_>>()
            .len(),
        1
    );
    let ports: BTreeSet<u16> = (0..=u16::MAX).map(|port| KEYS[0].map_port(port)).collect();
    assert_eq!(ports.len(), 1 << 16);
    let macs: BTreeSet<[u8; 6]> = (0..=u16::MAX)
        .map(|low| KEYS[0].map_mac([0, 0x1b, 0x21, 7, (low >> 8) as u8, low as u8]))
        .collect();
    assert_eq!(macs.len(), 1 << 16);
    let shown: BTreeSet<Vec<u8>> = (0..=u16::MAX)
        .map(|low| {
            let mut frame = tcp4(1);
            frame[10..12].copy_from_slice(&low.to_be_bytes());
            view(Headers, &KEYS[0], &frame).frames.bytes[6..12].to_vec()
        })
        .collect();
    assert_eq!(shown.len(), 1 << 16, "NIC parts at headers");
}

#[test]
fn at_headers_one_device_has_one_pseudonym_wherever_it_stands() {
    // A solicitation by an EUI-64 host for another: link header, addresses, group, target and option agree.
    let host = |last: u8| {
        let mut address = crate::frames::SRC6;
        address[15] = last;
        address
    };
    let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0x33, 0x44, 0x66];
    let mac = [0x00, 0x11, 0x22, 0x33, 0x44, 0x55];
    let message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &host(0x66), &[1, 1], &mac].concat();
    let mut frame = crate::frames::link(
        [0x33, 0x33, 0xff, 0x33, 0x44, 0x66],
        0x86dd,
        &ipv6_between(host(0x55), group, 58, &message),
    );
    frame[6..12].copy_from_slice(&mac);
    let shown = view(Headers, &KEYS[0], &frame).frames.bytes;
    let own = &shown[9..12];
    assert_ne!(own, &mac[3..]);
    assert_eq!(shown[6..9], mac[..3], "the vendor is shown");
    assert_eq!(&shown[35..38], own, "the address made of the MAC");
    assert_eq!(&shown[shown.len() - 3..], own, "the option");
    let target = &shown[14 + 40 + 8 + 13..14 + 40 + 24];
    assert_eq!(&shown[3..6], target, "the group's MAC and the target");
    assert_eq!(&shown[51..54], target, "the group and the target");
    // A quoted packet shows its addresses as they are shown elsewhere.
    let quoted = ipv6_between(host(0x55), crate::frames::DST6, 17, &udp(b""));
    let error = e6(ipv6_between(
        crate::frames::DST6,
        host(0x55),
        58,
        &icmp(1, 0, [0; 4], &quoted),
    ));
    let shown = view(Headers, &KEYS[0], &error).frames.bytes;
    assert_eq!(
        shown[38..54],
        shown[70..86],
        "destination of the error, source of the quote"
    );
    // Another audience sees another number.
    assert_ne!(
        view(Headers, &KEYS[1], &frame).frames.bytes[9..12],
        view(Headers, &KEYS[0], &frame).frames.bytes[9..12]
    );
}

#[test]
fn equal_at_a_level_is_equal_at_every_lower_one() {
    let mut equal_pairs = [0usize; 5];
    for golden in golden() {
        let at = |level, data: &[u8]| {
            let packet = RawPacket {
                data,
                ..golden.packet()
            };
            let view = build(level, golden.link, [packet], Some(&KEYS[0]));
            let theirs = rekey(&view, &KEYS[1]);
            (told(&view), told(&theirs))
        };
        let original = AccessLevel::ALL.map(|level| at(level, &golden.frame));
        for place in 0..golden.frame.len() {
            for change in [0x01, 0x5a, 0x80] {
                let mut data = golden.frame.clone();
                data[place] ^= change;
                let changed = AccessLevel::ALL.map(|level| at(level, &data));
                for level in 1..AccessLevel::ALL.len() {
                    if original[level] == changed[level] {
                        equal_pairs[level] += 1;
                        assert!(
                            original[level - 1] == changed[level - 1],
                            "{}: byte {place} shows below {} only",
                            golden.name,
                            AccessLevel::ALL[level]
                        );
                    }
                }
            }
        }
    }
    // Packets differ at payload always, at headers in what is payload, at anonymized in more.
    let [_, _, anonymized, headers, payload] = equal_pairs;
    assert_eq!(payload, 0);
    assert!(headers > 1000 && anonymized > headers, "{equal_pairs:?}");
}

#[test]
fn p2_the_pad_is_encrypted() {
    // With key[16..] itself for a pad, as one library has it, the first vector would differ.
    let map = CryptoPan4::new(b"32-char-str-for-AES-key-and-pad.");
    let found = Ipv4Addr::from(map.map(u32::from(Ipv4Addr::new(192, 0, 2, 1))));
    assert_eq!(found, Ipv4Addr::new(192, 0, 125, 244));
}

#[test]
fn p4_ipv6_is_injective_and_its_first_bits_are_mapped() {
    let base = u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0));
    let images: BTreeSet<u128> = (0..1u128 << 16)
        .map(|suffix| KEYS[0].map_v6(base | suffix))
        .collect();
    assert_eq!(images.len(), 1 << 16);
    let unchanged = (0..40u8)
        .map(|seed| Anonymizer::new(&MappingKey::from_bytes(&[seed; 32])))
        .filter(|key| key.map_v6(base) >> 112 == base >> 112)
        .count();
    assert!(unchanged <= 1, "{unchanged} of 40 keys leave the first 16 bits");
}

#[test]
fn p5_ipv4_and_ipv6_have_keys_of_their_own() {
    let addresses: Vec<u32> = (1..=128u32).map(|n| n.wrapping_mul(0x9e37_79b9)).collect();
    let equal = addresses
        .iter()
        .filter(|address| {
            (KEYS[0].map_v6(u128::from(**address) << 96) >> 96) as u32 == KEYS[0].map_v4(**address)
        })
        .count();
    assert_eq!(equal, 0);
}

#[test]
fn p6_without_the_key_nothing_can_be_computed() {
    let of = |seed: u8, address| Anonymizer::new(&MappingKey::from_bytes(&[seed; 32])).map_v4(address);
    for address in [u32::from_be_bytes(SRC), u32::from_be_bytes(DST), 0, u32::MAX] {
        let images: BTreeSet<u32> = (0..16).map(|seed| of(seed, address)).collect();
        assert_eq!(images.len(), 16, "another key, another pseudonym");
    }
}

#[test]
fn p7_one_bit_in_changes_half_of_the_bits_out() {
    type Map = (&'static str, u32, fn(&Anonymizer, u64) -> u64);
    let maps: [Map; 3] = [
        ("interface id", 64, |key, value| {
            key.map_v6(5 << 64 | u128::from(value)) as u64
        }),
        ("NIC part", 24, |key, value| {
            let [.., a, b, c] = value.to_be_bytes();
            let [.., d, e, f] = key.map_mac([0, 0x1b, 0x21, a, b, c]);
            u64::from(u32::from_be_bytes([0, d, e, f]))
        }),
        ("NIC part at headers", 24, |key, value| {
            let [.., a, b, c] = value.to_be_bytes();
            let mut frame = tcp4(1);
            frame[9..12].copy_from_slice(&[a, b, c]);
            let shown = view(Headers, key, &frame).frames.bytes;
            u64::from(u32::from_be_bytes([0, shown[9], shown[10], shown[11]]))
        }),
    ];
    for (name, bits, map) in maps {
        let (mut flips, mut total, mut linear) = (0, 0, 0);
        for n in 1..=60u64 {
            let value = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits);
            for bit in 0..bits {
                flips += (map(&KEYS[0], value) ^ map(&KEYS[0], value ^ 1 << bit)).count_ones();
                total += bits;
            }
            // A linear map, as a CRC is, gives zero for every four values whose sum is zero.
            let four = [value, value ^ 1, value ^ 2, value ^ 3].map(|value| map(&KEYS[0], value));
            linear += u32::from(four[0] ^ four[1] ^ four[2] ^ four[3] == 0);
        }
        let rate = f64::from(flips) / f64::from(total);
        assert!((0.45..0.55).contains(&rate), "{name}: {rate}");
        assert!(linear < 3, "{name}: linear");
    }
}

#[test]
fn p8_a_known_pair_does_not_give_the_others() {
    // If the map were an exclusive or, a sum or a difference with a seed, one pair would give it.
    let addresses: Vec<u32> = (1..=64u32).map(|n| n.wrapping_mul(0x9e37_79b9)).collect();
    let of = |combine: fn(u32, u32) -> u32| -> BTreeSet<u32> {
        addresses
            .iter()
            .map(|address| combine(KEYS[0].map_v4(*address), *address))
            .collect()
    };
    assert_eq!(of(|image, address| image ^ address).len(), 64);
    assert_eq!(of(u32::wrapping_sub).len(), 64);
    assert_eq!(of(u32::wrapping_add).len(), 64);
}

#[test]
fn p10_a_filter_sees_what_the_asker_sees() {
    let passes = |view: &View, text: &str| Filter::parse(text).expect(text).eval(&view.columns).get(0);
    let theirs = rekey(
        &view(Anonymized, &KEYS[0], &tcp4(u32::from_be_bytes(SRC))),
        &KEYS[1],
    );
    let pseudonym = Ipv4Addr::from(KEYS[1].map_v4(KEYS[0].map_v4(u32::from_be_bytes(SRC))));
    assert!(!passes(&theirs, &format!("host {}", Ipv4Addr::from(SRC))));
    assert!(passes(&theirs, &format!("src host {pseudonym}")));
    // At headers a MAC is a pseudonym, and an address made of one.
    let real = e6(ipv6(6, &tcp(&[], b"")));
    let shown = view(Headers, &KEYS[0], &real);
    let mac = |mac: &[u8]| {
        mac.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .join(":")
    };
    assert!(!passes(&shown, &format!("ether host {}", mac(&real[6..12]))));
    assert!(passes(
        &shown,
        &format!("ether host {}", mac(&shown.frames.bytes[6..12]))
    ));
    assert!(!passes(
        &shown,
        &format!("host {}", Ipv6Addr::from(crate::frames::SRC6))
    ));
    assert!(passes(
        &shown,
        &format!("host {}", Ipv6Addr::from(shown.columns.src[0]))
    ));
    assert!(
        passes(&shown, &format!("host {}", Ipv6Addr::from(crate::frames::DST6))),
        "no MAC in it: real"
    );
    assert!(passes(
        &view(Payload, &KEYS[0], &real),
        &format!("host {}", Ipv6Addr::from(crate::frames::SRC6))
    ));
}

#[test]
fn p11_a_key_prints_as_nothing() {
    let key = MappingKey::from_bytes(&[0x41; 32]);
    assert_eq!(format!("{key:?}"), "[redacted]");
}

#[test]
fn p12_a_zero_byte_does_not_end_a_key() {
    let mut key = [0x41; 32];
    key[1] = 0;
    let mut cut = [0; 32];
    cut[0] = 0x41;
    let map = |key: &[u8; 32]| CryptoPan4::new(key).map(0xc000_0201);
    assert_ne!(map(&key), map(&cut));
    let maps = |key: &[u8; 32]| Anonymizer::new(&MappingKey::from_bytes(key)).map_v4(0xc000_0201);
    assert_ne!(maps(&key), maps(&cut));
}

#[test]
fn p13_without_a_key_nothing_is_shown() {
    for golden in golden() {
        for level in AccessLevel::ALL.into_iter().filter(|level| *level < Payload) {
            let view = build(level, golden.link, [golden.packet()], None);
            assert!(view.frames.bytes.is_empty(), "{} at {level}", golden.name);
            let row = view.columns.row(0).expect("a row");
            assert_eq!(
                (row.src, row.dst),
                ([0; 16], [0; 16]),
                "{} at {level}",
                golden.name
            );
        }
    }
}

#[test]
fn p15_a_quote_that_ends_anywhere_or_claims_anything_is_safe() {
    let quote = ipv4(1, &icmp(3, 1, [0; 4], &ipv4(6, &tcp(&[2, 4, 5, 0xb4], b""))));
    for end in 0..=quote.len() {
        for first in [0x45, 0x4f, 0x40, 0x60, 0xff] {
            let mut cut = quote[..end].to_vec();
            if let Some(byte) = cut.first_mut() {
                *byte = first;
            }
            crate::oracle::check(LinkType::ETHERNET, &e4(ipv4(1, &icmp(11, 0, [0; 4], &cut))));
        }
    }
}

#[test]
fn p16_audiences_and_epochs_have_pseudonyms_of_their_own() {
    let node = view(Anonymized, &KEYS[0], &e6(ipv6(6, &tcp(&[], b""))));
    let (one, other) = (rekey(&node, &KEYS[1]), rekey(&node, &KEYS[2]));
    for &name in &[
        Column::Src,
        Column::Dst,
        Column::SrcPort,
        Column::TcpSeq,
        Column::TcpAck,
        Column::SrcMac,
        Column::DstMac,
    ] {
        assert_ne!(column(&one, name), column(&other, name), "{}", name.name());
        assert_ne!(column(&one, name), column(&node, name), "{}", name.name());
    }
    assert_eq!(
        told(&rekey(&node, &KEYS[1])),
        told(&one),
        "one audience, one set of pseudonyms"
    );
}

#[test]
fn p17_two_audiences_cannot_join_flows_by_their_numbers() {
    // A thousand flows that differ in every number. What is equal under two keys puts them in few classes only.
    let frames: Vec<Vec<u8>> = (0..1000u32)
        .map(|n| {
            let noise = n.wrapping_mul(0x9e37_79b9).to_be_bytes();
            let mut options = vec![8, 10];
            options.extend(noise);
            options.extend(noise);
            options.extend([1, 1]);
            let mut segment = tcp(&options, b"");
            segment[0..2].copy_from_slice(&(32_768 + n as u16).to_be_bytes());
            segment[4..8].copy_from_slice(&noise);
            segment[8..12].copy_from_slice(&noise);
            segment[14..16].copy_from_slice(&noise[..2]);
            let mut packet = ipv4_between(noise, DST, 6, &[], &segment);
            packet[4..6].copy_from_slice(&noise[2..]);
            e4(packet)
        })
        .collect();
    let seen = |key: &Anonymizer| {
        build(
            Anonymized,
            LinkType::ETHERNET,
            frames.iter().map(|data| packet(data)),
            Some(key),
        )
    };
    let (one, other) = (seen(&KEYS[0]), seen(&KEYS[1]));
    let mut classes = BTreeSet::new();
    for at in 0..frames.len() {
        let (a, b) = (
            one.frames.get(at).expect("a frame"),
            other.frames.get(at).expect("a frame"),
        );
        // What both audiences see alike, byte by byte.
        let common: Vec<Option<u8>> = a.iter().zip(b).map(|(a, b)| (a == b).then_some(*a)).collect();
        let fixed: Vec<u8> = [12, 13, 14, 15, 20, 21, 22, 23, 36, 37, 46, 47, 48, 49]
            .iter()
            .filter_map(|at| common[*at])
            .collect();
        classes.insert(fixed);
    }
    assert!(
        classes.len() <= 17,
        "{} classes: the sizes of windows at most",
        classes.len()
    );
}

#[test]
fn p18_no_range_passes_unmapped() {
    for address in [
        "240.0.0.1",
        "255.255.255.255",
        "224.0.0.1",
        "127.0.0.1",
        "10.0.0.1",
        "0.0.0.0",
        "169.254.7.9",
    ] {
        let address = u32::from(address.parse::<Ipv4Addr>().expect("an address"));
        assert!(
            KEYS.iter().any(|key| key.map_v4(address) >> 8 != address >> 8),
            "{address:08x}"
        );
    }
    let blocks: BTreeSet<u32> = (0..16u8)
        .map(|seed| Anonymizer::new(&MappingKey::from_bytes(&[seed; 32])).map_v4(0xf000_0000) >> 28)
        .collect();
    assert!(
        blocks.len() > 4,
        "240/4 goes somewhere else under each key: {blocks:?}"
    );
}

#[test]
fn what_was_seen_in_the_packet_is_not_in_any_column() {
    let data = e4(ipv4(6, &tcp(&[], BODY)));
    for key in &*KEYS {
        let view = view(Anonymized, key, &data);
        for &name in Column::ALL {
            for secret in [&SRC[..], &DST, BODY] {
                assert!(!contains(&column(&view, name), secret), "{}", name.name());
            }
        }
    }
}
