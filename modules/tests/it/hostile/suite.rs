//! The hostile suite: every guest of the tables beside this file is sent to the sandbox as its developer would
//! send it, beside a well-behaved one that sees the same views. Owns what a clean verdict is; must never
//! accept one that the table does not name.

use como_anonymize::{Filter, PacketRow, View};
use como_dataset::ColumnKind;
use como_modules::merge::MergeError;
use como_modules::{
    AdmittedModule, Answer, Callback, Fault, FaultKind, Instance, IntervalRows, IntervalRunner, Manifest,
    Merge, ModuleError, OutputColumn, StartError, limits,
};

use super::{addresses, behaviour, bombs, code, late, outputs, sections, tables};
use crate::intervals::MIX;
use crate::support::{Guest, SECOND_NS, admit, manifest, start, view};

/// One guest that wants to harm.
pub struct Case {
    /// What it tries.
    pub name: String,
    pub manifest: Manifest,
    pub wasm: Vec<u8>,
    pub verdict: Verdict,
}

/// What must become of it. The text is part of the error: it names the item.
pub enum Verdict {
    /// Not accepted: nothing of it runs.
    Refused(&'static str),
    /// Stopped by a fault in this callback.
    Stopped(Callback, &'static str),
    /// What it tries has no effect: it runs to the end like any other.
    Harmless,
}

impl Case {
    pub fn refused(name: &str, names: &'static str, wasm: Vec<u8>) -> Self {
        Self::new(name, manifest(), wasm, Verdict::Refused(names))
    }

    pub fn stopped(name: &str, callback: Callback, says: &'static str, guest: &Guest<'_>) -> Self {
        Self::new(name, manifest(), guest.wasm(), Verdict::Stopped(callback, says))
    }

    pub fn harmless(name: &str, wasm: Vec<u8>) -> Self {
        Self::new(name, manifest(), wasm, Verdict::Harmless)
    }

    pub fn new(name: &str, manifest: Manifest, wasm: Vec<u8>, verdict: Verdict) -> Self {
        Self {
            name: name.into(),
            manifest,
            wasm,
            verdict,
        }
    }
}

/// The probe's manifest with another schema of one column.
pub fn with_column(kind: ColumnKind) -> Manifest {
    Manifest {
        schema: vec![OutputColumn {
            name: "value".into(),
            kind,
            unit: String::new(),
            description: "a value".into(),
            merge: Merge::Last,
        }],
        ..manifest()
    }
}

/// Packets per interval of the suite's stream: two full batches and a part of one.
pub const PACKETS: usize = 2 * limits::BATCH_MAX_PACKETS + 500;
/// Intervals of the stream, the empty one at [`EMPTY_INTERVAL`] included.
pub const INTERVALS: usize = 4;
/// The interval without a packet.
pub const EMPTY_INTERVAL: usize = 2;
/// Length of the one packet that waiting guests wait for, in the interval after the empty one.
pub const SIGNAL_WIRE_LEN: u32 = 666;

/// Views of three packets short of a batch, so that batches and views do not share their edges.
fn stream() -> Vec<View> {
    let mut rows = Vec::new();
    for interval in (0..INTERVALS).filter(|i| *i != EMPTY_INTERVAL) {
        rows.extend((0..PACKETS).map(|i| PacketRow {
            ts_ns: (10 + interval as u64) * SECOND_NS + i as u64 * 1000,
            wire_len: 1000 + (i * 7919 % 500) as u32,
            weight: 1,
            ..PacketRow::default()
        }));
    }
    let last = rows.len() - 700;
    rows[last].wire_len = SIGNAL_WIRE_LEN;
    rows.chunks(limits::BATCH_MAX_PACKETS - 3).map(view).collect()
}

/// What became of a guest.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    Refused(ModuleError),
    Stopped(Fault),
    Ran(Vec<IntervalRows>),
}

/// A well-behaved guest whose rows depend on every byte of its columns and on every edge of a batch.
fn neighbour() -> IntervalRunner {
    let guest = Guest {
        update: MIX,
        ..Guest::default()
    };
    runner(start(&manifest(), &guest.wasm()).expect("the neighbour starts"))
}

fn runner(instance: Instance) -> IntervalRunner {
    IntervalRunner::new(instance, Filter::any(), 10 * SECOND_NS, u64::MAX)
}

fn end_ns() -> u64 {
    (10 + INTERVALS as u64) * SECOND_NS
}

/// The neighbour's rows, with or without somebody beside it.
pub fn beside(manifest: &Manifest, wasm: &[u8]) -> (Outcome, Vec<IntervalRows>) {
    let views = stream();
    let mut rows = Vec::new();
    let mut good = neighbour();
    let mut stopped = None;
    let mut theirs = Vec::new();
    let admitted = admit(manifest, wasm);
    let mut hostile = match &admitted {
        Err(error) => {
            stopped = Some(Outcome::Refused(error.clone()));
            None
        }
        Ok(admitted) => match admitted.instantiate(&[]) {
            Err(StartError::Argument(error)) => panic!("{error}"),
            Err(StartError::Fault(fault)) => {
                stopped = Some(Outcome::Stopped(fault));
                None
            }
            Ok(instance) => Some(runner(instance)),
        },
    };
    for view in &views {
        if let Some(runner) = &mut hostile
            && let Err(fault) = runner.push(view, None, &mut |rows| theirs.push(rows))
        {
            let again = runner.push(view, None, &mut |_| panic!("rows after a fault"));
            assert_eq!(again, Err(fault.clone()), "a stopped instance stays stopped");
            stopped = Some(Outcome::Stopped(fault));
            hostile = None;
        }
        good.push(view, None, &mut |r| rows.push(r))
            .expect("the neighbour has no fault");
    }
    if let Some(runner) = hostile
        && let Err(fault) = runner.finish(end_ns(), &mut |rows| theirs.push(rows))
    {
        stopped = Some(Outcome::Stopped(fault));
    }
    good.finish(end_ns(), &mut |r| rows.push(r))
        .expect("the neighbour has no fault");
    if let (None, Ok(admitted)) = (&stopped, &admitted) {
        stopped = answer_fault(admitted, &theirs).map(Outcome::Stopped);
    }
    (stopped.unwrap_or(Outcome::Ran(theirs)), rows)
}

/// The rows are combined and loaded as for an asker; the fault that ends it.
fn answer_fault(module: &AdmittedModule, stored: &[IntervalRows]) -> Option<Fault> {
    let answered = || {
        let mut answer = Answer::new(module, &[], Some(2 * SECOND_NS))?;
        for rows in stored {
            answer.push(rows.clone(), &mut |_| ())?;
        }
        answer.finish(&mut |_| ())
    };
    match answered() {
        Ok(()) => None,
        Err(MergeError::Fault(fault)) => Some(fault),
        Err(other) => panic!("{other}"),
    }
}

/// The neighbour's rows where nobody runs beside it.
pub fn alone() -> Vec<IntervalRows> {
    let mut rows = Vec::new();
    let mut good = neighbour();
    for view in &stream() {
        good.push(view, None, &mut |r| rows.push(r)).expect("no fault");
    }
    good.finish(end_ns(), &mut |r| rows.push(r)).expect("no fault");
    rows
}

/// Messages are for people: two lines, without anything that a terminal would obey.
pub fn check_message(text: &str) -> Result<(), String> {
    let readable = text.lines().count() == 2 && !text.contains(|c: char| c.is_control() && c != '\n');
    readable
        .then_some(())
        .ok_or_else(|| format!("not two lines of text: {text:?}"))
}

fn check(verdict: &Verdict, outcome: &Outcome) -> Result<(), String> {
    let says = |text: &str, wanted: &str| {
        let found = text.contains(wanted);
        found
            .then_some(())
            .ok_or_else(|| format!("`{text}` does not say `{wanted}`"))
    };
    match (verdict, outcome) {
        (Verdict::Refused(names), Outcome::Refused(error)) => {
            says(&error.to_string(), names)?;
            check_message(&error.to_string())
        }
        (Verdict::Stopped(callback, reason), Outcome::Stopped(fault)) => {
            // The fault names the code, by its hash.
            says(
                &fault.to_string(),
                &format!("module {}, {callback}: ", fault.module),
            )?;
            says(&fault.to_string(), reason)?;
            check_message(&fault.to_string())
        }
        // A table for each interval.
        (Verdict::Harmless, Outcome::Ran(rows)) if rows.len() == INTERVALS => Ok(()),
        (_, other) => Err(format!("another verdict: {other:?}")),
    }
}

fn all() -> Vec<Case> {
    [
        behaviour::cases(),
        addresses::cases(),
        outputs::cases(),
        late::cases(),
        code::cases(),
        bombs::cases(),
        sections::cases(),
        tables::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One table after the other, so that each is a test that a runner can start on its own.
fn run(cases: Vec<Case>) {
    let expected = alone();
    assert_eq!(expected.len(), INTERVALS);
    let mut wrong = Vec::new();
    for case in cases {
        let (outcome, rows) = beside(&case.manifest, &case.wasm);
        if let Err(problem) = check(&case.verdict, &outcome) {
            wrong.push(format!("{}: {problem}", case.name));
        }
        if rows != expected {
            wrong.push(format!("{}: it changed its neighbour's rows", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_a_guest_does_ends_in_a_verdict_and_changes_no_neighbour() {
    run(behaviour::cases());
}

#[test]
fn addresses_that_a_guest_gives_end_in_a_verdict_and_change_no_neighbour() {
    run(addresses::cases());
}

#[test]
fn what_a_guest_stores_ends_in_a_verdict_and_changes_no_neighbour() {
    run(outputs::cases());
}

#[test]
fn a_guest_that_waits_ends_in_a_verdict_and_changes_no_neighbour() {
    run(late::cases());
}

#[test]
fn what_code_contains_ends_in_a_verdict_and_changes_no_neighbour() {
    run(code::cases());
}

#[test]
fn bombs_for_the_compiler_end_in_a_verdict_and_change_no_neighbour() {
    run(bombs::cases());
}

#[test]
fn malformed_files_end_in_a_verdict_and_change_no_neighbour() {
    run(sections::cases());
}

#[test]
fn what_a_guest_does_with_stored_rows_ends_in_a_verdict_and_changes_no_neighbour() {
    run(tables::cases());
}

#[test]
fn the_suite_has_at_least_sixty_guests_that_are_refused_or_stopped_each_under_a_name_of_its_own() {
    let cases = all();
    let names: std::collections::BTreeSet<&str> = cases.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "two guests have one name");
    let harmful = cases
        .iter()
        .filter(|c| !matches!(c.verdict, Verdict::Harmless))
        .count();
    assert!(harmful >= 60, "{harmful}");
}

#[test]
fn floats_without_an_order_come_back_as_one() {
    let rows = |wasm: Vec<u8>| match beside(&with_column(ColumnKind::F64), &wasm).0 {
        Outcome::Ran(rows) => rows,
        other => panic!("{other:?}"),
    };
    let bits = |rows: &[IntervalRows]| match &rows[0].rows.columns[0] {
        como_dataset::ColumnData::F64(values) => values.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    for nan in ["0x7ff0000000000001", "0xffffffffffffffff", "0xfff8000000000000"] {
        let store = outputs::one_u64(nan);
        let wasm = Guest {
            store: &store,
            ..Guest::default()
        }
        .wasm();
        assert_eq!(bits(&rows(wasm)), [0x7ff8_0000_0000_0000], "{nan}");
    }
}

/// The budgets are what the limits say: a guest that uses less than one of them in each call goes on, and
/// nothing of it is carried over to the next call.
#[test]
fn fuel_is_given_anew_to_each_call_and_never_saved() {
    let turns = |n: u64| {
        format!(
            "(local $i i64) (loop $l (local.set $i (i64.add (local.get $i) (i64.const 1)))
             (br_if $l (i64.lt_u (local.get $i) (i64.const {n})))) i32.const 0"
        )
    };
    let outcome = |turns: &str| {
        let guest = Guest {
            update: turns,
            ..Guest::default()
        };
        beside(&manifest(), &guest.wasm()).0
    };
    // A turn costs more than one unit and fewer than 16; there are nine batches.
    assert!(matches!(
        outcome(&turns(limits::FUEL_PER_BATCH / 16)),
        Outcome::Ran(_)
    ));
    let Outcome::Stopped(fault) = outcome(&turns(limits::FUEL_PER_BATCH)) else {
        panic!("more turns than units")
    };
    assert_eq!(
        fault.kind,
        FaultKind::OutOfFuel {
            budget: limits::FUEL_PER_BATCH
        }
    );
}
