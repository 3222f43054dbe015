//! The dataset that a runner writes: rows or packets, and how complete they are.

use std::fs::File;
use std::io::{BufWriter, Seek, Write};

use como_anonymize::View;
use como_dataset::{Batch, ColumnData, Completeness, DatasetWriter, Gap, Header, Sampled, Unsigned};
use como_keys::sealing::Recipient;
use como_keys::signing::Signature;
use como_modules::merge::MergeError;
use como_modules::{Answer, IntervalRows, Usage};
use como_policies::Window;

use super::RunnerError;
use super::packets::Packets;
use crate::records::Stretch;
use crate::retrieval::Merge;

/// Most gaps, interrupted and sampled intervals that a dataset names; more are merged into the last.
const MAX_NAMED_STRETCHES: usize = 1000;

/// A dataset being written.
pub(super) struct Output {
    writer: DatasetWriter<BufWriter<File>>,
    /// What becomes of a module's rows.
    answer: Option<Answer>,
    end: Completeness,
    merge: Merge<Packets>,
}

/// A dataset that lacks only the node's signature.
pub(super) struct Written {
    pub statement: Unsigned,
    /// What the module's `merge` and `load` used.
    pub usage: Usage,
    file: File,
    packets: u64,
    rows: u64,
    late: u64,
}

/// What was written.
pub(super) struct Finished {
    pub packets: u64,
    pub rows: u64,
    /// Packets that are not in the order of time.
    pub late: u64,
    pub bytes: u64,
    /// The dataset, whole.
    pub file: File,
}

impl Output {
    /// Begins the dataset.
    pub fn create(
        file: File,
        header: &Header,
        recipients: &[Recipient],
        answer: Option<Answer>,
    ) -> Result<Self, RunnerError> {
        let writer = DatasetWriter::create(BufWriter::with_capacity(1 << 20, file), header, recipients)?;
        let mut output = Self {
            writer,
            answer,
            end: Completeness::default(),
            merge: Merge::default(),
        };
        // What is known to be missing before anything is read is missing in the end, too.
        header.gaps.iter().for_each(|gap| output.gap(gap.clone()));
        Ok(output)
    }

    /// Packets that a module's filter was asked for, whether or not they had to be read for it.
    pub fn count_packets(&mut self, count: u64) {
        self.end.packets += count;
    }

    /// Rows of finished intervals.
    pub fn intervals(&mut self, emitted: Vec<IntervalRows>) -> Result<(), RunnerError> {
        let Some(answer) = &mut self.answer else {
            return emitted
                .into_iter()
                .try_for_each(|interval| self.interval(interval));
        };
        let mut answered = Vec::new();
        for interval in emitted {
            answer
                .push(interval, &mut |rows| answered.push(rows))
                .map_err(of_answer)?;
        }
        answered
            .into_iter()
            .try_for_each(|interval| self.interval(interval))
    }

    /// Rows of one interval of the answer, with its start as their first column.
    fn interval(&mut self, interval: IntervalRows) -> Result<(), RunnerError> {
        if !interval.complete {
            self.interrupted(interval.interval_start_ns, interval.interval_end_ns);
        }
        if interval.sampled > 1 {
            self.sampled(&interval);
        }
        self.rows(interval.interval_start_ns, interval.rows)
    }

    /// Rows that were computed before.
    pub fn stored(&mut self, of: Stretch, complete: bool, rows: &[u8]) -> Result<(), RunnerError> {
        let interval = IntervalRows {
            interval_start_ns: of.from_ns,
            interval_end_ns: of.to_ns,
            sampled: of.one_in,
            rows: como_dataset::decode_rows(rows)?,
            complete,
            packets: 0,
            late_packets: 0,
            skipped_before: 0,
        };
        self.intervals(vec![interval])
    }

    fn rows(&mut self, start_ns: u64, rows: Batch) -> Result<(), RunnerError> {
        let count = rows.rows();
        if count == 0 {
            return Ok(());
        }
        let mut columns = vec![ColumnData::TimeNs(vec![start_ns; count])];
        columns.extend(rows.columns);
        self.end.rows += count as u64;
        Ok(self.writer.write_table(&Batch { columns })?)
    }

