//! Output as an independent dissector sees it (tshark, where installed): nothing malformed, every checksum right. The
//! golden frames and a generated trace, at `anonymized` and `headers`, with the payload that was cut put back as
//! zeros: that is the packet which the checksums are those of.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use como_anonymize::{LinkType, RawPacket, build, dissect};
use como_policies::AccessLevel;

use crate::golden::golden;
use crate::oracle::KEYS;

/// What lies above the layers that are shown: zeros in the place of payload are no DNS, no TLS.
const ABOVE: [&str; 15] = [
    "dns", "tls", "http", "dhcp", "ntp", "syslog", "stun", "ospf", "vrrp", "eigrp", "pim", "llmnr", "mdns",
    "data", "mptcp",
];
/// Whose checksums are checked, and that some are found right: else nothing was checked.
const CHECKED: [&str; 5] = ["ip", "tcp", "udp", "icmp", "icmpv6"];

fn has_tshark() -> bool {
    Command::new("tshark")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// One released packet: its bytes, and its length on the wire.
type Released = (Vec<u8>, u32);

fn released(level: AccessLevel) -> BTreeMap<u32, Vec<Released>> {
    let mut files: BTreeMap<u32, Vec<Released>> = BTreeMap::new();
    for golden in golden() {
        let view = build(level, golden.link, [golden.packet()], Some(&KEYS[0]));
        if golden.deny.is_some() {
            continue;
        }
        let mut frame = view.frames.bytes;
        // Options that were left out shorten a message: what follows is not known to be zeros.
        if frame.len() == dissect(golden.link, &golden.frame).header_len {
            frame.resize(golden.frame.len(), 0);
        }
        files
            .entry(golden.link.0)
            .or_default()
            .push((frame, golden.frame.len() as u32));
    }
    let generated = files.entry(1).or_default();
    for data in generated_frames() {
        let packet = RawPacket {
            ts_ns: 0,
            wire_len: data.len() as u32,
            link: LinkType::ETHERNET,
            data: &data,
        };
        let mut frame = build(level, LinkType::ETHERNET, [packet], Some(&KEYS[0]))
            .frames
            .bytes;
        frame.resize(data.len(), 0);
        generated.push((frame, data.len() as u32));
    }
    files
}

/// TCP, UDP and ICMP of both families, with payloads of every length up to 64 bytes: odd ones have a checksum of
/// their own kind.
fn generated_frames() -> Vec<Vec<u8>> {
    use crate::frames::{e4, e6, icmp, ipv4, ipv6, joined, tcp, udp_to};
    let mut all = Vec::new();
    for len in 0..64u8 {
        let body: Vec<u8> = (0..len).map(|at| at.wrapping_mul(37) ^ len).collect();
        all.push(e4(ipv4(6, &tcp(&[2, 4, 5, 0xb4], &body))));
        all.push(e6(ipv6(6, &tcp(&[], &body))));
        all.push(e4(ipv4(17, &udp_to(40_000 + u16::from(len), &body))));
        all.push(e6(ipv6(17, &udp_to(40_000 + u16::from(len), &body))));
        all.push(e4(ipv4(1, &icmp(8, 0, [0, len, 0, 1], &body))));
        all.push(e6(ipv6(58, &icmp(128, 0, [0, len, 0, 1], &body))));
        let quote = ipv4(17, &udp_to(53, &body));
        all.push(e4(ipv4(1, &joined(&[&icmp(11, 0, [0; 4], &quote)]))));
    }
    all
}

fn write_pcap(file: &Path, link: u32, packets: &[Released]) {
    let mut bytes = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
    bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0]);
    bytes.extend(link.to_le_bytes());
    for (number, (frame, wire_len)) in packets.iter().enumerate() {
        for field in [number as u32, 0, frame.len() as u32, *wire_len] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(frame);
    }
    fs::write(file, bytes).expect("a capture");
}

/// The lines that tshark prints for the packets that pass a display filter.
fn tshark(file: &Path, filter: &str) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-n", "-Y", filter]);
    for protocol in ABOVE {
        command.args(["--disable-protocol", protocol]);
    }
    for preference in ["ip.check_checksum", "tcp.check_checksum", "udp.check_checksum"] {
        command.args(["-o", &format!("{preference}:TRUE")]);
    }
    // A checksum is judged by itself, not by what reassembly of the set's unrelated fragments would make of it.
    for preference in ["ip.defragment", "ipv6.defragment", "tcp.analyze_sequence_numbers"] {
        command.args(["-o", &format!("{preference}:FALSE")]);
    }
    let output = command.output().expect("tshark runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(str::to_owned).collect()
}

#[test]
fn output_parses_in_tshark_with_valid_checksums() {
    if !has_tshark() {
        println!("skipped: tshark is not installed");
        return;
    }
    let folder = std::env::temp_dir().join(format!("como-dissector-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let is_bad = CHECKED
        .map(|protocol| format!("{protocol}.checksum.status == 0"))
        .join(" or ");
    let mut complaints = Vec::new();
    for level in [AccessLevel::Anonymized, AccessLevel::Headers] {
        for (link, packets) in released(level) {
            let file = folder.join(format!("{level}-{link}.pcap"));
            write_pcap(&file, link, &packets);
            assert_eq!(
                tshark(&file, "frame").len(),
                packets.len(),
                "{level}, link type {link}"
            );
            for line in tshark(&file, &format!("_ws.malformed or {is_bad}")) {
                complaints.push(format!("{level}, link type {link}: {line}"));
            }
            if link == 1 {
                for protocol in CHECKED {
                    let good = tshark(&file, &format!("{protocol}.checksum.status == 1"));
                    assert!(
                        good.len() >= 64,
                        "{level}: {} right checksums of {protocol}",
                        good.len()
                    );
                }
            }
        }
    }
    fs::remove_dir_all(&folder).expect("the folder goes");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
