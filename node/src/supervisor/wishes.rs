//! Who wants which module on the live stream, and until when: start, stop, pause, resume, and decisions made anew. An
//! instance runs exactly as long as somebody wants it who may have it; wishes are on disk, so that a restart keeps them.

use como_policies::{Action, Resource};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answers::{Refusal, Reply};
use super::decide::Circumstances;
use super::live::Computation;
use super::modules::Installed;
use super::orders::refused;
use super::requests::{Arguments, ModuleName, first_line};
use super::{Supervisor, now_ns};
use crate::admin::Outcome;

/// That a module runs on the live stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wish {
    pub started_by: String,
    pub arguments: Arguments,
    pub audience: String,
    /// Interrupted by who may.
    #[serde(default)]
    pub paused: bool,
    /// Until when the certificate is valid with which it was last asked for, wall time in ns; 0: not known.
    #[serde(default)]
    pub until_ns: u64,
}

impl Wish {
    fn is_for_the_same(&self, other: &Self) -> bool {
        self.started_by == other.started_by
            && self.arguments == other.arguments
            && self.audience == other.audience
    }
}

/// What somebody does to runs that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Steer {
    Stop,
    Pause,
    Resume,
}

impl Steer {
    fn action(self) -> Action {
        match self {
            Self::Stop => Action::StopModule,
            Self::Pause => Action::PauseModule,
            Self::Resume => Action::ResumeModule,
        }
    }

    /// What became of the runs, in the answer and in the audit log.
    fn done(self) -> &'static str {
        match self {
            Self::Stop => "stopped",
            Self::Pause => "paused",
            Self::Resume => "resumed",
        }
    }
}

impl Supervisor {
    /// A request to run a module on the live stream.
    pub(super) fn start_module(
        &mut self,
        asker: &str,
        name: &ModuleName,
        arguments: &Arguments,
        until_ns: u64,
    ) -> Result<Reply, Refusal> {
        let (hash, module) = self.modules.find(name)?;
        let project = self
            .registry
            .partner(asker)
            .map_or(String::new(), |(_, p)| p.project.clone());
        let wish = Wish {
            started_by: asker.to_owned(),
            arguments: arguments.clone(),
            audience: module.audience(&project),
            paused: false,
            until_ns,
        };
        module.resolved(arguments)?;
        self.may_run(&module, &wish)?;
        let what = computation(hash, &module, &wish)?;
        let instance = self.run_live(&module, what, None)?;
        self.modules.update(&hash, |state| {
            state.runs.retain(|known| !known.is_for_the_same(&wish));
            state.runs.push(wish);
        });
        Ok(Reply::ok(
            json!({ "instance": instance, "name": module.manifest.name }),
        ))
    }

    /// A request to stop, pause or resume: of the runs that its asker started, or of all where it is the developer.
    pub(super) fn steer_module(
        &mut self,
        asker: &str,
        name: &ModuleName,
        steer: Steer,
    ) -> Result<Reply, Refusal> {
        let (hash, module) = self.modules.find(name)?;
        let principal = self.developer_or_partner(asker)?;
        let facts = self.module_facts(&module, &Arguments::new(), true);
        let (resource, about) = (Resource::Module(facts), Circumstances::default());
        self.decide(&principal, steer.action(), &resource, about)?;
        let developer = module.manifest.developer == asker;
        let touched = |wish: &Wish| {
            let other = steer == Steer::Stop || wish.paused == (steer == Steer::Resume);
            (developer || wish.started_by == asker) && other
        };
        let count = module.state.runs.iter().filter(|wish| touched(wish)).count();
        if count == 0 {
            return Err(Refusal::NoSuchModule(format!(
                "there is no run of `{}` that you started and that could be {}",
                module.manifest.name,
                steer.done()
            )));
        }
        self.modules.update(&hash, |state| match steer {
            Steer::Stop => state.runs.retain(|wish| !touched(wish)),
            Steer::Pause | Steer::Resume => {
                let touched = state.runs.iter_mut().filter(|wish| touched(wish));
                touched.for_each(|wish| wish.paused = steer == Steer::Pause);
            }
        });
        let refused = self.settle(&hash, steer.done());
        match refused {
            Some(refusal) if steer == Steer::Resume => Err(refusal),
            _ => Ok(Reply::ok(
                json!({ "name": module.manifest.name, steer.done(): count }),
            )),
        }
    }

