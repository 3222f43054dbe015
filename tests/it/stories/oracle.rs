//! A naive reading of generated Ethernet frames, to compare answers with. Must share no code with the product.

use como_tests::generate::{Packet, Traffic};

/// What a packet says, by plain offsets: the generator makes no extension headers, options or fragments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Packet time, ns.
    pub ts_ns: u64,
    /// Length on the wire.
    pub wire_len: u64,
    /// Ethertype behind the VLAN tag.
    pub ethertype: u16,
    /// Where the network header begins.
    pub network: usize,
    /// Source address, 4 or 16 bytes; none without IP.
    pub source: Vec<u8>,
    /// Destination address.
    pub destination: Vec<u8>,
    /// IP protocol; 0 without IP.
    pub protocol: u8,
    /// Source and destination port of TCP and UDP.
    pub ports: Option<(u16, u16)>,
    /// Bytes up to the end of the TCP or UDP header.
    pub header_len: Option<usize>,
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Reads a frame.
pub fn look(ts_ns: u64, frame: &[u8]) -> Seen {
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let tagged = word(12) == 0x8100;
    let network = if tagged { 18 } else { 14 };
    let mut seen = Seen {
        ts_ns,
        wire_len: frame.len() as u64,
        ethertype: word(network - 2),
        network,
        ..Seen::default()
    };
    let transport = match seen.ethertype {
        0x0800 => {
            seen.protocol = frame[network + 9];
            seen.source = frame[network + 12..network + 16].to_vec();
            seen.destination = frame[network + 16..network + 20].to_vec();
            network + 20
        }
        0x86dd => {
            seen.protocol = frame[network + 6];
            seen.source = frame[network + 8..network + 24].to_vec();
            seen.destination = frame[network + 24..network + 40].to_vec();
            network + 40
        }
        _ => return seen,
    };
    if [TCP, UDP].contains(&seen.protocol) {
        seen.ports = Some((word(transport), word(transport + 2)));
        let header = if seen.protocol == UDP {
            8
        } else {
            usize::from(frame[transport + 12] >> 4) * 4
        };
        seen.header_len = Some(transport + header);
    }
    seen
}

/// The whole capture, read.
pub fn look_at(traffic: &Traffic) -> Vec<Seen> {
    traffic
        .generate()
        .map(|Packet { ts_ns, data }| look(ts_ns, &data))
        .collect()
}

/// Bits that two addresses of one family begin with alike.
pub fn common_prefix(one: &[u8], other: &[u8]) -> u32 {
    for (at, (a, b)) in one.iter().zip(other).enumerate() {
        if a != b {
            return at as u32 * 8 + (a ^ b).leading_zeros();
        }
    }
    one.len() as u32 * 8
}
