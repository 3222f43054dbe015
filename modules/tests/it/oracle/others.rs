//! tcpdump and nfdump as oracles beside tshark: whole captures counted by other people's programs, over one long interval.
//! Owns their command lines; says so where they are not installed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::captures::{self, Capture};
use super::run::{self, Module, Row};
use super::seen::{TCP, UDP};
use super::shown::Shown;
use crate::support::standard;

const HOUR_NS: u64 = 3_600_000_000_000;
/// The addresses with most bytes that are counted again.
const ADDRESSES: usize = 5;
const ICMP: u8 = 1;
const IPV4: u64 = 0x0800;
const IPV6: u64 = 0x86dd;
const ARP: u64 = 0x0806;

/// Whether rows of an ethertype and protocol are meant.
type Kind = Box<dyn Fn(u64, u64) -> bool>;

/// The capture as a file of nanosecond pcap.
fn write(capture: &Capture, folder: &Path) -> PathBuf {
    let mut file = Vec::new();
    for word in [0xa1b2_3c4d, 0x0004_0002, 0, 0, 262_144, capture.link.0] {
        file.extend_from_slice(&u32::to_le_bytes(word));
    }
    for packet in &capture.packets {
        let (s, ns) = (packet.ts_ns / 1_000_000_000, packet.ts_ns % 1_000_000_000);
        for word in [s as u32, ns as u32, packet.data.len() as u32, packet.wire_len] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(&packet.data);
    }
    let path = folder.join("capture.pcap");
    std::fs::write(&path, file).expect("a file");
    path
}

/// What a program prints; `None`, and said so, where it is not installed.
fn prints(program: &str, args: &[&str]) -> Option<String> {
    match Command::new(program).args(args).output() {
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program} {args:?}: {words}");
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(_) => {
            println!("skipped: {program} is not installed");
            None
        }
    }
}

/// All rows of a standard module over whole hours of the capture, as captured and without sampling.
fn rows_of(module: &str, args: &[(&str, i64)], capture: &Capture) -> Vec<Row> {
    let (mut manifest, wasm) = standard(module);
    manifest.interval_ns = HOUR_NS;
    let mut shown = Shown::payload(capture);
    shown.view.columns.weight.fill(1);
    let rows = run::rows_of(&Module { manifest, wasm }, args, &shown);
    rows.into_iter().flat_map(|(_, rows)| rows).collect()
}

/// Packets that pass a filter, inside a VLAN or not.
fn tcpdump_count(file: &str, filter: &str) -> Option<u64> {
    let count = |filter: &str| {
        let lines = prints("tcpdump", &["-nn", "-q", "-t", "-r", file, filter])?;
        Some(
            lines
                .lines()
                .filter(|line| !line.starts_with([' ', '\t']))
                .count() as u64,
        )
    };
    Some(count(filter)? + count(&format!("vlan and {filter}"))?)
}

fn address(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}

#[test]
fn protocol_and_topaddr_count_what_tcpdump_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let capture = captures::eventful().without_denied();
    let file = write(&capture, folder.path());
    let file = file.to_str().expect("UTF-8");

    let rows = rows_of("protocol", &[], &capture);
    let packets = |pick: &dyn Fn(u64, u64) -> bool| -> u64 {
        let picked = rows.iter().filter(|row| pick(row[0].number(), row[1].number()));
        picked.map(|row| row[2].number()).sum()
    };
    let of =
        |wanted: u8| move |ethertype: u64, protocol: u64| ethertype == IPV4 && protocol == u64::from(wanted);
    let kinds: [(&str, Kind); 6] = [
        ("ip proto 6", Box::new(of(TCP))),
        ("ip proto 17", Box::new(of(UDP))),
        ("ip proto 1", Box::new(of(ICMP))),
        ("ip", Box::new(|ethertype, _| ethertype == IPV4)),
        ("ip6", Box::new(|ethertype, _| ethertype == IPV6)),
        ("arp", Box::new(|ethertype, _| ethertype == ARP)),
    ];
    for (filter, pick) in kinds {
        let Some(counted) = tcpdump_count(file, filter) else {
            return;
        };
        assert_eq!(packets(&pick), counted, "{filter}");
        assert!(counted > 0, "{filter}");
    }

    let rows = rows_of("topaddr", &[("k", 100)], &capture);
    let mut sums: BTreeMap<IpAddr, (u64, u64)> = BTreeMap::new();
    for row in &rows {
        assert_eq!(row[2].number(), 0, "exact");
        let sum = sums.entry(address(row[0].address())).or_default();
        *sum = (sum.0 + row[1].number(), sum.1 + row[3].number());
    }
    let mut best: Vec<_> = sums.into_iter().collect();
    best.sort_by_key(|(_, (bytes, _))| std::cmp::Reverse(*bytes));
    assert!(best.len() >= ADDRESSES);
    for (address, (_, packets)) in &best[..ADDRESSES] {
        let family = if address.is_ipv4() { "ip" } else { "ip6" };
        let counted = tcpdump_count(file, &format!("{family} host {address}"));
        assert_eq!(Some(*packets), counted, "{address}");
    }
}

