//! The vectors of `tests/vectors`: each a few lines that say which file, what was done to it, what must come.
//!
//! A vector names a good file, edits, and an expectation per reader: see `tests/vectors/README.md`.

use std::{collections::BTreeMap, fs, io::Cursor, path::PathBuf};

use como_dataset::{DatasetError, DatasetReader, Head, verify};
use como_keys::{sealing::Identity, signing::VerifyingKey};

use crate::make;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn good_file(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Byte ranges of a good file by name, so that a vector says what it breaks.
fn regions(file: &[u8]) -> BTreeMap<String, std::ops::Range<usize>> {
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let (header, stanzas) = (number(8), number(12));
    let mut regions = BTreeMap::new();
    let mut at = 0;
    let mut region = |name: String, bytes: usize| {
        regions.insert(name, at..at + bytes);
        at += bytes;
        at
    };
    for (name, bytes) in [
        ("magic", 4),
        ("version", 2),
        ("suite", 2),
        ("header-length", 4),
        ("stanzas-length", 4),
    ] {
        region(name.into(), bytes);
    }
    region("header".into(), header);
    region("stanzas".into(), stanzas);
    region("commitment".into(), 32);
    let mut end = region("mac".into(), 32);
    let mut chunk = 0;
    while number(end) != 0 {
        let bytes = number(end);
        region(format!("length-{chunk}"), 4);
        end = region(format!("chunk-{chunk}"), bytes);
        chunk += 1;
    }
    for (name, bytes) in [
        ("marker", 4),
        ("index", 36 * chunk),
        ("count", 8),
        ("root", 32),
        ("signature", 64),
        ("end-magic", 8),
    ] {
        end = region(name.into(), bytes);
    }
    assert_eq!(end, file.len());
    regions
}

/// Applies one `do:` line.
fn edit(file: &mut Vec<u8>, line: &str) {
    let map = regions(file);
    let range = |name: &str| {
        map.get(name)
            .cloned()
            .unwrap_or_else(|| panic!("no region {name}"))
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["flip", name] => {
            let range = range(name);
            file[(range.start + range.end) / 2] ^= 1;
        }
        ["set", name, bytes] => {
            let bytes = hex::decode(bytes).unwrap();
            file[range(name)].copy_from_slice(&bytes);
        }
        ["cut", "before", name] => file.truncate(range(name).start),
        ["cut", "inside", name] => {
            let range = range(name);
            file.truncate((range.start + range.end) / 2);
        }
        ["swap", one, other] => {
            let (one, other) = (range(one), range(other));
            let (first, second) = (file[one.clone()].to_vec(), file[other.clone()].to_vec());
            assert_eq!(first.len(), second.len(), "regions to swap are of one size");
            file[one].copy_from_slice(&second);
            file[other].copy_from_slice(&first);
        }
        ["remove", name] => drop(file.drain(range(name))),
        ["take", name, "from", other] => {
            let other = good_file(other);
            let theirs = &other[regions(&other)[name].clone()];
            assert_eq!(theirs.len(), range(name).len(), "regions are of one size");
            file[range(name)].copy_from_slice(theirs);
        }
        ["append", bytes] => file.extend(hex::decode(bytes).unwrap()),
        // What somebody without the node's key can still make right: the index and the root.
        ["reindex"] => reindex(file),
        _ => panic!("unknown edit `{line}`"),
    }
}

fn reindex(file: &mut [u8]) {
    let map = regions(file);
    let index: Vec<u8> = (0..)
        .map_while(|n| map.get(&format!("chunk-{n}")))
        .flat_map(|range| {
            let hash = blake3_of(&file[range.clone()]);
            [&(range.len() as u32).to_le_bytes()[..], &hash].concat()
        })
        .collect();
    let root = root_of(&index);
    file[map["index"].clone()].copy_from_slice(&index);
    file[map["root"].clone()].copy_from_slice(&root);
}

fn blake3_of(bytes: &[u8]) -> [u8; 32] {
    como_keys::digest::blake3(bytes)
}

fn root_of(index: &[u8]) -> [u8; 32] {
    blake3::derive_key("como 2026 cds1 root over the chunk index", index)
}

/// The name that vectors use for an outcome.
fn name<T>(outcome: &Result<T, DatasetError>) -> String {
    match outcome {
        Ok(_) => "good".into(),
        Err(DatasetError::NotADataset) => "not-a-dataset".into(),
        Err(DatasetError::UnknownVersion { .. }) => "unknown-version".into(),
        Err(DatasetError::UnknownSuite { .. }) => "unknown-suite".into(),
        Err(DatasetError::HeaderTampered { .. }) => "header-tampered".into(),
        Err(DatasetError::NotARecipient { .. }) => "not-a-recipient".into(),
        Err(DatasetError::ChunkCorrupt { chunk, .. }) => format!("chunk-corrupt {chunk}"),
        Err(DatasetError::Reordered { chunk, belongs, .. }) => format!("reordered {chunk} {belongs}"),
        Err(DatasetError::Truncated { .. }) => "truncated".into(),
        Err(DatasetError::TrailerTampered { .. }) => "trailer-tampered".into(),
        Err(DatasetError::BadSignature) => "bad-signature".into(),
        Err(DatasetError::WrongSigner { .. }) => "wrong-signer".into(),
        Err(DatasetError::TooLarge { .. }) => "too-large".into(),
        Err(other) => panic!("not an outcome of reading: {other}"),
    }
}

struct Keys(BTreeMap<String, String>);

impl Keys {
    fn load() -> Self {
        let text = fs::read_to_string(folder().join("keys.txt")).unwrap();
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        Self(lines.map(|(name, value)| (name.into(), value.into())).collect())
    }

    fn identity(&self, name: &str) -> Identity {
        Identity::from_bytes(&hex::decode(&self.0[name]).unwrap().try_into().unwrap())
    }

    fn node(&self, name: &str) -> VerifyingKey {
        VerifyingKey::from_hex(&self.0[name]).unwrap()
    }
}

#[test]
fn every_vector_gives_what_it_expects() {
    let keys = Keys::load();
    let mut seen = 0;
    let mut paths: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    for path in paths
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "vector"))
    {
        run(path, &keys);
        seen += 1;
    }
    assert!(seen >= 40, "only {seen} vectors were found");
}

