//! Guests whose addresses and lengths lie outside what is theirs: of arena and output, in segments, in tables. Owns
//! one case per address; what a verdict is stands in suite.rs.

use como_modules::{Callback, Manifest};

use super::behaviour::update_stops;
use super::suite::{Case, Verdict};
use crate::support::{Guest, manifest};

pub fn cases() -> Vec<Case> {
    [segments(), tables(), pointers(), scribbling()]
        .into_iter()
        .flatten()
        .collect()
}

/// Data and table elements that do not fit, when the guest starts and later.
fn segments() -> Vec<Case> {
    let data = r#"(data $d "abcd")"#;
    let mut cases = vec![
        update_stops(
            "reads behind a data segment",
            "out of bounds",
            "(memory.init $d (i32.const 0) (i32.const 3) (i32.const 2)) i32.const 0",
            data,
        ),
        update_stops(
            "uses a data segment that it dropped",
            "out of bounds",
            "(data.drop $d) (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1)) i32.const 0",
            data,
        ),
    ];
    for (name, extra) in [
        (
            "has a data segment across the end of memory",
            r#"(data (i32.const 131070) "abcd")"#,
        ),
        (
            "has a data segment at the end of the address space",
            r#"(data (i32.const -1) "abcd")"#,
        ),
        (
            "has table elements behind its table",
            "(table 1 1 funcref) (func $f) (elem (i32.const 1) $f)",
        ),
        (
            "has table elements before its table",
            "(table 1 1 funcref) (func $f) (elem (i32.const -1) $f)",
        ),
    ] {
        let guest = Guest {
            extra,
            ..Guest::default()
        };
        cases.push(Case::stopped(name, Callback::Instantiate, "trap", &guest));
    }
    cases
}

fn tables() -> Vec<Case> {
    let elements = "(table 2 2 funcref) (elem (i32.const 1) $f) (func $f (param i64 i64))";
    [
        (
            "calls an empty table element",
            "uninitialized",
            "(call_indirect (result i32) (i32.const 0))",
        ),
        (
            "calls a table element of another type",
            "mismatch",
            "(call_indirect (result i32) (i32.const 1))",
        ),
        (
            "calls behind its table",
            "undefined element",
            "(call_indirect (result i32) (i32.const 2))",
        ),
        (
            "calls table element -1",
            "undefined element",
            "(call_indirect (result i32) (i32.const -1))",
        ),
        (
            "copies behind its table",
            "out of bounds",
            "(table.copy (i32.const 1) (i32.const 0) (i32.const 2)) i32.const 0",
        ),
    ]
    .iter()
    .map(|(name, says, body)| update_stops(name, says, body, elements))
    .collect()
}

/// Every number of the ABI that is an address or a length.
fn pointers() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, says, arena) in [
        (
            "has its arena behind memory",
            "at 131072, memory has",
            "i32.const 131072",
        ),
        (
            "has its arena at -16",
            "at 4294967280, memory has",
            "i32.const -16",
        ),
        (
            "has its arena 16 bytes too far back",
            "arena of 4160 bytes at 126928",
            "i32.const 126928",
        ),
        (
            "has its arena at an odd address",
            "not a multiple of 16",
            "i32.const 1025",
        ),
        (
            "has its arena at 2 GiB",
            "at 2147483632, memory has",
            "i32.const 0x7ffffff0",
        ),
    ] {
        let guest = Guest {
            arena,
            ..Guest::default()
        };
        cases.push(Case::stopped(name, Callback::Instantiate, says, &guest));
    }
    for (name, output, store) in [
        (
            "has its output one byte too far back",
            "i32.const 131041",
            "i32.const 32",
        ),
        ("has its output at -1", "i32.const -1", "i32.const 32"),
        ("has its output behind memory", "i32.const 131072", "i32.const 16"),
        (
            "stores more than lies behind its output",
            "i32.const 65536",
            "i32.const 65537",
        ),
        ("stores nothing at 4 GiB less one", "i32.const -1", "i32.const 0"),
    ] {
        let guest = Guest {
            output,
            store,
            ..Guest::default()
        };
        cases.push(Case::stopped(name, Callback::Store, "outside its memory", &guest));
    }
    let frames = Manifest {
        wants_frames: true,
        ..manifest()
    };
    cases.push(Case::new(
        "asks for frames without room for them",
        frames,
        Guest::default().wasm(),
        Verdict::Stopped(Callback::Instantiate, "arena of 532560 bytes"),
    ));
    cases
}

/// What a guest does to its own memory is its own affair.
fn scribbling() -> Vec<Case> {
    // Function 2 is como_output.
    let store = "(memory.fill (i32.const 65536) (i32.const 0) (i32.const 64))
        (i32.store (call 2) (i32.const 1)) i32.const 32";
    let mut cases: Vec<_> = [
        (
            "has arena and output at one address",
            "i32.const 65536",
            "i32.const 65536",
        ),
        ("has its arena at address 0", "i32.const 0", "i32.const 65536"),
        (
            "has its arena in the last bytes of memory",
            "i32.const 126912",
            "i32.const 65536",
        ),
        (
            "has its output at an odd address",
            "i32.const 1024",
            "i32.const 65537",
        ),
    ]
    .iter()
    .map(|(name, arena, output)| {
        let guest = Guest {
            arena,
            output,
            store,
            ..Guest::default()
        };
        Case::harmless(name, guest.wasm())
    })
    .collect();
    let everything = "(memory.fill (i32.const 0) (i32.const -1) (i32.const 131072))";
    let body = format!("{everything} i32.const 0");
    let store = format!("{everything} {store}");
    let guest = Guest {
        init: &body,
        update: &body,
        store: &store,
        ..Guest::default()
    };
    cases.push(Case::harmless(
        "writes over all of its memory, arena included",
        guest.wasm(),
    ));
    cases
}
