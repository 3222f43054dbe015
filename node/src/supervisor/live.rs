//! Instances of modules on the live stream: what runs in which export process, what it used. One instance for the same
//! module, arguments and audience, whoever asks (`wishes`). Must never decide who may have one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use como_anonymize::Column;
use como_capnp::wire_capnp as wire;
use como_policies::AccessLevel;
use serde::Serialize;

use super::accounting::Usage;
use super::answers::Refusal;
use super::audit::Event;
use super::catalog::MetricKey;
use super::children::{ChildId, ExportKey};
use super::modules::{Installed, LastStop, ModuleStore, fill_run};
use super::plan::metric_of;
use super::{Supervisor, now_ns};
use crate::wire::down;

/// Runs that ended and are still told in the status.
const MAX_STOPPED: usize = 64;

/// What is computed, and for whom: two that ask for the same share an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Computation {
    /// SHA-256 of the module's code.
    pub hash: [u8; 32],
    /// All arguments that its rows depend on, by name; those of `load` have their defaults.
    pub arguments: Vec<(String, i64)>,
    /// For whom pseudonyms are made; empty: the module asks for none.
    pub audience: String,
}

/// One instance.
#[derive(Clone)]
pub(super) struct LiveRun {
    pub what: Computation,
    pub name: String,
    pub export: ExportKey,
    /// Window of a query in the future; `None`: until it is stopped.
    pub window: Option<(u64, u64)>,
    /// What its present export process reports, and what earlier ones did.
    reported: Usage,
    before: Usage,
    /// Whether that process was told of it.
    sent: bool,
}

impl LiveRun {
    /// What it used since it was started.
    pub fn usage(&self) -> Usage {
        self.before.plus(self.reported)
    }
}

/// A run that ended, for the status.
#[derive(Clone, Debug, Serialize)]
pub(super) struct StoppedRun {
    pub instance: u64,
    pub name: String,
    pub hash: String,
    pub level: AccessLevel,
    pub audience: String,
    pub why: String,
    /// Wall time, ns since the Unix epoch.
    pub at_ns: u64,
    #[serde(skip)]
    code: [u8; 32],
    #[serde(skip)]
    export: ExportKey,
    /// The last that was reported.
    #[serde(skip)]
    reported: Usage,
}

/// All instances.
#[derive(Default)]
pub(super) struct LiveModules {
    next: u64,
    runs: BTreeMap<u64, LiveRun>,
    /// Oldest first.
    stopped: VecDeque<StoppedRun>,
}

impl LiveModules {
    /// All instances.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &LiveRun)> {
        self.runs.iter().map(|(id, run)| (*id, run))
    }

    /// The newest runs that ended, and why.
    pub fn stopped(&self) -> impl Iterator<Item = &StoppedRun> {
        self.stopped.iter()
    }

    /// The lasting instance of a computation.
    pub fn lasting(&self, what: &Computation) -> Option<u64> {
        self.iter()
            .find(|(_, run)| run.window.is_none() && run.what == *what)
            .map(|(id, _)| id)
    }

    /// All lasting instances of a module.
    pub fn lasting_of(&self, hash: &[u8; 32]) -> Vec<(u64, Computation)> {
        self.iter()
            .filter(|(_, run)| run.window.is_none() && run.what.hash == *hash)
            .map(|(id, run)| (id, run.what.clone()))
            .collect()
    }

    /// An export process is new: it knows of no instance.
    pub fn forget_sent(&mut self, key: &ExportKey) {
        let runs = self.runs.values_mut().filter(|run| run.export == *key);
        runs.for_each(|run| run.sent = false);
    }

    /// The columns that the modules of an export process look at, and whether any looks at frames.
    pub fn looked_at(&self, key: &ExportKey, modules: &ModuleStore) -> (Vec<Column>, bool) {
        let mut columns = BTreeSet::from([Column::TsNs]);
        let mut frames = false;
        let runs = self.runs.values().filter(|run| run.export == *key);
        for module in runs.filter_map(|run| modules.get(&run.what.hash)) {
            columns.extend(module.manifest.looked_at());
            frames |= module.manifest.wants_frames;
        }
        (columns.into_iter().collect(), frames)
    }

    /// Whether all modules of an export process look at weights: others would take a sampled packet for one.
    pub fn all_weigh(&self, key: &ExportKey, modules: &ModuleStore) -> bool {
        let runs = self.runs.values().filter(|run| run.export == *key);
        let mut known = runs.filter_map(|run| modules.get(&run.what.hash));
        known.all(|module| module.manifest.looked_at().contains(&Column::Weight))
    }
}

impl Supervisor {
    /// Starts an instance, or finds the lasting one that computes the same already.
    pub(super) fn run_live(
        &mut self,
        module: &Installed,
        what: Computation,
        window: Option<(u64, u64)>,
    ) -> Result<u64, Refusal> {
        if let Some(id) = self.live.lasting(&what) {
            return Ok(id);
        }
        if self.live.runs.len() >= self.config.modules.max_live as usize {
            return Err(Refusal::Busy("as many modules run as may run at once".into()));
        }
        let export = ExportKey {
            level: module.manifest.level,
            audience: what.audience.clone(),
        };
        let child = self
            .export_for(&export)
            .map_err(|e| Refusal::Internal(e.to_string()))?;
        self.live.next += 1;
        let id = self.live.next;
        let name = module.manifest.name.clone();
        self.log(&Event::ModuleStarted {
            instance: id,
            module: &name,
            hash: &hex::encode(what.hash),
            audience: &what.audience,
        });
        let run = LiveRun {
            what,
            name,
            export: export.clone(),
            window,
            reported: Usage::default(),
            before: Usage::default(),
            sent: false,
        };
        self.live.runs.insert(id, run);
        if self.children.get(child).is_some_and(|c| c.ready) && self.roles.records_known {
            // Views that are on their way lack what this one looks at: export takes them as a gap for it.
            self.renew_subscription(child, &export);
            self.send_instance(child, id);
        }
        Ok(id)
    }

