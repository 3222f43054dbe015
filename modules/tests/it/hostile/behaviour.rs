//! Guests that are well-formed and misbehave in what they do: loops, recursion, traps, growth. Owns one case per
//! trick; what a verdict is stands in suite.rs.

use como_modules::Callback;

use super::suite::Case;
use crate::support::Guest;

pub fn cases() -> Vec<Case> {
    [loops(), burning(), recursion(), traps(), quits(), growth()]
        .into_iter()
        .flatten()
        .collect()
}

/// Every entry point, with a guest that has `body` there.
fn everywhere(body: &str) -> [(&'static str, Callback, Guest<'_>); 6] {
    let plain = Guest::default;
    [
        ("como_abi", Callback::Instantiate, Guest { abi: body, ..plain() }),
        (
            "como_arena",
            Callback::Instantiate,
            Guest {
                arena: body,
                ..plain()
            },
        ),
        (
            "como_output",
            Callback::Instantiate,
            Guest {
                output: body,
                ..plain()
            },
        ),
        (
            "init",
            Callback::Init,
            Guest {
                init: body,
                ..plain()
            },
        ),
        (
            "update",
            Callback::Update,
            Guest {
                update: body,
                ..plain()
            },
        ),
        (
            "store",
            Callback::Store,
            Guest {
                store: body,
                ..plain()
            },
        ),
    ]
}

pub fn update_stops(name: &str, says: &'static str, body: &str, extra: &str) -> Case {
    let guest = Guest {
        update: body,
        extra,
        ..Guest::default()
    };
    Case::stopped(name, Callback::Update, says, &guest)
}

/// Loops without an end, in every callback.
fn loops() -> Vec<Case> {
    let bodies = [
        ("loops for ever", "out of fuel", "(loop $l (br $l)) i32.const 0"),
        (
            "clears memory for ever",
            "out of fuel",
            "(loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 64)) (br $l)) i32.const 0",
        ),
        ("traps", "unreachable", "unreachable"),
    ];
    let mut cases = Vec::new();
    for (what, says, body) in bodies {
        for (place, callback, guest) in everywhere(body) {
            cases.push(Case::stopped(
                &format!("{what} in {place}"),
                callback,
                says,
                &guest,
            ));
        }
    }
    cases
}

/// Ways to use much of the processor for few instructions.
fn burning() -> Vec<Case> {
    let wide_locals = format!("(func $w (local {}))", "v128 ".repeat(2000));
    let forever = |body: &str| format!("(loop $l {body} (br $l)) i32.const 0");
    let table = "(table 4096 4096 funcref)";
    let indirect = "(table 1 1 funcref) (elem (i32.const 0) $w) (func $w)";
    let three = r#"(data (i32.const 64) "\03")"#;
    let divide = "(drop (i64.div_s (i64.const 0x7fffffffffffffff) (i64.load (i32.const 64))))";
    [
        (
            "fills all memory for ever",
            "(memory.fill (i32.const 0) (i32.const 7) (i32.const 131072))",
            "",
        ),
        (
            "copies all memory for ever",
            "(memory.copy (i32.const 1) (i32.const 0) (i32.const 131071))",
            "",
        ),
        ("calls for ever", "(call $w)", "(func $w)"),
        (
            "calls a function with 2000 wide locals for ever",
            "(call $w)",
            &wide_locals,
        ),
        (
            "calls through a table for ever",
            "(call_indirect (i32.const 0))",
            indirect,
        ),
        (
            "copies its table for ever",
            "(table.copy (i32.const 0) (i32.const 1) (i32.const 4095))",
            table,
        ),
        (
            "branches through a table for ever",
            "(block $b (br_table $b $b (i32.const 1)))",
            "",
        ),
        ("divides for ever", divide, three),
        (
            "takes square roots for ever",
            "(drop (f64.sqrt (f64.load (i32.const 64))))",
            "",
        ),
    ]
    .iter()
    .map(|(name, body, extra)| update_stops(name, "out of fuel", &forever(body), extra))
    .collect()
}

fn recursion() -> Vec<Case> {
    let wide = format!("(func $r (local {}) call $r)", "v128 ".repeat(2000));
    let indirect = "(table 1 1 funcref) (elem (i32.const 0) $r) (func $r (call_indirect (i32.const 0)))";
    let mut cases: Vec<Case> = [
        (
            "calls two functions in turn for ever",
            "call $a i32.const 0",
            "(func $a call $b) (func $b call $a)",
        ),
        (
            "calls itself through a table",
            "(call_indirect (i32.const 0)) i32.const 0",
            indirect,
        ),
        ("calls itself with 2000 wide locals", "call $r i32.const 0", &wide),
        (
            "calls itself with 32 parameters and results",
            "call $s i32.const 0",
            &many_values(),
        ),
        ("calls update out of update", "(call 4 (i32.const 1))", ""),
    ]
    .iter()
    .map(|(name, body, extra)| update_stops(name, "stack", body, extra))
    .collect();
    for (place, callback, guest) in everywhere("call $r i32.const 0") {
        let guest = Guest {
            extra: "(func $r call $r)",
            ..guest
        };
        cases.push(Case::stopped(
            &format!("calls itself in {place}"),
            callback,
            "stack",
            &guest,
        ));
    }
    cases
}

