//! Which parts of a query's window are answered from where: from stored records as far as they reach, from the trace where
//! they do not, and from records of samples only where the trace is gone. Decides nothing about rights; must never have a
//! part answered twice.

use como_dataset::Gap;
use como_policies::{AccessLevel, Window};

use super::Supervisor;
use super::answers::Refusal;
use super::catalog::{Coverage, MetricKey};
use super::grants::{RecordGrant, SegmentGrant};
use super::jobs::{Job, Work};
use super::modules::Installed;
use super::plan::{metric_of, public_gaps};

/// Most parts of one window that are computed from the trace, each of which costs an instance and a look into its segments.
/// Where there are more holes in the records, those that lie closest together become one.
const MAX_COMPUTED_PIECES: usize = 32;

/// A part of a window.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub window: Window,
    pub source: Source,
}

/// Where the rows of a part come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Trace,
    Records(Vec<Coverage>),
    /// It was not recorded, and the trace does not reach it.
    Nothing,
}

/// What a reader is given for the parts of a window.
#[derive(Default)]
pub(super) struct Granted {
    pub segments: Vec<SegmentGrant>,
    /// Parts that are read from the trace, each with the places of its segments in `segments`.
    pub trace: Vec<(Window, Vec<usize>)>,
    pub records: Vec<RecordGrant>,
    /// What is known to be missing, as the asker may know it.
    pub gaps: Vec<Gap>,
}

impl Piece {
    /// A window that is computed from the trace as a whole.
    pub fn of_trace(window: Window) -> Vec<Self> {
        vec![Self {
            window,
            source: Source::Trace,
        }]
    }
}

impl Supervisor {
    /// The parts of a query's window, in order of time. A filter of the asker's own selects packets that the records never
    /// saw apart.
    pub(super) fn pieces(
        &self,
        module: &Installed,
        arguments: &[(String, i64)],
        audience: &str,
        filter: &str,
        window: Window,
    ) -> Vec<Piece> {
        let interval_ns = module.manifest.interval_ns;
        // A stored interval may reach beyond the window: only whole ones in it are taken.
        let whole = Window::new(
            window.from_ns.next_multiple_of(interval_ns),
            window.to_ns - window.to_ns % interval_ns,
        );
        let (true, Ok(whole)) = (filter.is_empty(), whole) else {
            return Piece::of_trace(window);
        };
        let metric = MetricKey(metric_of(module, arguments, audience));
        let (_, holes) = self.catalog.records_within(&metric, whole, false);
        let mut pieces = Vec::new();
        let mut reached_ns = window.from_ns;
        for hole in closed_up(with_ends(holes, whole, window)) {
            pieces.extend(self.recorded(&metric, reached_ns, hole.from_ns));
            pieces.extend(self.hole(&metric, hole, interval_ns));
            reached_ns = hole.to_ns;
        }
        pieces.extend(self.recorded(&metric, reached_ns, window.to_ns));
        let is_recorded = |piece: &Piece| matches!(piece.source, Source::Records(_));
        match pieces.iter().any(is_recorded) {
            true => pieces,
            false => Piece::of_trace(window),
        }
    }

    /// Records between two holes.
    fn recorded(&self, metric: &MetricKey, from_ns: u64, to_ns: u64) -> Option<Piece> {
        let window = Window::new(from_ns, to_ns).ok()?;
        let (stretches, _) = self.catalog.records_within(metric, window, false);
        Some(Piece {
            window,
            source: Source::Records(stretches),
        })
    }

    /// What there is for a hole in the records: the trace, from the interval on that it begins in, and before that records
    /// of samples.
    fn hole(&self, metric: &MetricKey, hole: Window, interval_ns: u64) -> Vec<Piece> {
        let trace = self.catalog.coverage().filter(|trace| trace.overlaps(hole));
        let reached_ns = trace.map_or(hole.to_ns, |trace| {
            (trace.from_ns - trace.from_ns % interval_ns).max(hole.from_ns)
        });
        let mut pieces = Vec::new();
        if let Ok(gone) = Window::new(hole.from_ns, reached_ns) {
            let (samples, missing) = self.catalog.records_within(metric, gone, true);
            pieces.extend(samples.into_iter().map(|coverage| Piece {
                window: coverage.window,
                source: Source::Records(vec![coverage]),
            }));
            pieces.extend(missing.into_iter().map(|window| Piece {
                window,
                source: Source::Nothing,
            }));
            pieces.sort_by_key(|piece| piece.window.from_ns);
        }
        let rest = Window::new(reached_ns, hole.to_ns);
        pieces.extend(rest.into_iter().flat_map(Piece::of_trace));
        pieces
    }

