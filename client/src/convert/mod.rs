//! From an opened dataset to the formats that other tools read: pcapng, CSV, JSON lines, Parquet.
//!
//! Owns what a value looks like in each of them. Streams chunk by chunk to anything that takes bytes,
//! so that a pipe into Wireshark, DuckDB or pandas needs no disk; must never hold a whole dataset.
//!
//! Times are RFC 3339 in UTC with nanoseconds (Parquet and pcapng: nanoseconds since the epoch),
//! addresses text, opaque bytes and frames hex (Parquet: bytes; pcapng: packets).

mod csv;
mod jsonl;
mod lines;
mod parquet;
mod pcapng;
mod text;

use std::{
    fmt,
    io::{BufWriter, Read, Seek, Write},
    str::FromStr,
};

use como_dataset::{
    Batch, Chunk, ColumnData, ColumnKind, DatasetError, DatasetReader, Field, PacketBatch, Schema,
};
use como_modules::merge::MergeError;

use crate::merged::Merged;

pub(crate) use csv::{Csv, sink as csv};
pub(crate) use jsonl::sink as jsonl;
pub(crate) use lines::Lines;

/// Bytes gathered before they are written out.
const OUTPUT_BUFFER_BYTES: usize = 256 << 10;

/// What a dataset can be turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Packets, for Wireshark and all that read captures.
    Pcapng,
    /// Comma-separated values (RFC 4180), with a header line.
    Csv,
    /// A JSON object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Pcapng, Self::Csv, Self::Jsonl, Self::Parquet];

    /// Its name, as on the command line and as a file's extension.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcapng => "pcapng",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = ConvertError;

    fn from_str(name: &str) -> Result<Self, ConvertError> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| ConvertError::UnknownFormat {
                name: name.chars().take(40).collect(),
            })
    }
}

/// What came out of a conversion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// Chunks read.
    pub chunks: u64,
    /// Rows, or packets, written.
    pub rows: u64,
    /// Parquet: times after 2262-04-11 that were written as that instant, the last that fits.
    pub saturated_times: u64,
}

/// Why a conversion stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// Rows are no packets.
    #[error(
        "the dataset holds rows of a table, and pcapng holds packets\nconvert it to csv, jsonl or parquet"
    )]
    NotPackets,
    /// No such format.
    #[error("`{name}` is not a format that datasets convert to\ngive pcapng, csv, jsonl or parquet")]
    UnknownFormat {
        /// As given.
        name: String,
    },
    /// The link type does not fit pcapng.
    #[error(
        "link type {link_type} does not fit pcapng, whose link types have 16 bits\nconvert it to csv, jsonl or parquet"
    )]
    LinkType {
        /// LINKTYPE_ number.
        link_type: u32,
    },
    /// Rows that do not merge.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// Rows of a dataset that are not in order of time.
    #[error("the rows of a dataset are not in order of time\nask its node for it again")]
    Order,
    /// The dataset.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The output.
    #[error("writing the output failed: {0}\ncheck the path and the disk's free space; `-` writes to a pipe")]
    Output(#[from] std::io::Error),
    /// The Parquet library.
    #[error("writing Parquet failed: {0}\ncheck the disk's free space, or convert to csv or jsonl")]
    Parquet(#[from] ::parquet::errors::ParquetError),
}

/// What one format does with a dataset: a beginning, rows or packets, an end.
pub(crate) trait Sink {
    fn table(&mut self, batch: &Batch) -> Result<(), ConvertError>;
    fn packets(&mut self, batch: &PacketBatch) -> Result<(), ConvertError>;
    fn finish(&mut self) -> Result<(), ConvertError>;

    /// Times that did not fit.
    fn saturated_times(&self) -> u64 {
        0
    }
}

/// Converts what `reader` has left, from its position on. `progress` is told the chunks done.
pub fn convert<R: Read + Seek, W: Write + Send>(
    reader: &mut DatasetReader<R>,
    format: Format,
    out: W,
    progress: &mut dyn FnMut(u64),
) -> Result<Converted, ConvertError> {
    let out = BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, out);
    let (header, end) = (reader.header().clone(), reader.completeness().cloned());
    match format {
        Format::Pcapng => run(
            reader,
            &mut pcapng::Pcapng::new(out, &header, end.as_ref())?,
            progress,
        ),
        Format::Csv => run(reader, &mut csv::sink(out, &header.schema)?, progress),
        Format::Jsonl => run(reader, &mut jsonl::sink(out, &header.schema), progress),
        Format::Parquet => run(
            reader,
            &mut parquet::Parquet::new(out, &header, end.as_ref())?,
            progress,
        ),
    }
}

