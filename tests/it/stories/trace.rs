//! Trace downloads: what comes is what the link carried, at the level that was granted, and no more.

use super::oracle::{Seen, look, look_at};
use super::{SECOND, seconds};
use crate::harness::{Deployment, open_packets};

const MILLISECOND: u64 = 1_000_000;

fn is_tcp_443(seen: &&Seen) -> bool {
    seen.protocol == 6 && seen.ports.is_some_and(|(from, to)| from == 443 || to == 443)
}

#[test]
fn a_filter_and_window_give_the_packets_that_a_naive_count_gives() {
    let mut site = Deployment::new().capture(4_000, 5);
    let ann = site.partner("ann", "anonymized", false);
    let start = site.generated().start_ns;
    let real = look_at(site.generated());
    let node = site.start();
    node.ingested();

    // The ends lie within a millisecond: both are moved outward to its borders.
    let (from, to) = (start + 10 * SECOND + 300_123, start + 35 * SECOND + 1);
    let (snapped_from, snapped_to) = (from / MILLISECOND * MILLISECOND, to.next_multiple_of(MILLISECOND));
    let inside = |seen: &&Seen| (snapped_from..snapped_to).contains(&seen.ts_ns);
    let expected: Vec<&Seen> = real.iter().filter(inside).filter(is_tcp_443).collect();
    assert!(expected.len() > 100, "the oracle has something to count");

    let window = ["--from", &seconds(from), "--to", &seconds(to)];
    let filter = ["--filter", "tcp and port 443"];
    ann.trace(&[&window[..], &filter].concat(), "web.como").ok();
    let packets = open_packets(&ann, &ann.path("web.como"));
    assert_eq!(packets.frames.len(), expected.len());
    assert_eq!(packets.end.packets, expected.len() as u64);
    let window = packets.header.window;
    assert_eq!((window.from_ns, window.to_ns), (snapped_from, snapped_to));
    for ((frame, ts_ns), real) in packets.frames.iter().zip(&packets.ts_ns).zip(expected) {
        let seen = look(*ts_ns, frame);
        assert_eq!(
            *ts_ns,
            real.ts_ns / MILLISECOND * MILLISECOND,
            "time to the millisecond"
        );
        assert_eq!((seen.ethertype, seen.protocol), (real.ethertype, real.protocol));
        assert!(is_tcp_443(&&seen), "well-known ports stay");
        assert!(
            seen.source != real.source || seen.destination != real.destination,
            "addresses do not"
        );
    }

    // Nothing matches: an empty dataset, not an error.
    ann.trace(&["--all", "--filter", "tcp and udp"], "none.como").ok();
    assert!(open_packets(&ann, &ann.path("none.como")).frames.is_empty());
    node.stop();
}

#[test]
fn a_download_opens_in_every_format() {
    let mut site = Deployment::new().capture(1_500, 6);
    let ann = site.partner("ann", "anonymized", false);
    let real = look_at(site.generated());
    let udp = real.iter().filter(|seen| seen.protocol == 17).count();
    let node = site.start();
    node.ingested();
    ann.trace(&["--all", "--filter", "udp"], "udp.como").ok();
    node.stop();

    // The node is gone: a dataset needs only its owner's keys.
    let verified = ann.como(&["--json", "dataset", "verify", "udp.como"]).ok();
    assert!(verified.json().is_object());
    for format in ["pcapng", "csv", "jsonl", "parquet"] {
        let out = format!("udp.{format}");
        ann.como(&["dataset", "open", "udp.como", "--to", format, "-o", &out])
            .ok();
    }
    let text = |name: &str| std::fs::read_to_string(ann.path(name)).expect("text");
    assert_eq!(
        text("udp.csv").lines().count(),
        udp + 1,
        "a header line, and a line each"
    );
    assert_eq!(text("udp.jsonl").lines().count(), udp);
    for line in text("udp.jsonl").lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("each line is JSON");
    }
    let bytes = |name: &str| std::fs::read(ann.path(name)).expect("a file");
    assert_eq!(enhanced_packet_blocks(&bytes("udp.pcapng")), udp);
    let parquet = bytes("udp.parquet");
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
}

/// Counts the packets of a pcapng file, in either byte order, by walking over its blocks.
fn enhanced_packet_blocks(file: &[u8]) -> usize {
    const ENHANCED_PACKET: u32 = 6;
    let big = file[8..12] == [0x1a, 0x2b, 0x3c, 0x4d];
    let word = |at: usize| {
        let bytes = file[at..at + 4].try_into().expect("four bytes");
        if big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    };
    let (mut at, mut found) = (0, 0);
    while at < file.len() {
        found += usize::from(word(at) == ENHANCED_PACKET);
        at += word(at + 4) as usize;
    }
    assert_eq!(at, file.len(), "the last block is whole");
    found
}

