//! A part of the index, opened. Must never trust a count or a number in it: whoever holds key A could have made it.

use super::bloom::Bloom;
use super::flow::Class;
use super::zone::{self, Zone};
use super::{MAX_PART_FLOWS, PART_BLOCKS};
use crate::trace::TraceError;
use crate::trace::codec::Reader;

/// Which blocks a part covers, what each holds, and what to expect in its other slots.
pub(in crate::trace) struct Head {
    pub first_block: u32,
    pub(super) zones: Vec<Zone>,
    pub(super) addresses: usize,
    pub(super) flows: usize,
    pub(super) postings: usize,
    pub(super) overflow: usize,
}

/// A flow of the dictionary; its ends are numbers of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DictionaryFlow {
    pub ends: [u32; 2],
    pub ports: [u16; 2],
    pub protocol: u8,
    pub class: Class,
    pub directions: u8,
}

impl Head {
    pub fn decode(plain: &[u8]) -> Result<Self, TraceError> {
        let mut input = Reader(plain);
        let first_block = input.u32()?;
        let mut counts = [0; 5];
        for count in &mut counts {
            *count = input.u32()? as usize;
        }
        let [blocks, addresses, flows, postings, overflow] = counts;
        let possible = blocks <= PART_BLOCKS
            && flows <= MAX_PART_FLOWS
            && addresses <= 2 * flows
            && postings <= blocks * flows
            && overflow <= blocks
            && first_block.checked_add(blocks as u32).is_some();
        if !possible {
            return Err(TraceError::damaged(
                0,
                "the counts of an index part are not possible",
            ));
        }
        let zones = zone::decode(&mut input, blocks)?;
        input.end()?;
        if zones.iter().filter(|zone| zone.has_overflow()).count() != overflow {
            return Err(TraceError::damaged(
                0,
                "the zones of an index part do not fit its filters",
            ));
        }
        Ok(Self {
            first_block,
            zones,
            addresses,
            flows,
            postings,
            overflow,
        })
    }

    /// Numbers of the blocks that the part covers.
    pub fn covers(&self) -> std::ops::Range<u32> {
        self.first_block..self.first_block + self.zones.len() as u32
    }

    /// In order: their place is their number.
    pub(super) fn decode_addresses(&self, plain: &[u8]) -> Result<Vec<[u8; 16]>, TraceError> {
        const MORE: TraceError = TraceError::Damaged {
            position: 0,
            what: "an index part has more IPv4 addresses than addresses",
        };
        let mut input = Reader(plain);
        let v4_count = input.u32()? as usize;
        let others = self.addresses.checked_sub(v4_count).ok_or(MORE)?;
        let v4 = sums(input.column(v4_count)?);
        let upper = sums(input.column(others)?);
        let lower: Vec<u64> = input.column(others)?;
        input.end()?;
        let v4 = v4
            .into_iter()
            .map(|address| u128::from(address as u32) | 0xffff << 32);
        let others = upper
            .into_iter()
            .zip(lower)
            .map(|(upper, lower)| u128::from(upper) << 64 | u128::from(lower));
        let mut addresses: Vec<[u8; 16]> = v4.chain(others).map(u128::to_be_bytes).collect();
        addresses.sort_unstable();
        Ok(addresses)
    }

    pub(super) fn decode_flows(&self, plain: &[u8]) -> Result<Vec<DictionaryFlow>, TraceError> {
        const OUTSIDE: TraceError = TraceError::Damaged {
            position: 0,
            what: "a flow of an index part names no address",
        };
        let mut input = Reader(plain);
        let low: Vec<u32> = input.column(self.flows)?;
        let high: Vec<u32> = input.column(self.flows)?;
        let ports: [Vec<u16>; 2] = [input.column(self.flows)?, input.column(self.flows)?];
        let protocols: Vec<u8> = input.column(self.flows)?;
        let classes: Vec<u8> = input.column(self.flows)?;
        let directions: Vec<u8> = input.column(self.flows)?;
        input.end()?;
        let low = running_sums(low).ok_or(OUTSIDE)?;
        if low.iter().chain(&high).any(|end| *end as usize >= self.addresses) {
            return Err(OUTSIDE);
        }
        let flow = |at: usize| DictionaryFlow {
            ends: [low[at], high[at]],
            ports: [ports[0][at], ports[1][at]],
            protocol: protocols[at],
            class: Class(classes[at]),
            directions: directions[at],
        };
        Ok((0..self.flows).map(flow).collect())
    }

    /// Where each flow's blocks begin, and the blocks.
    pub(super) fn decode_postings(&self, plain: &[u8]) -> Result<(Vec<u32>, Vec<u8>), TraceError> {
        let mut input = Reader(plain);
        let counts: Vec<u32> = input.column(self.flows)?;
        let blocks = input.bytes(self.postings)?.to_vec();
        input.end()?;
        let mut starts = Vec::with_capacity(counts.len() + 1);
        let mut total = 0u64;
        for count in counts {
            starts.push(total as u32);
            total += u64::from(count);
        }
        starts.push(total as u32);
        let within = blocks.iter().all(|block| usize::from(*block) < self.zones.len());
        if total != self.postings as u64 || !within {
            return Err(TraceError::damaged(
                0,
                "the blocks of an index part do not add up",
            ));
        }
        Ok((starts, blocks))
    }

    pub(super) fn decode_overflow(&self, plain: &[u8]) -> Result<Vec<Bloom>, TraceError> {
        let mut input = Reader(plain);
        let filters = (0..self.overflow)
            .map(|_| Bloom::decode(&mut input))
            .collect::<Result<_, _>>()?;
        input.end()?;
        Ok(filters)
    }
}

/// The numbers of a column of differences; `None` where they leave their range.
fn running_sums(mut differences: Vec<u32>) -> Option<Vec<u32>> {
    let mut number = 0u32;
    for difference in &mut differences {
        number = number.checked_add(*difference)?;
        *difference = number;
    }
    Some(differences)
}

/// The values of a column of differences.
fn sums(mut differences: Vec<u64>) -> Vec<u64> {
    let mut value = 0u64;
    for difference in &mut differences {
        value = value.wrapping_add(*difference);
        *difference = value;
    }
    differences
}
