//! Datasets of several windows or nodes, made one table: row by row by the rules that their schema declares, or by their
//! module's own `merge`. Owns which tables become one; streams, a table of an interval at a time. Must never mix what
//! different modules made, or one module with different arguments.

use std::collections::VecDeque;
use std::io::{Read, Seek};

use como_dataset::{Batch, Chunk, ColumnData, Completeness, DatasetReader, Field, Header, Schema};
use como_modules::AdmittedModule;
use como_modules::merge::{Interval, TableMerger, columns_of_fields};
use como_policies::Window;

use crate::convert::ConvertError;
use crate::error::{ClientError, Result};

/// Datasets on their way to one table, from the earliest interval to the latest.
pub struct Merged<R> {
    header: Header,
    end: Completeness,
    merger: TableMerger,
    tables: Vec<Tables<R>>,
    every_ns: Option<u64>,
    /// Start of the interval that came out last.
    last_ns: Option<u64>,
}

impl<R: Read + Seek> Merged<R> {
    /// Merges tables of one module, or of the node's own. `module` is needed where its own `merge` merges; `every_ns`
    /// combines their intervals to longer ones.
    pub fn new(
        readers: Vec<DatasetReader<R>>,
        module: Option<&AdmittedModule>,
        every_ns: Option<u64>,
    ) -> Result<Self> {
        let headers: Vec<Header> = readers.iter().map(|reader| reader.header().clone()).collect();
        let Some(first) = headers.first() else {
            return Err(ClientError::usage(
                "there is no dataset to merge",
                "name one or more",
            ));
        };
        for other in &headers[1..] {
            check_alike(first, other)?;
        }
        let fields = fields_of(first)?;
        let columns = columns_of_fields(&fields[1..]).map_err(ClientError::of_input)?;
        let interval_ns = first.module.as_ref().map_or(0, |module| module.interval_ns);
        if let Some(every_ns) = every_ns
            && (every_ns == 0 || interval_ns > 0 && !every_ns.is_multiple_of(interval_ns))
        {
            return Err(ClientError::usage(
                "--every is no multiple of the intervals in the datasets",
                "longer intervals are made of whole ones: take a multiple",
            ));
        }
        let arguments = first.module.iter().flat_map(|module| module.args.clone());
        let arguments: Vec<(String, i64)> = arguments.collect();
        let module = module.map(|module| check_module(module, first)).transpose()?;
        let merger = TableMerger::new(&columns, module.map(|module| (module, &arguments[..])));
        Ok(Self {
            end: together(&readers),
            header: of_all(&headers),
            merger: merger.map_err(ClientError::of_input)?,
            tables: readers.into_iter().map(Tables::new).collect(),
            every_ns,
            last_ns: None,
        })
    }

    /// What the table says about itself: the header of the first, over all windows.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What is missing in any of them.
    pub fn end(&self) -> &Completeness {
        &self.end
    }

    /// The rows of the next interval; `None` at the end.
    pub fn next_interval(&mut self) -> std::result::Result<Option<Batch>, ConvertError> {
        let mut earliest: Option<u64> = None;
        for table in &mut self.tables {
            if let Some(time_ns) = table.peek()? {
                let start_ns = start_of(time_ns, self.every_ns);
                earliest = Some(earliest.map_or(start_ns, |earliest| earliest.min(start_ns)));
            }
        }
        let Some(start_ns) = earliest else {
            return Ok(None);
        };
        if self.last_ns.is_some_and(|last_ns| start_ns <= last_ns) {
            return Err(ConvertError::Order);
        }
        self.last_ns = Some(start_ns);
        let length_ns = self.header.module.as_ref().map_or(0, |module| module.interval_ns);
        for table in &mut self.tables {
            while let Some(time_ns) = table.peek()?
                && start_of(time_ns, self.every_ns) == start_ns
                && let Some((_, rows)) = table.ready.pop_front()
            {
                let interval = Interval {
                    start_ns: time_ns,
                    length_ns,
                };
                self.merger.add(interval, &rows)?;
            }
        }
        let mut rows = self.merger.take(Interval {
            start_ns,
            length_ns: self.every_ns.unwrap_or(length_ns),
        })?;
        let time = ColumnData::TimeNs(vec![start_ns; rows.rows()]);
        rows.columns.insert(0, time);
        Ok(Some(rows))
    }
}

fn start_of(time_ns: u64, every_ns: Option<u64>) -> u64 {
    time_ns - every_ns.map_or(0, |every_ns| time_ns % every_ns)
}

