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
use crate::supervisor::pieces::{Granted, Piece};
use crate::wire as messages;

impl Supervisor {
    /// Starts both processes of a job; refused where what it needs is not there any more.
    pub(super) fn start_job(&mut self, job: &mut Job) -> Result<(), Refusal> {
        if let Work::Query { hash, .. } = &job.work
            && let Some(module) = self.modules.get(hash)
        {
            self.may_be_run(module)?;
        }
        let pieces = match &job.work {
            Work::Query {
                module,
                arguments,
                audience,
                fresh: false,
                ..
            } => self.pieces(module, arguments, audience, &job.filter, job.window),
            _ => Piece::of_trace(job.window),
        };
        if let Work::Query {
            live: Some(instance), ..
        } = job.work
        {
            self.stop_windowed_run(instance, "its window is over");
        }
        let granted = match self.grant_pieces(job, &pieces)? {
            Some(granted) => granted,
            // Records that do not open any more: the trace answers for all of the window.
            None => self
                .grant_pieces(job, &Piece::of_trace(job.window))?
                .unwrap_or_default(),
        };
        job.reused = granted.trace.is_empty();
        let reader = self.reader_of(job, &granted)?;
        let epoch = granted.segments.first().map_or(0, |g| g.segment.mapping_epoch);
        let header = self.dataset_header(job, granted.gaps, epoch);
        let runner = self.runner_start(job, &header, &job.recipients, !job.reused);
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

    /// First message of a job's reader.
    fn reader_of(&mut self, job: &mut Job, granted: &Granted) -> Result<Vec<u8>, Refusal> {
        let grants = &granted.segments;
        self.check_epochs(job, grants)?;
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
            self.audience_keys(&audience, grants)?
        } else {
            Vec::new()
        };
        let index = self.index_question(job, grants, &keys);
        Ok(self.reader_start(job, granted, &keys, &index))
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
