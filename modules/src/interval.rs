//! Drives one instance over a stream of views, interval by interval. The same code runs live (export) and
//! over the past (runner): that is what makes their results equal. Owns where intervals begin and end, and
//! which of them are complete; must never read a clock: all time is packet time that it is told.

use como_anonymize::View;
use como_anonymize::bitmap::Bitmap;
use como_anonymize::filter::Filter;
use como_dataset::ColumnData;

use crate::fault::Fault;
use crate::limits::EMPTY_INTERVALS_MAX;
use crate::output::Rows;
use crate::runtime::{Instance, Usage};

/// Gaps kept for intervals that are not closed yet; beyond it the last two become one.
const PENDING_GAPS_MAX: usize = 1024;
/// Stretches of samples kept for intervals that are not open yet; beyond it they count as one, at their worst.
const PENDING_SAMPLES_MAX: usize = 1024;

/// The records of one measurement interval.
#[derive(Debug, Clone, PartialEq)]
pub struct IntervalRows {
    /// Start, a multiple of the interval since the Unix epoch.
    pub interval_start_ns: u64,
    /// End, exclusive.
    pub interval_end_ns: u64,
    /// What `store` gave.
    pub rows: Rows,
    /// Whether every packet of the interval was there: no gap, no start or end in the middle.
    pub complete: bool,
    /// One packet in so many was looked at, at worst, and stood for the others by its weight; 1: all were.
    pub sampled: u32,
    /// Packets that passed the filter.
    pub packets: u64,
    /// Of these, packets older than the interval: they came late and count here.
    pub late_packets: u64,
    /// Empty intervals left out just before this one, because time jumped by more than
    /// [`EMPTY_INTERVALS_MAX`] of them.
    pub skipped_before: u64,
}

/// One instance, its filter, and the interval that is open.
pub struct IntervalRunner {
    instance: Instance,
    filter: Filter,
    interval_ns: u64,
    from_ns: u64,
    to_ns: u64,
    open: Option<Open>,
    /// The end of the window has been seen: nothing counts any more.
    ended: bool,
    /// Ascending by start.
    gaps: Vec<(u64, u64)>,
    /// Stretches of samples that reach beyond the open interval: from, to, one packet in so many.
    samples: Vec<(u64, u64, u32)>,
}

/// The interval that packets count in.
#[derive(Clone, Copy)]
struct Open {
    start_ns: u64,
    whole: bool,
    sampled: u32,
    packets: u64,
    late_packets: u64,
    skipped_before: u64,
}

impl IntervalRunner {
    /// A runner for packets of `[from_ns, to_ns)`: the window of a query, or from a live start to `u64::MAX`.
    ///
    /// The window begins with the first packet at or after `from_ns` in stream order, and ends with the first
    /// at or after `to_ns`: a late packet between them counts, exactly as it did live.
    pub fn new(instance: Instance, filter: Filter, from_ns: u64, to_ns: u64) -> Self {
        let interval_ns = instance.manifest().interval_ns;
        Self {
            instance,
            filter,
            interval_ns,
            from_ns,
            to_ns,
            open: None,
            ended: false,
            gaps: Vec::new(),
            samples: Vec::new(),
        }
    }

    /// Takes the next view of the stream. `also` is the requester's filter, evaluated on the requester's
    /// view of the same packets. Every interval that ends goes to `emit`.
    pub fn push(
        &mut self,
        view: &View,
        also: Option<&Bitmap>,
        emit: &mut dyn FnMut(IntervalRows),
    ) -> Result<(), Fault> {
        let mut mask = self.filter.eval(&view.columns);
        if let Some(also) = also {
            mask.and(also);
        }
        self.push_masked(view, &mask, emit)
    }

    /// Like [`push`](Self::push), where the caller has evaluated the filters.
    pub fn push_masked(
        &mut self,
        view: &View,
        mask: &Bitmap,
        emit: &mut dyn FnMut(IntervalRows),
    ) -> Result<(), Fault> {
        let times = &view.columns.ts_ns;
        let everything = mask.len() >= times.len() && mask.count() == mask.len();
        let mut picked = mask.ones().peekable();
        let mut at = 0;
        while at < times.len() && !self.ended {
            self.open_at(times[at], emit)?;
            if self.open.is_none() {
                // Before the window.
                at += 1;
                while picked.next_if(|row| *row < at).is_some() {}
                continue;
            }
            let end = at + self.stretch(&times[at..]);
            let before = self.instance.handed_over();
            if everything {
                self.instance.append_stretch(view, at..end)?;
            } else {
                self.instance
                    .append(view, &mut std::iter::from_fn(|| picked.next_if(|row| *row < end)))?;
            }
            let packets = self.instance.handed_over() - before;
            if let Some(open) = &mut self.open {
                open.packets += packets;
                let late = |row: &usize| times[*row] < open.start_ns && mask.get(*row);
                open.late_packets += (at..end).filter(late).count() as u64;
            }
            at = end;
        }
        Ok(())
    }

