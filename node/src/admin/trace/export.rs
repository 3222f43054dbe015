//! `como-node trace export`: packets of the past for the operator, in a capture file or pipe. The policy decides before
//! anything is read, and the access is on record before the first packet goes out. Must never open a section that the
//! level does not include, nor leave half a file.

mod output;
mod pace;
mod reading;
mod sources;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use como_anonymize::filter::Filter;
use como_policies::{
    AccessLevel, Action, Ask, Decision, PolicyEngine, Principal, Resource, TraceFacts, Window,
};
use indicatif::ProgressBar;

use super::moment::{Moment, Span, shown};
use super::progress_bar;
use crate::admin::events::{AdminEvent, now_ns};
use crate::admin::{AdminError, AdminNode};
use crate::retrieval::{self, Merge};
use crate::trace::TraceError;
use output::Output;
use pace::Pace;
use reading::{Part, Reading, Records};
use sources::Source;

/// Parts that may wait to be written, beyond those that workers hold: with many more their memory is no longer in the caches
/// when it is used again.
const MAX_WAITING_PARTS: usize = 16;

/// A kind of capture file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One link type, nanoseconds.
    Pcap,
    /// An interface for each link type, nanoseconds.
    Pcapng,
}

/// What is exported, and where to.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Export {
    pub from: Option<Moment>,
    pub to: Option<Moment>,
    pub last: Option<Span>,
    pub filter: String,
    pub level: AccessLevel,
    pub format: Option<Format>,
    pub output: PathBuf,
    pub force: bool,
}

/// What came out.
#[derive(Debug, Default)]
struct Told {
    packets: u64,
    /// Packets that the level shows without bytes.
    denied: u64,
    /// Packets that came too late for their place.
    late: u64,
    /// For how long its threads waited because capture was under pressure.
    paused: Duration,
    /// Gaps by cause: their number, and the packets in them where known.
    gaps: BTreeMap<String, (u64, u64)>,
}

impl Export {
    /// Writes the packets; what there is to say goes to stderr, since packets may go to stdout.
    pub fn run(&self, node: &AdminNode) -> Result<(), AdminError> {
        if self.level < AccessLevel::Anonymized {
            return Err(AdminError::refused(
                format!("`{}` is no level of packets: it shows tables", self.level),
                "ask for anonymized, headers or payload; `como trace` gives the tables",
            ));
        }
        let filter = self.filter()?;
        let mut told = Told::default();
        let pace = Pace::default();
        // The policy set is parsed while keys are unwrapped: each takes a core some milliseconds.
        let (policy, sources) = std::thread::scope(|scope| {
            let policy = scope.spawn(|| policy_of(node));
            let sources = sources::of(node, self.level, &pace, &mut told);
            (policy.join(), sources)
        });
        let policy = policy.map_err(|_| broken("a thread failed"))??;
        let mut sources = sources?;
        let window = self.window(&sources)?;
        sources.retain(|source| source.range.overlaps(window));
        one_epoch(filter.as_ref(), self.level, &sources)?;
        let output = Output::create(&self.output, self.force, self.format())?;
        let access = self.decide(node, &policy, window, sources.iter().map(|s| s.bytes).sum())?;
        let reading = Reading::new(node, sources, pace, window, self.level, filter, output.encoder());
        self.write(&reading, output, &mut told, || node.record(access))?;
        eprintln!("{}", told.text(self, window));
        Ok(())
    }

    fn filter(&self) -> Result<Option<Filter>, AdminError> {
        if self.filter.is_empty() {
            return Ok(None);
        }
        Filter::parse(&self.filter).map(Some).map_err(|error| {
            AdminError::refused(
                format!("the filter does not parse: {error}"),
                error.with_caret(&self.filter),
            )
        })
    }

    fn format(&self) -> Format {
        let by_name = match self.output.extension().and_then(|extension| extension.to_str()) {
            Some("pcap") => Format::Pcap,
            _ => Format::Pcapng,
        };
        self.format.unwrap_or(by_name)
    }

    /// As asked, within what the trace holds, outward to the grain of the level.
    fn window(&self, sources: &[Source]) -> Result<Window, AdminError> {
        let begin = sources.iter().map(|source| source.range.from_ns).min();
        let end = sources.iter().map(|source| source.range.to_ns).max();
        let (Some(begin), Some(end)) = (begin, end) else {
            return Err(AdminError::refused(
                "the trace has no packet that can be read",
                "`como-node trace info` shows what it has, and which keys are there",
            ));
        };
        let from = match self.last {
            Some(Span(span)) => end.saturating_sub(span),
            None => self.from.map_or(begin, |Moment(from)| from),
        };
        let to = self.to.map_or(end, |Moment(to)| to);
        let window = Window::new(from, to).map_err(|_| {
            AdminError::refused("the window ends before it begins", "give a --to after --from")
        })?;
        Ok(window.snap(self.level))
    }

