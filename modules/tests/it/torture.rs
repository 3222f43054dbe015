//! Loops over the operators that an interpreter handles in other ways than most: were its handler of one to call the
//! next instead of jumping to it, each turn would take a frame of the host's stack, and the process would abort.
//! Whether it does is the compiler's choice, so that `make torture` runs this under the shipped profile. Owns the
//! loops; must never be run on a thread with more stack than a node's.
//!
//! `COMO_TORTURE` is how many budgets each loop uses up.

use como_anonymize::Bitmap;
use como_modules::{Fault, FaultKind, limits};

use crate::support::{Guest, manifest, packets, start};

/// Less than any thread of a node has: a frame per turn overflows it within ten thousand turns.
const STACK_BYTES: usize = 1 << 20;
const BUDGETS: usize = 1;

/// Tables, segments, globals and functions that the loops use.
const EXTRA: &str = r#"
    (table $t 8 8 funcref) (elem (i32.const 0) $f) (elem $e func $f $f) (data $d "abcdefgh")
    (global $g (mut i64) (i64.const 1)) (global $v (mut v128) (v128.const i64x2 1 2))
    (func $f) (func $two (result i64 f64) (i64.const 1) (f64.const 2))
    (func $wide (local v128 v128 v128 v128 v128 v128 v128 v128))
    (func $swap (param i32 i64 f32 f64 v128) (result v128 f64 f32 i64 i32)
        local.get 4 local.get 3 local.get 2 local.get 1 local.get 0)"#;

const LOOPS: &[(&str, &str)] = &[
    ("nothing", ""),
    ("call", "(call $f)"),
    ("call with locals", "(call $wide)"),
    ("call with results", "(call $two) drop drop"),
    (
        "call with values of every type",
        "(call $swap (i32.const 1) (i64.const 2) (f32.const 3) (f64.const 4) (v128.const i64x2 5 6)) drop drop drop drop drop",
    ),
    ("call_indirect", "(call_indirect (i32.const 0))"),
    (
        "br_table",
        "(block $a (block $b (br_table $a $b $a (i32.const 1))))",
    ),
    (
        "br_table with values",
        "(block $b (result i64 f64) (i64.const 1) (f64.const 2) (br_table $b $b (i32.const 0))) drop drop",
    ),
    (
        "br_if with values",
        "(block $b (result i64 i64) (i64.const 1) (i64.const 2) (br_if $b (i32.const 1))) drop drop",
    ),
    (
        "if and else",
        "(if (i32.load (i32.const 0)) (then (call $f)) (else (call $f)))",
    ),
    (
        "select",
        "(drop (select (v128.const i64x2 1 2) (global.get $v) (i32.load (i32.const 0))))",
    ),
    (
        "globals",
        "(global.set $g (i64.add (global.get $g) (i64.const 1)))",
    ),
    (
        "vector globals",
        "(global.set $v (i64x2.add (global.get $v) (global.get $v)))",
    ),
    ("memory.size", "(drop (memory.size))"),
    (
        "memory.fill",
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 65))",
    ),
    (
        "memory.copy",
        "(memory.copy (i32.const 0) (i32.const 16) (i32.const 65))",
    ),
    (
        "memory.init",
        "(memory.init $d (i32.const 0) (i32.const 1) (i32.const 7))",
    ),
    ("data.drop", "(data.drop $d)"),
    (
        "table.copy",
        "(table.copy (i32.const 0) (i32.const 1) (i32.const 7))",
    ),
    (
        "table.init",
        "(table.init $e (i32.const 0) (i32.const 0) (i32.const 2))",
    ),
    ("elem.drop", "(elem.drop $e)"),
    (
        "loads and stores far out",
        "(i64.store offset=70000 (i32.const 0) (i64.load offset=90000 (i32.const 8)))",
    ),
    (
        "vector loads and stores far out",
        "(v128.store offset=70000 (i32.const 0) (v128.load offset=90000 (i32.const 8)))",
    ),
    (
        "lanes out of memory",
        "(global.set $v (v128.load8_lane offset=70000 3 (i32.const 1) (global.get $v)))",
    ),
    (
        "lanes into memory",
        "(v128.store32_lane offset=70000 1 (i32.const 1) (global.get $v))",
    ),
    (
        "shuffles",
        "(global.set $v (i8x16.shuffle 0 17 2 19 4 21 6 23 8 25 10 27 12 29 14 31 (global.get $v) (global.get $v)))",
    ),
    (
        "conversions",
        "(drop (i64.trunc_sat_f64_s (f64.convert_i64_u (global.get $g))))",
    ),
    (
        "conversions that may trap",
        "(drop (i32.trunc_f32_s (f32.convert_i32_s (i32.load8_u (i32.const 0)))))",
    ),
    (
        "divisions",
        "(drop (i64.rem_s (i64.const 77) (i64.or (global.get $g) (i64.const 1))))",
    ),
    ("rounding", "(drop (f64.nearest (f64.load (i32.const 64))))"),
];

#[test]
fn no_loop_takes_a_frame_of_the_hosts_stack_at_each_turn() {
    let budgets = match std::env::var("COMO_TORTURE") {
        Ok(text) => text.parse().expect("COMO_TORTURE is a number"),
        Err(_) => BUDGETS,
    };
    let torture = move || LOOPS.iter().for_each(|(name, body)| use_up(name, body, budgets));
    std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(torture)
        .expect("a thread")
        .join()
        .expect("every loop ends where its fuel does");
}

fn use_up(name: &str, body: &str, budgets: usize) {
    let endless = format!("(loop $l {body} (br $l)) i32.const 0");
    let guest = Guest {
        update: &endless,
        extra: EXTRA,
        ..Guest::default()
    };
    let wasm = guest.wasm();
    let view = packets(limits::BATCH_MAX_PACKETS);
    for _ in 0..budgets {
        let mut instance = start(&manifest(), &wasm).unwrap_or_else(|e| panic!("{name}: {e}"));
        let ended = instance.update(&view, &Bitmap::all(limits::BATCH_MAX_PACKETS));
        let out_of_fuel = FaultKind::OutOfFuel {
            budget: limits::FUEL_PER_BATCH,
        };
        assert!(
            matches!(&ended, Err(Fault { kind, .. }) if *kind == out_of_fuel),
            "{name}: {ended:?}"
        );
    }
}
