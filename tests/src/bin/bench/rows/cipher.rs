//! Crypto-PAn against the bare cipher of the same build: what no implementation can beat without keeping results.
//! One core. Must never keep a result from one address to the next.

use std::hint::black_box;

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Block};
use como_anonymize::{Anonymizer, CryptoPan4};
use como_keys::mapping::MappingKey;

use super::Bench;
use super::anonymize::timed;
use crate::measure::in_turn;
use crate::row::{Aim, Figure, Peer, Row};

/// Names of these rows.
pub const NAMES: &[&str] = &[
    "Crypto-PAn IPv4, one core",
    "Crypto-PAn IPv4, against its cipher",
    "IPv6 pseudonyms, against their cipher",
];

/// IPv4 addresses of one round; each is another one.
const ADDRESSES: u32 = 1 << 22;
/// IPv6 addresses of one round.
const ADDRESSES_V6: u32 = 1 << 20;
/// Addresses that are mapped together, as the product does it where it re-keys a column of them.
const TOGETHER: u32 = 64;
/// Blocks of one round of the bare cipher.
const BLOCKS: u32 = 1 << 26;
/// Blocks in flight: what the widest implementation encrypts in one go.
const IN_FLIGHT: usize = 64;
/// Blocks of an IPv4 address: one for each bit below the table of the top 16.
const BLOCKS_V4: f64 = 16.0;
/// Of an IPv6 address: 48 likewise for the prefix, and the six rounds of the interface id's permutation.
const BLOCKS_V6: f64 = 48.0 + 6.0;
/// Fewest addresses per second.
const AIM_ADDRESSES_PER_S: f64 = 20e6;
/// Smallest part of what the bare cipher allows.
const AIM_OF_CIPHER: f64 = 0.6;

pub fn rows(bench: &Bench) -> Vec<Row> {
    let v4 = CryptoPan4::new(&[7; 32]);
    let v6 = Anonymizer::new(&MappingKey::from_bytes(&[7; 32]));
    let cipher = Aes128::new(&[7; 16].into());
    // Spread over the address space, so that no two share more than chance.
    let spread = |n: u32| n.wrapping_mul(2_654_435_761);
    let map_v4 = || {
        Ok(timed(|| {
            for first in (0..ADDRESSES).step_by(TOGETHER as usize) {
                let mut addresses = [0; TOGETHER as usize];
                for (address, n) in addresses.iter_mut().zip(first..) {
                    *address = spread(n);
                }
                v4.map_all(black_box(&mut addresses));
            }
        }))
    };
    let map_v6 = || {
        Ok(timed(|| {
            for first in (0..ADDRESSES_V6).step_by(TOGETHER as usize) {
                let mut addresses = [0; TOGETHER as usize];
                for (address, n) in addresses.iter_mut().zip(first..) {
                    let half = u128::from(spread(n)) << 32 | u128::from(spread(!n));
                    *address = half << 64 | half;
                }
                v6.map_all_v6(black_box(&mut addresses));
            }
        }))
    };
    let bare = || {
        let mut blocks = [Block::default(); IN_FLIGHT];
        Ok(timed(|| {
            for _ in (0..BLOCKS).step_by(IN_FLIGHT) {
                cipher.encrypt_blocks(black_box(&mut blocks));
            }
        }))
    };
    let [v4, v6, bare] = in_turn(
        bench.rounds,
        vec![Box::new(map_v4), Box::new(map_v6), Box::new(bare)],
    )
    .try_into()
    .expect("three sides, three costs");
    let v4: Figure = v4.map(|cost| f64::from(ADDRESSES) / cost.cpu_s);
    let blocks_per_s = bare.map(|cost| f64::from(BLOCKS) / cost.cpu_s);
    let limit = |name, blocks: f64| {
        let figure = blocks_per_s.clone().map(|rate| rate / blocks);
        Some(Peer { name, figure })
    };
    let row = |name, ours, peer, aim, note: &str| Row {
        name,
        ours,
        unit: "addresses/s",
        peer,
        aim,
        note: note.to_owned(),
    };
    vec![
        row(NAMES[0], v4.clone(), None, Aim::AtLeast(AIM_ADDRESSES_PER_S), ""),
        row(
            NAMES[1],
            v4,
            limit("AES blocks/s / 16", BLOCKS_V4),
            Aim::RatioAtLeast(AIM_OF_CIPHER),
            "no result is kept; the top 16 bits come from a table",
        ),
        row(
            NAMES[2],
            v6.map(|cost| f64::from(ADDRESSES_V6) / cost.cpu_s),
            limit("AES blocks/s / 54", BLOCKS_V6),
            Aim::RatioAtLeast(AIM_OF_CIPHER),
            "48 blocks of the prefix, and the six rounds of the interface id; no result is kept",
        ),
    ]
}
