//! `packet-sizes`: how long packets are, a histogram of lengths on the wire with bins of equal width (the idea of
//! etherStatsPkts64Octets and its like, RFC 2819). Owns an exact table; reads lengths and sampling weights, and nothing
//! that is pseudonymous, so that its records serve every audience. Denied packets have lengths and count too.
#![cfg_attr(target_arch = "wasm32", no_std)]

use como_kit::prelude::*;

/// Smallest and largest `bin`, as in module.toml.
const BIN_MIN: usize = 16;
const BIN_MAX: i64 = 4096;
/// Lengths from here on are one bin: no IPv4 packet is that long.
const LONG: u32 = 1 << 16;
const BINS: usize = LONG as usize / BIN_MIN + 1;

#[derive(Clone, Copy)]
struct Counter {
    packets: u64,
    bytes: u64,
}

const ZERO: Counter = Counter { packets: 0, bytes: 0 };

/// The bins of one interval, and their width. The last in use has all from `LONG` on.
pub struct PacketSizes {
    bin: u32,
    bins: [Counter; BINS],
}

impl PacketSizes {
    /// The number of the bin of long packets: bins before it are whole, or cut short by it.
    fn long(&self) -> usize {
        LONG.div_ceil(self.bin) as usize
    }
}

impl Module for PacketSizes {
    const COLUMNS: &'static [ColumnId] = &[WIRE_LEN.id(), WEIGHT.id()];
    const SCHEMA: &'static [Kind] = &[Kind::U32, Kind::U64, Kind::U64];
    const MAX_ROWS: usize = BINS;
    const INITIAL: Self = Self {
        bin: 0,
        bins: [ZERO; BINS],
    };

    fn init(&mut self, args: &Args<'_>) -> Result<(), i32> {
        self.bin = args.within(0, BIN_MIN as i64..=BIN_MAX)? as u32;
        Ok(())
    }

    fn update(&mut self, batch: &Batch<'_>) {
        let long = self.long();
        for (bytes, weight) in batch.column(WIRE_LEN).zip(batch.column(WEIGHT)) {
            let bin = if bytes < LONG {
                (bytes / self.bin) as usize
            } else {
                long
            };
            let counter = &mut self.bins[bin];
            counter.packets += u64::from(weight);
            counter.bytes += u64::from(weight) * u64::from(bytes);
        }
    }

    /// The bins that are not empty, ascending.
    fn store(&mut self, rows: &mut Rows<'_>) {
        let long = self.long();
        for (i, counter) in self.bins.iter().enumerate() {
            if counter.packets > 0 {
                let from = if i == long { LONG } else { i as u32 * self.bin };
                rows.push(&[from.into(), counter.packets.into(), counter.bytes.into()]);
            }
        }
        self.bins.fill(ZERO);
    }
}
como_kit::export!(PacketSizes);

#[cfg(test)]
mod tests {
    use super::*;
    use como_kit::native::{Guest, Packets};

    #[test]
    fn a_length_counts_in_its_bin() {
        for (bin, expected) in [
            (
                64,
                [
                    (0, 1, 63),
                    (64, 3, 64 + 2 * 127),
                    (1472, 1, 1500),
                    (65_472, 1, 65_535),
                    (65_536, 2, 335_537),
                ],
            ),
            (
                100,
                [
                    (0, 2, 127),
                    (100, 2, 254),
                    (1500, 1, 1500),
                    (65_500, 1, 65_535),
                    (65_536, 2, 335_537),
                ],
            ),
        ] {
            let mut guest = Guest::<PacketSizes>::new(&[bin]);
            guest.update(
                Packets::new(7)
                    .set(WIRE_LEN, &[63, 64, 127, 1500, 65_535, 65_536, 270_001])
                    .set(WEIGHT, &[1, 1, 2, 1, 1, 1, 1]),
            );
            let table = guest.store();
            let rows: Vec<_> = (0..table.rows()).map(|row| table.row(row)).collect();
            let expected = expected.map(|(from, packets, bytes): (u32, u64, u64)| {
                vec![from.into(), packets.into(), bytes.into()]
            });
            assert_eq!(rows, expected);
            assert_eq!(guest.store().rows(), 0, "the next interval starts empty");
        }
    }
}
