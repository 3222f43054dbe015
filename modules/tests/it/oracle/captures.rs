//! The generated capture: the traffic of an ordinary link, and in it everything that a module is there to find, or could
//! trip over. Must stay the same: it needs no clock and no random source.

use como_anonymize::LinkType;
use como_generate::Traffic;

use super::seen::{Seen, look};

/// A packet as captured.
#[derive(Clone)]
pub struct Packet {
    pub ts_ns: u64,
    pub wire_len: u32,
    pub data: Vec<u8>,
}

/// Packets in the order of time, and what an independent reader says of each.
pub struct Capture {
    pub name: String,
    pub link: LinkType,
    pub packets: Vec<Packet>,
    pub seen: Vec<Seen>,
}

impl Capture {
    /// The same without the packets that only `payload` shows.
    pub fn without_denied(mut self) -> Self {
        let shown: Vec<bool> = self.seen.iter().map(|seen| !seen.denied).collect();
        let mut keep = shown.iter();
        self.packets.retain(|_| keep.next() == Some(&true));
        self.seen.retain(|seen| !seen.denied);
        self
    }
}

/// In the payload of packets of twelve sources and eleven destinations.
pub const SHARED_PATTERN: [u8; 8] = *b"X-Worm!!";
/// In the payload of packets of nine sources.
pub const RARE_PATTERN: [u8; 8] = *b"NineOnly";

const SECOND: u64 = 1_000_000_000;
const SYN: u8 = 2;
const RST_ACK: u8 = 20;
const PSH_ACK: u8 = 24;

/// 25 seconds of traffic, and in it: a scan of many hosts, a scan of many ports, a flood of SYN packets from thousands of
/// addresses, fragments of both families, packets that must be denied, jumbo frames, odd DNS, and patterns.
pub fn eventful() -> Capture {
    let traffic = Traffic {
        seed: 31,
        packets: 9_000,
        duration_s: 25.0,
        ..Traffic::default()
    };
    let mut packets: Vec<Packet> = traffic.generate().map(|p| packet(p.ts_ns, p.data)).collect();
    let at = |second: f64, step: u64| traffic.start_ns + (second * 1e9) as u64 + step * SECOND / 4096;
    let inside = |n: u64| v4([192, 168, 3, n as u8]);
    for i in 0..400 {
        let target = v4([13, 77, (i / 250) as u8, (i % 250) as u8]);
        packets.push(packet(
            at(3.0, 8 * i),
            tcp(inside(99), target, 40_000, 22, SYN, b""),
        ));
    }
    let (scanner, host) = ([0x2a; 16], [0x2b; 16]);
    for i in 0..300 {
        let port = 1 + i as u16;
        packets.push(packet(at(5.0, 8 * i), tcp(scanner, host, 40_001, port, SYN, b"")));
        packets.push(packet(
            at(5.0, 8 * i + 1),
            tcp(host, scanner, port, 40_001, RST_ACK, b""),
        ));
    }
    for i in 0..3000 {
        let spoofed = v4([23 + (i % 7) as u8, (i / 250) as u8, 9, (i % 250) as u8]);
        packets.push(packet(
            at(12.0, i),
            tcp(spoofed, inside(10), 1024 + i as u16, 80, SYN, b""),
        ));
    }
    for i in 0..40 {
        fragments(i, at(8.0, 40 * i), &mut packets);
    }
    for i in 0..6 {
        denied(at(9.0, 90 * i), &mut packets);
        packets.push(packet(
            at(10.0, 50 * i),
            udp(inside(7), inside(8), 5000, 5001, &[b'j'; 8958]),
        ));
    }
    for i in 0..60 {
        packets.push(packet(
            at(11.0, 30 * i),
            udp(inside(5), inside(53), 5353, 53, &odd_dns(i as u8)),
        ));
    }
    for i in 0..40u64 {
        let text = [
            &b"GET /index HTTP/1.1\r\n"[..],
            &vec![b' '; i as usize],
            &SHARED_PATTERN,
        ]
        .concat();
        let ends = (inside(20 + i % 12), v4([52, 1, 1, (i % 11) as u8]));
        packets.push(packet(
            at(14.0, 20 * i),
            tcp(ends.0, ends.1, 50_000, 8080, PSH_ACK, &text),
        ));
        let ends = (inside(20 + i % 9), v4([52, 1, 1, (i % 11) as u8]));
        packets.push(packet(
            at(15.0, 20 * i),
            tcp(ends.0, ends.1, 50_000, 8080, PSH_ACK, &RARE_PATTERN),
        ));
    }
    packets.sort_by_key(|p| p.ts_ns);
    let seen = packets
        .iter()
        .map(|p| look(p.ts_ns, p.wire_len, &p.data))
        .collect();
    Capture {
        name: "generated".into(),
        link: LinkType::ETHERNET,
        packets,
        seen,
    }
}

/// One second in which more addresses talk than any table holds, and a few say more than all others: one from the start,
/// one after the tables are full.
pub fn crowded() -> Capture {
    let start_ns = Traffic::default().start_ns;
    let address = |n: u64| v4([60 + (n >> 16) as u8, (n >> 8) as u8, n as u8, 1]);
    let packets: Vec<Packet> = (0..12_000u64)
        .map(|i| {
            let (src, len) = match i {
                _ if i % 97 == 0 => (address(1 << 18), 900),
                8_000.. if i % 50 == 1 => (address(1 << 19), 1200),
                _ => (address(2 * i), i as usize % 7),
            };
            let frame = udp(src, address(2 * i + 1), 5000, 5001, &vec![0; len]);
            packet(start_ns + i * SECOND / 16_384, frame)
        })
        .collect();
    let seen = packets
        .iter()
        .map(|p| look(p.ts_ns, p.wire_len, &p.data))
        .collect();
    Capture {
        name: "crowded".into(),
        link: LinkType::ETHERNET,
        packets,
        seen,
    }
}

