//! The command `como-node import`: plan, bring in, say how it went. Who brings in is given: the administration
//! starts no role.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use clap::Args;
use indicatif::{HumanBytes, ProgressBar};

use super::{Candidate, Ledger, Plan, plan};
use crate::admin::AdminError;
use crate::admin::cli::NodeArgument;
use crate::admin::events::running_supervisor;
use crate::admin::trace::{progress_bar, shown};
use crate::config::Config;

/// What is imported, and where to.
#[derive(Clone, Debug, Args)]
pub struct ImportArguments {
    /// pcap or pcapng files; they are brought in in the order of their first packets
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Only say which files would be imported
    #[arg(long)]
    dry_run: bool,
    /// Which node.
    #[command(flatten)]
    node: NodeArgument,
}

/// What the import is told of the file at hand, counted from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Bytes of it that were read.
    Read(usize, u64),
    /// All of it that reads is on disk: packets, and why it does not read to its end.
    Done(usize, u64, String),
}

/// Brings files in, each with the name under which storage knows it; false: told to stop before the last was
/// over.
pub type BringIn = dyn Fn(&Path, Vec<(PathBuf, String)>, Box<dyn FnMut(Told)>) -> Result<bool, String>;

/// Runs the command: its answer on stdout, errors (two lines) on stderr. 0: all is in; 1: not all, or a file
/// does not read to its end.
pub fn run(arguments: &ImportArguments, bring_in: &BringIn) -> ExitCode {
    match import(arguments, bring_in) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("como-node: {error}");
            ExitCode::FAILURE
        }
    }
}

fn import(arguments: &ImportArguments, bring_in: &BringIn) -> Result<ExitCode, AdminError> {
    let config = Config::load(arguments.node.path())?;
    let layout = config.layout();
    if let Some(pid) = running_supervisor(&layout).filter(|_| !arguments.dry_run) {
        return Err(AdminError::refused(
            format!(
                "a node runs on {} (process {})",
                layout.root().display(),
                pid.as_raw_nonzero()
            ),
            "stop it first (SIGTERM to that process), import, and start it again: it goes on from where it was",
        ));
    }
    let ledger = Ledger::open(&layout)?;
    let plan = plan(&config, &ledger, &arguments.files)?;
    say_skipped(&plan);
    if arguments.dry_run {
        for candidate in &plan.todo {
            println!("would import {}{}", candidate.path.display(), begins(candidate));
        }
        return Ok(ExitCode::SUCCESS);
    }
    for candidate in &plan.todo {
        ledger.begin(&candidate.entry)?;
    }
    let files = plan
        .todo
        .iter()
        .map(|candidate| (candidate.path.clone(), candidate.entry.name.clone()))
        .collect();
    let report = Rc::new(RefCell::new(Report::new(plan, ledger)));
    let told = report.clone();
    let tell = Box::new(move |event| told.borrow_mut().take(event));
    let ended = bring_in(&config.file, files, tell);
    let mut report = report.borrow_mut();
    report.bar.finish_and_clear();
    match (ended, report.failed.take()) {
        (_, Some(error)) => Err(error),
        (Err(why), None) => {
            let (what, fix) = why.rsplit_once('\n').unwrap_or((&why, ""));
            Err(AdminError::refused(what, fix))
        }
        (Ok(false), None) => Err(AdminError::refused(
            "the import was stopped before all was in",
            "run the same command again: it goes on from where it was",
        )),
        (Ok(true), None) if report.damaged > 0 => Ok(ExitCode::FAILURE),
        (Ok(true), None) => Ok(ExitCode::SUCCESS),
    }
}

fn say_skipped(plan: &Plan) {
    for (path, entry) in &plan.skipped {
        match entry.finished_ns {
            Some(when) => println!(
                "skipped {}: imported already, as {} at {}, {} packets",
                path.display(),
                entry.name,
                shown(when),
                entry.packets
            ),
            None => println!("skipped {}: given twice", path.display()),
        }
    }
}

fn begins(candidate: &Candidate) -> String {
    match candidate.first_ns {
        Some(first_ns) => format!(
            ", {}, from {}",
            HumanBytes(candidate.entry.bytes),
            shown(first_ns)
        ),
        None => ", which has no packet".to_owned(),
    }
}

/// What is known while it runs.
struct Report {
    plan: Plan,
    ledger: Ledger,
    bar: ProgressBar,
    /// Bytes of the files that are over.
    before: u64,
    damaged: usize,
    failed: Option<AdminError>,
}

impl Report {
    fn new(plan: Plan, ledger: Ledger) -> Self {
        let total = plan.todo.iter().map(|candidate| candidate.entry.bytes).sum();
        Self {
            bar: progress_bar(total, "importing"),
            plan,
            ledger,
            before: 0,
            damaged: 0,
            failed: None,
        }
    }

    fn take(&mut self, told: Told) {
        match told {
            Told::Read(_, offset) => self.bar.set_position(self.before + offset),
            Told::Done(file, packets, damage) => {
                let candidate = &self.plan.todo[file];
                // The next run skips it; until this is on disk it goes over it once more, and finds nothing new.
                if let Err(error) = self.ledger.finish(&candidate.entry, packets) {
                    self.failed.get_or_insert(error);
                }
                self.before += candidate.entry.bytes;
                self.bar.set_position(self.before);
                let path = candidate.path.display();
                self.bar
                    .suspend(|| println!("imported {path}: {packets} packets"));
                if !damage.is_empty() {
                    self.damaged += 1;
                    self.bar.suspend(|| eprintln!("{path}: {damage}"));
                }
            }
        }
    }
}
