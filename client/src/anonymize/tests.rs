//! The tool against the treatment itself, packet by packet; formats, link types, keys and damage.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use como_anonymize::{Anonymizer, LinkType, Outcome};
use como_keys::files;
use como_keys::mapping::MappingKey;
use como_savefile::{Batch, End, Packet, Progress, Resolution, Section, Writer};

use super::*;

/// Time, wire length, link type, data.
type Row = (u64, u32, u32, Vec<u8>);

const START_NS: u64 = 1_772_442_000_123_456_789;
/// Must be seen nowhere below `payload`.
const PAYLOAD: &[u8] = b"the payload of everybody";

fn ipv4(source: Ipv4Addr, n: u32) -> Vec<u8> {
    let total = (28 + PAYLOAD.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([(n >> 8) as u8, n as u8, 0, 0, 64, 17, 0, 0]);
    packet.extend(source.octets());
    packet.extend([192, 0, 2, 7]);
    packet.extend(40_000_u16.to_be_bytes());
    packet.extend(53_u16.to_be_bytes());
    packet.extend((total - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend_from_slice(PAYLOAD);
    packet
}

fn ethernet(ethertype: u16, body: &[u8]) -> Vec<u8> {
    [
        &[2, 1, 2, 3, 4, 5, 2, 1, 2, 3, 4, 6][..],
        &ethertype.to_be_bytes(),
        body,
    ]
    .concat()
}

/// Many packets, so that every worker has several batches; every seventh is of an unknown ethertype.
fn rows(count: u32, links: &[u32]) -> Vec<Row> {
    (0..count)
        .map(|n| {
            let source = Ipv4Addr::from(0x5db8_0000 + n % 5000);
            let link = links[n as usize % links.len()];
            let data = match (link, n % 7) {
                (101, _) => ipv4(source, n),
                (_, 6) => ethernet(0x88b5, PAYLOAD),
                _ => ethernet(0x0800, &ipv4(source, n)),
            };
            (
                START_NS + u64::from(n) * 1000,
                data.len() as u32 + 100,
                link,
                data,
            )
        })
        .collect()
}

fn fill(mut writer: Writer<Vec<u8>>, rows: &[Row]) -> Vec<u8> {
    for (ts_ns, wire_len, link, data) in rows {
        writer
            .packet(&Packet {
                ts_ns: *ts_ns,
                wire_len: *wire_len,
                link: *link,
                data,
            })
            .unwrap();
    }
    writer.finish().unwrap()
}

fn pcap(rows: &[Row]) -> Vec<u8> {
    fill(
        Writer::pcap(Vec::new(), rows[0].2, Resolution::Nanoseconds).unwrap(),
        rows,
    )
}

fn pcapng(rows: &[Row]) -> Vec<u8> {
    let section = Section {
        application: "a secret application",
        comment: "a secret comment",
    };
    fill(Writer::pcapng(Vec::new(), &section).unwrap(), rows)
}

fn read(bytes: &[u8]) -> Vec<Row> {
    let mut reader = Reader::new(bytes).unwrap();
    let (mut rows, mut batch) = (Vec::new(), Batch::default());
    while reader.read_batch(&mut batch).unwrap() == Progress::More {
        rows.extend(
            batch
                .packets()
                .map(|p| (p.ts_ns, p.wire_len, p.link, p.data.to_vec())),
        );
    }
    rows
}

fn key() -> MappingKey {
    MappingKey::from_bytes(&[9; 32])
}

fn treatment_at(level: AccessLevel) -> Treatment {
    Treatment::new(level, Some(Anonymizer::new(&key())))
}

fn run(level: AccessLevel, input: &[u8], format: Option<Format>) -> Result<(Vec<u8>, Summary)> {
    let mut out = Vec::new();
    let reader = Reader::new(input).unwrap();
    let mut read = 0;
    let summary = anonymize(reader, &mut out, &treatment_at(level), format, &mut |bytes| {
        read = bytes
    })?;
    assert!(read <= input.len() as u64);
    assert_eq!(summary.bytes_out, out.len() as u64);
    Ok((out, summary))
}

#[test]
fn packets_are_those_of_the_treatment_in_the_order_of_the_capture() {
    let rows = rows(60_000, &[1]);
    let anonymizer = Anonymizer::new(&key());
    let expected: Vec<Row> = rows
        .iter()
        .filter_map(|(ts_ns, wire_len, link, data)| {
            let mut frame = Vec::new();
            let outcome = anonymizer.anonymize(LinkType(*link), data, &mut frame);
            matches!(outcome, Outcome::Framed { .. })
                .then(|| (ts_ns - ts_ns % 1_000_000, *wire_len, *link, frame))
        })
        .collect();
    for input in [pcap(&rows), pcapng(&rows)] {
        for format in [Format::Pcap, Format::Pcapng] {
            let (out, summary) = run(AccessLevel::Anonymized, &input, Some(format)).unwrap();
            assert!(read(&out) == expected, "{format:?}");
            assert_eq!(
                (summary.packets_in(), summary.packets_out(), summary.denied()),
                (60_000, expected.len() as u64, 60_000 - expected.len() as u64)
            );
        }
    }
}

#[test]
fn payload_and_metadata_do_not_pass_below_payload() {
    let rows = rows(500, &[1]);
    let input = pcapng(&rows);
    let holds = |bytes: &[u8], needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    for level in AccessLevel::ALL {
        let (out, _) = run(level, &input, None).unwrap();
        assert_eq!(holds(&out, PAYLOAD), level == AccessLevel::Payload, "{level}");
        assert!(!holds(&out, b"a secret"), "{level}");
        let address = rows[0].3[26..30].to_vec();
        assert_eq!(holds(&out, &address), level >= AccessLevel::Headers, "{level}");
        // The device half of a MAC is a pseudonym at `headers` too.
        assert_eq!(
            holds(&out, &rows[0].3[..12]),
            level == AccessLevel::Payload,
            "{level}"
        );
    }
    let (out, _) = run(AccessLevel::Payload, &input, None).unwrap();
    assert!(read(&out) == rows);
}

#[test]
fn every_link_type_has_its_interface_and_pcap_refuses_a_second() {
    let rows = rows(3000, &[101, 1]);
    let input = pcapng(&rows);
    let (out, summary) = run(AccessLevel::Headers, &input, None).unwrap();
    let links = |rows: &[Row]| rows.iter().map(|row| row.2).collect::<Vec<u32>>();
    assert_eq!(links(&read(&out)), links(&rows));
    assert_eq!(summary.json()["input"]["packets_by_link_type"]["101"], 1500);
    let error = run(AccessLevel::Headers, &input, Some(Format::Pcap)).unwrap_err();
    assert!(error.to_string().contains("pcapng"), "{error}");
}

#[test]
fn a_capture_without_packets_is_one_still() {
    let empty = fill(
        Writer::pcap(Vec::new(), 113, Resolution::Microseconds).unwrap(),
        &[],
    );
    let (out, _) = run(AccessLevel::Anonymized, &empty, None).unwrap();
    assert_eq!(Reader::new(&out[..]).unwrap().link(), Some(113));
    let empty = fill(Writer::pcapng(Vec::new(), &Section::default()).unwrap(), &[]);
    for format in [Format::Pcap, Format::Pcapng] {
        let (out, _) = run(AccessLevel::Anonymized, &empty, Some(format)).unwrap();
        assert!(read(&out).is_empty());
    }
}

#[test]
fn what_comes_before_damage_is_kept_and_the_end_is_told() {
    let rows = rows(20_000, &[1]);
    let input = pcap(&rows);
    let (out, summary) = run(AccessLevel::Payload, &input[..input.len() - 1], None).unwrap();
    assert_eq!(summary.end(), End::Truncated);
    assert!(read(&out) == rows[..rows.len() - 1]);
    let mut corrupt = input;
    let at = 24 + (16 + rows[0].3.len()) + 8;
    corrupt[at..at + 4].copy_from_slice(&[0xff; 4]);
    let (out, summary) = run(AccessLevel::Payload, &corrupt, None).unwrap();
    assert_eq!((read(&out).len(), summary.end()), (1, End::Corrupt));
}

#[test]
fn tables_have_a_header_and_hold_the_threshold() {
    // 5000 sources of one destination: shared by many; the destination alone is one.
    let rows = rows(20_000, &[1]);
    let (out, summary) = run(AccessLevel::Coarse, &pcap(&rows), None).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("time,src,dst,"), "{text:.200}");
    assert_eq!(text.lines().count() as u64, summary.rows_out.unwrap() + 1);
    assert!(text.contains("unknown-ethertype"));
    assert!(!text.contains("93.184."));
    let (out, _) = run(AccessLevel::Aggregate, &pcap(&rows), None).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("time,dimension,"), "{text}");
}

/// A file with a mode.
fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    files::write_secret(&path, text.as_bytes()).unwrap();
    path
}

