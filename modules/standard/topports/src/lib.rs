//! `topports`: the k TCP and UDP ports with most bytes (module `topports` of the original CoMo). Owns an exact
//! table of all 2 x 65536 ports; below `headers` a port outside the exact list is a pseudonym.
//!
//! Tables add up: a port that the list of an interval leaves out lacks the bytes that it had then, at most those of the last
//! port of that list. So rows of a combined interval are lower bounds, and exact for ports that every list names: ask for more.
#![cfg_attr(target_arch = "wasm32", no_std)]

use como_kit::prelude::*;

const PORTS: usize = 1 << 16;
/// Ports of a word of the bitmap.
const WORD_PORTS: usize = 64;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Bit of `fragment`: the packet has no transport header.
const NOT_FIRST: u8 = 2;
/// Largest `k`, as in module.toml.
const K_MAX: usize = 100;

#[derive(Clone, Copy)]
struct Counter {
    packets: u64,
    bytes: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    protocol: u8,
    port: u16,
    counter: Counter,
}

/// The tables of one interval, and `k`.
pub struct TopPorts {
    k: usize,
    /// A packet came.
    busy: bool,
    /// TCP, then UDP.
    tables: [Table; 2],
}

/// The ports of one protocol.
struct Table {
    counters: [Counter; PORTS],
    /// A bit for each port that a packet came for: what is done once an interval depends on those, and hardly on how many
    /// ports there are.
    used: [u64; PORTS / WORD_PORTS],
}

const ZERO: Counter = Counter { packets: 0, bytes: 0 };

impl Table {
    const EMPTY: Self = Self {
        counters: [ZERO; PORTS],
        used: [0; PORTS / WORD_PORTS],
    };

    #[inline(always)]
    fn count(&mut self, port: u16, packets: u64, bytes: u64) {
        let at = usize::from(port);
        let counter = &mut self.counters[at];
        if counter.packets == 0 {
            self.used[at / WORD_PORTS] |= 1 << (at % WORD_PORTS);
        }
        counter.packets += packets;
        counter.bytes += bytes;
    }

    /// Hands over every counter that was used, by ascending port, and clears it.
    fn drain(&mut self, mut with: impl FnMut(u16, Counter)) {
        for (number, word) in self.used.iter_mut().enumerate() {
            let mut left = core::mem::take(word);
            while left != 0 {
                let port = number * WORD_PORTS + left.trailing_zeros() as usize;
                left &= left - 1;
                with(port as u16, core::mem::replace(&mut self.counters[port], ZERO));
            }
        }
    }
}

impl Module for TopPorts {
    const COLUMNS: &'static [ColumnId] = &[
        WIRE_LEN.id(),
        WEIGHT.id(),
        PROTOCOL.id(),
        SRC_PORT.id(),
        DST_PORT.id(),
        FRAGMENT.id(),
    ];
    const SCHEMA: &'static [Kind] = &[Kind::U8, Kind::U16, Kind::U64, Kind::U64];
    const MAX_ROWS: usize = K_MAX;
    const INITIAL: Self = Self {
        k: 0,
        busy: false,
        tables: [Table::EMPTY; 2],
    };

    fn init(&mut self, args: &Args<'_>) -> Result<(), i32> {
        self.k = args.within(0, 1..=K_MAX as i64)? as usize;
        Ok(())
    }

    /// A packet counts at its source and at its destination port; once, where they are equal.
    fn update(&mut self, batch: &Batch<'_>) {
        self.busy = true;
        let sizes = batch.column(WIRE_LEN).zip(batch.column(WEIGHT));
        let kinds = batch.column(PROTOCOL).zip(batch.column(FRAGMENT));
        let ports = batch.column(SRC_PORT).zip(batch.column(DST_PORT));
        for (((bytes, weight), (protocol, fragment)), (source, destination)) in sizes.zip(kinds).zip(ports) {
            let table = match protocol {
                _ if fragment & NOT_FIRST != 0 => continue,
                TCP => &mut self.tables[0],
                UDP => &mut self.tables[1],
                _ => continue,
            };
            let (packets, bytes) = (u64::from(weight), u64::from(weight) * u64::from(bytes));
            table.count(source, packets, bytes);
            if destination != source {
                table.count(destination, packets, bytes);
            }
        }
    }

    /// Most bytes first; where they are equal most packets, then TCP, then the smaller port.
    fn store(&mut self, rows: &mut Rows<'_>) {
        if !core::mem::take(&mut self.busy) {
            return;
        }
        let mut best = Best::<_, Entry, K_MAX>::of(self.k);
        for (protocol, table) in [TCP, UDP].into_iter().zip(&mut self.tables) {
            table.drain(|port, counter| {
                let entry = Entry {
                    protocol,
                    port,
                    counter,
                };
                best.offer((counter.bytes, counter.packets), entry);
            });
        }
        for entry in best.iter() {
            let Counter { packets, bytes } = entry.counter;
            rows.push(&[
                entry.protocol.into(),
                entry.port.into(),
                packets.into(),
                bytes.into(),
            ]);
        }
    }
}
como_kit::export!(TopPorts);

