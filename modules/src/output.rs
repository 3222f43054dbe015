//! What `store` left in the guest's memory, checked and turned into rows. Owns the output layout of the
//! ABI (docs/module-abi.md, "Output"); believes no number in it.

use como_dataset::{Batch, ColumnData, ColumnKind, Ragged};

use crate::limits::{COLUMN_ALIGN_BYTES, OUTPUT_MAX_ROWS};
use crate::manifest::OutputColumn;

/// Bytes before the first column: the number of rows, then zeros.
pub(crate) const OUTPUT_HEADER_BYTES: usize = 16;

/// One bit pattern for every NaN: which one an operation gives is left open by WebAssembly.
const CANONICAL_NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0000);

/// Rows of a table: columns as the manifest's schema declares them, without the time column.
pub type Rows = Batch;

/// Reads `bytes`, all of it, as rows of `schema`. The error says what does not fit, for the developer.
pub(crate) fn decode(bytes: &[u8], schema: &[OutputColumn]) -> Result<Rows, String> {
    let mut rest = Reader { bytes, at: 0 };
    let header = rest.take(OUTPUT_HEADER_BYTES, "header")?;
    let rows = u32_at(header, 0) as usize;
    if header[4..].iter().any(|b| *b != 0) {
        return Err("the header's reserved bytes are not zero".into());
    }
    if rows > OUTPUT_MAX_ROWS {
        return Err(format!("{rows} rows, the limit is {OUTPUT_MAX_ROWS}"));
    }
    let mut columns = Vec::with_capacity(schema.len());
    for column in schema {
        columns.push(rest.column(column, rows)?);
        rest.pad(&column.name)?;
    }
    if rest.at != bytes.len() {
        return Err(format!("{} bytes follow the last column", bytes.len() - rest.at));
    }
    Ok(Batch { columns })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else {
            return Err(format!(
                "`{what}` needs {len} bytes at {}, the output has {}",
                self.at,
                self.bytes.len()
            ));
        };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn pad(&mut self, what: &str) -> Result<(), String> {
        let padding = self.at.next_multiple_of(COLUMN_ALIGN_BYTES) - self.at;
        self.take(padding, what).map(|_| ())
    }

    fn column(&mut self, column: &OutputColumn, rows: usize) -> Result<ColumnData, String> {
        let name = column.name.as_str();
        Ok(match column.kind {
            ColumnKind::U8 => ColumnData::U8(self.take(rows, name)?.to_vec()),
            ColumnKind::U16 => ColumnData::U16(self.numbers(rows, name, u16::from_le_bytes)?),
            ColumnKind::U32 => ColumnData::U32(self.numbers(rows, name, u32::from_le_bytes)?),
            ColumnKind::U64 => ColumnData::U64(self.numbers(rows, name, u64::from_le_bytes)?),
            ColumnKind::I64 => ColumnData::I64(self.numbers(rows, name, i64::from_le_bytes)?),
            ColumnKind::TimeNs => ColumnData::TimeNs(self.numbers(rows, name, u64::from_le_bytes)?),
            ColumnKind::Address => ColumnData::Address(self.numbers(rows, name, |b: [u8; 16]| b)?),
            ColumnKind::F64 => ColumnData::F64(self.numbers(rows, name, canonical)?),
            ColumnKind::Bool => ColumnData::Bool(booleans(self.take(rows, name)?, name)?),
            ColumnKind::Bytes => ColumnData::Bytes(self.ragged(rows, name)?),
            ColumnKind::Text => {
                let text = self.ragged(rows, name)?;
                check_utf8(&text, name)?;
                ColumnData::Text(text)
            }
        })
    }

    fn numbers<T, const N: usize>(
        &mut self,
        rows: usize,
        name: &str,
        read: fn([u8; N]) -> T,
    ) -> Result<Vec<T>, String> {
        let (chunks, _) = self.take(rows * N, name)?.as_chunks::<N>();
        Ok(chunks.iter().map(|c| read(*c)).collect())
    }

    /// `rows + 1` offsets, then the bytes that they point into.
    fn ragged(&mut self, rows: usize, name: &str) -> Result<Ragged, String> {
        let offsets = self.numbers(rows + 1, name, u32::from_le_bytes)?;
        if offsets[0] != 0 || !offsets.is_sorted() {
            return Err(format!("the offsets of `{name}` do not start at 0 and ascend"));
        }
        let bytes = self.take(offsets[rows] as usize, name)?.to_vec();
        Ok(Ragged { offsets, bytes })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn canonical(bytes: [u8; 8]) -> f64 {
    let value = f64::from_le_bytes(bytes);
    if value.is_nan() { CANONICAL_NAN } else { value }
}

fn booleans(bytes: &[u8], name: &str) -> Result<Vec<bool>, String> {
    bytes
        .iter()
        .map(|b| match b {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(format!("`{name}` has {other} where 0 or 1 must stand")),
        })
        .collect()
}

/// Each string by itself: a character must not be split between two rows.
fn check_utf8(text: &Ragged, name: &str) -> Result<(), String> {
    for row in 0..text.len() {
        if std::str::from_utf8(text.get(row)).is_err() {
            return Err(format!("`{name}`, row {row}, is not UTF-8"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Merge;
    use proptest::prelude::*;

    fn schema(kinds: &[ColumnKind]) -> Vec<OutputColumn> {
        kinds
            .iter()
            .enumerate()
            .map(|(i, kind)| OutputColumn {
                name: format!("c{i}"),
                kind: *kind,
                unit: String::new(),
                description: String::new(),
                merge: Merge::Sum,
            })
            .collect()
    }

    fn output(rows: u32, columns: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0; OUTPUT_HEADER_BYTES];
        bytes[..4].copy_from_slice(&rows.to_le_bytes());
        for column in columns {
            bytes.extend_from_slice(column);
            bytes.resize(bytes.len().next_multiple_of(COLUMN_ALIGN_BYTES), 0);
        }
        bytes
    }

    #[test]
    fn columns_come_back_as_declared() {
        let nan = 0xfff8_0000_0000_0001_u64.to_le_bytes();
        let text: Vec<u8> = [0u32, 3]
            .iter()
            .flat_map(|o| o.to_le_bytes())
            .chain(*b"dns")
            .collect();
        let bytes = output(1, &[&7u64.to_le_bytes(), &nan, &[1], &text]);
        let rows = decode(
            &bytes,
            &schema(&[
                ColumnKind::U64,
                ColumnKind::F64,
                ColumnKind::Bool,
                ColumnKind::Text,
            ]),
        )
        .unwrap();
        assert_eq!(rows.columns[0], ColumnData::U64(vec![7]));
        let ColumnData::F64(floats) = &rows.columns[1] else {
            panic!("not F64")
        };
        assert_eq!(
            floats[0].to_bits(),
            CANONICAL_NAN.to_bits(),
            "one bit pattern for every NaN"
        );
        assert_eq!(rows.columns[2], ColumnData::Bool(vec![true]));
        assert_eq!(
            rows.columns[3],
            ColumnData::Text(Ragged {
                offsets: vec![0, 3],
                bytes: b"dns".to_vec()
            })
        );
    }

    #[test]
    fn lies_are_named() {
        let u64s = schema(&[ColumnKind::U64]);
        let cases: [(&str, Vec<u8>, Vec<OutputColumn>); 7] = [
            ("header", vec![0; 15], u64s.clone()),
            ("needs 16 bytes", output(2, &[]), u64s.clone()),
            ("the limit is 65536", output(65_537, &[]), u64s.clone()),
            ("follow the last column", output(0, &[&[0; 16]]), u64s.clone()),
            ("0 or 1", output(1, &[&[2]]), schema(&[ColumnKind::Bool])),
            (
                "ascend",
                output(1, &[&[1, 0, 0, 0, 0, 0, 0, 0]]),
                schema(&[ColumnKind::Bytes]),
            ),
            (
                "not UTF-8",
                output(1, &[&[0, 0, 0, 0, 1, 0, 0, 0, 0xff]]),
                schema(&[ColumnKind::Text]),
            ),
        ];
        for (expected, bytes, schema) in cases {
            let error = decode(&bytes, &schema).unwrap_err();
            assert!(error.contains(expected), "{error} does not say `{expected}`");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            kinds in prop::collection::vec(prop::sample::select(ColumnKind::ALL.to_vec()), 1..5),
        ) {
            let _ = decode(&bytes, &schema(&kinds));
        }
    }
}