    /// Packets as the view shows them, in the order of time as far as the merge window reaches.
    pub fn packets(&mut self, view: View) -> Result<(), RunnerError> {
        let mut ready = Vec::new();
        self.merge.push(Packets::of(view), &mut ready);
        self.write(ready)
    }

    fn write(&mut self, ready: Vec<Packets>) -> Result<(), RunnerError> {
        for Packets(batch) in ready {
            self.end.packets += batch.len() as u64;
            self.writer.write_packets(&batch)?;
        }
        Ok(())
    }

    /// Packets are missing here.
    pub fn gap(&mut self, gap: Gap) {
        if self.end.gaps.len() < MAX_NAMED_STRETCHES {
            self.end.gaps.push(gap);
        } else if let Some(last) = self.end.gaps.last_mut() {
            last.to_ns = last.to_ns.max(gap.to_ns);
            last.count = last.count.zip(gap.count).map(|(a, b)| a.saturating_add(b));
        }
    }

    fn interrupted(&mut self, from: u64, to: u64) {
        let full = self.end.interrupted.len() >= MAX_NAMED_STRETCHES;
        match self.end.interrupted.last_mut() {
            Some(last) if last.to_ns == from || full => {
                last.to_ns = last.to_ns.max(to);
            }
            _ => self.end.interrupted.extend(Window::new(from, to)),
        }
    }

    /// Rows of an interval are estimates.
    fn sampled(&mut self, interval: &IntervalRows) {
        let full = self.end.sampled.len() >= MAX_NAMED_STRETCHES;
        let (from_ns, to_ns) = (interval.interval_start_ns, interval.interval_end_ns);
        match self.end.sampled.last_mut() {
            Some(last) if full || (last.window.to_ns == from_ns && last.one_in == interval.sampled) => {
                last.window.to_ns = last.window.to_ns.max(to_ns);
                last.one_in = last.one_in.max(interval.sampled);
            }
            _ => self
                .end
                .sampled
                .extend(Window::new(from_ns, to_ns).map(|window| Sampled {
                    window,
                    one_in: interval.sampled,
                })),
        }
    }

    /// Ends the content; what must be signed comes out.
    pub fn finish(mut self) -> Result<Written, RunnerError> {
        if let Some(answer) = &mut self.answer {
            let mut answered = Vec::new();
            answer
                .finish(&mut |rows| answered.push(rows))
                .map_err(of_answer)?;
            answered
                .into_iter()
                .try_for_each(|interval| self.interval(interval))?;
        }
        let mut rest = Vec::new();
        self.merge.finish(&mut rest);
        self.write(rest)?;
        let usage = self.answer.as_ref().map(Answer::usage).unwrap_or_default();
        let (packets, rows) = (self.end.packets, self.end.rows);
        let (statement, buffer) = self.writer.finish(&self.end)?;
        let file = buffer.into_inner().map_err(|e| e.into_error())?;
        Ok(Written {
            statement,
            usage,
            file,
            packets,
            rows,
            late: self.merge.late(),
        })
    }
}

/// A guest's fault is its module's; everything else was asked for.
fn of_answer(error: MergeError) -> RunnerError {
    match error {
        MergeError::Fault(fault) => RunnerError::Module(fault.without_numbers()),
        other => RunnerError::Answer(other),
    }
}

impl Written {
    /// Appends the signature: the file is whole. The owner need not wait until it is on the disk, which is the last that
    /// its runner does.
    pub fn attach(mut self, signature: &Signature) -> Result<Finished, RunnerError> {
        como_dataset::attach_signature(&mut self.file, signature)?;
        self.file.flush()?;
        let bytes = self.file.stream_position()?;
        Ok(Finished {
            packets: self.packets,
            rows: self.rows,
            late: self.late,
            bytes,
            file: self.file,
        })
    }
}
