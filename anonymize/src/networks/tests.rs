//! The table against a search through all prefixes, tables of both formats against what was written, and files of anybody.

use proptest::prelude::*;

use super::*;

/// Any prefixes, close together so that they lie in each other.
fn prefixes() -> impl Strategy<Value = Vec<(u32, u8, u32)>> {
    let prefix = (0u32..64, any::<u32>(), 1u8..=32, 1u32..6).prop_map(|(high, low, len, system)| {
        let bits = (high << 26 | low & 0x3ff) & u32::MAX << (32 - u32::from(len));
        (bits, len, system)
    });
    prop::collection::vec(prefix, 0..40)
}

fn origins(prefixes: &[(u32, u8, u32)]) -> Origins {
    Origins {
        v4: prefixes
            .iter()
            .map(|(bits, len, system)| ((*bits, *len), *system))
            .collect(),
        v6: prefixes
            .iter()
            .map(|(bits, len, system)| ((u128::from(*bits) << 96, *len), *system))
            .collect(),
    }
}

/// The longest prefix that holds an address, found one by one.
fn longest(origins: &Origins, address: u32) -> u32 {
    let holds = |bits: u32, len: u8| (address ^ bits) & u32::MAX << (32 - u32::from(len)) == 0;
    let found = origins.v4.iter().filter(|((bits, len), _)| holds(*bits, *len));
    found
        .max_by_key(|((_, len), _)| *len)
        .map_or(0, |(_, system)| *system)
}

fn pfx2as(origins: &Origins) -> String {
    let v4 = origins
        .v4
        .iter()
        .map(|((bits, len), system)| format!("{}\t{len}\t{system}\n", std::net::Ipv4Addr::from(*bits)));
    let v6 = origins
        .v6
        .iter()
        .map(|((bits, len), system)| format!("{}\t{len}\t{system}\n", std::net::Ipv6Addr::from(*bits)));
    v4.chain(v6).collect()
}

/// A record of an MRT file.
fn record(kind: u16, subtype: u16, body: &[u8]) -> Vec<u8> {
    let header = [
        &0u32.to_be_bytes()[..],
        &kind.to_be_bytes(),
        &subtype.to_be_bytes(),
    ]
    .concat();
    [&header, &(body.len() as u32).to_be_bytes()[..], body].concat()
}

/// An AS_PATH attribute of segments.
fn path(segments: &[(u8, &[u32])]) -> Vec<u8> {
    let segment = |(kind, systems): &(u8, &[u32])| {
        let numbers: Vec<u8> = systems.iter().flat_map(|system| system.to_be_bytes()).collect();
        [&[*kind, systems.len() as u8][..], &numbers].concat()
    };
    let value: Vec<u8> = segments.iter().flat_map(segment).collect();
    let origin = [0x40, 1, 1, 0];
    let extended = [&[0x50, 2][..], &(value.len() as u16).to_be_bytes(), &value].concat();
    [&origin[..], &extended].concat()
}

fn rib(bits: u128, len: u8, with_path_id: bool, paths: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 1, len];
    body.extend_from_slice(&bits.to_be_bytes()[..usize::from(len).div_ceil(8)]);
    body.extend_from_slice(&(paths.len() as u16).to_be_bytes());
    for attributes in paths {
        body.extend_from_slice(&[0, 0, 0, 0, 0, 0]);
        if with_path_id {
            body.extend_from_slice(&[0, 0, 0, 9]);
        }
        body.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
        body.extend_from_slice(attributes);
    }
    body
}

fn mrt(origins: &Origins) -> Vec<u8> {
    let mut file = record(13, 1, &[1, 2, 3, 4, 0, 0, 0, 0]);
    for ((bits, len), system) in &origins.v4 {
        file.extend(record(
            13,
            2,
            &rib(
                u128::from(*bits) << 96,
                *len,
                false,
                &[path(&[(2, &[9, *system])])],
            ),
        ));
    }
    for ((bits, len), system) in &origins.v6 {
        file.extend(record(
            13,
            10,
            &rib(*bits, *len, true, &[path(&[(2, &[*system])])]),
        ));
    }
    file
}