#[cfg(test)]
mod tests {
    use super::*;
    use como_kit::native::{Guest, Packets};

    fn row(protocol: u8, port: u16, packets: u64, bytes: u64) -> [Value; 4] {
        [protocol.into(), port.into(), packets.into(), bytes.into()]
    }

    #[test]
    fn ranks_ports_by_bytes() {
        let mut guest = Guest::<TopPorts>::new(&[3]);
        guest.update(
            Packets::new(5)
                .set(WIRE_LEN, &[1500, 100, 100, 900, 60])
                .set(PROTOCOL, &[TCP, UDP, UDP, 1, TCP])
                .set(SRC_PORT, &[443, 53, 5353, 0, 80])
                .set(DST_PORT, &[50000, 40000, 5353, 0, 443])
                .set(FRAGMENT, &[0, 0, 0, 0, 0]),
        );
        let table = guest.store();
        assert_eq!(table.rows(), 3);
        assert_eq!(table.row(0), row(TCP, 443, 2, 1560));
        assert_eq!(table.row(1), row(TCP, 50000, 1, 1500));
        assert_eq!(
            table.row(2),
            row(UDP, 53, 1, 100),
            "the smallest of three equal ports, counted once"
        );
        assert_eq!(guest.store().rows(), 0, "the next interval starts empty");
    }

    #[test]
    fn a_later_fragment_has_no_port_to_count() {
        let mut guest = Guest::<TopPorts>::new(&[10]);
        guest.update(
            Packets::new(2)
                .set(WIRE_LEN, &[1500, 1500])
                .set(PROTOCOL, &[UDP, UDP])
                .set(SRC_PORT, &[7, 0])
                .set(DST_PORT, &[9, 0])
                .set(FRAGMENT, &[1, 3]),
        );
        let table = guest.store();
        assert_eq!((table.rows(), table.row(0)), (2, row(UDP, 7, 1, 1500).to_vec()));
    }

    #[test]
    fn agrees_with_sorting_everything() {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 16
        };
        let n = 5000;
        let lengths: Vec<u32> = (0..n).map(|_| 60 + next() % 1440).collect();
        let ports: Vec<u16> = (0..n).map(|_| (next() % 300) as u16).collect();
        let mut sums = vec![(0u64, 0u64, 0u16); 300];
        for (length, port) in lengths.iter().zip(&ports) {
            let sum = &mut sums[usize::from(*port)];
            *sum = (sum.0 + u64::from(*length), sum.1 + 1, *port);
        }
        sums.sort_by_key(|(bytes, packets, port)| (std::cmp::Reverse((*bytes, *packets)), *port));
        let mut guest = Guest::<TopPorts>::new(&[100]);
        let packets = Packets::new(n)
            .set(WIRE_LEN, &lengths)
            .set(PROTOCOL, &vec![TCP; n]);
        guest.update(packets.set(SRC_PORT, &ports).set(DST_PORT, &ports));
        let table = guest.store();
        for (i, (bytes, packets, port)) in sums.iter().take(100).enumerate() {
            assert_eq!(table.row(i), row(TCP, *port, *packets, *bytes));
        }
    }
}
