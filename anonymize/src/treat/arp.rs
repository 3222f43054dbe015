//! ARP: operation kept; protocol addresses through the IPv4 map, hardware addresses through the MAC map.

use super::Anonymizer;
use crate::fields::{FieldRule, NONE, REAL};

/// ARP.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new("ARP", "operation", [NONE, "kept", "kept", REAL]),
    FieldRule::new(
        "ARP",
        "protocol address",
        [
            "number of distinct, k-threshold",
            "64-bit keyed pseudonym",
            "as IPv4 addresses",
            REAL,
        ],
    ),
    FieldRule::new(
        "ARP",
        "hardware address",
        [
            NONE,
            NONE,
            "as Ethernet addresses",
            "vendor half kept, rest permuted",
        ],
    ),
];

impl Anonymizer {
    pub(super) fn arp(&self, real: &[u8], out: &mut [u8]) {
        // Hardware and protocol type and lengths were checked: they are constants.
        out[0..8].copy_from_slice(&real[0..8]);
        self.write_mac(&real[8..14], &mut out[8..14]);
        self.write_v4(&real[14..18], &mut out[14..18]);
        self.write_mac(&real[18..24], &mut out[18..24]);
        self.write_v4(&real[24..28], &mut out[24..28]);
    }
}
