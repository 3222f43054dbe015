//! The promises of planning: what a filter asks for is found as a scan finds it, and little else is read; damage to the
//! index costs time and no packet.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use como_anonymize::filter::Names;
use como_anonymize::{Anonymizer, PacketRow, View, rekey};
use como_keys::mapping::MappingKey;
use como_policies::AccessLevel;
use proptest::prelude::*;

use super::*;
use crate::retrieval::candidates;
use crate::trace::sample::{Parts, Sample, T0, batch, batch_of, parts, udp};
use crate::trace::{Gap, GapCause, GroupSet, PacketBatch, Retain, Sections, Wanted};

const ALWAYS: Window = Window {
    from_ns: 0,
    to_ns: u64::MAX,
};

/// Whose names a filter uses, and at which level it is evaluated.
#[derive(Clone, Copy, Debug)]
enum Asker {
    Node,
    Audience,
    Headers,
    Payload,
}

impl Asker {
    const ALL: [Self; 4] = [Self::Node, Self::Audience, Self::Headers, Self::Payload];

    fn level(self) -> AccessLevel {
        match self {
            Self::Node | Self::Audience => AccessLevel::Anonymized,
            Self::Headers => AccessLevel::Headers,
            Self::Payload => AccessLevel::Payload,
        }
    }

    fn translated(self, filter: &Filter, node: &Anonymizer, audience: &Anonymizer) -> Option<Filter> {
        match self {
            Self::Node => Some(filter.clone()),
            Self::Audience => filter.under_node(Names::Audience(audience)),
            Self::Headers | Self::Payload => filter.under_node(Names::Real(node)),
        }
    }

    fn view(
        self,
        reader: &SegmentReader,
        block: &BlockRef,
        audience: &Anonymizer,
        rows: Option<&Bitmap>,
    ) -> View {
        let wanted = Wanted {
            rows,
            ..Wanted::all(self.level(), GroupSet::ALL)
        };
        let view = reader.view_in(&mut Sections::default(), block, &wanted).unwrap();
        match self {
            Self::Audience => rekey(&view, audience),
            _ => view,
        }
    }
}

/// A filter that names what rows show.
fn filter_text(words: &[(u8, usize, u8)], rows: &[PacketRow]) -> String {
    let mut text = String::new();
    for (at, (word, row, bits)) in words.iter().enumerate() {
        if at > 0 {
            text += if bits & 1 == 0 { " and " } else { " or " };
        }
        if bits & 2 != 0 {
            text += "not ";
        }
        let row = &rows[row % rows.len()];
        let host = |address: [u8; 16]| match Ipv6Addr::from(address).to_ipv4_mapped() {
            Some(v4) => v4.to_string(),
            None => Ipv6Addr::from(address).to_string(),
        };
        text += &match word % 9 {
            0 => format!("host {}", host(row.src)),
            1 => format!("dst host {}", host(row.dst)),
            2 => match Ipv6Addr::from(row.src).to_ipv4_mapped() {
                Some(v4) => format!(
                    "net {}/24",
                    v4.to_string().rsplit_once('.').unwrap().0.to_owned() + ".0"
                ),
                None => "net ::/0".to_owned(),
            },
            3 => format!("port {}", row.src_port),
            4 => "udp".to_owned(),
            5 => format!("len > {}", row.wire_len),
            6 => "vxlan".to_owned(),
            7 => format!("(host {} and host {})", host(row.src), host(row.dst)),
            _ => "ip6 or arp".to_owned(),
        };
    }
    text
}

/// Every packet that passes, by time and frame, of the blocks that are read; and how many blocks were.
fn read(
    steps: &[Step],
    reader: &SegmentReader,
    pass: impl Fn(&BlockRef) -> Vec<(PacketRow, Vec<u8>)>,
) -> (Vec<(PacketRow, Vec<u8>)>, usize) {
    let mut found = Vec::new();
    let mut blocks = 0;
    for step in steps {
        let Step::Read(planned) = step else {
            panic!("nothing is damaged")
        };
        if planned.packets.is_some() {
            found.extend(pass(&reader.block_at(planned.position).unwrap()));
            blocks += 1;
        }
    }
    (found, blocks)
}

