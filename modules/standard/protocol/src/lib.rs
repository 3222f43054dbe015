//! `protocol`: packets and bytes per network protocol, and per transport protocol within IPv4 and IPv6
//! (modules `protocol` and `ethtypes` of the original CoMo). Owns an exact table; reads no pseudonym.
#![cfg_attr(target_arch = "wasm32", no_std)]

use como_kit::prelude::*;

/// Ethertypes beside IPv4 and IPv6 that are told apart; the rest counts as [`OTHER`].
const OTHERS_MAX: usize = 64;
/// The row of whatever found no place: an ethertype that is reserved (IEEE 802).
pub const OTHER: u16 = 0xffff;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

#[derive(Clone, Copy)]
struct Counter {
    packets: u64,
    bytes: u64,
}

impl Counter {
    const ZERO: Self = Self { packets: 0, bytes: 0 };

    fn add(&mut self, weight: u32, bytes: u32) {
        self.packets += u64::from(weight);
        self.bytes += u64::from(weight) * u64::from(bytes);
    }
}

/// The table of one interval.
pub struct Protocol {
    /// IPv4, then IPv6, by protocol number.
    ip: [[Counter; 256]; 2],
    others: [(u16, Counter); OTHERS_MAX],
    others_len: usize,
    overflow: Counter,
}

impl Protocol {
    fn other(&mut self, ethertype: u16) -> &mut Counter {
        let found = self.others[..self.others_len]
            .iter()
            .position(|(known, _)| *known == ethertype);
        let at = match found {
            Some(at) => at,
            None if self.others_len == OTHERS_MAX => return &mut self.overflow,
            None => {
                self.others[self.others_len] = (ethertype, Counter::ZERO);
                self.others_len += 1;
                self.others_len - 1
            }
        };
        &mut self.others[at].1
    }
}

impl Module for Protocol {
    const COLUMNS: &'static [ColumnId] = &[
        WIRE_LEN.id(),
        WEIGHT.id(),
        ETHERTYPE.id(),
        IP_VERSION.id(),
        PROTOCOL.id(),
    ];
    const SCHEMA: &'static [Kind] = &[Kind::U16, Kind::U8, Kind::U64, Kind::U64];
    const MAX_ROWS: usize = 2 * 256 + OTHERS_MAX + 1;
    const INITIAL: Self = Self {
        ip: [[Counter::ZERO; 256]; 2],
        others: [(0, Counter::ZERO); OTHERS_MAX],
        others_len: 0,
        overflow: Counter::ZERO,
    };

    fn update(&mut self, batch: &Batch<'_>) {
        let sizes = batch.column(WIRE_LEN).zip(batch.column(WEIGHT));
        let kinds = batch
            .column(IP_VERSION)
            .zip(batch.column(PROTOCOL))
            .zip(batch.column(ETHERTYPE));
        for ((bytes, weight), ((version, protocol), ethertype)) in sizes.zip(kinds) {
            let counter = match version {
                4 => &mut self.ip[0][usize::from(protocol)],
                6 => &mut self.ip[1][usize::from(protocol)],
                _ => self.other(ethertype),
            };
            counter.add(weight, bytes);
        }
    }

    /// A row for everything that occurred: IPv4 and IPv6 by protocol, then the others as they came.
    fn store(&mut self, rows: &mut Rows<'_>) {
        let mut put = |ethertype: u16, protocol: u8, counter: &Counter| {
            if counter.packets > 0 {
                rows.push(&[
                    ethertype.into(),
                    protocol.into(),
                    counter.packets.into(),
                    counter.bytes.into(),
                ]);
            }
        };
        for (ethertype, table) in [IPV4, IPV6].into_iter().zip(&self.ip) {
            for (protocol, counter) in (0..=u8::MAX).zip(table) {
                put(ethertype, protocol, counter);
            }
        }
        for (ethertype, counter) in &self.others[..self.others_len] {
            put(*ethertype, 0, counter);
        }
        put(OTHER, 0, &self.overflow);
        *self = Self::INITIAL;
    }
}
como_kit::export!(Protocol);

#[cfg(test)]
mod tests {
    use super::*;
    use como_kit::native::{Guest, Packets};

    fn row(ethertype: u16, protocol: u8, packets: u64, bytes: u64) -> [Value; 4] {
        [ethertype.into(), protocol.into(), packets.into(), bytes.into()]
    }

    #[test]
    fn tells_ip_protocols_and_ethertypes_apart() {
        let mut guest = Guest::<Protocol>::new(&[]);
        guest.update(
            Packets::new(5)
                .set(WIRE_LEN, &[60, 100, 1500, 42, 70])
                .set(ETHERTYPE, &[IPV4, IPV4, IPV6, 0x0806, IPV4])
                .set(IP_VERSION, &[4, 4, 6, 0, 4])
                .set(PROTOCOL, &[6, 17, 6, 0, 6]),
        );
        let table = guest.store();
        assert_eq!(table.rows(), 4);
        assert_eq!(table.row(0), row(IPV4, 6, 2, 130));
        assert_eq!(table.row(1), row(IPV4, 17, 1, 100));
        assert_eq!(table.row(2), row(IPV6, 6, 1, 1500));
        assert_eq!(table.row(3), row(0x0806, 0, 1, 42));
        assert_eq!(guest.store().rows(), 0, "the next interval starts empty");
    }

    #[test]
    fn a_flood_of_ethertypes_ends_in_one_row_and_loses_no_packet() {
        let ethertypes: Vec<u16> = (0x0900..0x0900 + 1000).collect();
        let mut guest = Guest::<Protocol>::new(&[]);
        guest.update(Packets::new(1000).set(ETHERTYPE, &ethertypes));
        let table = guest.store();
        assert_eq!(table.rows(), OTHERS_MAX + 1);
        assert_eq!(table.row(OTHERS_MAX), row(OTHER, 0, 1000 - OTHERS_MAX as u64, 0));
    }
}
