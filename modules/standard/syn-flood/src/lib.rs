//! `syn-flood`: targets, address and port, that get many SYN packets while few connections end. In ordinary traffic SYN
//! and FIN or RST packets come in pairs; a flood breaks the pairs (Wang, Zhang, Shin: "Detecting SYN flooding attacks",
//! 2002). Owns a table of targets; what it names are pseudonyms below `headers`.
//!
//! Counts are exact, distinct sources a multi-resolution bitmap (standard error 12 %). The paper's cumulative sum over
//! intervals is left out, so that a window of the past gives what a live run gave: each interval stands for itself.
//! Up to 6144 targets are told apart in an interval, the rest is one row.
#![cfg_attr(target_arch = "wasm32", no_std)]

use como_kit::hash::{Zeroed, hash};
use como_kit::prelude::*;
use como_kit::sketch::MultiResolution;
use como_kit::table::HashTable;

/// Three quarters of them are targets.
const SLOTS: usize = 1 << 13;
/// Address and port.
type Targets = HashTable<[u64; 3], Target, SLOTS>;
/// 12 levels of 64 bits: up to some 100 000 sources.
type Distinct = MultiResolution<12, 1>;
/// Largest `syns`, as in module.toml.
const SYNS_MAX: i64 = 1_000_000;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

#[derive(Clone, Copy)]
struct Target {
    syns: u64,
    ends: u64,
    sources: Distinct,
}

impl Zeroed for Target {
    const ZERO: Self = Self {
        syns: 0,
        ends: 0,
        sources: Distinct::ZERO,
    };
}

/// The targets of one interval, and the arguments.
pub struct SynFlood {
    least_syns: u64,
    ended_percent: u64,
    targets: Targets,
    no_place_syns: u64,
}

impl SynFlood {
    #[inline(never)]
    fn open(&mut self, target: [u64; 3], source: [u64; 2], weight: u64) {
        let Some(entry) = self.targets.entry(target) else {
            self.no_place_syns += weight;
            return;
        };
        entry.syns += weight;
        entry.sources.insert(hash(&source));
    }

    /// Only what was opened in the interval is of interest.
    #[inline(never)]
    fn end(&mut self, target: [u64; 3], weight: u64) {
        if let Some(entry) = self.targets.get_mut(&target) {
            entry.ends += weight;
        }
    }
}

impl Module for SynFlood {
    const COLUMNS: &'static [ColumnId] = &[
        WEIGHT.id(),
        SRC.id(),
        DST.id(),
        SRC_PORT.id(),
        DST_PORT.id(),
        TCP_FLAGS.id(),
    ];
    const SCHEMA: &'static [Kind] = &[Kind::Address, Kind::U16, Kind::U64, Kind::U64, Kind::U64];
    const MAX_ROWS: usize = Targets::CAPACITY + 1;
    const INITIAL: Self = Self {
        least_syns: 0,
        ended_percent: 0,
        targets: Targets::EMPTY,
        no_place_syns: 0,
    };

    fn init(&mut self, args: &Args<'_>) -> Result<(), i32> {
        self.least_syns = args.within(0, 10..=SYNS_MAX)? as u64;
        self.ended_percent = args.within(1, 0..=100)? as u64;
        Ok(())
    }

    fn update(&mut self, batch: &Batch<'_>) {
        let addresses = batch.address_words(SRC).zip(batch.address_words(DST));
        let ports = batch.column(SRC_PORT).zip(batch.column(DST_PORT));
        let flags = batch.column(TCP_FLAGS);
        for (((weight, (source, destination)), (from, to)), flags) in
            batch.column(WEIGHT).zip(addresses).zip(ports).zip(flags)
        {
            let weight = u64::from(weight);
            if flags & (SYN | ACK | RST | FIN) == SYN {
                self.open([destination[0], destination[1], u64::from(to)], source, weight);
            } else if flags & (FIN | RST) != 0 {
                self.end([destination[0], destination[1], u64::from(to)], weight);
                if flags & RST != 0 {
                    self.end([source[0], source[1], u64::from(from)], weight);
                }
            }
        }
    }

    /// A row for each target under flood, and one for the SYN packets of targets that found no place.
    fn store(&mut self, rows: &mut Rows<'_>) {
        for entry in self.targets.iter() {
            let target = &entry.value;
            if target.syns >= self.least_syns && target.ends * 100 <= target.syns * self.ended_percent {
                rows.push(&[
                    Value::address([entry.key[0], entry.key[1]]),
                    (entry.key[2] as u16).into(),
                    target.syns.into(),
                    target.ends.into(),
                    ((target.sources.estimate() + 0.5) as u64).into(),
                ]);
            }
        }
        if self.no_place_syns > 0 {
            let none = Value::U64(0);
            rows.push(&[
                Value::address([0; 2]),
                0u16.into(),
                self.no_place_syns.into(),
                none,
                none,
            ]);
        }
        self.targets.clear();
        self.no_place_syns = 0;
    }
}
como_kit::export!(SynFlood);

