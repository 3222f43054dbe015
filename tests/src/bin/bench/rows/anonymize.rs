//! Anonymization alone: in memory, one core, nothing written. Must never keep a result from one address or
//! packet to the next.

use std::hint::black_box;
use std::time::Instant;

use como_anonymize::{Anonymizer, CryptoPan4};
use como_keys::mapping::MappingKey;

use super::Bench;
use crate::measure::{Cost, in_turn};
use crate::row::{Aim, Row};

/// Names of these rows.
pub const NAMES: &[&str] = &["dissect + anonymize in memory", "Crypto-PAn IPv4, one core"];

/// Packets that are held in memory.
const MAX_PACKETS: usize = 200_000;
/// Addresses of one round; each is another one.
const ADDRESSES: u32 = 1 << 22;
/// Addresses whose blocks are encrypted together, as the product does it for a packet's two ends.
const TOGETHER: usize = 4;
/// Largest time for one packet, ns.
const AIM_NS_PER_PACKET: f64 = 150.0;
/// Fewest addresses per second.
const AIM_ADDRESSES_PER_S: f64 = 20e6;

pub fn rows(bench: &Bench) -> Vec<Row> {
    let packets = bench.trace.load(MAX_PACKETS);
    let count = packets.as_ref().map_or(1, |packets| packets.len()) as f64;
    let anonymizer = Anonymizer::new(&MappingKey::from_bytes(&[5; 32]));
    let map = CryptoPan4::new(&[7; 32]);
    let whole = || {
        let packets = packets.as_ref().map_err(Clone::clone)?;
        let mut out = Vec::with_capacity(1 << 16);
        Ok(timed(|| {
            for packet in packets.iter() {
                out.clear();
                black_box(anonymizer.anonymize(packets.link, packet, &mut out));
            }
        }))
    };
    let addresses = || {
        Ok(timed(|| {
            for n in (0..ADDRESSES).step_by(TOGETHER) {
                // Spread over the address space, so that no two share more than chance.
                black_box(map.map_many([n, n + 1, n + 2, n + 3].map(|n| n.wrapping_mul(2_654_435_761))));
            }
        }))
    };
    let [whole, addresses] = in_turn(bench.rounds, vec![Box::new(whole), Box::new(addresses)])
        .try_into()
        .expect("two sides, two costs");
    vec![
        Row {
            name: NAMES[0],
            ours: whole.map(|cost| cost.wall_s * 1e9 / count),
            unit: "ns/packet",
            peer: None,
            aim: Aim::AtMost(AIM_NS_PER_PACKET),
            note: String::new(),
        },
        Row {
            name: NAMES[1],
            ours: addresses.map(|cost| f64::from(ADDRESSES) / cost.wall_s),
            unit: "addresses/s",
            peer: None,
            aim: Aim::AtLeast(AIM_ADDRESSES_PER_S),
            note: String::new(),
        },
    ]
}

/// One thread that waits for nothing: its processor time is its wall time.
fn timed(work: impl FnOnce()) -> Cost {
    let start = Instant::now();
    work();
    let wall_s = start.elapsed().as_secs_f64();
    Cost {
        wall_s,
        cpu_s: wall_s,
    }
}
