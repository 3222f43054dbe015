//! `flow`: a record for every directed 5-tuple of an interval, as NetFlow has them (RFC 3954; module `tuple` of the
//! original CoMo). Owns an exact table of 24576 flows; packets of flows that find no place are one row of their own.
//!
//! Later fragments and protocols without ports are flows with ports 0. Flows end with the interval: one that lasts is a
//! row in each, and the schema's merge rules make one of them.
#![cfg_attr(target_arch = "wasm32", no_std)]

use como_kit::hash::Zeroed;
use como_kit::prelude::*;
use como_kit::table::HashTable;

/// Three quarters of them are flows.
const SLOTS: usize = 1 << 15;
/// Source, destination, and ports and protocol in one word.
type Tuple = [u64; 5];
type Flows = HashTable<Tuple, Record, SLOTS>;
/// Protocol number of the row of what found no place: reserved (IANA).
pub const NO_PLACE: u8 = 255;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;

#[derive(Clone, Copy)]
struct Record {
    packets: u64,
    bytes: u64,
    first_ns: u64,
    last_ns: u64,
    /// Union of the packets' flags.
    flags: u64,
}

impl Zeroed for Record {
    const ZERO: Self = Self {
        packets: 0,
        bytes: 0,
        first_ns: 0,
        last_ns: 0,
        flags: 0,
    };
}

impl Record {
    fn add(&mut self, ts_ns: u64, weight: u32, bytes: u32, flags: u8) {
        if self.packets == 0 || ts_ns < self.first_ns {
            self.first_ns = ts_ns;
        }
        self.last_ns = self.last_ns.max(ts_ns);
        self.packets += u64::from(weight);
        self.bytes += u64::from(weight) * u64::from(bytes);
        self.flags |= u64::from(flags);
    }
}

/// The flows of one interval.
pub struct Flow {
    flows: Flows,
    no_place: Record,
}

impl Module for Flow {
    const COLUMNS: &'static [ColumnId] = &[
        TS_NS.id(),
        WIRE_LEN.id(),
        WEIGHT.id(),
        PROTOCOL.id(),
        SRC.id(),
        DST.id(),
        SRC_PORT.id(),
        DST_PORT.id(),
        TCP_FLAGS.id(),
    ];
    const SCHEMA: &'static [Kind] = &[
        Kind::Address,
        Kind::Address,
        Kind::U8,
        Kind::U16,
        Kind::U16,
        Kind::U64,
        Kind::U64,
        Kind::TimeNs,
        Kind::TimeNs,
        Kind::Bool,
        Kind::Bool,
        Kind::Bool,
    ];
    const MAX_ROWS: usize = Flows::CAPACITY + 1;
    const INITIAL: Self = Self {
        flows: Flows::EMPTY,
        no_place: Record::ZERO,
    };

    fn update(&mut self, batch: &Batch<'_>) {
        let sizes = batch
            .column(TS_NS)
            .zip(batch.column(WIRE_LEN))
            .zip(batch.column(WEIGHT));
        let addresses = batch.address_words(SRC).zip(batch.address_words(DST));
        let ports = batch.column(SRC_PORT).zip(batch.column(DST_PORT));
        let kinds = batch.column(PROTOCOL).zip(batch.column(TCP_FLAGS));
        let packets = sizes.zip(addresses).zip(ports).zip(kinds);
        for (((((ts_ns, bytes), weight), (source, destination)), (from, to)), (protocol, flags)) in packets {
            let rest = u64::from(from) << 32 | u64::from(to) << 16 | u64::from(protocol);
            let tuple = [source[0], source[1], destination[0], destination[1], rest];
            let record = match self.flows.entry(tuple) {
                Some(record) => record,
                None => &mut self.no_place,
            };
            record.add(ts_ns, weight, bytes, flags);
        }
    }

    fn store(&mut self, rows: &mut Rows<'_>) {
        for flow in self.flows.iter() {
            push(rows, flow.key, &flow.value);
        }
        if self.no_place.packets > 0 {
            push(rows, [0, 0, 0, 0, u64::from(NO_PLACE)], &self.no_place);
        }
        self.flows.clear();
        self.no_place = Record::ZERO;
    }
}
como_kit::export!(Flow);

fn push(rows: &mut Rows<'_>, tuple: Tuple, record: &Record) {
    let flag = |flag: u8| Value::Bool(record.flags & u64::from(flag) != 0);
    rows.push(&[
        Value::address([tuple[0], tuple[1]]),
        Value::address([tuple[2], tuple[3]]),
        (tuple[4] as u8).into(),
        ((tuple[4] >> 32) as u16).into(),
        ((tuple[4] >> 16) as u16).into(),
        record.packets.into(),
        record.bytes.into(),
        Value::TimeNs(record.first_ns),
        Value::TimeNs(record.last_ns),
        flag(SYN),
        flag(FIN),
        flag(RST),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use como_kit::native::{Guest, Packets};

    const A: [u8; 16] = [1; 16];
    const B: [u8; 16] = [2; 16];

    #[test]
    fn a_record_has_sums_times_and_flags_of_its_flow() {
        let mut guest = Guest::<Flow>::new(&[]);
        guest.update(
            Packets::new(4)
                .set(TS_NS, &[50, 40, 60, 70])
                .set(WIRE_LEN, &[60, 1500, 70, 60])
                .set(WEIGHT, &[1, 3, 1, 1])
                .set(PROTOCOL, &[6, 6, 17, 6])
                .set(SRC, &[A, A, A, A])
                .set(DST, &[B, B, B, B])
                .set(SRC_PORT, &[5, 5, 5, 5])
                .set(DST_PORT, &[80, 80, 80, 80])
                .set(TCP_FLAGS, &[SYN, 0, 0, FIN | 16]),
        );
        let table = guest.store();
        let mut rows: Vec<_> = (0..table.rows()).map(|row| table.row(row)).collect();
        rows.sort_by_key(|row| format!("{row:?}"));
        let row = |protocol: u8, packets: u64, bytes: u64, times: [u64; 2], syn, fin| {
            let [first, last] = times.map(Value::TimeNs);
            let ports: [Value; 2] = [5u16.into(), 80u16.into()];
            let flags = [syn, fin, false].map(Value::Bool);
            [
                &[A.into(), B.into(), protocol.into()][..],
                &ports,
                &[packets.into(), bytes.into(), first, last],
                &flags,
            ]
            .concat()
        };
        assert_eq!(
            rows,
            [
                row(17, 1, 70, [60, 60], false, false),
                row(6, 5, 4620, [40, 70], true, true)
            ]
        );
        assert_eq!(guest.store().rows(), 0, "the next interval starts empty");
    }

    #[test]
    fn flows_that_find_no_place_are_one_row_and_no_packet_is_lost() {
        let n = Flows::CAPACITY + 1000;
        let sources: Vec<_> = (0..n as u128).map(u128::to_be_bytes).collect();
        let mut guest = Guest::<Flow>::new(&[]);
        guest.update(Packets::new(n).set(SRC, &sources).set(WIRE_LEN, &vec![60; n]));
        let table = guest.store();
        assert_eq!(table.rows(), Flows::CAPACITY + 1);
        let last = table.row(Flows::CAPACITY);
        assert_eq!(last[2], Value::U8(NO_PLACE));
        assert_eq!(last[5..7], [Value::U64(1000), Value::U64(60_000)]);
    }
}
