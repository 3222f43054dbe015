//! From stored rows to an answer: intervals are combined by rules or by the guest, every table goes through `load` in parts,
//! and which of the longer intervals are complete.

use como_anonymize::{Filter, PacketRow};
use como_dataset::ColumnData;
use como_kit::native;
use como_modules::merge::{Interval, MergeColumn, MergeError, TableMerger};
use como_modules::{Answer, IntervalRows, IntervalRunner, Manifest, Merge, Rows};
use como_topaddr::TopAddr;

use crate::support::{Guest, SECOND_NS, admit, manifest, standard, view};

/// Where these guests have their table area.
const TABLE: &str = r#"(func (export "como_table") (result i32) i32.const 98304)"#;
/// Adds the rows' values to what `store` gives.
const MERGE: &str = r#"(func (export "merge") (param i32) (result i32) (local $i i32)
    (block $end (loop $row
        (br_if $end (i32.ge_u (local.get $i) (local.get 0)))
        (i64.store (i32.const 70000) (i64.add (i64.load (i32.const 70000))
            (i64.load offset=98368 (i32.shl (local.get $i) (i32.const 3)))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $row)))
    i32.const 0)"#;
const SUM_STORE: &str = "(i32.store (i32.const 65536) (i32.const 1))
    (i64.store (i32.const 65552) (i64.load (i32.const 70000)))
    (i64.store (i32.const 70000) (i64.const 0)) i32.const 32";
/// One row for each part: its rows, its flags and the interval's seconds.
const LOAD: &str = r#"(func (export "load") (param i32) (result i32)
    (i32.store (i32.const 65536) (i32.const 1))
    (i64.store (i32.const 65552) (i64.add
        (i64.add (i64.load32_u (i32.const 98320)) (i64.mul (i64.load32_u (i32.const 98324)) (i64.const 10000)))
        (i64.mul (i64.div_u (i64.load (i32.const 98304)) (i64.const 1000000000)) (i64.const 100000))))
    i32.const 32)"#;

fn with_rule(merge: Merge) -> Manifest {
    let mut manifest = manifest();
    manifest.schema[0].merge = merge;
    manifest
}

fn interval(second: u64, values: &[u64], complete: bool) -> IntervalRows {
    IntervalRows {
        interval_start_ns: second * SECOND_NS,
        interval_end_ns: (second + 1) * SECOND_NS,
        rows: Rows {
            columns: vec![ColumnData::U64(values.to_vec())],
        },
        complete,
        sampled: 1,
        packets: 10,
        late_packets: 1,
        skipped_before: 0,
    }
}

fn answered(mut answer: Answer, intervals: Vec<IntervalRows>) -> Vec<IntervalRows> {
    let mut out = Vec::new();
    for interval in intervals {
        answer.push(interval, &mut |rows| out.push(rows)).unwrap();
    }
    answer.finish(&mut |rows| out.push(rows)).unwrap();
    out
}

fn values(rows: &IntervalRows) -> &[u64] {
    match &rows.rows.columns[0] {
        ColumnData::U64(values) => values,
        other => panic!("{other:?}"),
    }
}

fn seconds(rows: &IntervalRows) -> (u64, u64) {
    (
        rows.interval_start_ns / SECOND_NS,
        rows.interval_end_ns / SECOND_NS,
    )
}

#[test]
fn longer_intervals_are_sums_of_theirs_by_rule_and_by_guest_alike() {
    let guest = Guest {
        store: SUM_STORE,
        extra: &format!("{TABLE}{MERGE}"),
        ..Guest::default()
    };
    let intervals = || {
        let mut all: Vec<_> = (5..14)
            .map(|second| interval(second, &[second, 100], second != 10))
            .collect();
        all.push(interval(14, &[], true));
        all
    };
    for merge in [Merge::Sum, Merge::Guest] {
        let module = admit(&with_rule(merge), &guest.wasm()).unwrap();
        let answer = Answer::new(&module, &[], Some(3 * SECOND_NS)).unwrap();
        let found = answered(answer, intervals());
        let shape: Vec<_> = found
            .iter()
            .map(|rows| (seconds(rows), rows.complete, rows.packets, rows.late_packets))
            .collect();
        // The first one lacks two of its seconds, and one has an interrupted second.
        let expected = [
            ((3, 6), false, 10, 1),
            ((6, 9), true, 30, 3),
            ((9, 12), false, 30, 3),
            ((12, 15), true, 30, 3),
        ];
        assert_eq!(shape, expected, "{merge:?}");
        let sums: Vec<_> = found.iter().map(|rows| values(rows).to_vec()).collect();
        assert_eq!(
            sums,
            [[105], [6 + 7 + 8 + 300], [9 + 10 + 11 + 300], [12 + 13 + 200]],
            "{merge:?}"
        );
    }
    // Without a wish, or with the module's own interval, they stay as they are.
    let module = admit(&with_rule(Merge::Guest), &guest.wasm()).unwrap();
    for every in [None, Some(SECOND_NS)] {
        let answer = Answer::new(&module, &[], every).unwrap();
        assert_eq!(answered(answer, intervals()), intervals());
    }
}

