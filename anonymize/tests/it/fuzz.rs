//! The fuzz target's check in every test run: on the kept corpus, on the golden frames, and on changes of both. The
//! target itself (`anonymize/fuzz`) runs the same check for as long as one lets it, from the frames that
//! `como-regenerate seeds` writes.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use crate::golden::golden;
use crate::oracle::{check, check_input};

/// The golden set is part of the corpus without being stored twice; what else is kept is one input for each other
/// stack of headers that changes of it reached.
const MIN_CORPUS: usize = 24;

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/view");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| fs::read(file).expect("an input"))
        .collect()
}

#[test]
fn the_corpus_and_the_golden_frames_hold() {
    let corpus = corpus();
    assert!(corpus.len() >= MIN_CORPUS, "{} inputs", corpus.len());
    corpus.iter().for_each(|input| check_input(input));
    golden()
        .iter()
        .for_each(|golden| check(golden.link, &golden.frame));
}

#[test]
fn every_golden_frame_cut_anywhere_holds() {
    for golden in golden() {
        for end in 0..golden.frame.len() {
            check(golden.link, &golden.frame[..end]);
        }
    }
}

/// What a fuzzer does to an input.
#[derive(Clone, Debug)]
enum Change {
    Set(u16, u8),
    Insert(u16, Vec<u8>),
    Remove(u16, u8),
    /// Bytes of one place, over those of another.
    Copy(u16, u16, u8),
    Cut(u16),
}

fn change() -> impl Strategy<Value = Change> {
    let bytes = prop::collection::vec(any::<u8>(), 1..24);
    prop_oneof![
        6 => (any::<u16>(), any::<u8>()).prop_map(|(at, value)| Change::Set(at, value)),
        1 => (any::<u16>(), bytes).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (any::<u16>(), 1u8..24).prop_map(|(at, len)| Change::Remove(at, len)),
        1 => (any::<u16>(), any::<u16>(), 1u8..24).prop_map(|(from, to, len)| Change::Copy(from, to, len)),
        1 => any::<u16>().prop_map(Change::Cut),
    ]
}

fn apply(change: &Change, data: &mut Vec<u8>) {
    let place = |at: u16, len: usize| usize::from(at) % (len + 1);
    match change {
        Change::Set(at, value) => {
            let at = place(*at, data.len());
            if let Some(byte) = data.get_mut(at) {
                *byte = *value;
            }
        }
        Change::Insert(at, bytes) => {
            let at = place(*at, data.len());
            data.splice(at..at, bytes.iter().copied());
        }
        Change::Remove(at, len) => {
            let at = place(*at, data.len());
            data.drain(at..data.len().min(at + usize::from(*len)));
        }
        Change::Copy(from, to, len) => {
            let from = place(*from, data.len());
            let bytes = data[from..data.len().min(from + usize::from(*len))].to_vec();
            let to = place(*to, data.len());
            let end = data.len().min(to + bytes.len());
            data.splice(to..end, bytes);
        }
        Change::Cut(at) => data.truncate(place(*at, data.len())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn changed_frames_hold(index in any::<prop::sample::Index>(), changes in prop::collection::vec(change(), 1..10)) {
        let frames = golden();
        let golden = index.get(&frames);
        let mut data = golden.frame.clone();
        changes.iter().for_each(|change| apply(change, &mut data));
        check(golden.link, &data);
    }

    #[test]
    fn any_bytes_hold(input in prop::collection::vec(any::<u8>(), 0..200)) {
        check_input(&input);
    }
}
