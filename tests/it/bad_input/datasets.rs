//! Datasets that were changed between the node and their owner: `como dataset open` finds it.

use std::fs;
use std::ops::Range;

use crate::harness::{Deployment, Person};

/// Bytes of the chunks of a dataset (`dataset/src/format.rs`): each with its length before it, a length of 0 after the
/// last.
fn chunks(file: &[u8]) -> Vec<Range<usize>> {
    const LENGTHS_AT: usize = 8;
    const BEFORE_HEADER: usize = 16;
    const COMMITMENT_AND_MAC: usize = 64;
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes")) as usize;
    let mut at = BEFORE_HEADER + number(LENGTHS_AT) + number(LENGTHS_AT + 4) + COMMITMENT_AND_MAC;
    let mut found = Vec::new();
    while number(at) != 0 {
        found.push(at..at + 4 + number(at));
        at = found[found.len() - 1].end;
    }
    found
}

#[test]
fn a_dataset_that_was_changed_does_not_open() {
    let mut site = Deployment::new().capture(12_000, 66).retain("payload");
    let ann = site.partner("ann", "payload", false);
    let bob = site.partner("bob", "payload", false);
    let node = site.start();
    node.ingested();
    ann.trace(&["--all", "--level", "payload"], "good.como").ok();
    node.stop();

    let good = fs::read(ann.path("good.como")).expect("a dataset");
    let parts = chunks(&good);
    assert!(parts.len() >= 3, "{} chunks", parts.len());
    let opens = |person: &Person, bytes: &[u8]| {
        let (file, out) = (person.path("changed.como"), person.path("changed.pcapng"));
        fs::write(&file, bytes).expect("written");
        let _ = fs::remove_file(&out);
        let (file, out) = (file.display().to_string(), out.display().to_string());
        person.como(&["--json", "dataset", "open", &file, "--to", "pcapng", "-o", &out])
    };
    opens(&ann, &good).ok();

    let mut flipped = good.clone();
    flipped[parts[1].start + 100] ^= 1;
    let (first, second) = (&good[parts[0].clone()], &good[parts[1].clone()]);
    let reordered = [&good[..parts[0].start], second, first, &good[parts[1].end..]].concat();
    let removed = [&good[..parts[1].start], &good[parts[1].end..]].concat();
    let cases = [
        ("a flipped bit", flipped, "chunk 1"),
        ("a cut end", good[..good.len() - 1].to_vec(), ""),
        (
            "a cut chunk",
            good[..parts[2].start + 10].to_vec(),
            "not complete",
        ),
        ("reordered chunks", reordered, "chunk 0"),
        ("a missing chunk", removed, ""),
    ];
    for (what, bytes, words) in cases {
        let refused = opens(&ann, &bytes).refused(6, words);
        assert!(
            !ann.path("changed.pcapng").exists(),
            "{what} left a file: {}",
            refused.stderr
        );
    }
    // Sealed to one identity, it opens for no other, whoever was granted the same.
    opens(&bob, &good).refused(9, "not among the dataset");
}
