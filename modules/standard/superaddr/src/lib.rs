//! `superaddr`: the k addresses with most distinct peers, superspreaders as Venkataraman, Song, Gibbons, Blum ("New
//! streaming algorithms for fast detection of superspreaders", 2005) call them; with `fan_in`, destinations by their
//! sources. Owns a table with a multi-resolution bitmap for each address; what it names are pseudonyms below `headers`.
//!
//! Peers have a standard error of 8 %, packets are exact. Up to 6144 addresses are told apart in an interval, the packets
//! of the rest are one row more.
#![cfg_attr(target_arch = "wasm32", no_std)]

use core::cmp::Reverse;

use como_kit::hash::{Zeroed, hash};
use como_kit::prelude::*;
use como_kit::sketch::MultiResolution;
use como_kit::table::HashTable;

/// Three quarters of them are addresses.
const SLOTS: usize = 1 << 13;
type Addresses = HashTable<[u64; 2], Spread, SLOTS>;
/// 12 levels of 128 bits: up to some 200 000 peers.
type Distinct = MultiResolution<12, 2>;
/// Largest `k`, as in module.toml.
const K_MAX: usize = 100;

#[derive(Clone, Copy)]
struct Spread {
    packets: u64,
    peers: Distinct,
}

impl Zeroed for Spread {
    const ZERO: Self = Self {
        packets: 0,
        peers: Distinct::ZERO,
    };
}

/// The addresses of one interval, and the arguments.
pub struct SuperAddr {
    k: usize,
    fan_in: bool,
    addresses: Addresses,
    no_place_packets: u64,
}

impl Module for SuperAddr {
    const COLUMNS: &'static [ColumnId] = &[WEIGHT.id(), SRC.id(), DST.id()];
    const SCHEMA: &'static [Kind] = &[Kind::Address, Kind::U64, Kind::U64];
    const MAX_ROWS: usize = K_MAX + 1;
    const INITIAL: Self = Self {
        k: 0,
        fan_in: false,
        addresses: Addresses::EMPTY,
        no_place_packets: 0,
    };

    fn init(&mut self, args: &Args<'_>) -> Result<(), i32> {
        self.k = args.within(0, 1..=K_MAX as i64)? as usize;
        self.fan_in = args.within(1, 0..=1)? == 1;
        Ok(())
    }

    fn update(&mut self, batch: &Batch<'_>) {
        let ends = batch.address_words(SRC).zip(batch.address_words(DST));
        for (weight, (source, destination)) in batch.column(WEIGHT).zip(ends) {
            let (address, peer) = if self.fan_in {
                (destination, source)
            } else {
                (source, destination)
            };
            match self.addresses.entry(address) {
                Some(spread) => {
                    spread.packets += u64::from(weight);
                    spread.peers.insert(hash(&peer));
                }
                None => self.no_place_packets += u64::from(weight),
            }
        }
    }

    /// Most peers first; where they are equal, most packets, then the smaller address.
    fn store(&mut self, rows: &mut Rows<'_>) {
        let mut best = Best::<_, (u64, [u64; 2], u64), K_MAX>::of(self.k);
        for entry in self.addresses.iter() {
            let peers = (entry.value.peers.estimate() + 0.5) as u64;
            let rank = (peers, entry.value.packets, Reverse(address_number(entry.key)));
            best.offer(rank, (peers, entry.key, entry.value.packets));
        }
        for (peers, address, packets) in best.iter() {
            rows.push(&[Value::address(*address), (*peers).into(), (*packets).into()]);
        }
        if self.no_place_packets > 0 {
            rows.push(&[Value::address([0; 2]), 0u64.into(), self.no_place_packets.into()]);
        }
        self.addresses.clear();
        self.no_place_packets = 0;
    }
}
como_kit::export!(SuperAddr);

#[cfg(test)]
mod tests {
    use super::*;
    use como_kit::native::{Guest, Packets, Table};

    fn run(args: [i64; 2], packets: &[(u128, u128)]) -> Table {
        let mut guest = Guest::<SuperAddr>::new(&args);
        let sources: Vec<_> = packets.iter().map(|p| p.0.to_be_bytes()).collect();
        let destinations: Vec<_> = packets.iter().map(|p| p.1.to_be_bytes()).collect();
        guest.update(
            Packets::new(packets.len())
                .set(SRC, &sources)
                .set(DST, &destinations),
        );
        let table = guest.store();
        assert_eq!(guest.store().rows(), 0, "the next interval starts empty");
        table
    }

    #[test]
    fn peers_count_and_packets_do_not() {
        // 1 sends a thousand packets to two hosts, 2 one each to 300.
        let mut packets: Vec<(u128, u128)> = (0..1000).map(|i| (1, 90 + i % 2)).collect();
        packets.extend((0..300).map(|i| (2, 1000 + i)));
        let table = run([1, 0], &packets);
        assert_eq!(table.rows(), 1);
        let row = table.row(0);
        assert_eq!((row[0], row[2]), (2u128.to_be_bytes().into(), 300u64.into()));
        let Value::U64(peers) = row[1] else {
            panic!("no u64")
        };
        assert!(peers.abs_diff(300) <= 96, "{peers} peers, four standard errors");
        let fan_in = run([100, 1], &packets);
        assert_eq!(fan_in.rows(), 100);
        assert_eq!(
            fan_in.row(0)[1..],
            [1u64.into(), 500u64.into()],
            "one source each: packets decide"
        );
    }

    #[test]
    fn addresses_that_find_no_place_are_one_row() {
        let packets: Vec<_> = (1..=Addresses::CAPACITY as u128 + 10).map(|i| (i, 5)).collect();
        let table = run([3, 0], &packets);
        assert_eq!(table.rows(), 4);
        assert_eq!(table.row(3), [[0; 16].into(), 0u64.into(), 10u64.into()]);
    }
}
