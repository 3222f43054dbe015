//! The laws of merging by rules: the order of tables and their grouping change nothing, and nothing is lost.

use como_dataset::{ColumnData, ColumnKind, Ragged};
use proptest::prelude::*;

use super::*;

const EVER: Interval = Interval {
    start_ns: 0,
    length_ns: 1,
};

fn columns(rules: &[(ColumnKind, Merge)]) -> Vec<MergeColumn> {
    let column = |(kind, merge): &(ColumnKind, Merge)| MergeColumn {
        kind: *kind,
        merge: *merge,
    };
    rules.iter().map(column).collect()
}

fn merged(columns: &[MergeColumn], tables: &[Rows]) -> Result<Rows, MergeError> {
    let mut merger = TableMerger::new(columns, None)?;
    for table in tables {
        merger.add(EVER, table)?;
    }
    merger.take(EVER)
}

fn ragged(strings: &[&[u8]]) -> Ragged {
    let mut ragged = Ragged::default();
    strings.iter().for_each(|string| ragged.push(string));
    ragged
}

#[test]
fn every_rule_does_what_it_says() {
    use ColumnKind::*;
    let columns = columns(&[
        (Text, Merge::Key),
        (U8, Merge::Sum),
        (I64, Merge::Min),
        (F64, Merge::Max),
        (Address, Merge::Last),
        (Bytes, Merge::HyperLogLog),
        (Bool, Merge::Max),
        (TimeNs, Merge::Min),
    ]);
    let table =
        |keys: &[&str], sum: &[u8], min: &[i64], max: &[f64], last: &[u8], registers: &[&[u8]]| Rows {
            columns: vec![
                ColumnData::Text(ragged(&keys.iter().map(|k| k.as_bytes()).collect::<Vec<_>>())),
                ColumnData::U8(sum.to_vec()),
                ColumnData::I64(min.to_vec()),
                ColumnData::F64(max.to_vec()),
                ColumnData::Address(last.iter().map(|v| [*v; 16]).collect()),
                ColumnData::Bytes(ragged(registers)),
                ColumnData::Bool(sum.iter().map(|v| *v == 200).collect()),
                ColumnData::TimeNs(sum.iter().map(|v| u64::from(*v)).collect()),
            ],
        };
    let first = table(
        &["b", "a"],
        &[200, 1],
        &[-3, 4],
        &[0.5, -1.0],
        &[1, 2],
        &[b"\x01\x09", b"\0\0"],
    );
    let second = table(&["b"], &[100], &[-7], &[0.25], &[3], &[b"\x05\x02"]);
    let expected = table(
        &["a", "b"],
        &[1, 255],
        &[4, -7],
        &[-1.0, 0.5],
        &[2, 3],
        &[b"\0\0", b"\x05\x09"],
    );
    let found = merged(&columns, &[first.clone(), second]).unwrap();
    assert_eq!(
        found.columns[..6],
        expected.columns[..6],
        "a sum that does not fit stays at the largest value"
    );
    assert_eq!(found.columns[6], ColumnData::Bool(vec![false, true]));
    assert_eq!(found.columns[7], ColumnData::TimeNs(vec![1, 100]));
    let shorter = table(&["b"], &[0], &[0], &[0.0], &[0], &[b"\x05"]);
    assert!(matches!(
        merged(&columns, &[first, shorter]),
        Err(MergeError::Registers)
    ));
}

#[test]
fn a_table_without_keys_becomes_one_row_and_none_stays_none() {
    let columns = columns(&[(ColumnKind::U64, Merge::Sum)]);
    let table = |values: &[u64]| Rows {
        columns: vec![ColumnData::U64(values.to_vec())],
    };
    assert_eq!(
        merged(&columns, &[table(&[5]), table(&[]), table(&[7])]).unwrap(),
        table(&[12])
    );
    assert_eq!(merged(&columns, &[table(&[])]).unwrap(), table(&[]));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let numbers = columns(&[(ColumnKind::U64, Merge::Sum)]);
    let narrow = Rows {
        columns: vec![ColumnData::U32(vec![1])],
    };
    assert!(matches!(merged(&numbers, &[narrow]), Err(MergeError::Schema)));
    let guest = columns(&[(ColumnKind::U64, Merge::Guest)]);
    assert!(matches!(merged(&guest, &[]), Err(MergeError::NoModule)));
    let field = |kind, merge: &str| Field {
        name: "x".into(),
        kind,
        unit: String::new(),
        description: String::new(),
        merge: merge.into(),
    };
    for bad in [field(ColumnKind::Text, "sum"), field(ColumnKind::U64, "average")] {
        let refused = columns_of_fields(std::slice::from_ref(&bad))
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("`x`") && refused.contains(&bad.merge),
            "{refused}"
        );
    }
    let key = columns_of_fields(&[field(ColumnKind::Text, "")]).unwrap();
    assert_eq!(key[0].merge, Merge::Key);
}

proptest! {
    /// Sums, minima and maxima do not depend on which tables were merged first, or in which order.
    #[test]
    fn grouping_and_order_of_tables_change_nothing(
        tables in prop::collection::vec(prop::collection::vec((0u8..6, any::<u16>(), any::<i64>(), any::<u32>()), 0..12), 0..8),
        cut in 0usize..8,
    ) {
        let columns = columns(&[
            (ColumnKind::U8, Merge::Key),
            (ColumnKind::U16, Merge::Sum),
            (ColumnKind::I64, Merge::Min),
            (ColumnKind::U32, Merge::Max),
        ]);
        let table = |rows: &Vec<(u8, u16, i64, u32)>| Rows {
            columns: vec![
                ColumnData::U8(rows.iter().map(|r| r.0).collect()),
                ColumnData::U16(rows.iter().map(|r| r.1).collect()),
                ColumnData::I64(rows.iter().map(|r| r.2).collect()),
                ColumnData::U32(rows.iter().map(|r| r.3).collect()),
            ],
        };
        let tables: Vec<Rows> = tables.iter().map(table).collect();
        let all = merged(&columns, &tables).unwrap();
        let mut reversed = tables.clone();
        reversed.reverse();
        prop_assert_eq!(&merged(&columns, &reversed).unwrap(), &all);
        let (left, right) = tables.split_at(cut.min(tables.len()));
        let parts = [merged(&columns, left).unwrap(), merged(&columns, right).unwrap()];
        prop_assert_eq!(&merged(&columns, &parts).unwrap(), &all);
        let keys: std::collections::BTreeSet<u8> = tables
            .iter()
            .flat_map(|t| match &t.columns[0] { ColumnData::U8(keys) => keys.clone(), _ => Vec::new() })
            .collect();
        prop_assert_eq!(&all.columns[0], &ColumnData::U8(keys.into_iter().collect()));
    }
}