proptest! {
    #[test]
    fn an_address_has_the_system_of_its_longest_prefix(prefixes in prefixes(), more in prop::collection::vec(any::<u32>(), 20)) {
        let origins = origins(&prefixes);
        let table = AsTable::of(&origins, 1);
        let edges = prefixes.iter().flat_map(|(bits, len, _)| {
            let last = bits | u32::MAX.checked_shr(u32::from(*len)).unwrap_or(0);
            [*bits, last, bits.wrapping_sub(1), last.wrapping_add(1)]
        });
        for address in edges.chain(more).chain([0, u32::MAX]) {
            let expected = longest(&origins, address);
            prop_assert_eq!(table.of_v4(address), expected, "{}", address);
            prop_assert_eq!(table.of_v6(u128::from(address) << 96 | 7), expected, "{}", address);
        }
    }

    /// The size of a system is that of the addresses which are its own, and those of smaller ones come out unnamed.
    #[test]
    fn systems_of_few_addresses_are_not_named(prefixes in prefixes(), min_addresses in 1u64..1 << 30) {
        let origins = origins(&prefixes);
        let (all, named) = (AsTable::of(&origins, 1), AsTable::of(&origins, min_addresses));
        let ends = all.v4.starts[1..].iter().map(|start| u64::from(*start)).chain([1 << 32]);
        let mut sizes = BTreeMap::<u32, u64>::new();
        for ((start, end), system) in all.v4.starts.iter().zip(ends).zip(&all.v4.systems) {
            *sizes.entry(*system).or_default() += end - u64::from(*start);
        }
        for (start, system) in all.v4.starts.iter().zip(&all.v4.systems) {
            let expected = if sizes[system] < min_addresses { 0 } else { *system };
            prop_assert_eq!(named.of_v4(*start), expected);
        }
    }

    #[test]
    fn both_formats_give_what_was_written(prefixes in prefixes()) {
        let origins = origins(&prefixes);
        let read = |bytes: &[u8]| AsTable::read(bytes, 1);
        if prefixes.is_empty() {
            prop_assert!(matches!(read(&mrt(&origins)), Err(AsTableError::Empty)));
            return Ok(());
        }
        prop_assert_eq!(read(&mrt(&origins)).unwrap(), AsTable::of(&origins, 1));
        prop_assert_eq!(read(pfx2as(&origins).as_bytes()).unwrap(), AsTable::of(&origins, 1));
    }

    #[test]
    fn a_changed_or_cut_file_never_panics(prefixes in prefixes(), at in any::<usize>(), byte: u8, cut in any::<usize>()) {
        let origins = origins(&prefixes);
        for mut bytes in [mrt(&origins), pfx2as(&origins).into_bytes()] {
            if bytes.is_empty() {
                continue;
            }
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = AsTable::read(&bytes[..], 1);
            bytes.truncate(cut % (bytes.len() + 1));
            let _ = AsTable::read(&bytes[..], 1);
        }
    }

    #[test]
    fn bytes_of_anybody_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = AsTable::read(&bytes[..], 1);
        let head = [&[0, 0, 0, 0, 0, 13, 0, 2][..], &(bytes.len() as u32).to_be_bytes(), &bytes].concat();
        let _ = AsTable::read(&head[..], 1);
    }
}

