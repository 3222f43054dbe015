//! Modules in other languages than Rust, written from docs/module-abi.md alone: they are admitted, and say what plain
//! reading of the packets says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use como_dataset::ColumnData;
use como_modules::{Answer, IntervalRows, Manifest, Rows};

use crate::oracle::captures;
use crate::oracle::run::{self, Cell, Module, Packets, Row};
use crate::oracle::shown::Shown;
use crate::support::{DEVELOPER, admit};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

fn example(name: &str, wasm: Vec<u8>) -> Module {
    let toml = std::fs::read_to_string(folder(name).join("module.toml")).expect("module.toml");
    let manifest = Manifest::from_toml(&toml, DEVELOPER, 1000).expect("a good module.toml");
    Module { manifest, wasm }
}

/// An example in C, compiled with the command of its own first lines; nothing where there is no compiler.
fn compiled(name: &str) -> Option<Module> {
    let file = format!("{}.c", name.replace('-', "_"));
    let source = folder(name).join(&file);
    let out = tempfile::tempdir().expect("a folder");
    let wasm = out.path().join("module.wasm");
    let text = std::fs::read_to_string(&source).expect("the example");
    let words = text
        .lines()
        .map_while(|line| line.strip_prefix("//"))
        .skip_while(|line| !line.trim_start().starts_with("clang "))
        .take_while(|line| !line.trim_start().starts_with("como "))
        .flat_map(str::split_whitespace);
    let words: Vec<&str> = words.collect();
    let (clang, args) = words.split_first().expect("a command");
    let built = Command::new(clang)
        .args(args.iter().map(|word| match *word {
            word if word == file => source.as_path(),
            word if word.ends_with(".wasm") => wasm.as_path(),
            word => Path::new(word),
        }))
        .output();
    let built = match built {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: clang is not installed");
            return None;
        }
        built => built.expect("clang starts"),
    };
    let said = String::from_utf8_lossy(&built.stderr);
    // It is not there, as against: it does not link the module.
    if ["doesn't exist", "No such file", "unable to execute"]
        .iter()
        .any(|why| said.contains(why))
    {
        println!("skipped: clang finds no wasm-ld (Debian package lld)");
        return None;
    }
    assert!(built.status.success(), "{said}");
    Some(example(name, std::fs::read(wasm).expect("compiled")))
}

#[test]
fn a_module_in_c_counts_tcp_flags() {
    let Some(module) = compiled("tcp-flags") else {
        return;
    };
    let shown = Shown::anonymized(&captures::eventful());
    run::check_module(&module, &[], &shown, |packets: &Packets<'_>, rows: &[Row]| {
        let count = |bit: u64| {
            let with = packets
                .all
                .iter()
                .filter(|seen| seen.is_tcp() && seen.flags >> bit & 1 == 1);
            with.map(|seen| u64::from(seen.weight)).sum()
        };
        let expected: Vec<Row> = (0..8)
            .map(|bit| [bit, count(bit)].map(Cell::Number).to_vec())
            .collect();
        assert_eq!(rows, expected, "{}", packets.name);
    });
}

#[test]
fn a_module_in_c_stores_all_protocols_and_loads_the_best() {
    let Some(module) = compiled("top-protocols") else {
        return;
    };
    let shown = Shown::anonymized(&captures::eventful());
    run::check_module(
        &module,
        &[("k", 1)],
        &shown,
        |packets: &Packets<'_>, rows: &[Row]| {
            let mut counts: BTreeMap<u8, u64> = BTreeMap::new();
            for seen in packets.all.iter().filter(|seen| seen.is_ip()) {
                *counts.entry(seen.protocol).or_default() += u64::from(seen.weight);
            }
            let expected: Vec<Row> = counts
                .into_iter()
                .map(|(protocol, packets)| [protocol.into(), packets].map(Cell::Number).to_vec())
                .collect();
            assert_eq!(rows, expected, "records of {}", packets.name);
        },
    );
    let records = run::rows_of(&module, &[("k", 1)], &shown);
    assert!(records.iter().any(|(_, rows)| rows.len() > 2), "whatever k is");

    let admitted = admit(&module.manifest, &module.wasm).expect("admitted");
    let (mut all, protocols) = (BTreeMap::from([(6u8, 50u64), (17, 20), (1, 20), (58, 7)]), [6, 1]);
    let columns = |counts: &BTreeMap<u8, u64>| {
        vec![
            ColumnData::U8(counts.keys().copied().collect()),
            ColumnData::U64(counts.values().copied().collect()),
        ]
    };
    let interval = IntervalRows {
        interval_start_ns: 0,
        interval_end_ns: module.manifest.interval_ns,
        rows: Rows {
            columns: columns(&all),
        },
        complete: true,
        sampled: 1,
        packets: 97,
        late_packets: 0,
        skipped_before: 0,
    };
    let mut answer = Answer::new(&admitted, &[("k".to_owned(), 2)], None).expect("it starts");
    let mut loaded = Vec::new();
    answer
        .push(interval, &mut |rows| loaded.push(rows))
        .expect("it loads");
    all.retain(|protocol, _| protocols.contains(protocol));
    assert_eq!(loaded[0].rows.columns, columns(&all));
}

#[test]
fn a_module_in_the_text_format_counts_icmp_types() {
    let source = folder("echo").join("echo.wat");
    let module = example("echo", wat::parse_file(source).expect("it assembles"));
    let shown = Shown::anonymized(&captures::eventful());
    for (icmp_type, protocol) in [(8, 1), (0, 1), (128, 58), (135, 58)] {
        let rows = run::rows_of(&module, &[("type", icmp_type)], &shown);
        let found: u64 = rows
            .iter()
            .flat_map(|(_, rows)| rows)
            .map(|row| row[0].number())
            .sum();
        // The first byte of ICMP is its type.
        let of_type = shown
            .seen
            .iter()
            .filter(|seen| seen.is_ip() && seen.protocol == protocol && !seen.later_fragment)
            .filter(|seen| seen.payload.first() == Some(&(icmp_type as u8)));
        let expected: u64 = of_type.map(|seen| u64::from(seen.weight)).sum();
        assert!(
            found == expected && expected > 0,
            "type {icmp_type}: {found} of {expected}"
        );
    }
}
