//! Every parser of the segment format on bytes that no checksum, signature or seal vouches for: what the fuzz
//! target (`node/fuzz`) and the tests drive. Must never be reached by the segments of a node.

use std::fs::File;
use std::io::Write;

use como_anonymize::{LinkType, View};
use como_policies::{AccessLevel, Window};

use super::block::BlockHeader;
use super::codec::Reader;
use super::footer::SegmentFooter;
use super::gap::Gap;
use super::groups::{self, ColumnGroup};
use super::header::SegmentHeader;
use super::index::BlockTable;
use super::layers::Layer;
use super::sealer::Entry;
use super::{BLOCK_HEADER_BYTES, GroupSet, SegmentReader};

/// Rows that a section is read for, at most: as many as a block of a node has.
const MAX_ROWS: usize = 4096;

/// Parses bytes as whatever their first one says: a whole segment, or one of its parts. No bytes may make it
/// panic, or come back as something else than they were.
///
/// ```text
/// byte 0: which part; bytes 1 and 2: rows, little endian; the rest: the part
/// ```
pub fn parse(input: &[u8]) {
    let Some((&[part, low, high], bytes)) = input.split_first_chunk() else {
        return;
    };
    let rows = usize::from(u16::from_le_bytes([low, high])) % (MAX_ROWS + 1);
    match part % PARTS {
        0 => segment(bytes),
        1 => drop((SegmentHeader::decode(bytes), SegmentHeader::from_message(bytes))),
        2 => drop(SegmentFooter::from_message(bytes, 0)),
        3 => block_header(bytes),
        4 => drop(Entry::decode(bytes)),
        5 => column_groups(bytes, rows),
        6 => drop(Layer::decode(bytes, rows)),
        7 => drop(BlockTable::decode(bytes)),
        _ => gaps(bytes, rows),
    }
}

/// How many parts there are.
const PARTS: u8 = 9;

fn segment(bytes: &[u8]) {
    let Ok(memory) = rustix::fs::memfd_create("segment", rustix::fs::MemfdFlags::CLOEXEC) else {
        return;
    };
    let mut file = File::from(memory);
    if file.write_all(bytes).is_err() {
        return;
    }
    let always = Window {
        from_ns: 0,
        to_ns: u64::MAX,
    };
    if let Ok(reader) = SegmentReader::open(file) {
        let _ = reader.verify_blocks().is_ok();
        let _ = (reader.info().is_ok(), reader.footer_hash().is_ok());
        let blocks = reader.blocks().flatten();
        for block in blocks {
            let _ = (reader.is_whole(&block), reader.open_sections(&block).is_ok());
        }
        let items = reader.window(always, AccessLevel::Anonymized, GroupSet::ALL);
        assert!(items.count() <= bytes.len(), "more comes out than went in");
    }
}

/// As it stands, and as if its checksum held: nothing behind the checksum may trust it.
fn block_header(bytes: &[u8]) {
    let _ = BlockHeader::decode(bytes, 0).is_ok();
    let Some(mut bytes) = bytes.first_chunk::<BLOCK_HEADER_BYTES>().copied() else {
        return;
    };
    let covered = BLOCK_HEADER_BYTES - 8;
    let digest = como_keys::digest::blake3(&bytes[..covered]);
    bytes[covered..].copy_from_slice(&digest[..8]);
    if let Ok(header) = BlockHeader::decode(&bytes, 0) {
        // The one byte without meaning is not kept.
        bytes[7] = 0;
        assert_eq!(header.encode()[..covered], bytes[..covered]);
    }
}

/// All column groups of one block, each the same bytes from another place on.
fn column_groups(bytes: &[u8], rows: usize) {
    let mut view = View::new(AccessLevel::Anonymized, LinkType(1));
    let mut templates = None;
    for (at, group) in ColumnGroup::ALL.into_iter().enumerate() {
        let part = bytes
            .get(at * bytes.len() / ColumnGroup::COUNT..)
            .unwrap_or_default();
        if let Ok(Some(found)) = groups::decode(part, rows, &mut view) {
            templates = Some((group, found));
        }
    }
    groups::fill_blank(&mut view.columns, rows, GroupSet::ALL);
    if let Some((_, templates)) = templates {
        let _ = templates.restore(&view, 0..rows).is_ok();
    }
}

fn gaps(bytes: &[u8], count: usize) {
    let mut input = Reader(bytes);
    for _ in 0..count {
        let before = input.0;
        let Ok(gap) = Gap::decode(&mut input) else {
            return;
        };
        let mut again = Vec::new();
        gap.encode(&mut again);
        let read = before.len() - input.0.len();
        assert_eq!(again.len(), read, "a gap has one length");
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::Retain;
    use super::super::sample::Sample;
    use super::super::sealer::{SLOT_ENTRY, SLOT_GROUPS, SLOT_P, SLOT_R};
    use super::*;

    /// Changed inputs of one run.
    const CASES: usize = 6_000;

    /// Parts as they are written, with the byte and the rows that name them.
    fn parts() -> Vec<Vec<u8>> {
        let sample = Sample::traffic(Retain::Payload, 2, 6);
        let reader = sample.reader();
        let block = reader.blocks().next().unwrap().unwrap();
        let header = &sample.bytes[..block.position as usize];
        let footer = &sample.bytes[sample.bytes.len() - 400..];
        let named = |part: u8, bytes: &[u8]| [&[part, 6, 0], bytes].concat();
        let plain = |slot| reader.plain_section(&block, slot).unwrap().unwrap();
        let mut parts = vec![
            named(0, &sample.bytes),
            named(1, header),
            named(1, &header[12..header.len() - 84]),
            named(2, footer),
            named(3, &block.header.encode()),
            named(4, &plain(SLOT_ENTRY)),
            named(6, &plain(SLOT_R)),
            named(6, &plain(SLOT_P)),
            named(7, &reader.table().unwrap().unwrap().encode()),
            named(8, &[[5; 17], [1; 17]].concat()),
        ];
        parts.extend(ColumnGroup::ALL.map(|group| named(5, &plain(SLOT_GROUPS + group as usize))));
        parts
    }

    #[test]
    fn no_part_of_a_segment_makes_its_parser_panic() {
        let parts = parts();
        parts.iter().for_each(|part| parse(part));
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for case in 0..CASES {
            let mut bytes = parts[case % parts.len()].clone();
            for _ in 0..random.random_range(1..6) {
                let at = random.random_range(1..bytes.len());
                match random.random_range(0..4) {
                    0 => bytes[at] ^= 1 << random.random_range(0..8),
                    1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)],
                    2 => bytes.truncate(at.max(4)),
                    _ => {
                        let end = (at + 8).min(bytes.len());
                        random.fill_bytes(&mut bytes[at..end]);
                    }
                }
            }
            parse(&bytes);
        }
    }

    #[test]
    fn noise_and_nothing_are_parsed_too() {
        let mut random = ChaCha8Rng::seed_from_u64(2);
        for length in 0..200 {
            let mut bytes = vec![0; length];
            random.fill_bytes(&mut bytes);
            for part in 0..PARTS {
                if let Some(first) = bytes.first_mut() {
                    *first = part;
                }
                parse(&bytes);
            }
        }
    }
}