/// Writes the one table that datasets become. `progress` is told the intervals done.
pub fn convert_merged<R: Read + Seek, W: Write + Send>(
    merged: &mut Merged<R>,
    format: Format,
    out: W,
    progress: &mut dyn FnMut(u64),
) -> Result<Converted, ConvertError> {
    let out = BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, out);
    let (header, end) = (merged.header().clone(), merged.end().clone());
    match format {
        Format::Pcapng => Err(ConvertError::NotPackets),
        Format::Csv => run_merged(merged, &mut csv::sink(out, &header.schema)?, progress),
        Format::Jsonl => run_merged(merged, &mut jsonl::sink(out, &header.schema), progress),
        Format::Parquet => run_merged(
            merged,
            &mut parquet::Parquet::new(out, &header, Some(&end))?,
            progress,
        ),
    }
}

fn run_merged<R: Read + Seek>(
    merged: &mut Merged<R>,
    sink: &mut dyn Sink,
    progress: &mut dyn FnMut(u64),
) -> Result<Converted, ConvertError> {
    let mut converted = Converted::default();
    while let Some(batch) = merged.next_interval()? {
        sink.table(&batch)?;
        converted.rows += batch.rows() as u64;
        converted.chunks += 1;
        progress(converted.chunks);
    }
    sink.finish()?;
    converted.saturated_times = sink.saturated_times();
    Ok(converted)
}

fn run<R: Read + Seek>(
    reader: &mut DatasetReader<R>,
    sink: &mut dyn Sink,
    progress: &mut dyn FnMut(u64),
) -> Result<Converted, ConvertError> {
    let mut converted = Converted::default();
    while let Some(chunk) = reader.next_chunk()? {
        match &chunk {
            Chunk::Table(batch) => {
                sink.table(batch)?;
                converted.rows += batch.rows() as u64;
            }
            Chunk::Packets(batch) => {
                sink.packets(batch)?;
                converted.rows += batch.len() as u64;
            }
        }
        converted.chunks += 1;
        progress(converted.chunks);
    }
    sink.finish()?;
    converted.saturated_times = sink.saturated_times();
    Ok(converted)
}

/// The columns of a format for tables; packets become a table of four.
fn columns(schema: &Schema) -> Vec<Field> {
    let field = |name: &str, kind, unit: &str| Field {
        name: name.into(),
        kind,
        unit: unit.into(),
        description: String::new(),
        merge: String::new(),
    };
    match schema {
        Schema::Table(fields) => fields.clone(),
        Schema::Packets { .. } => vec![
            field("time", ColumnKind::TimeNs, "ns"),
            field("wire_length", ColumnKind::U32, "bytes"),
            field("captured_length", ColumnKind::U32, "bytes"),
            field("frame", ColumnKind::Bytes, ""),
        ],
    }
}

/// Packets as rows of [`columns`].
fn packet_rows(batch: &PacketBatch) -> Batch {
    let captured = batch
        .frames
        .offsets
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    Batch {
        columns: vec![
            ColumnData::TimeNs(batch.ts_ns.clone()),
            ColumnData::U32(batch.wire_len.clone()),
            ColumnData::U32(captured),
            ColumnData::Bytes(batch.frames.clone()),
        ],
    }
}

#[cfg(test)]
mod tests;