#[test]
fn headers_are_real_and_end_where_payload_begins() {
    let mut site = Deployment::new().capture(2_000, 8);
    let ann = site.partner("ann", "headers", false);
    let generated: Vec<_> = site.generated().generate().collect();
    let node = site.start();
    node.ingested();
    ann.trace(&["--all", "--level", "headers"], "headers.como").ok();
    let packets = open_packets(&ann, &ann.path("headers.como"));
    assert_eq!(packets.frames.len(), generated.len());
    for ((frame, ts_ns), real) in packets.frames.iter().zip(&packets.ts_ns).zip(&generated) {
        assert_eq!(*ts_ns, real.ts_ns / 1_000 * 1_000, "time to the microsecond");
        let (shown, known) = (look(*ts_ns, frame), look(real.ts_ns, &real.data));
        assert_eq!(
            (shown.ethertype, shown.protocol, shown.ports, shown.header_len),
            (known.ethertype, known.protocol, known.ports, known.header_len)
        );
        if let Some(headers) = known.header_len {
            assert_eq!(frame.len(), headers, "headers, and no byte of payload");
        }
        // Real but for the serial number of a card, in its MAC and in an interface id made of it.
        for (shown, known) in [
            (&shown.source, &known.source),
            (&shown.destination, &known.destination),
        ] {
            let is_of_a_card = known.len() == 16 && known[11..13] == [0xff, 0xfe];
            let real_bytes = if is_of_a_card { 13 } else { known.len() };
            assert_eq!(shown[..real_bytes], known[..real_bytes]);
            assert!(!is_of_a_card || shown != known);
        }
        for vendor in [0..3, 6..9] {
            assert_eq!(frame[vendor.clone()], real.data[vendor], "vendors stay");
        }
        assert_ne!(frame[9..12], real.data[9..12], "the sender's card does not");
    }
    // What the trace does not keep nobody gets, whatever the ceiling.
    ann.trace(&["--all", "--level", "payload"], "payload.como")
        .exits(3);
    node.stop();
}

#[test]
fn payload_gives_every_packet_back_as_it_was() {
    let mut site = Deployment::new()
        .capture(2_000, 9)
        .retain("payload")
        .mode("private");
    let ann = site.partner("ann", "payload", false);
    let generated: Vec<_> = site.generated().generate().collect();
    let node = site.start();
    node.ingested();
    ann.trace(&["--all", "--level", "payload"], "all.como").ok();
    let packets = open_packets(&ann, &ann.path("all.como"));
    assert_eq!(packets.frames.len(), generated.len());
    for ((frame, ts_ns), real) in packets.frames.iter().zip(&packets.ts_ns).zip(&generated) {
        assert_eq!(
            (*ts_ns, frame),
            (real.ts_ns, &real.data),
            "byte for byte, to the nanosecond"
        );
    }
    let bytes: usize = generated.iter().map(|packet| packet.data.len()).sum();
    assert_eq!(node.catalog()["captured_bytes"], bytes as u64);
    node.stop();
}

#[test]
fn a_needle_costs_a_few_blocks_of_the_trace_in_whoever_s_names() {
    let mut site = Deployment::new()
        .capture(30_000, 11)
        .retain("payload")
        .mode("private");
    let ann = site.partner("ann", "payload", false);
    let real = look_at(site.generated());
    let node = site.start();
    node.ingested();
    // A conversation of few packets between two hosts.
    let of_flow = |seen: &Seen, of: &Seen| {
        let there =
            (&seen.source, &seen.destination) == (&of.source, &of.destination) && seen.ports == of.ports;
        let back = (&seen.destination, &seen.source) == (&of.source, &of.destination)
            && seen.ports == of.ports.map(|(from, to)| (to, from));
        seen.protocol == of.protocol && (there || back)
    };
    let is_few = |of: &&Seen| {
        let packets = real.iter().filter(|seen| of_flow(seen, of)).count();
        of.protocol == 6 && of.source.len() == 4 && (4..12).contains(&packets)
    };
    let needle = real.iter().find(is_few).expect("a short conversation");
    let at: Vec<usize> = (0..real.len()).filter(|at| of_flow(&real[*at], needle)).collect();

    let filter = |seen: &Seen| {
        let host = |address: &[u8]| address.iter().map(u8::to_string).collect::<Vec<_>>().join(".");
        let (from, to) = seen.ports.expect("TCP");
        let (source, destination) = (host(&seen.source), host(&seen.destination));
        format!("tcp and host {source} and host {destination} and port {from} and port {to}")
    };
    let trace_bytes: u64 = node.catalog()["stored_bytes"]
        .as_u64()
        .expect("bytes of the trace");
    for level in ["anonymized", "headers", "payload"] {
        let all = format!("{level}-all.como");
        ann.trace(&["--all", "--level", level], &all).ok();
        let shown = open_packets(&ann, &ann.path(&all));
        let shown: Vec<Seen> = shown
            .frames
            .iter()
            .zip(&shown.ts_ns)
            .map(|(frame, ts_ns)| look(*ts_ns, frame))
            .collect();
        let expected: Vec<&Seen> = at.iter().map(|at| &shown[*at]).collect();
        let name = format!("{level}.como");
        ann.trace(
            &["--all", "--level", level, "--filter", &filter(expected[0])],
            &name,
        )
        .ok();
        let found = open_packets(&ann, &ann.path(&name));
        let found: Vec<Seen> = found
            .frames
            .iter()
            .zip(&found.ts_ns)
            .map(|(frame, ts_ns)| look(*ts_ns, frame))
            .collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{level}");

        let ended = node.audited("query_ended");
        let [.., all, few] = ended.as_slice() else {
            panic!("two queries have ended: {ended:?}")
        };
        let of = |query: &serde_json::Value, what: &str| query[what].as_u64().expect("a count of bytes");
        let (scanned, read) = (of(all, "bytes_read"), of(few, "bytes_read"));
        assert!(
            scanned <= trace_bytes,
            "{level}: {scanned} of {trace_bytes} bytes"
        );
        assert!(
            read * 4 < scanned,
            "{level}: {read} bytes read, {scanned} for all packets"
        );
        // What is estimated must not tell what a filter finds.
        assert_eq!(of(all, "bytes_estimated"), of(few, "bytes_estimated"));
    }
    node.stop();
}
