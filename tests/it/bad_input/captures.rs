//! Sources that are no captures, captures that do not read to their end, and packets that are like no other.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use como_tests::generate::Traffic;

use crate::harness::{Deployment, open_packets};

/// Most bytes of a packet that a capture file may hold.
const MAX_CAPTURE_BYTES: usize = 262_144;

/// A record of a pcap file: seconds, length on the wire, captured bytes.
type Record = (u32, u32, Vec<u8>);

/// A pcap file of these records (microseconds, Ethernet), and of raw bytes after them.
fn pcap(path: &Path, records: &[Record], tail: &[u8]) {
    let mut out = Vec::new();
    out.extend(0xa1b2_c3d4_u32.to_le_bytes());
    out.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.extend([(MAX_CAPTURE_BYTES as u32).to_le_bytes(), 1_u32.to_le_bytes()].concat());
    for (seconds, wire_len, data) in records {
        for field in [*seconds, 0, data.len() as u32, *wire_len] {
            out.extend(field.to_le_bytes());
        }
        out.extend(data);
    }
    out.extend(tail);
    fs::write(path, out).expect("a capture");
}

#[test]
fn a_source_that_is_no_capture_ends_the_node_with_what_to_do() {
    let mut site = Deployment::new().capture(50, 67);
    site.node_folder();
    let sound = fs::read(site.path("capture.pcap")).expect("a capture");
    let pcapng_head = [
        0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0,
    ];
    fs::create_dir(site.path("folder")).expect("a folder");
    let written = |name: &str, bytes: &[u8]| {
        let path = site.path(name);
        fs::write(&path, bytes).expect("written");
        path
    };
    let cases: [(PathBuf, &str); 6] = [
        (
            written("text", b"not a capture, but long enough to look like one\n"),
            "neither magic number",
        ),
        (written("empty", b""), "it is empty"),
        (written("cut", &sound[..20]), "ends before its header does"),
        (
            written("cut-ng", &[&pcapng_head[..], &[0; 8]].concat()),
            "ends before its header does",
        ),
        (site.path("folder"), "is not a file"),
        (site.path("nothing"), "nothing"),
    ];
    for (path, words) in cases {
        let name = path.display().to_string();
        site.reconfigure(&format!("[source]\npath = {name:?}"));
        let mut node = site.launch();
        assert!(!node.ended().success(), "{name}");
        let log = node.log();
        let at = log
            .find("como-node: ")
            .unwrap_or_else(|| panic!("no reason in\n{log}"));
        let said = &log[at..];
        assert!(said.contains(&name) && said.contains(words), "{said}");
        let fix = said.lines().last().unwrap_or_default();
        assert!(
            fix.starts_with("give a capture") || fix.starts_with("name a pcap"),
            "{said}"
        );
        assert!(
            node.audited("died").len() <= 1,
            "capture was started again\n{log}"
        );
        fs::remove_file(site.path("node.log")).expect("the log");
        fs::remove_file(node.audit_log()).ok();
    }
    // With a capture it starts, and nothing is left of the failures.
    let path = site.path("capture.pcap").display().to_string();
    site.reconfigure(&format!("[source]\npath = {path:?}"));
    let node = site.start();
    node.ingested();
    assert_eq!(node.catalog()["packets"], 50);
    node.stop();
}

/// What may stand in a capture file and is like no packet of a link.
fn odd_packets() -> Vec<Record> {
    let sized = |length: usize| (0..length).map(|n| (n % 251) as u8).collect::<Vec<u8>>();
    vec![
        (1_700_000_000, 60, sized(60)),
        (1_700_000_001, 0, Vec::new()),
        (1_700_000_002, 1500, Vec::new()),
        // More captured than there was on the wire.
        (1_700_000_003, 10, sized(64)),
        // As large as there may be; and larger on the wire than any.
        (1_700_000_004, MAX_CAPTURE_BYTES as u32, sized(MAX_CAPTURE_BYTES)),
        (1_700_000_005, u32::MAX, sized(80)),
        // Back in time.
        (1_699_999_999, 61, sized(61)),
        (1_700_000_006, 1, sized(1)),
    ]
}

