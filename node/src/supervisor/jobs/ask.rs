//! From an authentic question to a job. Module query and trace download are decided, estimated and checked in
//! one place; must never let one through without a decision of the policy.

use como_policies::{AccessLevel, Action, Resource};
use serde_json::json;

use super::{Job, State, Totals, Work};
use crate::supervisor::answers::{Refusal, Reply};
use crate::supervisor::asks::{AskId, Outcome};
use crate::supervisor::checks::Check;
use crate::supervisor::decide::Circumstances;
use crate::supervisor::levels::{check_filterable, filter_level, read_level};
use crate::supervisor::modules::Installed;
use crate::supervisor::pieces::Piece;
use crate::supervisor::plan::Estimate;
use crate::supervisor::requests::{QueryAsked, Scope};
use crate::supervisor::{Supervisor, now_ns};

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_DAY: u64 = 86_400_000 * NS_PER_MS;
/// Longest interval that rows are combined to, ns: a leap year.
const MAX_EVERY_NS: u64 = 366 * NS_PER_DAY;

/// A question that the policy allows.
struct Allowed {
    /// Id of the job that it becomes; the decision is logged under it.
    id: String,
    asker: String,
    /// The filter is canonical text.
    scope: Scope,
    estimate: Estimate,
    /// The window has not passed yet.
    future: bool,
}

impl Supervisor {
    /// An on-demand query.
    pub(in crate::supervisor) fn ask_query(
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
        self.may_be_run(&module)?;
        let arguments = module.resolved(&asked.arguments)?;
        check_every(&module, asked.every_ns)?;
        let facts = self.module_facts(&module, &asked.arguments, true);
        let view_level = module.manifest.level;
        let mut allowed = self.allow(
            asker,
            asked.scope,
            view_level,
            Action::QueryOnDemand,
            |_, _, _| Resource::Module(facts),
        )?;
        let scope = &allowed.scope;
        check_output_level(&module, scope.level)?;
        self.check_kept(read_level(view_level, scope.level, &scope.filter))?;
        let (project, recipient) = self.project_and_recipient(asker)?;
        let audience = module.audience(&project);
        let pieces = match asked.fresh {
            true => Piece::of_trace(scope.window),
            false => self.pieces(&module, &arguments, &audience, &scope.filter, scope.window),
        };
        allowed.estimate = self.estimate_pieces(&pieces, read_level(view_level, scope.level, &scope.filter));
        if !allowed.estimate.from_records {
            self.check_reached(&allowed)?;
        }
        let work = Work::Query {
            hash,
            module: Box::new(module),
            arguments,
            audience,
            fresh: asked.fresh,
            every_ns: asked.every_ns,
            live: None,
        };
        self.explain_or_enqueue(allowed, work, recipient)
            .map(Outcome::Reply)
    }

    /// A trace download.
    pub(in crate::supervisor) fn ask_trace(&mut self, asker: &str, asked: Scope) -> Result<Reply, Refusal> {
        let level = asked.level;
        let allowed = self.allow(
            asker,
            asked,
            level,
            Action::DownloadTrace,
            |node, scope, bytes| Resource::Trace(node.trace_facts(scope.level, scope.window, bytes)),
        )?;
        self.check_kept(level)?;
        self.check_reached(&allowed)?;
        let (audience, recipient) = self.project_and_recipient(asker)?;
        let work = Work::Trace {
            link_type: 1,
            audience,
        };
        self.explain_or_enqueue(allowed, work, recipient)
    }