#[test]
fn origins_are_those_that_most_peers_see_and_sets_name_nobody() {
    let of = |paths: &[Vec<u8>]| {
        let file = [
            record(13, 2, &rib(0xc000_0200 << 96, 24, false, paths)),
            record(13, 2, &rib(0xc633_6400 << 96, 24, false, &[path(&[(2, &[77])])])),
        ]
        .concat();
        AsTable::read(&file[..], 1).unwrap().of_v4(0xc000_0201)
    };
    let sequence = |systems: &[u32]| path(&[(2, systems)]);
    assert_eq!(of(&[sequence(&[1, 5]), sequence(&[2, 6]), sequence(&[3, 6])]), 6);
    assert_eq!(
        of(&[sequence(&[1, 6]), sequence(&[2, 5])]),
        5,
        "the smaller of two"
    );
    assert_eq!(of(&[path(&[(2, &[1, 5]), (1, &[7, 8])])]), 0, "a set of several");
    assert_eq!(of(&[path(&[(2, &[1, 5]), (1, &[7])])]), 7, "a set of one");
    assert_eq!(
        of(&[path(&[(3, &[64_512]), (2, &[1, 5]), (3, &[64_513])])]),
        5,
        "confederations are inside"
    );
    assert_eq!(of(&[path(&[])]), 0, "announced by the collector's own network");
}

#[test]
fn lines_of_several_origins_are_read_as_the_table_means_them() {
    let text = "192.0.2.0\t24\t5_6\n198.51.100.0\t24\t5,6\n203.0.113.0\t24\t4200000000\n0.0.0.0\t0\t9\r\n2001:db8::\t32\t7_8,9\n";
    let table = AsTable::read(text.as_bytes(), 1).unwrap();
    let of = |a, b, c| table.of_v4(u32::from_be_bytes([a, b, c, 1]));
    assert_eq!(
        (of(192, 0, 2), of(198, 51, 100), of(203, 0, 113)),
        (5, 0, 4_200_000_000)
    );
    assert_eq!(of(8, 8, 8), 0, "a default route names nobody");
    assert_eq!(table.of_v6(0x2001_0db8 << 96 | 1), 7);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let says = |bytes: &[u8], words: &str| {
        let error = AsTable::read(bytes, 1).unwrap_err().to_string();
        assert!(error.contains(words) && error.lines().count() == 2, "{error}");
    };
    says(b"", "neither an MRT dump");
    says(b"\x1f\x8b\x08\0\0\0\0\0\0\0\0\0", "unpack it with gunzip");
    says(b"BZh91AY&SY..", "unpack it with bunzip2");
    says(b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0", "neither an MRT dump");
    says(
        b"10.0.0.0\t8\t1\n10.0.0.0\t33\t1\n",
        "line 2 of the pfx2as table: the prefix is longer",
    );
    says(
        b"10.0.0.0\t8\n",
        "line 1 of the pfx2as table: it has not three fields",
    );
    says(b"10.0.0.0\t8\t1_x\n", "the AS is no number");
    let good = record(13, 2, &rib(10 << 120, 8, false, &[path(&[(2, &[1])])]));
    says(
        &[&good[..], &good[..20]].concat(),
        "record 2 of the MRT file: it is cut",
    );
    says(
        &[&good[..], &good[..5]].concat(),
        "record 2 of the MRT file: it is cut in its header",
    );
    says(
        &record(13, 2, &[0, 0, 0, 1, 33]),
        "record 1 of the MRT file: it contradicts itself",
    );
    says(&record(13, 1, &[]), "no prefix with an AS");
}

#[test]
fn a_packet_has_the_systems_of_its_outermost_addresses() {
    let table = AsTable::read(&b"10.1.0.0\t16\t64500\n93.184.0.0\t16\t64501\n"[..], 1).unwrap();
    for (link, packet) in crate::sample::samples() {
        let dissection = crate::dissect(link, &packet);
        let (src, dst) = table.of_packet(&packet, &dissection);
        assert!([0, 64_500, 64_501].contains(&src) && [0, 64_500, 64_501].contains(&dst));
    }
    let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    packet.extend_from_slice(&[
        0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 2, 3, 93, 184, 216, 34,
    ]);
    packet.extend_from_slice(&[0, 1, 0, 2, 0, 8, 0, 0]);
    let dissection = crate::dissect(crate::LinkType::ETHERNET, &packet);
    assert_eq!(table.of_packet(&packet, &dissection), (64_500, 64_501));
}
