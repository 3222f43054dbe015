//! `topas`: traffic between autonomous systems (the paper's networking context: prefixes and their origins). Owns an exact table
//! of pairs of systems; which system an address belongs to, the host says, from the operator's routing table.
//!
//! Records have every pair, up to 3072 an interval; the packets of further ones are told together, under the number of no system
//! (4294967295, RFC 7300). An answer has the k pairs with most bytes of the whole of its interval, however many intervals were
//! combined to it, and all others together: nothing is lost by combining first and choosing afterwards.
#![cfg_attr(target_arch = "wasm32", no_std)]

use core::cmp::Reverse;

use como_kit::hash::Zeroed;
use como_kit::prelude::*;
use como_kit::table::HashTable;

/// Three quarters of them are pairs.
const SLOTS: usize = 1 << 12;
type Pairs = HashTable<u64, Sum, SLOTS>;
/// Largest `k`, as in module.toml.
const K_MAX: usize = 100;
/// No system has this number.
const OTHERS: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Sum {
    packets: u64,
    bytes: u64,
}

impl Zeroed for Sum {
    const ZERO: Self = Self { packets: 0, bytes: 0 };
}

impl Sum {
    fn add(&mut self, more: Sum) {
        self.packets += more.packets;
        self.bytes += more.bytes;
    }
}

/// Most bytes first; where they are equal, the smaller numbers.
type Rank = (u64, Reverse<u64>);

/// The pairs of one interval, or the choice among those of an answer.
pub struct TopAs {
    k: usize,
    pairs: Pairs,
    others: Sum,
    best: Best<Rank, (u64, Sum), K_MAX>,
}

impl TopAs {
    fn push(rows: &mut Rows<'_>, pair: u64, sum: Sum) {
        rows.push(&[
            ((pair >> 32) as u32).into(),
            (pair as u32).into(),
            sum.packets.into(),
            sum.bytes.into(),
        ]);
    }

    fn push_others(&mut self, rows: &mut Rows<'_>) {
        if self.others.packets > 0 {
            Self::push(rows, pair_of(OTHERS, OTHERS), self.others);
        }
        self.others = Sum::ZERO;
    }
}

fn pair_of(source: u32, destination: u32) -> u64 {
    u64::from(source) << 32 | u64::from(destination)
}

impl Module for TopAs {
    const COLUMNS: &'static [ColumnId] = &[WIRE_LEN.id(), WEIGHT.id(), SRC_AS.id(), DST_AS.id()];
    const SCHEMA: &'static [Kind] = &[Kind::U32, Kind::U32, Kind::U64, Kind::U64];
    const MAX_ROWS: usize = Pairs::CAPACITY + 1;
    const INITIAL: Self = Self {
        k: 0,
        pairs: Pairs::EMPTY,
        others: Sum::ZERO,
        best: Best::of(0),
    };

    fn init(&mut self, args: &Args<'_>) -> Result<(), i32> {
        self.k = args.within(0, 1..=K_MAX as i64)? as usize;
        self.best = Best::of(self.k);
        Ok(())
    }

    fn update(&mut self, batch: &Batch<'_>) {
        let sizes = batch.column(WIRE_LEN).zip(batch.column(WEIGHT));
        let systems = batch.column(SRC_AS).zip(batch.column(DST_AS));
        for ((bytes, weight), (source, destination)) in sizes.zip(systems) {
            let sum = Sum {
                packets: u64::from(weight),
                bytes: u64::from(weight) * u64::from(bytes),
            };
            match self.pairs.entry(pair_of(source, destination)) {
                Some(pair) => pair.add(sum),
                None => self.others.add(sum),
            }
        }
    }

    /// Every pair, by ascending numbers.
    fn store(&mut self, rows: &mut Rows<'_>) {
        self.pairs.drain_sorted(
            |pair| pair,
            |pairs| {
                pairs
                    .iter()
                    .for_each(|entry| Self::push(rows, entry.key, entry.value))
            },
        );
        self.push_others(rows);
    }
}

impl Load for TopAs {
    /// The best come with the last part.
    fn load(&mut self, table: &Stored<'_>, rows: &mut Rows<'_>) {
        let systems = table.column::<u32>(0).zip(table.column::<u32>(1));
        let sums = table.column::<u64>(2).zip(table.column::<u64>(3));
        for ((source, destination), (packets, bytes)) in systems.zip(sums) {
            let (pair, sum) = (pair_of(source, destination), Sum { packets, bytes });
            // What is not among the best in the end is among the others: its sum is taken off again below.
            self.others.add(sum);
            if source != OTHERS {
                self.best.offer((bytes, Reverse(pair)), (pair, sum));
            }
        }
        if !table.is_last() {
            return;
        }
        for (pair, sum) in self.best.iter() {
            Self::push(rows, *pair, *sum);
            self.others.packets -= sum.packets;
            self.others.bytes -= sum.bytes;
        }
        self.push_others(rows);
        self.best = Best::of(self.k);
    }
}
como_kit::export!(TopAs, load);

#[cfg(test)]
mod tests {
    use super::*;
    use como_kit::native::{Guest, Packets, Table};

    fn row(source: u32, destination: u32, packets: u64, bytes: u64) -> Vec<Value> {
        vec![source.into(), destination.into(), packets.into(), bytes.into()]
    }

    fn rows(table: &Table) -> Vec<Vec<Value>> {
        (0..table.rows()).map(|at| table.row(at)).collect()
    }

    #[test]
    fn records_have_all_pairs_and_an_answer_the_best() {
        let mut guest = Guest::<TopAs>::new(&[1]);
        guest.update(
            Packets::new(4)
                .set(WIRE_LEN, &[100, 1000, 50, 7])
                .set(WEIGHT, &[1, 1, 3, 1])
                .set(SRC_AS, &[64500, 64501, 64500, 0])
                .set(DST_AS, &[64501, 64500, 64501, 0]),
        );
        let table = guest.store();
        let all = [
            row(0, 0, 1, 7),
            row(64500, 64501, 4, 250),
            row(64501, 64500, 1, 1000),
        ];
        assert_eq!(rows(&table), all);
        assert_eq!(guest.store().rows(), 0, "the next interval starts empty");
        let answer = [row(64501, 64500, 1, 1000), row(OTHERS, OTHERS, 5, 257)];
        for _ in 0..2 {
            let loaded: Vec<_> = guest.load(&table, 0).iter().flat_map(rows).collect();
            assert_eq!(loaded, answer, "each answer for itself");
        }
    }

    #[test]
    fn pairs_without_a_place_and_long_tables_lose_no_packet() {
        let n = Pairs::CAPACITY + 500;
        let systems: Vec<u32> = (0..n as u32).collect();
        let mut guest = Guest::<TopAs>::new(&[5]);
        let packets = Packets::new(n).set(WIRE_LEN, &systems).set(SRC_AS, &systems);
        guest.update(packets.set(DST_AS, &systems));
        let table = guest.store();
        assert_eq!(table.rows(), Pairs::CAPACITY + 1);
        let parts = guest.load(&table, 0);
        assert_eq!(parts.len(), 4, "3073 rows in parts of 1024");
        let loaded: Vec<_> = parts.iter().flat_map(rows).collect();
        assert_eq!(loaded.len(), 6);
        let sum = |column: usize| -> u64 {
            let numbers = loaded.iter().map(|row| match row[column] {
                Value::U64(number) => number,
                _ => panic!("not u64"),
            });
            numbers.sum()
        };
        assert_eq!((sum(2), sum(3)), (n as u64, (n * (n - 1) / 2) as u64));
    }
}
