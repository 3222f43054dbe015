//! A packet as an independent reader sees it, and the simplest such reader: plain offsets into Ethernet frames. Must
//! share no code with the product.

/// What a reader says of a packet; zero where a layer is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub ts_ns: u64,
    pub wire_len: u32,
    pub weight: u32,
    /// Must not be shown below `payload`, but for its length.
    pub denied: bool,
    pub ethertype: u16,
    /// 0, 4 or 6.
    pub version: u8,
    pub protocol: u8,
    /// IPv4 as ::ffff:a.b.c.d.
    pub src: [u8; 16],
    pub dst: [u8; 16],
    /// By the table of systems.rs, from the real address.
    pub src_as: u32,
    pub dst_as: u32,
    pub src_port: u16,
    pub dst_port: u16,
    pub flags: u8,
    pub later_fragment: bool,
    /// What follows the TCP or UDP header (the network header in later fragments and other protocols), as captured.
    pub payload: Vec<u8>,
    /// Length that the UDP header tells, without that header.
    pub udp_payload_len: u16,
    /// A DNS message over UDP; `None` in it: not readable.
    pub dns: Option<Option<Dns>>,
}

/// What a reader says of a DNS message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    pub is_response: bool,
    pub opcode: u8,
    pub rcode: u8,
    pub qtype: u16,
    pub answers: u16,
}

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

impl Seen {
    pub fn is_ip(&self) -> bool {
        !self.denied && self.version != 0
    }

    pub fn is_tcp(&self) -> bool {
        self.is_ip() && self.protocol == TCP
    }
}

/// Reads an Ethernet frame as the test captures have them: VLAN tags, ARP, IPv4, IPv6 with at most a fragment header.
/// Whatever else there is, and what does not fit, is denied.
pub fn look(ts_ns: u64, wire_len: u32, frame: &[u8]) -> Seen {
    let mut seen = Seen {
        ts_ns,
        wire_len,
        weight: 1,
        ..Seen::default()
    };
    seen.denied = look_at_network(frame, &mut seen).is_none();
    seen
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn mapped(address: &[u8]) -> [u8; 16] {
    let mut out = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
    out[12..].copy_from_slice(address);
    out
}

fn look_at_network(frame: &[u8], seen: &mut Seen) -> Option<()> {
    let mut at = 12;
    while word(frame, at)? == 0x8100 {
        at += 4;
    }
    seen.ethertype = word(frame, at)?;
    let packet = frame.get(at + 2..)?;
    match seen.ethertype {
        0x0806 => packet.get(..28).map(|_| ()),
        0x0800 => {
            let header = packet.get(..20)?;
            if header[0] >> 4 != 4 {
                return None;
            }
            seen.version = 4;
            seen.protocol = header[9];
            seen.src = mapped(&header[12..16]);
            seen.dst = mapped(&header[16..20]);
            seen.later_fragment = word(header, 6)? & 0x1fff != 0;
            look_at_transport(packet.get(usize::from(header[0] & 15) * 4..)?, seen)
        }
        0x86dd => {
            let header = packet.get(..40)?;
            seen.version = 6;
            seen.protocol = header[6];
            seen.src.copy_from_slice(&header[8..24]);
            seen.dst.copy_from_slice(&header[24..40]);
            let mut rest = &packet[40..];
            if seen.protocol == 44 {
                seen.protocol = *rest.first()?;
                seen.later_fragment = word(rest, 2)? >> 3 != 0;
                rest = rest.get(8..)?;
            }
            look_at_transport(rest, seen)
        }
        _ => None,
    }
}

fn look_at_transport(segment: &[u8], seen: &mut Seen) -> Option<()> {
    let header = match seen.protocol {
        _ if seen.later_fragment => 0,
        TCP => usize::from(*segment.get(12)? >> 4) * 4,
        UDP => 8,
        _ => 0,
    };
    seen.payload = segment.get(header..)?.to_vec();
    if header > 0 {
        seen.src_port = word(segment, 0)?;
        seen.dst_port = word(segment, 2)?;
    }
    if header > 0 && seen.protocol == TCP {
        seen.flags = segment[13];
    }
    if header > 0 && seen.protocol == UDP {
        seen.udp_payload_len = word(segment, 4)? - 8;
        if seen.src_port == 53 || seen.dst_port == 53 {
            let end = seen.payload.len().min(usize::from(seen.udp_payload_len));
            seen.dns = Some(look_at_dns(&seen.payload[..end]));
        }
    }
    Some(())
}

fn look_at_dns(message: &[u8]) -> Option<Dns> {
    let (flags, questions) = (word(message, 2)?, word(message, 4)?);
    let mut at = 12;
    message.get(..at)?;
    let mut qtype = 0;
    if questions > 0 {
        loop {
            match *message.get(at)? {
                0 => break at += 1,
                pointer @ 192.. => {
                    let _ = pointer;
                    break at += 2;
                }
                64.. => return None,
                label => at += 1 + usize::from(label),
            }
        }
        message.get(..at + 4)?;
        qtype = word(message, at)?;
    }
    Some(Dns {
        is_response: flags >> 15 == 1,
        opcode: (flags >> 11 & 15) as u8,
        rcode: (flags & 15) as u8,
        qtype,
        answers: word(message, 6)?,
    })
}
