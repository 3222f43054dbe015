//! Instances of modules on the live stream: start, stop, faults, usage. One instance for the same module,
//! arguments and audience, whoever asks.

use std::collections::{BTreeMap, BTreeSet};

use como_anonymize::Column;
use como_capnp::wire_capnp as wire;
use como_policies::{Action, Resource};

use super::Supervisor;
use super::answers::{Refusal, Reply};
use super::audit::Event;
use super::children::{ChildId, ExportKey};
use super::decide::Circumstances;
use super::modules::{Installed, ModuleStore, WantedRun, fill_run};
use super::requests::{Arguments, ModuleName};
use crate::wire::down;

/// What an instance used.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(super) struct Usage {
    pub packets: u64,
    pub fuel: u64,
    pub wall_ns: u64,
    pub rows: u64,
    pub intervals: u64,
}

/// One instance.
#[derive(Clone)]
pub(super) struct LiveRun {
    pub hash: [u8; 32],
    pub name: String,
    pub arguments: Vec<(String, i64)>,
    pub export: ExportKey,
    pub audience: String,
    pub started_by: String,
    /// Window of a query in the future; `None`: until it is stopped.
    pub window: Option<(u64, u64)>,
    pub usage: Usage,
}

/// All instances.
#[derive(Default)]
pub(super) struct LiveModules {
    next: u64,
    runs: BTreeMap<u64, LiveRun>,
}

