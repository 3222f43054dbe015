//! Guests that want to harm: each ends in a clean verdict against itself.

mod addresses;
mod behaviour;
mod bombs;
mod code;
mod late;
mod outputs;
mod sections;
pub mod suite;
mod tables;

use como_anonymize::Bitmap;
use como_modules::{Callback, Fault, FaultKind, StartError, limits};

use crate::support::{Guest, admit, manifest, packets, start};

const LOOP: &str = "(loop $l (br $l)) i32.const 0";
/// Branches through a table, each with two values: what they are copied with is a call in the interpreter.
const COPIES: &str = "(loop $l
    (block $b (result i64 i64) (i64.const 1) (i64.const 2) (br_table $b $b (i32.const 0))) drop drop (br $l))
    i32.const 0";

fn start_fault(guest: &Guest<'_>) -> Fault {
    match start(&manifest(), &guest.wasm()) {
        Err(StartError::Fault(fault)) => fault,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it started"),
    }
}

/// Runs one batch and one store; the fault must come, and must stay.
fn run_fault(guest: &Guest<'_>) -> Fault {
    let mut instance = start(&manifest(), &guest.wasm()).expect("a start");
    let view = packets(limits::BATCH_MAX_PACKETS);
    let updated = instance.update(&view, &Bitmap::all(limits::BATCH_MAX_PACKETS));
    let fault = match updated {
        Err(fault) => fault,
        Ok(()) => instance.store().expect_err("a fault"),
    };
    assert_eq!(instance.fault(), Some(&fault));
    assert_eq!(
        instance.store().unwrap_err(),
        fault,
        "a stopped instance stays stopped"
    );
    assert_eq!(instance.update(&view, &Bitmap::all(1)).unwrap_err(), fault);
    fault
}

#[test]
fn an_endless_loop_in_any_callback_runs_out_of_fuel() {
    for (body, name) in [(LOOP, "loop"), (COPIES, "branches with values")] {
        let fault = start_fault(&Guest {
            init: body,
            ..Guest::default()
        });
        assert_eq!(fault.callback, Callback::Init, "{name}");
        assert_eq!(
            fault.kind,
            FaultKind::OutOfFuel {
                budget: limits::FUEL_PER_CALLBACK
            },
            "{name}"
        );
        for guest in [
            Guest {
                arena: body,
                ..Guest::default()
            },
            Guest {
                output: body,
                ..Guest::default()
            },
        ] {
            let fault = start_fault(&guest);
            assert_eq!(fault.callback, Callback::Instantiate, "{name}");
            assert!(matches!(fault.kind, FaultKind::OutOfFuel { .. }), "{name}");
        }
        let fault = run_fault(&Guest {
            update: body,
            ..Guest::default()
        });
        assert_eq!(fault.callback, Callback::Update, "{name}");
        assert_eq!(
            fault.kind,
            FaultKind::OutOfFuel {
                budget: limits::FUEL_PER_BATCH
            },
            "{name}"
        );
        let fault = run_fault(&Guest {
            store: body,
            ..Guest::default()
        });
        assert_eq!(fault.callback, Callback::Store, "{name}");
        assert!(matches!(fault.kind, FaultKind::OutOfFuel { .. }), "{name}");
    }
}

#[test]
fn bulk_memory_operations_cost_fuel() {
    let fill = "(loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 131072)) (br $l)) i32.const 0";
    assert!(matches!(
        run_fault(&Guest {
            update: fill,
            ..Guest::default()
        })
        .kind,
        FaultKind::OutOfFuel { .. }
    ));
}

/// Where growing failed, a loop of `memory.grow` took a frame of the host's stack at each turn, in the shipped profile
/// too: a guest could abort its whole process, and every other guest in it.
#[test]
fn code_that_would_grow_memory_is_refused_for_it_overflowed_the_hosts_stack() {
    for delta in ["0", "1", "-1"] {
        let grow = format!("(loop $l (drop (memory.grow (i32.const {delta}))) (br $l)) i32.const 0");
        let guest = Guest {
            update: &grow,
            ..Guest::default()
        };
        let error = admit(&manifest(), &guest.wasm()).err().expect("a refusal");
        assert!(
            error
                .to_string()
                .contains("function 4 uses memory.grow, and memory is fixed"),
            "{error}"
        );
    }
}