#[test]
fn intervals_that_were_left_out_as_empty_count_as_known_and_others_as_missing() {
    let module = admit(&manifest(), &Guest::default().wasm()).unwrap();
    for (skipped, complete) in [(2, true), (1, false), (0, false)] {
        let mut last = interval(5, &[1], true);
        last.skipped_before = skipped;
        let answer = Answer::new(&module, &[], Some(6 * SECOND_NS)).unwrap();
        let intervals = vec![
            interval(0, &[1], true),
            interval(1, &[1], true),
            interval(2, &[1], true),
            last,
        ];
        let found = answered(answer, intervals);
        assert_eq!((found.len(), found[0].complete), (1, complete), "{skipped}");
    }
    // Whole longer ones among them are told as left out.
    let mut last = interval(60, &[1], true);
    last.skipped_before = 59;
    let answer = Answer::new(&module, &[], Some(10 * SECOND_NS)).unwrap();
    let found = answered(answer, vec![interval(0, &[1], true), last]);
    assert_eq!((seconds(&found[1]), found[1].skipped_before), ((60, 70), 5));
}

#[test]
fn every_table_is_loaded_in_parts_after_it_was_combined() {
    let guest = Guest {
        store: SUM_STORE,
        extra: &format!("{TABLE}{MERGE}{LOAD}"),
        ..Guest::default()
    };
    let module = admit(&with_rule(Merge::Guest), &guest.wasm()).unwrap();
    assert!(module.has_load());
    let loaded = |every, rows: usize| {
        let answer = Answer::new(&module, &[], every).unwrap();
        let found = answered(answer, vec![interval(7, &vec![1; rows], true)]);
        values(&found[0]).to_vec()
    };
    let second = 700_000;
    assert_eq!(loaded(None, 0), [second], "an empty table too");
    assert_eq!(loaded(None, 1024), [second + 1024]);
    let more = 10_000;
    assert_eq!(
        loaded(None, 2500),
        [second + more + 1024, second + more + 1024, second + 452]
    );
    assert_eq!(
        loaded(Some(2 * SECOND_NS), 2500),
        [600_000 + 1],
        "one row of the longer interval"
    );
}

#[test]
fn a_module_without_its_own_merge_is_not_merged_by_it() {
    let columns = [MergeColumn {
        kind: como_dataset::ColumnKind::U64,
        merge: Merge::Guest,
    }];
    let by_rules = admit(&manifest(), &Guest::default().wasm()).unwrap();
    let refused = TableMerger::new(&columns, Some((&by_rules, &[])));
    assert!(
        matches!(refused, Err(MergeError::Schema)),
        "its schema says otherwise"
    );
    let error = admit(&with_rule(Merge::Guest), &Guest::default().wasm())
        .err()
        .expect("a refusal");
    assert!(
        error.to_string().contains("export `merge`: is missing"),
        "{error}"
    );
}

