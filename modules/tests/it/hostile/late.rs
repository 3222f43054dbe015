//! Guests that behave until something happens: a number of batches, a certain packet, an empty interval, the
//! last `store`. Owns one case per trigger and deed; the stream that they see stands in suite.rs.

use como_modules::Callback;

use super::suite::{Case, EMPTY_INTERVAL, INTERVALS, SIGNAL_WIRE_LEN};
use crate::support::Guest;

const COUNT: &str = "(global.set $n (i32.add (global.get $n) (i32.const 1)))";
const ROW: &str = "(i32.store (i32.const 65536) (i32.const 1)) i32.const 32";

/// What it does, once it does it: name, body, what the fault says.
const DEEDS: [(&str, &str, &str); 5] = [
    ("traps", "unreachable", "unreachable"),
    ("loops", "(loop $l (br $l))", "out of fuel"),
    ("calls itself", "(call $r)", "stack"),
    (
        "reads outside",
        "(drop (i32.load (i32.const -4)))",
        "out of bounds",
    ),
    ("gives up", "(return (i32.const -7))", "code -7"),
];

pub fn cases() -> Vec<Case> {
    let last_store = format!("(i32.eq (global.get $n) (i32.const {INTERVALS}))");
    let empty = format!("(i32.eq (global.get $n) (i32.const {}))", EMPTY_INTERVAL + 1);
    let in_update = [
        (
            "after four batches",
            "(i32.eq (global.get $n) (i32.const 5))".to_string(),
        ),
        (
            "in the first batch that is not full",
            "(i32.lt_u (local.get 0) (i32.const 1024))".to_string(),
        ),
        ("when a certain packet comes", saw_signal()),
    ];
    let in_store = [
        ("in the last store only", &last_store),
        ("in the store of an empty interval", &empty),
    ];
    let mut cases = Vec::new();
    for (deed, body, says) in DEEDS {
        for (when, condition) in &in_update {
            let update = format!("(local $i i32) {COUNT} (if {condition} (then {body})) i32.const 0");
            let guest = Guest {
                update: &update,
                ..Guest::default()
            };
            cases.push(case(&format!("{deed} {when}"), Callback::Update, says, guest));
        }
        for (when, condition) in in_store {
            cases.push(store_case(&format!("{deed} {when}"), says, condition, body));
        }
    }
    let stores = |bytes: &str| format!("(return (i32.const {bytes}))");
    cases.push(store_case(
        "stores 2 GiB in the last store only",
        "the limit is 4194304",
        &last_store,
        &stores("0x7fffffff"),
    ));
    cases.push(store_case(
        "stores no header for an empty interval",
        "`header` needs 16 bytes",
        &empty,
        &stores("0"),
    ));
    cases
}

/// Whether the batch in the arena has the packet that the stream has once. Leaves an `i32`.
fn saw_signal() -> String {
    format!(
        "(block $found (result i32)
            (loop $next
                (drop (br_if $found (i32.const 1) (i32.eq (i32.const {SIGNAL_WIRE_LEN})
                    (i32.load offset=1088 (i32.shl (local.get $i) (i32.const 2))))))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $next (i32.lt_u (local.get $i) (local.get 0))))
            (i32.const 0))"
    )
}

fn store_case(name: &str, says: &'static str, condition: &str, body: &str) -> Case {
    let store = format!("{COUNT} (if {condition} (then {body})) {ROW}");
    let guest = Guest {
        store: &store,
        ..Guest::default()
    };
    case(name, Callback::Store, says, guest)
}

fn case(name: &str, callback: Callback, says: &'static str, guest: Guest<'_>) -> Case {
    let guest = Guest {
        extra: "(global $n (mut i32) (i32.const 0)) (func $r call $r)",
        ..guest
    };
    Case::stopped(name, callback, says, &guest)
}
