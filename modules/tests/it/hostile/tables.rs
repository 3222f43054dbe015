//! Guests that misbehave where they are handed rows of earlier tables: in `merge`, in `load`, and by where they want the
//! rows. Owns one case per trick; what a verdict is stands in suite.rs.

use como_dataset::ColumnKind;
use como_modules::{Callback, Manifest, Merge};

use super::suite::{Case, Verdict, with_column};
use crate::support::{Guest, manifest};

const AREA: &str = "i32.const 98304";
const FINE: &str = "i32.const 0";
/// A table of one row.
const ONE: &str = "(i32.store (i32.const 65536) (i32.const 1)) i32.const 32";
const FOREVER: &str = "(loop $l (br $l)) i32.const 0";

pub fn cases() -> Vec<Case> {
    [misbehaving(), lying(), areas(), refused()]
        .into_iter()
        .flatten()
        .collect()
}

/// A manifest whose rows only the guest can merge.
fn by_guest() -> Manifest {
    let mut manifest = manifest();
    manifest.schema[0].merge = Merge::Guest;
    manifest
}

fn wasm(table: &str, merge: &str, load: &str, guest: Guest<'_>) -> Vec<u8> {
    let extra = format!(
        r#"(func (export "como_table") (result i32) {table})
        (func (export "merge") (param i32) (result i32) {merge})
        (func (export "load") (param i32) (result i32) {load}) {}"#,
        guest.extra
    );
    Guest {
        extra: &extra,
        ..guest
    }
    .wasm()
}

fn case(name: &str, callback: Callback, says: &'static str, table: &str, merge: &str, load: &str) -> Case {
    let wasm = wasm(table, merge, load, Guest::default());
    Case::new(name, by_guest(), wasm, Verdict::Stopped(callback, says))
}

fn misbehaving() -> Vec<Case> {
    let bodies = [
        ("loops for ever", "out of fuel", FOREVER),
        (
            "clears memory for ever",
            "out of fuel",
            "(loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 64)) (br $l)) i32.const 0",
        ),
        ("traps", "unreachable", "unreachable"),
        (
            "reads beyond its memory",
            "out of bounds",
            "(i32.load (i32.const 131072))",
        ),
        ("calls itself for ever", "stack", "(call $deep) i32.const 0"),
    ];
    let mut cases = Vec::new();
    for (what, says, body) in bodies {
        let deep = Guest {
            extra: "(func $deep (call $deep))",
            ..Guest::default()
        };
        for (place, callback, merge, load) in [
            ("merge", Callback::Merge, body, ONE),
            ("load", Callback::Load, FINE, body),
        ] {
            let wasm = wasm(AREA, merge, load, Guest { ..deep });
            let name = format!("{what} in {place}");
            cases.push(Case::new(
                &name,
                by_guest(),
                wasm,
                Verdict::Stopped(callback, says),
            ));
        }
    }
    let deep = Guest::default();
    cases.push(Case::new(
        "merges and loads as it should",
        by_guest(),
        wasm(AREA, FINE, ONE, deep),
        Verdict::Harmless,
    ));
    cases
}

fn lying() -> Vec<Case> {
    let load =
        |name: &str, says: &'static str, body: &str| case(name, Callback::Load, says, AREA, FINE, body);
    vec![
        case(
            "gives up in merge",
            Callback::Merge,
            "it gave up with code 7",
            AREA,
            "i32.const 7",
            ONE,
        ),
        load("gives up in load", "it gave up with code -7", "i32.const -7"),
        load("loads less than a header", "header", "i32.const 0"),
        load(
            "loads more than is allowed",
            "the limit is",
            "i32.const 0x7fffffff",
        ),
        load("loads from beyond its memory", "output of", "i32.const 65552"),
        load(
            "loads fewer bytes than its rows have",
            "bad output",
            "(i32.store (i32.const 65536) (i32.const 9)) i32.const 32",
        ),
        load(
            "loads more rows than are allowed",
            "rows, the limit is",
            "(i32.store (i32.const 65536) (i32.const 65537)) i32.const 32",
        ),
        Case::new(
            "loads a table of many for each part of one",
            Manifest {
                memory_bytes: 32 * 65_536,
                ..by_guest()
            },
            wasm(
                "i32.const 1048576",
                FINE,
                "(i32.store (i32.const 65536) (i32.const 65536)) i32.const 524304",
                Guest {
                    memory: r#"(memory (export "memory") 32 32)"#,
                    store: "(i32.store (i32.const 65536) (i32.const 65536)) i32.const 524304",
                    ..Guest::default()
                },
            ),
            Verdict::Stopped(Callback::Load, "more than 1048576 rows of one table"),
        ),
        Case::new(
            "scribbles over what it is handed",
            by_guest(),
            wasm(
                AREA,
                "(memory.fill (i32.const 98304) (i32.const 255) (i32.const 8256)) i32.const 0",
                "(memory.fill (i32.const 98304) (i32.const 255) (i32.const 8256))
                 (i32.store (i32.const 65536) (i32.const 1)) i32.const 32",
                Guest::default(),
            ),
            Verdict::Harmless,
        ),
    ]
}

fn areas() -> Vec<Case> {
    let area = |name: &str, says: &'static str, table: &str| {
        case(name, Callback::Instantiate, says, table, FINE, ONE)
    };
    vec![
        area(
            "wants rows at an odd place",
            "como_table returned 98305",
            "i32.const 98305",
        ),
        area(
            "wants rows beyond its memory",
            "table of 8256 bytes",
            "i32.const 131072",
        ),
        area(
            "wants rows across the end of its memory",
            "table of 8256 bytes",
            "i32.const 122896",
        ),
        area(
            "wants rows at the last address",
            "table of 8256 bytes",
            "i32.const -16",
        ),
        area("loops for ever in como_table", "out of fuel", FOREVER),
        area("traps in como_table", "unreachable", "unreachable"),
    ]
}

fn refused() -> Vec<Case> {
    let with = |extra: &str| {
        Guest {
            extra,
            ..Guest::default()
        }
        .wasm()
    };
    let load = r#"(func (export "load") (param i32) (result i32) i32.const 0)"#;
    let table = r#"(func (export "como_table") (result i32) i32.const 98304)"#;
    vec![
        Case::new(
            "has a merge and no place for rows",
            by_guest(),
            with(r#"(func (export "merge") (param i32) (result i32) i32.const 0)"#),
            Verdict::Refused("export `como_table`: is missing"),
        ),
        Case::refused(
            "has a load and no place for rows",
            "export `como_table`: is missing",
            with(load),
        ),
        Case::refused(
            "has como_table of another type",
            "export `como_table`: has type",
            with(&format!(
                r#"{load}(func (export "como_table") (result i64) i64.const 0)"#
            )),
        ),
        Case::new(
            "leaves merging to a merge that it has not",
            by_guest(),
            with(""),
            Verdict::Refused("export `merge`: is missing"),
        ),
        Case::new(
            "loads rows of no fixed width",
            with_column(ColumnKind::Bytes),
            with(&format!("{table}{load}")),
            Verdict::Refused("export `load`: cannot be handed rows"),
        ),
    ]
}