    /// Opens what the parts of a job's window need; `None`: records that cannot be opened any more.
    pub(super) fn grant_pieces(&mut self, job: &Job, pieces: &[Piece]) -> Result<Option<Granted>, Refusal> {
        let seen = job.view_level().min(job.level);
        let mut granted = Granted::default();
        for piece in pieces {
            match &piece.source {
                Source::Trace => self.grant_trace(job.read_level(), piece.window, seen, &mut granted)?,
                Source::Records(stretches) => match self.grant_stretches(job, stretches) {
                    Some(grants) => granted.records.extend(grants),
                    None => return Ok(None),
                },
                Source::Nothing => {
                    let gap = Gap {
                        from_ns: piece.window.from_ns,
                        to_ns: piece.window.to_ns,
                        cause: "not recorded".into(),
                        count: None,
                    };
                    granted.gaps.extend(public_gaps(vec![gap], job.window, seen));
                }
            }
        }
        Ok(Some(granted))
    }

    fn grant_trace(
        &mut self,
        read_level: AccessLevel,
        window: Window,
        seen: AccessLevel,
        granted: &mut Granted,
    ) -> Result<(), Refusal> {
        let mut gaps = self.check_window(window, seen)?;
        let (grants, destroyed) = self.grant_segments(window, read_level);
        gaps.extend(destroyed);
        granted.gaps.extend(public_gaps(gaps, window, seen));
        let mut places = Vec::with_capacity(grants.len());
        for grant in grants {
            let known = granted.segments.iter().position(|other| other.id == grant.id);
            places.push(known.unwrap_or(granted.segments.len()));
            if known.is_none() {
                granted.segments.push(grant);
            }
        }
        granted.trace.push((window, places));
        Ok(())
    }

    fn grant_stretches(&self, job: &Job, stretches: &[Coverage]) -> Option<Vec<RecordGrant>> {
        let Work::Query {
            module,
            arguments,
            audience,
            ..
        } = &job.work
        else {
            return None;
        };
        let metric = metric_of(module, arguments, audience);
        self.grant_records(stretches, &metric, module.manifest.output_level)
    }
}

/// Holes, and the ends of a window that are no whole intervals.
fn with_ends(mut holes: Vec<Window>, whole: Window, window: Window) -> Vec<Window> {
    let (before, after) = (
        Window::new(window.from_ns, whole.from_ns),
        Window::new(whole.to_ns, window.to_ns),
    );
    holes.splice(0..0, before);
    holes.extend(after);
    let mut joined: Vec<Window> = Vec::with_capacity(holes.len());
    for hole in holes {
        match joined.last_mut() {
            Some(last) if last.to_ns == hole.from_ns => last.to_ns = hole.to_ns,
            _ => joined.push(hole),
        }
    }
    joined
}

/// No more holes than may be computed.
fn closed_up(mut holes: Vec<Window>) -> Vec<Window> {
    while holes.len() > MAX_COMPUTED_PIECES {
        let distance = |at: &usize| holes[at + 1].from_ns - holes[*at].to_ns;
        let Some(closest) = (0..holes.len() - 1).min_by_key(distance) else {
            break;
        };
        holes[closest].to_ns = holes[closest + 1].to_ns;
        holes.remove(closest + 1);
    }
    holes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: u64, to: u64) -> Window {
        Window::new(from, to).unwrap()
    }

    #[test]
    fn ends_that_are_no_whole_intervals_are_computed_with_the_holes_beside_them() {
        let ends = with_ends(
            vec![window(10, 20), window(30, 40)],
            window(10, 50),
            window(7, 55),
        );
        assert_eq!(ends, [window(7, 20), window(30, 40), window(50, 55)]);
        assert_eq!(with_ends(vec![], window(10, 50), window(10, 50)), []);
    }

    #[test]
    fn too_many_holes_are_closed_up_where_they_lie_closest() {
        let most = MAX_COMPUTED_PIECES as u64;
        let holes = (0..=most).map(|at| window(at * 100, at * 100 + if at == 7 { 50 } else { 10 }));
        let closed = closed_up(holes.collect());
        assert_eq!(closed.len(), MAX_COMPUTED_PIECES);
        assert_eq!(closed[7], window(700, 810));
    }
}
