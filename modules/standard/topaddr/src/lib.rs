//! `topaddr`: the k addresses with most bytes, sent and received together (module `topaddr` of the original CoMo). Owns an
//! exact table of addresses, and Space-Saving for those that find no place in it; what it names are pseudonyms below
//! `headers`.
//!
//! Exact for up to 12288 addresses an interval. Of the rest, an address of more than 1/512 of the rest's bytes (every packet
//! counts at both its ends) is always tracked, and how far its bytes may be too high is told beside them.
//!
//! Tables merge into one of a longer interval, or of several nodes: an address that a full table leaves out may have as
//! many bytes in it as the last one that it names, which counts to its bytes and to their error (Agarwal et al., "Mergeable
//! summaries", 2012). The order stays that of `bytes`, so that no address which is left out has more.
#![cfg_attr(target_arch = "wasm32", no_std)]

use core::cmp::Reverse;

use como_kit::hash::{Key, Zeroed};
use como_kit::prelude::*;
use como_kit::sketch::{TopK, Tracked};
use como_kit::table::HashTable;

/// Three quarters of them are addresses that are counted exactly.
const SLOTS: usize = 1 << 14;
/// Addresses tracked beside them.
const TRACKED: usize = 512;
/// Largest `k`, as in module.toml.
const K_MAX: usize = 100;

#[derive(Clone, Copy)]
struct Sum {
    packets: u64,
    bytes: u64,
    /// Of merged tables: by how much `bytes` may be too high.
    error: u64,
    /// Of merged tables that name the address: bytes that it cannot have beside those that they tell.
    told: u64,
}

impl Zeroed for Sum {
    const ZERO: Self = Self {
        packets: 0,
        bytes: 0,
        error: 0,
        told: 0,
    };
}

/// The tables of one interval, and `k`. An address is in one of them for the whole interval.
pub struct TopAddr {
    k: usize,
    exact: HashTable<[u64; 2], Sum, SLOTS>,
    /// Beside each address stand its packets.
    rest: TopK<[u64; 2], u64, TRACKED>,
    /// Of merged tables: bytes that an address may have in those that do not name it, if none does.
    untold: u64,
    /// Errors of rows of merged tables whose address found no exact place.
    rest_error: u64,
}

/// Packets between the same two addresses, one after the other, in whichever direction: looked up once.
struct Train {
    ends: [[u64; 2]; 2],
    packets: u64,
    bytes: u64,
}

impl Train {
    /// Whether a packet belongs to it. The second words differ most.
    #[inline(always)]
    fn has(&self, source: [u64; 2], destination: [u64; 2]) -> bool {
        let [low, high] = self.ends;
        let are = |a: [u64; 2], b: [u64; 2]| {
            a[1] == source[1] && b[1] == destination[1] && a[0] == source[0] && b[0] == destination[0]
        };
        are(low, high) || are(high, low)
    }
}

impl TopAddr {
    /// A train counts at both its ends; once, where they are equal.
    #[inline(always)]
    fn count_train(&mut self, train: &Train) {
        let [one, other] = train.ends;
        self.count(one, train.packets, train.bytes);
        if !one.is(&other) {
            self.count(other, train.packets, train.bytes);
        }
    }

    #[inline(always)]
    fn count(&mut self, address: [u64; 2], packets: u64, bytes: u64) {
        match self.exact.entry(address) {
            Some(sum) => {
                sum.packets += packets;
                sum.bytes += bytes;
            }
            None => self.track(address, packets, bytes),
        }
    }

    #[inline(never)]
    fn track(&mut self, address: [u64; 2], packets: u64, bytes: u64) {
        *self.rest.add(address, bytes) += packets;
    }
}

impl Module for TopAddr {
    const COLUMNS: &'static [ColumnId] = &[WIRE_LEN.id(), WEIGHT.id(), SRC.id(), DST.id()];
    const SCHEMA: &'static [Kind] = &[Kind::Address, Kind::U64, Kind::U64, Kind::U64];
    const MAX_ROWS: usize = K_MAX;
    const INITIAL: Self = Self {
        k: 0,
        exact: HashTable::EMPTY,
        rest: TopK::EMPTY,
        untold: 0,
        rest_error: 0,
    };

