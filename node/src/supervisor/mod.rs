//! The supervisor: keys, policy, admission of modules, start and restart of every other process.
//!
//! One loop takes one event at a time; nothing here waits for a child. It holds the root secret, the
//! identities, the policy and the registry of modules; it must never see a packet, nor listen on a network.
//!
//! | file | owns |
//! |---|---|
//! | `children` | child processes: start, messages, death |
//! | `wiring` | which roles run, what each is started with, links between them |
//! | `reports` | what roles say |
//! | `epochs`, `grants`, `destroy` | public keys for writers; data keys for one reader; keys that are no more |
//! | `asks`, `requests`, `nonces` | from bytes of the network to an authentic request, taken once |
//! | `decide`, `audit` | policy decisions and the audit log |
//! | `checks`, `modules` | modules on trial; installed ones |
//! | `wishes`, `live`, `accounting` | who wants which module live; its instances; what they used |
//! | `jobs`, `plan`, `answers`, `status` | queries and their life; what askers are told |
//! | `metrics` | what the operator's monitoring is told |
//! | `catalog` | what the trace and the records hold |
//! | `import` | capture files brought in one after the other, instead of a source |

mod accounting;
mod answers;
mod asks;
mod audit;
mod catalog;
mod checks;
mod children;
mod decide;
mod destroy;
mod epochs;
mod grants;
mod import;
mod index_filters;
mod jobs;
mod levels;
mod live;
mod metrics;
mod modules;
mod nonces;
mod opened;
mod orders;
mod pace;
mod pieces;
mod plan;
mod reports;
mod requests;
mod signals;
mod status;
mod wiring;
mod wishes;

use std::path::Path;
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use como_keys::audit::AuditLog;
use como_keys::keyring::Keyring;
use como_keys::root::RootSecret;
use como_modules::RevocationList;
use como_policies::PolicyEngine;

use crate::allowance::told::Told;
use crate::config::{Config, Layout};
use crate::link::Frame;
use crate::registry::{Registry, Revocations};
use catalog::Catalog;
use children::{ChildId, Children};
pub use import::{ImportEvent, ImportFile, import};
pub use metrics::metrics_table;

/// How often time-driven work is looked at.
const TICK: Duration = Duration::from_millis(200);
/// How often rules that depend on the time of day are asked about what runs.
const SETTLE_EVERY: Duration = Duration::from_secs(10);
/// How long roles may take to drain and seal after SIGTERM, before they are killed.
const DRAIN: Duration = Duration::from_secs(20);

