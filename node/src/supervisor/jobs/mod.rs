//! Queries and their life: asked, waiting, running, done, fetched, expired. This file has what is known of
//! each; the rest of the folder is what happens to them.
//!
//! | file | owns |
//! |---|---|
//! | `ask` | from an authentic question to a job: decided, estimated, or refused with the reason |
//! | `queue` | which job runs when: waiting, queued, forgotten |
//! | `run` | one reader and one runner process per job, and what they are given |
//! | `reports` | what those processes say, and the end of a job |
//! | `kept` | results that a restart leaves to their owners |
//! | `owner` | what the asker of a job may do with it |
//! | `again` | decisions made anew when policy or registry change |

mod again;
mod ask;
mod kept;
mod owner;
mod queue;
mod reports;
mod run;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use como_dataset::Header;
use como_policies::{AccessLevel, Window};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::SupervisorError;
use super::levels::{filter_level, has_packets, read_level};
use super::modules::Installed;
use super::plan::Estimate;
use crate::config::Layout;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::supervisor) enum State {
    /// Its window has not passed yet.
    Waiting,
    /// It waits for others to end.
    Queued,
    Running,
    Done,
    Failed,
    Cancelled,
}

/// What a job computes.
#[derive(Clone)]
pub(in crate::supervisor) enum Work {
    Query {
        hash: [u8; 32],
        module: Box<Installed>,
        arguments: Vec<(String, i64)>,
        audience: String,
        fresh: bool,
        /// Length of the intervals wanted, ns; 0: the module's own.
        every_ns: u64,
        /// The live instance of a future window.
        live: Option<u64>,
    },
    Trace {
        link_type: u32,
        audience: String,
    },
}

/// One query.
pub(in crate::supervisor) struct Job {
    pub id: String,
    pub owner: String,
    pub work: Work,
    pub level: AccessLevel,
    pub window: Window,
    /// Canonical text.
    pub filter: String,
    pub state: State,
    pub created_ns: u64,
    pub estimate: Estimate,
    /// Bytes of the trace that its reader read: for the audit log, not for the asker.
    read_bytes: u64,
    /// How long its reader waited for the link, ns: likewise.
    paused_ns: u64,
    pub reused: bool,
    recipients: Vec<Vec<u8>>,
    header: Option<Arc<Header>>,
    progress: (u64, u64),
    totals: Totals,
    detail: String,
    fix: String,
    reader_done: bool,
    /// The node's signature was given: there is one dataset per query.
    signed: bool,
}

/// What a finished job gave.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Totals {
    bytes: u64,
    packets: u64,
    rows: u64,
    /// Packets that came too late to be put in the order of time.
    #[serde(default)]
    late: u64,
    /// Blocks of the trace that could not be read.
    damaged: u64,
}

impl Job {
    /// The level of the views that are read: the module's, or the asker's.
    pub fn view_level(&self) -> AccessLevel {
        match &self.work {
            Work::Query { module, .. } => module.manifest.level,
            Work::Trace { .. } => self.level,
        }
    }

    /// The level of the view that the asker's filter sees.
    pub fn filter_level(&self) -> AccessLevel {
        filter_level(self.view_level(), self.level)
    }

    /// The level whose sections are read.
    pub fn read_level(&self) -> AccessLevel {
        read_level(self.view_level(), self.level, &self.filter)
    }

    /// Whether the answer is the host's own table, of flow rows or counters.
    pub fn is_table(&self) -> bool {
        matches!(self.work, Work::Trace { .. }) && !has_packets(self.level)
    }

    fn kind(&self) -> &'static str {
        match self.work {
            Work::Query { .. } => "query",
            Work::Trace { .. } => "trace",
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.state, State::Done | State::Failed | State::Cancelled)
    }

    fn body(&self) -> Value {
        json!({
            "id": self.id,
            "kind": self.kind(),
            "state": self.state,
            "level": self.level,
            "window": self.window,
            "estimate": self.estimate,
            "reused": self.reused,
            "progress": { "done": self.progress.0, "total": self.progress.1 },
            "bytes": self.totals.bytes,
            "packets": self.totals.packets,
            "rows": self.totals.rows,
            "late_packets": self.totals.late,
            "damaged_blocks": self.totals.damaged,
            "detail": self.detail,
            "fix": self.fix,
        })
    }
}

/// All queries.
pub(in crate::supervisor) struct Jobs {
    results: PathBuf,
    all: BTreeMap<String, Job>,
    /// Finished by an earlier run.
    kept: BTreeMap<String, kept::Kept>,
}

impl Jobs {
    /// No query yet but those that an earlier run finished: the others ended with it.
    pub fn open(layout: &Layout) -> Result<Self, SupervisorError> {
        let results = layout.results();
        let fail = |e| SupervisorError::Io(results.display().to_string(), e);
        std::fs::create_dir_all(&results).map_err(fail)?;
        Ok(Self {
            kept: kept::Kept::read_all(&results).map_err(fail)?,
            results,
            all: BTreeMap::new(),
        })
    }

    fn path(&self, id: &str) -> PathBuf {
        self.results.join(format!("{id}.como"))
    }

    fn state_path(&self, id: &str) -> PathBuf {
        self.results.join(format!("{id}.json"))
    }

    fn of(&mut self, id: &str) -> Option<&mut Job> {
        self.all.get_mut(id)
    }

    /// Running jobs whose window touches a span.
    pub fn running_over(&self, span: Window) -> Vec<String> {
        let running = self.all.values().filter(|job| job.state == State::Running);
        let touched = running.filter(|job| job.window.overlaps(span));
        touched.map(|job| job.id.clone()).collect()
    }

    fn count(&self, state: State) -> usize {
        self.all.values().filter(|j| j.state == state).count()
    }

    /// Bytes of all datasets that wait to be fetched.
    pub fn bytes(&self) -> u64 {
        let kept: u64 = self.kept.values().map(|k| k.bytes).sum();
        kept + self.all.values().map(|j| j.totals.bytes).sum::<u64>()
    }

    /// The query that a run over a window ahead belongs to.
    pub fn of_run(&self, instance: u64) -> Option<String> {
        let of = |job: &&Job| matches!(job.work, Work::Query { live: Some(live), .. } if live == instance);
        self.all.values().find(of).map(|job| job.id.clone())
    }

    /// Queries that are not over, for the operator.
    pub fn listed(&self) -> Vec<Value> {
        let open = self.all.values().filter(|job| !job.is_over());
        let listed = open.map(|job| {
            let what = match &job.work {
                Work::Query { module, .. } => module.manifest.name.as_str(),
                Work::Trace { .. } => "trace",
            };
            json!({
                "id": job.id,
                "what": what,
                "state": job.state,
                "asker": job.owner,
                "from_ns": job.window.from_ns,
                "to_ns": job.window.to_ns,
                "percent": job.progress.0.saturating_mul(100) / job.progress.1.max(1),
            })
        });
        listed.collect()
    }

    /// How long readers waited so that capture need not, ms, over the jobs that are known.
    pub fn paused_ms(&self) -> u64 {
        self.all.values().map(|job| job.paused_ns).sum::<u64>() / 1_000_000
    }

    /// Jobs by state, for the status.
    pub fn by_state(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for job in self.all.values() {
            *counts
                .entry(format!("{:?}", job.state).to_lowercase())
                .or_default() += 1;
        }
        counts
    }
}
