//! Starts the reader and the runner of a job. The dataset lands in a file that the query process is given to
//! read, and nobody else.

use std::fs::File;
use std::sync::Arc;

use como_policies::AccessLevel;

use super::{Job, State, Work};
use crate::process::Role;
use crate::supervisor::Supervisor;
use crate::supervisor::answers::Refusal;
use crate::supervisor::children::Purpose;
use crate::supervisor::plan::{metric_of, public_gaps};
use crate::wire as messages;

impl Supervisor {
    /// Starts both processes of a job; refused where what it needs is not there any more.
    pub(super) fn start_job(&mut self, job: &mut Job) -> Result<(), Refusal> {
        if let Work::Query { hash, .. } = &job.work
            && let Some(module) = self.modules.get(hash)
        {
            self.may_be_run(module)?;
        }
        let stored = match &job.work {
            Work::Query {
                module,
                arguments,
                audience,
                fresh: false,
                ..
            } => self
                .stored_records(module, arguments, audience, &job.filter, job.window)
                .and_then(|stored| {
                    let metric = metric_of(module, arguments, audience);
                    let level = module.manifest.output_level;
                    let grants = self.grant_records(&stored.stretches, &metric, level)?;
                    Some((grants, stored.missing))
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
            Some((grants, missing)) => {
                job.reused = true;
                let seen = job.view_level().min(job.level);
                let gaps = public_gaps(missing.clone(), job.window, seen);
                (self.record_reader_start(job, grants), gaps, 0)
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
        self.pace_readers();
        job.header = Some(Arc::new(header));
        job.state = State::Running;
        Ok(())
    }

    fn trace_reader(&mut self, job: &mut Job) -> Result<(Vec<u8>, Vec<como_dataset::Gap>, u32), Refusal> {
        let seen = job.view_level().min(job.level);
        let mut gaps = self.check_window(job.window, seen)?;
        let (grants, destroyed) = self.grant_segments(job.window, job.read_level());
        gaps.extend(destroyed);
        let gaps = public_gaps(gaps, job.window, seen);
        self.check_epochs(job, &grants)?;
        let epoch = grants.first().map_or(0, |g| g.segment.mapping_epoch);
        if let (Work::Trace { link_type, .. }, Some(first)) = (&mut job.work, grants.first()) {
            *link_type = first.link_type;
        }
        let mut audience = match &job.work {
            Work::Query { audience, .. } | Work::Trace { audience, .. } => audience.clone(),
        };
        let headers = job.view_level() == AccessLevel::Headers;
        if audience.is_empty() && (headers || !job.filter.is_empty()) {
            // The module asks for no pseudonym, but the asker's filter is read on the asker's own view, and the
            // view at `headers` is made with somebody's: the asker's.
            audience = self.project_and_recipient(&job.owner)?.0;
        }
        let (lower, counters) = (job.view_level().min(job.level), AccessLevel::Aggregate);
        let rekey = lower <= AccessLevel::Headers && job.view_level() > counters && !audience.is_empty();
        let keys = if rekey {
            self.audience_keys(&audience, &grants)?
        } else {
            Vec::new()
        };
        let index = self.index_question(job, &grants, &keys);
        Ok((self.reader_start(job, &grants, &keys, &index), gaps, epoch))
    }

    fn create_result(&self, id: &str) -> Result<File, Refusal> {
        File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.jobs.path(id))
            .map_err(|e| Refusal::Internal(format!("no room for the result: {e}")))
    }
}
