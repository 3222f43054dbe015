//! A module over the parts of a window that are computed from the trace: a new instance for each, as if each had been
//! asked for alone. Between them come rows that were stored before. Must never carry a module's state from one to the next.

use std::collections::VecDeque;

use como_anonymize::View;
use como_modules::{AdmittedModule, IntervalRunner, Usage};
use como_policies::Window;

use super::output::Output;
use super::{RunnerError, fault, refused};

/// What computes, part by part.
pub(super) struct Pieces {
    module: AdmittedModule,
    arguments: Vec<(String, i64)>,
    /// Gaps that were known before the first packet, ns, in order of time.
    gaps: Vec<(u64, u64)>,
    open: Option<Piece>,
    /// What those used that are over.
    usage: Usage,
}

/// The part that packets come of.
struct Piece {
    runner: IntervalRunner,
    window: Window,
    known: VecDeque<(u64, u64)>,
}

impl Pieces {
    /// Nothing is computed yet.
    pub fn new(module: AdmittedModule, arguments: Vec<(String, i64)>, gaps: Vec<(u64, u64)>) -> Self {
        Self {
            module,
            arguments,
            gaps,
            open: None,
            usage: Usage::default(),
        }
    }

    /// What follows belongs to this part.
    pub fn begin(&mut self, window: Window, output: &mut Output) -> Result<(), RunnerError> {
        self.end(output)?;
        let instance = self.module.recorder(&self.arguments).map_err(refused)?;
        let filter = self.module.filter().clone();
        let touches = |(from_ns, to_ns): &&(u64, u64)| *from_ns < window.to_ns && *to_ns > window.from_ns;
        self.open = Some(Piece {
            runner: IntervalRunner::new(instance, filter, window.from_ns, window.to_ns),
            window,
            known: self.gaps.iter().filter(touches).copied().collect(),
        });
        Ok(())
    }

    /// The present part is over; its last rows come out.
    pub fn end(&mut self, output: &mut Output) -> Result<(), RunnerError> {
        let Some(mut piece) = self.open.take() else {
            return Ok(());
        };
        piece.tell(u64::MAX);
        let mut emitted = Vec::new();
        let used = piece
            .runner
            .finish(piece.window.to_ns, &mut |rows| emitted.push(rows))
            .map_err(fault)?;
        self.usage.fuel += used.fuel;
        self.usage.wall_ns += used.wall_ns;
        self.usage.memory_bytes = self.usage.memory_bytes.max(used.memory_bytes);
        output.intervals(emitted)
    }

    /// Packets of the present part.
    pub fn view(&mut self, view: &View, output: &mut Output) -> Result<(), RunnerError> {
        let Some(piece) = &mut self.open else {
            return Ok(());
        };
        piece.tell(view.columns.ts_ns.iter().copied().max().unwrap_or(0));
        let mut emitted = Vec::new();
        piece
            .runner
            .push(view, None, &mut |rows| emitted.push(rows))
            .map_err(fault)?;
        output.intervals(emitted)
    }

    /// Time has reached `now_ns` without a packet for the module.
    pub fn advance(&mut self, now_ns: u64, output: &mut Output) -> Result<(), RunnerError> {
        let Some(piece) = &mut self.open else {
            return Ok(());
        };
        piece.tell(now_ns);
        let mut emitted = Vec::new();
        piece
            .runner
            .advance(now_ns, &mut |rows| emitted.push(rows))
            .map_err(fault)?;
        output.intervals(emitted)
    }

    /// Packets of the present part are missing.
    pub fn gap(&mut self, from_ns: u64, to_ns: u64) {
        if let Some(piece) = &mut self.open {
            piece.runner.gap(from_ns, to_ns);
        }
    }

    /// What all of them used.
    pub fn usage(&self) -> Usage {
        self.usage
    }
}

impl Piece {
    /// The module is told of each known gap before the packets that follow it.
    fn tell(&mut self, now_ns: u64) {
        while let Some((from_ns, to_ns)) = self.known.pop_front_if(|(from_ns, _)| *from_ns <= now_ns) {
            self.runner.gap(from_ns, to_ns);
        }
    }
}
