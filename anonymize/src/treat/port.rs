//! Ports: exact below 1024 and on a short public list, both frozen for a mapping epoch; all others permuted
//! among themselves, so that a pseudonym never looks like an exact port.

use super::Anonymizer;
use crate::fields::{FieldRule, NONE, REAL};

/// Ports of every transport protocol.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new(
        "TCP, UDP",
        "port",
        [
            "service: counter, k-threshold",
            "service class",
            "exact below 1024 and on a public list, else permuted",
            REAL,
        ],
    ),
    FieldRule::new("SCTP", "port", [NONE, NONE, "as TCP and UDP ports", REAL]),
];

/// First port outside the system range (RFC 6335).
pub(crate) const FIRST_USER_PORT: u16 = 1024;

/// Registered services that are worth knowing by name. Sorted.
pub(crate) const PUBLIC_PORTS: [u16; 31] = [
    1080, 1194, 1433, 1521, 1701, 1723, 1883, 1935, 2049, 2123, 2152, 3128, 3306, 3389, 3478, 3544, 3784,
    4500, 4789, 5060, 5061, 5222, 5353, 5355, 5432, 5671, 5672, 6081, 6379, 8080, 8443,
];

/// Whether a port is released as it is.
pub(crate) fn is_exact_port(port: u16) -> bool {
    port < FIRST_USER_PORT || PUBLIC_PORTS.binary_search(&port).is_ok()
}

impl Anonymizer {
    /// The released form of a TCP, UDP or SCTP port.
    pub fn map_port(&self, port: u16) -> u16 {
        self.keys.port.map(port)
    }

    /// The port that has this released form.
    pub(crate) fn unmap_port(&self, released: u16) -> u16 {
        self.keys.port.unmap(released)
    }

    /// Source and destination port, the first four bytes of TCP, UDP and SCTP alike.
    pub(super) fn write_ports(&self, real: &[u8], out: &mut [u8]) {
        for at in [0, 2] {
            let port = u16::from_be_bytes([real[at], real[at + 1]]);
            out[at..at + 2].copy_from_slice(&self.map_port(port).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_list_is_sorted_and_above_the_system_range() {
        assert!(PUBLIC_PORTS.is_sorted() && PUBLIC_PORTS[0] >= FIRST_USER_PORT);
        assert!(is_exact_port(0) && is_exact_port(1023) && is_exact_port(8443) && !is_exact_port(1024));
    }
}