    /// Principal, filter, estimate and decision of a question for data. `view_level` is that of the views that
    /// will be read; `resource` is told the estimated bytes.
    fn allow(
        &mut self,
        asker: &str,
        mut scope: Scope,
        view_level: AccessLevel,
        action: Action,
        resource: impl FnOnce(&Self, &Scope, u64) -> Resource,
    ) -> Result<Allowed, Refusal> {
        let principal = self.partner(asker)?;
        // Rows of whole hours answer for whole hours.
        scope.window = scope.window.snap(view_level);
        let filter_level = filter_level(view_level, scope.level);
        scope.filter = self.check_filter(&scope.filter, filter_level, scope.window)?;
        check_filterable(view_level, scope.level, &scope.filter)?;
        let estimate = self.estimate(scope.window, read_level(view_level, scope.level, &scope.filter));
        let id = hex::encode(como_keys::random::<16>());
        let about = Circumstances {
            level: Some(scope.level),
            window: Some(scope.window),
            cost_bytes: estimate.bytes,
            query: Some(&id),
            filter: &scope.filter,
        };
        let resource = resource(self, &scope, estimate.bytes);
        self.decide(&principal, action, &resource, about)?;
        Ok(Allowed {
            future: self.is_future(scope.window, view_level),
            asker: asker.to_owned(),
            id,
            scope,
            estimate,
        })
    }

    /// Refused where the level is not kept. A section that is not kept cannot be read, and an answer of nothing but
    /// gaps would not say why.
    fn check_kept(&self, level: AccessLevel) -> Result<(), Refusal> {
        if level > self.config.trace.retain {
            let kept = format!("this node keeps its trace up to {}", self.config.trace.retain);
            return Err(Refusal::LevelNotServed(kept));
        }
        Ok(())
    }

    /// Refused where the trace does not reach the window, nor will.
    fn check_reached(&self, asked: &Allowed) -> Result<(), Refusal> {
        if !asked.future {
            self.check_window(asked.scope.window, asked.scope.level)?;
        }
        Ok(())
    }

    /// A partner's project, and the key that its datasets are sealed to.
    pub(super) fn project_and_recipient(&self, asker: &str) -> Result<(String, Vec<u8>), Refusal> {
        let (_, partner) = self
            .registry
            .partner(asker)
            .ok_or_else(|| Refusal::Unknown(format!("{asker} is not a partner")))?;
        let recipient = hex::decode(&partner.dataset_recipient)
            .map_err(|_| Refusal::Internal("the registered dataset identity is not hex".into()))?;
        Ok((partner.project.clone(), recipient))
    }

    fn explain_or_enqueue(
        &mut self,
        asked: Allowed,
        work: Work,
        recipient: Vec<u8>,
    ) -> Result<Reply, Refusal> {
        if asked.scope.explain {
            return Ok(Reply::ok(
                json!({ "decision": "allow", "estimate": asked.estimate }),
            ));
        }
        let future = asked.future;
        self.enqueue(Job::new(asked, work, recipient), future)
    }
}

impl Job {
    fn new(asked: Allowed, work: Work, recipient: Vec<u8>) -> Self {
        Self {
            id: asked.id,
            owner: asked.asker,
            work,
            level: asked.scope.level,
            window: asked.scope.window,
            filter: asked.scope.filter,
            state: State::Queued,
            created_ns: now_ns(),
            estimate: asked.estimate,
            read_bytes: 0,
            paused_ns: 0,
            reused: false,
            recipients: vec![recipient],
            header: None,
            progress: (0, asked.estimate.bytes),
            totals: Totals::default(),
            detail: String::new(),
            fix: String::new(),
            reader_done: false,
            signed: false,
        }
    }
}

/// Longer intervals are made of whole ones.
fn check_every(module: &Installed, every_ns: u64) -> Result<(), Refusal> {
    let manifest = &module.manifest;
    if every_ns.is_multiple_of(manifest.interval_ns) && every_ns <= MAX_EVERY_NS {
        return Ok(());
    }
    Err(Refusal::BadArguments(format!(
        "intervals of {} ms cannot be made of those of `{}`, which are of {} ms: ask for a multiple, up to {} days",
        every_ns / NS_PER_MS,
        manifest.name,
        manifest.interval_ns / NS_PER_MS,
        MAX_EVERY_NS / NS_PER_DAY,
    )))
}

fn check_output_level(module: &Installed, asked: AccessLevel) -> Result<(), Refusal> {
    let manifest = &module.manifest;
    if asked >= manifest.output_level {
        return Ok(());
    }
    Err(Refusal::Denied {
        rule: format!(
            "`{}` puts out at level {}, you asked for {asked}",
            manifest.name, manifest.output_level
        ),
        policies: vec!["output-level".into()],
    })
}