#[test]
fn keys_are_read_from_files_of_their_kind_only() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.key");
    generate_key(&path).unwrap();
    assert!(generate_key(&path).is_err(), "never replaced");
    let named = |key: &Path| KeyFiles {
        key: Some(key.to_owned()),
        ..KeyFiles::default()
    };
    for level in [AccessLevel::Coarse, AccessLevel::Anonymized, AccessLevel::Headers] {
        assert!(treatment(level, &named(&path)).is_ok());
        let error = treatment(level, &KeyFiles::default()).err().unwrap().to_string();
        assert!(error.contains("como keygen --anonymization"), "{error}");
    }
    assert!(treatment(AccessLevel::Payload, &named(&path)).is_err());
    let other = file(folder.path(), "other.key", &"ab".repeat(32));
    let error = treatment(AccessLevel::Anonymized, &named(&other)).err().unwrap();
    assert!(error.to_string().contains("COMO-ANONYMIZATION-KEY-1"), "{error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = treatment(AccessLevel::Anonymized, &named(&path)).err().unwrap();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[test]
fn cryptopan_keys_give_exactly_what_the_vectors_say() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own.key");
    generate_key(&own).unwrap();
    let vectors = include_str!("../../../anonymize/tests/vectors/cryptopan.csv");
    let mut by_key: BTreeMap<&str, Vec<[&str; 3]>> = BTreeMap::new();
    for line in vectors.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        by_key
            .entry(fields[0])
            .or_default()
            .push([fields[1], fields[2], fields[3]]);
    }
    let mut checked = 0;
    for (key, rows) in by_key {
        let path = file(folder.path(), &key[..8], key);
        let mut named = KeyFiles {
            key: Some(own.clone()),
            cryptopan: Some(path.clone()),
            cryptopan_v6: Some(path),
            allow_shared: false,
        };
        let error = treatment(AccessLevel::Anonymized, &named)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("--allow-shared-key"), "{error}");
        named.allow_shared = true;
        let treatment = treatment(AccessLevel::Anonymized, &named).unwrap();
        for [family, input, output] in rows {
            // Through the tool: a bare packet from that address.
            let packet = if family == "4" {
                ipv4(input.parse().unwrap(), 1)
            } else {
                let mut packet = vec![0x60, 0, 0, 0, 0, 8, 17, 64];
                packet.extend(input.parse::<Ipv6Addr>().unwrap().octets());
                packet.extend([0x20; 16]);
                packet.extend([0x9c, 0x40, 0, 53, 0, 8, 0, 0]);
                packet
            };
            let input = pcap(&[(START_NS, 100, 101, packet)]);
            let mut out = Vec::new();
            anonymize(
                Reader::new(&input[..]).unwrap(),
                &mut out,
                &treatment,
                None,
                &mut |_| (),
            )
            .unwrap();
            let frame = read(&out).remove(0).3;
            let found = if family == "4" {
                Ipv4Addr::from(*frame[12..].first_chunk().unwrap()).to_string()
            } else {
                Ipv6Addr::from(*frame[8..].first_chunk::<16>().unwrap()).to_string()
            };
            let expected = output.parse::<std::net::IpAddr>().unwrap().to_string();
            assert_eq!(found, expected, "{family}");
            checked += 1;
        }
    }
    assert!(checked >= 100, "{checked}");
}

/// Fails after some bytes, like a full disk.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_ends_the_work_and_every_thread_of_it() {
    let input = pcap(&rows(60_000, &[1]));
    for level in [AccessLevel::Payload, AccessLevel::Anonymized] {
        let reader = Reader::new(&input[..]).unwrap();
        let result = anonymize(reader, Full(1 << 20), &treatment_at(level), None, &mut |_| ());
        assert!(matches!(result, Err(ClientError::File { doing: "written", .. })));
    }
}
