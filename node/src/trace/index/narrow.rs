//! From a filter to the blocks that may hold what passes it. Must never leave out a block that does.

use std::cell::RefCell;

use como_anonymize::Columns;
use como_anonymize::bitmap::Bitmap;
use como_anonymize::filter::{Fact, Filter};

use super::bloom::{Bloom, Item};
use super::flow::{DOWN, ETHERTYPE_ARP, NOT_FIRST_FRAGMENT, UP};
use super::part::{DictionaryFlow, Head};
use super::table::MAX_TABLE_ENTRIES;
use super::{SLOT_ADDRESSES, SLOT_FLOWS, SLOT_HEAD, SLOT_OVERFLOW, SLOT_POSTINGS};
use crate::trace::TraceError;
use crate::trace::codec::{Reader, put_column, put_u32};

/// The numbers of a segment's blocks of which the levels above `anonymized` see more than the index does.
pub(in crate::trace) fn encode_opaque(opaque: &[u32]) -> Vec<u8> {
    let mut out = Vec::new();
    put_u32(&mut out, opaque.len() as u32);
    put_column(&mut out, opaque);
    out
}

/// Reads what [`encode_opaque`] wrote; the numbers come in order.
pub(in crate::trace) fn decode_opaque(plain: &[u8]) -> Result<Vec<u32>, TraceError> {
    let mut input = Reader(plain);
    let count = input.u32()? as usize;
    if count > MAX_TABLE_ENTRIES {
        return Err(TraceError::damaged(0, "more blocks than a segment may have"));
    }
    let mut opaque: Vec<u32> = input.column(count)?;
    input.end()?;
    opaque.sort_unstable();
    Ok(opaque)
}

/// Whether any flow may pass of which a filter has the ends, and no ports.
fn ends_may_pass(flows: &Bloom, filter: &Filter) -> bool {
    filter.may_pass(&|fact| match Item::of(fact) {
        Some(Item::PairPort(..)) | None => true,
        Some(item) => flows.may_have(item),
    })
}

/// The blocks of a part that may hold a packet which passes a filter on the node's pseudonyms, counted from the first
/// that it covers. `open` opens a slot; the later ones only if the earlier ones leave anything. `above`: the filter
/// will be evaluated at a level above `anonymized`, which sees more of some packets.
pub(in crate::trace) fn candidates(
    open: impl Fn(usize) -> Result<Vec<u8>, TraceError>,
    filter: &Filter,
    above: bool,
) -> Result<(Head, Bitmap), TraceError> {
    let head = Head::decode(&open(SLOT_HEAD)?)?;
    let zones = Bitmap::of(&head.zones, |zone| zone.may_pass(filter));
    if zones.count() == 0 {
        return Ok((head, zones));
    }
    let mut found = Bitmap::of(&head.zones, |zone| above && zone.is_opaque());
    if head.overflow > 0 {
        let filters = head.decode_overflow(&open(SLOT_OVERFLOW)?)?;
        let blocks = (0..head.zones.len()).filter(|block| head.zones[*block].has_overflow());
        blocks
            .zip(&filters)
            .filter(|(_, flows)| ends_may_pass(flows, filter))
            .for_each(|(block, _)| found.set(block));
    }
    let addresses = head.decode_addresses(&open(SLOT_ADDRESSES)?)?;
    if filter.may_pass(&|fact| addresses_may(&addresses, fact)) {
        let flows = head.decode_flows(&open(SLOT_FLOWS)?)?;
        let looked_at = flows_of_pairs(&flows, &addresses, filter);
        if !looked_at.is_empty() {
            let (starts, blocks) = head.decode_postings(&open(SLOT_POSTINGS)?)?;
            for flow in flows_that_may_pass(&flows, looked_at, &addresses, filter) {
                let held = starts[flow] as usize..starts[flow + 1] as usize;
                blocks[held]
                    .iter()
                    .for_each(|block| found.set(usize::from(*block)));
            }
        }
    }
    found.and(&zones);
    Ok((head, found))
}

/// `addresses` are sorted: those under a prefix stand together.
fn addresses_may(addresses: &[[u8; 16]], fact: Fact) -> bool {
    match fact {
        Fact::Address { prefix, bits } => {
            let rest = u128::MAX.checked_shr(bits.into()).unwrap_or(0);
            let first = addresses.partition_point(|address| u128::from_be_bytes(*address) < prefix);
            addresses
                .get(first)
                .is_some_and(|address| u128::from_be_bytes(*address) <= prefix | rest)
        }
        Fact::Pair(a, b) => [a, b].iter().all(|end| addresses.binary_search(end).is_ok()),
        _ => true,
    }
}

/// Numbers of flows that are worth a closer look: where the filter passes nothing but packets between two addresses,
/// those between them.
fn flows_of_pairs(flows: &[DictionaryFlow], addresses: &[[u8; 16]], filter: &Filter) -> Vec<usize> {
    let pairs = RefCell::new(Vec::new());
    let passes_others = filter.may_pass(&|fact| match fact {
        Fact::Pair(a, b) => {
            pairs.borrow_mut().push([a, b]);
            false
        }
        _ => true,
    });
    if passes_others {
        return (0..flows.len()).collect();
    }
    let number = |end: &[u8; 16]| addresses.binary_search(end).ok().map(|at| at as u32);
    let sorted = |[a, b]: [u32; 2]| [a.min(b), a.max(b)];
    let known: Vec<[u32; 2]> = pairs
        .into_inner()
        .iter()
        .filter_map(|[a, b]| Some(sorted([number(a)?, number(b)?])))
        .collect();
    let between = |flow: &usize| known.contains(&sorted(flows[*flow].ends));
    (0..flows.len()).filter(between).collect()
}

/// Numbers of flows, of those that are looked at; one may come twice.
fn flows_that_may_pass(
    flows: &[DictionaryFlow],
    looked_at: Vec<usize>,
    addresses: &[[u8; 16]],
    filter: &Filter,
) -> impl Iterator<Item = usize> {
    let mut columns = Columns::default();
    let mut of_row = Vec::with_capacity(looked_at.len());
    for number in looked_at {
        let flow = &flows[number];
        for (direction, from, to) in [(UP, 0, 1), (DOWN, 1, 0)] {
            if flow.directions & direction == 0 {
                continue;
            }
            of_row.push(number);
            columns.ip_version.push(flow.class.ip_version());
            columns
                .ethertype
                .push(if flow.class.is_arp() { ETHERTYPE_ARP } else { 0 });
            columns.fragment.push(if flow.class.is_later_fragment() {
                NOT_FIRST_FRAGMENT
            } else {
                0
            });
            columns.protocol.push(flow.protocol);
            columns.src.push(addresses[flow.ends[from] as usize]);
            columns.dst.push(addresses[flow.ends[to] as usize]);
            columns.src_port.push(flow.ports[from]);
            columns.dst_port.push(flow.ports[to]);
        }
    }
    columns.ts_ns = vec![0; of_row.len()];
    let rows: Vec<usize> = filter.flows_that_may_pass(&columns).ones().collect();
    rows.into_iter().map(move |row| of_row[row])
}
