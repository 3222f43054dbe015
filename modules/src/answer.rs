//! From the rows that a module stores to those of one answer: combined into longer intervals where the asker wants them,
//! then through the module's own `load`. The same for rows that were stored before and for rows that are computed now.
//! Owns which intervals become one; must never change what is stored.

use crate::admit::AdmittedModule;
use crate::interval::IntervalRows;
use crate::merge::{Interval, MergeError, TableMerger, columns_of};
use crate::runtime::{Instance, Usage};

/// What is done to the rows of an answer.
pub struct Answer {
    combine: Option<Combine>,
    load: Option<Instance>,
}

/// Intervals on their way to longer ones.
struct Combine {
    every_ns: u64,
    merger: TableMerger,
    open: Option<Open>,
}

/// The longer interval that is being put together.
#[derive(Clone, Copy)]
struct Open {
    start_ns: u64,
    /// Up to where its intervals are known.
    reached_ns: u64,
    complete: bool,
    sampled: u32,
    packets: u64,
    late_packets: u64,
    skipped_before: u64,
}

impl Answer {
    /// For a module with the arguments of a query. `every_ns`: the length of the intervals wanted, a multiple of the
    /// module's own; they begin at multiples of it since the Unix epoch.
    pub fn new(
        module: &AdmittedModule,
        args: &[(String, i64)],
        every_ns: Option<u64>,
    ) -> Result<Self, MergeError> {
        let manifest = module.manifest();
        let combine = match every_ns.filter(|every_ns| *every_ns > manifest.interval_ns) {
            None => None,
            Some(every_ns) => Some(Combine {
                every_ns,
                merger: TableMerger::new(&columns_of(manifest), Some((module, args)))?,
                open: None,
            }),
        };
        let load = match module.has_load() {
            true => Some(module.instantiate(args)?),
            false => None,
        };
        Ok(Self { combine, load })
    }

    /// Takes the next interval, in order of time; what is ready for the asker goes to `emit`.
    pub fn push(&mut self, rows: IntervalRows, emit: &mut dyn FnMut(IntervalRows)) -> Result<(), MergeError> {
        let Some(combine) = &mut self.combine else {
            return load(&mut self.load, rows, emit);
        };
        let start_ns = rows.interval_start_ns - rows.interval_start_ns % combine.every_ns;
        if combine.open.is_some_and(|open| open.start_ns != start_ns)
            && let Some(combined) = combine.close()?
        {
            load(&mut self.load, combined, emit)?;
        }
        combine.add(start_ns, rows)
    }

    /// Nothing follows.
    pub fn finish(&mut self, emit: &mut dyn FnMut(IntervalRows)) -> Result<(), MergeError> {
        match self.combine.as_mut().map(Combine::close).transpose()?.flatten() {
            Some(combined) => load(&mut self.load, combined, emit),
            None => Ok(()),
        }
    }

    /// What the module's `merge` and `load` used.
    pub fn usage(&self) -> Usage {
        let merged = self.combine.as_ref().map(|c| c.merger.usage());
        let loaded = self.load.as_ref().map(Instance::usage);
        let parts = [merged, loaded].into_iter().flatten();
        parts.fold(Usage::default(), |sum, part| Usage {
            fuel: sum.fuel + part.fuel,
            wall_ns: sum.wall_ns + part.wall_ns,
            memory_bytes: sum.memory_bytes + part.memory_bytes,
            ..sum
        })
    }
}

fn load(
    guest: &mut Option<Instance>,
    mut interval: IntervalRows,
    emit: &mut dyn FnMut(IntervalRows),
) -> Result<(), MergeError> {
    if let Some(guest) = guest {
        let length_ns = interval.interval_end_ns - interval.interval_start_ns;
        let of = Interval {
            start_ns: interval.interval_start_ns,
            length_ns,
        };
        interval.rows = guest.load(of, &interval.rows)?;
    }
    emit(interval);
    Ok(())
}

impl Combine {
    /// Adds an interval of the longer one that begins at `start_ns`.
    fn add(&mut self, start_ns: u64, rows: IntervalRows) -> Result<(), MergeError> {
        let length_ns = rows.interval_end_ns - rows.interval_start_ns;
        // Intervals that were left out just before were known to be empty.
        let skipped_ns = rows.skipped_before.saturating_mul(length_ns);
        let known_from_ns = rows.interval_start_ns.saturating_sub(skipped_ns);
        let open = self.open.get_or_insert(Open {
            start_ns,
            reached_ns: start_ns,
            complete: true,
            sampled: 1,
            packets: 0,
            late_packets: 0,
            // Whole longer ones among them.
            skipped_before: start_ns.saturating_sub(known_from_ns) / self.every_ns,
        });
        open.complete &= rows.complete && known_from_ns <= open.reached_ns;
        open.sampled = open.sampled.max(rows.sampled);
        open.reached_ns = rows.interval_end_ns;
        open.packets += rows.packets;
        open.late_packets += rows.late_packets;
        let interval = Interval {
            start_ns: rows.interval_start_ns,
            length_ns,
        };
        self.merger.add(interval, &rows.rows)
    }

    fn close(&mut self) -> Result<Option<IntervalRows>, MergeError> {
        let Some(open) = self.open.take() else {
            return Ok(None);
        };
        let end_ns = open.start_ns.saturating_add(self.every_ns);
        let rows = self.merger.take(Interval {
            start_ns: open.start_ns,
            length_ns: self.every_ns,
        })?;
        Ok(Some(IntervalRows {
            interval_start_ns: open.start_ns,
            interval_end_ns: end_ns,
            rows,
            complete: open.complete && open.reached_ns >= end_ns,
            sampled: open.sampled,
            packets: open.packets,
            late_packets: open.late_packets,
            skipped_before: open.skipped_before,
        }))
    }
}