    /// Time has reached `now_ns` without a packet: closes the intervals that ended. An idle live link ticks
    /// by wall time; a reader calls it for the time that its view of the trace covers.
    pub fn advance(&mut self, now_ns: u64, emit: &mut dyn FnMut(IntervalRows)) -> Result<(), Fault> {
        if self.ended {
            Ok(())
        } else {
            self.open_at(now_ns, emit)
        }
    }

    /// Packets of `[from_ns, to_ns)` were lost, shed or destroyed: the intervals that it touches are not
    /// complete. Told before the packets that follow the gap.
    pub fn gap(&mut self, from_ns: u64, to_ns: u64) {
        let full = self.gaps.len() >= PENDING_GAPS_MAX;
        if let Some(last) = self.gaps.last_mut()
            && (from_ns <= last.1 || full)
        {
            last.0 = last.0.min(from_ns);
            last.1 = last.1.max(to_ns);
            return;
        }
        self.gaps.push((from_ns, to_ns));
    }

    /// The packets of `[from_ns, to_ns)` that follow are a sample, of one packet in `one_in`. Told before them.
    pub fn sampled(&mut self, from_ns: u64, to_ns: u64, one_in: u32) {
        if one_in <= 1 || self.ended || to_ns <= self.from_ns {
            return;
        }
        let mut to_ns = to_ns;
        if let Some(open) = &mut self.open {
            let end_ns = open.start_ns.saturating_add(self.interval_ns);
            // What comes late counts in the open interval.
            if from_ns < end_ns {
                open.sampled = open.sampled.max(one_in);
                to_ns = to_ns.max(open.start_ns.saturating_add(1));
            }
            if to_ns <= end_ns {
                return;
            }
        }
        // Views come one after the other: no more than one or two reach into the next interval, whatever their number.
        let full = self.samples.len() >= PENDING_SAMPLES_MAX;
        match self.samples.last_mut() {
            Some(last) if last.2 == one_in && from_ns <= last.1 => last.1 = last.1.max(to_ns),
            Some(last) if full => *last = (last.0, last.1.max(to_ns), last.2.max(one_in)),
            _ => self.samples.push((from_ns, to_ns, one_in)),
        }
    }

    /// The stream ends at `end_ns`: closes what is open. The last interval is complete only where the stream
    /// reached its end.
    pub fn finish(mut self, end_ns: u64, emit: &mut dyn FnMut(IntervalRows)) -> Result<Usage, Fault> {
        self.advance(end_ns, emit)?;
        if let Some(open) = self.open.take() {
            let reached = end_ns >= self.end_of(open.start_ns);
            if open.packets > 0 || end_ns > open.start_ns {
                self.close(
                    Open {
                        whole: open.whole && reached,
                        ..open
                    },
                    emit,
                )?;
            }
        }
        Ok(self.instance.usage())
    }

    /// The instance that it drives.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Makes the interval of `ts_ns` the open one, closing those before it. Late time opens nothing.
    fn open_at(&mut self, ts_ns: u64, emit: &mut dyn FnMut(IntervalRows)) -> Result<(), Fault> {
        if ts_ns >= self.to_ns {
            return self.end_window(emit);
        }
        let Some(open) = self.open else {
            if ts_ns >= self.from_ns {
                self.open_first(ts_ns, emit)?;
            }
            return Ok(());
        };
        if ts_ns < self.end_of(open.start_ns) {
            return Ok(());
        }
        self.close(open, emit)?;
        self.step_to(self.end_of(open.start_ns), ts_ns, true, emit)
    }

    /// The first interval is the one in which the window begins: what comes before the first packet is
    /// known to be empty.
    fn open_first(&mut self, ts_ns: u64, emit: &mut dyn FnMut(IntervalRows)) -> Result<(), Fault> {
        let start_ns = self.start_of(self.from_ns);
        self.step_to(start_ns, ts_ns, start_ns == self.from_ns, emit)
    }

