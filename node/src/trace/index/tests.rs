//! The promises of the dictionary: bounded whatever the traffic, complete all the same, and no bytes make its reader panic.

use como_anonymize::bitmap::Bitmap;
use como_anonymize::filter::Filter;
use proptest::prelude::*;

use super::bloom::Bloom;
use super::dictionary::PartBuilder;
use super::flow::{BlockFlows, Class, Flow, UP};
use super::narrow::{candidates, decode_opaque, encode_opaque};
use super::*;
use crate::trace::TraceError;
use crate::trace::block::SLOTS;

type Slots = [Vec<u8>; SLOTS];

fn v4(address: u32) -> [u8; 16] {
    (u128::from(address) | 0xffff << 32).to_be_bytes()
}

/// A SYN from an address that nobody else has to one server.
fn syn(number: u32) -> Flow {
    Flow {
        ends: [v4(0x0a00_0000 + number), v4(0xc000_0201)],
        ports: [1024 + (number % 60_000) as u16, 80],
        protocol: 6,
        class: Class(4),
    }
}

fn block(numbers: std::ops::Range<u32>) -> BlockFlows {
    BlockFlows {
        flows: numbers.map(|number| (syn(number), UP)).collect(),
        ..BlockFlows::default()
    }
}

fn part(blocks: u32, flows_per_block: u32, segment: &mut Bloom) -> Slots {
    let mut part = PartBuilder::new(7);
    for number in 0..blocks {
        part.add(
            &block(number * flows_per_block..(number + 1) * flows_per_block),
            segment,
        );
    }
    part.encode()
}

fn find(slots: &Slots, filter: &str) -> Result<Bitmap, TraceError> {
    let filter = Filter::parse(filter).unwrap();
    candidates(|slot| Ok(slots[slot].clone()), &filter, false).map(|(_, found)| found)
}

fn host(number: u32) -> String {
    std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string()
}

#[test]
fn a_flood_of_flows_is_bounded_and_every_flow_is_found() {
    const FLOWS_PER_BLOCK: u32 = 2048; // Of 64 bytes: a full block.
    let blocks = PART_BLOCKS as u32;
    let mut segment = Bloom::of_segment([1; 16]);
    let slots = part(blocks, FLOWS_PER_BLOCK, &mut segment);
    let bytes: usize = slots.iter().map(Vec::len).sum();
    let captured = blocks as usize * FLOWS_PER_BLOCK as usize * 64;
    assert!(bytes * 25 < captured, "{bytes} of {captured} bytes");
    let flows = u32::from_le_bytes(*slots[SLOT_HEAD][12..].first_chunk().unwrap());
    assert_eq!(flows as usize, MAX_PART_FLOWS);
    let mut wrong = 0;
    for number in (0..blocks * FLOWS_PER_BLOCK).step_by(9973) {
        let found = find(&slots, &format!("host {}", host(number))).unwrap();
        assert!(found.get((number / FLOWS_PER_BLOCK) as usize), "{number}");
        wrong += found.count() - 1;
    }
    let asked = (blocks * FLOWS_PER_BLOCK).div_ceil(9973) as usize;
    assert!(
        wrong < asked * PART_BLOCKS / 4,
        "{wrong} of {asked} x {PART_BLOCKS} blocks in vain"
    );
    assert_eq!(
        find(&slots, "udp").unwrap().count(),
        PART_BLOCKS - MAX_PART_FLOWS / FLOWS_PER_BLOCK as usize
    );
    let mut filter = segment;
    filter.fold();
    assert!(filter.to_bytes().len() <= 256 << 10);
}

#[test]
fn the_dictionary_answers_for_each_flow_alone() {
    let slots = part(20, 10, &mut Bloom::of_segment([1; 16]));
    for (filter, expected) in [
        (format!("src host {}", host(55)), vec![5]),
        (format!("dst host {}", host(55)), vec![]),
        (format!("host {} or host {}", host(0), host(199)), vec![0, 19]),
        (format!("host {} and host {}", host(0), host(1)), vec![]),
        (
            format!("host {} and host 192.0.2.1 and port 80", host(73)),
            vec![7],
        ),
        (format!("host {} and udp", host(73)), vec![]),
        (format!("net {}/31", host(8)), vec![0]),
        ("port 1100".to_owned(), vec![7]),
        ("portrange 1100-1119".to_owned(), vec![7, 8, 9]),
        ("not tcp".to_owned(), vec![]),
        ("not dst host 192.0.2.1".to_owned(), vec![]),
    ] {
        let found: Vec<usize> = find(&slots, &filter).unwrap().ones().collect();
        assert_eq!(found, expected, "{filter}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn hostile_parts_never_panic(
        slot in 0..SLOT_TABLE, at in any::<prop::sample::Index>(), noise in prop::collection::vec(any::<u8>(), 1..12), cut in any::<prop::sample::Index>(),
        fresh in prop::collection::vec(any::<u8>(), 0..200), replace in 0u8..3,
    ) {
        // With filters of blocks too.
        let mut slots = part(3, 30_000, &mut Bloom::of_segment([1; 16]));
        let bytes = &mut slots[slot];
        match replace {
            0 => {
                let at = at.index(bytes.len());
                let end = bytes.len().min(at + noise.len());
                bytes[at..end].copy_from_slice(&noise[..end - at]);
            }
            1 => bytes.truncate(cut.index(bytes.len())),
            _ => *bytes = fresh.clone(),
        }
        for filter in ["host 10.0.0.1", "not port 80", "net 10.0.0.0/30 or vxlan", "len > 3 and vlan"] {
            let _ = find(&slots, filter);
        }
        let _ = decode_opaque(&fresh);
        let _ = BlockTable::decode(&fresh);
    }

    #[test]
    fn blocks_of_which_higher_levels_see_more_come_back(numbers in prop::collection::btree_set(any::<u32>(), 0..50)) {
        let numbers: Vec<u32> = numbers.into_iter().collect();
        prop_assert_eq!(decode_opaque(&encode_opaque(&numbers)).unwrap(), numbers);
    }
}
