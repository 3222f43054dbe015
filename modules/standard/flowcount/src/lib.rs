//! `flowcount`: distinct directed 5-tuples per measurement interval, by HyperLogLog with 16384 registers
//! (standard error 0.8 %). Owns the sketch; reads pseudonyms but lets none out: only their number.
//!
//! A record keeps the sketch too, in 2048 registers, and an answer the number alone: longer intervals are unions, in which a
//! flow that lasts counts once (standard error 2.3 %). Datasets have no sketch: merging them adds up, which is an upper bound.
#![cfg_attr(target_arch = "wasm32", no_std)]

use como_kit::prelude::*;
use como_kit::sketch::{HyperLogLog, hash};

/// 16 KiB of state, standard error 1.04 / sqrt(16384) = 0.8 %.
const REGISTERS: usize = 1 << 14;
/// Registers that a record keeps: standard error 1.04 / sqrt(2048) = 2.3 %.
const KEPT_REGISTERS: usize = 1 << 11;
/// Registers of one row of a record, six bits each: they hold 0 to 54.
const ROW_REGISTERS: usize = 8;
const REGISTER_BITS: usize = 6;
/// Where the number of a row stands in it: above its registers.
const ROW_NUMBER_SHIFT: usize = ROW_REGISTERS * REGISTER_BITS;
/// Bit of `fragment`: no transport header, so that the ports are not known.
const NOT_FIRST: u8 = 2;

type Kept = HyperLogLog<KEPT_REGISTERS>;

/// The sketch of one interval, or the union of those of several.
pub struct FlowCount {
    flows: HyperLogLog<REGISTERS>,
    /// The same flows, in the registers that a record keeps.
    kept: Kept,
    /// Those of tables.
    union: Kept,
    /// Tables with a sketch that are in the union.
    merged: u32,
    /// The number that the first of them tells, which is better than one made of its registers.
    first: u64,
    /// Flows of tables that tell their number only.
    apart: u64,
}

/// Up to eight registers and their place, as one number: a row of a record. The first row of a record is the number of flows.
fn pack(number: usize, registers: &[u8]) -> u64 {
    let packed = registers
        .iter()
        .rev()
        .fold(0, |packed, rank| packed << REGISTER_BITS | u64::from(*rank));
    (number as u64) << ROW_NUMBER_SHIFT | packed
}

fn unpack(row: u64, union: &mut Kept) {
    let first = (row >> ROW_NUMBER_SHIFT) as usize * ROW_REGISTERS;
    for at in 0..ROW_REGISTERS {
        let rank = row >> (at * REGISTER_BITS) & ((1 << REGISTER_BITS) - 1);
        union.merge_register(first + at, rank as u8);
    }
}

impl Module for FlowCount {
    const COLUMNS: &'static [ColumnId] = &[
        IP_VERSION.id(),
        PROTOCOL.id(),
        SRC.id(),
        DST.id(),
        SRC_PORT.id(),
        DST_PORT.id(),
        FRAGMENT.id(),
    ];
    const SCHEMA: &'static [Kind] = &[Kind::U64];
    const MAX_ROWS: usize = 1 + KEPT_REGISTERS / ROW_REGISTERS;
    const INITIAL: Self = Self {
        flows: HyperLogLog::EMPTY,
        kept: Kept::EMPTY,
        union: Kept::EMPTY,
        merged: 0,
        first: 0,
        apart: 0,
    };

    /// Later fragments are left out: their flow was counted with the first one.
    fn update(&mut self, batch: &Batch<'_>) {
        let addresses = batch.address_words(SRC).zip(batch.address_words(DST));
        let ports = batch.column(SRC_PORT).zip(batch.column(DST_PORT));
        let kinds = batch
            .column(IP_VERSION)
            .zip(batch.column(PROTOCOL))
            .zip(batch.column(FRAGMENT));
        for (((source, destination), (from, to)), ((version, protocol), fragment)) in
            addresses.zip(ports).zip(kinds)
        {
            if version == 0 || fragment & NOT_FIRST != 0 {
                continue;
            }
            let rest = u64::from(from) << 32 | u64::from(to) << 16 | u64::from(protocol);
            let hash = hash(&[source[0], source[1], destination[0], destination[1], rest]);
            if self.flows.insert(hash) {
                self.kept.insert(hash);
            }
        }
    }

    /// Their number, also of an interval without a flow; then the registers that are not empty.
    fn store(&mut self, rows: &mut Rows<'_>) {
        let (flows, sketch) = match self.merged {
            0 if self.apart > 0 => (0, &self.union),
            0 => (rounded(self.flows.estimate()), &self.kept),
            1 => (self.first, &self.union),
            _ => (rounded(self.union.estimate()), &self.union),
        };
        rows.push(&[(flows + self.apart).into()]);
        let registers = sketch.registers().as_chunks::<ROW_REGISTERS>().0;
        for (number, registers) in registers.iter().enumerate() {
            if u64::from_ne_bytes(*registers) != 0 {
                rows.push(&[pack(number, registers).into()]);
            }
        }
        *self = Self::INITIAL;
    }
}

