//! Modules in other languages than Rust, written from docs/module-abi.md alone: they are admitted, and say what plain
//! reading of the packets says.

use std::path::{Path, PathBuf};
use std::process::Command;

use como_modules::Manifest;

use crate::oracle::captures;
use crate::oracle::run::{self, Cell, Module, Packets, Row};
use crate::oracle::shown::Shown;
use crate::support::DEVELOPER;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

fn example(name: &str, wasm: Vec<u8>) -> Module {
    let toml = std::fs::read_to_string(folder(name).join("module.toml")).expect("module.toml");
    let manifest = Manifest::from_toml(&toml, DEVELOPER, 1000).expect("a good module.toml");
    Module { manifest, wasm }
}

#[test]
fn a_module_in_c_counts_tcp_flags() {
    let source = folder("tcp-flags").join("tcp_flags.c");
    let out = tempfile::tempdir().expect("a folder");
    let wasm = out.path().join("tcp-flags.wasm");
    // The command of the example's own first lines.
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
            "tcp-flags.wasm" => wasm.as_path(),
            "tcp_flags.c" => source.as_path(),
            word => Path::new(word),
        }))
        .output();
    let built = match built {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: clang is not installed");
            return;
        }
        built => built.expect("clang starts"),
    };
    let said = String::from_utf8_lossy(&built.stderr);
    if said.contains("wasm-ld") && !built.status.success() {
        println!("skipped: clang finds no wasm-ld (Debian package lld)");
        return;
    }
    assert!(built.status.success(), "{said}");
    let module = example("tcp-flags", std::fs::read(wasm).expect("compiled"));
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