#[cfg(test)]
mod tests {
    use super::*;
    use como_kit::native::{Guest, Packets, Table};

    /// (source, port, destination, port, flags)
    type Packet = (u128, u16, u128, u16, u8);

    fn run(args: [i64; 2], packets: &[Packet]) -> Table {
        let mut guest = Guest::<SynFlood>::new(&args);
        let addresses =
            |of: fn(&Packet) -> u128| packets.iter().map(|p| of(p).to_be_bytes()).collect::<Vec<_>>();
        let ports = |of: fn(&Packet) -> u16| packets.iter().map(of).collect::<Vec<_>>();
        guest.update(
            Packets::new(packets.len())
                .set(SRC, &addresses(|p| p.0))
                .set(DST, &addresses(|p| p.2))
                .set(SRC_PORT, &ports(|p| p.1))
                .set(DST_PORT, &ports(|p| p.3))
                .set(TCP_FLAGS, &packets.iter().map(|p| p.4).collect::<Vec<_>>()),
        );
        let table = guest.store();
        assert_eq!(guest.store().rows(), 0, "the next interval starts empty");
        table
    }

    /// 7:80 is flooded, 8:80 is busy, 9:81 is closed and says so.
    fn traffic() -> Vec<Packet> {
        let mut packets = Vec::new();
        for i in 0..200u16 {
            let source = 1000 + u128::from(i);
            packets.extend([(source, i, 7, 80, SYN), (7, 80, source, i, SYN | ACK)]);
            packets.extend([(source, i, 8, 80, SYN), (8, 80, source, i, SYN | ACK)]);
            packets.extend([
                (source, i, 8, 80, ACK),
                (8, 80, source, i, FIN | ACK),
                (source, i, 8, 80, FIN | ACK),
            ]);
            packets.extend([(source, i, 9, 81, SYN), (9, 81, source, i, RST | ACK)]);
        }
        packets
    }

    #[test]
    fn a_flood_is_told_from_a_busy_and_from_a_closed_port() {
        let table = run([100, 20], &traffic());
        assert_eq!(table.rows(), 1);
        let row = table.row(0);
        assert_eq!(
            row[..4],
            [
                7u128.to_be_bytes().into(),
                80u16.into(),
                200u64.into(),
                0u64.into()
            ]
        );
        let Value::U64(sources) = row[4] else {
            panic!("no u64")
        };
        assert!(
            sources.abs_diff(200) <= 96,
            "{sources} sources, four standard errors"
        );
    }

    #[test]
    fn the_arguments_draw_the_line() {
        assert_eq!(run([300, 20], &traffic()).rows(), 0);
        assert_eq!(run([100, 100], &traffic()).rows(), 3);
    }

    #[test]
    fn targets_that_find_no_place_are_one_row() {
        let flood: Vec<Packet> = (1..=Targets::CAPACITY as u128 + 10)
            .map(|i| (5, 5, i, 80, SYN))
            .collect();
        let table = run([10, 20], &flood);
        assert_eq!(table.rows(), 1);
        assert_eq!(table.row(0)[..3], [[0; 16].into(), 0u16.into(), 10u64.into()]);
    }
}