impl Merge for FlowCount {
    /// A record is one part: it has no more rows than that.
    fn merge(&mut self, table: &Stored<'_>) {
        if table.is_empty() {
            return;
        }
        let mut rows = table.column::<u64>(0);
        let flows = rows.next().unwrap_or(0);
        if flows > 0 && rows.len() == 0 {
            self.apart = self.apart.saturating_add(flows);
            return;
        }
        if self.merged == 0 {
            self.first = flows;
        }
        self.merged += 1;
        rows.for_each(|row| unpack(row, &mut self.union));
    }
}

impl Load for FlowCount {
    /// An answer has the number, and not the sketch.
    fn load(&mut self, table: &Stored<'_>, rows: &mut Rows<'_>) {
        if let Some(flows) = table.column::<u64>(0).next() {
            rows.push(&[flows.into()]);
        }
    }
}
como_kit::export!(FlowCount, merge, load);

fn rounded(estimate: f64) -> u64 {
    (estimate + 0.5) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use como_kit::native::{Guest, Packets, Table};

    fn tcp(addresses: &[[u8; 16]], ports: &[u16]) -> Packets {
        let n = addresses.len();
        Packets::new(n)
            .set(IP_VERSION, &vec![4; n])
            .set(PROTOCOL, &vec![6; n])
            .set(SRC, addresses)
            .set(DST, &vec![[9; 16]; n])
            .set(SRC_PORT, ports)
            .set(DST_PORT, &vec![443; n])
    }

    fn address(n: u32) -> [u8; 16] {
        u128::from(n).to_be_bytes()
    }

    #[test]
    fn counts_flows_within_four_standard_errors() {
        for flows in [1u32, 50, 3000, 60_000] {
            // Every flow three times.
            let addresses: Vec<_> = (0..3 * flows).map(|i| address(i % flows)).collect();
            let ports: Vec<u16> = (0..3 * flows).map(|i| 1024 + (i % flows % 999) as u16).collect();
            let mut guest = Guest::<FlowCount>::new(&[]);
            guest.update(tcp(&addresses, &ports));
            let Value::U64(estimate) = guest.store().row(0)[0] else {
                panic!("not u64")
            };
            let error = (estimate as f64 - f64::from(flows)).abs() / f64::from(flows);
            assert!(error <= 4.0 * 1.04 / 128.0, "{flows} flows counted as {estimate}");
            assert_eq!(
                guest.store().row(0),
                [Value::U64(0)],
                "the next interval starts empty"
            );
        }
    }

    fn number(table: &Table) -> u64 {
        let Value::U64(flows) = table.row(0)[0] else {
            panic!("not u64")
        };
        flows
    }

    #[test]
    fn longer_intervals_count_a_flow_that_lasts_once() {
        for flows in [0u32, 1, 40, 5000, 60_000] {
            // Three intervals, each with half of the flows of the one before.
            let tables: Vec<Table> = (0..3)
                .map(|interval| {
                    let of_it = interval * flows / 2..(interval + 2) * flows / 2;
                    let addresses: Vec<_> = of_it.map(address).collect();
                    let ports = vec![1; addresses.len()];
                    let mut guest = Guest::<FlowCount>::new(&[]);
                    guest.update(tcp(&addresses, &ports));
                    guest.store()
                })
                .collect();
            let mut merged = Guest::<FlowCount>::new(&[]);
            for table in &tables {
                merged.merge(table, 0);
            }
            let union = merged.store();
            let real = f64::from(2 * flows);
            let error = (number(&union) as f64 - real).abs();
            assert!(error <= 4.0 * 0.023 * real, "{real} flows are {}", number(&union));
            assert_eq!(
                merged.store().row(0),
                [Value::U64(0)],
                "the next merge starts empty"
            );
            // In whatever order, and whichever are merged first.
            let mut halves = Guest::<FlowCount>::new(&[]);
            halves.merge(&tables[2], 0);
            halves.merge(&tables[0], 0);
            let half = halves.store();
            halves.merge(&half, 0);
            halves.merge(&tables[1], 0);
            let again = halves.store();
            assert_eq!(again.rows(), union.rows());
            assert!((0..union.rows()).all(|row| again.row(row) == union.row(row)));
            // A table alone is itself, and what an answer has is the number.
            merged.merge(&tables[0], 0);
            let alone = merged.store();
            assert!((0..alone.rows()).all(|row| alone.row(row) == tables[0].row(row)));
            let loaded = merged.load(&tables[0], 0);
            assert_eq!((loaded.len(), loaded[0].rows()), (1, 1));
            assert_eq!(number(&loaded[0]), number(&tables[0]));
            // Without its sketch it is added up.
            merged.merge(&loaded[0], 0);
            merged.merge(&tables[0], 0);
            assert_eq!(number(&merged.store()), 2 * number(&tables[0]));
        }
    }

    #[test]
    fn packets_without_ip_and_later_fragments_are_no_flows() {
        let packets = tcp(&[address(1), address(2), address(3)], &[1, 2, 3]);
        let mut guest = Guest::<FlowCount>::new(&[]);
        guest.update(packets.set(IP_VERSION, &[4, 0, 4]).set(FRAGMENT, &[1, 0, 3]));
        assert_eq!(guest.store().row(0), [Value::U64(1)]);
    }
}