    /// Closes the empty intervals from `start_ns` on, and opens the one that holds `ts_ns`.
    fn step_to(
        &mut self,
        mut start_ns: u64,
        ts_ns: u64,
        mut whole: bool,
        emit: &mut dyn FnMut(IntervalRows),
    ) -> Result<(), Fault> {
        let target_ns = self.start_of(ts_ns);
        // Where the window ends, the last one is empty too.
        let empty = target_ns.saturating_sub(start_ns) / self.interval_ns + u64::from(self.ended);
        let mut skipped_before = 0;
        if empty > EMPTY_INTERVALS_MAX {
            (start_ns, whole, skipped_before) = (target_ns, true, empty);
        }
        loop {
            let open = Open {
                start_ns,
                whole,
                sampled: self.sampled_in(start_ns),
                packets: 0,
                late_packets: 0,
                skipped_before,
            };
            self.open = Some(open);
            self.instance.set_interval(start_ns);
            if start_ns >= target_ns {
                return Ok(());
            }
            self.close(open, emit)?;
            (start_ns, whole) = (self.end_of(start_ns), true);
        }
    }

    fn end_window(&mut self, emit: &mut dyn FnMut(IntervalRows)) -> Result<(), Fault> {
        self.ended = true;
        // Everything up to the end was seen: its last nanosecond can be opened like any other time.
        if self.to_ns > self.from_ns {
            let to_ns = std::mem::replace(&mut self.to_ns, u64::MAX);
            let stepped = self.open_at(to_ns - 1, emit);
            self.to_ns = to_ns;
            stepped?;
        }
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let open = Open {
            whole: open.whole && self.to_ns >= self.end_of(open.start_ns),
            ..open
        };
        match open.packets == 0 && open.skipped_before > 0 {
            true => self.leave_out(open, emit),
            false => self.close(open, emit)?,
        }
        Ok(())
    }

    /// The last of many empty intervals is left out as those before it are: where the window goes on beyond it, nobody
    /// asks the guest for it either. That it was seen is told.
    fn leave_out(&mut self, open: Open, emit: &mut dyn FnMut(IntervalRows)) {
        let schema = &self.instance.manifest().schema;
        let columns = schema.iter().map(|column| ColumnData::new(column.kind));
        let rows = Rows {
            columns: columns.collect(),
        };
        self.emit(open, rows, emit);
    }

    fn close(&mut self, open: Open, emit: &mut dyn FnMut(IntervalRows)) -> Result<(), Fault> {
        self.open = None;
        let rows = self.instance.store()?;
        self.emit(open, rows, emit);
        Ok(())
    }

    fn emit(&mut self, open: Open, rows: Rows, emit: &mut dyn FnMut(IntervalRows)) {
        let end_ns = self.end_of(open.start_ns);
        let lost = self
            .gaps
            .iter()
            .any(|(from, to)| *from < end_ns && *to > open.start_ns);
        self.gaps.retain(|(_, to)| *to > end_ns);
        self.samples.retain(|(_, to, _)| *to > end_ns);
        emit(IntervalRows {
            interval_start_ns: open.start_ns,
            interval_end_ns: end_ns,
            rows,
            complete: open.whole && !lost,
            sampled: open.sampled,
            packets: open.packets,
            late_packets: open.late_packets,
            skipped_before: open.skipped_before,
        });
    }

    /// One packet in so many of what is known to come of an interval.
    fn sampled_in(&self, start_ns: u64) -> u32 {
        let end_ns = self.end_of(start_ns);
        let within = self
            .samples
            .iter()
            .filter(|(from, to, _)| *from < end_ns && *to > start_ns);
        within.map(|(_, _, one_in)| *one_in).max().unwrap_or(1)
    }

    /// How many of `times` belong to the open interval, late ones included.
    fn stretch(&self, times: &[u64]) -> usize {
        let Some(open) = self.open else { return 0 };
        let end_ns = self.end_of(open.start_ns).min(self.to_ns);
        times.iter().position(|ts| *ts >= end_ns).unwrap_or(times.len())
    }

    fn start_of(&self, ts_ns: u64) -> u64 {
        ts_ns - ts_ns % self.interval_ns
    }

    fn end_of(&self, start_ns: u64) -> u64 {
        start_ns.saturating_add(self.interval_ns)
    }
}
