//! What reader and runner of a job say, and how a job ends. The node's signature is given once per job, for
//! the header that was decided and for no other.

use como_capnp::wire_capnp as wire;

use super::{Job, State, Work};
use crate::process::Role;
use crate::supervisor::Supervisor;
use crate::supervisor::accounting::Usage;
use crate::supervisor::audit::Event;
use crate::supervisor::children::{ChildId, Purpose};
use crate::wire::{self as messages, down};

impl Supervisor {
    /// A reader reports how far it is.
    pub(in crate::supervisor) fn job_progress(&mut self, from: ChildId, told: wire::progress::Reader<'_>) {
        if let Some(job) = self.job_of(from) {
            job.progress = (told.get_done(), told.get_total());
            job.paused_ns = told.get_paused_ns();
        }
    }

    /// A runner asks for the node's signature: given for the header that was decided, and no other.
    pub(in crate::supervisor) fn job_statement(
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
    pub(in crate::supervisor) fn job_finished(
        &mut self,
        from: ChildId,
        role: Role,
        finished: wire::finished::Reader<'_>,
    ) {
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
                job.read_bytes = finished.get_read_bytes();
                job.paused_ns = finished.get_paused_ns();
            }
            _ => {
                job.totals.bytes = finished.get_bytes();
                job.totals.packets = finished.get_packets();
                job.totals.rows = finished.get_rows();
                job.totals.late = finished.get_late();
                job.progress.0 = job.progress.1;
                if let Work::Query { hash, .. } = job.work {
                    self.accounts
                        .add_query(&hash, Usage::of_query(finished), !job.reused);
                }
                self.end_job(&id, State::Done, "", "");
            }
        }
    }

    /// A reader or runner could not do its part.
    pub(in crate::supervisor) fn job_failed(&mut self, id: &str, role: Role, what: &str) {
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
    pub(in crate::supervisor) fn job_process_ended(&mut self, id: &str, role: Role) {
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

    /// Ends a job that is not over; its processes end, and only a result that is done stays.
    pub(in crate::supervisor) fn end_job(&mut self, id: &str, state: State, detail: &str, fix: &str) {
        let Some(job) = self.jobs.of(id) else { return };
        if job.is_over() {
            return;
        }
        job.state = state;
        job.detail = detail.to_owned();
        job.fix = fix.to_owned();
        let (owner, totals) = (job.owner.clone(), job.totals);
        let (bytes_estimated, bytes_read) = (job.estimate.bytes, job.read_bytes);
        let paused_ms = job.paused_ns / 1_000_000;
        if state == State::Done
            && let Some(job) = self.jobs.all.get(id)
            && let Err(error) = self.jobs.keep(job)
        {
            tracing::warn!("a result will not outlive this run: {error}");
        }
        let Some(job) = self.jobs.of(id) else { return };
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
            bytes_estimated,
            bytes_read,
            paused_ms,
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
}
