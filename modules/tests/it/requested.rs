//! What a guest did not ask for, it does not get: a scan of its whole memory finds the columns that its manifest requests
//! and no byte of another.

use como_anonymize::{Column, Columns, Filter, Frames, LinkType, View};
use como_dataset::ColumnData;
use como_modules::IntervalRunner;
use como_policies::AccessLevel;

use crate::support::{Guest, SECOND_NS, manifest, start};

/// A byte that stands in memory for no other reason.
const PLANTED: u8 = 0xa5;

/// Counts the planted bytes of the first 64 KiB, where the arena is.
const SCAN: &str = "(local $i i32) (local $found i64)
    (loop $l
        (if (i32.eq (i32.load8_u (local.get $i)) (i32.const 0xa5))
            (then (local.set $found (i64.add (local.get $found) (i64.const 1)))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $i) (i32.const 65536))))
    (i64.store (i32.const 65552) (i64.add (i64.load (i32.const 65552)) (local.get $found)))
    i32.const 0";

/// One packet, every column of it full of planted bytes but its time.
fn planted() -> View {
    let mut columns = Columns::default();
    for column in Column::ALL {
        let byte = if *column == Column::TsNs { 0 } else { PLANTED };
        assert!(
            columns.read_le(*column, &vec![byte; column.width()]),
            "{column:?}"
        );
    }
    let mut frames = Frames::default();
    assert!(frames.push(&[PLANTED; 100]));
    View {
        level: AccessLevel::Payload,
        link: LinkType::ETHERNET,
        columns,
        frames,
    }
}

/// How many planted bytes a guest finds that requested these columns, and no frames.
fn found(columns: Vec<Column>) -> u64 {
    let guest = Guest {
        update: SCAN,
        ..Guest::default()
    };
    let mut manifest = manifest();
    manifest.level = AccessLevel::Payload;
    manifest.output_level = AccessLevel::Payload;
    manifest.columns = columns;
    let instance = start(&manifest, &guest.wasm()).expect("it starts");
    let mut runner = IntervalRunner::new(instance, Filter::parse("").expect("empty"), 0, SECOND_NS);
    let mut stored = Vec::new();
    let mut emit = |interval: como_modules::IntervalRows| stored.push(interval);
    runner.push(&planted(), None, &mut emit).expect("no fault");
    runner.finish(SECOND_NS, &mut emit).expect("no fault");
    match &stored[0].rows.columns[0] {
        ColumnData::U64(values) => values[0],
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_guest_sees_the_columns_that_it_requested_and_no_byte_of_another() {
    for column in Column::ALL.iter().filter(|column| **column != Column::TsNs) {
        assert_eq!(found(vec![*column]), column.width() as u64, "{column:?}");
    }
    assert_eq!(found(vec![Column::TsNs]), 0);
}
