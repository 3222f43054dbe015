//! What is written: packets of a capture file, or rows of a table. Takes batches in their order; must never hold
//! more of the capture than one batch, or for tables the hours that are not over.

use std::io::{BufWriter, Write};

use como_anonymize::aggregate;
use como_anonymize::coarse::{Bin, Bins};
use como_dataset::{Batch as Rows, ColumnData, ColumnKind, Field, Schema};
use como_modules::tables;
use como_policies::AccessLevel;
use como_savefile::{Encoder, Format, Resolution, Section};

use super::treat::{Treatment, Work};
use super::{Summary, failed_output};
use crate::convert::{self, ConvertError, Csv, Lines, Sink as _};
use crate::error::{ClientError, Result};

/// Link type of a pcap file that was made of a pcapng file without packets: Ethernet.
const LINK_OF_NOTHING: u32 = 1;

/// Takes what the workers made.
pub(super) trait Takes {
    fn take(&mut self, work: &mut Work) -> Result<()>;
    fn finish(&mut self, summary: &mut Summary) -> Result<()>;
}

/// How packets are written in a format.
pub(super) fn encoder(format: Format) -> Encoder {
    match format {
        Format::Pcap => Encoder::Pcap(Resolution::Nanoseconds),
        Format::Pcapng => Encoder::Pcapng,
    }
}

/// A capture file.
pub(super) struct Packets<W> {
    out: W,
    encoder: Encoder,
    /// Link types that were declared.
    links: Vec<u32>,
    head: Vec<u8>,
}

impl<W: Write> Packets<W> {
    /// `link`: that of all packets, where it is known before them. Writes the head at once: who reads from a pipe
    /// waits for it.
    pub fn new(out: W, encoder: Encoder, link: Option<u32>) -> Result<Self> {
        let mut packets = Self {
            out,
            encoder,
            links: Vec::new(),
            head: Vec::new(),
        };
        if encoder.format() == Format::Pcapng {
            let section = Section {
                application: concat!("como ", env!("CARGO_PKG_VERSION")),
                comment: "",
            };
            Encoder::section(&mut packets.head, &section);
        }
        packets.declare(link.as_slice())?;
        Ok(packets)
    }

    fn declare(&mut self, links: &[u32]) -> Result<()> {
        for &link in links {
            if !self.links.contains(&link) {
                self.encoder.interface(&mut self.head, link);
                self.links.push(link);
            }
        }
        let written = self.out.write_all(&self.head);
        self.head.clear();
        written.map_err(failed_output)
    }
}

impl<W: Write> Takes for Packets<W> {
    fn take(&mut self, work: &mut Work) -> Result<()> {
        self.declare(&work.new_links)?;
        self.out.write_all(&work.encoded).map_err(failed_output)
    }

    fn finish(&mut self, _: &mut Summary) -> Result<()> {
        if self.links.is_empty() && self.encoder.format() == Format::Pcap {
            self.declare(&[LINK_OF_NOTHING])?;
        }
        self.out.flush().map_err(failed_output)
    }
}

/// Rows of hours, as CSV.
pub(super) struct Tables<'a, W: Write> {
    csv: Lines<BufWriter<W>, Csv>,
    treatment: &'a Treatment,
    bins: Bins,
    rows: u64,
}

impl<'a, W: Write> Tables<'a, W> {
    /// Writes the header line.
    pub fn new(out: W, treatment: &'a Treatment) -> Result<Self> {
        let time = Field {
            name: "time".into(),
            kind: ColumnKind::TimeNs,
            unit: "ns".into(),
            description: "start of the hour".into(),
            merge: String::new(),
        };
        let fields = tables::fields(treatment.level()).unwrap_or_default();
        let schema = Schema::Table([time].into_iter().chain(fields).collect());
        Ok(Self {
            csv: convert::csv(BufWriter::new(out), &schema).map_err(of_convert)?,
            treatment,
            bins: Bins::default(),
            rows: 0,
        })
    }

    fn release(&mut self, bin: &Bin) -> Result<()> {
        if self.treatment.level() == AccessLevel::Aggregate {
            return self.write(bin.start_ns, tables::counter_rows(&aggregate::count(bin)));
        }
        for view in bin.release(self.treatment.anonymizer()) {
            self.write(bin.start_ns, tables::flow_rows(&view))?;
        }
        Ok(())
    }

    fn write(&mut self, start_ns: u64, mut rows: Rows) -> Result<()> {
        let count = rows.rows();
        rows.columns.insert(0, ColumnData::TimeNs(vec![start_ns; count]));
        self.rows += count as u64;
        self.csv.table(&rows).map_err(of_convert)
    }
}

impl<W: Write> Takes for Tables<'_, W> {
    fn take(&mut self, work: &mut Work) -> Result<()> {
        let flows = std::mem::take(&mut work.flows);
        self.bins.add(flows.by_key, flows.last_ns);
        while let Some(bin) = self.bins.pop_over() {
            self.release(&bin)?;
        }
        Ok(())
    }

    fn finish(&mut self, summary: &mut Summary) -> Result<()> {
        while let Some(bin) = self.bins.pop() {
            self.release(&bin)?;
        }
        self.csv.finish().map_err(of_convert)?;
        summary.rows_out = Some(self.rows);
        summary.late_packets = self.bins.late_packets();
        Ok(())
    }
}

/// A table's error is one of writing.
fn of_convert(error: ConvertError) -> ClientError {
    match error {
        ConvertError::Output(error) => failed_output(error),
        other => ClientError::of_input(other),
    }
}