/// With an offset of 64 KiB or more the interpreter followed a wrong address out of the guest's memory. Small offsets
/// and wider lanes take other ways through it; the latter are allowed.
#[test]
fn vector_stores_that_left_the_sandbox_are_refused() {
    let update = |lane: &str, offset: u32| {
        format!(
            "(local v128) (local.set 1 (i64x2.splat (i64.extend_i32_u (local.get 0))))
             (v128.{lane} offset={offset} 0 (i32.const 8) (local.get 1)) i32.const 0"
        )
    };
    for offset in [0, 70_000] {
        for lane in ["store8_lane", "store16_lane"] {
            let guest = Guest {
                update: &update(lane, offset),
                ..Guest::default()
            };
            let error = admit(&manifest(), &guest.wasm()).err().expect("a refusal");
            let says = format!("function 4 uses v128.{lane}, which the interpreter gets wrong");
            assert!(error.to_string().contains(&says), "{error}");
        }
        for lane in ["store32_lane", "store64_lane"] {
            let guest = Guest {
                update: &update(lane, offset),
                ..Guest::default()
            };
            let mut instance = start(&manifest(), &guest.wasm()).expect("a start");
            let view = packets(limits::BATCH_MAX_PACKETS);
            instance
                .update(&view, &Bitmap::all(limits::BATCH_MAX_PACKETS))
                .expect("no fault");
        }
    }
}

/// A call clears its callee's locals, 32 KB of 2000 vectors, and the interpreter does not charge for that.
#[test]
fn clearing_the_locals_of_a_callee_costs_fuel() {
    let calls = 1000;
    let fuel = |locals: &str, call: &str| {
        let update = format!(
            "(local $i i32) (loop $l {call} (local.set $i (i32.add (local.get $i) (i32.const 1)))
             (br_if $l (i32.lt_u (local.get $i) (i32.const {calls})))) i32.const 0"
        );
        let extra = format!("(table 1 1 funcref) (elem (i32.const 0) $f) (func $f (local {locals}))");
        let guest = Guest {
            update: &update,
            extra: &extra,
            ..Guest::default()
        };
        let mut instance = start(&manifest(), &guest.wasm()).expect("a start");
        let before = instance.usage().fuel;
        let packets = packets(limits::BATCH_MAX_PACKETS);
        instance
            .update(&packets, &Bitmap::all(limits::BATCH_MAX_PACKETS))
            .expect("within its budget");
        instance.usage().fuel - before
    };
    for call in ["(call $f)", "(call_indirect (i32.const 0))"] {
        let plain = fuel("", call);
        let free = u64::from(limits::CALL_FREE_LOCALS_BYTES);
        assert_eq!(fuel(&"i64 ".repeat(free as usize / 8), call), plain, "{call}");
        assert_eq!(fuel(&"v128 ".repeat(free as usize / 16), call), plain, "{call}");
        let more = (16 * u64::from(limits::FUNCTION_LOCALS_MAX) - free)
            .div_ceil(limits::CALL_LOCALS_BYTES_PER_FUEL.into());
        let wide = fuel(&"v128 ".repeat(limits::FUNCTION_LOCALS_MAX as usize), call);
        assert_eq!(wide, plain + calls * more, "{call}");
    }
}

#[test]
fn traps_are_named() {
    let recursion = Guest {
        update: "call $r i32.const 0",
        extra: "(func $r call $r)",
        ..Guest::default()
    };
    let wide_recursion = Guest {
        update: "(call $r (i64.const 1)) drop i32.const 0",
        extra: "(func $r (param i64) (result i64) (local i64 i64 i64 i64 i64 i64 i64 i64)
            (i64.add (call $r (local.get 0)) (call $r (local.get 1))))",
        ..Guest::default()
    };
    let cases = [
        (
            "unreachable",
            Guest {
                update: "unreachable",
                ..Guest::default()
            },
        ),
        (
            "divide by zero",
            Guest {
                update: "(i32.div_u (i32.const 1) (i32.const 0))",
                ..Guest::default()
            },
        ),
        (
            "out of bounds",
            Guest {
                update: "(i32.load (i32.const 131072))",
                ..Guest::default()
            },
        ),
        (
            "out of bounds",
            Guest {
                store: "(i32.load (i32.const -4))",
                ..Guest::default()
            },
        ),
        (
            "table",
            Guest {
                update: "(call_indirect (result i32) (i32.const 7))",
                extra: "(table 1 funcref)",
                ..Guest::default()
            },
        ),
        ("stack", recursion),
        ("stack", wide_recursion),
    ];
    for (expected, guest) in cases {
        let FaultKind::Trap(trap) = run_fault(&guest).kind else {
            panic!("{expected}: no trap")
        };
        assert!(trap.contains(expected), "`{trap}` does not say `{expected}`");
    }
}