impl LiveModules {
    /// All instances.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &LiveRun)> {
        self.runs.iter().map(|(id, run)| (*id, run))
    }

    /// The columns that the modules of an export process look at, and whether any looks at frames.
    pub fn looked_at(&self, key: &ExportKey, modules: &ModuleStore) -> (Vec<Column>, bool) {
        let mut columns = BTreeSet::from([Column::TsNs]);
        let mut frames = false;
        let runs = self.runs.values().filter(|run| run.export == *key);
        for module in runs.filter_map(|run| modules.get(&run.hash)) {
            columns.extend(module.manifest.looked_at());
            frames |= module.manifest.wants_frames;
        }
        (columns.into_iter().collect(), frames)
    }

    /// Takes a usage report.
    pub fn take_usage(&mut self, usage: wire::module_usage::Reader<'_>) {
        if let Some(run) = self.runs.get_mut(&usage.get_instance()) {
            run.usage = Usage {
                packets: usage.get_packets(),
                fuel: usage.get_fuel(),
                wall_ns: usage.get_wall_ns(),
                rows: usage.get_rows(),
                intervals: usage.get_intervals(),
            };
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
    ) -> Result<Reply, Refusal> {
        let (hash, module) = self.modules.find(name)?;
        module.not_expired()?;
        let resolved = module.resolved(arguments)?;
        let principal = self.developer_or_partner(asker)?;
        let facts = self.module_facts(&module, arguments, true);
        let about = Circumstances {
            level: Some(facts.level),
            ..Circumstances::default()
        };
        self.decide(&principal, Action::StartModule, &Resource::Module(facts), about)?;
        let project = self
            .registry
            .partner(asker)
            .map_or(String::new(), |(_, p)| p.project.clone());
        let run = WantedRun {
            started_by: asker.to_owned(),
            arguments: arguments.clone(),
            audience: module.audience(&project),
        };
        let instance = self.run_live(hash, &module, &run, resolved, None)?;
        if !module.state.runs.contains(&run) {
            self.modules.update(&hash, |state| state.runs.push(run));
        }
        Ok(Reply::ok(
            serde_json::json!({ "instance": instance, "name": module.manifest.name }),
        ))
    }

    /// Starts an instance, or finds the one that computes the same already.
    pub(super) fn run_live(
        &mut self,
        hash: [u8; 32],
        module: &Installed,
        run: &WantedRun,
        arguments: Vec<(String, i64)>,
        window: Option<(u64, u64)>,
    ) -> Result<u64, Refusal> {
        let same = |r: &LiveRun| r.hash == hash && r.arguments == arguments && r.audience == run.audience;
        if let Some((id, _)) = self.live.runs.iter().find(|(_, r)| same(r) && r.window.is_none()) {
            return Ok(*id);
        }
        if self.live.runs.len() >= self.config.modules.max_live as usize {
            return Err(Refusal::Busy("as many modules run as may run at once".into()));
        }
        let export = ExportKey {
            level: module.manifest.level,
            audience: run.audience.clone(),
        };
        let child = self
            .export_for(&export)
            .map_err(|e| Refusal::Internal(e.to_string()))?;
        self.live.next += 1;
        let id = self.live.next;
        let live = LiveRun {
            hash,
            name: module.manifest.name.clone(),
            arguments,
            export: export.clone(),
            audience: run.audience.clone(),
            started_by: run.started_by.clone(),
            window,
            usage: Usage::default(),
        };
        self.log(&Event::ModuleStarted {
            instance: id,
            module: &live.name,
            hash: &hex::encode(hash),
            audience: &live.audience,
        });
        self.live.runs.insert(id, live);
        if self.children.get(child).is_some_and(|c| c.ready) {
            // Views that are on their way lack what this one looks at: export takes them as a gap for it.
            self.renew_subscription(child, &export);
            self.send_instance(child, id);
        }
        Ok(id)
    }

    /// Sends an export process that just became ready all its instances.
    pub(super) fn start_instances(&mut self, child: ChildId, key: &ExportKey) {
        let ids: Vec<u64> = self
            .live
            .runs
            .iter()
            .filter(|(_, r)| r.export == *key)
            .map(|(id, _)| *id)
            .collect();
        ids.into_iter().for_each(|id| self.send_instance(child, id));
    }

    fn send_instance(&mut self, child: ChildId, id: u64) {
        let Some(run) = self.live.runs.get(&id) else {
            return;
        };
        let Some(module) = self.modules.get(&run.hash) else {
            return;
        };
        // Packets before now belong to intervals that this instance did not see from their start.
        let begin = if self.catalog.now_ns == 0 {
            0
        } else {
            self.catalog.now_ns + 1
        };
        let window = run.window.unwrap_or((begin, 0));
        let message = down(|down| {
            fill_run(
                down.init_start_module(),
                module,
                id,
                &run.arguments,
                &run.audience,
                window,
            );
        });
        self.children.send(child, message);
    }

    /// Export died: its instances start again with it.
    pub(super) fn restart_export(&mut self, key: &ExportKey) {
        if self.live.runs.values().any(|run| run.export == *key)
            && let Err(error) = self.export_for(key)
        {
            tracing::error!("export does not start again: {error}");
        }
    }

    /// A request to stop a module's runs that its asker started, or all where it is the developer.
    pub(super) fn stop_module(&mut self, asker: &str, name: &ModuleName) -> Result<Reply, Refusal> {
        let (hash, module) = self.modules.find(name)?;
        let developer = module.manifest.developer == asker;
        let mine: Vec<u64> = self
            .live
            .runs
            .iter()
            .filter(|(_, r)| r.hash == hash && (developer || r.started_by == asker))
            .map(|(id, _)| *id)
            .collect();
        if mine.is_empty() {
            return Err(Refusal::NoSuchModule(format!(
                "no run of `{}` was started by you",
                module.manifest.name
            )));
        }
        for id in &mine {
            self.stop_run(*id, "asked");
        }
        self.modules.update(&hash, |state| {
            state.runs.retain(|r| !developer && r.started_by != asker)
        });
        Ok(Reply::ok(
            serde_json::json!({ "name": module.manifest.name, "stopped": mine.len() }),
        ))
    }

    /// Ends all runs of a module.
    pub(super) fn stop_runs_of(&mut self, hash: &[u8; 32], why: &str) {
        let ids: Vec<u64> = self
            .live
            .runs
            .iter()
            .filter(|(_, r)| r.hash == *hash)
            .map(|(id, _)| *id)
            .collect();
        ids.into_iter().for_each(|id| self.stop_run(id, why));
    }

    /// Ends one run; its export process ends with its last.
    pub(super) fn stop_run(&mut self, id: u64, why: &str) {
        let Some(run) = self.live.runs.remove(&id) else {
            return;
        };
        self.log(&Event::ModuleStopped {
            instance: id,
            hash: &hex::encode(run.hash),
            why,
        });
        let Some(child) = self.children.export(&run.export) else {
            return;
        };
        self.children
            .send(child, down(|mut down| down.set_stop_module(id)));
        if self.live.runs.values().any(|other| other.export == run.export) {
            self.renew_subscription(child, &run.export);
        } else {
            self.children.stop(child);
        }
    }

    /// Ends a run that was started for one future window; one that others share goes on.
    pub(super) fn stop_windowed_run(&mut self, id: u64, why: &str) {
        if self.live.runs.get(&id).is_some_and(|run| run.window.is_some()) {
            self.stop_run(id, why);
        }
    }

    /// Ends the runs of modules whose time is over.
    pub(super) fn stop_expired_runs(&mut self) {
        let expired = |run: &LiveRun| {
            self.modules
                .get(&run.hash)
                .is_some_and(|m| m.not_expired().is_err())
        };
        let ids: Vec<u64> = self
            .live
            .iter()
            .filter(|(_, run)| expired(run))
            .map(|(id, _)| id)
            .collect();
        ids.into_iter().for_each(|id| self.stop_run(id, "expired"));
    }

    /// Whether an export process runs this instance: what another one says of it is not believed.
    pub(super) fn runs_in(&self, child: ChildId, id: u64) -> bool {
        let run = self.live.runs.get(&id);
        run.is_some_and(|run| self.children.export(&run.export) == Some(child))
    }

    /// An instance misbehaved; export has dropped it already.
    pub(super) fn live_fault(&mut self, id: u64, what: &str) {
        let Some(hash) = self.live.runs.get(&id).map(|run| run.hash) else {
            return;
        };
        tracing::warn!(instance = id, "module stopped: {what}");
        self.count_fault(&hash, what);
        self.stop_run(id, "fault");
        self.modules.update(&hash, |state| state.runs.clear());
    }

    /// After a start: what ran before runs again, where it still may.
    pub(super) fn start_wanted_runs(&mut self) {
        let wanted: Vec<_> = self
            .modules
            .iter()
            .filter(|(_, m)| !m.state.revoked && !m.state.blacklisted)
            .flat_map(|(hash, m)| m.state.runs.iter().map(|run| (*hash, m.clone(), run.clone())))
            .collect();
        for (hash, module, run) in wanted {
            let started = self.may_run(&module, &run).and_then(|()| {
                let resolved = module.resolved(&run.arguments)?;
                self.run_live(hash, &module, &run, resolved, None)
            });
            if let Err(refusal) = started {
                tracing::warn!(
                    "module {} does not run any more: {}",
                    module.manifest.name,
                    refusal.detail()
                );
            }
        }
    }

    fn may_run(&mut self, module: &Installed, run: &WantedRun) -> Result<(), Refusal> {
        module.not_expired()?;
        let principal = self.developer_or_partner(&run.started_by)?;
        let facts = self.module_facts(module, &run.arguments, true);
        let about = Circumstances {
            level: Some(facts.level),
            ..Circumstances::default()
        };
        self.decide(&principal, Action::StartModule, &Resource::Module(facts), about)
    }

    /// Policy or registry changed: runs that would not be allowed now end.
    pub(super) fn decide_live_again(&mut self) {
        // A run for one future window stands and falls with its query, which is decided with the jobs.
        let lasting = self.live.iter().filter(|(_, run)| run.window.is_none());
        let runs: Vec<(u64, LiveRun)> = lasting.map(|(id, run)| (id, run.clone())).collect();
        for (id, run) in runs {
            let Some(module) = self.modules.get(&run.hash).cloned() else {
                continue;
            };
            let wanted = WantedRun {
                started_by: run.started_by,
                arguments: run.arguments.into_iter().collect(),
                audience: run.audience,
            };
            if let Err(refusal) = self.may_run(&module, &wanted) {
                self.stop_run(id, refusal.detail());
            }
        }
    }
}
