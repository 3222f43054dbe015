//! Which roles run, what each is started with, and the links between them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::audit::Event;
use super::children::{Child, ChildId, ExportKey, Purpose, describe_end};
use super::{Supervisor, SupervisorError, import};
use crate::config::Source;
use crate::link;
use crate::process::Role;
use crate::wire;

/// Processes that always run, in order of start.
const CORE: [Role; 3] = [Role::Storage, Role::Capture, Role::Query];
/// Longest wait before a role that keeps dying is started again.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// A role that ran this long before it died is started again at once.
const STEADY: Duration = Duration::from_secs(10);
/// Longest that a file waits for the processes of its live modules.
const MAX_HELD_BACK: Duration = Duration::from_secs(2);

/// When to start roles again.
#[derive(Default)]
pub(super) struct Wiring {
    due: Vec<(Instant, Role, Purpose)>,
    /// In a row, by role.
    deaths: BTreeMap<&'static str, u32>,
    /// In all, by role.
    died: BTreeMap<&'static str, u64>,
    /// Since when a file waits for the processes of its live modules.
    held_back: Option<Instant>,
}

impl Wiring {
    /// How many processes of a role ended that should not have.
    pub fn died(&self, role: Role) -> u64 {
        self.died.get(role.name()).copied().unwrap_or(0)
    }

    /// How long to wait before the next start: nothing after a single death, doubling after that.
    fn backoff(&mut self, role: Role, lived: Duration) -> Duration {
        let deaths = self.deaths.entry(role.name()).or_insert(0);
        *deaths = if lived > STEADY { 1 } else { *deaths + 1 };
        match *deaths {
            1 => Duration::ZERO,
            n => (Duration::from_millis(100) * 2u32.saturating_pow(n.min(16))).min(MAX_BACKOFF),
        }
    }
}

impl Supervisor {
    pub(super) fn start_core_roles(&mut self) -> Result<(), SupervisorError> {
        // Nobody is served while files are imported.
        let serves = self.import.is_none();
        for role in CORE.into_iter().filter(|role| serves || *role != Role::Query) {
            self.start_core(role)?;
        }
        Ok(())
    }

    pub(super) fn start_core(&mut self, role: Role) -> Result<(), SupervisorError> {
        let first = match role {
            Role::Storage => self.storage_start()?,
            Role::Capture => self.capture_start(),
            Role::Query => self.query_start()?,
            Role::Export | Role::Reader | Role::Runner => return Ok(()),
        };
        self.children.start(role, Purpose::Core, first)?;
        Ok(())
    }

    fn storage_start(&mut self) -> Result<Vec<u8>, SupervisorError> {
        // Storage reports all that it finds; what was known before may be gone.
        self.catalog.clear();
        let uids = self.children.uids();
        for folder in [self.layout.trace(), self.layout.segments(), self.layout.records()] {
            uids.give(&folder, Role::Storage)
                .map_err(|e| SupervisorError::Io(folder.display().to_string(), e))?;
        }
        Ok(wire::down(|down| {
            let mut start = down.init_start_storage();
            start.set_directory(self.layout.trace().to_string_lossy().as_ref());
            start.set_ring_bytes(self.config.trace.ring_bytes);
            start.set_records_bytes(self.config.records.ring_bytes);
            start.set_max_age_ns(self.config.trace.max_age.map_or(0, |age| age.as_nanos() as u64));
            start.set_keep_free_bytes(self.config.trace.keep_free_bytes);
            start.set_records_max_age_ns(self.config.records.max_age.map_or(0, |age| age.as_nanos() as u64));
        }))
    }

    fn capture_start(&self) -> Vec<u8> {
        let (config, keyring) = (&self.config, &self.keyring);
        wire::down(|down| {
            let mut start = down.init_start_capture();
            start.set_node(config.node.name.as_str());
            start.set_node_key(&keyring.node_signing.verifying_key().to_bytes());
            start.set_retain(config.trace.retain.as_u8());
            start.set_segment_bytes(config.trace.segment_bytes);
            start.set_queue_bytes(config.trace.queue_bytes);
            if let Some(table) = &config.networks.as_table {
                start.set_as_table(table.to_string_lossy().as_ref());
            }
            start.set_as_min_addresses(config.networks.as_min_addresses);
            let imported = self.import.as_ref().map(import::Import::source);
            match imported.as_ref().unwrap_or(&config.source) {
                Source::Live {
                    interface,
                    filter,
                    snaplen,
                    buffer_bytes,
                    promiscuous,
                    workers,
                } => {
                    start.set_workers(*workers);
                    let mut live = start.init_source().init_live();
                    live.set_interface(interface);
                    live.set_filter(filter);
                    live.set_snaplen(*snaplen);
                    live.set_buffer_bytes(*buffer_bytes);
                    live.set_promiscuous(*promiscuous);
                }
                Source::File { path, paced, workers } => {
                    start.set_workers(*workers);
                    let mut file = start.init_source().init_file();
                    file.set_path(path.to_string_lossy().as_ref());
                    file.set_paced(*paced);
                    file.set_name(self.import.as_ref().map_or("", import::Import::name));
                }
            }
        })
    }

