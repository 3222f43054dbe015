//! What the asker of a job may do with it: look, cancel, fetch; and the operator: cancel. Must never show a job to anybody
//! else.

use std::fs::File;

use serde_json::{Value, json};

use super::State;
use crate::admin::Outcome;
use crate::supervisor::Supervisor;
use crate::supervisor::answers::{Refusal, Reply};
use crate::supervisor::asks::AskId;
use crate::supervisor::audit::Event;
use crate::supervisor::orders::refused;

impl Supervisor {
    /// State of a query, for its owner.
    pub(in crate::supervisor) fn job_state(&self, asker: &str, id: &str) -> Result<Reply, Refusal> {
        self.owned(asker, id).map(|(body, _)| Reply::ok(body))
    }

    /// Cancels a query, for its owner.
    pub(in crate::supervisor) fn cancel(&mut self, asker: &str, id: &str) -> Result<Reply, Refusal> {
        self.owned(asker, id)?;
        self.end_job(id, State::Cancelled, "cancelled by its owner", "");
        self.job_state(asker, id)
    }

    /// Cancels a query, whoever asked it.
    pub(in crate::supervisor) fn cancel_by_order(&mut self, id: &str) -> Outcome {
        let Some(asker) = self
            .jobs
            .all
            .get(id)
            .filter(|job| !job.is_over())
            .map(|job| job.owner.clone())
        else {
            return refused(
                format!("no query `{}` waits or runs", id.escape_debug()),
                "`como-node query list` shows those that do",
            );
        };
        let what = "cancelled by the operator";
        self.end_job(id, State::Cancelled, what, "Ask the operator why.");
        Outcome::Done(json!({ "asker": asker }))
    }

    /// Gives the query process the sealed dataset of a finished query, read-only.
    pub(in crate::supervisor) fn answer_result(&mut self, ask: AskId, asker: &str, id: &str) {
        let standing = self.served(asker);
        let opened = standing
            .and_then(|()| self.owned(asker, id))
            .and_then(|(_, state)| match state {
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

    /// What the owner may know of a query, of this run or an earlier one, and its state.
    fn owned(&self, asker: &str, id: &str) -> Result<(Value, State), Refusal> {
        let own = self.jobs.all.get(id).filter(|job| job.owner == asker);
        let kept = self.jobs.kept.get(id).filter(|kept| kept.owner == asker);
        own.map(|job| (job.body(), job.state))
            .or_else(|| kept.map(|kept| (kept.body.clone(), State::Done)))
            .ok_or_else(|| Refusal::NoSuchQuery(format!("you have no query `{}` here", id.escape_debug())))
    }
}
