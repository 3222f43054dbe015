//! One run of a module over a capture: the interval runner of a node, fed from a file. Must never go on after a fault:
//! a node would not.

use std::io::Read;
use std::ops::ControlFlow;
use std::time::Instant;

use como_anonymize::View;
use como_modules::merge::MergeError;
use como_modules::{
    AdmittedModule, Answer, Fault, Instance, IntervalRows, IntervalRunner, StartError, Usage,
};
use como_savefile::Reader;

use super::views::{Seen, Sight, each};
use crate::error::{ClientError, Result};

const NS_PER_MS: u64 = 1_000_000;

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was in the capture.
    pub seen: Seen,
    /// What the guest used.
    pub usage: Usage,
    /// Intervals stored.
    pub intervals: u64,
    /// Of these, intervals that the capture's start or end cuts.
    pub cut: u64,
    /// Time in filter, copying and guest together, ns of wall time.
    pub sandbox_ns: u64,
    /// What the guest's `merge` and `load` used, where the rows were combined or loaded.
    pub answer: Usage,
    /// Why it stopped early.
    pub fault: Option<Fault>,
}

/// Runs a module over everything that `input` has left; the rows of each interval of the answer go to `emit`, combined to
/// intervals of `every_ns` and loaded, as an asker gets them. The window is that of the capture: its first and last
/// intervals are rarely whole, and are told as cut, as a node tells it.
pub fn run<R: Read>(
    module: &AdmittedModule,
    args: &[(String, i64)],
    input: Reader<R>,
    sight: Sight<'_>,
    every_ns: Option<u64>,
    emit: &mut dyn FnMut(&IntervalRows),
) -> Result<Report> {
    check_every(module, every_ns)?;
    let mut answer = Answer::new(module, args, every_ns).map_err(of_answer)?;
    let mut pass = Pass::new(module, args)?;
    let mut failed = None;
    let mut push = |rows: &IntervalRows| {
        if failed.is_none() {
            failed = answer.push(rows.clone(), &mut |rows| emit(&rows)).err();
        }
    };
    let seen = each(input, module.manifest().level, sight, &mut |view| {
        pass.push(&view, &mut push)
    })?;
    let mut report = pass.finish(seen, &mut push);
    let ended = match failed {
        Some(error) => Err(error),
        None => answer.finish(&mut |rows| emit(&rows)),
    };
    report.answer = answer.usage();
    match ended {
        Ok(()) => {}
        Err(MergeError::Fault(fault)) => report.fault = report.fault.or(Some(fault)),
        Err(other) => return Err(of_answer(other)),
    }
    Ok(report)
}

/// As a node refuses it.
fn check_every(module: &AdmittedModule, every_ns: Option<u64>) -> Result<()> {
    let interval_ns = module.manifest().interval_ns;
    match every_ns {
        Some(every_ns) if every_ns == 0 || !every_ns.is_multiple_of(interval_ns) => Err(ClientError::usage(
            format!(
                "--every is no multiple of the module's interval, which is {} ms",
                interval_ns / NS_PER_MS
            ),
            "longer intervals are made of whole ones: take a multiple",
        )),
        _ => Ok(()),
    }
}

fn of_answer(error: MergeError) -> ClientError {
    match error {
        MergeError::Start(error) => of_start(error),
        other => ClientError::of_input(other),
    }
}

/// A run under way.
pub(super) struct Pass<'a> {
    module: &'a AdmittedModule,
    state: State,
    report: Report,
}

enum State {
    /// Started, and without a packet: when its window begins is not known.
    Waiting(Box<Instance>),
    Running(Box<IntervalRunner>),
    Faulted,
}

impl<'a> Pass<'a> {
    /// Starts the module's instance.
    pub fn new(module: &'a AdmittedModule, args: &[(String, i64)]) -> Result<Self> {
        let instance = module.recorder(args).map_err(of_start)?;
        let report = Report {
            seen: Seen::default(),
            usage: instance.usage(),
            intervals: 0,
            cut: 0,
            sandbox_ns: 0,
            answer: Usage::default(),
            fault: None,
        };
        Ok(Self {
            module,
            state: State::Waiting(Box::new(instance)),
            report,
        })
    }

    /// Hands over the next view; breaks off at a fault.
    pub fn push(&mut self, view: &View, emit: &mut dyn FnMut(&IntervalRows)) -> ControlFlow<()> {
        let Some(&first_ns) = view.columns.ts_ns.first() else {
            return ControlFlow::Continue(());
        };
        let mut runner = match std::mem::replace(&mut self.state, State::Faulted) {
            State::Running(runner) => runner,
            State::Waiting(instance) => {
                let filter = self.module.filter().clone();
                Box::new(IntervalRunner::new(*instance, filter, first_ns, u64::MAX))
            }
            State::Faulted => return ControlFlow::Break(()),
        };
        let mut closed = Vec::new();
        let started = Instant::now();
        let pushed = runner.push(view, None, &mut |rows| closed.push(rows));
        self.report.sandbox_ns += elapsed_ns(started);
        self.report.usage = runner.instance().usage();
        self.closed(&closed, emit);
        match pushed {
            Ok(()) => {
                self.state = State::Running(runner);
                ControlFlow::Continue(())
            }
            Err(fault) => {
                self.report.fault = Some(fault);
                ControlFlow::Break(())
            }
        }
    }

    /// The capture is over: closes the last interval.
    pub fn finish(mut self, seen: Seen, emit: &mut dyn FnMut(&IntervalRows)) -> Report {
        if let State::Running(runner) = std::mem::replace(&mut self.state, State::Faulted) {
            let mut closed = Vec::new();
            let started = Instant::now();
            let finished = runner.finish(seen.end_ns, &mut |rows| closed.push(rows));
            self.report.sandbox_ns += elapsed_ns(started);
            self.closed(&closed, emit);
            match finished {
                Ok(usage) => self.report.usage = usage,
                Err(fault) => self.report.fault = Some(fault),
            }
        }
        Report { seen, ..self.report }
    }

    fn closed(&mut self, closed: &[IntervalRows], emit: &mut dyn FnMut(&IntervalRows)) {
        for rows in closed {
            self.report.intervals += 1;
            self.report.cut += u64::from(!rows.complete);
            emit(rows);
        }
    }
}

fn elapsed_ns(started: Instant) -> u64 {
    started.elapsed().as_nanos() as u64
}

/// An argument is the command line's, a fault is the module's.
fn of_start(error: StartError) -> ClientError {
    match error {
        StartError::Argument(error) => {
            let (what, fix) = crate::error::split(&error.to_string());
            ClientError::usage(what, fix)
        }
        StartError::Fault(fault) => ClientError::of_input(fault),
    }
}
