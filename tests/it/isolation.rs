//! Hostile modules in a running node: each class of them is sent by a developer, started by a partner beside modules that
//! behave, and must end in a verdict while everything else goes on as if it had never been there. What the sandbox does
//! with each of some three hundred is tested where the sandbox is (`modules/tests/it/hostile`).

use std::collections::BTreeSet;

use serde_json::Value;

use super::harness::{Deployment, Guest, Node, Person, open_table, wait_for};
use super::stories::oracle::look_at;
use super::stories::records::{later, replay_for};
use super::stories::{SECOND, seconds};

const LOOP: &str = "(loop $l (br $l)) i32.const 0";
/// Leaves a mark that its `store` finds: with it a guest passes the trial, which shows it no packet.
const MARK: &str = "(i32.store (i32.const 0) (i32.const 1)) i32.const 0";

/// A guest that harms, and words of the verdict.
type Case = (Guest<'static>, &'static str);

fn guest(name: &'static str) -> Guest<'static> {
    Guest {
        name,
        ..Guest::default()
    }
}

/// `store`: `body` once the guest has seen a packet, else a table without a row.
macro_rules! once_marked {
    ($body:literal) => {
        concat!(
            "(if (result i32) (i32.load (i32.const 0)) (then ",
            $body,
            ") (else (i32.store (i32.const 65536) (i32.const 0)) i32.const 16))"
        )
    };
}

/// `load` or `merge` with its table area; what the other one is, does not matter.
macro_rules! tables {
    ($area:literal, $merge:literal, $load:literal) => {
        concat!(
            "(func $r call $r) (func (export \"como_table\") (result i32) ",
            $area,
            ") (func (export \"merge\") (param i32) (result i32) ",
            $merge,
            ") (func (export \"load\") (param i32) (result i32) ",
            $load,
            ")"
        )
    };
}

/// Those that are not taken: by what their code contains, or by the trial.
fn refused() -> Vec<Case> {
    vec![
        (
            Guest {
                init: LOOP,
                ..guest("loops-in-init")
            },
            "fuel",
        ),
        (
            Guest {
                arena: LOOP,
                ..guest("loops-in-arena")
            },
            "fuel",
        ),
        (
            Guest {
                output: LOOP,
                ..guest("loops-in-output")
            },
            "fuel",
        ),
        (
            Guest {
                store: LOOP,
                ..guest("loops-in-store")
            },
            "fuel",
        ),
        (
            Guest {
                extra: tables!("i32.const 98304", "(loop $l (br $l)) i32.const 0", "i32.const 0"),
                ..guest("loops-in-merge")
            },
            "fuel",
        ),
        (
            Guest {
                arena: "i32.const 131072",
                ..guest("arena-outside")
            },
            "outside its memory",
        ),
        (
            Guest {
                output: "i32.const -16",
                ..guest("output-outside")
            },
            "outside its memory",
        ),
        (
            Guest {
                extra: tables!("i32.const 131008", "i32.const 0", "i32.const 0"),
                ..guest("table-outside")
            },
            "outside its memory",
        ),
        (
            Guest {
                extra: "(data (i32.const 131070) \"abcd\")",
                ..guest("data-outside")
            },
            "instantiation",
        ),
        (
            Guest {
                update: "(drop (memory.grow (i32.const 1))) i32.const 0",
                ..guest("grows")
            },
            "memory.grow",
        ),
        (
            Guest {
                memory: "(memory (export \"memory\") 2 3)",
                ..guest("may-grow")
            },
            "may grow to 3",
        ),
        (
            Guest {
                imports: "(import \"env\" \"clock\" (func (result i64)))",
                ..guest("imports")
            },
            "imports `env.clock`",
        ),
        (
            Guest {
                extra: "(func $s) (start $s)",
                ..guest("starts")
            },
            "start function",
        ),
        (
            Guest {
                extra: "(table 0 4294967295 funcref)",
                ..guest("huge-table")
            },
            "table elements",
        ),
        (
            Guest {
                store: "i32.const 0x7fffffff",
                ..guest("two-gibibytes")
            },
            "bad output",
        ),
    ]
}

/// Those that behave until they see packets.
fn stopped() -> Vec<Case> {
    vec![
        (
            Guest {
                update: LOOP,
                ..guest("loops")
            },
            "update: out of fuel",
        ),
        (
            Guest {
                update: "(loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 131072)) (br $l)) i32.const 0",
                ..guest("fills")
            },
            "update: out of fuel",
        ),
        (
            Guest {
                update: "unreachable",
                ..guest("traps")
            },
            "unreachable",
        ),
        (
            Guest {
                update: "call $r i32.const 0",
                extra: "(func $r call $r)",
                ..guest("recurses")
            },
            "stack",
        ),
        (
            Guest {
                update: "(i32.load (i32.const 131072))",
                ..guest("reads-outside")
            },
            "out of bounds",
        ),
        (
            Guest {
                update: "(i32.store (i32.const -4) (i32.const 1)) i32.const 0",
                ..guest("writes-outside")
            },
            "out of bounds",
        ),
        (
            Guest {
                update: "(call_indirect (result i32) (i32.const 7))",
                extra: "(table 1 funcref)",
                ..guest("calls-outside")
            },
            "trap",
        ),
        (
            Guest {
                update: "i32.const -9",
                ..guest("gives-up")
            },
            "update: it gave up",
        ),
        (
            Guest {
                update: MARK,
                store: once_marked!("(loop $l (br $l)) i32.const 0"),
                ..guest("loops-late")
            },
            "store: out of fuel",
        ),
        (
            Guest {
                update: MARK,
                store: once_marked!("call $r i32.const 0"),
                extra: "(func $r call $r)",
                ..guest("recurses-late")
            },
            "stack",
        ),
        (
            Guest {
                update: MARK,
                store: once_marked!("i32.const 0x7fffffff"),
                ..guest("floods")
            },
            "store: bad output",
        ),
        (
            Guest {
                update: MARK,
                store: once_marked!("(i32.store (i32.const 65536) (i32.const 65536)) i32.const 32"),
                ..guest("lies-about-rows")
            },
            "store: bad output",
        ),
        (
            Guest {
                update: MARK,
                output: "i32.const 131008",
                store: concat!(
                    "(if (result i32) (i32.load (i32.const 0)) (then i32.const 4096)",
                    " (else (i32.store (i32.const 131008) (i32.const 0)) i32.const 16))"
                ),
                ..guest("stores-outside")
            },
            "store: it gave an address outside",
        ),
    ]
}

/// Those that behave until somebody asks: the trial's table is of the time 0.
fn asked() -> Vec<Case> {
    vec![
        (
            Guest {
                extra: tables!(
                    "i32.const 98304",
                    "i32.const 0",
                    "(if (i64.ne (i64.load (i32.const 98304)) (i64.const 0)) (then (loop $l (br $l))))
                     (i32.store (i32.const 65536) (i32.const 0)) i32.const 16"
                ),
                ..guest("loops-in-load")
            },
            "load: out of fuel",
        ),
        (
            Guest {
                extra: tables!(
                    "i32.const 98304",
                    "i32.const 0",
                    "(if (i64.ne (i64.load (i32.const 98304)) (i64.const 0)) (then (call $r)))
                     (i32.store (i32.const 65536) (i32.const 0)) i32.const 16"
                ),
                ..guest("recurses-in-load")
            },
            "stack",
        ),
    ]
}

/// Rows that are floats without an order, of every kind: no fault, and one pattern of bits.
fn unordered() -> Guest<'static> {
    Guest {
        kind: "f64",
        store: "(i64.store (i32.const 65552) (i64.const 0x7ff0000000000001))
            (i64.store (i32.const 65560) (i64.const -1))
            (i32.store (i32.const 65536) (i32.const 2)) i32.const 32",
        ..guest("unordered")
    }
}