/// Why the node does not start, or stops.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The registry of partners and developers.
    #[error(transparent)]
    Registry(#[from] crate::registry::RegistryError),
    /// The policy set.
    #[error(transparent)]
    Policy(#[from] como_policies::PolicyError),
    /// A key or the audit log.
    #[error(transparent)]
    Keys(#[from] como_keys::KeyError),
    /// The root secret.
    #[error(transparent)]
    Admin(#[from] crate::admin::AdminError),
    /// A process does not start.
    #[error(transparent)]
    Process(#[from] crate::process::ProcessError),
    /// Two supervisors on one data directory would write over each other.
    #[error("a node already runs on {0} (process {1})\nStop it first, or use another directory.")]
    AlreadyRunning(String, u32),
    /// An import beside a running node: two storages would write over each other.
    #[error(
        "a node runs on {0} (process {1})\nStop it first (SIGTERM to that process), import, and start it again: it goes on from where it was."
    )]
    Busy(String, u32),
    /// The operating system.
    #[error("{0}: {1}\nCheck the permissions of the node's directory.")]
    Io(String, std::io::Error),
    /// A role cannot work, and starting it again does not help.
    #[error("{0}")]
    RoleFailed(String),
}

/// What the main loop takes.
pub(crate) enum Event {
    /// A role sent a message.
    Said(ChildId, Frame),
    /// A process ended.
    Ended(ChildId, std::io::Result<ExitStatus>),
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// Everything that the supervisor knows.
pub(crate) struct Supervisor {
    config: Config,
    layout: Layout,
    registry: Registry,
    policy: PolicyEngine,
    root: RootSecret,
    keyring: Keyring,
    /// All its keys are on the disk.
    keyring_is_saved: bool,
    audit: AuditLog,
    children: Children,
    catalog: Catalog,
    opened: opened::OpenedSegments,
    modules: modules::ModuleStore,
    live: live::LiveModules,
    accounts: accounting::Accounts,
    jobs: jobs::Jobs,
    checks: checks::Checks,
    nonces: nonces::Nonces,
    wiring: wiring::Wiring,
    roles: reports::Reports,
    /// The sealing epoch that capture last asked for.
    capture_epoch: Option<u32>,
    /// Readers were told to go slower, and not yet that they need not.
    readers_are_paced: bool,
    /// What commands that read the trace are told.
    told_pressure: Told,
    started: Instant,
    /// When rules that depend on the time of day were last asked.
    settled: Instant,
    stopping: Option<Instant>,
    failure: Option<String>,
    /// Files that are brought in, where that is what this run is for.
    import: Option<import::Import>,
}

/// Runs a node until it is told to stop.
pub fn run(config_file: &Path) -> Result<(), SupervisorError> {
    let (events, queue) = channel();
    let config = Config::load(config_file)?;
    // Before anything is opened: a second supervisor must not touch the audit log or the results.
    let _lock = signals::PidFile::take(&config.layout())?;
    let mut supervisor = Supervisor::open(config, events.clone())?;
    signals::forward(events).map_err(|e| SupervisorError::Io("signal handlers".into(), e))?;
    supervisor.begin()?;
    supervisor.main_loop(&queue)
}

impl Supervisor {
    fn open(config: Config, events: std::sync::mpsc::Sender<Event>) -> Result<Self, SupervisorError> {
        let layout = config.layout();
        let registry = Registry::load(&layout)?;
        let policy = load_policy(&config)?;
        let root = crate::admin::root_secret(&config)?;
        let mut keyring = Keyring::load(&layout.keyring(), &root)?;
        orders::take_at_start(&layout, &root, &mut keyring)?;
        let mut audit = AuditLog::open(&layout.audit_log(), keyring.node_signing.clone())?;
        crate::admin::take_events(&layout, &mut audit)?;
        // The authority's revocation list is valid for a limited time: each start makes it anew.
        crate::admin::renew_revocations(&layout, &registry)?;
        let launcher = children::Launcher::new(&config);
        let revocations = load_revocations(&config, &layout, &keyring)?;
        let modules = modules::ModuleStore::open(&layout, revocations)?;
        let jobs = jobs::Jobs::open(&layout)?;
        let nonces = open_nonces(&layout)?;
        let pressure_file = layout.pressure();
        let told_pressure = Told::at(pressure_file.clone())
            .map_err(|e| SupervisorError::Io(pressure_file.display().to_string(), e))?;
        Ok(Self {
            children: Children::new(events, launcher),
            config,
            layout,
            registry,
            policy,
            root,
            keyring,
            keyring_is_saved: true,
            audit,
            catalog: Catalog::default(),
            opened: opened::OpenedSegments::default(),
            modules,
            live: live::LiveModules::default(),
            accounts: accounting::Accounts::default(),
            jobs,
            checks: checks::Checks::default(),
            nonces,
            wiring: wiring::Wiring::default(),
            roles: reports::Reports::default(),
            capture_epoch: None,
            readers_are_paced: false,
            told_pressure,
            started: Instant::now(),
            settled: Instant::now(),
            stopping: None,
            failure: None,
            import: None,
        })
    }

    fn begin(&mut self) -> Result<(), SupervisorError> {
        let mode = self.config.node.mode.name();
        let policy = self.policy.set_hash().to_owned();
        self.log(&audit::Event::Started {
            version: env!("CARGO_PKG_VERSION"),
            mode,
            policy: &policy,
        });
        if self.import.is_none() {
            self.load_modules();
        }
        self.start_core_roles()?;
        Ok(())
    }

    fn main_loop(&mut self, queue: &Receiver<Event>) -> Result<(), SupervisorError> {
        loop {
            match queue.recv_timeout(TICK) {
                Ok(Event::Said(from, frame)) => self.said(from, frame),
                Ok(Event::Ended(id, status)) => self.ended(id, &status),
                Ok(Event::Stop) => self.stop_all(),
                Ok(Event::Reload) => self.reload(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.tick();
            if self.stopping.is_some() && self.children.iter().next().is_none() {
                self.log(&audit::Event::Stopped);
                let _ = self.audit.sign_head(now_ns());
                return match self.failure.take() {
                    Some(what) => Err(SupervisorError::RoleFailed(what)),
                    None => Ok(()),
                };
            }
        }
    }

    fn tick(&mut self) {
        match self.stopping {
            Some(since) if since.elapsed() > DRAIN => {
                let all: Vec<_> = self.children.iter().map(|(id, _)| id).collect();
                all.into_iter().for_each(|id| self.children.kill(id));
            }
            Some(_) => {}
            None => {
                self.restart_due_roles();
                self.let_file_begin();
                if self.import.is_none() {
                    self.settle_expired();
                    if self.settled.elapsed() >= SETTLE_EVERY {
                        self.settled = Instant::now();
                        self.settle_by_time();
                    }
                    self.advance_jobs();
                }
            }
        }
    }

    /// Drains in the order of the data: capture seals its segment and storage has it on disk, before
    /// storage itself is told to stop (see `reports`).
    fn stop_all(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        tracing::info!("stopping: capture seals its segment");
        self.stopping = Some(Instant::now());
        self.stop_next();
    }

    fn reload(&mut self) {
        match self.try_reload() {
            Ok(()) => {
                let policy = self.policy.set_hash().to_owned();
                self.log(&audit::Event::Reloaded { policy: &policy });
                self.decide_again();
                self.send_trust();
            }
            // The old configuration stays in force: a typing error must not open or close the node.
            Err(error) => tracing::error!("reload refused, nothing changed: {error}"),
        }
    }

    fn try_reload(&mut self) -> Result<(), SupervisorError> {
        let config = Config::load(&self.config.file)?;
        let registry = Registry::load(&self.layout)?;
        let policy = load_policy(&config)?;
        let revocations = load_revocations(&config, &self.layout, &self.keyring)?;
        self.keyring = Keyring::load(&self.layout.keyring(), &self.root)?;
        self.take_orders()?;
        crate::admin::take_events(&self.layout, &mut self.audit)?;
        if revocations.number != self.modules.revocations.number {
            let number = revocations.number;
            self.log(&audit::Event::RevocationsTaken { number });
        }
        self.modules.revocations = revocations;
        self.config = config;
        self.registry = registry;
        self.policy = policy;
        Ok(())
    }

    fn save_keyring(&mut self) -> Result<(), como_keys::KeyError> {
        self.keyring_is_saved = false;
        self.keyring.save(&self.layout.keyring(), &self.root)?;
        self.keyring_is_saved = true;
        Ok(())
    }

    /// Appends to the audit log. A node that cannot log its decisions must not take more of them.
    fn log(&mut self, event: &audit::Event<'_>) {
        if let Err(error) = self.audit.append(now_ns(), event) {
            tracing::error!("the audit log cannot be written, the node stops: {error}");
            self.failure = Some(error.to_string());
            self.stop_all();
        }
    }
}

fn open_nonces(layout: &Layout) -> Result<nonces::Nonces, SupervisorError> {
    let path = layout.nonces();
    std::fs::create_dir_all(layout.state())
        .and_then(|()| nonces::Nonces::open(&path, now_ns()))
        .map_err(|e| SupervisorError::Io(path.display().to_string(), e))
}

/// The revocation lists of this node and of the issuers that the configuration names; their numbers are written down
/// before any is relied on.
fn load_revocations(
    config: &Config,
    layout: &Layout,
    keyring: &Keyring,
) -> Result<RevocationList, SupervisorError> {
    let own = keyring.node_signing.verifying_key();
    let lists = Revocations::load(layout, &config.modules.revocation_issuers(own))?;
    lists.remember(layout)?;
    Ok(lists.merged)
}

fn load_policy(config: &Config) -> Result<PolicyEngine, SupervisorError> {
    Ok(match &config.policy.file {
        Some(file) => PolicyEngine::from_file(config.node.mode, file)?,
        None => PolicyEngine::builtin(config.node.mode)?,
    })
}

/// Wall time, ns since the Unix epoch: for certificates, expiry, retention and policy only.
fn now_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos() as u64)
}