#[test]
fn odd_packets_come_back_byte_for_byte_and_what_does_not_read_is_a_gap() {
    // A record that says it is larger than any packet; and one that ends early.
    let corrupt = [
        [6_u32, 0, MAX_CAPTURE_BYTES as u32 + 1, 60]
            .map(u32::to_le_bytes)
            .concat(),
        vec![7; 400],
    ]
    .concat();
    let truncated = [[6_u32, 0, 60, 60].map(u32::to_le_bytes).concat(), vec![7; 20]].concat();
    let cases = [
        (
            "corrupt.pcap",
            corrupt,
            "source-corrupt",
            "bytes that are no packet",
        ),
        (
            "truncated.pcap",
            truncated,
            "source-truncated",
            "ends inside a packet",
        ),
    ];
    for (name, tail, cause, warning) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().join(name);
        pcap(&source, &odd_packets(), &tail);
        let mut site = Deployment::new()
            .source(&format!("file:{}", source.display()))
            .retain("payload");
        let ann = site.partner("ann", "payload", false);
        let node = site.start();
        node.ingested();
        let status = node.until("the damage is told", |status| status["capture"]["warning"] != "");
        let told = status["capture"]["warning"].as_str().unwrap_or_default();
        assert!(told.contains(warning), "{told}");
        assert_eq!(node.catalog()["packets"], odd_packets().len());

        ann.trace(&["--all", "--level", "payload"], "odd.como").ok();
        let packets = open_packets(&ann, &ann.path("odd.como"));
        for (at, (seconds, wire_len, data)) in odd_packets().iter().enumerate() {
            assert_eq!(
                packets.ts_ns[at],
                u64::from(*seconds) * 1_000_000_000,
                "time of packet {at}"
            );
            assert_eq!(packets.wire_len[at], *wire_len, "length of packet {at}");
            assert!(packets.frames[at] == *data, "bytes of packet {at}");
        }
        let gaps = &packets.end.gaps;
        assert!(
            gaps.iter().any(|gap| gap.cause == cause && gap.count.is_none()),
            "{gaps:?}"
        );
        assert!(node.audited("died").is_empty(), "nobody died of it");
        // Nor does a view of less of them, under pseudonyms.
        ann.trace(&["--all"], "anonymized.como").ok();
        node.stop();
    }
}

/// Capture dies of one packet in the middle of a file, wherever it meets it: builds with debug assertions have such
/// packets (`node/src/capture/pipeline/fault.rs`).
#[cfg(debug_assertions)]
#[test]
fn a_packet_that_kills_capture_is_set_aside_undissected_and_the_trace_goes_on() {
    use como_node::capture::pipeline::fault::DEADLY_END;

    const DEADLY: usize = 700;
    let traffic = Traffic {
        packets: 1_500,
        seed: 68,
        ..Traffic::default()
    };
    for retain in ["payload", "headers"] {
        let mut site = Deployment::new().traffic(traffic.clone()).retain(retain);
        let ann = site.partner("ann", retain, false);
        site.node_folder();
        let mut records: Vec<(u64, Vec<u8>)> = traffic.generate().map(|p| (p.ts_ns, p.data)).collect();
        let deadly = &mut records[DEADLY].1;
        deadly.resize(deadly.len().max(200), 0);
        let at = deadly.len() - DEADLY_END.len();
        deadly[at..].copy_from_slice(DEADLY_END);
        rewrite(&site.path("capture.pcap"), &records);
        let node = site.start();
        node.ingested();

        // It killed capture at least twice, and then no more.
        let deaths = node.audited("died");
        assert!((2..=5).contains(&deaths.len()), "{deaths:?}");
        assert!(
            deaths
                .iter()
                .all(|death| death["role"] == "capture" && death["end"] == "signal 6"),
            "{deaths:?}"
        );
        assert_eq!(node.status()["capture"]["poisoned"], 1);
        assert_eq!(
            node.catalog()["packets"],
            records.len(),
            "none missing, none twice"
        );
        ann.trace(&["--all", "--level", retain], "whole.como").ok();
        let whole = open_packets(&ann, &ann.path("whole.como"));
        assert_eq!(whole.frames.len(), records.len());
        // The packet itself is whole where payload is kept; elsewhere it has no header that anybody vouches for.
        if retain == "payload" {
            assert!(
                records
                    .iter()
                    .zip(&whole.frames)
                    .all(|((_, data), frame)| data == frame)
            );
        } else {
            assert!(whole.frames[DEADLY].is_empty());
            // The next one has its headers: ethertype and what follows, up to the IP checksum, are real.
            assert_eq!(whole.frames[DEADLY + 1][12..24], records[DEADLY + 1].1[12..24]);
        }
        ann.trace(&["--all"], "anonymized.como").ok();
        let seen = open_packets(&ann, &ann.path("anonymized.como"));
        assert!(
            seen.frames[DEADLY].is_empty(),
            "nothing of it is shown below payload"
        );
        let shown = seen.frames.iter().filter(|frame| !frame.is_empty()).count();
        assert!(
            shown > records.len() * 9 / 10,
            "{shown} packets are dissected as ever"
        );
        node.stop();
    }
}

/// Writes a pcap file with nanoseconds over another.
#[cfg(debug_assertions)]
fn rewrite(path: &Path, packets: &[(u64, Vec<u8>)]) {
    let mut out = fs::File::create(path).expect("a capture");
    let head = [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, MAX_CAPTURE_BYTES as u32, 1];
    out.write_all(&head.map(u32::to_le_bytes).concat())
        .expect("written");
    for (ts_ns, data) in packets {
        let length = data.len() as u32;
        let fields = [
            (ts_ns / 1_000_000_000) as u32,
            (ts_ns % 1_000_000_000) as u32,
            length,
            length,
        ];
        out.write_all(&fields.map(u32::to_le_bytes).concat())
            .expect("written");
        out.write_all(data).expect("written");
    }
}