/// Names of what runs, as a partner sees it.
fn running(partner: &Person) -> BTreeSet<String> {
    let status = partner.como(&["--json", "status"]).ok().json();
    let runs = status["live_modules"].as_array().expect("a list");
    runs.iter()
        .map(|run| run["name"].as_str().expect("a name").to_owned())
        .collect()
}

fn exports(node: &Node) -> BTreeSet<u32> {
    let roles = node.roles().into_iter();
    roles
        .filter(|(role, _)| role == "export")
        .map(|(_, pid)| pid)
        .collect()
}

/// Files that are no modules, nearly.
fn malformed(dora: &Person) {
    let whole = guest("malformed").wasm();
    let mut long = whole.clone();
    // The first section says that it is longer than the file.
    long[9] = 0x7f;
    let mut twice = whole.clone();
    twice.extend_from_slice(&whole[8..]);
    let bombs: String = (0..4100).map(|_| "(func)").collect();
    let many = wat::parse_str(format!("(module {bombs})")).expect("it parses");
    for code in [&whole[..7], &whole[..whole.len() / 2], &long, &twice, &many, b""] {
        let file = guest("malformed").signed_as(dora, code);
        let refused = dora.submit_file(&file);
        assert_eq!(refused.code, 7, "{}", refused.stderr);
    }
}

