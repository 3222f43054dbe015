//! Policy or registry changed: what is open is decided anew.

use como_policies::{Action, Resource};

use super::{State, Work};
use crate::supervisor::Supervisor;
use crate::supervisor::answers::Refusal;
use crate::supervisor::decide::Circumstances;

impl Supervisor {
    /// Policy or registry changed: open queries that would not be allowed now end.
    pub(in crate::supervisor) fn decide_jobs_again(&mut self) {
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
        let (_, recipient) = self.project_and_recipient(&job.owner)?;
        if !job.recipients.contains(&recipient) {
            let what = "the asker has another dataset identity now";
            return Err(Refusal::NotAuthentic(what.into()));
        }
        let (action, resource) = match &job.work {
            Work::Query {
                module,
                arguments,
                hash,
                ..
            } => {
                let module = self.modules.get(hash).unwrap_or(module);
                self.may_be_run(module)?;
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
