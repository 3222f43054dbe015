//! Guests that cost whoever checks and compiles them much: more than each limit, deep, wide, megabytes. Owns one case
//! per bomb; what a verdict is stands in suite.rs.

use como_modules::{Manifest, limits};

use super::code::with;
use super::suite::{Case, Verdict};
use crate::support::{Guest, manifest};

pub fn cases() -> Vec<Case> {
    [too_many(), bombs(), heavy()].into_iter().flatten().collect()
}

/// One more than each limit.
fn too_many() -> Vec<Case> {
    let over = |limit: u32, item: &dyn Fn(u32) -> String| with(&(0..=limit).map(item).collect::<String>());
    let values = |n: usize| "i32 ".repeat(n);
    let long_body = "(drop (i32.const 1000000000))".repeat(limits::FUNCTION_BODY_MAX_BYTES / 7 + 1);
    vec![
        Case::refused(
            "has 4103 functions",
            "4103 functions, the limit is 4096",
            over(limits::FUNCTIONS_MAX, &|_| "(func)".into()),
        ),
        Case::refused(
            "has more types than are allowed",
            "types, the limit is 4096",
            with(
                &(0..=limits::FUNCTIONS_MAX)
                    .map(|i| format!("(type (func {}))", bits_as_params(i)))
                    .collect::<String>(),
            ),
        ),
        Case::refused(
            "has 4097 table elements",
            "4097 table elements",
            with("(table 4097 funcref)"),
        ),
        Case::refused(
            "has a table of 4 thousand million elements",
            "4294967295 table elements",
            with("(table 0 4294967295 funcref)"),
        ),
        Case::refused(
            "has 72 exports",
            "72 exports, the limit is 64",
            over(limits::EXPORTS_MAX, &|i| {
                format!(r#"(global (export "g{i}") i32 (i32.const 0))"#)
            }),
        ),
        Case::refused(
            "has 2001 locals in one function",
            "2001 locals in one function",
            with(&format!("(func (local {}))", values(2001))),
        ),
        Case::refused(
            "has a function of more than 256 KiB",
            "bytes in one function, the limit is 262144",
            with(&format!("(func {long_body})")),
        ),
        Case::refused(
            "has 1001 globals",
            "1000 global variables",
            over(1000, &|_| "(global i32 (i32.const 0))".into()),
        ),
        Case::refused(
            "has 1001 data segments",
            "1000 active data segments",
            over(1000, &|_| r#"(data (i32.const 0) "")"#.into()),
        ),
        Case::refused(
            "has 1001 element segments",
            "1000 active element segments",
            with(&format!(
                "(table 1 funcref) {}",
                "(elem (i32.const 0) func)".repeat(1001)
            )),
        ),
        Case::refused(
            "has a function with 33 parameters",
            "32 parameters",
            with(&format!("(func (param {}))", values(33))),
        ),
        Case::refused(
            "has a function with 33 results",
            "32 results",
            with(&format!("(func (result {}) unreachable)", values(33))),
        ),
        Case::refused(
            "has 2000 empty functions",
            "minimum average bytes per function",
            over(1999, &|_| "(func)".into()),
        ),
    ]
}

/// Types that differ from each other.
fn bits_as_params(n: u32) -> String {
    let bits = (0..13).map(|bit| if n >> bit & 1 == 1 { "i64 " } else { "i32 " });
    format!("(param {})", bits.collect::<String>())
}

/// Code within the limits that costs a naive compiler much: deep, wide, and with many ways out.
fn bombs() -> Vec<Case> {
    let repeat = |text: &str, bytes: usize| text.repeat(limits::FUNCTION_BODY_MAX_BYTES / bytes - 8);
    let deep = repeat("block ", 4);
    let ends = repeat("end ", 4);
    let targets = "0 ".repeat(limits::FUNCTION_BODY_MAX_BYTES - 200);
    let results = "i64 ".repeat(32);
    let constants = "i64.const 1 ".repeat(32);
    let drops = "drop ".repeat(32);
    let pushes = repeat("i32.const 1 ", 3);
    let adds = repeat("i32.add ", 3);
    let carries = "0 ".repeat(20_000);
    vec![
        Case::harmless("nests 65 thousand blocks", with(&format!("(func {deep} {ends})"))),
        Case::harmless(
            "nests 50 thousand loops that take and give a value",
            with(&format!(
                "(func (result i32) i32.const 0 {} {})",
                "loop (param i32) (result i32) ".repeat(50_000),
                "end ".repeat(50_000)
            )),
        ),
        Case::harmless(
            "nests 40 thousand conditions",
            with(&format!(
                "(func {} {})",
                "i32.const 1 if ".repeat(40_000),
                "end ".repeat(40_000)
            )),
        ),
        Case::refused(
            "branches to 260 thousand targets",
            "br_table size is out of bounds",
            with(&format!("(func (block (br_table {targets} (i32.const 0))))")),
        ),
        Case::harmless(
            "branches to 20 thousand targets with 32 values each",
            with(&format!(
                "(func (block (result {results}) {constants} (br_table {carries} (i32.const 0))) {drops})"
            )),
        ),
        Case::refused(
            "puts 87 thousand values on the stack of one function",
            "wasm, byte",
            with(&format!("(func (result i32) {pushes} {adds} i32.const 0)")),
        ),
        Case::harmless(
            "has code that is never reached",
            with(&format!("(func unreachable {})", repeat("i32.add drop ", 2))),
        ),
    ]
}

/// Files of megabytes: what they cost is in proportion.
fn heavy() -> Vec<Case> {
    let filler = "\\00".repeat(3 << 20);
    let passive = format!(r#"(data "{filler}")"#);
    let elements = format!(
        "(table 4096 4096 funcref) (func $f) {}",
        format!("(elem (i32.const 0) func {})", "$f ".repeat(4096)).repeat(100)
    );
    let functions = format!("(func {})", "(drop (i32.const 1000000000))".repeat(30_000)).repeat(12);
    let memory_bytes = limits::MEMORY_MAX_BYTES;
    let whole = Guest {
        memory: r#"(memory (export "memory") 1024 1024)"#,
        ..Guest::default()
    };
    vec![
        Case::harmless("has 3 MiB of data that it never uses", with(&passive)),
        Case::harmless("fills its table a hundred times over", with(&elements)),
        Case::harmless("has twelve functions of 200 KiB", with(&functions)),
        Case::new(
            "has as much memory as it may",
            Manifest {
                memory_bytes,
                ..manifest()
            },
            whole.wasm(),
            Verdict::Harmless,
        ),
    ]
}