#[test]
fn hostile_modules_in_a_running_node_end_in_verdicts_and_the_records_of_the_others_are_whole() {
    let good = ["traffic", "topports", "topaddr"];
    let traffic = later(12_000, 30.0);
    let mut site = Deployment::new()
        .capture(500, 64)
        .config_extra("[modules]\nmax_live = 32");
    let dora = site.developer("dora", "anonymized");
    let ops = site.partner("ops", "anonymized", true);
    let node = replay_for(&mut site, &traffic, |_| {
        for module in good {
            dora.submit(module).ok();
            ops.como(&["module", "start", module]).ok();
        }
    });
    node.until("they see packets", |status| {
        status["capture"]["now_ns"].as_u64() > Some(traffic.start_ns + 3 * SECOND)
    });
    let before = exports(&node);
    assert_eq!(
        before.len(),
        2,
        "those without pseudonyms share a process with what comes"
    );

    malformed(&dora);
    for (guest, words) in refused() {
        dora.submit_file(&guest.signed_by(&dora)).refused(7, words);
    }
    let stopped = stopped();
    for (guest, _) in &stopped {
        dora.submit_file(&guest.signed_by(&dora)).ok();
        ops.como(&["module", "start", guest.name]).ok();
    }
    dora.submit_file(&unordered().signed_by(&dora)).ok();
    ops.como(&["module", "start", "unordered"]).ok();
    let left: BTreeSet<String> = good.into_iter().chain(["unordered"]).map(str::to_owned).collect();
    wait_for("each of them is stopped", || {
        (running(&ops) == left).then_some(())
    });
    let faults = node.audited("module_fault");
    assert_eq!(faults.len(), stopped.len(), "one verdict for each: {faults:?}");
    let list = ops.como(&["--json", "module", "list"]).ok().json();
    let of = |name: &str| {
        let modules = list["modules"].as_array().expect("a list").iter();
        modules
            .clone()
            .find(|module| module["name"] == name)
            .unwrap_or_else(|| panic!("{name} is not in {list}"))
    };
    for (guest, words) in &stopped {
        let told = of(guest.name)["last_fault"].as_str().unwrap_or_default();
        assert!(
            told.contains(words),
            "{}: `{words}` is not in `{told}`",
            guest.name
        );
    }
    for module in good {
        assert_eq!(of(module)["faults"], 0, "{module} is not blamed");
    }
    node.ingested();

    // Who asks one that harms gets the verdict and no dataset, also over what it had stored.
    let (first, end) = (traffic.start_ns + 2 * SECOND, traffic.start_ns + 28 * SECOND);
    let window = ["--from", &seconds(first), "--to", &seconds(end)];
    for (guest, words) in asked() {
        dora.submit_file(&guest.signed_by(&dora)).ok();
        ops.query(guest.name, &window, "never.como").refused(8, words);
        assert!(!ops.path("never.como").exists());
    }
    ops.query("unordered", &window, "unordered.como").ok();
    let table = open_table(&ops, &ops.path("unordered.como"));
    let bits = |row: &Vec<super::harness::Cell>| match row[1] {
        super::harness::Cell::Fraction(value) => value.to_bits(),
        ref other => panic!("{other:?}"),
    };
    assert!(table.rows.len() >= 26 && table.rows.iter().map(bits).all(|bits| bits == f64::NAN.to_bits()));

    // The trace is complete, the processes are the same, and every record of the others is there and right.
    assert_eq!(exports(&node), before, "no process died");
    // Those of a query end with the verdict on what it ran.
    let of_query = |event: &&Value| event["role"] == "runner" || event["role"] == "reader";
    let died = node.audited("died");
    let others: Vec<&Value> = died.iter().filter(|event| !of_query(event)).collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(node.catalog()["packets"], 500 + traffic.packets as u64);
    assert_eq!(node.catalog()["lost_packets"], 0);
    for module in good {
        let explain = [&["--json", "query", module, "--explain"][..], &window].concat();
        node.until("all of it is recorded", |_| {
            ops.como(&explain).ok().json()["estimate"]["from_records"] == true
        });
        let [kept, alone] = ["kept", "alone"].map(|kind| {
            let fresh = if kind == "alone" { &["--fresh"][..] } else { &[] };
            let file = format!("{module}-{kind}.como");
            let told = ops
                .query(module, &[&window[..], fresh].concat(), &file)
                .ok()
                .json();
            assert_eq!(told["reused"], kind == "kept");
            open_table(&ops, &ops.path(&file))
        });
        // Computed from the trace, by a process of its own, with nobody beside it.
        assert_eq!(kept.rows, alone.rows, "{module}");
        assert!(kept.end.is_complete() && kept.end.sampled.is_empty());
        if module == "traffic" {
            let real = look_at(&traffic);
            let inside = real.iter().filter(|seen| (first..end).contains(&seen.ts_ns));
            assert_eq!(kept.sum("packets"), inside.count() as i128);
        }
    }
    node.stop();
}
