//! Special-purpose address classes, told from the REAL address while it is still known. The code travels in a
//! column of its own; the address bits themselves always go through the map. Codes are stored: never renumber.

/// Class codes of IPv4 and IPv6 addresses (IANA special-purpose registries, RFC 6890). 0 is "global".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AddressClass {
    /// None of the below.
    Global = 0,
    /// 0.0.0.0/8, `::`
    Unspecified = 1,
    /// 10/8, 172.16/12, 192.168/16, fc00::/7
    Private = 2,
    /// 100.64/10
    CarrierNat = 3,
    /// 127/8, ::1
    Loopback = 4,
    /// 169.254/16, fe80::/10
    LinkLocal = 5,
    /// 198.18/15, 2001:2::/48
    Benchmark = 6,
    /// 192.0.2/24, 198.51.100/24, 203.0.113/24, 2001:db8::/32, 3fff::/20
    Documentation = 7,
    /// 224/4, ff00::/8
    Multicast = 8,
    /// 240/4
    Reserved = 9,
    /// 255.255.255.255
    Broadcast = 10,
    /// ::ffff:0:0/96
    MappedV4 = 11,
    /// 64:ff9b::/96, 64:ff9b:1::/48
    Nat64 = 12,
    /// 2002::/16
    SixToFour = 13,
    /// 2001::/32
    Teredo = 14,
    /// ff02::1:ff00:0/104
    SolicitedNode = 15,
    /// 192.0.0/24, 2001::/23 except the above
    ProtocolAssignment = 16,
}

impl AddressClass {
    /// Every class, by code.
    pub const ALL: [AddressClass; 17] = [
        Self::Global,
        Self::Unspecified,
        Self::Private,
        Self::CarrierNat,
        Self::Loopback,
        Self::LinkLocal,
        Self::Benchmark,
        Self::Documentation,
        Self::Multicast,
        Self::Reserved,
        Self::Broadcast,
        Self::MappedV4,
        Self::Nat64,
        Self::SixToFour,
        Self::Teredo,
        Self::SolicitedNode,
        Self::ProtocolAssignment,
    ];

    /// The class of a code.
    pub fn from_u8(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// A short name for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Unspecified => "unspecified",
            Self::Private => "private",
            Self::CarrierNat => "carrier-nat",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Benchmark => "benchmark",
            Self::Documentation => "documentation",
            Self::Multicast => "multicast",
            Self::Reserved => "reserved",
            Self::Broadcast => "broadcast",
            Self::MappedV4 => "mapped-v4",
            Self::Nat64 => "nat64",
            Self::SixToFour => "6to4",
            Self::Teredo => "teredo",
            Self::SolicitedNode => "solicited-node",
            Self::ProtocolAssignment => "protocol-assignment",
        }
    }
}

/// The class of an IPv4 address.
pub fn class_v4(address: u32) -> u8 {
    let [a, b, c, _] = address.to_be_bytes();
    let class = match (a, b, c) {
        (0, ..) => AddressClass::Unspecified,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => AddressClass::Private,
        (100, 64..=127, _) => AddressClass::CarrierNat,
        (127, ..) => AddressClass::Loopback,
        (169, 254, _) => AddressClass::LinkLocal,
        (192, 0, 0) => AddressClass::ProtocolAssignment,
        (198, 18..=19, _) => AddressClass::Benchmark,
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => AddressClass::Documentation,
        (224..=239, ..) => AddressClass::Multicast,
        _ if address == u32::MAX => AddressClass::Broadcast,
        (240..=255, ..) => AddressClass::Reserved,
        _ => AddressClass::Global,
    };
    class as u8
}

/// The class of an IPv6 address.
pub fn class_v6(address: u128) -> u8 {
    let under = |prefix: u128, bits: u32| address >> (128 - bits) == prefix >> (128 - bits);
    let class = match (address >> 112) as u16 {
        0 if address == 0 => AddressClass::Unspecified,
        0 if address == 1 => AddressClass::Loopback,
        0 if under(0xffff << 32, 96) => AddressClass::MappedV4,
        0x0064 if under(0x0064_ff9b << 96, 96) || under(0x0064_ff9b_0001 << 80, 48) => AddressClass::Nat64,
        0x2001 if under(0x2001_0000 << 96, 32) => AddressClass::Teredo,
        0x2001 if under(0x2001_0002_0000 << 80, 48) => AddressClass::Benchmark,
        0x2001 if under(0x2001_0db8 << 96, 32) => AddressClass::Documentation,
        0x2001 if under(0x2001_0000 << 96, 23) => AddressClass::ProtocolAssignment,
        0x2002 => AddressClass::SixToFour,
        0x3fff if under(0x3fff << 112, 20) => AddressClass::Documentation,
        0xfc00..=0xfdff => AddressClass::Private,
        0xfe80..=0xfebf => AddressClass::LinkLocal,
        0xff00..=0xffff if under(0xff02_0000_0000_0000_0000_0001_ff00_0000, 104) => {
            AddressClass::SolicitedNode
        }
        0xff00..=0xffff => AddressClass::Multicast,
        _ => AddressClass::Global,
    };
    class as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn codes_are_places_in_the_list() {
        assert!(
            AddressClass::ALL
                .iter()
                .enumerate()
                .all(|(at, class)| *class as usize == at)
        );
        assert_eq!(AddressClass::from_u8(17), None);
    }

    #[test]
    fn the_edges_of_every_range() {
        for (text, class) in [
            ("0.255.255.255", 1),
            ("1.0.0.0", 0),
            ("9.255.255.255", 0),
            ("10.0.0.0", 2),
            ("172.15.255.255", 0),
            ("172.31.255.255", 2),
            ("172.32.0.0", 0),
            ("100.64.0.0", 3),
            ("100.128.0.0", 0),
            ("127.0.0.1", 4),
            ("169.254.1.1", 5),
            ("198.18.0.0", 6),
            ("198.20.0.0", 0),
            ("192.0.2.1", 7),
            ("192.0.0.9", 16),
            ("239.255.255.255", 8),
            ("240.0.0.1", 9),
            ("255.255.255.255", 10),
        ] {
            assert_eq!(
                class_v4(text.parse::<Ipv4Addr>().unwrap().into()),
                class,
                "{text}"
            );
        }
        for (text, class) in [
            ("::", 1),
            ("::1", 4),
            ("::2", 0),
            ("::ffff:1.2.3.4", 11),
            ("64:ff9b::1.2.3.4", 12),
            ("64:ff9b:1::1", 12),
            ("64:ff9b:2::1", 0),
            ("2001::1", 14),
            ("2001:2::1", 6),
            ("2001:1::1", 16),
            ("2001:200::1", 0),
            ("2001:db8::1", 7),
            ("2002:102:304::1", 13),
            ("3fff:fff::1", 7),
            ("3fff:1000::1", 0),
            ("fd00::1", 2),
            ("fe80::1", 5),
            ("fec0::1", 0),
            ("ff02::1", 8),
            ("ff02::1:ff12:3456", 15),
        ] {
            assert_eq!(
                class_v6(text.parse::<Ipv6Addr>().unwrap().into()),
                class,
                "{text}"
            );
        }
    }
}