    /// Sends an export process that just became ready all its instances. While storage has not told what it has,
    /// nobody knows where their records ended: then they wait.
    pub(super) fn start_instances(&mut self, child: ChildId, key: &ExportKey) {
        if !self.roles.records_known {
            return;
        }
        let runs = self.live.runs.iter().filter(|(_, run)| run.export == *key);
        let ids: Vec<u64> = runs.map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.send_instance(child, id));
    }

    /// Storage has told for the first time what it has: the instances that waited for it start.
    pub(super) fn start_waiting_instances(&mut self) {
        let ready: Vec<(ChildId, ExportKey)> = self.children.ready_exports();
        for (child, key) in ready {
            let waiting = self.live.iter().filter(|(_, run)| run.export == key && !run.sent);
            let ids: Vec<u64> = waiting.map(|(id, _)| id).collect();
            ids.into_iter().for_each(|id| self.send_instance(child, id));
        }
    }

    fn send_instance(&mut self, child: ChildId, id: u64) {
        let Some(run) = self.live.runs.get_mut(&id) else {
            return;
        };
        let Some(module) = self.modules.get(&run.what.hash) else {
            return;
        };
        // A new process counts from nothing.
        run.before = run.usage();
        run.reported = Usage::default();
        run.sent = true;
        // Packets before now belong to intervals that this instance did not see from their start.
        let begin = match self.catalog.now_ns {
            0 => 0,
            now_ns => now_ns + 1,
        };
        let window = run.window.unwrap_or((begin, 0));
        let what = &run.what;
        let metric = MetricKey(metric_of(module, &what.arguments, &what.audience));
        let stored_to_ns = self.catalog.records_reach(&metric).unwrap_or(0);
        let message = down(|down| {
            let mut start = down.init_start_module();
            start.set_stored_to_ns(stored_to_ns);
            fill_run(start, module, id, &what.arguments, &what.audience, window);
        });
        self.children.send(child, message);
    }

    /// An export process is gone: its instances start again with the next.
    pub(super) fn restart_export(&mut self, key: &ExportKey) {
        if self.live.runs.values().any(|run| run.export == *key)
            && let Err(error) = self.export_for(key)
        {
            tracing::error!("export does not start again: {error}");
        }
    }

    /// Takes a usage report. The last of a run comes after its end.
    pub(super) fn take_usage(&mut self, child: ChildId, report: wire::module_usage::Reader<'_>) {
        let (id, usage) = (report.get_instance(), Usage::reported(report));
        if let Some(run) = self.live.runs.get_mut(&id) {
            // What another process says of it is not believed.
            if self.children.export(&run.export) == Some(child) {
                run.reported = usage;
            }
            return;
        }
        let ended = self.live.stopped.iter_mut().find(|run| run.instance == id);
        if let Some(run) = ended.filter(|run| self.children.exports(child, &run.export)) {
            self.accounts.add_live(&run.code, usage.since(run.reported));
            run.reported = usage;
        }
    }

    /// Ends all runs of a module.
    pub(super) fn stop_runs_of(&mut self, hash: &[u8; 32], why: &str) {
        let runs = self.live.runs.iter().filter(|(_, run)| run.what.hash == *hash);
        let ids: Vec<u64> = runs.map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.stop_run(id, why));
    }

    /// Ends one run; its export process ends with its last.
    pub(super) fn stop_run(&mut self, id: u64, why: &str) {
        let Some(run) = self.live.runs.remove(&id) else {
            return;
        };
        let hash = hex::encode(run.what.hash);
        self.log(&Event::ModuleStopped {
            instance: id,
            hash: &hash,
            why,
        });
        self.accounts.add_live(&run.what.hash, run.usage());
        self.live.stopped.push_back(StoppedRun {
            instance: id,
            name: run.name,
            hash,
            level: run.export.level,
            audience: run.what.audience,
            why: why.to_owned(),
            at_ns: now_ns(),
            code: run.what.hash,
            export: run.export.clone(),
            reported: run.reported,
        });
        if self.live.stopped.len() > MAX_STOPPED {
            self.live.stopped.pop_front();
        }
        let last = LastStop {
            why: why.to_owned(),
            at_ns: now_ns(),
        };
        self.modules
            .update(&run.what.hash, |state| state.last_stop = last);
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

    /// Whether an export process runs this instance: what another one says of it is not believed.
    pub(super) fn runs_in(&self, child: ChildId, id: u64) -> bool {
        let run = self.live.runs.get(&id);
        run.is_some_and(|run| self.children.export(&run.export) == Some(child))
    }

    /// An instance misbehaved; export has dropped it already.
    pub(super) fn live_fault(&mut self, id: u64, what: &str) {
        let Some(hash) = self.live.runs.get(&id).map(|run| run.what.hash) else {
            return;
        };
        tracing::warn!(instance = id, "module stopped: {what}");
        self.stop_run(id, &format!("fault: {what}"));
        self.modules.update(&hash, |state| state.runs.clear());
        self.count_fault(&hash, what);
    }
}
