//! Modules on trial: each that somebody brings is looked at and tried once in a process without keys, before it
//! is installed. Must never look at the code here.

use std::collections::BTreeMap;

use serde_json::json;

use super::Supervisor;
use super::answers::{Refusal, Reply};
use super::asks::{AskId, Outcome};
use super::audit::Event;
use super::children::Purpose;
use super::modules::{Installed, fill_run};
use super::requests::QueryAsked;
use crate::process::Role;
use crate::wire::down;

/// Modules that may be checked at once.
const MAX_CHECKS: usize = 4;

/// Modules that are being looked at, by the name of their job.
#[derive(Default)]
pub(super) struct Checks {
    open: BTreeMap<String, Check>,
    next: u64,
}

/// A module that is being looked at, away from all keys.
pub(super) struct Check {
    pub ask: AskId,
    pub asker: String,
    pub hash: [u8; 32],
    pub module: Installed,
    /// The query that carried it.
    pub then: Option<QueryAsked>,
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

    /// Starts the trial of a module.
    pub(super) fn check_module(&mut self, check: Check) -> Result<Outcome, Refusal> {
        if self.checks.open.len() >= MAX_CHECKS {
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
        self.checks.next += 1;
        let id = format!("check-{}", self.checks.next);
        self.children
            .start(Role::Runner, Purpose::Job(id.clone()), first)
            .map_err(|e| Refusal::Internal(e.to_string()))?;
        self.checks.open.insert(id, check);
        Ok(Outcome::Later)
    }

    /// Ends a trial, where `id` is one: the module is installed, or refused with what was found.
    pub(super) fn check_ended(&mut self, id: &str, result: Result<(), String>) -> bool {
        let Some(check) = self.checks.open.remove(id) else {
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
}

fn module_reply(hash: &[u8; 32], module: &Installed, known: bool) -> Reply {
    Reply::ok(json!({
        "name": module.manifest.name,
        "release": module.manifest.release,
        "hash": hex::encode(hash),
        "already_installed": known,
    }))
}