/// Flows of TCP and UDP; nfdump counts ICMP types as ports, and puts fragments to their first ones.
#[test]
fn flow_has_the_records_that_nfdump_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut capture = captures::eventful().without_denied();
    let keep: Vec<bool> = capture
        .seen
        .iter()
        .zip(&capture.packets)
        .map(|(seen, packet)| {
            let first_of_several = packet.data.len() > 20 && is_fragment(&packet.data);
            [TCP, UDP].contains(&seen.protocol) && !seen.later_fragment && !first_of_several
        })
        .collect();
    let mut kept = keep.iter();
    capture.packets.retain(|_| kept.next() == Some(&true));
    let mut kept = keep.iter();
    capture.seen.retain(|_| kept.next() == Some(&true));
    let file = write(&capture, folder.path());
    let out = folder.path().join("flows");
    std::fs::create_dir(&out).expect("a folder");
    let (file, out) = (file.to_str().expect("UTF-8"), out.to_str().expect("UTF-8"));
    if prints("nfpcapd", &["-r", file, "-l", out]).is_none() {
        return;
    }
    let line = "fmt:%sa %da %pr %sp %dp %pkt";
    let keys = "srcip,dstip,proto,srcport,dstport";
    let Some(text) = prints(
        "nfdump",
        &["-R", out, "-q", "-6", "-N", "-n", "0", "-o", line, "-A", keys],
    ) else {
        return;
    };
    type Key = (IpAddr, IpAddr, u64, u64, u64);
    let mut counted: BTreeMap<Key, u64> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [from, to, protocol, from_port, to_port, packets] = words[..] else {
            panic!("nfdump says `{line}`")
        };
        let ip = |text: &str| {
            text.parse::<IpAddr>()
                .unwrap_or_else(|_| panic!("nfdump says `{line}`"))
                .to_canonical()
        };
        let number = |text: &str| {
            text.parse::<u64>()
                .unwrap_or_else(|_| panic!("nfdump says `{line}`"))
        };
        let protocol = match protocol {
            "6" | "TCP" => TCP,
            "17" | "UDP" => UDP,
            other => panic!("nfdump says `{other}`"),
        };
        let key = (
            ip(from),
            ip(to),
            protocol.into(),
            number(from_port),
            number(to_port),
        );
        *counted.entry(key).or_default() += number(packets);
    }
    let mut found: BTreeMap<Key, u64> = BTreeMap::new();
    for row in rows_of("flow", &[], &capture) {
        let (from, to) = (address(row[0].address()), address(row[1].address()));
        let key = (from, to, row[2].number(), row[3].number(), row[4].number());
        *found.entry(key).or_default() += row[5].number();
    }
    assert!(found.len() > 1000, "{} flows", found.len());
    let keys: BTreeSet<&Key> = found.keys().chain(counted.keys()).collect();
    let other = keys.into_iter().filter(|key| found.get(key) != counted.get(key));
    let other: Vec<_> = other
        .map(|key| (key, found.get(key), counted.get(key)))
        .take(5)
        .collect();
    assert!(other.is_empty(), "{other:?}");
}

/// Of IPv4 more fragments, of IPv6 a fragment header.
fn is_fragment(frame: &[u8]) -> bool {
    let network = if frame[12..14] == [0x81, 0] { 18 } else { 14 };
    match frame[network - 2..network] {
        [8, 0] => frame[network + 6] & 0x3f != 0 || frame[network + 7] != 0,
        [0x86, 0xdd] => frame[network + 6] == 44,
        _ => false,
    }
}
