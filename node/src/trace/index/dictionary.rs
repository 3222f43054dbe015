//! Gathering the flow dictionary of one part, block after block in order. Must never hold more than
//! [`MAX_PART_FLOWS`] flows, whatever a flood brings.

use std::net::Ipv6Addr;

use hashbrown::HashMap;

use super::bloom::Bloom;
use super::flow::{BlockFlows, Flow};
use super::zone::{self, Zone};
use super::{
    MAX_PART_FLOWS, PART_BLOCKS, SLOT_ADDRESSES, SLOT_FLOWS, SLOT_HEAD, SLOT_OVERFLOW, SLOT_POSTINGS,
};
use crate::trace::block::SLOTS;
use crate::trace::codec::{put_column, put_u32};

/// Filter of one block whose flows the dictionary has no room for, bytes: less than 2 % of a full block, and one in six
/// of the blocks that hold a flow of 64 bytes in each packet is read in vain.
const OVERFLOW_FILTER_BYTES: usize = 2 << 10;

/// The part of the index that is being gathered.
pub(in crate::trace) struct PartBuilder {
    first_block: u32,
    zones: Vec<Zone>,
    known: HashMap<Flow, u32>,
    /// By number: the flow, and its directions.
    flows: Vec<(Flow, u8)>,
    /// Flow and block within the part, in the order of blocks.
    postings: Vec<(u32, u8)>,
    overflow: Vec<Bloom>,
}

impl PartBuilder {
    /// An empty part that begins with a block of this number.
    pub fn new(first_block: u32) -> Self {
        Self {
            first_block,
            zones: Vec::new(),
            known: HashMap::new(),
            flows: Vec::new(),
            postings: Vec::new(),
            overflow: Vec::new(),
        }
    }

    /// Takes the next block; `segment` gets all that is new to this part.
    pub fn add(&mut self, block: &BlockFlows, segment: &mut Bloom) {
        if self.zones.len() >= PART_BLOCKS {
            return; // Covered by no part: it will be scanned.
        }
        let number = self.zones.len() as u8;
        let mut zone = block.zone;
        for (flow, directions) in &block.flows {
            let at = match self.known.get(flow) {
                Some(at) => *at,
                None => {
                    segment.insert_ends(&flow.ends);
                    segment.insert_ports(&flow.ends, &flow.ports);
                    if self.flows.len() >= MAX_PART_FLOWS {
                        self.overflow(&mut zone, &flow.ends);
                        continue;
                    }
                    let at = self.flows.len() as u32;
                    self.flows.push((*flow, 0));
                    self.known.insert(*flow, at);
                    at
                }
            };
            self.flows[at as usize].1 |= directions;
            self.postings.push((at, number));
        }
        self.zones.push(zone);
    }

    fn overflow(&mut self, zone: &mut Zone, ends: &[[u8; 16]; 2]) {
        if !zone.has_overflow() {
            zone.set_overflow();
            self.overflow.push(Bloom::empty(OVERFLOW_FILTER_BYTES));
        }
        if let Some(filter) = self.overflow.last_mut() {
            filter.insert_ends(ends);
        }
    }

    /// The plain slots of the part.
    pub fn encode(self) -> [Vec<u8>; SLOTS] {
        let mut slots: [Vec<u8>; SLOTS] = Default::default();
        let mut addresses: Vec<[u8; 16]> = self.flows.iter().flat_map(|(flow, _)| flow.ends).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let id = |address: &[u8; 16]| addresses.binary_search(address).map_or(0, |at| at as u64);
        let mut order: Vec<(u64, u64, u32)> = self
            .flows
            .iter()
            .zip(0..)
            .map(|((flow, _), at)| (id(&flow.ends[0]), id(&flow.ends[1]), at))
            .collect();
        order.sort_unstable();

        let head = &mut slots[SLOT_HEAD];
        put_u32(head, self.first_block);
        for count in [
            self.zones.len(),
            addresses.len(),
            self.flows.len(),
            self.postings.len(),
            self.overflow.len(),
        ] {
            put_u32(head, count as u32);
        }
        zone::encode(&self.zones, head);
        put_addresses(&mut slots[SLOT_ADDRESSES], &addresses);
        put_flows(&mut slots[SLOT_FLOWS], &order, &self.flows);
        put_postings(&mut slots[SLOT_POSTINGS], &order, &self.postings);
        for filter in &self.overflow {
            filter.encode(&mut slots[SLOT_OVERFLOW]);
        }
        slots
    }
}

/// IPv4 addresses, then all others, each sorted and as differences, as far as these are short.
fn put_addresses(out: &mut Vec<u8>, addresses: &[[u8; 16]]) {
    let mut v4 = Vec::new();
    let mut others = Vec::new();
    for address in addresses {
        match Ipv6Addr::from(*address).to_ipv4_mapped() {
            Some(address) => v4.push(u64::from(u32::from(address))),
            None => others.push(u128::from_be_bytes(*address)),
        }
    }
    put_u32(out, v4.len() as u32);
    put_differences(out, v4.into_iter());
    put_differences(out, others.iter().map(|address| (address >> 64) as u64));
    let lower: Vec<u64> = others.iter().map(|address| *address as u64).collect();
    put_column(out, &lower);
}

/// A sorted column as differences.
fn put_differences(out: &mut Vec<u8>, sorted: impl Iterator<Item = u64>) {
    let mut before = 0;
    let differences: Vec<u64> = sorted
        .map(|value| value - std::mem::replace(&mut before, value))
        .collect();
    put_column(out, &differences);
}

fn put_flows(out: &mut Vec<u8>, order: &[(u64, u64, u32)], flows: &[(Flow, u8)]) {
    let flow = |at: &u32| &flows[*at as usize];
    let bytes = |of: fn(&(Flow, u8)) -> u8| order.iter().map(|(.., at)| of(flow(at))).collect::<Vec<_>>();
    let ports = |end: usize| {
        order
            .iter()
            .map(|(.., at)| flow(at).0.ports[end])
            .collect::<Vec<_>>()
    };
    put_differences(out, order.iter().map(|(low, ..)| *low));
    let high: Vec<u64> = order.iter().map(|(_, high, _)| *high).collect();
    put_column(out, &high);
    put_column(out, &ports(0));
    put_column(out, &ports(1));
    put_column(out, &bytes(|(flow, _)| flow.protocol));
    put_column(out, &bytes(|(flow, _)| flow.class.0));
    put_column(out, &bytes(|(_, directions)| *directions));
}

/// For each flow how many blocks, then which.
fn put_postings(out: &mut Vec<u8>, order: &[(u64, u64, u32)], postings: &[(u32, u8)]) {
    let mut counts = vec![0u32; order.len()];
    postings.iter().for_each(|(flow, _)| counts[*flow as usize] += 1);
    let ordered: Vec<u32> = order.iter().map(|(.., at)| counts[*at as usize]).collect();
    put_column(out, &ordered);
    // Where each flow's blocks go: they come in order.
    let mut next = vec![0u32; order.len()];
    let mut total = 0;
    for (.., at) in order {
        next[*at as usize] = total;
        total += counts[*at as usize];
    }
    let mut blocks = vec![0u8; postings.len()];
    for (flow, block) in postings {
        let place = &mut next[*flow as usize];
        blocks[*place as usize] = *block;
        *place += 1;
    }
    out.extend_from_slice(&blocks);
}
