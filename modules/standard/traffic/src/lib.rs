//! `traffic`: packets and bytes per measurement interval, every packet counted (module `traffic` of the
//! original CoMo). Owns two sums; reads lengths and sampling weights, and nothing that is pseudonymous, so
//! that its records serve every audience.
#![cfg_attr(target_arch = "wasm32", no_std)]

use como_kit::prelude::*;

/// The sums of one interval.
pub struct Traffic {
    packets: u64,
    bytes: u64,
}

impl Module for Traffic {
    const COLUMNS: &'static [ColumnId] = &[WIRE_LEN.id(), WEIGHT.id()];
    const SCHEMA: &'static [Kind] = &[Kind::U64, Kind::U64];
    const MAX_ROWS: usize = 1;
    const INITIAL: Self = Self { packets: 0, bytes: 0 };

    fn update(&mut self, batch: &Batch<'_>) {
        let weights = batch.column(WEIGHT).map(u64::from);
        self.packets += weights.clone().sum::<u64>();
        self.bytes += batch
            .column(WIRE_LEN)
            .zip(weights)
            .map(|(bytes, weight)| u64::from(bytes) * weight)
            .sum::<u64>();
    }

    /// One row, also for an interval without a packet: silence is a measurement.
    fn store(&mut self, rows: &mut Rows<'_>) {
        rows.push(&[self.packets.into(), self.bytes.into()]);
        *self = Self::INITIAL;
    }
}
como_kit::export!(Traffic);

#[cfg(test)]
mod tests {
    use super::*;
    use como_kit::native::{Guest, Packets};

    #[test]
    fn counts_every_packet_and_its_length_on_the_wire() {
        let lengths: Vec<u32> = (0..3000).map(|i| 60 + i % 1400).collect();
        let mut guest = Guest::<Traffic>::new(&[]);
        guest.update(Packets::new(3000).set(WIRE_LEN, &lengths));
        let bytes: u64 = lengths.iter().map(|l| u64::from(*l)).sum();
        assert_eq!(guest.store().row(0), [Value::U64(3000), Value::U64(bytes)]);
        assert_eq!(
            guest.store().row(0),
            [Value::U64(0), Value::U64(0)],
            "the next interval starts at zero"
        );
    }

    #[test]
    fn a_sampled_packet_stands_for_its_weight() {
        let mut guest = Guest::<Traffic>::new(&[]);
        guest.update(Packets::new(2).set(WIRE_LEN, &[100, 40]).set(WEIGHT, &[10, 1]));
        assert_eq!(guest.store().row(0), [Value::U64(11), Value::U64(1040)]);
    }
}
