//! Frames with valid lengths and checksums. Addresses are from documentation and private ranges outside and
//! made-up global ones, names from example domains.

/// The Ethernet side of a conversation.
pub(super) struct Link {
    client: [u8; 6],
    gateway: [u8; 6],
    vlan: Option<u16>,
}

impl Link {
    pub fn new(host: u64, vlan: Option<u16>) -> Self {
        Self {
            client: [0x3c, 0x52, 0x82, 0x10, (host >> 8) as u8, host as u8],
            gateway: [0x00, 0x1b, 0x21, 0x3a, 0x4f, 0x01],
            vlan,
        }
    }

    fn header(&self, from_client: bool, to: Option<[u8; 6]>, ethertype: u16) -> Vec<u8> {
        let (source, target) = if from_client {
            (self.client, self.gateway)
        } else {
            (self.gateway, self.client)
        };
        let mut out = to.unwrap_or(target).to_vec();
        out.extend_from_slice(&source);
        if let Some(vlan) = self.vlan {
            out.extend_from_slice(&0x8100_u16.to_be_bytes());
            out.extend_from_slice(&vlan.to_be_bytes());
        }
        out.extend_from_slice(&ethertype.to_be_bytes());
        out
    }
}

/// The addresses of a conversation.
pub(super) enum Ip {
    V4 { client: [u8; 4], server: [u8; 4] },
    V6 { client: [u8; 16], server: [u8; 16] },
}

impl Ip {
    pub fn v4(inside: u64, outside: u64) -> Self {
        // Spread over /8s and /24s as a real peer set is, without leaving global unicast.
        let spread = outside.wrapping_mul(0x9e37_79b9);
        let first = [
            13, 23, 34, 52, 64, 81, 93, 104, 142, 151, 162, 185, 193, 199, 204, 212,
        ][(spread >> 28) as usize % 16];
        Self::V4 {
            client: [192, 168, (inside / 60) as u8, 10 + (inside % 60) as u8],
            server: [
                first,
                (spread >> 20) as u8,
                (spread >> 12) as u8,
                1 + (outside % 250) as u8,
            ],
        }
    }

    pub fn v6(inside: u64, outside: u64) -> Self {
        let mut client = [
            0x2a,
            0x02,
            0x0d,
            0xb8,
            0,
            0,
            0,
            (inside / 60) as u8,
            0x3e,
            0x52,
            0x82,
            0xff,
            0xfe,
            0x10,
            0,
            inside as u8,
        ];
        if inside.is_multiple_of(2) {
            // Privacy addresses beside those made of the MAC address.
            client[8..].copy_from_slice(&inside.wrapping_mul(0xd6e8_feb8_6659_fd93).to_be_bytes());
        }
        let mut server = [0x26, 0x06, 0x47, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        server[3..7].copy_from_slice(&(outside as u32).wrapping_mul(0x85eb_ca6b).to_be_bytes());
        server[14] = outside as u8;
        Self::V6 { client, server }
    }

    pub fn is_v6(&self) -> bool {
        matches!(self, Self::V6 { .. })
    }
}

pub(super) fn tcp(ports: (u16, u16), seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    const SYN: u8 = 2;
    let options: &[u8] = if flags & SYN != 0 {
        &[2, 4, 5, 0xb4, 4, 2, 1, 3, 3, 7, 0, 0]
    } else {
        &[]
    };
    let mut out = Vec::with_capacity(20 + options.len() + payload.len());
    out.extend_from_slice(&ports.0.to_be_bytes());
    out.extend_from_slice(&ports.1.to_be_bytes());
    out.extend_from_slice(&seq.to_be_bytes());
    out.extend_from_slice(&ack.to_be_bytes());
    out.extend_from_slice(&[
        ((5 + options.len() / 4) << 4) as u8,
        flags,
        0x72,
        0x10,
        0,
        0,
        0,
        0,
    ]);
    out.extend_from_slice(options);
    out.extend_from_slice(payload);
    out
}

pub(super) fn udp(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + payload.len());
    out.extend_from_slice(&ports.0.to_be_bytes());
    out.extend_from_slice(&ports.1.to_be_bytes());
    out.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(payload);
    out
}

/// A query for, or an answer of, one of many names.
pub(super) fn dns(name: u64, id: u16, answer: bool, ip: &Ip) -> Vec<u8> {
    let mut out = id.to_be_bytes().to_vec();
    out.extend_from_slice(if answer {
        &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]
    } else {
        &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    });
    for label in [
        format!("www{}", name % 300).as_str(),
        ["example", "test", "lab"][name as usize % 3],
        "org",
    ] {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.extend_from_slice(&[0, 0, 1, 0, 1]);
    if answer {
        let address = match ip {
            Ip::V4 { server, .. } => *server,
            Ip::V6 { server, .. } => [203, 0, 113, server[14]],
        };
        out.extend_from_slice(&[0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4]);
        out.extend_from_slice(&address);
    }
    out
}

