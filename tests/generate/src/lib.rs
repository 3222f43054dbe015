//! A traffic generator: a capture of a small organisation's link, realistic enough to look at and exactly
//! the same for the same seed, on every machine and release. Must never depend on a clock, a random source
//! or another crate's generator.
//!
//! Flows (TCP with handshake, sizes and end; DNS; QUIC-like UDP; ping; ARP; IPv6 neighbours) start along a
//! daily curve; transfer sizes are heavy-tailed (bounded Pareto), so few flows carry most bytes.

use std::io::Write;

use como_savefile::{Resolution, WriteError, Writer};

mod frame;
mod rng;

use frame::{Ip, Link};
use rng::Rng;

/// What all frames are.
const LINKTYPE_ETHERNET: u32 = 1;
/// Seconds of a day: the period of the rate curve.
const DAY_S: f64 = 86_400.0;
/// Payload of a full TCP segment, bytes.
const SEGMENT_BYTES: u64 = 1448;
/// Largest transfer of one flow, bytes.
const LARGEST_TRANSFER_BYTES: f64 = 4e6;
/// Hosts inside.
const INSIDE_HOSTS: u64 = 240;
/// Hosts outside.
const OUTSIDE_HOSTS: u64 = 20_000;

/// What to generate.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// The same seed gives the same bytes.
    pub seed: u64,
    /// Packets in the capture, exactly.
    pub packets: usize,
    /// Time of the start, ns since the Unix epoch.
    pub start_ns: u64,
    /// Seconds from the first packet to the last, about.
    pub duration_s: f64,
    /// Nanosecond time stamps; else microseconds.
    pub nanoseconds: bool,
}

impl Default for Traffic {
    fn default() -> Self {
        // 2026-03-02 09:00 UTC, a Monday.
        Self {
            seed: 1,
            packets: 100_000,
            start_ns: 1_772_442_000_000_000_000,
            duration_s: 600.0,
            nanoseconds: true,
        }
    }
}

/// A packet as generated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Time, ns since the Unix epoch.
    pub ts_ns: u64,
    /// The Ethernet frame, whole.
    pub data: Vec<u8>,
}

impl Traffic {
    /// Writes a pcap file.
    pub fn write_pcap(&self, out: impl Write) -> Result<(), WriteError> {
        let resolution = if self.nanoseconds {
            Resolution::Nanoseconds
        } else {
            Resolution::Microseconds
        };
        let mut writer = Writer::pcap(out, LINKTYPE_ETHERNET, resolution)?;
        for packet in self.generate() {
            writer.packet(&como_savefile::Packet {
                ts_ns: packet.ts_ns,
                wire_len: packet.data.len() as u32,
                link: LINKTYPE_ETHERNET,
                data: &packet.data,
            })?;
        }
        writer.finish()?;
        Ok(())
    }

    /// All packets in the order of time.
    pub fn generate(&self) -> impl Iterator<Item = Packet> {
        let (mut flows, plan) = self.plan();
        plan.into_iter().map(move |slot| {
            let data = flows[slot.flow].next_packet();
            Packet {
                ts_ns: slot.ts_ns,
                data,
            }
        })
    }

    /// Who sends when: flows until there are enough packets, then all in the order of time.
    fn plan(&self) -> (Vec<Flow>, Vec<Slot>) {
        let mut rng = Rng::new(self.seed);
        let (mut flows, mut slots) = (Vec::new(), Vec::with_capacity(self.packets));
        while slots.len() < self.packets {
            let flow = Flow::new(&mut rng);
            let packets = flow.packets().min(self.packets - slots.len());
            let mut at = self.start_offset(&mut rng);
            for index in 0..packets {
                slots.push(Slot {
                    ts_ns: self.start_ns + (at * 1e9) as u64,
                    flow: flows.len(),
                    index,
                });
                at += flow.pause(index, &mut rng);
                if at >= self.duration_s {
                    // What would come after the end comes right before it.
                    at = self.duration_s - 1e-9 * (packets - index) as f64;
                }
            }
            flows.push(flow);
        }
        // Within a flow the order of sending stands, whatever the clock.
        slots.sort_by_key(|slot| (slot.ts_ns, slot.flow, slot.index));
        (flows, slots)
    }

