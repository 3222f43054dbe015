//! Queries and their life: asked, waiting, running, done, fetched, expired. One reader and one runner
//! process each; the dataset lands in a file that only the query process is given, to read.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use como_capnp::wire_capnp as wire;
use como_dataset::Header;
use como_policies::{AccessLevel, Action, Resource, Window};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answers::{Refusal, Reply};
use super::asks::{AskId, Outcome};
use super::audit::Event;
use super::children::{ChildId, Purpose};
use super::decide::Circumstances;
use super::modules::{Installed, WantedRun, fill_run};
use super::plan::{Estimate, metric_of};
use super::requests::{QueryAsked, TraceAsked};
use super::{Supervisor, SupervisorError, now_ns};
use crate::config::{Config, Layout};
use crate::process::Role;
use crate::wire::{self as messages, down};

/// Jobs that are remembered, of all askers, running or done; the oldest done ones go first.
const MAX_JOBS: usize = 10_000;
/// Modules that may be checked at once.
const MAX_CHECKS: usize = 4;
/// Packet time that must have passed after a future window before it is read, ns: records of its last
/// interval are on their way to the disk.
const SETTLE_NS: u64 = 2_000_000_000;

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
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
pub(super) enum Work {
    Query {
        hash: [u8; 32],
        module: Box<Installed>,
        arguments: Vec<(String, i64)>,
        audience: String,
        fresh: bool,
        /// The live instance of a future window.
        live: Option<u64>,
    },
    Trace {
        link_type: u32,
        audience: String,
    },
}

/// One query.
pub(super) struct Job {
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
            "damaged_blocks": self.totals.damaged,
            "detail": self.detail,
            "fix": self.fix,
        })
    }
}

/// A module that is being looked at, away from all keys.
struct Check {
    ask: AskId,
    asker: String,
    hash: [u8; 32],
    module: Installed,
    /// The query that carried it.
    then: Option<QueryAsked>,
}

/// All queries.
pub(super) struct Jobs {
    results: PathBuf,
    all: BTreeMap<String, Job>,
    checks: BTreeMap<String, Check>,
    next_check: u64,
}

impl Jobs {
    /// No query yet. Datasets of an earlier run are deleted: their askers' queries ended with it.
    pub fn open(layout: &Layout, _config: &Config) -> Result<Self, SupervisorError> {
        let results = layout.results();
        let fail = |e| SupervisorError::Io(results.display().to_string(), e);
        std::fs::create_dir_all(&results).map_err(fail)?;
        for entry in std::fs::read_dir(&results).map_err(fail)?.flatten() {
            let _ = std::fs::remove_file(entry.path());
        }
        Ok(Self {
            results,
            all: BTreeMap::new(),
            checks: BTreeMap::new(),
            next_check: 0,
        })
    }

    fn path(&self, id: &str) -> PathBuf {
        self.results.join(format!("{id}.como"))
    }

    fn of(&mut self, id: &str) -> Option<&mut Job> {
        self.all.get_mut(id)
    }

    fn count(&self, state: State) -> usize {
        self.all.values().filter(|j| j.state == state).count()
    }