    /// The operator ends one lasting run: nobody wants it any more until somebody starts it again.
    pub(super) fn stop_run_by_order(&mut self, id: u64) -> Outcome {
        let run = self.live.iter().find(|(other, _)| *other == id);
        let Some((what, name, window)) = run.map(|(_, run)| (run.what.clone(), run.name.clone(), run.window))
        else {
            return refused(
                format!("no run has the number {id}"),
                "`como-node module list` shows what runs",
            );
        };
        if window.is_some() {
            let query = self.jobs.of_run(id).unwrap_or_default();
            return refused(
                format!("run {id} is that of a query over a window ahead"),
                format!("cancel the query instead: `como-node query cancel {query}`"),
            );
        }
        if let Some(module) = self.modules.get(&what.hash).cloned() {
            let keeps = |wish: &Wish| wish.paused || !is_of(&what, &module, wish);
            self.modules.update(&what.hash, |state| state.runs.retain(keeps));
        }
        self.settle(&what.hash, "stopped by the operator");
        Outcome::Done(json!({ "module": name }))
    }

    /// Who wants a computation.
    pub(super) fn wanted_by(&self, what: &Computation) -> Vec<String> {
        let Some(module) = self.modules.get(&what.hash) else {
            return Vec::new();
        };
        let wishes = module.state.runs.iter().filter(|wish| !wish.paused);
        let of_it = wishes.filter(|wish| is_of(what, module, wish));
        let mut names: Vec<String> = of_it.map(|wish| wish.started_by.clone()).collect();
        names.dedup();
        names
    }

    /// Makes what runs of a module what is wanted of it and allowed, and nothing else. `why` is the reason where nobody
    /// wants a run any more; where somebody does who may not, the refusal is. The last refusal comes out.
    pub(super) fn settle(&mut self, hash: &[u8; 32], why: &str) -> Option<Refusal> {
        let module = self.modules.get(hash).cloned()?;
        let mut refused = None;
        let mut wanted: Vec<Computation> = Vec::new();
        let mut denied: Vec<(Computation, String)> = Vec::new();
        for wish in module.state.runs.iter().filter(|wish| !wish.paused) {
            let Ok(what) = computation(*hash, &module, wish) else {
                continue;
            };
            match self.may_run(&module, wish) {
                Ok(()) => wanted.push(what),
                Err(refusal) => {
                    denied.push((what, first_line(&refusal.detail())));
                    refused = Some(refusal);
                }
            }
        }
        for (id, what) in self.live.lasting_of(hash) {
            if !wanted.contains(&what) {
                let reason = denied.iter().find(|(other, _)| *other == what);
                let reason = reason.map_or(why, |(_, reason)| reason).to_owned();
                self.stop_run(id, &reason);
            }
        }
        for what in wanted {
            if let Err(refusal) = self.run_live(&module, what, None) {
                tracing::warn!(
                    "module {} does not run: {}",
                    module.manifest.name,
                    refusal.detail()
                );
                refused = Some(refusal);
            }
        }
        refused
    }

    /// Policy, keys or registry changed, or the node starts: every module is settled anew.
    pub(super) fn settle_all(&mut self) {
        let wanted = self.modules.iter().filter(|(_, m)| !m.state.runs.is_empty());
        let hashes: Vec<[u8; 32]> = wanted.map(|(hash, _)| *hash).collect();
        for hash in hashes {
            self.settle(&hash, "nobody wants it any more");
        }
    }

    /// Time alone ends what was allowed: a module's own expiry, a certificate's, that of the revocation list.
    pub(super) fn settle_expired(&mut self) {
        let now_ns = now_ns();
        let over = |hash: &[u8; 32]| {
            let Some(module) = self.modules.get(hash) else {
                return true;
            };
            let good = |wish: &Wish| !wish.paused && wish.not_expired(now_ns).is_ok();
            self.may_be_run(module).is_err() || !module.state.runs.iter().any(good)
        };
        let mut hashes: Vec<[u8; 32]> = self
            .live
            .iter()
            .filter(|(_, run)| run.window.is_none() && over(&run.what.hash))
            .map(|(_, run)| run.what.hash)
            .collect();
        hashes.dedup();
        for hash in hashes {
            self.settle(&hash, "nobody wants it any more");
        }
        // A run for one future window stands and falls with its query.
        let ends = self.live.iter().any(|(_, run)| {
            let module = self.modules.get(&run.what.hash);
            run.window.is_some() && module.is_none_or(|module| self.may_be_run(module).is_err())
        });
        if ends {
            self.decide_jobs_again();
        }
    }

