//! Guests whose code asks for what it may not have: imports, memories, tables, features of later standards, and
//! bombs for whoever compiles it. Owns one case per item; what a verdict is stands in suite.rs.

use como_modules::{Manifest, limits};

use super::suite::{Case, Verdict};
use crate::support::{Guest, manifest};

pub fn cases() -> Vec<Case> {
    [
        imports(),
        memories(),
        exports(),
        features(),
        too_many(),
        bombs(),
        heavy(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn text(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).unwrap_or_else(|e| panic!("{e}"))
}

fn with(extra: &str) -> Vec<u8> {
    Guest {
        extra,
        ..Guest::default()
    }
    .wasm()
}

fn imports() -> Vec<Case> {
    [
        (
            "imports a function",
            "imports `env.print`",
            r#"(import "env" "print" (func (param i32)))"#,
        ),
        (
            "imports from WASI",
            "imports `wasi_snapshot_preview1.fd_write`",
            r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#,
        ),
        (
            "imports its memory",
            "imports `env.memory`",
            r#"(import "env" "memory" (memory 2 2))"#,
        ),
        (
            "imports a table",
            "imports `env.table`",
            r#"(import "env" "table" (table 1 funcref))"#,
        ),
        (
            "imports a global",
            "imports `env.base`",
            r#"(import "env" "base" (global i32))"#,
        ),
        (
            "imports an exception tag",
            "imports `env.tag`",
            r#"(import "env" "tag" (tag (param i32)))"#,
        ),
        (
            "imports its own memory by name",
            "imports `probe.memory`",
            r#"(import "probe" "memory" (memory 2 2))"#,
        ),
        ("imports without names", "imports `.`", r#"(import "" "" (func))"#),
    ]
    .iter()
    .map(|(name, says, import)| Case::refused(name, says, text(&format!("(module {import})"))))
    .collect()
}

fn memories() -> Vec<Case> {
    [
        ("has no memory", "there is none", ""),
        (
            "has memory without a maximum",
            "no maximum",
            r#"(memory (export "memory") 2)"#,
        ),
        (
            "has memory that may grow",
            "may grow to 65536",
            r#"(memory (export "memory") 2 65536)"#,
        ),
        (
            "has more memory than its manifest says",
            "the manifest says 131072",
            r#"(memory (export "memory") 3 3)"#,
        ),
        (
            "has less memory than its manifest says",
            "the manifest says 131072",
            r#"(memory (export "memory") 1 1)"#,
        ),
        (
            "has 4 GiB of memory",
            "65536 pages, the limit is 1024",
            r#"(memory (export "memory") 65536 65536)"#,
        ),
        (
            "has two memories",
            "2 memories, the limit is 1",
            r#"(memory (export "memory") 2 2) (memory 1 1)"#,
        ),
        (
            "has shared memory",
            "threads",
            r#"(memory (export "memory") 2 2 shared)"#,
        ),
        (
            "has memory with 64-bit addresses",
            "memory64",
            r#"(memory (export "memory") i64 2 2)"#,
        ),
        (
            "has memory with pages of a byte",
            "custom page sizes",
            r#"(memory (export "memory") 2 2 (pagesize 1))"#,
        ),
        (
            "does not export its memory",
            "export `memory`: is missing",
            "(memory 2 2)",
        ),
        (
            "exports a function as its memory",
            "export `memory`: is not a memory",
            r#"(memory 2 2) (func (export "memory"))"#,
        ),
    ]
    .iter()
    .map(|(name, says, memory)| {
        let plain = r#"(func (export "store") (result i32) i32.const 0)"#;
        Case::refused(name, says, text(&format!("(module {memory} {plain})")))
    })
    .collect()
}

fn exports() -> Vec<Case> {
    let whole = [
        ("como_abi", "(result i32)"),
        ("como_arena", "(result i32)"),
        ("como_output", "(result i32)"),
        ("init", "(param i32) (result i32)"),
        ("update", "(param i32) (result i32)"),
        ("store", "(result i32)"),
    ];
    let module = |function: &dyn Fn(&'static str, &'static str) -> String| {
        let functions: String = whole.iter().map(|(name, ty)| function(name, ty)).collect();
        text(&format!(r#"(module (memory (export "memory") 2 2) {functions})"#))
    };
    let plain = |name: &str, ty: &str| format!(r#"(func (export "{name}") {ty} i32.const 0)"#);
    let mut cases = Vec::new();
    for (missing, _) in whole {
        let wasm = module(&|name, ty| {
            if name == missing {
                String::new()
            } else {
                plain(name, ty)
            }
        });
        cases.push(Case::refused(&format!("has no {missing}"), "is missing", wasm));
    }
    for (wrong, _) in whole {
        let wasm = module(&|name, ty| {
            if name == wrong {
                format!(r#"(func (export "{name}") (param i64) (result i32) i32.const 0)"#)
            } else {
                plain(name, ty)
            }
        });
        cases.push(Case::refused(
            &format!("has {wrong} of another type"),
            "has type (i64) -> (i32) instead of",
            wasm,
        ));
    }
    cases.push(Case::refused(
        "has update as a global",
        "export `update`: is not a function",
        module(&|name, ty| {
            if name == "update" {
                r#"(global (export "update") i32 (i32.const 0))"#.into()
            } else {
                plain(name, ty)
            }
        }),
    ));
    cases.push(Case::refused(
        "has merge of another type",
        "export `merge`: has type () -> ()",
        with(r#"(func (export "merge"))"#),
    ));
    cases
}

/// Code that a node would run differently, or not bounded, or that no guest needs.
fn features() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        ("has a start function", "start function", "(func $s) (start $s)"),
        ("makes a tail call", "a tail call", "(func $t return_call $t)"),
        (
            "makes a tail call through a table",
            "a tail call",
            "(table 1 funcref) (func (return_call_indirect (i32.const 0)))",
        ),
        (
            "has a null reference",
            "a reference type",
            "(func (drop (ref.null func)))",
        ),
        (
            "takes a reference to a function",
            "a reference type",
            "(func $f (drop (ref.func $f))) (elem declare func $f)",
        ),
        (
            "takes references as parameters",
            "reference types",
            "(func (param externref))",
        ),
        (
            "has a table of references to the host",
            "reference types",
            "(table 1 externref)",
        ),
        (
            "grows a table",
            "reference types",
            "(table 1 funcref) (func (param funcref) (drop (table.grow (local.get 0) (i32.const 1))))",
        ),
        (
            "asks for a table's size",
            "reference types",
            "(table 1 funcref) (func (drop (table.size)))",
        ),
        (
            "has two tables",
            "multiple tables",
            "(table 1 funcref) (table 1 funcref)",
        ),
        (
            "has a table with 64-bit indices",
            "memory64",
            "(table i64 1 funcref)",
        ),
        ("has an exception tag", "exceptions", "(tag (param i32))"),
        (
            "catches an exception",
            "exceptions",
            "(func (block $b (try_table (catch_all $b))))",
        ),
        (
            "reads atomically",
            "threads",
            "(func (drop (i32.atomic.load (i32.const 0))))",
        ),
        (
            "waits for another thread",
            "threads",
            "(func (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))",
        ),
        (
            "uses relaxed SIMD",
            "relaxed SIMD",
            "(func (param v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))",
        ),
        (
            "multiplies into 128 bits",
            "wide arithmetic",
            "(func (i64.mul_wide_u (i64.const 1) (i64.const 1)) drop drop)",
        ),
        (
            "computes in a constant",
            "constant expression",
            "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
        ),
        (
            "has a garbage-collected type",
            "gc",
            "(type (struct (field i32)))",
        ),
        (
            "calls through a typed reference",
            "reference",
            "(type $t (func)) (func (param (ref $t)) (call_ref $t (local.get 0)))",
        ),
    ]
    .iter()
    .map(|(name, says, extra)| Case::refused(name, says, with(extra)))
    .collect();
    cases.push(Case::refused(
        "is a component",
        "component",
        text("(component (core module (memory 1 1)))"),
    ));
    cases
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
