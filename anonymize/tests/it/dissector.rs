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
/// Payload behind the port of a tunnel: zeros there are read as one.
const LOOK_LIKE_TUNNELS: [&str; 2] = ["no vxlan behind its port", "a frame that ends too early in vxlan"];
/// Whose checksums are checked, and how many at least are found right: else nothing was checked.
const CHECKED: [(&str, usize); 7] = [
    ("ip", 200),
    ("tcp", 128),
    ("udp", 128),
    ("icmp", 128),
    ("icmpv6", 64),
    ("igmp", 3),
    ("sctp", 2),
];

fn has_tshark() -> bool {
    Command::new("tshark")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// One released packet.
struct Released {
    name: String,
    bytes: Vec<u8>,
    wire_len: u32,
}

fn released(level: AccessLevel) -> BTreeMap<u32, Vec<Released>> {
    let mut files: BTreeMap<u32, Vec<Released>> = BTreeMap::new();
    for golden in golden() {
        let view = build(level, golden.link, [golden.packet()], Some(&KEYS[0]));
        if golden.deny.is_some() {
            continue;
        }
        let mut frame = view.frames.bytes;
        // Options that were left out shorten a message: what follows is not known to be zeros.
        let is_whole = frame.len() == dissect(golden.link, &golden.frame).header_len;
        if is_whole && !LOOK_LIKE_TUNNELS.contains(&golden.name) {
            frame.resize(golden.frame.len(), 0);
        }
        files.entry(golden.link.0).or_default().push(Released {
            name: golden.name.to_owned(),
            bytes: frame,
            wire_len: golden.frame.len() as u32,
        });
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
        generated.push(Released {
            name: format!("generated, {} bytes", data.len()),
            bytes: frame,
            wire_len: data.len() as u32,
        });
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
    for (number, packet) in packets.iter().enumerate() {
        for field in [number as u32, 0, packet.bytes.len() as u32, packet.wire_len] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(&packet.bytes);
    }
    fs::write(file, bytes).expect("a capture");
}

/// Fields that tshark prints, tab-separated, of the packets that pass a display filter.
fn tshark(file: &Path, filter: &str, fields: &[String]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command
        .arg("-r")
        .arg(file)
        .args(["-n", "-Y", filter, "-T", "fields"]);
    fields.iter().for_each(|field| {
        command.args(["-e", field]);
    });
    for protocol in ABOVE {
        command.args(["--disable-protocol", protocol]);
    }
    for preference in ["ip.check_checksum", "tcp.check_checksum", "udp.check_checksum"] {
        command.args(["-o", &format!("{preference}:TRUE")]);
    }
    command.args(["-o", "sctp.checksum:CRC 32c"]);
    // A checksum is judged by itself, not by what reassembly of the set's unrelated fragments would make of it.
    for preference in ["ip.defragment", "ipv6.defragment", "tcp.analyze_sequence_numbers"] {
        command.args(["-o", &format!("{preference}:FALSE")]);
    }
    let output = command.output().expect("tshark runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8_lossy(&output.stdout);
    let fields_of = |line: &str| line.split('\t').map(str::to_owned).collect();
    text.lines().map(fields_of).collect()
}

#[test]
fn output_parses_in_tshark_with_valid_checksums() {
    if !has_tshark() {
        println!("skipped: tshark is not installed");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let status = CHECKED.map(|(protocol, _)| format!("{protocol}.checksum.status"));
    // A chunk of zeros is no chunk.
    let complains = format!("_ws.malformed and not sctp or {} == 0", status.join(" == 0 or "));
    let mut complaints = Vec::new();
    for level in [AccessLevel::Anonymized, AccessLevel::Headers] {
        for (link, packets) in released(level) {
            let file = folder.path().join(format!("{level}-{link}.pcap"));
            write_pcap(&file, link, &packets);
            for line in tshark(&file, &complains, &["frame.number".into(), "_ws.col.Info".into()]) {
                let number: usize = line[0].parse().expect("a number");
                complaints.push(format!("{level}, {}: {}", packets[number - 1].name, line[1]));
            }
            if link == 1 {
                let lines = tshark(&file, "frame", &status);
                assert_eq!(lines.len(), packets.len(), "{level}");
                for (column, (protocol, least)) in CHECKED.into_iter().enumerate() {
                    let is_good =
                        |line: &&Vec<String>| line.get(column).is_some_and(|found| found.contains('1'));
                    let good = lines.iter().filter(is_good).count();
                    assert!(good >= least, "{level}: {good} right checksums of {protocol}");
                }
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
