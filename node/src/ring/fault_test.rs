//! Faults of the disk, of the clock and of people: each has a defined answer, told and contained.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::model_test::Model;
use super::*;
use crate::trace::sample::T0;
use crate::trace::{FORMAT_VERSION, TraceError};

const DAY: Duration = Duration::from_secs(86_400);

fn wall_ns() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64
}

/// A ring with so many sealed segments, not opened; begun at these times.
fn sealed(created_ns: &[u64]) -> Model {
    let mut model = Model::new();
    for at in created_ns {
        model.created_ns = *at;
        model.append(3);
        model.seal();
    }
    model.ring = None;
    model
}

fn files(dir: &Path) -> Vec<PathBuf> {
    segment_files(dir)
        .unwrap()
        .into_iter()
        .map(|file| file.path)
        .collect()
}

#[test]
fn segments_go_by_bytes_age_and_free_space_the_oldest_first() {
    let now = wall_ns();
    let old = now - 3 * DAY.as_nanos() as u64;
    let keep = |model: &Model, retention: Retention| {
        let (ring, _) = Ring::open(model.dir.path(), retention).unwrap();
        (
            ring.listing().len(),
            ring.expired().len(),
            files(model.dir.path()).len(),
        )
    };
    let all = Retention::from(u64::MAX);
    let model = sealed(&[old, old, now]);
    assert_eq!(keep(&model, all), (3, 0, 3));
    let aged = Retention {
        max_age: Some(DAY),
        ..all
    };
    assert_eq!(keep(&model, aged), (1, 2, 1), "by age");
    assert_eq!(keep(&model, aged), (1, 2, 1), "what is young stays");

    let model = sealed(&[now; 4]);
    let each = fs::metadata(&files(model.dir.path())[0]).unwrap().len();
    assert_eq!(
        keep(&model, Retention::from(2 * each + each / 2)).0,
        2,
        "by bytes"
    );
    // A disk that can never have that much free: everything that has ended goes, and no more.
    let free = Retention {
        keep_free_bytes: u64::MAX,
        ..all
    };
    assert_eq!(keep(&model, free), (0, 4, 0), "by free space");
    let plenty = Retention {
        keep_free_bytes: 1,
        ..all
    };
    let model = sealed(&[now; 2]);
    assert_eq!(keep(&model, plenty), (2, 0, 2), "there is room");
}

#[test]
fn an_open_segment_never_expires() {
    let mut model = Model::new();
    model.append(3);
    model.sync();
    let none = Retention {
        max_bytes: 0,
        max_age: Some(Duration::ZERO),
        keep_free_bytes: u64::MAX,
    };
    model.ring = None;
    let (mut ring, _) = Ring::open(model.dir.path(), none).unwrap();
    ring.expire().unwrap();
    assert_eq!((ring.listing().len(), ring.expired().len()), (1, 0));
}

#[test]
fn a_clock_that_jumps_back_deletes_nothing() {
    // Begun, as it seems now, a day in the future.
    let model = sealed(&[wall_ns() + DAY.as_nanos() as u64]);
    let strict = Retention {
        max_age: Some(Duration::from_secs(60)),
        ..Retention::from(u64::MAX)
    };
    let (ring, _) = Ring::open(model.dir.path(), strict).unwrap();
    assert_eq!(ring.listing().len(), 1);
}

#[test]
fn expiry_destroys_the_keys_before_the_file() {
    let model = sealed(&[T0]);
    let path = files(model.dir.path()).remove(0);
    let before = File::open(&path).unwrap();
    let (ring, _) = Ring::open(model.dir.path(), 0).unwrap();
    assert!(!path.exists() && ring.expired().len() == 1);
    // Whoever still holds the file finds no header, and with it no wrapped key.
    assert!(SegmentReader::open(before).is_err());
}

#[test]
fn a_footer_that_rots_costs_no_block() {
    let model = sealed(&[T0]);
    let path = files(model.dir.path()).remove(0);
    let length = fs::metadata(&path).unwrap().len();
    let good = fs::read(&path).unwrap();
    for at in (1..300).map(|back| length - back) {
        let mut bad = good.clone();
        bad[at as usize] ^= 0x40;
        fs::write(&path, &bad).unwrap();
        let (ring, recovered) = Ring::open(model.dir.path(), u64::MAX).unwrap();
        assert_eq!(recovered.unreadable, Vec::<PathBuf>::new(), "byte {at}");
        let info = &ring.catalog().unwrap()[0];
        assert_eq!(
            (info.packets, info.blocks, info.footer.is_none()),
            (3, 1, true),
            "byte {at}"
        );
    }
}