#[test]
fn a_guest_that_gives_up_is_a_fault_with_its_code() {
    let fault = start_fault(&Guest {
        init: "i32.const 42",
        ..Guest::default()
    });
    assert_eq!(
        (fault.callback, fault.kind),
        (Callback::Init, FaultKind::GaveUp(42))
    );
    let fault = run_fault(&Guest {
        update: "i32.const -1",
        ..Guest::default()
    });
    assert_eq!(
        (fault.callback, fault.kind),
        (Callback::Update, FaultKind::GaveUp(-1))
    );
    let fault = run_fault(&Guest {
        store: "i32.const -9",
        ..Guest::default()
    });
    assert_eq!(
        (fault.callback, fault.kind),
        (Callback::Store, FaultKind::GaveUp(-9))
    );
}

#[test]
fn no_pointer_leaves_the_guests_memory() {
    for arena in [
        "i32.const 131072",
        "i32.const -16",
        "i32.const 127008",
        "i32.const 1025",
        "i32.const 0x7ffffff0",
    ] {
        let fault = start_fault(&Guest {
            arena,
            ..Guest::default()
        });
        assert!(matches!(fault.kind, FaultKind::BadPointer(_)), "{arena}: {fault}");
    }
    for (output, store) in [
        ("i32.const 131041", "i32.const 32"),
        ("i32.const -1", "i32.const 32"),
        ("i32.const 131072", "i32.const 1"),
        ("i32.const 65536", "i32.const 65537"),
    ] {
        let fault = run_fault(&Guest {
            output,
            store,
            ..Guest::default()
        });
        assert!(
            matches!(fault.kind, FaultKind::BadPointer(_)),
            "{output}: {fault}"
        );
    }
}

#[test]
fn lying_and_flooding_outputs_are_refused() {
    let cases = [
        ("bytes, the limit is 4194304", "i32.const 0x7fffffff"),
        ("header", "i32.const 0"),
        (
            "the limit is 65536",
            "(i32.store (i32.const 65536) (i32.const -1)) i32.const 65536",
        ),
        (
            "needs 16 bytes",
            "(i32.store (i32.const 65536) (i32.const 2)) i32.const 24",
        ),
        (
            "follow the last column",
            "(i32.store (i32.const 65536) (i32.const 1)) i32.const 48",
        ),
        (
            "reserved",
            "(i32.store (i32.const 65540) (i32.const 1)) i32.const 16",
        ),
    ];
    for (expected, store) in cases {
        let FaultKind::BadOutput(problem) = run_fault(&Guest {
            store,
            ..Guest::default()
        })
        .kind
        else {
            panic!("{expected}: not an output fault")
        };
        assert!(
            problem.contains(expected),
            "`{problem}` does not say `{expected}`"
        );
    }
}

#[test]
fn a_data_segment_outside_memory_stops_at_instantiation() {
    let fault = start_fault(&Guest {
        extra: r#"(data (i32.const 131070) "abcd")"#,
        ..Guest::default()
    });
    assert_eq!(fault.callback, Callback::Instantiate);
}

#[test]
fn another_abi_version_is_refused() {
    let wasm = wat::parse_str(
        r#"(module (memory (export "memory") 2 2)
            (func (export "como_abi") (result i32) i32.const 2)
            (func (export "como_arena") (result i32) i32.const 1024)
            (func (export "como_output") (result i32) i32.const 65536)
            (func (export "init") (param i32) (result i32) i32.const 0)
            (func (export "update") (param i32) (result i32) i32.const 0)
            (func (export "store") (result i32) i32.const 0))"#,
    )
    .unwrap();
    let Err(StartError::Fault(fault)) = start(&manifest(), &wasm) else {
        panic!("it started")
    };
    assert!(fault.to_string().contains("como_abi returned 2"), "{fault}");
}

#[test]
fn a_hostile_neighbour_changes_nothing() {
    let count = "(i64.store (i32.const 65552)
        (i64.add (i64.load (i32.const 65552)) (i64.extend_i32_u (local.get 0)))) i32.const 0";
    let good = Guest {
        update: count,
        ..Guest::default()
    }
    .wasm();
    let bad = Guest {
        update: LOOP,
        ..Guest::default()
    }
    .wasm();
    let view = packets(3000);
    let all = Bitmap::all(3000);
    let mut alone = start(&manifest(), &good).unwrap();
    alone.update(&view, &all).unwrap();
    let expected = alone.store().unwrap();
    let mut beside = start(&manifest(), &good).unwrap();
    let mut hostile = start(&manifest(), &bad).unwrap();
    assert!(hostile.update(&view, &all).is_err());
    beside.update(&view, &all).unwrap();
    assert!(hostile.store().is_err());
    assert_eq!(beside.store().unwrap(), expected);
    assert_eq!(expected.columns[0], como_dataset::ColumnData::U64(vec![3000]));
}