    fn init(&mut self, args: &Args<'_>) -> Result<(), i32> {
        self.k = args.within(0, 1..=K_MAX as i64)? as usize;
        Ok(())
    }

    /// A packet counts at its source and at its destination; once, where they are equal.
    fn update(&mut self, batch: &Batch<'_>) {
        let sizes = batch.column(WIRE_LEN).zip(batch.column(WEIGHT));
        let addresses = batch.address_words(SRC).zip(batch.address_words(DST));
        let mut packets = sizes
            .zip(addresses)
            .map(|((bytes, weight), (source, destination))| Train {
                ends: [source, destination],
                packets: u64::from(weight),
                bytes: u64::from(weight) * u64::from(bytes),
            });
        let Some(mut train) = packets.next() else { return };
        for packet in packets {
            if train.has(packet.ends[0], packet.ends[1]) {
                train.packets += packet.packets;
                train.bytes += packet.bytes;
            } else {
                self.count_train(&train);
                train = packet;
            }
        }
        self.count_train(&train);
    }

    /// Most bytes first; where they are equal, the smaller address.
    fn store(&mut self, rows: &mut Rows<'_>) {
        let mut best = Best::<_, Tracked<[u64; 2], u64>, K_MAX>::of(self.k);
        let exact = self.exact.iter().map(|entry| {
            let more = self.untold - entry.value.told;
            Tracked {
                key: entry.key,
                weight: entry.value.bytes + more,
                error: entry.value.error + more,
                value: entry.value.packets,
            }
        });
        let rest = self.rest.items().iter().map(|item| Tracked {
            weight: item.weight + self.untold,
            error: item.error + self.untold + self.rest_error,
            ..*item
        });
        for item in exact.chain(rest) {
            best.offer((item.weight, Reverse(address_number(item.key))), item);
        }
        for item in best.iter() {
            rows.push(&[
                Value::address(item.key),
                item.weight.into(),
                item.error.into(),
                item.value.into(),
            ]);
        }
        self.exact.clear();
        self.rest.clear();
        self.untold = 0;
        self.rest_error = 0;
    }
}

impl Merge for TopAddr {
    fn merge(&mut self, table: &Stored<'_>) {
        // At most `k` rows are stored, and they are one part.
        let full = table.len() == self.k;
        let least = table.column::<u64>(1).last().filter(|_| full).unwrap_or(0);
        self.untold += least;
        let sums = table
            .column::<u64>(1)
            .zip(table.column::<u64>(2))
            .zip(table.column::<u64>(3));
        for (address, ((bytes, error), packets)) in table.address_words(0).zip(sums) {
            match self.exact.entry(address) {
                Some(sum) => {
                    sum.packets += packets;
                    sum.bytes += bytes;
                    sum.error += error;
                    sum.told += least;
                }
                None => {
                    self.track(address, packets, bytes);
                    self.rest_error += error;
                }
            }
        }
    }
}
como_kit::export!(TopAddr, merge);

#[cfg(test)]
mod tests {
    use super::*;
    use como_kit::native::{Guest, Packets};

    fn address(n: u128) -> [u8; 16] {
        n.to_be_bytes()
    }

    #[test]
    fn ranks_addresses_by_the_bytes_that_they_sent_and_received() {
        let mut guest = Guest::<TopAddr>::new(&[2]);
        guest.update(
            Packets::new(4)
                .set(WIRE_LEN, &[1000, 60, 60, 400])
                .set(WEIGHT, &[1, 1, 1, 2])
                .set(SRC, &[address(1), address(2), address(3), address(3)])
                .set(DST, &[address(2), address(1), address(3), address(4)]),
        );
        let table = guest.store();
        assert_eq!(table.rows(), 2);
        let row = |n, bytes: u64, packets: u64| {
            [address(n).into(), bytes.into(), 0u64.into(), packets.into()].to_vec()
        };
        assert_eq!(
            table.row(0),
            row(1, 1060, 2),
            "the smaller of two equal addresses"
        );
        assert_eq!(table.row(1), row(2, 1060, 2));
        assert_eq!(guest.store().rows(), 0, "the next interval starts empty");
    }