    /// Asks the policy as it would be asked for anybody. What it denies goes on record at once, what it allows gives the
    /// record that must be made before a packet goes out.
    fn decide(
        &self,
        node: &AdminNode,
        policy: &PolicyEngine,
        window: Window,
        bytes: u64,
    ) -> Result<AdminEvent, AdminError> {
        let principal = Principal::Operator {
            id: node.config.node.name.to_string(),
        };
        let resource = Resource::Trace(TraceFacts {
            level: self.level,
            window,
            trace_coverage: window,
            bytes_estimated: bytes,
        });
        let decision = policy.decide(&Ask {
            principal: &principal,
            action: Action::DownloadTrace,
            resource: &resource,
            level: Some(self.level),
            window: Some(window),
            cost_bytes: bytes,
            now_ns: now_ns(),
        });
        let answer = match &decision {
            Decision::Allow { .. } => "allowed",
            Decision::Deny { .. } => "denied",
        };
        // The filter may name hosts: the log says only that there was one.
        let filtered = if self.filter.is_empty() {
            "all packets"
        } else {
            "filtered"
        };
        let access = AdminEvent::new(
            "trace export",
            self.level.name(),
            "",
            format!(
                "{answer}: {} to {}, {filtered}",
                shown(window.from_ns),
                shown(window.to_ns)
            ),
        );
        match decision {
            Decision::Allow { .. } => Ok(access),
            Decision::Deny { rule, .. } => {
                node.record(access)?;
                Err(AdminError::refused(
                    format!("the policy refuses: {rule}"),
                    "ask for a lower level, or change the policy set in [policy]",
                ))
            }
        }
    }

    /// `on_record` is what must have happened before anything is written; blocks are read and opened meanwhile.
    fn write(
        &self,
        reading: &Reading,
        mut output: Output,
        told: &mut Told,
        on_record: impl FnOnce() -> Result<(), AdminError>,
    ) -> Result<(), AdminError> {
        let bytes = reading.sources.iter().map(|source| source.bytes).sum();
        let bar = progress_bar(bytes, "exporting");
        let (parts, queue) = sync_channel(MAX_WAITING_PARTS);
        let (ends, ended) = sync_channel::<()>(0);
        let mut merge = Merge::default();
        let mut ready = Vec::new();
        std::thread::scope(|scope| {
            let _ends = ends;
            reading.pace.hear(&reading.layout);
            scope.spawn(move || reading.pace.listen(&reading.layout, &ended));
            scope.spawn(move || retrieval::retrieve(reading, &reading.sources, &parts));
            on_record()?;
            for part in queue {
                let part = part.recv().map_err(|_| broken("a worker thread failed"))?;
                bar.inc(part.bytes);
                told.take(&part, &bar);
                let records = part.records.map_err(|error| output.failed(error))?;
                for records in records {
                    merge.push(records, &mut ready);
                }
                put(&mut output, reading, &mut ready, told)?;
            }
            merge.finish(&mut ready);
            put(&mut output, reading, &mut ready, told)
        })?;
        told.late = merge.late();
        told.paused = reading.pace.paused();
        bar.finish_and_clear();
        output.finish()
    }
}

fn put(
    output: &mut Output,
    reading: &Reading,
    ready: &mut Vec<Records>,
    told: &mut Told,
) -> Result<(), AdminError> {
    for mut records in ready.drain(..) {
        told.packets += records.len() as u64;
        output
            .records(&mut records)
            .map_err(|error| output.failed(error))?;
        reading.give_back(records);
    }
    Ok(())
}

fn policy_of(node: &AdminNode) -> Result<PolicyEngine, AdminError> {
    Ok(match &node.config.policy.file {
        Some(file) => PolicyEngine::from_file(node.config.node.mode, file)?,
        None => PolicyEngine::builtin(node.config.node.mode)?,
    })
}

fn broken(what: &'static str) -> AdminError {
    AdminError::file(Path::new("the trace"))(io::Error::other(what))
}

/// A pseudonym is one within its epoch only.
fn one_epoch(filter: Option<&Filter>, level: AccessLevel, sources: &[Source]) -> Result<(), AdminError> {
    let mut epochs = sources.iter().map(|source| source.reader.header().mapping_epoch);
    let first = epochs.next();
    if filter.is_some_and(|filter| filter.names_pseudonyms_at(level))
        && epochs.any(|epoch| Some(epoch) != first)
    {
        return Err(AdminError::refused(
            "the filter names pseudonyms, and the window has those of several epochs",
            "ask for a shorter window",
        ));
    }
    Ok(())
}

fn first_line(error: &TraceError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

impl Told {
    /// What a part tells beside its packets.
    fn take(&mut self, part: &Part, bar: &ProgressBar) {
        self.denied += part.denied;
        for gap in &part.gaps {
            self.gap(gap.cause.as_str(), gap.packets);
        }
        for (name, damage) in &part.damaged {
            bar.suspend(|| eprintln!("{name}: {}", first_line(&damage.what)));
            self.gap("damaged block", damage.packets);
        }
    }

    fn gap(&mut self, cause: &str, packets: Option<u64>) {
        let (gaps, lost) = self.gaps.entry(cause.to_owned()).or_default();
        *gaps += 1;
        *lost += packets.unwrap_or(0);
    }

    fn text(&self, export: &Export, window: Window) -> String {
        let mut text = format!(
            "{} packets at {} from {} to {}",
            self.packets,
            export.level,
            shown(window.from_ns),
            shown(window.to_ns)
        );
        if self.denied > 0 {
            text += &format!("; {} of them without bytes, which the level denies", self.denied);
        }
        if self.late > 0 {
            text += &format!("; {} of them late, and not in the order of time", self.late);
        }
        if !self.paused.is_zero() {
            text += &format!(
                "\nwaited {:.1} s, all threads together, while capture was under pressure",
                self.paused.as_secs_f64()
            );
        }
        for (cause, (gaps, lost)) in &self.gaps {
            text += &format!("\nmissing: {gaps} x {cause}, {lost} packets known to be lost");
        }
        text
    }
}