    fn query_start(&self) -> Result<Vec<u8>, SupervisorError> {
        let certificate = self.read_text(&self.layout.server_certificate())?;
        let key = como_keys::files::read_secret(&self.layout.server_key())?;
        let key = String::from_utf8_lossy(&key).into_owned();
        let authorities = self.authorities()?;
        Ok(wire::down(|down| {
            let mut start = down.init_start_query();
            start.set_listen(self.config.query.listen.to_string());
            start.set_certificate(&certificate);
            start.set_key(&key);
            start.set_node(self.config.node.name.as_str());
            if let Some(metrics) = self.config.metrics.listen {
                start.set_metrics(metrics.to_string());
            }
            fill_trust(start.init_trust(), &authorities);
        }))
    }

    /// Sends the current authorities and revocation lists to the query process.
    pub(super) fn send_trust(&mut self) {
        let Some(query) = self.children.ready(Role::Query) else {
            return;
        };
        match self.authorities() {
            Ok(authorities) => {
                let message = wire::down(|down| fill_trust(down.init_trust(), &authorities));
                self.children.send(query, message);
            }
            Err(error) => tracing::error!("revocation lists were not reloaded: {error}"),
        }
    }

    /// Trust domain, certificate and revocation list of each authority.
    fn authorities(&self) -> Result<Vec<[String; 3]>, SupervisorError> {
        let own = [
            self.config.node.name.domain().to_owned(),
            self.read_text(&self.layout.ca_certificate())?,
            self.read_text(&self.layout.ca_revocations())?,
        ];
        let others = self.registry.authorities.values();
        let others = others.map(|a| [a.domain.clone(), a.certificate.clone(), a.revocations.clone()]);
        Ok(std::iter::once(own).chain(others).collect())
    }

    fn read_text(&self, path: &std::path::Path) -> Result<String, SupervisorError> {
        std::fs::read_to_string(path).map_err(|e| SupervisorError::Io(path.display().to_string(), e))
    }

    /// The export process of a level and audience, started where it does not run yet.
    pub(super) fn export_for(&mut self, key: &ExportKey) -> Result<ChildId, SupervisorError> {
        if let Some(id) = self.children.export(key) {
            return Ok(id);
        }
        self.live.forget_sent(key);
        let first = wire::down(|down| {
            let mut start = down.init_start_export();
            start.set_level(key.level.as_u8());
            start.set_audience(&key.audience);
        });
        Ok(self
            .children
            .start(Role::Export, Purpose::Export(key.clone()), first)?)
    }

    /// A role's sandbox is in force: link it with its peers that are ready too.
    pub(super) fn connect(&mut self, id: ChildId) {
        let Some(child) = self.children.get(id) else {
            return;
        };
        let storage = self.children.ready(Role::Storage);
        let capture = self.children.ready(Role::Capture);
        let exports = self.children.ready_exports();
        match child.role {
            Role::Storage => {
                if let (Some(capture), None) = (capture, self.wiring.held_back) {
                    self.link(capture, id, 0);
                }
                exports
                    .iter()
                    .for_each(|(export, _)| self.link(*export, id, export.0));
            }
            Role::Capture => {
                exports
                    .iter()
                    .for_each(|(export, key)| self.subscribe(id, *export, key));
                // It begins once it has storage.
                let is_file = matches!(self.config.source, Source::File { .. });
                self.wiring.held_back = (is_file && self.children.is_export_starting()).then(Instant::now);
                if let (Some(storage), None) = (storage, self.wiring.held_back) {
                    self.link(id, storage, 0);
                }
            }
            Role::Export => {
                if let Some(storage) = storage {
                    self.link(id, storage, id.0);
                }
                if let (Some(capture), Some((_, key))) = (capture, exports.iter().find(|(e, _)| *e == id)) {
                    self.subscribe(capture, id, key);
                }
                self.let_file_begin();
            }
            Role::Query | Role::Reader | Role::Runner => {}
        }
    }

