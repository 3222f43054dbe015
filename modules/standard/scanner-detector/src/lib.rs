//! `scanner-detector`: sources that try many TCP targets and get few answers (the two signs that Jung, Paxson, Berger,
//! Balakrishnan, "Fast portscan detection using sequential hypothesis testing", 2004, find scanners by). Owns
//! a table of the sources of SYN packets; what it names are pseudonyms below `headers`.
//!
//! Distinct addresses and targets are multi-resolution bitmaps, standard error 12 %, and of packets seen: sampling does
//! not scale them. Up to 6144 sources are told apart in an interval, the rest is one row. What is slower than
//! `targets` in an interval stays unseen, and so do scans by UDP.
#![cfg_attr(target_arch = "wasm32", no_std)]

use como_kit::hash::{Zeroed, hash};
use como_kit::prelude::*;
use como_kit::sketch::MultiResolution;
use como_kit::table::HashTable;

/// Three quarters of them are sources.
const SLOTS: usize = 1 << 13;
type Sources = HashTable<[u64; 2], Source, SLOTS>;
/// 12 levels of 64 bits: up to some 100 000 of them.
type Distinct = MultiResolution<12, 1>;
/// Largest `targets`, as in module.toml.
const TARGETS_MAX: i64 = 100_000;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

#[derive(Clone, Copy)]
struct Source {
    syns: u64,
    answers: u64,
    refusals: u64,
    addresses: Distinct,
    targets: Distinct,
}

impl Zeroed for Source {
    const ZERO: Self = Self {
        syns: 0,
        answers: 0,
        refusals: 0,
        addresses: Distinct::ZERO,
        targets: Distinct::ZERO,
    };
}

/// The sources of one interval, and the arguments.
pub struct ScannerDetector {
    least_targets: u64,
    answered_percent: u64,
    sources: Sources,
    no_place_syns: u64,
}

impl ScannerDetector {
    #[inline(never)]
    fn try_target(&mut self, source: [u64; 2], address: [u64; 2], port: u16, weight: u64) {
        let Some(entry) = self.sources.entry(source) else {
            self.no_place_syns += weight;
            return;
        };
        entry.syns += weight;
        entry.addresses.insert(hash(&address));
        entry
            .targets
            .insert(hash(&[address[0], address[1], u64::from(port)]));
    }

    /// Only who tried something before can be answered.
    #[inline(never)]
    fn answer(&mut self, source: [u64; 2], weight: u64, refused: bool) {
        if let Some(entry) = self.sources.get_mut(&source) {
            *if refused {
                &mut entry.refusals
            } else {
                &mut entry.answers
            } += weight;
        }
    }
}

impl Module for ScannerDetector {
    const COLUMNS: &'static [ColumnId] = &[WEIGHT.id(), SRC.id(), DST.id(), DST_PORT.id(), TCP_FLAGS.id()];
    const SCHEMA: &'static [Kind] = &[
        Kind::Address,
        Kind::U64,
        Kind::U64,
        Kind::U64,
        Kind::U64,
        Kind::U64,
    ];
    const MAX_ROWS: usize = Sources::CAPACITY + 1;
    const INITIAL: Self = Self {
        least_targets: 0,
        answered_percent: 0,
        sources: Sources::EMPTY,
        no_place_syns: 0,
    };

    fn init(&mut self, args: &Args<'_>) -> Result<(), i32> {
        self.least_targets = args.within(0, 10..=TARGETS_MAX)? as u64;
        self.answered_percent = args.within(1, 0..=100)? as u64;
        Ok(())
    }

    fn update(&mut self, batch: &Batch<'_>) {
        let addresses = batch.address_words(SRC).zip(batch.address_words(DST));
        let kinds = batch.column(DST_PORT).zip(batch.column(TCP_FLAGS));
        for ((weight, (source, destination)), (port, flags)) in batch.column(WEIGHT).zip(addresses).zip(kinds)
        {
            let weight = u64::from(weight);
            if flags & (SYN | ACK | RST | FIN) == SYN {
                self.try_target(source, destination, port, weight);
            } else if flags & RST != 0 || flags & (SYN | ACK) == SYN | ACK {
                self.answer(destination, weight, flags & RST != 0);
            }
        }
    }

    /// A row for each scanner, and one for the SYN packets of sources that found no place.
    fn store(&mut self, rows: &mut Rows<'_>) {
        let count = |distinct: &Distinct| (distinct.estimate() + 0.5) as u64;
        for entry in self.sources.iter() {
            let source = &entry.value;
            // Answers first: most sources are answered, and an estimate costs more.
            if source.answers * 100 > source.syns * self.answered_percent {
                continue;
            }
            let targets = count(&source.targets);
            if targets >= self.least_targets {
                rows.push(&[
                    Value::address(entry.key),
                    source.syns.into(),
                    source.answers.into(),
                    source.refusals.into(),
                    count(&source.addresses).into(),
                    targets.into(),
                ]);
            }
        }
        if self.no_place_syns > 0 {
            let none = Value::U64(0);
            rows.push(&[
                Value::address([0; 2]),
                self.no_place_syns.into(),
                none,
                none,
                none,
                none,
            ]);
        }
        self.sources.clear();
        self.no_place_syns = 0;
    }
}
como_kit::export!(ScannerDetector);