    /// Bytes of all datasets that wait to be fetched.
    fn bytes(&self) -> u64 {
        self.all.values().map(|j| j.totals.bytes).sum()
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

impl Supervisor {
    /// Submits a module: decided here, looked at in a process without keys, installed when it passed.
    pub(super) fn submit_module(
        &mut self,
        ask: AskId,
        asker: &str,
        file: Vec<u8>,
    ) -> Result<Outcome, Refusal> {
        let (hash, module, known) = self.examine(asker, file)?;
        if known {
            return Ok(Outcome::Reply(module_reply(&hash, &module, true)));
        }
        self.check_module(Check {
            ask,
            asker: asker.to_owned(),
            hash,
            module,
            then: None,
        })
    }

    fn check_module(&mut self, check: Check) -> Result<Outcome, Refusal> {
        if self.jobs.checks.len() >= MAX_CHECKS {
            return Err(Refusal::Busy("other modules are being checked".into()));
        }
        let arguments = check.module.resolved(&Default::default())?;
        let first = down(|down| {
            fill_run(
                down.init_start_runner().init_check(),
                &check.module,
                0,
                &arguments,
                "",
                (0, 0),
            );
        });
        self.jobs.next_check += 1;
        let id = format!("check-{}", self.jobs.next_check);
        self.children
            .start(Role::Runner, Purpose::Job(id.clone()), first)
            .map_err(|e| Refusal::Internal(e.to_string()))?;
        self.jobs.checks.insert(id, check);
        Ok(Outcome::Later)
    }

    fn check_ended(&mut self, id: &str, result: Result<(), String>) -> bool {
        let Some(check) = self.jobs.checks.remove(id) else {
            return false;
        };
        let Check {
            ask,
            asker,
            hash,
            module,
            then,
        } = check;
        if let Err(what) = result {
            self.refuse(ask, &asker, &Refusal::BadModule(what));
            return true;
        }
        let manifest = module.manifest.clone();
        self.log(&Event::Submitted {
            asker: &asker,
            module: &manifest.name,
            hash: &hex::encode(hash),
            release: manifest.release,
            developer: &manifest.developer,
            level: manifest.level.name(),
            output_level: manifest.output_level.name(),
        });
        let reply = module_reply(&hash, &module, false);
        if let Err(error) = self.modules.put(hash, module) {
            self.refuse(ask, &asker, &Refusal::Internal(error.to_string()));
            return true;
        }
        match then {
            None => self.answer(ask, &reply),
            Some(asked) => match self.ask_query(ask, &asker, asked) {
                Ok(Outcome::Reply(reply)) => self.answer(ask, &reply),
                Ok(Outcome::Later) => {}
                Err(refusal) => self.refuse(ask, &asker, &refusal),
            },
        }
        true
    }

    /// An on-demand query.
    pub(super) fn ask_query(
        &mut self,
        ask: AskId,
        asker: &str,
        mut asked: QueryAsked,
    ) -> Result<Outcome, Refusal> {
        if let Some(file) = asked.carried.take() {
            let (hash, module, known) = self.examine(asker, file)?;
            asked.module.name.clone_from(&module.manifest.name);
            asked.module.hash = Some(hash);
            if !known {
                let asker = asker.to_owned();
                return self.check_module(Check {
                    ask,
                    asker,
                    hash,
                    module,
                    then: Some(asked),
                });
            }
        }
        let (hash, module) = self.modules.find(&asked.module)?;
        module.not_expired()?;
        let arguments = module.resolved(&asked.arguments)?;
        let principal = self.partner(asker)?;
        let filter = self.check_filter(&asked.filter, asked.level, asked.window)?;
        let future = self.is_future(asked.window);
        let mut estimate = self.estimate(asked.window);
        let facts = self.module_facts(&module, &asked.arguments, true);
        let id = hex::encode(como_keys::random::<16>());
        let about = Circumstances {
            level: Some(asked.level),
            window: Some(asked.window),
            cost_bytes: estimate.bytes,
            query: Some(&id),
            filter: &filter,
        };
        self.decide(&principal, Action::QueryOnDemand, &Resource::Module(facts), about)?;
        if asked.level < module.manifest.output_level {
            let rule = format!(
                "`{}` puts out at level {}, you asked for {}",
                module.manifest.name, module.manifest.output_level, asked.level
            );
            return Err(Refusal::Denied {
                rule,
                policies: vec!["output-level".into()],
            });
        }
        if module.manifest.level < AccessLevel::Anonymized || asked.level < AccessLevel::Anonymized {
            let served = "this node serves modules at anonymized, headers and payload";
            return Err(Refusal::LevelNotServed(served.into()));
        }
        let read = if filter.is_empty() {
            module.manifest.level
        } else {
            module.manifest.level.max(asked.level)
        };
        self.check_retained(read)?;
        if !future {
            self.check_window(asked.window)?;
        }
        let (project, recipient) = self.project_and_recipient(asker)?;
        let audience = module.audience(&project);
        if !asked.fresh
            && self
                .stored_records(&module, &arguments, &audience, &filter, asked.window)
                .is_some()
        {
            estimate.from_records = true;
        }
        if asked.explain {
            return Ok(Outcome::Reply(Reply::ok(
                json!({ "decision": "allow", "estimate": estimate }),
            )));
        }
        let fresh = asked.fresh;
        let work = Work::Query {
            hash,
            module: Box::new(module),
            arguments,
            audience,
            fresh,
            live: None,
        };
        let job = self.new_job(
            id,
            asker,
            work,
            asked.level,
            asked.window,
            filter,
            estimate,
            vec![recipient],
        );
        self.enqueue(job, future).map(Outcome::Reply)
    }

    /// A trace download.
    pub(super) fn ask_trace(&mut self, asker: &str, asked: TraceAsked) -> Result<Reply, Refusal> {
        let principal = self.partner(asker)?;
        let filter = self.check_filter(&asked.filter, asked.level, asked.window)?;
        let future = self.is_future(asked.window);
        let estimate = self.estimate(asked.window);
        let facts = self.trace_facts(asked.level, asked.window, estimate.bytes);
        let id = hex::encode(como_keys::random::<16>());
        let about = Circumstances {
            level: Some(asked.level),
            window: Some(asked.window),
            cost_bytes: estimate.bytes,
            query: Some(&id),
            filter: &filter,
        };
        self.decide(&principal, Action::DownloadTrace, &Resource::Trace(facts), about)?;
        if asked.level < AccessLevel::Anonymized {
            let served = "packets are served at anonymized, headers and payload; below there are no packets";
            return Err(Refusal::LevelNotServed(served.into()));
        }
        self.check_retained(asked.level)?;
        if !future {
            self.check_window(asked.window)?;
        }
        if asked.explain {
            return Ok(Reply::ok(json!({ "decision": "allow", "estimate": estimate })));
        }
        let (project, recipient) = self.project_and_recipient(asker)?;
        let work = Work::Trace {
            link_type: 1,
            audience: project,
        };
        let job = self.new_job(
            id,
            asker,
            work,
            asked.level,
            asked.window,
            filter,
            estimate,
            vec![recipient],
        );
        self.enqueue(job, future)
    }

    /// A section that is not kept cannot be read, and an answer of nothing but gaps would not say why.
    fn check_retained(&self, level: AccessLevel) -> Result<(), Refusal> {
        if level > self.config.trace.retain {
            let kept = format!("this node keeps its trace up to {}", self.config.trace.retain);
            return Err(Refusal::LevelNotServed(kept));
        }
        Ok(())
    }

    fn project_and_recipient(&self, asker: &str) -> Result<(String, Vec<u8>), Refusal> {
        let (_, partner) = self
            .registry
            .partner(asker)
            .ok_or_else(|| Refusal::Unknown(format!("{asker} is not a partner")))?;
        let recipient = hex::decode(&partner.dataset_recipient)
            .map_err(|_| Refusal::Internal("the registered dataset identity is not hex".into()))?;
        Ok((partner.project.clone(), recipient))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a job, once")]
    fn new_job(
        &self,
        id: String,
        asker: &str,
        work: Work,
        level: AccessLevel,
        window: Window,
        filter: String,
        estimate: Estimate,
        recipients: Vec<Vec<u8>>,
    ) -> Job {
        Job {
            id,
            owner: asker.to_owned(),
            work,
            level,
            window,
            filter,
            state: State::Queued,
            created_ns: now_ns(),
            estimate,
            reused: false,
            recipients,
            header: None,
            progress: (0, estimate.bytes),
            totals: Totals::default(),
            detail: String::new(),
            fix: String::new(),
            reader_done: false,
            signed: false,
        }
    }

    /// Whether a window reaches beyond what was captured, on a source that still delivers.
    fn is_future(&self, window: Window) -> bool {
        window.to_ns > self.catalog.now_ns.saturating_add(1) && !self.roles.capture.source_done
    }

    fn enqueue(&mut self, mut job: Job, future: bool) -> Result<Reply, Refusal> {
        let limits = &self.config.query.limits;
        let open = |j: &&Job| !j.is_over();
        if self
            .jobs
            .all
            .values()
            .filter(open)
            .filter(|j| j.owner == job.owner)
            .count()
            >= limits.per_partner as usize
        {
            return Err(Refusal::Busy(format!(
                "you have {} queries open",
                limits.per_partner
            )));
        }
        let waiting = self.jobs.count(State::Queued) + self.jobs.count(State::Waiting);
        if waiting >= limits.waiting as usize {
            return Err(Refusal::Busy(format!("{waiting} queries wait")));
        }
        if self.jobs.bytes() >= limits.result_bytes {
            return Err(Refusal::Busy(
                "results that were not fetched fill the disk they may use".into(),
            ));
        }
        if future {
            job.state = State::Waiting;
            self.run_future(&mut job)?;
        }
        let reply = Reply::accepted(job.body());
        self.jobs.all.insert(job.id.clone(), job);
        self.forget_old_jobs();
        self.advance_jobs();
        Ok(reply)
    }

    /// A window that lies wholly ahead runs live; one that has begun is read from the trace when it is over.
    fn run_future(&mut self, job: &mut Job) -> Result<(), Refusal> {
        let window = (job.window.from_ns, job.window.to_ns);
        if job.window.from_ns < self.catalog.now_ns || !job.filter.is_empty() {
            return Ok(());
        }
        if let Work::Query {
            hash,
            module,
            arguments,
            audience,
            live,
            ..
        } = &mut job.work
        {
            let run = WantedRun {
                started_by: job.owner.clone(),
                arguments: arguments.iter().cloned().collect(),
                audience: audience.clone(),
            };
            *live = Some(self.run_live(*hash, module, &run, arguments.clone(), Some(window))?);
        }
        Ok(())
    }

    /// Starts what may start, ends what took its time.
    pub(super) fn advance_jobs(&mut self) {
        self.expire_jobs();
        let now = self.catalog.now_ns;
        let done = self.roles.capture.source_done;
        for job in self.jobs.all.values_mut() {
            if job.state == State::Waiting && (done || now >= job.window.to_ns.saturating_add(SETTLE_NS)) {
                job.state = State::Queued;
            }
        }
        while self.jobs.count(State::Running) < self.config.query.limits.running as usize {
            let next = self
                .jobs
                .all
                .values()
                .filter(|j| j.state == State::Queued)
                .min_by_key(|j| j.created_ns);
            let Some(id) = next.map(|j| j.id.clone()) else {
                return;
            };
            let Some(mut job) = self.jobs.all.remove(&id) else {
                return;
            };
            if let Err(refusal) = self.start_job(&mut job) {
                job.state = State::Failed;
                job.detail = refusal.detail().to_owned();
            }
            self.jobs.all.insert(id, job);
        }
    }

    fn start_job(&mut self, job: &mut Job) -> Result<(), Refusal> {
        let stored = match &job.work {
            Work::Query {
                module,
                arguments,
                audience,
                fresh: false,
                ..
            } => self
                .stored_records(module, arguments, audience, &job.filter, job.window)
                .and_then(|files| {
                    let metric = metric_of(module, arguments, audience);
                    self.grant_records(&files, &metric, module.manifest.output_level)
                }),
            _ => None,
        };
        if let Work::Query {
            live: Some(instance), ..
        } = job.work
        {
            self.stop_windowed_run(instance, "its window is over");
        }
        let (reader, gaps, epoch) = match &stored {
            Some(grants) => {
                job.reused = true;
                (self.record_reader_start(job, grants), Vec::new(), 0)
            }
            None => self.trace_reader(job)?,
        };
        let header = self.dataset_header(job, gaps, epoch);
        let runner = self.runner_start(job, &header, &job.recipients, stored.is_some());
        let output = self.create_result(&job.id)?;
        let purpose = Purpose::Job(job.id.clone());
        let internal = |e: &dyn std::fmt::Display| Refusal::Internal(e.to_string());
        let runner = self
            .children
            .start(Role::Runner, purpose.clone(), runner)
            .map_err(|e| internal(&e))?;
        let reader = self
            .children
            .start(Role::Reader, purpose, reader)
            .map_err(|e| internal(&e))?;
        self.children
            .send_with(runner, messages::peer("output", 0), vec![output.into()]);
        self.link(reader, runner, 0);
        job.header = Some(Arc::new(header));
        job.state = State::Running;
        Ok(())
    }

    fn trace_reader(&mut self, job: &mut Job) -> Result<(Vec<u8>, Vec<como_dataset::Gap>, u32), Refusal> {
        let mut gaps = self.check_window(job.window)?;
        // The asker's filter sees the asker's view, the module its own: the higher of both is read.
        let level = job.view_level().max(job.level);
        let level = if job.filter.is_empty() {
            job.view_level()
        } else {
            level
        };
        let (grants, destroyed) = self.grant_segments(job.window, level);
        gaps.extend(destroyed);
        self.check_epochs(job, &grants)?;
        let epoch = grants.first().map_or(0, |g| g.segment.mapping_epoch);
        if let (Work::Trace { link_type, .. }, Some(first)) = (&mut job.work, grants.first()) {
            *link_type = first.link_type;
        }
        let mut audience = match &job.work {
            Work::Query { audience, .. } | Work::Trace { audience, .. } => audience.clone(),
        };
        if audience.is_empty() && !job.filter.is_empty() {
            // The module asks for no pseudonym, but the asker's filter is read on the asker's own view.
            audience = self.project_and_recipient(&job.owner)?.0;
        }
        let rekey = job.view_level().min(job.level) <= AccessLevel::Anonymized && !audience.is_empty();
        let keys = if rekey {
            self.audience_keys(&audience, &grants)?
        } else {
            Vec::new()
        };
        Ok((self.reader_start(job, &grants, &keys), gaps, epoch))
    }

    fn create_result(&self, id: &str) -> Result<File, Refusal> {
        File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.jobs.path(id))
            .map_err(|e| Refusal::Internal(format!("no room for the result: {e}")))
    }

    /// A reader reports how far it is.
    pub(super) fn job_progress(&mut self, from: ChildId, done: u64, total: u64) {
        if let Some(job) = self.job_of(from) {
            job.progress = (done, total);
        }
    }

    /// A runner asks for the node's signature: given for the header that was decided, and no other.
    pub(super) fn job_statement(
        &mut self,
        from: ChildId,
        asked: wire::statement::Reader<'_>,
    ) -> capnp::Result<()> {
        let head = como_dataset::Head::read(&mut asked.get_head()?)
            .map_err(|e| capnp::Error::failed(e.to_string()))?;
        let root: [u8; 32] = messages::array(asked.get_root()?)?;
        let Some(job) = self.job_of(from) else {
            return Ok(());
        };
        if job.is_over() {
            return Ok(());
        }
        if std::mem::replace(&mut job.signed, true) {
            return Err(capnp::Error::failed("a second dataset for one query".into()));
        }
        let decided = job
            .header
            .as_deref()
            .is_some_and(|decided| *decided == head.header);
        if !decided {
            return Err(capnp::Error::failed(
                "a dataset header that was not decided here".into(),
            ));
        }
        let query = job.id.clone();
        let statement = como_dataset::statement(&query, &head.header_hash, &root, asked.get_chunks());
        let signature = self
            .keyring
            .node_signing
            .sign_dsse(como_dataset::format::STATEMENT_TYPE, &statement);
        self.log(&Event::Signed {
            query: &query,
            header: &hex::encode(head.header_hash),
            root: &hex::encode(root),
        });
        self.children
            .send(from, down(|mut down| down.set_signature(&signature.0)));
        Ok(())
    }

    /// A reader or runner finished its part.
    pub(super) fn job_finished(&mut self, from: ChildId, role: Role, finished: wire::finished::Reader<'_>) {
        let Some(Purpose::Job(id)) = self.children.get(from).map(|c| c.purpose.clone()) else {
            return;
        };
        if let Some(child) = self.children.get_mut(from) {
            child.stopping = true; // It ends by itself now.
        }
        if self.check_ended(&id, Ok(())) {
            return;
        }
        let Some(job) = self.jobs.of(&id) else { return };
        match role {
            Role::Reader => {
                job.reader_done = true;
                job.totals.damaged = finished.get_damaged();
            }
            _ => {
                job.totals.bytes = finished.get_bytes();
                job.totals.packets = finished.get_packets();
                job.totals.rows = finished.get_rows();
                job.progress.0 = job.progress.1;
                self.end_job(&id, State::Done, "", "");
            }
        }
    }

    /// A reader or runner could not do its part.
    pub(super) fn job_failed(&mut self, id: &str, role: Role, what: &str) {
        let (problem, fix) = what.split_once('\n').unwrap_or((what, ""));
        if self.check_ended(id, Err(what.to_owned())) {
            return;
        }
        let hash = match self.jobs.of(id).map(|j| &j.work) {
            Some(Work::Query { hash, .. }) if role == Role::Runner && problem.starts_with("module ") => {
                Some(*hash)
            }
            _ => None,
        };
        self.end_job(id, State::Failed, problem, fix);
        if let Some(hash) = hash {
            self.count_fault(&hash, problem);
        }
    }

    /// A process of a job ended; where its work was not done, so is the job.
    pub(super) fn job_process_ended(&mut self, id: &str, role: Role) {
        if self.check_ended(id, Err("the module ended the process that tried it".into())) {
            return;
        }
        let Some(job) = self.jobs.of(id) else { return };
        if job.state == State::Running && !(role == Role::Reader && job.reader_done) {
            let what = format!("the {role} process of this query ended early");
            self.end_job(
                id,
                State::Failed,
                &what,
                "Ask again; the operator finds the reason in the log.",
            );
        }
    }

    fn end_job(&mut self, id: &str, state: State, detail: &str, fix: &str) {
        let Some(job) = self.jobs.of(id) else { return };
        if job.is_over() {
            return;
        }
        job.state = state;
        job.detail = detail.to_owned();
        job.fix = fix.to_owned();
        let (owner, totals) = (job.owner.clone(), job.totals);
        if let Work::Query {
            live: Some(instance), ..
        } = job.work
        {
            self.stop_windowed_run(instance, "its query is over");
        }
        if state != State::Done {
            let _ = std::fs::remove_file(self.jobs.path(id));
            self.children
                .of_job(id)
                .into_iter()
                .for_each(|child| self.children.kill(child));
        }
        let text = format!("{state:?}").to_lowercase();
        self.log(&Event::QueryEnded {
            query: id,
            asker: &owner,
            state: &text,
            bytes: totals.bytes,
            packets: totals.packets,
            rows: totals.rows,
            detail,
        });
    }

    fn job_of(&mut self, child: ChildId) -> Option<&mut Job> {
        match &self.children.get(child)?.purpose {
            Purpose::Job(id) => self.jobs.all.get_mut(id),
            _ => None,
        }
    }

    fn owned(&self, asker: &str, id: &str) -> Result<&Job, Refusal> {
        self.jobs
            .all
            .get(id)
            .filter(|job| job.owner == asker)
            .ok_or_else(|| Refusal::NoSuchQuery(format!("you have no query `{}` here", id.escape_debug())))
    }

    /// State of a query, for its owner.
    pub(super) fn job_state(&self, asker: &str, id: &str) -> Result<Reply, Refusal> {
        self.owned(asker, id).map(|job| Reply::ok(job.body()))
    }

    /// Cancels a query, for its owner.
    pub(super) fn cancel(&mut self, asker: &str, id: &str) -> Result<Reply, Refusal> {
        self.owned(asker, id)?;
        self.end_job(id, State::Cancelled, "cancelled by its owner", "");
        self.job_state(asker, id)
    }

    /// Gives the query process the sealed dataset of a finished query, read-only.
    pub(super) fn answer_result(&mut self, ask: AskId, asker: &str, id: &str) {
        let standing = self.served(asker);
        let opened = standing
            .and_then(|()| self.owned(asker, id))
            .and_then(|job| match job.state {
                State::Done => File::open(self.jobs.path(id)).map_err(|e| Refusal::Internal(e.to_string())),
                _ => Err(Refusal::NoSuchQuery("the query has no result (yet)".into())),
            });
        match opened {
            Ok(file) => {
                self.log(&Event::Fetched { query: id, asker });
                self.answer_bytes(ask, 200, b"", Some(file.into()), id);
            }
            Err(refusal) => self.answer(ask, &refusal.reply()),
        }
    }

    fn expire_jobs(&mut self) {
        let limit = now_ns().saturating_sub(self.config.query.result_ttl.as_nanos() as u64);
        let old: Vec<String> = self
            .jobs
            .all
            .values()
            .filter(|j| j.is_over() && j.created_ns < limit)
            .map(|j| j.id.clone())
            .collect();
        old.iter().for_each(|id| self.forget(id));
    }

    fn forget_old_jobs(&mut self) {
        while self.jobs.all.len() > MAX_JOBS {
            let oldest = self
                .jobs
                .all
                .values()
                .filter(|j| j.is_over())
                .min_by_key(|j| j.created_ns);
            let Some(id) = oldest.map(|j| j.id.clone()) else {
                return;
            };
            self.forget(&id);
        }
    }

    fn forget(&mut self, id: &str) {
        self.jobs.all.remove(id);
        let _ = std::fs::remove_file(self.jobs.path(id));
    }

    /// Policy or registry changed: open queries that would not be allowed now end.
    pub(super) fn decide_jobs_again(&mut self) {
        let open: Vec<String> = self
            .jobs
            .all
            .values()
            .filter(|j| !j.is_over())
            .map(|j| j.id.clone())
            .collect();
        for id in open {
            if let Err(refusal) = self.job_still_allowed(&id) {
                self.end_job(
                    &id,
                    State::Cancelled,
                    refusal.detail(),
                    "The operator changed policy or registry.",
                );
            }
        }
    }

    fn job_still_allowed(&mut self, id: &str) -> Result<(), Refusal> {
        let Some(job) = self.jobs.all.get(id) else {
            return Ok(());
        };
        let principal = self.partner(&job.owner)?;
        let (action, resource) = match &job.work {
            Work::Query {
                module,
                arguments,
                hash,
                ..
            } => {
                let module = self.modules.get(hash).unwrap_or(module);
                let arguments = arguments.iter().cloned().collect();
                (
                    Action::QueryOnDemand,
                    Resource::Module(self.module_facts(module, &arguments, true)),
                )
            }
            Work::Trace { .. } => {
                let facts = self.trace_facts(job.level, job.window, job.estimate.bytes);
                (Action::DownloadTrace, Resource::Trace(facts))
            }
        };
        let (level, window, cost_bytes) = (Some(job.level), Some(job.window), job.estimate.bytes);
        let about = Circumstances {
            level,
            window,
            cost_bytes,
            query: Some(id),
            filter: "",
        };
        self.decide(&principal, action, &resource, about)
    }
}

fn module_reply(hash: &[u8; 32], module: &Installed, known: bool) -> Reply {
    Reply::ok(json!({
        "name": module.manifest.name,
        "release": module.manifest.release,
        "hash": hex::encode(hash),
        "already_installed": known,
    }))
}