#[test]
fn a_segment_of_another_format_version_is_left_alone_until_it_expires() {
    let model = sealed(&[T0, T0]);
    let path = files(model.dir.path()).remove(0);
    crate::trace::sample::set_version(&path, FORMAT_VERSION + 1);
    let bytes = fs::read(&path).unwrap();
    let (mut ring, recovered) = Ring::open(model.dir.path(), u64::MAX).unwrap();
    assert_eq!(
        (recovered.foreign, recovered.unreadable),
        (vec![path.clone()], Vec::new())
    );
    assert_eq!(ring.listing().len(), 1, "nothing of it is shown");
    assert!(fs::read(&path).unwrap() == bytes, "nothing of it is touched");
    let error = SegmentReader::open(File::open(&path).unwrap()).err().unwrap();
    assert!(matches!(error, TraceError::Version { found, known } if found == known + 1));
    assert!(
        error
            .to_string()
            .contains("read it with the release that wrote it")
    );
    assert_eq!(repair::plan(model.dir.path()).unwrap(), repair::Plan::default());
    // It takes room, and goes as the oldest.
    ring.retention.max_bytes = ring.bytes() - 1;
    ring.expire().unwrap();
    assert!(!path.exists() && ring.listing().len() == 1 && ring.expired().len() == 1);
}

#[test]
fn a_torn_write_at_every_byte_of_a_block_and_of_the_footer_keeps_what_was_whole() {
    let mut model = Model::new();
    model.append(4);
    model.sync();
    let path = files(model.dir.path()).remove(0);
    let whole = fs::metadata(&path).unwrap().len();
    model.append(4);
    let with_block = fs::metadata(&path).unwrap().len();
    model.seal();
    model.ring = None;
    let sealed = files(model.dir.path()).remove(0);
    let bytes = fs::read(&sealed).unwrap();
    fs::remove_file(&sealed).unwrap();
    fs::remove_file(model.dir.path().join("manifest.json")).unwrap();
    for cut in whole..bytes.len() as u64 {
        fs::write(&path, &bytes[..cut as usize]).unwrap();
        let (ring, recovered) = Ring::open(model.dir.path(), u64::MAX).unwrap();
        let info = ring.catalog().unwrap().remove(0);
        let (blocks, packets, end) = match cut < with_block {
            true => (1, 4, whole),
            false => (2, 8, with_block),
        };
        assert_eq!(
            (info.blocks, info.packets, info.file_bytes),
            (blocks, packets, end),
            "cut {cut}"
        );
        assert_eq!(
            (recovered.torn_bytes, recovered.damaged_segments),
            (cut - end, 0),
            "cut {cut}"
        );
        drop(ring);
        files(model.dir.path())
            .into_iter()
            .for_each(|file| fs::remove_file(file).unwrap());
        let _ = fs::remove_file(model.dir.path().join("manifest.json"));
    }
}

#[test]
fn any_byte_that_flips_in_a_sealed_segment_costs_at_most_one_block_or_the_header() {
    let mut model = Model::new();
    (0..3).for_each(|_| model.append(4));
    model.seal();
    model.ring = None;
    let path = files(model.dir.path()).remove(0);
    let good = fs::read(&path).unwrap();
    let reader = SegmentReader::open(File::open(&path).unwrap()).unwrap();
    let blocks: Vec<_> = reader.blocks().map(Result::unwrap).collect();
    let header_bytes = blocks[0].position;
    let file = File::options().write(true).open(&path).unwrap();
    for at in 0..good.len() as u64 {
        file.write_all_at(&[good[at as usize] ^ (1 << (at % 8))], at)
            .unwrap();
        let found = SegmentReader::open(File::open(&path).unwrap());
        match found {
            // The keys are in the header: nothing opens without it.
            Err(_) => assert!(at < header_bytes, "byte {at}"),
            Ok(reader) => {
                assert!(at >= header_bytes, "byte {at}: a changed header is not taken");
                let whole = reader
                    .blocks()
                    .flatten()
                    .filter(|block| reader.is_whole(block))
                    .count();
                let in_block = at < blocks[2].position + blocks[2].header.total_bytes();
                assert_eq!(whole, blocks.len() - usize::from(in_block), "byte {at}");
                assert!(
                    reader.verify_blocks().is_err() || reader.footer_damage().is_some(),
                    "byte {at}"
                );
            }
        }
        file.write_all_at(&good[at as usize..=at as usize], at).unwrap();
    }
}
