//! Captures of others in the optional shared folder, read by tshark. Owns which of them are compared; says so where they,
//! or tshark, are not there.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use como_anonymize::LinkType;
use como_savefile::{Batch, Progress, Reader};

use super::captures::{Capture, Packet};
use super::tshark;

/// Below `data`: web, mail, file and name services, floods and brute force, fragments, tunnels, ARP, IPv6, 802.3, Linux
/// cooked and loopback.
const FILES: [&str; 16] = [
    "variety/PcapPlusPlus/example.pcap",
    "variety/PcapPlusPlus/DnsPackets.pcap",
    "variety/PcapPlusPlus/ip-frag.pcap",
    "variety/PcapPlusPlus/sll.pcap",
    "variety/PcapPlusPlus/tls2.pcap",
    "variety/arkime/arkime_synthetic.pcap",
    "variety/suricata-verify/base64-decode-5885__input.pcap",
    "variety/suricata-verify/http-range-multiflows__input.pcap",
    "variety/suricata-verify/output-eve-ftp-data__input.pcap",
    "variety/suricata-verify/tls__tls-subjectaltname__input.pcap",
    "variety/zeek/dce-rpc__mapi.pcap",
    "variety/zeek/http__1000-requests-one-dropped-response.pcap",
    "variety/zeek/var-services-std-ports.pcap",
    "attack/suricata-verify/ipv6-evasion__ipv6-dos-with-ext-headers-5__denial6-5.pcap",
    "attack/zeek/dhcp__dhcp_flood.pcap",
    "attack/zeek/ftp__bruteforce.pcap",
];
/// Packets compared of each: the largest capture repeats itself.
const PACKETS_MAX: usize = 5000;
/// A capture of many hosts, and a string that is in the payload of many: the start of TLS handshake records.
const PATTERNS: [(&str, i64, i64); 2] = [
    ("variety/PcapPlusPlus/tls2.pcap", 0x1603_0102, 4),
    ("variety/PcapPlusPlus/example.pcap", 0x4745_5420, 4),
];

/// The captures, read by tshark; none where they or tshark are not there.
pub fn real() -> impl Iterator<Item = Capture> {
    let folder = folder();
    let files = FILES
        .into_iter()
        .filter_map(move |file| Some((folder.clone()?, file)));
    files.map(|(folder, file)| read(&folder, file, false))
}

/// Captures with payload, a pattern, and its length.
pub fn with_pattern() -> impl Iterator<Item = (Capture, i64, i64)> {
    let folder = folder();
    let files = PATTERNS
        .into_iter()
        .filter_map(move |found| Some((folder.clone()?, found)));
    files.map(|(folder, (file, pattern, length))| (read(&folder, file, true), pattern, length))
}

/// The folder of captures beside the repository, or where COMO_SHARED says.
fn folder() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let data = std::env::var_os("COMO_SHARED")
        .map_or(beside, PathBuf::from)
        .join("data");
    if !data.is_dir() {
        println!("skipped: no shared captures (set COMO_SHARED)");
        return None;
    }
    if !tshark::is_installed() {
        println!("skipped: tshark is not installed");
        return None;
    }
    Some(data)
}

fn read(folder: &std::path::Path, name: &str, payloads: bool) -> Capture {
    let path = folder.join(name);
    let file = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut reader = Reader::new(BufReader::new(file)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let (mut batch, mut packets, mut link) = (Batch::default(), Vec::new(), 0);
    loop {
        let progress = reader.read_batch(&mut batch).expect("it reads");
        for packet in batch.packets() {
            link = packet.link;
            packets.push(Packet {
                ts_ns: packet.ts_ns,
                wire_len: packet.wire_len,
                data: packet.data.to_vec(),
            });
        }
        if let Progress::Ended(_) = progress {
            break;
        }
    }
    packets.truncate(PACKETS_MAX);
    let seen = tshark::read(&path, PACKETS_MAX, payloads);
    assert_eq!(seen.len(), packets.len(), "{name}");
    let denied = seen.iter().filter(|seen| seen.denied).count();
    println!("{name}: {} packets, {denied} of them denied", packets.len());
    Capture {
        name: name.into(),
        link: LinkType(link),
        packets,
        seen,
    }
}