pub(super) fn echo(v6: bool, reply: bool, id: u16, sequence: u16) -> Vec<u8> {
    let kind = match (v6, reply) {
        (false, false) => 8,
        (false, true) => 0,
        (true, false) => 128,
        (true, true) => 129,
    };
    let mut out = vec![kind, 0, 0, 0];
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&sequence.to_be_bytes());
    out.extend((0..48).map(|n| n + 0x10));
    out
}

/// Neighbour solicitation or advertisement.
pub(super) fn neighbour(link: &Link, ip: &Ip, advertisement: bool) -> Vec<u8> {
    let target = match ip {
        Ip::V6 { server, .. } => *server,
        Ip::V4 { .. } => [0; 16],
    };
    let (kind, flags, option, mac) = if advertisement {
        (136, 0x60, 2, link.gateway)
    } else {
        (135, 0, 1, link.client)
    };
    let mut out = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    out.extend_from_slice(&target);
    out.extend_from_slice(&[option, 1]);
    out.extend_from_slice(&mac);
    out
}

pub(super) fn arp(link: &Link, ip: &Ip, reply: bool) -> Vec<u8> {
    let client = match ip {
        Ip::V4 { client, .. } => *client,
        Ip::V6 { .. } => [192, 168, 0, 10],
    };
    let gateway = [192, 168, client[2], 1];
    let mut out = link.header(!reply, (!reply).then_some([0xff; 6]), 0x0806);
    out.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, if reply { 2 } else { 1 }]);
    let (sender, target) = if reply {
        ((link.gateway, gateway), (link.client, client))
    } else {
        ((link.client, client), ([0; 6], gateway))
    };
    for (mac, address) in [sender, target] {
        out.extend_from_slice(&mac);
        out.extend_from_slice(&address);
    }
    out.resize(out.len().max(60), 0);
    out
}

/// Readable payload of the size asked for.
pub(super) fn text(length: usize, request: bool) -> Vec<u8> {
    let start = if request {
        "GET /index.html HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: como\r\n\r\n"
    } else {
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>Lorem ipsum dolor sit amet, "
    };
    start.bytes().cycle().take(length).collect()
}

/// The whole frame around a transport segment, its checksum filled in.
pub(super) fn wrap(
    link: &Link,
    ip: &Ip,
    from_client: bool,
    protocol: u8,
    id: u16,
    mut segment: Vec<u8>,
) -> Vec<u8> {
    let ethertype = if ip.is_v6() { 0x86dd } else { 0x0800 };
    let mut out = link.header(from_client, None, ethertype);
    let (source, target): (&[u8], &[u8]) = match (ip, from_client) {
        (Ip::V4 { client, server }, true) => (client, server),
        (Ip::V4 { client, server }, false) => (server, client),
        (Ip::V6 { client, server }, true) => (client, server),
        (Ip::V6 { client, server }, false) => (server, client),
    };
    fill_checksum(&mut segment, protocol, source, target);
    let hops = if from_client {
        64
    } else {
        40 + (target[target.len() - 1] % 20)
    };
    let start = out.len();
    if ip.is_v6() {
        let hops = if segment[0] == 135 || segment[0] == 136 {
            255
        } else {
            hops
        };
        out.extend_from_slice(&[0x60, 0, 0, 0]);
        out.extend_from_slice(&(segment.len() as u16).to_be_bytes());
        out.extend_from_slice(&[protocol, hops]);
    } else {
        out.extend_from_slice(&[0x45, 0]);
        out.extend_from_slice(&(20 + segment.len() as u16).to_be_bytes());
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&[0x40, 0, hops, protocol, 0, 0]);
    }
    out.extend_from_slice(source);
    out.extend_from_slice(target);
    if !ip.is_v6() {
        let sum = !folded(sum(&out[start..]));
        out[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
    }
    out.extend_from_slice(&segment);
    // Ethernet's least frame, without the check sequence.
    out.resize(out.len().max(60), 0);
    out
}

fn fill_checksum(segment: &mut [u8], protocol: u8, source: &[u8], target: &[u8]) {
    let (at, pseudo) = match protocol {
        6 => (16, true),
        17 => (6, true),
        58 => (2, true),
        _ => (2, false),
    };
    let mut total = sum(segment);
    if pseudo {
        total += sum(source) + sum(target) + u64::from(protocol) + segment.len() as u64;
    }
    let checksum = match !folded(total) {
        0 if protocol == 17 => 0xffff,
        checksum => checksum,
    };
    segment[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

fn sum(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)))
        .sum()
}

fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
