//! What the node tells of itself: status, catalog, modules, metrics. Never a count that a filter selects.

use std::fmt::Write;

use como_policies::{AccessLevel, Action, Resource};
use serde_json::{Value, json};

use super::Supervisor;
use super::answers::{Refusal, Reply};
use super::catalog::SegmentEnd;
use super::decide::Circumstances;

impl Supervisor {
    /// How the node is.
    pub(super) fn status_reply(&self, asker: &str) -> Reply {
        let project = self
            .registry
            .partner(asker)
            .map(|(_, partner)| partner.project.as_str());
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
        // What runs for another project is that project's business.
        let live: Vec<Value> = self
            .live
            .iter()
            .filter(|(_, run)| run.audience.is_empty() || Some(run.audience.as_str()) == project)
            .map(|(id, run)| {
                json!({
                    "instance": id,
                    "name": run.name,
                    "hash": hex::encode(run.hash),
                    "level": run.export.level,
                    "audience": run.audience,
                    "usage": run.usage,
                })
            })
            .collect();
        Reply::ok(json!({
            "node": self.config.node.name.as_str(),
            "version": env!("CARGO_PKG_VERSION"),
            "mode": self.config.node.mode,
            "policy": self.policy.set_hash(),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "capture": self.roles.capture,
            "storage": self.roles.storage,
            "processes": processes,
            "live_modules": live,
            "queries": self.jobs.by_state(),
            "failures": self.roles.failures,
        }))
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
                    .map(|a| json!({ "name": a.name, "default": a.default, "min": a.min, "max": a.max, "description": a.description }))
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
                    "live": self.live.iter().filter(|(_, run)| run.hash == *hash).count(),
                })
            })
            .collect();
        Ok(Reply::ok(json!({ "modules": modules })))
    }

    /// Counters in the Prometheus text format.
    pub(super) fn metrics(&self) -> String {
        let (capture, storage) = (&self.roles.capture, &self.roles.storage);
        let mut out = String::new();
        let mut put = |name: &str, kind: &str, help: &str, value: u64| {
            let _ = write!(
                out,
                "# HELP como_{name} {help}\n# TYPE como_{name} {kind}\ncomo_{name} {value}\n"
            );
        };
        put(
            "capture_packets_total",
            "counter",
            "Packets taken from the source by this run.",
            capture.packets,
        );
        put("capture_bytes_total", "counter", "Captured bytes.", capture.bytes);
        put(
            "capture_lost_packets_total",
            "counter",
            "Packets lost before or in capture.",
            capture.lost,
        );
        put(
            "capture_shed_packets_total",
            "counter",
            "Packets that live modules did not see.",
            capture.shed,
        );
        put(
            "capture_poisoned_packets_total",
            "counter",
            "Packets stored undissected.",
            capture.poisoned,
        );
        put(
            "capture_out_of_order_packets_total",
            "counter",
            "Packets whose time is before that of the packet in front of them.",
            capture.out_of_order,
        );
        put(
            "trace_segments",
            "gauge",
            "Segments in the ring.",
            u64::from(storage.segments),
        );
        put(
            "trace_bytes",
            "gauge",
            "Bytes of the ring on disk.",
            storage.bytes,
        );
        put(
            "disk_free_bytes",
            "gauge",
            "Free bytes of the disk.",
            storage.free_bytes,
        );
        put(
            "disk_full",
            "gauge",
            "1 while the disk is full.",
            storage.disk_full.into(),
        );
        put(
            "processes",
            "gauge",
            "Running processes.",
            self.children.iter().count() as u64,
        );
        for (name, help, value) in [
            (
                "packets_total",
                "Packets that the module saw.",
                (|u| u.packets) as fn(&super::live::Usage) -> u64,
            ),
            ("fuel_total", "Fuel that the module used.", |u| u.fuel),
            ("wall_ns_total", "Wall time of the module, ns.", |u| u.wall_ns),
            ("rows_total", "Rows that the module stored.", |u| u.rows),
        ] {
            let _ = write!(
                out,
                "# HELP como_module_{name} {help}\n# TYPE como_module_{name} counter\n"
            );
            for (id, run) in self.live.iter() {
                let _ = writeln!(
                    out,
                    "como_module_{name}{{name=\"{}\",instance=\"{id}\"}} {}",
                    run.name.escape_default(),
                    value(&run.usage)
                );
            }
        }
        out
    }
}
