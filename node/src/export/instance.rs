//! One live module: its interval runner, and what is known of it for its records.

use como_anonymize::{Column, View};
use como_capnp::wire_capnp as wire;
use como_modules::{IntervalRows, IntervalRunner, Manifest, Usage, VerifiedModule};

use crate::feed::Feed;
use crate::records::Sealer;
use crate::wire as messages;

/// A record file that is being written.
pub(super) struct OpenFile {
    pub name: String,
    pub epoch: u32,
    pub sealer: Sealer,
    /// Bytes of its blocks.
    pub bytes: u64,
}

/// One running module.
pub(super) struct Live {
    pub id: u64,
    pub manifest: std::sync::Arc<Manifest>,
    pub arguments: Vec<(String, i64)>,
    pub audience: String,
    pub file: Option<OpenFile>,
    /// Where the stored records of this computation end, until the gap behind it is marked; ns.
    pub stored_to_ns: Option<u64>,
    /// Bytes of its sealed record blocks.
    pub stored_bytes: u64,
    /// The columns that it looks at.
    columns: Vec<Column>,
    runner: Option<IntervalRunner>,
    /// What the guest used when it ended.
    last: Option<Usage>,
    /// What was reported last: usage, intervals, stored bytes.
    reported: Option<(Usage, u64, u64)>,
    rows: u64,
    intervals: u64,
}

impl Live {
    /// Admits and starts a module that the supervisor has verified; an error is told to the developer.
    pub fn start(run: wire::module_run::Reader<'_>) -> Result<Self, String> {
        let (admitted, arguments) = admit(run)?;
        let instance = admitted.recorder(&arguments).map_err(|e| e.to_string())?;
        let to_ns = if run.get_to_ns() == 0 {
            u64::MAX
        } else {
            run.get_to_ns()
        };
        let runner = IntervalRunner::new(instance, admitted.filter().clone(), run.get_from_ns(), to_ns);
        Ok(Self {
            id: run.get_instance(),
            manifest: admitted.manifest().clone(),
            arguments,
            audience: messages::text(run.get_audience()).map_err(|e| e.to_string())?,
            file: None,
            stored_to_ns: Some(run.get_stored_to_ns()).filter(|end_ns| *end_ns > 0),
            stored_bytes: 0,
            columns: admitted.manifest().looked_at(),
            runner: Some(runner),
            last: None,
            reported: None,
            rows: 0,
            intervals: 0,
        })
    }

    /// Packets are missing in `[from_ns, to_ns)`.
    pub fn gap(&mut self, from_ns: u64, to_ns: u64) {
        if let Some(runner) = &mut self.runner {
            runner.gap(from_ns, to_ns);
        }
    }

    /// Takes one message of the feed; finished intervals go to `out`.
    pub fn take(&mut self, feed: &Feed, out: &mut Vec<IntervalRows>) -> Result<(), String> {
        let Some(runner) = &mut self.runner else {
            return Ok(());
        };
        let mut emit = |rows| out.push(rows);
        let taken = match feed {
            Feed::View(view, _) if !shows(view, &self.columns, self.manifest.wants_frames) => {
                let times = &view.columns.ts_ns;
                let (first, last) = (times.iter().min(), times.iter().max());
                let (first, last) = (first.copied().unwrap_or(0), last.copied().unwrap_or(0));
                runner.gap(first, last.saturating_add(1));
                runner.advance(last, &mut emit)
            }
            Feed::View(view, sample) => {
                if let Some(sample) = sample {
                    runner.sampled(sample.from_ns, sample.to_ns, sample.one_in);
                }
                runner.push(view, None, &mut emit)
            }
            Feed::Tick(now_ns) => runner.advance(*now_ns, &mut emit),
            Feed::Gap(gap) => {
                runner.gap(gap.from_ns, gap.to_ns);
                Ok(())
            }
            Feed::Passed { .. } | Feed::Rows { .. } | Feed::Piece(_) | Feed::End => Ok(()),
        };
        self.count(out);
        taken.map_err(|fault| fault.without_numbers())
    }

    /// Ends the module; what is open comes out as an interrupted interval.
    pub fn finish(&mut self, end_ns: u64) -> Vec<IntervalRows> {
        let mut out = Vec::new();
        if let Some(runner) = self.runner.take() {
            match runner.finish(end_ns, &mut |rows| out.push(rows)) {
                Ok(usage) => self.last = Some(usage),
                Err(fault) => {
                    let what = fault.without_numbers();
                    tracing::warn!(instance = self.id, "module failed at its end: {what}");
                }
            }
        }
        self.count(&out);
        out
    }

    fn count(&mut self, out: &[IntervalRows]) {
        self.intervals += out.len() as u64;
        self.rows += out.iter().map(|i| i.rows.rows() as u64).sum::<u64>();
    }

    /// A usage report, where there is something new to tell.
    pub fn usage_if_changed(&mut self) -> Option<Vec<u8>> {
        let usage = match &self.runner {
            Some(runner) => runner.instance().usage(),
            None => self.last?,
        };
        let told = (usage, self.intervals, self.stored_bytes);
        if self.reported == Some(told) {
            return None;
        }
        self.reported = Some(told);
        Some(messages::up(|up| {
            let mut report = up.init_usage();
            report.set_instance(self.id);
            report.set_packets(usage.packets);
            report.set_fuel(usage.fuel);
            report.set_wall_ns(usage.wall_ns);
            report.set_rows(self.rows);
            report.set_intervals(self.intervals);
            report.set_memory_bytes(usage.memory_bytes);
            report.set_stored_bytes(self.stored_bytes);
        }))
    }
}

/// Whether a view has all that a module looks at. One that capture made before it knew of the module may not.
fn shows(view: &View, columns: &[Column], frames: bool) -> bool {
    let rows = view.len();
    columns.iter().all(|column| view.columns.has(*column, rows)) && (!frames || view.frames.len() == rows)
}

/// Reads a module run and admits its code.
fn admit(
    run: wire::module_run::Reader<'_>,
) -> Result<(como_modules::AdmittedModule, Vec<(String, i64)>), String> {
    let module = run.get_module().map_err(|e| e.to_string())?;
    let admitted = VerifiedModule::from_supervisor(module)
        .and_then(|m| m.admit())
        .map_err(|e| e.to_string())?;
    let list = run.get_arguments().map_err(|e| e.to_string())?;
    let arguments = list
        .iter()
        .map(|a| Ok((messages::text(a.get_name())?, a.get_value())))
        .collect::<capnp::Result<_>>()
        .map_err(|e| e.to_string())?;
    Ok((admitted, arguments))
}
