//! UDP: ports; the length stays as on the wire; a checksum is either absent, as it was, or written anew.

use super::Anonymizer;
use crate::fields::{FieldRule, NONE, REAL};

/// UDP; ports are in `port.rs`.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new("UDP", "length", [NONE, NONE, "kept", REAL]),
    FieldRule::new("UDP", "checksum absent (zero)", [NONE, NONE, "kept", REAL]),
];

impl Anonymizer {
    pub(super) fn udp(&self, real: &[u8], out: &mut [u8]) {
        self.write_ports(real, out);
        out[4..6].copy_from_slice(&real[4..6]);
        // A mark that there is one; its value comes from the released bytes.
        out[7] = u8::from(real[6..8] != [0, 0]);
    }
}
