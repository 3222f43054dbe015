//! What the node tells of itself: status, catalog, modules. Never a count that a filter selects.

use std::collections::BTreeMap;

use como_policies::{AccessLevel, Action, Resource};
use serde_json::{Value, json};

use super::Supervisor;
use super::answers::{Refusal, Reply};
use super::catalog::SegmentEnd;
use super::decide::Circumstances;

/// Modules on the live stream, as one asker may know them.
struct Runs {
    running: Vec<Value>,
    paused: Vec<Value>,
    stopped: Vec<Value>,
}

impl Supervisor {
    /// How the node is.
    pub(super) fn status_reply(&self, asker: &str) -> Reply {
        let processes: Vec<Value> = self
            .children
            .iter()
            .map(|(_, child)| {
                json!({
                    "role": child.role.name(),
                    "pid": child.pid,
                    "ready": child.ready,
                    "sandbox": child.sandbox,
                    "seconds": child.started.elapsed().as_secs(),
                })
            })
            .collect();
        let modules = self.live_modules(asker);
        let (lines, last_hash) = self.audit.head();
        Reply::ok(json!({
            "node": self.config.node.name.as_str(),
            "version": env!("CARGO_PKG_VERSION"),
            // Whoever keeps this is a witness: the log cannot be cut behind it unseen.
            "audit_log": { "lines": lines, "last_hash": last_hash },
            "mode": self.config.node.mode,
            "policy": self.policy.set_hash(),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "capture": self.roles.capture,
            "storage": self.roles.storage,
            "reading": { "bytes_per_s": self.reading_rate(), "paused_ms": self.jobs.paused_ms() },
            "processes": processes,
            "live_modules": modules.running,
            "paused_modules": modules.paused,
            "stopped_modules": modules.stopped,
            "queries": self.jobs.by_state(),
            "failures": self.roles.failures,
        }))
    }

    /// Runs as an asker may know them: what runs for another project is that project's business, and how many packets
    /// a module's filter selects is told to those only who may see the view that it reads.
    fn live_modules(&self, asker: &str) -> Runs {
        let partner = self.registry.partner(asker).map(|(_, partner)| partner);
        let own = |audience: &str| audience.is_empty() || partner.is_some_and(|p| p.project == audience);
        let sees = |level: AccessLevel| partner.is_some_and(|p| p.ceiling >= level);
        let running = self.live.iter().filter(|(_, run)| own(&run.what.audience));
        let running = running.map(|(id, run)| {
            json!({
                "instance": id,
                "name": run.name,
                "hash": hex::encode(run.what.hash),
                "level": run.export.level,
                "audience": run.what.audience,
                "arguments": run.what.arguments.iter().cloned().collect::<BTreeMap<_, _>>(),
                "faults": self.modules.get(&run.what.hash).map(|module| module.state.faults),
                "usage": sees(run.export.level).then(|| run.usage()),
            })
        });
        let paused = self.modules.iter().flat_map(|(hash, module)| {
            let wishes = module.state.runs.iter();
            let wishes = wishes.filter(|wish| wish.paused && own(&wish.audience));
            wishes.map(move |wish| {
                json!({
                    "name": module.manifest.name,
                    "hash": hex::encode(hash),
                    "audience": wish.audience,
                    "arguments": wish.arguments,
                })
            })
        });
        Runs {
            running: running.collect(),
            paused: paused.collect(),
            stopped: self
                .live
                .stopped()
                .filter(|run| own(&run.audience))
                .map(|run| json!(run))
                .collect(),
        }
    }

    /// What the node has.
    pub(super) fn catalog_reply(&self, asker: &str) -> Reply {
        let levels: Vec<AccessLevel> = AccessLevel::ALL
            .into_iter()
            .filter(|level| (AccessLevel::Anonymized..=self.config.trace.retain).contains(level))
            .collect();
        let ceiling = self.registry.partner(asker).map(|(_, partner)| partner.ceiling);
        let segments: Vec<_> = self.catalog.segments().map(|(_, s)| s).collect();
        let unsealed = segments.iter().filter(|s| s.end == SegmentEnd::Unsealed).count();
        Reply::ok(json!({
            "node": self.config.node.name.as_str(),
            "node_key": self.keyring.node_signing.verifying_key().hex(),
            "now_ns": self.catalog.now_ns,
            "coverage": self.catalog.coverage(),
            "segments": segments.len(),
            "unsealed_segments": unsealed,
            "packets": segments.iter().map(|s| s.packets).sum::<u64>(),
            "captured_bytes": segments.iter().map(|s| s.captured_bytes).sum::<u64>(),
            "stored_bytes": segments.iter().map(|s| s.bytes).sum::<u64>(),
            "lost_packets": segments.iter().map(|s| s.lost).sum::<u64>(),
            "record_files": self.catalog.record_files(),
            "levels": levels,
            "your_ceiling": ceiling,
        }))
    }

    /// Who this node is: what a client needs before it asks anything.
    pub(super) fn node_reply(&self) -> Reply {
        Reply::ok(json!({
            "node": self.config.node.name.as_str(),
            "node_key": self.keyring.node_signing.verifying_key().hex(),
            "version": env!("CARGO_PKG_VERSION"),
        }))
    }

    /// The installed modules.
    pub(super) fn modules_reply(&mut self, asker: &str) -> Result<Reply, Refusal> {
        let principal = self.developer_or_partner(asker)?;
        self.decide(
            &principal,
            Action::Status,
            &Resource::Node,
            Circumstances::default(),
        )?;
        let modules: Vec<Value> = self
            .modules
            .iter()
            .map(|(hash, module)| {
                let manifest = &module.manifest;
                let arguments: Vec<Value> = manifest
                    .args
                    .iter()
                    .map(|a| json!({ "name": a.name, "default": a.default, "min": a.min, "max": a.max, "description": a.description, "load_only": a.load_only }))
                    .collect();
                json!({
                    "name": manifest.name,
                    "version": manifest.version,
                    "release": manifest.release,
                    "description": manifest.description,
                    "hash": hex::encode(hash),
                    "developer": manifest.developer,
                    "filter": manifest.filter,
                    "level": manifest.level,
                    "output_level": manifest.output_level,
                    "interval_ns": manifest.interval_ns,
                    "arguments": arguments,
                    "expires_ns": manifest.not_after_ns,
                    "revoked": module.state.revoked,
                    "blacklisted": module.state.blacklisted,
                    "faults": module.state.faults,
                    "last_fault": module.state.last_fault,
                    "last_stop": module.state.last_stop,
                    "live": self.live.iter().filter(|(_, run)| run.what.hash == *hash).count(),
                    "paused": module.state.runs.iter().filter(|wish| wish.paused).count(),
                })
            })
            .collect();
        Ok(Reply::ok(json!({ "modules": modules })))
    }
}