/// The compiled guest and the same code natively, over the same intervals.
#[test]
fn topaddr_merges_in_the_sandbox_as_it_does_natively() {
    let (mut manifest, wasm) = standard("topaddr");
    manifest.filter = String::new();
    let module = admit(&manifest, &wasm).unwrap();
    let args = [("k".to_owned(), 5)];
    let rows: Vec<PacketRow> = (0..20_000u64)
        .map(|i| {
            let mixed = (i as u32).wrapping_mul(2_654_435_761);
            PacketRow {
                ts_ns: i * 1_000_000,
                wire_len: 60 + mixed % 1440,
                weight: 1,
                src: u128::from((mixed >> 12) % (mixed >> 28).max(1)).to_be_bytes(),
                dst: u128::from(100 + (mixed >> 8) % 50).to_be_bytes(),
                ..PacketRow::default()
            }
        })
        .collect();
    let mut stored = Vec::new();
    let instance = module.instantiate(&args).unwrap();
    let mut runner = IntervalRunner::new(instance, Filter::any(), 0, u64::MAX);
    runner
        .push(&view(&rows), None, &mut |rows| stored.push(rows))
        .unwrap();
    runner
        .finish(20 * SECOND_NS, &mut |rows| stored.push(rows))
        .unwrap();
    let found = answered(Answer::new(&module, &args, Some(20 * SECOND_NS)).unwrap(), stored);
    assert_eq!(
        (found.len(), found[0].complete, found[0].packets),
        (1, true, 20_000)
    );

    let mut merged = native::Guest::<TopAddr>::new(&[5]);
    for second in rows.chunks(1000) {
        let column = |of: fn(&PacketRow) -> [u8; 16]| second.iter().map(of).collect::<Vec<_>>();
        let lengths: Vec<u32> = second.iter().map(|row| row.wire_len).collect();
        let packets = native::Packets::new(second.len()).set(como_kit::columns::WIRE_LEN, &lengths);
        let packets = packets.set(como_kit::columns::SRC, &column(|row| row.src));
        let mut guest = native::Guest::<TopAddr>::new(&[5]);
        guest.update(packets.set(como_kit::columns::DST, &column(|row| row.dst)));
        merged.merge(&guest.store(), 0);
    }
    let table = merged.store();
    let rows: Vec<Vec<como_kit::Value>> = (0..table.rows()).map(|row| table.row(row)).collect();
    let shown: Vec<Vec<como_kit::Value>> = (0..found[0].rows.rows())
        .map(|row| {
            let values = found[0].rows.columns.iter().map(|column| match column {
                ColumnData::Address(v) => como_kit::Value::Address(v[row]),
                ColumnData::U64(v) => como_kit::Value::U64(v[row]),
                other => panic!("{other:?}"),
            });
            values.collect()
        })
        .collect();
    assert_eq!(shown, rows);
    // A table of one interval, merged alone, is itself.
    let alone = Interval {
        start_ns: 0,
        length_ns: SECOND_NS,
    };
    let columns = como_modules::merge::columns_of(module.manifest());
    let mut merger = TableMerger::new(&columns, Some((&module, &args))).unwrap();
    merger.add(alone, &found[0].rows).unwrap();
    assert_eq!(merger.take(alone).unwrap(), found[0].rows);
}

/// Stores its argument, and loads a thousand times its argument more.
#[test]
fn an_argument_that_only_load_sees_is_the_default_where_rows_are_computed_and_merged() {
    let guest = Guest {
        init: "(i64.store (i32.const 70000) (i64.load (i32.const 1088))) i32.const 0",
        store: "(i64.store (i32.const 65552) (i64.load (i32.const 70000)))
            (i32.store (i32.const 65536) (i32.const 1)) i32.const 32",
        extra: r#"(func (export "como_table") (result i32) i32.const 80000)
            (func (export "merge") (param i32) (result i32) i32.const 0)
            (func (export "load") (param i32) (result i32)
                (i64.store (i32.const 65552) (i64.add (i64.load (i32.const 80064))
                    (i64.mul (i64.load (i32.const 70000)) (i64.const 1000))))
                (i32.store (i32.const 65536) (i32.const 1)) i32.const 32)"#,
        ..Guest::default()
    };
    let mut manifest = manifest();
    manifest.schema[0].merge = Merge::Guest;
    manifest.args = vec![como_modules::ArgSpec {
        name: "k".into(),
        default: 1,
        min: 0,
        max: 9,
        description: String::new(),
        load_only: true,
    }];
    let module = admit(&manifest, &guest.wasm()).unwrap();
    let asked = [("k".to_owned(), 7)];
    let mut computing = module.recorder(&asked).unwrap();
    let stored = computing.store().unwrap();
    assert_eq!(stored.columns, [ColumnData::U64(vec![1])]);
    for (every, tables) in [(None, 1), (Some(2 * SECOND_NS), 2)] {
        let answer = Answer::new(&module, &asked, every).unwrap();
        let intervals = (0..tables).map(|second| interval(second, &[1], true));
        let found = answered(answer, intervals.collect());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].rows.columns, [ColumnData::U64(vec![7001])], "{every:?}");
    }
    let without = Guest::default().wasm();
    manifest.schema[0].merge = Merge::Sum;
    let refused = admit(&manifest, &without).err().expect("refused").to_string();
    assert!(refused.contains("for `load` only"), "{refused}");
}