    /// A file that waits for live modules begins once their processes are there, or after a while.
    pub(super) fn let_file_begin(&mut self) {
        let Some(since) = self.wiring.held_back else {
            return;
        };
        if self.children.is_export_starting() && since.elapsed() < MAX_HELD_BACK {
            return;
        }
        self.wiring.held_back = None;
        let (capture, storage) = (
            self.children.ready(Role::Capture),
            self.children.ready(Role::Storage),
        );
        if let (Some(capture), Some(storage)) = (capture, storage) {
            self.link(capture, storage, 0);
        }
    }

    /// Hands both ends of a new link out; each side drops an older one.
    pub(super) fn link(&mut self, one: ChildId, other: ChildId, number: u64) {
        let (Some(a), Some(b)) = (self.children.get(one), self.children.get(other)) else {
            return;
        };
        let (a, b) = (a.role, b.role);
        match link::pair() {
            Ok((end_a, end_b)) => {
                self.children
                    .send_with(one, wire::peer(b.name(), number), vec![end_a]);
                self.children
                    .send_with(other, wire::peer(a.name(), number), vec![end_b]);
            }
            Err(error) => tracing::error!("no link between {a} and {b}: {error}"),
        }
    }

    /// Tells capture that an export process wants views, with the keys of its audience, and links them.
    fn subscribe(&mut self, capture: ChildId, export: ChildId, key: &ExportKey) {
        if self.send_subscription(capture, export, key) {
            self.link(capture, export, export.0);
        }
    }

    /// Tells capture what the modules of an export process look at, once they are others.
    pub(super) fn renew_subscription(&mut self, export: ChildId, key: &ExportKey) {
        if let Some(capture) = self.children.ready(Role::Capture) {
            self.send_subscription(capture, export, key);
        }
    }

    fn send_subscription(&mut self, capture: ChildId, export: ChildId, key: &ExportKey) -> bool {
        let mut keys = Vec::new();
        if let (false, Some(epoch)) = (key.audience.is_empty(), self.capture_epoch) {
            let mapping = epoch / como_keys::keyring::SEALING_EPOCHS_PER_MAPPING_EPOCH;
            match self.keyring.audience_key(mapping, &key.audience) {
                Ok(audience) => keys.push((mapping, audience)),
                Err(error) => tracing::error!("no pseudonyms for a live audience: {error}"),
            }
            if let Err(error) = self.save_keyring() {
                tracing::error!("the key file cannot be written: {error}");
                return false;
            }
        }
        let message = wire::down(|down| {
            let mut to = down.init_subscribe();
            to.set_id(export.0 as u32);
            to.set_level(key.level.as_u8());
            to.set_audience(&key.audience);
            let (columns, frames) = self.live.looked_at(key, &self.modules);
            to.set_columns(&columns.iter().map(|column| column.id()).collect::<Vec<_>>());
            to.set_frames(frames);
            if self.live.all_weigh(key, &self.modules) {
                to.set_sample(self.config.modules.sample);
                to.set_sample_at_most(self.config.modules.sample_at_most);
            }
            let mut list = to.init_keys(keys.len() as u32);
            for (i, (mapping, secret)) in keys.iter().enumerate() {
                let mut entry = list.reborrow().get(i as u32);
                entry.set_audience(&key.audience);
                entry.set_mapping_epoch(*mapping);
                entry.set_key(secret.expose());
            }
        });
        self.children.send(capture, message);
        true
    }

