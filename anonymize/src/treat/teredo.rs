//! Teredo's indications: of an authentication its lengths, of an origin the address and port through their maps.

use super::Anonymizer;
use crate::dissect::{be16, be32};
use crate::fields::{FieldRule, NONE, REAL};

/// Teredo; the packet that it carries is treated as every other.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new(
        "Teredo",
        "indication types and lengths",
        [NONE, NONE, "kept", REAL],
    ),
    FieldRule::new(
        "Teredo",
        "client id, authentication value, nonce",
        [NONE, NONE, "zero", "zero"],
    ),
    FieldRule::new(
        "Teredo",
        "origin address",
        [NONE, NONE, "as IPv4 addresses", REAL],
    ),
    FieldRule::new("Teredo", "origin port", [NONE, NONE, "as ports", REAL]),
    FieldRule::new(
        "Teredo",
        "between two clients, on ports of their own",
        [NONE, NONE, "UDP: its payload is cut", "UDP: its payload is cut"],
    ),
];

impl Anonymizer {
    pub(super) fn teredo_authentication(&self, real: &[u8], out: &mut [u8]) {
        out[0..4].copy_from_slice(&real[0..4]);
    }

    /// RFC 4380 section 5.1.1: port and address stand with every bit inverted.
    pub(super) fn teredo_origin(&self, real: &[u8], out: &mut [u8]) {
        let port = !self.map_port(!be16(real, 2));
        let address = !self.map_v4(!be32(real, 4));
        out[2..4].copy_from_slice(&port.to_be_bytes());
        out[4..8].copy_from_slice(&address.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{DST6, INNER_SRC, SRC6, TEXT, ipv6, node, released_ipv4, udp};

    #[test]
    fn indications_lose_what_identifies() {
        let inverted: Vec<u8> = [&50_123u16.to_be_bytes()[..], &INNER_SRC]
            .concat()
            .iter()
            .map(|byte| !byte)
            .collect();
        let authentication = [&[0, 1, 4, 4][..], b"NAMEAUTHNONCE678\x01"].concat();
        let packet = ipv6(17, &udp([50_001, 53], TEXT));
        let payload = [&authentication[..], &[0, 0], &inverted, &packet].concat();
        let secrets = [
            &inverted[2..],
            b"NAME",
            b"AUTH",
            b"NONCE678",
            &SRC6[..8],
            &DST6[8..],
            TEXT,
        ];
        let out = released_ipv4(17, &udp([50_000, 3544], &payload), &secrets);
        let origin = &out[8 + 21..8 + 29];
        assert_eq!(!be16(origin, 2), node().map_port(50_123));
        assert_eq!(!be32(origin, 4), node().map_v4(u32::from_be_bytes(INNER_SRC)));
        assert_eq!(out[8..12], [0, 1, 4, 4]);
        assert_eq!(out[12..29], [0; 17]);
    }
}
