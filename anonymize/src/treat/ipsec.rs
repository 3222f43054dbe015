//! AH and ESP: the security parameter index permuted, the sequence number shifted by a keyed offset of its
//! association, the integrity check value zero; what ESP carries is never header.

use super::address::Address;
use super::{Anonymizer, Flow};
use crate::dissect::be32;
use crate::fields::{FieldRule, NONE, REAL};

/// Authentication header and ESP.
pub(super) const RULES: &[FieldRule] = &[
    FieldRule::new(
        "AH, ESP",
        "security parameter index",
        [NONE, NONE, "permuted: 32 bits", REAL],
    ),
    FieldRule::new(
        "AH, ESP",
        "sequence number",
        [NONE, NONE, "minus a keyed offset of its direction", REAL],
    ),
    FieldRule::new("AH", "integrity check value", [NONE, NONE, "zero", REAL]),
];

impl Anonymizer {
    pub(super) fn ah(&self, real: &[u8], out: &mut [u8], flow: &Flow) {
        out[0..2].copy_from_slice(&real[0..2]);
        self.association(&real[4..12], &mut out[4..12], flow);
    }

    pub(super) fn esp(&self, real: &[u8], out: &mut [u8], flow: &Flow) {
        self.association(real, out, flow);
    }

    fn association(&self, real: &[u8], out: &mut [u8], flow: &Flow) {
        let (spi, sequence) = (be32(real, 0), be32(real, 4));
        let offset = self.sequence_offset(flow.src, flow.dst, spi, ASSOCIATION);
        out[0..4].copy_from_slice(
            &self
                .memory
                .spi
                .of(spi, |spi| self.keys.spi.map32(spi, 0))
                .to_be_bytes(),
        );
        out[4..8].copy_from_slice(&sequence.wrapping_sub(offset).to_be_bytes());
    }

    /// The keyed offset of one direction of one flow; `selector` is its key or its index, `space` which.
    pub(super) fn sequence_offset(&self, src: Address, dst: Address, selector: u32, space: u8) -> u32 {
        self.sequence_block(src, dst, selector, space) as u32
    }

    /// 128 pseudo-random bits of an ordered pair of ends.
    pub(super) fn sequence_block(&self, src: Address, dst: Address, selector: u32, space: u8) -> u128 {
        let (Address::V6(from), Address::V6(to)) = (src, dst) else {
            return self.compute_sequence_block(src, dst, selector, space);
        };
        let last = u64::from(selector) << 32 | u64::from(space);
        let key = [
            (from >> 64) as u64,
            from as u64,
            (to >> 64) as u64,
            to as u64,
            last,
        ];
        let [high, low] = self.memory.ipv6_flow.find(key).unwrap_or_else(|| {
            let block = self.compute_sequence_block(src, dst, selector, space);
            let words = [(block >> 64) as u64, block as u64];
            self.memory.ipv6_flow.keep(key, words);
            words
        });
        u128::from(high) << 64 | u128::from(low)
    }

    /// The same of IPv4 ends.
    #[inline]
    pub(super) fn sequence_block_v4(&self, src: u32, dst: u32, selector: u32, space: u8) -> u128 {
        let last = u128::from(selector) << 32 | u128::from(space);
        let ends = u128::from(src) << 96 | u128::from(dst) << 64;
        self.keys.sequence_v4.block(ends | last)
    }

    pub(super) fn compute_sequence_block(
        &self,
        src: Address,
        dst: Address,
        selector: u32,
        space: u8,
    ) -> u128 {
        match (src, dst) {
            (Address::V4(src), Address::V4(dst)) => self.sequence_block_v4(src, dst, selector, space),
            (Address::V6(src), Address::V6(dst)) => {
                let last = u128::from(selector) << 32 | u128::from(space);
                // CBC-MAC over three blocks, the only length under this key.
                let key = &self.keys.sequence_v6;
                key.block(key.block(key.block(src) ^ dst) ^ last)
            }
            // No packet has two families.
            _ => 0,
        }
    }
}

/// TCP ports select the flow.
pub(super) const PORTS: u8 = 6;
/// A security parameter index does.
const ASSOCIATION: u8 = 50;