    /// A process ended: record the death, and start again what must run.
    pub(super) fn ended(&mut self, id: ChildId, status: &std::io::Result<std::process::ExitStatus>) {
        let Some(child) = self.children.remove(id) else {
            return;
        };
        let end = describe_end(status);
        let expected = child.stopping || self.stopping.is_some() || matches!(&child.purpose, Purpose::Job(_));
        if !expected || !status.as_ref().is_ok_and(|s| s.success()) {
            let role = child.role.name();
            *self.wiring.died.entry(role).or_default() += 1;
            tracing::warn!(role, pid = child.pid, "process ended: {end}");
            self.log(&Event::Died {
                role,
                pid: child.pid,
                end: &end,
                restart: !expected,
            });
        }
        if let (Role::Export, Some(capture)) = (child.role, self.children.ready(Role::Capture)) {
            self.children
                .send(capture, wire::down(|mut down| down.set_unsubscribe(id.0 as u32)));
        }
        match &child.purpose {
            Purpose::Job(job) => self.job_process_ended(&job.clone(), child.role),
            _ if self.stopping.is_some() => self.stop_next(),
            Purpose::Core if child.stopping && self.import.is_some() => self.import_next(),
            // A module that was started while its export process was ending needs another one.
            Purpose::Export(key) if child.stopping => self.restart_export(key),
            _ if child.stopping => {}
            _ => self.schedule_restart(&child, was_killed(status)),
        }
    }

    fn schedule_restart(&mut self, child: &Child, killed: bool) {
        let lived = child.started.elapsed();
        self.roles.forget(child.role);
        let core = child.purpose == Purpose::Core;
        let first = core && !child.ready && self.roles.ready_once.insert(child.role.name());
        if first && !killed && self.started.elapsed() < STEADY {
            // It never worked: a wrong setting, not an accident. Better to stop at once than to limp.
            self.failure
                .get_or_insert_with(|| format!("the {} process does not start", child.role));
            self.stop_all();
            return;
        }
        let wait = self.wiring.backoff(child.role, lived);
        self.wiring
            .due
            .push((Instant::now() + wait, child.role, child.purpose.clone()));
    }

    /// Starts roles whose wait is over.
    pub(super) fn restart_due_roles(&mut self) {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.wiring.due)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        self.wiring.due = later;
        let due: Vec<(Instant, Role, Purpose)> = due;
        for (_, role, purpose) in due {
            match purpose {
                Purpose::Core => {
                    // No process, no descriptor, a file that is being replaced: it may work later.
                    if let Err(error) = self.start_core(role) {
                        tracing::error!(role = role.name(), "does not start again: {error}");
                        self.roles.failures.insert(role.name(), error.to_string());
                        let wait = self.wiring.backoff(role, Duration::ZERO);
                        self.wiring.due.push((now + wait, role, Purpose::Core));
                    }
                }
                Purpose::Export(key) => self.restart_export(&key),
                Purpose::Job(_) => {}
            }
        }
    }

    /// The next step of an orderly stop: first those that produce, then storage.
    pub(super) fn stop_next(&mut self) {
        let running: Vec<(ChildId, Role, bool)> = self
            .children
            .iter()
            .map(|(id, c)| (id, c.role, c.stopping))
            .collect();
        let producers = running
            .iter()
            .any(|(_, role, _)| matches!(role, Role::Capture | Role::Export));
        for (id, role, stopping) in running {
            let now = role != Role::Storage || !producers;
            if matches!(role, Role::Reader | Role::Runner) {
                self.children.kill(id);
            } else if now && !stopping {
                self.children.stop(id);
            }
        }
    }
}

/// Whether somebody else ended the process: no sign of a setting with which it cannot work.
fn was_killed(status: &std::io::Result<std::process::ExitStatus>) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let killed = rustix::process::Signal::KILL.as_raw();
    status.as_ref().is_ok_and(|s| s.signal() == Some(killed))
}

fn fill_trust(trust: como_capnp::wire_capnp::trust::Builder<'_>, authorities: &[[String; 3]]) {
    let mut list = trust.init_authorities(authorities.len() as u32);
    for (i, [domain, certificate, revocations]) in authorities.iter().enumerate() {
        let mut to = list.reborrow().get(i as u32);
        to.set_domain(domain);
        to.set_certificate(certificate);
        to.set_revocations(revocations);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_dies_once_is_back_within_a_second_and_one_that_keeps_dying_waits() {
        let mut wiring = Wiring::default();
        assert_eq!(
            wiring.backoff(Role::Storage, Duration::from_secs(60)),
            Duration::ZERO
        );
        let short = Duration::from_millis(5);
        let waits: Vec<_> = (0..12).map(|_| wiring.backoff(Role::Storage, short)).collect();
        assert!(waits[0] < Duration::from_secs(1));
        assert!(waits.is_sorted());
        assert_eq!(*waits.last().unwrap(), MAX_BACKOFF);
        assert_eq!(
            wiring.backoff(Role::Storage, Duration::from_secs(60)),
            Duration::ZERO
        );
    }
}