    /// Rules may depend on the time of day: what would be decided otherwise by now is settled anew.
    pub(super) fn settle_by_time(&mut self) {
        let differs = |hash: &[u8; 32], module: &Installed| {
            let wishes = module.state.runs.iter().filter(|wish| !wish.paused);
            let mut wanted = wishes.filter_map(|wish| computation(*hash, module, wish).ok());
            wanted.any(|what| self.live.lasting(&what).is_some() != self.anybody_may(hash, module, &what))
        };
        let changed = self.modules.iter().filter(|(hash, module)| differs(hash, module));
        let hashes: Vec<[u8; 32]> = changed.map(|(hash, _)| *hash).collect();
        for hash in hashes {
            self.settle(&hash, "nobody wants it any more");
        }
    }

    fn anybody_may(&self, hash: &[u8; 32], module: &Installed, what: &Computation) -> bool {
        let wishes = module.state.runs.iter().filter(|wish| !wish.paused);
        let mut same =
            wishes.filter(|wish| computation(*hash, module, wish).is_ok_and(|other| other == *what));
        same.any(|wish| self.would_run(module, wish))
    }

    fn would_run(&self, module: &Installed, wish: &Wish) -> bool {
        let now = self.may_be_run(module).and_then(|()| wish.not_expired(now_ns()));
        let Ok(principal) = now.and_then(|()| self.developer_or_partner(&wish.started_by)) else {
            return false;
        };
        let facts = self.module_facts(module, &wish.arguments, true);
        let level = facts.output_level;
        self.would_allow(&principal, Action::StartModule, &Resource::Module(facts), level)
    }

    /// Somebody asked with a certificate that is valid for longer: what was started with the old one goes on.
    pub(super) fn prolong_wishes(&mut self, asker: &str, until_ns: u64) {
        let shorter = |wish: &Wish| wish.started_by == asker && wish.until_ns < until_ns;
        let modules = self.modules.iter();
        let touched: Vec<[u8; 32]> = modules
            .filter(|(_, m)| m.state.runs.iter().any(shorter))
            .map(|(hash, _)| *hash)
            .collect();
        for hash in touched {
            self.modules.update(&hash, |state| {
                let wishes = state.runs.iter_mut().filter(|wish| shorter(wish));
                wishes.for_each(|wish| wish.until_ns = until_ns);
            });
            self.settle(&hash, "nobody wants it any more");
        }
    }

    /// Whether a wish may be fulfilled now: by time, by revocations, by policy.
    fn may_run(&mut self, module: &Installed, wish: &Wish) -> Result<(), Refusal> {
        self.may_be_run(module)?;
        wish.not_expired(now_ns())?;
        let principal = self.developer_or_partner(&wish.started_by)?;
        let facts = self.module_facts(module, &wish.arguments, true);
        let about = Circumstances {
            // What its records show; for what it reads there are guards of their own.
            level: Some(facts.output_level),
            ..Circumstances::default()
        };
        self.decide(&principal, Action::StartModule, &Resource::Module(facts), about)
    }
}

impl Wish {
    fn not_expired(&self, now_ns: u64) -> Result<(), Refusal> {
        if self.until_ns == 0 || now_ns < self.until_ns {
            return Ok(());
        }
        Err(Refusal::NotAuthentic(format!(
            "the certificate of {} has expired",
            self.started_by
        )))
    }
}

fn is_of(what: &Computation, module: &Installed, wish: &Wish) -> bool {
    computation(what.hash, module, wish).is_ok_and(|other| other == *what)
}

fn computation(hash: [u8; 32], module: &Installed, wish: &Wish) -> Result<Computation, Refusal> {
    Ok(Computation {
        hash,
        arguments: module.manifest.recorded_args(&module.resolved(&wish.arguments)?),
        audience: wish.audience.clone(),
    })
}
