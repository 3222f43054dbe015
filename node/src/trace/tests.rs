//! The promises of the format: every packet back byte for byte, no bit flipped unseen, one bad block costs
//! one block, a torn tail costs the tail.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use como_anonymize::{LinkType, View, build};
use como_keys::keyring::Section;
use como_keys::sealing::Identity;
use como_policies::{AccessLevel, Window};
use proptest::prelude::*;

use super::sample::{Sample, batch_of, parts};
use super::*;

const ALWAYS: Window = Window {
    from_ns: 0,
    to_ns: u64::MAX,
};

fn views(reader: &SegmentReader, level: AccessLevel) -> (Vec<View>, usize) {
    let (mut views, mut damaged) = (Vec::new(), 0);
    for item in reader.window(ALWAYS, level, GroupSet::ALL) {
        match item {
            WindowItem::View(view) => views.push(*view),
            WindowItem::Damaged(_) => damaged += 1,
            WindowItem::Gap(_) => {}
        }
    }
    (views, damaged)
}

fn rows(view: &View) -> Vec<(como_anonymize::PacketRow, Vec<u8>)> {
    (0..view.len())
        .map(|row| {
            (
                view.columns.row(row).unwrap(),
                view.frames.get(row).unwrap_or_default().to_vec(),
            )
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// R and P give every packet back byte for byte; A and R give what a live view of the same packets is.
    #[test]
    fn every_level_comes_back_as_it_was_live(parts in prop::collection::vec(parts(), 1..4)) {
        let batches: Vec<PacketBatch> = parts.iter().map(batch_of).collect();
        let sample = Sample::new(Retain::Payload, &batches);
        let reader = sample.reader();
        for level in [AccessLevel::Anonymized, AccessLevel::Headers, AccessLevel::Payload] {
            let (views, damaged) = views(&reader, level);
            prop_assert_eq!((views.len(), damaged), (batches.len(), 0));
            for (view, batch) in views.iter().zip(&batches) {
                let live = build(level, LinkType(batch.link), batch.packets(), Some(&sample.epoch.anonymizer));
                prop_assert_eq!(rows(view), rows(&live), "level {}", level);
                if level == AccessLevel::Payload {
                    for row in 0..batch.len() {
                        prop_assert_eq!(view.frames.get(row).unwrap(), batch.data(row));
                        prop_assert_eq!(view.columns.ts_ns[row], batch.ts_ns[row]);
                        prop_assert_eq!(view.columns.wire_len[row], batch.wire_len[row]);
                    }
                }
            }
        }
    }
}

#[test]
fn a_flipped_bit_spoils_one_block_and_is_reported() {
    let sample = Sample::traffic(Retain::Payload, 4, 20);
    let good = sample.bytes.clone();
    let blocks: Vec<BlockRef> = sample.reader().blocks().map(Result::unwrap).collect();
    let second = &blocks[1];
    let total = second.header.total_bytes();
    // Every byte of the clear header, and a sample of the sections.
    for at in (0..BLOCK_HEADER_BYTES as u64).chain((BLOCK_HEADER_BYTES as u64..total).step_by(17)) {
        let mut bad = good.clone();
        bad[(second.position + at) as usize] ^= 1 << (at % 8);
        let sample = Sample {
            bytes: bad,
            ..sample.clone()
        };
        let reader = sample.reader();
        let (views, damaged) = views(&reader, AccessLevel::Payload);
        // Payload does not open the column groups besides time and size: the keyless check must find those.
        assert!(reader.verify_blocks().is_err(), "byte {at}");
        assert!(
            (views.len(), damaged) == (3, 1) || (views.len(), damaged) == (4, 0),
            "byte {at}"
        );
    }
    for slot in 0..SLOTS {
        let range = second.header.section_range(slot);
        let mut bad = good.clone();
        bad[(second.position + range.start) as usize] ^= 1;
        let reader = Sample {
            bytes: bad,
            ..sample.clone()
        }
        .reader();
        let spoiled = [AccessLevel::Anonymized, AccessLevel::Payload].map(|level| views(&reader, level).1);
        assert!(spoiled.contains(&1), "slot {slot}");
    }
}

#[test]
fn truncation_at_every_byte_of_the_last_block_keeps_the_prefix() {
    let sample = Sample::traffic(Retain::Headers, 3, 5);
    let blocks: Vec<BlockRef> = sample.reader().blocks().map(Result::unwrap).collect();
    let (start, length) = (blocks[2].position, blocks[2].header.total_bytes());
    for cut in 0..length {
        let file = sample.file_of(&sample.bytes[..(start + cut) as usize]);
        let report = scan(&file).unwrap();
        assert_eq!((report.blocks, report.end), (2, start), "cut {cut}");
        assert_eq!(
            matches!(report.tail, ScanEnd::Torn { bytes, .. } if bytes == cut),
            cut > 0,
            "cut {cut}"
        );
        let reader = SegmentReader::open(file)
            .unwrap()
            .with_keys(&sample.keys)
            .with_audience(Some(sample.epoch.anonymizer.clone()));
        assert!(reader.footer().is_none());
        assert_eq!(views(&reader, AccessLevel::Headers).0.len(), 2, "cut {cut}");
    }
}

#[test]
fn a_footer_torn_at_any_byte_leaves_an_unsealed_end() {
    let sample = Sample::traffic(Retain::Anonymized, 2, 3);
    let end = sample
        .reader()
        .blocks()
        .map(|block| block.unwrap())
        .map(|b| b.position + b.header.total_bytes())
        .max()
        .unwrap();
    for cut in end..sample.bytes.len() as u64 {
        let report = scan(&sample.file_of(&sample.bytes[..cut as usize])).unwrap();
        // Two of packets, one of the index.
        assert_eq!((report.blocks, report.end), (3, end));
        assert!(!matches!(report.tail, ScanEnd::Sealed(_)));
    }
    assert!(matches!(
        scan(&sample.file_of(&sample.bytes)).unwrap().tail,
        ScanEnd::Sealed(_)
    ));
}

#[test]
fn a_block_cannot_be_swapped_removed_or_moved_unseen() {
    let sample = Sample::traffic(Retain::Payload, 3, 10);
    let blocks: Vec<BlockRef> = sample.reader().blocks().map(Result::unwrap).collect();
    let range =
        |block: &BlockRef| block.position as usize..(block.position + block.header.total_bytes()) as usize;
    let mut removed = sample.bytes.clone();
    removed.drain(range(&blocks[1]));
    assert!(
        Sample {
            bytes: removed,
            ..sample.clone()
        }
        .reader()
        .verify_blocks()
        .is_err()
    );
    let mut twice = sample.bytes.clone();
    twice.splice(range(&blocks[1]), sample.bytes[range(&blocks[0])].to_vec());
    assert!(
        Sample {
            bytes: twice,
            ..sample.clone()
        }
        .reader()
        .verify_blocks()
        .is_err()
    );
    let other = Sample::traffic(Retain::Payload, 3, 10);
    let foreign: Vec<BlockRef> = other.reader().blocks().map(Result::unwrap).collect();
    let mut moved = sample.bytes.clone();
    moved.splice(range(&blocks[1]), other.bytes[range(&foreign[1])].to_vec());
    let reader = Sample {
        bytes: moved,
        ..sample.clone()
    }
    .reader();
    assert!(reader.verify_blocks().is_err());
    assert_eq!(views(&reader, AccessLevel::Payload).1, 1);
}

#[test]
fn a_level_opens_with_its_keys_and_no_others() {
    let sample = Sample::traffic(Retain::Payload, 1, 10);
    let block = sample.reader().blocks().next().unwrap().unwrap();
    let open = |keys: ReadKeys, level| {
        sample
            .reader()
            .with_keys(&keys)
            .view(&block, level, GroupSet::ALL)
            .is_ok()
    };
    let all = &sample.keys;
    let a = ReadKeys {
        a: all.a.clone(),
        ..ReadKeys::default()
    };
    let ar = ReadKeys {
        p: None,
        ..all.clone()
    };
    assert!(open(a.clone(), AccessLevel::Anonymized) && !open(a.clone(), AccessLevel::Headers));
    assert!(open(ar.clone(), AccessLevel::Headers) && !open(ar, AccessLevel::Payload));
    assert!(open(all.clone(), AccessLevel::Payload));
    assert!(!open(ReadKeys::default(), AccessLevel::Anonymized));
    let wrong = ReadKeys {
        a: all.p.clone(),
        r: all.a.clone(),
        p: all.r.clone(),
    };
    assert!(
        AccessLevel::ALL
            .into_iter()
            .all(|level| !open(wrong.clone(), level))
    );
}

#[test]
fn data_keys_open_with_the_identity_of_their_section_only() {
    let sample = Sample::traffic(Retain::Headers, 1, 2);
    let header = sample.reader().header().clone();
    assert!(header.unwrap_key(Section::A, &sample.identities[0]).is_ok());
    assert!(header.unwrap_key(Section::R, &sample.identities[0]).is_err());
    assert!(header.unwrap_key(Section::A, &Identity::generate()).is_err());
    assert!(matches!(
        header.unwrap_key(Section::P, &sample.identities[2]),
        Err(TraceError::NotRetained { .. })
    ));
}

#[test]
fn a_segment_of_another_node_does_not_verify() {
    let sample = Sample::traffic(Retain::Headers, 1, 2);
    sample.reader().verify(&sample.node.verifying_key()).unwrap();
    let stranger = como_keys::signing::SigningKey::generate();
    assert!(sample.reader().verify(&stranger.verifying_key()).is_err());
}

#[test]
fn column_groups_open_one_by_one() {
    let sample = Sample::traffic(Retain::Anonymized, 1, 30);
    let reader = sample.reader();
    let block = reader.blocks().next().unwrap().unwrap();
    let whole = reader
        .view(&block, AccessLevel::Anonymized, GroupSet::ALL)
        .unwrap();
    let part = reader
        .view(
            &block,
            AccessLevel::Anonymized,
            GroupSet::default().with(ColumnGroup::Address),
        )
        .unwrap();
    assert_eq!(part.columns.src, whole.columns.src);
    assert_eq!(part.len(), whole.len());
    assert!(part.columns.src_port.is_empty() && part.frames.bytes.is_empty());
}

#[test]
fn gaps_come_back_and_are_counted() {
    let gaps = [
        Gap {
            from_ns: 5,
            to_ns: 9,
            cause: GapCause::KernelDrop,
            packets: Some(7),
        },
        Gap {
            from_ns: 9,
            to_ns: 9,
            cause: GapCause::SourceTruncated,
            packets: None,
        },
    ];
    let sample = Sample::with_gaps(Retain::Headers, &gaps);
    let reader = sample.reader();
    let found: Vec<Gap> = reader
        .window(ALWAYS, AccessLevel::Anonymized, GroupSet::ALL)
        .filter_map(|item| match item {
            WindowItem::Gap(gap) => Some(gap),
            _ => None,
        })
        .collect();
    assert_eq!(found, gaps);
    let footer = reader.footer().unwrap();
    assert_eq!((footer.lost_packets, footer.unknown_losses), (7, 1));
    // All blocks but the one that the table is in.
    assert_eq!(
        reader.table().unwrap().unwrap().0.len(),
        footer.blocks as usize - 1
    );
}

#[test]
fn hostile_bytes_never_panic() {
    let mut file = tempfile::tempfile().unwrap();
    let sample = Sample::traffic(Retain::Payload, 2, 5);
    file.write_all(&sample.bytes).unwrap();
    for round in 0..400u64 {
        let noise: [u8; 8] = como_keys::random();
        let at = u64::from_le_bytes(noise) % (sample.bytes.len() as u64 - 8);
        file.write_all_at(&noise[..1 + (round % 8) as usize], at).unwrap();
        read_everything(file.try_clone().unwrap(), &sample.keys);
    }
}

fn read_everything(file: File, keys: &ReadKeys) {
    if let Ok(reader) = SegmentReader::open(file) {
        let reader = reader.with_keys(keys);
        for level in AccessLevel::ALL {
            let _ = views(&reader, level);
        }
        let _ = (
            reader.verify_blocks().is_ok(),
            reader.table().is_ok(),
            reader.info().is_ok(),
        );
    }
}