/// The tables of one dataset, interval by interval.
struct Tables<R> {
    reader: DatasetReader<R>,
    ended: bool,
    /// Tables that were read, in order; the last one may go on in the next chunk.
    ready: VecDeque<(u64, Batch)>,
}

impl<R: Read + Seek> Tables<R> {
    fn new(reader: DatasetReader<R>) -> Self {
        Self {
            reader,
            ended: false,
            ready: VecDeque::new(),
        }
    }

    /// Start of the interval of the next table, which is whole then.
    fn peek(&mut self) -> std::result::Result<Option<u64>, ConvertError> {
        while self.ready.len() < 2 && !self.ended {
            match self.reader.next_chunk()? {
                Some(Chunk::Table(batch)) => self.split(&batch),
                Some(Chunk::Packets(_)) => {}
                None => self.ended = true,
            }
        }
        Ok(self.ready.front().map(|(time_ns, _)| *time_ns))
    }

    fn split(&mut self, batch: &Batch) {
        let Some((ColumnData::TimeNs(times), columns)) = batch.columns.split_first() else {
            return;
        };
        let fresh = || Batch {
            columns: columns
                .iter()
                .map(|column| ColumnData::new(column.kind()))
                .collect(),
        };
        for (row, time_ns) in times.iter().enumerate() {
            if self.ready.back().is_none_or(|(last, _)| last != time_ns) {
                self.ready.push_back((*time_ns, fresh()));
            }
            if let Some((_, to)) = self.ready.back_mut() {
                for (to, column) in to.columns.iter_mut().zip(columns) {
                    let pushed = to.push(column.value(row));
                    debug_assert!(pushed, "of the same kind");
                }
            }
        }
    }
}

/// The columns of a table: its time, then its module's.
fn fields_of(header: &Header) -> Result<&[Field]> {
    match &header.schema {
        Schema::Table(fields) if fields.first().is_some_and(|field| field.name == "time") => Ok(fields),
        _ => Err(ClientError::input(
            "a dataset of packets has no rows to merge",
            "merge tables; packets are put together with mergecap, after `como dataset open --to pcapng`",
        )),
    }
}

fn check_alike(first: &Header, other: &Header) -> Result<()> {
    let same_module = match (&first.module, &other.module) {
        (Some(a), Some(b)) => (&a.hash_hex, &a.args, a.interval_ns) == (&b.hash_hex, &b.args, b.interval_ns),
        (None, None) => true,
        _ => false,
    };
    if same_module && first.schema == other.schema && first.level == other.level {
        return Ok(());
    }
    let name = |header: &Header| {
        let module = header.module.as_ref();
        module.map_or("no module".into(), |m| {
            format!("{} release {}", m.name, m.release)
        })
    };
    let what = format!(
        "query {} ({}) and query {} ({}) do not merge",
        first.query_id,
        name(first),
        other.query_id,
        name(other)
    );
    Err(ClientError::input(
        crate::answer::one_line(&what),
        "merge tables of one module in one release, with the same arguments, level and --every",
    ))
}

fn check_module<'a>(module: &'a AdmittedModule, header: &Header) -> Result<&'a AdmittedModule> {
    let made_by = header.module.as_ref().map(|module| module.hash_hex.as_str());
    if made_by == Some(module.hash_hex().as_str()) {
        return Ok(module);
    }
    Err(ClientError::input(
        format!(
            "{} has other code than what made the datasets",
            module.manifest().name
        ),
        "give the module in the release that `como dataset info` names",
    ))
}

/// The header of the first, over the windows of all.
fn of_all(headers: &[Header]) -> Header {
    let mut header = headers[0].clone();
    for other in &headers[1..] {
        let (from_ns, to_ns) = (
            header.window.from_ns.min(other.window.from_ns),
            header.window.to_ns.max(other.window.to_ns),
        );
        header.window = Window { from_ns, to_ns };
    }
    header
}

fn together<R: Read + Seek>(readers: &[DatasetReader<R>]) -> Completeness {
    let mut all = Completeness::default();
    for end in readers.iter().filter_map(|reader| reader.completeness()) {
        all.gaps.extend(end.gaps.iter().cloned());
        all.interrupted.extend(end.interrupted.iter().copied());
        all.sampled.extend(end.sampled.iter().copied());
        all.suppressed_rows += end.suppressed_rows;
        all.packets += end.packets;
        all.rows += end.rows;
    }
    all
}