#[cfg(test)]
mod tests {
    use super::*;
    use como_kit::native::{Guest, Packets, Table};

    /// (source, destination, destination port, flags)
    type Packet = (u128, u128, u16, u8);

    fn run(args: [i64; 2], packets: &[Packet]) -> Table {
        let mut guest = Guest::<ScannerDetector>::new(&args);
        let column =
            |of: fn(&Packet) -> u128| packets.iter().map(|p| of(p).to_be_bytes()).collect::<Vec<_>>();
        guest.update(
            Packets::new(packets.len())
                .set(SRC, &column(|p| p.0))
                .set(DST, &column(|p| p.1))
                .set(DST_PORT, &packets.iter().map(|p| p.2).collect::<Vec<_>>())
                .set(TCP_FLAGS, &packets.iter().map(|p| p.3).collect::<Vec<_>>()),
        );
        let table = guest.store();
        assert_eq!(guest.store().rows(), 0, "the next interval starts empty");
        table
    }

    /// 1 scans 100 ports of one host and is refused; 2 scans 100 hosts in silence; 3 talks to 100 hosts that answer.
    fn three_sources() -> Vec<Packet> {
        let mut packets = Vec::new();
        for i in 0..100u16 {
            packets.extend([(1, 9, 1 + i, SYN), (9, 1, 40_000, RST | ACK)]);
            packets.push((2, 1000 + u128::from(i), 22, SYN));
            let peer = 5000 + u128::from(i);
            packets.extend([
                (3, peer, 443, SYN),
                (peer, 3, 40_000, SYN | ACK),
                (3, peer, 443, ACK),
            ]);
        }
        packets
    }

    #[test]
    fn who_is_not_answered_is_told_from_who_is() {
        let table = run([50, 50], &three_sources());
        let mut rows: Vec<_> = (0..table.rows()).map(|row| table.row(row)).collect();
        rows.sort_by_key(|row| format!("{:?}", row[0]));
        assert_eq!(rows.len(), 2);
        for (row, source, refusals, addresses) in [(&rows[0], 1u128, 100u64, 1), (&rows[1], 2, 0, 100)] {
            assert_eq!(
                row[..4],
                [
                    source.to_be_bytes().into(),
                    100u64.into(),
                    0u64.into(),
                    refusals.into()
                ]
            );
            for (value, exact) in [(&row[4], addresses), (&row[5], 100)] {
                let Value::U64(estimate) = value else {
                    panic!("no u64")
                };
                assert!(
                    estimate.abs_diff(exact) as f64 <= 0.48 * exact as f64,
                    "{estimate} of {exact}"
                );
            }
        }
    }

    #[test]
    fn the_arguments_draw_the_line() {
        assert_eq!(
            run([50, 100], &three_sources()).rows(),
            3,
            "answers do not matter at 100 %"
        );
        assert_eq!(run([1000, 100], &three_sources()).rows(), 0);
        let few: Vec<Packet> = three_sources().into_iter().take(30).collect();
        assert_eq!(run([50, 50], &few).rows(), 0, "five targets are no scan");
    }

    #[test]
    fn sources_that_find_no_place_are_one_row() {
        let flood: Vec<Packet> = (1..=Sources::CAPACITY as u128 + 10)
            .map(|i| (i, 9, 80, SYN))
            .collect();
        let table = run([10, 50], &flood);
        assert_eq!(table.rows(), 1);
        assert_eq!(table.row(0)[..2], [[0; 16].into(), 10u64.into()]);
    }
}