fn packet(ts_ns: u64, data: Vec<u8>) -> Packet {
    Packet {
        ts_ns,
        wire_len: data.len() as u32,
        data,
    }
}

fn v4(address: [u8; 4]) -> [u8; 16] {
    let mut out = [0; 16];
    out[10..12].fill(0xff);
    out[12..].copy_from_slice(&address);
    out
}

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [
        &[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..],
        &ethertype.to_be_bytes(),
        payload,
    ]
    .concat()
}

/// An IP packet of the addresses' family. `fragment` is the field of IPv4, and needs a header of its own in IPv6.
fn ip(src: [u8; 16], dst: [u8; 16], protocol: u8, fragment: u16, segment: &[u8]) -> Vec<u8> {
    if src[..10] == [0; 10] {
        let len = (20 + segment.len()) as u16;
        let mut header = vec![0x45, 0];
        header.extend(len.to_be_bytes());
        header.extend([0x12, 0x34]);
        header.extend(fragment.to_be_bytes());
        header.extend([63, protocol, 0, 0]);
        header.extend(&src[12..]);
        header.extend(&dst[12..]);
        return ethernet(0x0800, &[&header, segment].concat());
    }
    let extension = if fragment == 0 {
        Vec::new()
    } else {
        let field = (fragment & 0x1fff) << 3 | fragment >> 13 & 1;
        [&[protocol, 0][..], &field.to_be_bytes(), &[0, 0, 0x12, 0x34]].concat()
    };
    let next = if fragment == 0 { protocol } else { 44 };
    let len = (extension.len() + segment.len()) as u16;
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(len.to_be_bytes());
    header.extend([next, 63]);
    ethernet(
        0x86dd,
        &[&header, &src[..], &dst[..], &extension, segment].concat(),
    )
}

fn tcp(src: [u8; 16], dst: [u8; 16], src_port: u16, dst_port: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = src_port.to_be_bytes().to_vec();
    segment.extend(dst_port.to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 4, 0, 0, 0, 0, 0]);
    segment.extend(payload);
    ip(src, dst, 6, 0, &segment)
}

fn datagram(src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
    let mut segment = src_port.to_be_bytes().to_vec();
    segment.extend(dst_port.to_be_bytes());
    segment.extend((payload.len() as u16 + 8).to_be_bytes());
    segment.extend([0, 0]);
    segment.extend(payload);
    segment
}

fn udp(src: [u8; 16], dst: [u8; 16], src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
    ip(src, dst, 17, 0, &datagram(src_port, dst_port, payload))
}

/// A datagram in three fragments, of either family.
fn fragments(number: u64, ts_ns: u64, packets: &mut Vec<Packet>) {
    const MORE: u16 = 0x2000;
    let (src, dst) = if number.is_multiple_of(2) {
        (v4([192, 168, 3, 30]), v4([34, 5, 6, number as u8]))
    } else {
        ([0x2c; 16], [0x2d; 16])
    };
    let whole = datagram(7777, 7000 + number as u16, &[b'f'; 1200]);
    for (i, part) in whole.chunks(504).enumerate() {
        let more = if i < 2 { MORE } else { 0 };
        let frame = ip(src, dst, 17, more | (i * 63) as u16, part);
        packets.push(packet(ts_ns + 1000 * i as u64, frame));
    }
}

/// One of each: no dissector for it, cut in a header, and a header that contradicts itself.
fn denied(ts_ns: u64, packets: &mut Vec<Packet>) {
    let whole = tcp(v4([192, 168, 3, 40]), v4([64, 1, 1, 1]), 1, 2, 16, &[0; 300]);
    let mut wrong = whole.clone();
    wrong[14] = 0x65;
    let spanning_tree = [
        &[1, 0x80, 0xc2, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 38][..],
        &[0x42; 38],
    ]
    .concat();
    for data in [spanning_tree, ethernet(0x88b5, &[7; 50]), wrong] {
        packets.push(packet(ts_ns, data));
    }
    for cut in [20, 40] {
        packets.push(Packet {
            ts_ns,
            wire_len: whole.len() as u32,
            data: whole[..cut].to_vec(),
        });
    }
}

/// Queries and responses of many types, opcodes and codes, and what is none.
fn odd_dns(number: u8) -> Vec<u8> {
    let name: &[u8] = match number % 6 {
        0 => b"\x03www\x07example\x03com\0",
        1 => b"\0",
        2 => b"\xc0\x0c",
        3 => b"\x47too\0",
        4 => b"\x3fends too early",
        _ => b"\x01a\x01b\0",
    };
    let questions = u8::from(number % 10 != 9);
    let flags = [number << 3 | (number & 1) << 7, number % 13];
    let head = [
        &[0, number][..],
        &flags,
        &[0, questions, 0, number % 5, 0, 0, 0, 0],
        name,
    ]
    .concat();
    let tail = [&[0, number % 40][..], &[0, 1]].concat();
    let mut message = [head, tail].concat();
    if number % 7 == 6 {
        message.truncate(usize::from(number % 14));
    }
    message
}
