//! Parquet: the schema's columns with their logical types, LZ4, row groups of a bounded size.
//!
//! Owns the mapping of kinds to Parquet's types. Times are signed there: one after 2262 is written as
//! the last that fits, and counted. The dataset's comment is in the file's key-value metadata.

use std::{io::Write, sync::Arc};

use ::parquet::{
    basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical},
    column::writer::ColumnWriter,
    data_type::ByteArray,
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::WriterProperties,
        writer::{SerializedColumnWriter, SerializedFileWriter},
    },
    schema::types::{Type, TypePtr},
};
use como_dataset::{Batch, ColumnData, ColumnKind, Completeness, Field, Header, PacketBatch};

use super::{ConvertError, Sink, columns, packet_rows, text};

/// Rows gathered for a row group: readers want large ones, memory small ones.
const ROW_GROUP_ROWS: usize = 128 << 10;
/// Chunks gathered for a row group, each of about a megabyte at most.
const ROW_GROUP_CHUNKS: usize = 64;

pub(super) struct Parquet<W: Write + Send> {
    out: SerializedFileWriter<W>,
    pending: Vec<Batch>,
    saturated_times: u64,
}

impl<W: Write + Send> Parquet<W> {
    pub(super) fn new(out: W, header: &Header, end: Option<&Completeness>) -> Result<Self, ConvertError> {
        let fields = columns(&header.schema)
            .iter()
            .map(column_type)
            .collect::<Result<_, _>>()?;
        let schema = Type::group_type_builder("como").with_fields(fields).build()?;
        let properties = WriterProperties::builder()
            .set_created_by(concat!("como ", env!("CARGO_PKG_VERSION")).into())
            .set_compression(Compression::LZ4_RAW)
            .set_key_value_metadata(Some(vec![KeyValue::new(
                "como.dataset".into(),
                text::comment(header, end),
            )]))
            .build();
        let out = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?;
        Ok(Self {
            out,
            pending: Vec::new(),
            saturated_times: 0,
        })
    }

    fn write_row_group(&mut self) -> Result<(), ConvertError> {
        let pending = std::mem::take(&mut self.pending);
        let mut group = self.out.next_row_group()?;
        let mut number = 0;
        while let Some(mut column) = group.next_column()? {
            for batch in &pending {
                self.saturated_times += write_column(&mut column, &batch.columns[number])?;
            }
            column.close()?;
            number += 1;
        }
        group.close()?;
        Ok(())
    }
}

impl<W: Write + Send> Sink for Parquet<W> {
    fn table(&mut self, batch: &Batch) -> Result<(), ConvertError> {
        self.pending.push(batch.clone());
        let rows: usize = self.pending.iter().map(Batch::rows).sum();
        if rows >= ROW_GROUP_ROWS || self.pending.len() >= ROW_GROUP_CHUNKS {
            self.write_row_group()?;
        }
        Ok(())
    }

    fn packets(&mut self, batch: &PacketBatch) -> Result<(), ConvertError> {
        self.table(&packet_rows(batch))
    }

    fn finish(&mut self) -> Result<(), ConvertError> {
        if !self.pending.is_empty() {
            self.write_row_group()?;
        }
        self.out.finish()?;
        Ok(self.out.inner_mut().flush()?)
    }

    fn saturated_times(&self) -> u64 {
        self.saturated_times
    }
}

fn column_type(field: &Field) -> Result<TypePtr, ParquetError> {
    let unsigned = |bits| Some(LogicalType::integer(bits, false));
    let (physical, logical) = match field.kind {
        ColumnKind::U8 => (Physical::INT32, unsigned(8)),
        ColumnKind::U16 => (Physical::INT32, unsigned(16)),
        ColumnKind::U32 => (Physical::INT32, unsigned(32)),
        ColumnKind::U64 => (Physical::INT64, unsigned(64)),
        ColumnKind::I64 => (Physical::INT64, None),
        ColumnKind::F64 => (Physical::DOUBLE, None),
        ColumnKind::Bool => (Physical::BOOLEAN, None),
        ColumnKind::Address | ColumnKind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        ColumnKind::Bytes => (Physical::BYTE_ARRAY, None),
        ColumnKind::TimeNs => (
            Physical::INT64,
            Some(LogicalType::timestamp(true, TimeUnit::NANOS)),
        ),
    };
    let column = Type::primitive_type_builder(&field.name, physical)
        .with_repetition(Repetition::REQUIRED)
        .with_logical_type(logical)
        .build()?;
    Ok(Arc::new(column))
}

/// Gives how many times did not fit.
fn write_column(to: &mut SerializedColumnWriter<'_>, values: &ColumnData) -> Result<u64, ParquetError> {
    let mut saturated = 0;
    match (to.untyped(), values) {
        (ColumnWriter::Int32ColumnWriter(to), values) => {
            let values: Vec<i32> = match values {
                ColumnData::U8(v) => v.iter().map(|&x| x.into()).collect(),
                ColumnData::U16(v) => v.iter().map(|&x| x.into()).collect(),
                ColumnData::U32(v) => v.iter().map(|&x| x.cast_signed()).collect(),
                _ => return Err(mismatch()),
            };
            to.write_batch(&values, None, None)?;
        }
        (ColumnWriter::Int64ColumnWriter(to), ColumnData::I64(v)) => drop(to.write_batch(v, None, None)?),
        (ColumnWriter::Int64ColumnWriter(to), ColumnData::U64(v)) => {
            let values: Vec<i64> = v.iter().map(|&x| x.cast_signed()).collect();
            to.write_batch(&values, None, None)?;
        }
        (ColumnWriter::Int64ColumnWriter(to), ColumnData::TimeNs(v)) => {
            let values: Vec<i64> = v.iter().map(|&x| i64::try_from(x).unwrap_or(i64::MAX)).collect();
            saturated = v.iter().filter(|&&x| i64::try_from(x).is_err()).count() as u64;
            to.write_batch(&values, None, None)?;
        }
        (ColumnWriter::DoubleColumnWriter(to), ColumnData::F64(v)) => drop(to.write_batch(v, None, None)?),
        (ColumnWriter::BoolColumnWriter(to), ColumnData::Bool(v)) => drop(to.write_batch(v, None, None)?),
        (ColumnWriter::ByteArrayColumnWriter(to), values) => {
            to.write_batch(&byte_arrays(values)?, None, None)?;
        }
        _ => return Err(mismatch()),
    }
    Ok(saturated)
}

fn byte_arrays(values: &ColumnData) -> Result<Vec<ByteArray>, ParquetError> {
    Ok(match values {
        ColumnData::Address(v) => v
            .iter()
            .map(|&a| text::address(a).to_string().into_bytes().into())
            .collect(),
        ColumnData::Bytes(v) | ColumnData::Text(v) => {
            (0..v.len()).map(|row| v.get(row).to_vec().into()).collect()
        }
        _ => return Err(mismatch()),
    })
}

fn mismatch() -> ParquetError {
    ParquetError::General("a column is not of the schema's kind".into())
}
