//! Which job runs when, and how long its result stays. Must never start more at once than the configuration
//! allows.

use como_anonymize::coarse;
use como_policies::{AccessLevel, Window};

use super::{Job, State, Work};
use crate::supervisor::answers::{Refusal, Reply};
use crate::supervisor::levels::has_packets;
use crate::supervisor::live::Computation;
use crate::supervisor::{Supervisor, now_ns};

/// Jobs that are remembered, of all askers, running or done; the oldest done ones go first.
const MAX_JOBS: usize = 10_000;
/// Packet time that must have passed after a future window before it is read, ns: records of its last
/// interval are on their way to the disk.
const SETTLE_NS: u64 = 2_000_000_000;

impl Supervisor {
    /// Whether a window reaches beyond what was captured, on a source that still delivers. An hour of flow rows
    /// is over when its late packets are in.
    pub(super) fn is_future(&self, window: Window, view_level: AccessLevel) -> bool {
        let end_ns = window.to_ns.saturating_add(late_ns(view_level));
        end_ns > self.catalog.now_ns.saturating_add(1) && !self.roles.capture.source_done
    }

    /// Takes a decided job; refused where its asker, or all together, have too many.
    pub(super) fn enqueue(&mut self, mut job: Job, future: bool) -> Result<Reply, Refusal> {
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
            let what = Computation {
                hash: *hash,
                arguments: module.manifest.recorded_args(arguments),
                audience: audience.clone(),
            };
            *live = Some(self.run_live(module, what, Some(window))?);
        }
        Ok(())
    }

    /// Starts what may start, ends what took its time.
    pub(in crate::supervisor) fn advance_jobs(&mut self) {
        self.expire_jobs();
        let now = self.catalog.now_ns;
        let done = self.roles.capture.source_done;
        for job in self.jobs.all.values_mut() {
            let end_ns = job
                .window
                .to_ns
                .saturating_add(late_ns(job.view_level()) + SETTLE_NS);
            if job.state == State::Waiting && (done || now >= end_ns) {
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

    fn expire_jobs(&mut self) {
        let limit = now_ns().saturating_sub(self.config.query.result_ttl.as_nanos() as u64);
        let old: Vec<String> = self
            .jobs
            .all
            .values()
            .filter(|j| j.is_over() && j.created_ns < limit)
            .map(|j| j.id.clone())
            .collect();
        let kept = self.jobs.kept.iter().filter(|(_, k)| k.created_ns < limit);
        let old: Vec<String> = kept.map(|(id, _)| id.clone()).chain(old).collect();
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
        self.jobs.kept.remove(id);
        let _ = std::fs::remove_file(self.jobs.state_path(id));
        let _ = std::fs::remove_file(self.jobs.path(id));
    }
}

fn late_ns(view_level: AccessLevel) -> u64 {
    if has_packets(view_level) {
        0
    } else {
        coarse::LATE_NS
    }
}