    /// A start within the capture, seconds: by rejection against the daily curve.
    fn start_offset(&self, rng: &mut Rng) -> f64 {
        let day_start_s = (self.start_ns / 1_000_000_000) as f64 % DAY_S;
        loop {
            let at = rng.unit() * self.duration_s;
            let hour = (day_start_s + at) % DAY_S / DAY_S;
            // Lowest at four in the morning, highest at four in the afternoon.
            let rate = 0.6 - 0.4 * (std::f64::consts::TAU * (hour - 4.0 / 24.0)).cos();
            if rng.unit() < rate {
                return at;
            }
        }
    }
}

struct Slot {
    ts_ns: u64,
    flow: usize,
    index: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Dns,
    Quic,
    Ping,
    Arp,
    Neighbour,
}

/// A conversation, and how far it is.
struct Flow {
    kind: Kind,
    link: Link,
    ip: Ip,
    client_port: u16,
    server_port: u16,
    request_bytes: u64,
    response_bytes: u64,
    round_trip_s: f64,
    rng: Rng,
    at: usize,
    client_seq: u32,
    server_seq: u32,
    sent_by_server: u64,
}

impl Flow {
    fn new(rng: &mut Rng) -> Self {
        let kind = match rng.below(100) {
            0..48 => Kind::Tcp,
            48..76 => Kind::Dns,
            76..86 => Kind::Quic,
            86..93 => Kind::Ping,
            93..97 => Kind::Arp,
            _ => Kind::Neighbour,
        };
        // Few hosts talk most: squaring the uniform number skews it.
        let skewed = |rng: &mut Rng, count: u64| ((rng.unit() * rng.unit()) * count as f64) as u64;
        let inside = skewed(rng, INSIDE_HOSTS);
        let outside = skewed(rng, OUTSIDE_HOSTS);
        let v6 = kind == Kind::Neighbour || (kind != Kind::Arp && rng.below(10) < 3);
        let vlan = (inside % 4 == 0).then_some(100 + (inside % 3) as u16);
        let (server_port, client_port) = match kind {
            Kind::Tcp => (
                [443, 443, 443, 80, 22, 25, 993, 8080][rng.below(8) as usize],
                32_768 + rng.below(28_000) as u16,
            ),
            Kind::Dns => (53, 32_768 + rng.below(28_000) as u16),
            _ => (443, 32_768 + rng.below(28_000) as u16),
        };
        Self {
            kind,
            link: Link::new(inside, vlan),
            ip: if v6 {
                Ip::v6(inside, outside)
            } else {
                Ip::v4(inside, outside)
            },
            client_port,
            server_port,
            request_bytes: 80 + rng.below(900),
            response_bytes: rng.pareto(1.15, 300.0, LARGEST_TRANSFER_BYTES) as u64,
            round_trip_s: 0.002 + rng.exponential(0.03),
            client_seq: rng.next() as u32,
            server_seq: rng.next() as u32,
            rng: Rng::new(rng.next()),
            at: 0,
            sent_by_server: 0,
        }
    }

    fn response_segments(&self) -> usize {
        self.response_bytes.div_ceil(SEGMENT_BYTES) as usize
    }

    /// Packets of the whole conversation.
    fn packets(&self) -> usize {
        match self.kind {
            // Handshake, request, response with an acknowledgement for every second segment, end.
            Kind::Tcp => 3 + 1 + self.response_segments() + self.response_segments() / 2 + 3,
            Kind::Quic => 2 + self.response_segments(),
            Kind::Ping => 2 * (1 + self.response_bytes as usize % 5),
            Kind::Dns | Kind::Arp | Kind::Neighbour => 2,
        }
    }

    /// Seconds from packet `index` to the next.
    fn pause(&self, index: usize, rng: &mut Rng) -> f64 {
        match self.kind {
            Kind::Tcp | Kind::Quic if index > 4 => rng.exponential(self.round_trip_s / 12.0),
            Kind::Ping if index % 2 == 1 => 1.0,
            Kind::Arp | Kind::Neighbour => 0.0002 + rng.exponential(0.0005),
            _ => self.round_trip_s / 2.0 + rng.exponential(self.round_trip_s / 20.0),
        }
    }

