//! `autofocus`: address prefixes, of any length, that carry a share of the bytes of their own: the compressed report of
//! Estan, Savage, Varghese, "Automatically inferring patterns of resource consumption in network traffic", 2003, for one
//! dimension at a time, sources and destinations. Owns two exact tables of addresses; what it names are
//! prefixes of pseudonyms below `headers`, which are prefix-preserving.
//!
//! A prefix is reported where its bytes, less those of longer prefixes of the report, are at least `percent` of all.
//! Of IPv6 pseudonyms the first 64 bits keep prefixes: a longer prefix there is one host, or chance.
//!
//! Exact for up to 6144 addresses a side; bytes of addresses that find no place count in the row of everything alone, and
//! each row tells them as its possible error.
//!
//! Reports add up row by row: a prefix that an interval's report leaves out lacks the bytes that it had then. So rows of a
//! combined interval are lower bounds, and a prefix that is heavy over the whole of it but in no interval is missing.
#![cfg_attr(target_arch = "wasm32", no_std)]

mod trie;

use como_kit::prelude::*;
use como_kit::table::HashTable;

use trie::Report;

/// Three quarters of them are addresses, on each side.
const SLOTS: usize = 1 << 13;
/// As the batch has it; as a number, upper half first, once it is drained.
type Address = [u64; 2];
type Addresses = HashTable<Address, u64, SLOTS>;
/// Smallest and largest `percent`, as in module.toml.
const PERCENT_MIN: i64 = 1;
const PERCENT_MAX: i64 = 50;
/// Prefixes of one side, each with that share of its own, and everything.
const SIDE_ROWS: usize = 100 / PERCENT_MIN as usize + 1;

struct Side {
    addresses: Addresses,
    no_place_bytes: u64,
}

impl Side {
    const EMPTY: Self = Self {
        addresses: Addresses::EMPTY,
        no_place_bytes: 0,
    };

    fn count(&mut self, address: Address, bytes: u64) {
        match self.addresses.entry(address) {
            Some(sum) => *sum += bytes,
            None => self.no_place_bytes += bytes,
        }
    }
}

/// Sources and destinations of one interval, all their bytes, and the argument.
pub struct AutoFocus {
    percent: u64,
    bytes: u64,
    sides: [Side; 2],
}

impl Module for AutoFocus {
    const COLUMNS: &'static [ColumnId] = &[WIRE_LEN.id(), WEIGHT.id(), SRC.id(), DST.id()];
    const SCHEMA: &'static [Kind] = &[
        Kind::U8,
        Kind::U8,
        Kind::Address,
        Kind::U8,
        Kind::U64,
        Kind::U64,
        Kind::U64,
    ];
    const MAX_ROWS: usize = 2 * SIDE_ROWS;
    const INITIAL: Self = Self {
        percent: 0,
        bytes: 0,
        sides: [Side::EMPTY, Side::EMPTY],
    };

    fn init(&mut self, args: &Args<'_>) -> Result<(), i32> {
        self.percent = args.within(0, PERCENT_MIN..=PERCENT_MAX)? as u64;
        Ok(())
    }

    fn update(&mut self, batch: &Batch<'_>) {
        let sizes = batch.column(WIRE_LEN).zip(batch.column(WEIGHT));
        let addresses = batch.address_words(SRC).zip(batch.address_words(DST));
        for ((bytes, weight), (source, destination)) in sizes.zip(addresses) {
            let bytes = u64::from(weight) * u64::from(bytes);
            self.bytes += bytes;
            self.sides[0].count(source, bytes);
            self.sides[1].count(destination, bytes);
        }
    }

    /// Per side: prefixes by address, longer ones before those that hold them, then everything.
    fn store(&mut self, rows: &mut Rows<'_>) {
        let threshold = (self.bytes * self.percent).div_ceil(100).max(1);
        for (number, side) in (0u8..).zip(&mut self.sides) {
            let error = side.no_place_bytes;
            let mut push = |version: u8, prefix: u128, len: u8, bytes: u64, residual: u64| {
                rows.push(&[
                    number.into(),
                    version.into(),
                    prefix.to_be_bytes().into(),
                    len.into(),
                    bytes.into(),
                    residual.into(),
                    error.into(),
                ]);
            };
            let rest = side.addresses.drain_sorted(
                |address| address.map(u64::swap_bytes),
                |entries| {
                    let addresses = entries.iter().map(|e| (number_of(e.key), e.value));
                    Report::new(threshold).run(addresses, &mut push)
                },
            );
            if self.bytes > 0 {
                push(0, 0, 0, self.bytes, rest + error);
            }
            side.no_place_bytes = 0;
        }
        self.bytes = 0;
    }
}
como_kit::export!(AutoFocus);

fn number_of(address: Address) -> u128 {
    u128::from(address[0]) << 64 | u128::from(address[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use como_kit::native::{Guest, Packets};

    fn v4(a: u8, b: u8, c: u8, d: u8) -> [u8; 16] {
        (0xffff << 32 | u128::from(u32::from_be_bytes([a, b, c, d]))).to_be_bytes()
    }

    fn row(side: u8, version: u8, prefix: [u8; 16], len: u8, sums: [u64; 3]) -> Vec<Value> {
        let mut row = vec![side.into(), version.into(), prefix.into(), len.into()];
        row.extend(sums.map(Value::U64));
        row
    }

    /// As the paper explains it: one heavy host, and a subnet that is heavy only as a whole.
    #[test]
    fn reports_what_is_heavy_by_itself() {
        let sources = [
            v4(10, 0, 0, 2),
            v4(10, 0, 0, 4),
            v4(10, 0, 0, 5),
            v4(10, 0, 0, 9),
            v4(192, 168, 7, 7),
        ];
        let mut guest = Guest::<AutoFocus>::new(&[20]);
        guest.update(
            Packets::new(5)
                .set(WIRE_LEN, &[150, 120, 110, 20, 600])
                .set(SRC, &sources)
                .set(DST, &[v4(10, 9, 9, 9); 5]),
        );
        let table = guest.store();
        let rows: Vec<_> = (0..table.rows()).map(|row| table.row(row)).collect();
        assert_eq!(
            rows,
            [
                row(0, 4, v4(10, 0, 0, 4), 31, [230, 230, 0]),
                row(0, 4, v4(192, 168, 7, 7), 32, [600, 600, 0]),
                row(0, 0, [0; 16], 0, [1000, 170, 0]),
                row(1, 4, v4(10, 9, 9, 9), 32, [1000, 1000, 0]),
                row(1, 0, [0; 16], 0, [1000, 0, 0]),
            ]
        );
        assert_eq!(guest.store().rows(), 0, "the next interval starts empty");
    }

    #[test]
    fn bytes_that_find_no_place_are_told_as_error() {
        let n = Addresses::CAPACITY + 100;
        let sources: Vec<_> = (0..n as u128).map(|i| (1 << 100 | i).to_be_bytes()).collect();
        let mut guest = Guest::<AutoFocus>::new(&[50]);
        let packets = Packets::new(n).set(WIRE_LEN, &vec![10; n]);
        guest.update(packets.set(SRC, &sources).set(DST, &vec![[1; 16]; n]));
        let table = guest.store();
        let last_of_sources = (0..table.rows())
            .map(|i| table.row(i))
            .rfind(|r| r[0] == Value::U8(0));
        let everything = last_of_sources.expect("a row");
        assert_eq!(everything[4], Value::U64(10 * n as u64));
        assert_eq!(everything[6], Value::U64(1000));
    }
}