fn many_values() -> String {
    let types = "i64 ".repeat(32);
    let arguments: String = (0..32).map(|i| format!("local.get {i} ")).collect();
    format!(
        "(func $r (param {types}) (result {types}) {arguments} call $r) (func $s {} call $r {})",
        "i64.const 1 ".repeat(32),
        "drop ".repeat(32),
    )
}

fn traps() -> Vec<Case> {
    [
        (
            "divides by zero",
            "divide by zero",
            "(i32.div_u (local.get 0) (i32.const 0))",
        ),
        (
            "takes a remainder by zero",
            "divide by zero",
            "(i32.wrap_i64 (i64.rem_s (i64.const 1) (i64.const 0)))",
        ),
        (
            "divides the smallest integer by -1",
            "overflow",
            "(i32.div_s (i32.const 0x80000000) (i32.const -1))",
        ),
        (
            "converts NaN to an integer",
            "invalid conversion",
            "(i32.trunc_f64_s (f64.const nan))",
        ),
        (
            "converts infinity to an integer",
            "overflow",
            "(i32.trunc_f32_u (f32.const inf))",
        ),
        (
            "reads behind memory",
            "out of bounds",
            "(i32.load (i32.const 131072))",
        ),
        (
            "reads across the end of memory",
            "out of bounds",
            "(i32.load (i32.const 131069))",
        ),
        (
            "reads at an address that wraps round",
            "out of bounds",
            "(i32.load offset=0xffffffff (i32.const -1))",
        ),
        (
            "writes before memory",
            "out of bounds",
            "(i32.store (i32.const -4) (i32.const 1)) i32.const 0",
        ),
        (
            "writes 16 bytes across the end of memory",
            "out of bounds",
            "(v128.store (i32.const 131057) (v128.const i64x2 1 1)) i32.const 0",
        ),
        (
            "fills memory across its end",
            "out of bounds",
            "(memory.fill (i32.const 1) (i32.const 0) (i32.const 131072)) i32.const 0",
        ),
        (
            "copies memory from behind its end",
            "out of bounds",
            "(memory.copy (i32.const 0) (i32.const 131072) (i32.const 1)) i32.const 0",
        ),
        (
            "copies 4 GiB",
            "out of bounds",
            "(memory.copy (i32.const 0) (i32.const 16) (i32.const -1)) i32.const 0",
        ),
        (
            "fills 4 GiB",
            "out of bounds",
            "(memory.fill (i32.const 0) (i32.const 1) (i32.const -1)) i32.const 0",
        ),
    ]
    .iter()
    .map(|(name, says, body)| update_stops(name, says, body, ""))
    .collect()
}

/// Codes of a guest's own, and versions that are none.
fn quits() -> Vec<Case> {
    let plain = Guest::default;
    let init = Guest {
        init: "i32.const 0x80000000",
        ..plain()
    };
    let update = Guest {
        update: "i32.const 1",
        ..plain()
    };
    let store = Guest {
        store: "i32.const -1",
        ..plain()
    };
    let mut cases = vec![
        Case::stopped("gives up in init", Callback::Init, "code -2147483648", &init),
        Case::stopped("gives up in update", Callback::Update, "code 1", &update),
        Case::stopped("gives up in store", Callback::Store, "code -1", &store),
    ];
    for (name, says, abi) in [
        ("has ABI version 0", "como_abi returned 0", "i32.const 0"),
        ("has ABI version 2", "como_abi returned 2", "i32.const 2"),
        ("has ABI version -1", "como_abi returned -1", "i32.const -1"),
    ] {
        let guest = Guest { abi, ..plain() };
        cases.push(Case::stopped(name, Callback::Instantiate, says, &guest));
    }
    cases
}

/// Memory is fixed, and code that asks for more is not accepted, wherever it stands.
fn growth() -> Vec<Case> {
    let says = "uses memory.grow, and memory is fixed";
    let mut cases: Vec<_> = everywhere("(memory.grow (i32.const 1))")
        .iter()
        .map(|(place, _, guest)| Case::refused(&format!("grows its memory in {place}"), says, guest.wasm()))
        .collect();
    for (name, body) in [
        (
            "grows its memory by nothing for ever",
            "(loop $l (drop (memory.grow (i32.const 0))) (br $l)) i32.const 0",
        ),
        (
            "grows its memory by 4 GiB for ever",
            "(loop $l (drop (memory.grow (i32.const -1))) (br $l)) i32.const 0",
        ),
        (
            "grows its memory where it is never reached",
            "unreachable (drop (memory.grow (i32.const 1)))",
        ),
    ] {
        let guest = Guest {
            update: body,
            ..Guest::default()
        };
        cases.push(Case::refused(name, says, guest.wasm()));
    }
    cases.push(update_stops(
        "writes behind its memory",
        "out of bounds",
        "(i32.store (i32.const 131072) (i32.const 1)) i32.const 0",
        "",
    ));
    cases
}
