//! tshark as the independent reader: asked for plain fields, outermost packet first. Owns its command line and the meaning
//! of its fields; must know nothing of the product.

use std::path::Path;
use std::process::Command;

use super::seen::{Dns, Seen, TCP, UDP};

/// The fields, in the order of [`read`].
const FIELDS: [&str; 32] = [
    "frame.time_epoch",
    "frame.len",
    "frame.protocols",
    "eth.type",
    "vlan.etype",
    "sll.etype",
    "ip.proto",
    "ip.src",
    "ip.dst",
    "ip.frag_offset",
    "ipv6.nxt",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.hopopts.nxt",
    "ipv6.routing.nxt",
    "ipv6.fraghdr.nxt",
    "ipv6.dstopts.nxt",
    "ah.next_header",
    "ipv6.fraghdr.offset",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.flags",
    "udp.srcport",
    "udp.dstport",
    "sctp.srcport",
    "sctp.dstport",
    "udp.length",
    "dns.flags.response",
    "dns.flags.opcode",
    "dns.flags.rcode",
    "dns.qry.type",
    "dns.count.answers",
];
/// Payloads, asked for where a pattern is searched.
const PAYLOADS: [&str; 2] = ["tcp.payload", "udp.payload"];
const SCTP: u8 = 132;
const ARP: u16 = 0x0806;
/// Ethertypes that tshark looks behind and a node does not: network service header, Cisco metadata.
const NOT_FOLLOWED: [u16; 2] = [0x894f, 0x8909];

pub fn is_installed() -> bool {
    let version = Command::new("tshark").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// What tshark says of the first packets. Denied must be what it finds neither IP nor ARP in.
pub fn read(file: &Path, packets: usize, payloads: bool) -> Vec<Seen> {
    let mut command = Command::new("tshark");
    command
        .arg("-r")
        .arg(file)
        .args(["-n", "-T", "fields", "-E", "occurrence=a"]);
    command.args(["-c", &packets.to_string()]);
    let extra: &[&str] = if payloads { &PAYLOADS } else { &[] };
    for field in FIELDS.iter().chain(extra) {
        command.args(["-e", field]);
    }
    // Each packet by itself.
    for preference in ["ip.defragment", "ipv6.defragment", "tcp.desegment_tcp_streams"] {
        command.args(["-o", &format!("{preference}:FALSE")]);
    }
    let output = command.output().expect("tshark runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(|line| seen(&Line(line.split('\t').collect())))
        .collect()
}

struct Line<'a>(Vec<&'a str>);

impl Line<'_> {
    fn all(&self, field: &str) -> Vec<&str> {
        let at = FIELDS
            .iter()
            .chain(&PAYLOADS)
            .position(|name| *name == field)
            .expect("a field");
        let values = self.0.get(at).copied().unwrap_or_default();
        values.split(',').filter(|value| !value.is_empty()).collect()
    }

    /// The first value: that of the outermost packet.
    fn first(&self, field: &str) -> Option<&str> {
        self.all(field).first().copied()
    }

    fn number(&self, field: &str) -> u64 {
        self.first(field).map_or(0, number)
    }
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    }
    .unwrap_or_else(|_| panic!("`{text}` is no number"))
}

fn seen(line: &Line<'_>) -> Seen {
    let mut seen = Seen {
        ts_ns: time_ns(line.first("frame.time_epoch").expect("a time")),
        wire_len: line.number("frame.len") as u32,
        weight: 1,
        ..Seen::default()
    };
    let ethertype = line.all("vlan.etype").last().copied();
    let ethertype = ethertype.or(line.first("eth.type")).or(line.first("sll.etype"));
    seen.ethertype = ethertype.map_or(0, number) as u16;
    let protocols = line.first("frame.protocols").unwrap_or_default();
    match protocols
        .split(':')
        .find(|name| ["ip", "ipv6", "arp"].contains(name))
    {
        Some("ip") => ipv4(line, &mut seen),
        Some("ipv6") => ipv6(line, &mut seen),
        _ => seen.denied = seen.ethertype != ARP,
    }
    seen.denied |= NOT_FOLLOWED.contains(&seen.ethertype);
    if !seen.later_fragment {
        transport(line, &mut seen);
    }
    seen
}