fn check(
    sample: &Sample,
    reader: &SegmentReader,
    words: &[(u8, usize, u8)],
    window: Window,
) -> Result<(), TestCaseError> {
    let audience = Anonymizer::new(&MappingKey::from_bytes(&[9; 32]));
    for asker in Asker::ALL {
        let all: Vec<PacketRow> = reader
            .blocks()
            .map(Result::unwrap)
            .filter(|block| block.header.kind == BlockKind::Packets)
            .flat_map(|block| {
                let view = asker.view(reader, &block, &audience, None);
                (0..view.len())
                    .map(|at| view.columns.row(at).unwrap())
                    .collect::<Vec<_>>()
            })
            .collect();
        if all.is_empty() {
            continue;
        }
        let filter = Filter::parse(&filter_text(words, &all)).unwrap();
        let Some(translated) = asker.translated(&filter, &sample.epoch.anonymizer, &audience) else {
            continue;
        };
        let search = Search {
            filter: &translated,
            above: asker.level() > AccessLevel::Anonymized,
            passes: false,
        };
        let pass = |block: &BlockRef, rows: Option<Bitmap>| {
            let view = asker.view(reader, block, &audience, rows.as_ref());
            let keep = filter.eval(&view.columns);
            keep.ones()
                .map(|at| {
                    (
                        view.columns.row(at).unwrap(),
                        view.frames.get(at).unwrap_or_default().to_vec(),
                    )
                })
                .filter(|(row, _)| window.contains(row.ts_ns))
                .collect()
        };
        let (scanned, blocks) = read(&plan(window, None, reader), reader, |block| pass(block, None));
        let chosen = |block: &BlockRef| {
            let rows = candidates(reader, &mut Sections::default(), block, &search).unwrap();
            pass(block, Some(rows))
        };
        let (found, fewer) = read(&plan(window, Some(search), reader), reader, chosen);
        prop_assert_eq!(found, scanned, "{:?}: {}", asker, filter.canonical());
        prop_assert!(fewer <= blocks);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever the traffic, the filter and the window; sealed, and cut by a crash before its last part.
    #[test]
    fn the_index_finds_what_a_scan_finds(
        parts in prop::collection::vec(parts(), 1..8),
        words in prop::collection::vec((any::<u8>(), any::<usize>(), any::<u8>()), 1..4),
        part_blocks in 1u32..4,
        span in (0u64..86_000, 0u64..86_000),
    ) {
        let batches: Vec<PacketBatch> = parts.iter().map(|parts: &Parts| batch_of(parts)).collect();
        let sample = Sample::indexed(Retain::Payload, &batches, part_blocks);
        let window = Window::new(T0 + span.0 * 1_000_000_000, T0 + (span.0 + span.1 + 1) * 1_000_000_000).unwrap();
        for window in [ALWAYS, window] {
            check(&sample, &sample.reader(), &words, window)?;
        }
        let last = sample.reader().footer().unwrap().index.position;
        let cut = Sample { bytes: sample.bytes[..last as usize].to_vec(), ..sample.clone() };
        check(&cut, &cut.reader(), &words, ALWAYS)?;
    }
}

/// Blocks of 10 packets, each from hosts that no other block has.
fn distinct(blocks: u8) -> Vec<PacketBatch> {
    let block = |number: u8| {
        let mut batch = PacketBatch::new(1, u64::from(number) * 10, 1024);
        for packet in 0..10u8 {
            let mut data = udp(u64::from(packet));
            data[28] = number;
            let at = u64::from(number) * 10 + u64::from(packet);
            batch.push(T0 + at * 1_000_000, data.len() as u32, &data);
        }
        batch
    };
    (0..blocks).map(block).collect()
}

fn needle(reader: &SegmentReader, filter: &str, sample: &Sample) -> Vec<u64> {
    let filter = Filter::parse(filter).unwrap();
    let translated = filter.under_node(Names::Real(&sample.epoch.anonymizer)).unwrap();
    let search = Search {
        filter: &translated,
        above: true,
        passes: false,
    };
    let steps = plan(ALWAYS, Some(search), reader);
    steps
        .iter()
        .filter_map(|step| match step {
            Step::Read(planned) => Some(planned.position),
            Step::Passed(_) | Step::Damaged(_) => None,
        })
        .collect()
}

#[test]
fn a_needle_reads_its_own_block_and_no_other() {
    let sample = Sample::indexed(Retain::Payload, &distinct(40), 8);
    let read_bytes = Arc::new(AtomicU64::new(0));
    let reader = sample.reader().counting(read_bytes.clone());
    let positions: Vec<u64> = reader
        .blocks()
        .map(Result::unwrap)
        .filter(|block| block.header.kind == BlockKind::Packets)
        .map(|block| block.position)
        .collect();
    for host in [0usize, 7, 8, 23, 39] {
        assert_eq!(
            needle(&reader, &format!("host 10.0.{host}.3"), &sample),
            [positions[host]]
        );
        assert_eq!(
            needle(&reader, &format!("net 10.0.{host}.0/24 and udp"), &sample),
            [positions[host]]
        );
    }
    read_bytes.store(0, Ordering::Relaxed);
    assert_eq!(needle(&reader, "host 10.0.40.3", &sample), [0u64; 0]);
    assert_eq!(
        needle(&reader, "host 10.0.3.1 and host 10.0.4.1", &sample),
        [0u64; 0]
    );
    let read = read_bytes.load(Ordering::Relaxed);
    assert!(read < 10 << 10, "{read} bytes to see that no block has a host");
}

#[test]
fn a_part_of_the_index_that_is_damaged_costs_a_scan_of_its_blocks_and_no_packet() {
    let sample = Sample::indexed(Retain::Payload, &distinct(20), 8);
    let reader = sample.reader();
    let parts: Vec<BlockRef> = reader
        .blocks()
        .map(Result::unwrap)
        .filter(|block| block.header.kind == BlockKind::Index)
        .collect();
    assert_eq!(parts.len(), 3);
    let whole = needle(&reader, "host 10.0.3.3", &sample);
    for (part, at_least) in [(0, 8), (1, 1), (2, 1)] {
        for slot in 0..8 {
            let range = parts[part].header.section_range(slot);
            if range.is_empty() {
                continue;
            }
            let mut bad = sample.clone();
            bad.bytes[(parts[part].position + range.start) as usize] ^= 1;
            let found = needle(&bad.reader(), "host 10.0.3.3", &bad);
            assert!(found.contains(&whole[0]), "part {part}, slot {slot}");
            assert!(
                found.len() >= at_least,
                "part {part}, slot {slot}: {} blocks",
                found.len()
            );
            assert!(bad.reader().verify_blocks().is_err());
        }
        // Another block in its place, as somebody with the disk could put it there.
        let mut bad = sample.clone();
        let other = &parts[(part + 1) % 3];
        let bytes = sample.bytes[other.position as usize..(other.position + 168) as usize].to_vec();
        bad.bytes[parts[part].position as usize..parts[part].position as usize + 168].copy_from_slice(&bytes);
        assert!(
            needle(&bad.reader(), "host 10.0.3.3", &bad).contains(&whole[0]),
            "part {part}"
        );
    }
}

#[test]
fn gaps_are_read_whatever_the_filter() {
    let gap = Gap {
        from_ns: T0,
        to_ns: T0 + 1,
        cause: GapCause::KernelDrop,
        packets: Some(3),
    };
    let sample = Sample::with_gaps(Retain::Payload, &[gap]);
    let reader = sample.reader();
    let found = needle(&reader, "host 203.0.113.1", &sample);
    let block = reader.block_at(found[0]).unwrap();
    assert_eq!((found.len(), block.header.kind), (1, BlockKind::Gaps));
}

#[test]
fn a_window_reads_its_own_blocks_and_no_other() {
    let sample = Sample::new(Retain::Payload, &[batch(0, 10), batch(10, 10), batch(20, 10)]);
    let reader = sample.reader();
    let window = Window::new(T0 + 13 * 1_234_567, T0 + 14 * 1_234_567).unwrap();
    assert_eq!(plan(window, None, &reader).len(), 1);
    assert_eq!(plan(ALWAYS, None, &reader).len(), 3);
}
