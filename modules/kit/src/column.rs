//! The packet columns that a module may ask for. Owns their ids and types as the guest sees them.

use core::marker::PhantomData;

/// A packet column with values of type `T`.
pub struct Column<T> {
    id: ColumnId,
    value: PhantomData<T>,
}

impl<T> Clone for Column<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Column<T> {}

/// A column's number in the ABI and the width of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnId {
    /// Number in the ABI.
    pub number: u8,
    /// Bytes of one value.
    pub bytes: usize,
}

impl<T: Cell> Column<T> {
    const fn new(number: u8) -> Self {
        Self {
            id: ColumnId {
                number,
                bytes: size_of::<T>(),
            },
            value: PhantomData,
        }
    }

    /// For [`Module::COLUMNS`](crate::Module::COLUMNS).
    pub const fn id(self) -> ColumnId {
        self.id
    }
}

/// A value of a packet column.
pub trait Cell: Copy {
    /// The values in `bytes`, which are laid out as the arena has them.
    fn read(bytes: &[u8]) -> impl ExactSizeIterator<Item = Self> + Clone;
    /// Appends the bytes of one value, for native tests.
    fn write(self, to: &mut impl Extend<u8>);
}

macro_rules! numbers {
    ($($ty:ty)*) => {$(
        impl Cell for $ty {
            fn read(bytes: &[u8]) -> impl ExactSizeIterator<Item = Self> + Clone {
                bytes.as_chunks::<{ size_of::<$ty>() }>().0.iter().map(|b| <$ty>::from_le_bytes(*b))
            }
            fn write(self, to: &mut impl Extend<u8>) {
                to.extend(self.to_le_bytes());
            }
        }
    )*};
}
numbers!(u8 u16 u32 u64);

impl<const N: usize> Cell for [u8; N] {
    fn read(bytes: &[u8]) -> impl ExactSizeIterator<Item = Self> + Clone {
        bytes.as_chunks::<N>().0.iter().copied()
    }
    fn write(self, to: &mut impl Extend<u8>) {
        to.extend(self);
    }
}

macro_rules! columns {
    ($( $(#[doc = $doc:literal])+ $number:literal $NAME:ident : $ty:ty ; )+) => {
        /// Every packet column of the ABI.
        pub mod columns {
            use super::{Column, ColumnId};
            $( $(#[doc = $doc])+ pub const $NAME: Column<$ty> = Column::new($number); )+
            /// All of them, by ascending id, with their names in module.toml in upper case.
            pub const ALL: &[(&str, ColumnId)] = &[ $((stringify!($NAME), $NAME.id())),+ ];
        }
    };
}
columns! {
    /// Packet time, nanoseconds since the Unix epoch, floored to the level's grain.
    0 TS_NS: u64;
    /// Length on the wire, bytes.
    1 WIRE_LEN: u32;
    /// Bytes visible at this level.
    2 CAP_LEN: u32;
    /// Sampling weight: how many packets this one stands for.
    3 WEIGHT: u32;
    /// Why the packet is denied, 0 = it is not: then only times, lengths and weight are there.
    4 DENY: u8;
    /// Ethertype after VLAN tags.
    5 ETHERTYPE: u16;
    /// Outer VLAN id, 0xffff = untagged.
    6 VLAN: u16;
    /// 0 (not IP), 4 or 6.
    7 IP_VERSION: u8;
    /// IP protocol after extension headers.
    8 PROTOCOL: u8;
    /// Source address, IPv4 as ::ffff:a.b.c.d.
    9 SRC: [u8; 16];
    /// Destination address.
    10 DST: [u8; 16];
    /// Special-purpose class of the real source, 0 = global.
    11 SRC_CLASS: u8;
    /// Special-purpose class of the real destination, 0 = global.
    12 DST_CLASS: u8;
    /// TCP, UDP or SCTP source port.
    13 SRC_PORT: u16;
    /// TCP, UDP or SCTP destination port.
    14 DST_PORT: u16;
    /// TCP flags, FIN the lowest bit.
    15 TCP_FLAGS: u8;
    /// ICMP or ICMPv6 type.
    16 ICMP_TYPE: u8;
    /// ICMP or ICMPv6 code.
    17 ICMP_CODE: u8;
    /// Bit 0: is a fragment; bit 1: not the first one.
    18 FRAGMENT: u8;
    /// TTL or hop limit.
    19 TTL: u8;
    /// DSCP and ECN.
    20 TOS: u8;
    /// IPv4 identification.
    21 IP_ID: u16;
    /// TCP sequence number.
    22 TCP_SEQ: u32;
    /// TCP acknowledgement number.
    23 TCP_ACK: u32;
    /// TCP window, unscaled.
    24 TCP_WINDOW: u16;
    /// Ethernet source.
    25 SRC_MAC: [u8; 6];
    /// Ethernet destination.
    26 DST_MAC: [u8; 6];
    /// ARP operation.
    27 ARP_OP: u8;
    /// Offset of the first byte after the last parsed header.
    28 PAYLOAD_OFFSET: u16;
    /// Verdicts on the checksums as captured.
    29 CHECKSUMS: u8;
    /// Kind of the outermost tunnel, 0 = none; the numbers are in docs/module-abi.md.
    30 TUNNEL: u8;
    /// Autonomous system of the real source; 0: not known, or too small to be named.
    31 SRC_AS: u32;
    /// Autonomous system of the real destination, likewise.
    32 DST_AS: u32;
}