fn ipv4(line: &Line<'_>, seen: &mut Seen) {
    let address = |field: &str| -> [u8; 16] {
        let address: std::net::Ipv4Addr = line.first(field).expect("an address").parse().expect("IPv4");
        address.to_ipv6_mapped().octets()
    };
    seen.version = 4;
    seen.protocol = line.number("ip.proto") as u8;
    (seen.src, seen.dst) = (address("ip.src"), address("ip.dst"));
    seen.later_fragment = line.number("ip.frag_offset") > 0;
    if seen.protocol == 51 {
        seen.protocol = line.number("ah.next_header") as u8;
    }
}

fn ipv6(line: &Line<'_>, seen: &mut Seen) {
    let address = |field: &str| -> [u8; 16] {
        let address: std::net::Ipv6Addr = line.first(field).expect("an address").parse().expect("IPv6");
        address.octets()
    };
    seen.version = 6;
    (seen.src, seen.dst) = (address("ipv6.src"), address("ipv6.dst"));
    seen.protocol = line.number("ipv6.nxt") as u8;
    let mut read = [0usize; 256];
    loop {
        let field = match seen.protocol {
            0 => "ipv6.hopopts.nxt",
            43 => "ipv6.routing.nxt",
            44 => "ipv6.fraghdr.nxt",
            51 => "ah.next_header",
            60 => "ipv6.dstopts.nxt",
            _ => return,
        };
        let nth = &mut read[usize::from(seen.protocol)];
        if seen.protocol == 44 {
            let offsets = line.all("ipv6.fraghdr.offset");
            seen.later_fragment |= offsets.get(*nth).is_some_and(|offset| number(offset) > 0);
        }
        let Some(next) = line.all(field).get(*nth).copied() else {
            return;
        };
        *nth += 1;
        seen.protocol = number(next) as u8;
        if seen.later_fragment {
            return;
        }
    }
}

fn transport(line: &Line<'_>, seen: &mut Seen) {
    let (from, to) = match seen.protocol {
        TCP => ("tcp.srcport", "tcp.dstport"),
        UDP => ("udp.srcport", "udp.dstport"),
        SCTP => ("sctp.srcport", "sctp.dstport"),
        _ => return,
    };
    (seen.src_port, seen.dst_port) = (line.number(from) as u16, line.number(to) as u16);
    if seen.protocol == TCP {
        seen.flags = line.number("tcp.flags") as u8;
    }
    if seen.protocol == UDP {
        seen.udp_payload_len = (line.number("udp.length") as u16).saturating_sub(8);
        if seen.src_port == 53 || seen.dst_port == 53 {
            seen.dns = Some(dns(line));
        }
    }
    let payload = match seen.protocol {
        TCP => line.first("tcp.payload"),
        _ => line.first("udp.payload"),
    };
    let digits = payload.unwrap_or_default().as_bytes().chunks(2);
    let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).expect("ASCII"), 16).expect("hex");
    seen.payload = digits.map(byte).collect();
}

fn dns(line: &Line<'_>) -> Option<Dns> {
    line.first("dns.count.answers")?;
    Some(Dns {
        is_response: ["1", "True"].contains(&line.first("dns.flags.response")?),
        opcode: line.number("dns.flags.opcode") as u8,
        rcode: line.number("dns.flags.rcode") as u8,
        qtype: line.number("dns.qry.type") as u16,
        answers: line.number("dns.count.answers") as u16,
    })
}

/// Seconds with up to nine decimals.
fn time_ns(text: &str) -> u64 {
    let (seconds, decimals) = text.split_once('.').unwrap_or((text, ""));
    let decimals = format!("{decimals:0<9}");
    seconds.parse::<u64>().expect("seconds") * 1_000_000_000 + decimals.parse::<u64>().expect("nanoseconds")
}