fn run(path: &std::path::Path, keys: &Keys) {
    let text = fs::read_to_string(path).unwrap();
    let (mut file, mut identity, mut node) = (None, "partner", "node");
    let mut expected = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (key, value) = line
            .split_once(": ")
            .unwrap_or_else(|| panic!("{}: `{line}`", path.display()));
        match key {
            "about" => {}
            "from" => file = Some(good_file(value)),
            "do" => edit(file.as_mut().expect("`from:` comes first"), value),
            "identity" => identity = value,
            "node" => node = value,
            "expect verify" | "expect open" | "expect open without node key" | "expect provisional" => {
                expected.push((key, value));
            }
            _ => panic!("{}: unknown key `{key}`", path.display()),
        }
    }
    let file = file.unwrap();
    let (identity, node) = (keys.identity(identity), keys.node(node));
    assert!(!expected.is_empty(), "{}: nothing expected", path.display());
    for (reader, expected) in expected {
        let outcome = match reader {
            "expect verify" => name(&verify(Cursor::new(&file), &node)),
            "expect open" => name(&make::read_all(&file, &identity, Some(&node))),
            "expect open without node key" => name(&make::read_all(&file, &identity, None)),
            _ => provisional(&file, &identity),
        };
        assert_eq!(outcome, expected, "{}: {reader}", path.display());
    }
}

/// Chunks that came out, and how it ended.
fn provisional(file: &[u8], identity: &Identity) -> String {
    let mut reader = match DatasetReader::open_provisional(Cursor::new(file), identity) {
        Ok(reader) => reader,
        Err(e) => return name::<()>(&Err(e)),
    };
    loop {
        match reader.next_chunk() {
            Ok(Some(_)) => {}
            other => return format!("{} chunks, {}", reader.position(), name(&other)),
        }
    }
}

#[test]
fn the_good_files_still_say_what_they_said() {
    let table = good_file("table.como");
    assert_eq!(
        Head::read(&mut table.as_slice()).unwrap().header,
        make::table_header()
    );
    let packets = good_file("packets.como");
    assert_eq!(
        Head::read(&mut packets.as_slice()).unwrap().header,
        make::packets_header()
    );
    let chunks = make::read_all(&packets, &make::partner(), None).unwrap();
    assert_eq!(chunks, vec![como_dataset::Chunk::Packets(make::packets(20)); 3]);
    let chunks = make::read_all(&table, &make::colleague(), None).unwrap();
    assert_eq!(
        chunks,
        (1..4)
            .map(|n| como_dataset::Chunk::Table(make::rows(n * 10)))
            .collect::<Vec<_>>()
    );
}
