//! GTP-U: message type and length kept, the tunnel endpoint permuted, sequence numbers zero; of extension headers
//! their kinds and lengths.

use super::Anonymizer;
use super::identifier::keeping_zero;
use crate::dissect::be32;
use crate::fields::{FieldRule, NONE, REAL};

/// GTP-U.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new("GTP-U", "flags, message type, length", [NONE, NONE, "kept", REAL]),
    FieldRule::new(
        "GTP-U",
        "tunnel endpoint id",
        [NONE, NONE, "permuted: 32 bits, 0 kept", REAL],
    ),
    FieldRule::new(
        "GTP-U",
        "sequence number, N-PDU number",
        [NONE, NONE, "zero", REAL],
    ),
    FieldRule::new(
        "GTP-U",
        "extension headers",
        [NONE, NONE, "type and length kept, rest zero", REAL],
    ),
];

impl Anonymizer {
    pub(super) fn gtp(&self, real: &[u8], out: &mut [u8]) {
        out[0..4].copy_from_slice(&real[0..4]);
        let endpoint = keeping_zero(be32(real, 4), |id| {
            self.memory.teid.of(id, |id| self.keys.teid.map32(id, 0))
        });
        out[4..8].copy_from_slice(&endpoint.to_be_bytes());
        if real.len() < 12 {
            return;
        }
        // The type of the first extension header, then of each its length and the type of the next.
        out[11] = real[11];
        let mut at = 12;
        while let Some(&units) = real.get(at).filter(|units| **units != 0) {
            let last = at + usize::from(units) * 4 - 1;
            let (Some(next), Some(_)) = (real.get(last), out.get(last)) else {
                return;
            };
            out[at] = units;
            out[last] = *next;
            at = last + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::sample::{INNER_DST, TEXT, inner, released_ipv4, udp};

    #[test]
    fn the_endpoint_is_permuted_and_extensions_are_their_kinds() {
        let chain = [
            0x12, 0x34, 0x56, 0x85, 1, 0xaa, 0xbb, 0xc0, 2, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0,
        ];
        let len = (chain.len() + inner().len()) as u16;
        let head = [&[0x36, 255][..], &len.to_be_bytes(), &[0xd1, 0xd2, 0xd3, 0xd4]].concat();
        let message = udp([2152, 2152], &[&head[..], &chain, &inner()].concat());
        let secrets = [
            &head[4..8],
            &chain[..3],
            &chain[5..7],
            &chain[9..15],
            &INNER_DST,
            TEXT,
        ];
        let out = released_ipv4(17, &message, &secrets);
        assert_eq!(out[8..12], head[..4]);
        assert_eq!(
            out[16..32],
            [0, 0, 0, 0x85, 1, 0, 0, 0xc0, 2, 0, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn an_echo_is_its_header() {
        let echo = udp([2152, 2152], &[&[0x30, 1, 0, 10, 0, 0, 0, 0][..], TEXT].concat());
        let out = released_ipv4(17, &echo, &[TEXT]);
        assert_eq!(out[8..], [0x30, 1, 0, 10, 0, 0, 0, 0]);
    }
}
