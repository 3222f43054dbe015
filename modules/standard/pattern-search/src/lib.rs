//! `pattern-search`: how many TCP and UDP packets carry a given string of bytes (the worm signature of the CoMo white
//! paper, section VI.A). Owns three counters; reads payload, and lets out sums of an hour only, none that is of fewer than
//! ten sources or ten destinations: what level `aggregate` promises of every count.
//!
//! An operator endorses it with ranges of its arguments: one pattern, or few. Free arguments would let an asker search
//! payload for anything. A string that is cut by a packet's end is not found: there is no reassembly.
#![cfg_attr(target_arch = "wasm32", no_std)]

mod pattern;

use como_kit::prelude::*;

use pattern::Pattern;

/// Sources, and destinations, that a count has at least: as the counters of level `aggregate`.
const GROUP_MIN: usize = 10;

/// Different addresses, as far as they matter.
struct Group {
    addresses: [[u64; 2]; GROUP_MIN],
    len: usize,
}

impl Group {
    const EMPTY: Self = Self {
        addresses: [[0; 2]; GROUP_MIN],
        len: 0,
    };

    fn insert(&mut self, address: [u64; 2]) {
        if !self.is_large() && !self.addresses[..self.len].contains(&address) {
            self.addresses[self.len] = address;
            self.len += 1;
        }
    }

    fn is_large(&self) -> bool {
        self.len == GROUP_MIN
    }
}

/// The pattern, and the counts of one interval.
pub struct PatternSearch {
    pattern: Pattern,
    searched: u64,
    packets: u64,
    bytes: u64,
    sources: Group,
    destinations: Group,
}

impl PatternSearch {
    #[inline(never)]
    fn found(&mut self, weight: u64, bytes: u32, source: [u64; 2], destination: [u64; 2]) {
        self.packets += weight;
        self.bytes += weight * u64::from(bytes);
        self.sources.insert(source);
        self.destinations.insert(destination);
    }
}

impl Module for PatternSearch {
    const COLUMNS: &'static [ColumnId] = &[
        WIRE_LEN.id(),
        WEIGHT.id(),
        SRC.id(),
        DST.id(),
        PAYLOAD_OFFSET.id(),
    ];
    const WANTS_FRAMES: bool = true;
    const SCHEMA: &'static [Kind] = &[Kind::U64, Kind::U64, Kind::U64];
    const MAX_ROWS: usize = 1;
    const INITIAL: Self = Self {
        pattern: Pattern::NOTHING,
        searched: 0,
        packets: 0,
        bytes: 0,
        sources: Group::EMPTY,
        destinations: Group::EMPTY,
    };

    fn init(&mut self, args: &Args<'_>) -> Result<(), i32> {
        let number = args.within(0, i64::MIN..=i64::MAX)?;
        let length = args.within(1, Pattern::MIN_BYTES as i64..=Pattern::MAX_BYTES as i64)?;
        self.pattern = Pattern::new(number as u64, length as usize);
        Ok(())
    }

    fn update(&mut self, batch: &Batch<'_>) {
        let sizes = batch.column(WIRE_LEN).zip(batch.column(WEIGHT));
        let addresses = batch.address_words(SRC).zip(batch.address_words(DST));
        let columns = sizes.zip(addresses).zip(batch.column(PAYLOAD_OFFSET));
        for (packet, (((bytes, weight), (source, destination)), offset)) in columns.enumerate() {
            let payload = batch.frame(packet).get(usize::from(offset)..).unwrap_or(&[]);
            self.searched += u64::from(weight);
            if self.pattern.is_in(payload) {
                self.found(u64::from(weight), bytes, source, destination);
            }
        }
    }

    /// One row, also for an interval without a match.
    fn store(&mut self, rows: &mut Rows<'_>) {
        let shown = self.sources.is_large() && self.destinations.is_large();
        let (packets, bytes) = if shown { (self.packets, self.bytes) } else { (0, 0) };
        rows.push(&[self.searched.into(), packets.into(), bytes.into()]);
        *self = Self {
            pattern: self.pattern,
            ..Self::INITIAL
        };
    }
}
como_kit::export!(PatternSearch);

#[cfg(test)]
mod tests {
    use super::*;
    use como_kit::native::{Guest, Packets};

    /// A packet per source and destination, all with `payload` behind four bytes of header.
    fn run(ends: &[(u128, u128)], payload: &[u8]) -> Vec<Value> {
        let mut guest = Guest::<PatternSearch>::new(&[0x4745_5420, 4]);
        let n = ends.len();
        let frame = [b"GET ", payload].concat();
        guest.update(
            Packets::new(n)
                .set(WIRE_LEN, &vec![100; n])
                .set(SRC, &ends.iter().map(|e| e.0.to_be_bytes()).collect::<Vec<_>>())
                .set(DST, &ends.iter().map(|e| e.1.to_be_bytes()).collect::<Vec<_>>())
                .set(PAYLOAD_OFFSET, &vec![4; n])
                .frames(&vec![&frame[..]; n]),
        );
        let row = guest.store().row(0);
        assert_eq!(
            guest.store().row(0),
            [0u64; 3].map(Value::U64),
            "the next interval starts at zero"
        );
        row
    }

    #[test]
    fn counts_what_ten_sources_and_ten_destinations_share() {
        let ten: Vec<_> = (0..10).map(|i| (i, 100 + i)).collect();
        assert_eq!(run(&ten, b"....GET /"), [10u64, 10, 1000].map(Value::U64));
        assert_eq!(
            run(&ten, b"....POST"),
            [10u64, 0, 0].map(Value::U64),
            "headers are not searched"
        );
        let few_sources: Vec<_> = (0..20).map(|i| (i % 9, 100 + i)).collect();
        assert_eq!(run(&few_sources, b"GET /"), [20u64, 0, 0].map(Value::U64));
        let few_destinations: Vec<_> = (0..20).map(|i| (i, 100 + i % 9)).collect();
        assert_eq!(run(&few_destinations, b"GET /"), [20u64, 0, 0].map(Value::U64));
    }
}
