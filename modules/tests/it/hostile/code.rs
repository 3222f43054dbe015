//! Guests whose code asks for what it may not have: imports, memories, tables, features of later standards. Owns
//! one case per item; what a verdict is stands in suite.rs.

use super::suite::Case;
use crate::support::Guest;

pub fn cases() -> Vec<Case> {
    [imports(), memories(), exports(), features()]
        .into_iter()
        .flatten()
        .collect()
}

fn text(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).unwrap_or_else(|e| panic!("{e}"))
}

pub fn with(extra: &str) -> Vec<u8> {
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
