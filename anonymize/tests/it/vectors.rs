//! Crypto-PAn against vectors: ours, and where the shared folder is present all of it, with the outputs of
//! faulty tools that must not appear.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use como_anonymize::{CryptoPan4, CryptoPan6};

fn map(key: &[u8; 32], family: &str, input: &str) -> String {
    if family == "4" {
        let input: Ipv4Addr = input.parse().unwrap();
        Ipv4Addr::from(CryptoPan4::new(key).map(input.into())).to_string()
    } else {
        let input: Ipv6Addr = input.parse().unwrap();
        Ipv6Addr::from(CryptoPan6::new(key).map(input.into())).to_string()
    }
}

fn same(left: &str, right: &str) -> bool {
    left.parse::<std::net::IpAddr>().unwrap() == right.parse::<std::net::IpAddr>().unwrap()
}

fn key(hex_key: &str) -> [u8; 32] {
    hex::decode(hex_key).unwrap().try_into().unwrap()
}

/// Checks the columns `[key, family, input, output]` of a CSV file; returns the number of rows.
fn check(text: &str, columns: [usize; 4]) -> usize {
    let mut checked = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')).skip(1) {
        // One quoted field holds commas in these files, and only in the header.
        let fields: Vec<&str> = line.split(',').collect();
        let [key_at, family, input, output] = columns.map(|at| fields[at]);
        let found = map(&key(key_at), family, input);
        assert!(
            same(&found, output),
            "{input} under {key_at}: {found}, should be {output}"
        );
        checked += 1;
    }
    checked
}

/// The folder of vectors and captures beside the repository, or where COMO_SHARED says.
fn shared() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("COMO_SHARED").map_or(beside, PathBuf::from);
    folder.join("vectors").is_dir().then_some(folder)
}

#[test]
fn our_own_vectors() {
    assert!(check(include_str!("../vectors/cryptopan.csv"), [0, 1, 2, 3]) >= 100);
}

#[test]
fn all_shared_vectors() {
    let Some(folder) = shared() else {
        println!("skipped: no shared vectors (set COMO_SHARED)");
        return;
    };
    let read = |name: &str| fs::read_to_string(folder.join("vectors").join(name)).unwrap();
    assert_eq!(check(&read("cryptopan_generated.csv"), [1, 3, 4, 5]), 645);
    assert_eq!(check(&read("cryptopan_published.csv"), [0, 1, 2, 3]), 144);
    let official = read("cryptopan_official_sample.csv");
    assert_eq!(check(&official, [1, 2, 3, 4]), 100);
}

#[test]
fn no_output_of_a_faulty_tool_appears() {
    // Uninitialised cache, unencrypted pad, halves mapped alike: see the assertions' inputs.
    let map4 = CryptoPan4::new(b"32-char-str-for-AES-key-and-pad.");
    let v4 = |text: &str| u32::from(text.parse::<Ipv4Addr>().unwrap());
    assert_eq!(map4.map(v4("0.0.0.0")), v4("7.3.253.250"));
    assert_eq!(map4.map(v4("192.0.2.1")), v4("192.0.125.244"));
    assert_eq!(map4.map(v4("198.51.100.1")), v4("196.48.251.226"));
    for address in ["255.255.255.255", "240.0.0.1", "10.0.0.1"] {
        assert_ne!(map4.map(v4(address)), v4(address), "no range passes unmapped");
    }
}