    /// Whatever the traffic: what a merged table says holds for the packets of all its intervals.
    #[test]
    fn merged_tables_bound_the_bytes_of_every_address() {
        let mut state = 7u32;
        let mut next = |n: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % n
        };
        let k = 5;
        let mut truth = std::collections::BTreeMap::<[u8; 16], u64>::new();
        let mut merged = Guest::<TopAddr>::new(&[k]);
        for interval in 0..30 {
            let n = if interval % 7 == 3 { 2 } else { 200 };
            let sources: Vec<_> = (0..n).map(|_| address(u128::from(next(8) * next(6)))).collect();
            let lengths: Vec<u32> = (0..n).map(|_| 60 + next(1440)).collect();
            for (source, length) in sources.iter().zip(&lengths) {
                *truth.entry(*source).or_default() += u64::from(*length);
            }
            let mut guest = Guest::<TopAddr>::new(&[k]);
            let packets = Packets::new(n).set(WIRE_LEN, &lengths);
            guest.update(packets.set(SRC, &sources).set(DST, &sources));
            merged.merge(&guest.store(), interval);
        }
        let table = merged.store();
        assert_eq!(table.rows(), k as usize);
        let mut least = u64::MAX;
        for row in 0..table.rows() {
            let [Value::Address(address), Value::U64(bytes), Value::U64(error), _] = table.row(row)[..]
            else {
                panic!("other kinds")
            };
            let real = truth.remove(&address).unwrap_or(0);
            assert!(
                (bytes - error..=bytes).contains(&real),
                "{bytes} - {error} for {real}"
            );
            least = least.min(bytes);
        }
        assert!(
            truth.values().all(|left_out| *left_out <= least),
            "what is left out has no more"
        );
        assert_eq!(merged.store().rows(), 0, "the next merge starts empty");
    }

    #[test]
    fn tables_that_name_all_addresses_merge_exactly() {
        let mut merged = Guest::<TopAddr>::new(&[10]);
        for (start, weight) in [(0, 1), (1, 3)] {
            let mut guest = Guest::<TopAddr>::new(&[10]);
            let packets = Packets::new(2)
                .set(WIRE_LEN, &[1000, 10])
                .set(WEIGHT, &[weight, 1]);
            guest.update(
                packets
                    .set(SRC, &[address(1), address(2)])
                    .set(DST, &[address(3); 2]),
            );
            merged.merge(&guest.store(), start);
        }
        let table = merged.store();
        let row =
            |n, bytes: u64, packets: u64| [address(n).into(), bytes.into(), 0u64.into(), packets.into()];
        let rows: Vec<_> = (0..table.rows()).map(|i| table.row(i)).collect();
        assert_eq!(rows, [row(3, 4020, 6), row(1, 4000, 4), row(2, 20, 2)]);
    }

    #[test]
    fn an_address_that_is_heavy_after_the_table_is_full_is_found() {
        let n = 40_000;
        let sources: Vec<_> = (0..n)
            .map(|i| address(if i > n / 2 && i % 50 == 0 { 7 } else { 1000 + i }))
            .collect();
        let destinations: Vec<_> = (0..n).map(|i| address(1 << 64 | i)).collect();
        let mut guest = Guest::<TopAddr>::new(&[1]);
        let packets = Packets::new(n as usize).set(WIRE_LEN, &vec![100; n as usize]);
        guest.update(packets.set(SRC, &sources).set(DST, &destinations));
        let row = guest.store().row(0);
        let [
            Value::Address(found),
            Value::U64(bytes),
            Value::U64(error),
            Value::U64(seen),
        ] = row[..]
        else {
            panic!("other kinds")
        };
        assert_eq!(found, address(7));
        assert!(bytes >= 39_900 && bytes - error <= 39_900 && seen <= 399);
        assert!(error <= 2 * n as u64 * 100 / TRACKED as u64);
    }
}