    /// The next frame of the conversation.
    fn next_packet(&mut self) -> Vec<u8> {
        let index = self.at;
        self.at += 1;
        match self.kind {
            Kind::Tcp => self.tcp(index),
            Kind::Quic => {
                let out = index == 0;
                let length = if out { 1200 } else { 600 + self.rng.below(750) };
                let payload = self.noise(length as usize);
                self.udp(out, &payload)
            }
            Kind::Dns => {
                let payload = frame::dns(self.request_bytes, self.client_seq as u16, index == 1, &self.ip);
                self.udp(index == 0, &payload)
            }
            Kind::Ping => {
                let payload = frame::echo(
                    self.ip.is_v6(),
                    index % 2 == 1,
                    self.client_seq as u16,
                    (index / 2) as u16,
                );
                self.wrap(
                    index.is_multiple_of(2),
                    if self.ip.is_v6() { 58 } else { 1 },
                    payload,
                )
            }
            Kind::Arp => frame::arp(&self.link, &self.ip, index == 1),
            Kind::Neighbour => {
                let payload = frame::neighbour(&self.link, &self.ip, index == 1);
                self.wrap(index == 0, 58, payload)
            }
        }
    }

    fn tcp(&mut self, index: usize) -> Vec<u8> {
        const FIN: u8 = 1;
        const SYN: u8 = 2;
        const PSH: u8 = 8;
        const ACK: u8 = 16;
        let last = self.packets() - 1;
        let (from_client, flags, length) = match index {
            0 => (true, SYN, 0),
            1 => (false, SYN | ACK, 0),
            2 => (true, ACK, 0),
            3 => (true, PSH | ACK, self.request_bytes),
            _ if index == last - 2 => (false, FIN | ACK, 0),
            _ if index == last - 1 => (true, FIN | ACK, 0),
            _ if index == last => (false, ACK, 0),
            _ if (index - 3).is_multiple_of(3) || self.sent_by_server >= self.response_bytes => {
                (true, ACK, 0)
            }
            _ => (
                false,
                ACK,
                SEGMENT_BYTES.min(self.response_bytes - self.sent_by_server),
            ),
        };
        let payload = if self.server_port == 80 {
            frame::text(length as usize, from_client)
        } else {
            self.noise(length as usize)
        };
        let ports = if from_client {
            (self.client_port, self.server_port)
        } else {
            (self.server_port, self.client_port)
        };
        let (seq, ack) = if from_client {
            (self.client_seq, self.server_seq)
        } else {
            (self.server_seq, self.client_seq)
        };
        let ack = if flags & ACK == 0 { 0 } else { ack };
        let segment = frame::tcp(ports, seq, ack, flags, &payload);
        let advance = length as u32 + u32::from(flags & (SYN | FIN) != 0);
        if from_client {
            self.client_seq = self.client_seq.wrapping_add(advance);
        } else {
            self.server_seq = self.server_seq.wrapping_add(advance);
            self.sent_by_server += length;
        }
        self.wrap(from_client, 6, segment)
    }

    fn udp(&mut self, from_client: bool, payload: &[u8]) -> Vec<u8> {
        let ports = if from_client {
            (self.client_port, self.server_port)
        } else {
            (self.server_port, self.client_port)
        };
        self.wrap(from_client, 17, frame::udp(ports, payload))
    }

    fn wrap(&mut self, from_client: bool, protocol: u8, segment: Vec<u8>) -> Vec<u8> {
        let id = self.rng.next() as u16;
        frame::wrap(&self.link, &self.ip, from_client, protocol, id, segment)
    }

    fn noise(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.rng.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let traffic = Traffic {
            packets: 3000,
            ..Traffic::default()
        };
        let (mut one, mut two) = (Vec::new(), Vec::new());
        traffic.write_pcap(&mut one).unwrap();
        traffic.write_pcap(&mut two).unwrap();
        assert_eq!(one, two);
        let mut other = Vec::new();
        Traffic { seed: 2, ..traffic }.write_pcap(&mut other).unwrap();
        assert_ne!(one, other);
    }

    #[test]
    fn packets_are_counted_ordered_and_within_the_duration() {
        let traffic = Traffic {
            packets: 5000,
            duration_s: 60.0,
            ..Traffic::default()
        };
        let times: Vec<u64> = traffic
            .generate()
            .map(|packet| packet.ts_ns - traffic.start_ns)
            .collect();
        assert_eq!(times.len(), 5000);
        assert!(times.is_sorted());
        assert!(*times.last().unwrap() <= 60_000_000_000);
    }
}
