//! `como-node check`: everything that can be known to be wrong before a start, one line each with its fix.
//! Must never change a file or start a process.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use como_anonymize::{AsTable, AsTableError};
use como_keys::keyring::Keyring;
use como_keys::pki::valid_until_ns;
use como_policies::PolicyEngine;
use como_savefile::{OpenError, Reader};

use super::events::{now_ns, running_supervisor};
use super::offloads::merging_offloads;
use super::{AdminError, root_secret};
use crate::config::{Bytes, Config, Source};
use crate::process::UidPlan;
use crate::registry::{Registry, read_bounded};

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// As it should be.
    Ok,
    /// The node starts, but somebody should look.
    Warn,
    /// The node would not start, or not work.
    Error,
}

/// What was found of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it stands.
    pub state: State,
    /// What was looked at.
    pub what: &'static str,
    /// What was found.
    pub found: String,
    /// What to do; empty where nothing is to be done.
    pub fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Error => "error",
        };
        write!(f, "{state:<5} {:<12} {}", self.what, self.found)?;
        if !self.fix.is_empty() {
            write!(
                f,
                "\n{:<18} {}",
                "",
                self.fix.replace('\n', "\n                   ")
            )?;
        }
        Ok(())
    }
}

/// Certificates that end sooner are warned of.
const EXPIRY_WARNING_NS: u64 = 30 * 86_400_000_000_000;

/// Checks the node of a folder or configuration file. Never starts anything.
pub fn check(path: &Path) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => {
            findings.failed("config", &error.into());
            return findings.0;
        }
    };
    let listen = config.query.listen;
    findings.ok(
        "config",
        format!(
            "{}: {}, {} system, listens on {listen}",
            config.file.display(),
            config.node.name,
            config.node.mode
        ),
    );
    findings.take("policy", policy(&config));
    findings.take("source", source(&config));
    findings.take("networks", networks(&config));
    findings.take("keys", keys(&config));
    let layout = config.layout();
    for (what, path) in [
        ("authority", layout.ca_certificate()),
        ("server", layout.server_certificate()),
    ] {
        findings.take(what, certificate(&path));
    }
    findings.take("revocations", revocations(&config));
    findings.take("registry", registry(&config));
    for secret in [
        layout.keys(),
        layout.ca_key(),
        layout.server_key(),
        layout.keyring(),
    ] {
        if let Err(finding) = private(&secret) {
            findings.0.push(finding);
        }
    }
    findings.take("folders", folders(&config));
    findings.take("audit log", audit(&config));
    findings.take("disk", disk(&config));
    findings.take("users", users(&config));
    findings.take("port", port(&config));
    findings.0
}

struct Findings(Vec<Finding>);

type Found = Result<String, Finding>;

impl Findings {
    fn ok(&mut self, what: &'static str, found: String) {
        self.0.push(Finding {
            state: State::Ok,
            what,
            found,
            fix: String::new(),
        });
    }

    fn take(&mut self, what: &'static str, result: Found) {
        match result {
            Ok(found) => self.ok(what, found),
            Err(finding) => self.0.push(Finding { what, ..finding }),
        }
    }

    fn failed(&mut self, what: &'static str, error: &AdminError) {
        self.0.push(Finding { what, ..of(error) });
    }
}

fn finding(state: State, found: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding {
        state,
        what: "",
        found: found.into(),
        fix: fix.into(),
    }
}

/// The two lines of an error: what is found, what to do. Its last line is always the latter.
fn of(error: &AdminError) -> Finding {
    let text = error.to_string();
    let (found, fix) = text.rsplit_once('\n').unwrap_or((&text, ""));
    finding(State::Error, found, fix)
}

fn ours<E: Into<AdminError>>(error: E) -> Finding {
    of(&error.into())
}

fn policy(config: &Config) -> Found {
    let mode = config.node.mode;
    match &config.policy.file {
        None => PolicyEngine::builtin(mode)
            .map(|_| format!("the shipped set for a {mode} system"))
            .map_err(ours),
        Some(file) => PolicyEngine::from_file(mode, file)
            .map(|_| file.display().to_string())
            .map_err(ours),
    }
}

fn source(config: &Config) -> Found {
    match &config.source {
        Source::File { path, .. } => {
            let name = path.display().to_string();
            let opened = File::open(path).map_err(OpenError::from).and_then(Reader::new);
            opened.map(|_| name.clone()).map_err(|why| {
                let why = why.to_string();
                let (what, fix) = why.split_once('\n').unwrap_or((&why, ""));
                finding(State::Error, format!("{name}: {what}"), fix)
            })
        }
        Source::Live { interface, .. } => {
            if Path::new("/sys/class/net").join(interface).exists() {
                offloads(interface)
            } else {
                Err(finding(
                    State::Error,
                    format!("there is no interface {interface}"),
                    "`ip link` lists them; correct `interface` in [source]",
                ))
            }
        }
    }
}

/// The whole table is read, as capture will read it.
fn networks(config: &Config) -> Found {
    let Some(path) = &config.networks.as_table else {
        return Ok("no routing table: packets have no AS numbers".into());
    };
    let name = path.display().to_string();
    let read = File::open(path)
        .map_err(AsTableError::Io)
        .and_then(|file| AsTable::read(file, config.networks.as_min_addresses));
    match read {
        Ok(table) => {
            let (v4, v6) = table.stretches();
            Ok(format!(
                "{name}: {v4} stretches of IPv4 and {v6} of IPv6 addresses"
            ))
        }
        Err(why) => {
            let why = why.to_string();
            let (what, fix) = why.split_once('\n').unwrap_or((&why, ""));
            Err(finding(State::Error, format!("{name}: {what}"), fix))
        }
    }
}

/// Packets that the interface merges are not those of the link.
fn offloads(interface: &str) -> Found {
    match merging_offloads(interface) {
        Some(on) if on.is_empty() => Ok(format!("interface {interface}, which merges no packets")),
        Some(on) => Err(finding(
            State::Warn,
            format!(
                "interface {interface} merges packets before they are captured: {} on",
                on.join(", ")
            ),
            format!(
                "run: ethtool -K {interface} {}",
                on.iter()
                    .map(|switch| format!("{switch} off"))
                    .collect::<Vec<_>>()
                    .join(" ")
            ),
        )),
        None => Ok(format!(
            "interface {interface}; whether it merges packets (GRO, LRO, TSO) is not known without ethtool"
        )),
    }
}

fn keys(config: &Config) -> Found {
    let root = root_secret(config).map_err(ours)?;
    let keyring = Keyring::load(&config.layout().keyring(), &root).map_err(ours)?;
    Ok(format!(
        "node key {}",
        keyring.node_signing.verifying_key().key_id()
    ))
}

fn certificate(path: &Path) -> Found {
    let text = read_bounded(path).map_err(ours)?;
    let until = valid_until_ns(&text).map_err(ours)?;
    let now = now_ns();
    let days = until.saturating_sub(now) / 86_400_000_000_000;
    let again = "run `como-node keys renew`";
    if until <= now {
        return Err(finding(
            State::Error,
            format!("{} has expired", path.display()),
            again,
        ));
    }
    if until - now < EXPIRY_WARNING_NS {
        return Err(finding(
            State::Warn,
            format!("{} expires in {days} days", path.display()),
            again,
        ));
    }
    Ok(format!("{}, {days} more days", path.display()))
}

fn revocations(config: &Config) -> Found {
    let path = config.layout().ca_revocations();
    let age = path
        .metadata()
        .and_then(|metadata| metadata.modified())
        .map_err(|why| {
            finding(
                State::Error,
                format!("{}: {why}", path.display()),
                "run `como-node keys renew`",
            )
        })?
        .elapsed()
        .map_or(0, |age| age.as_secs() / 86_400);
    match super::node::REVOCATIONS_DAYS.saturating_sub(age) {
        0..=14 => Err(finding(
            State::Warn,
            format!(
                "{} is {age} days old; after {} it counts as none",
                path.display(),
                super::node::REVOCATIONS_DAYS
            ),
            "restart the node, or run `como-node keys renew`",
        )),
        left => Ok(format!("{}, {left} more days", path.display())),
    }
}

fn registry(config: &Config) -> Found {
    let registry = Registry::load(&config.layout()).map_err(ours)?;
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    Ok([
        count(registry.partners.len(), "partner"),
        count(registry.developers.len(), "developer"),
        count(registry.endorsements.len(), "endorsement"),
    ]
    .join(", "))
}

fn private(path: &Path) -> Result<(), Finding> {
    let mode = match path.metadata() {
        Ok(metadata) => metadata.mode() & 0o777,
        Err(why) => {
            let fix = "restore it from a copy, or make a new node with `como-node init`";
            let missing = finding(State::Error, format!("{}: {why}", path.display()), fix);
            return Err(Finding {
                what: "permissions",
                ..missing
            });
        }
    };
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let safe = if path.is_dir() { "700" } else { "600" };
    let open = finding(
        State::Error,
        format!("{} is open to other users (mode {mode:04o})", path.display()),
        format!("run: chmod {safe} {}", path.display()),
    );
    Err(Finding {
        what: "permissions",
        ..open
    })
}

fn folders(config: &Config) -> Found {
    let layout = config.layout();
    match layout.folders().into_iter().find(|folder| !folder.is_dir()) {
        None => Ok(layout.root().display().to_string()),
        Some(folder) => Err(finding(
            State::Error,
            format!("{} is missing", folder.display()),
            format!("run: mkdir -m 700 {}", folder.display()),
        )),
    }
}

fn audit(config: &Config) -> Found {
    // A passphrase was asked for once already; without the key the chain itself is still checked.
    let report = como_keys::audit::verify(&config.layout().audit_log(), &node_keys(config)).map_err(ours)?;
    Ok(format!("{} lines, {} signed heads", report.lines, report.heads))
}

fn node_keys(config: &Config) -> Vec<como_keys::signing::VerifyingKey> {
    match config.keys.root {
        crate::config::Root::Passphrase => Vec::new(),
        _ => root_secret(config)
            .ok()
            .and_then(|root| Keyring::load(&config.layout().keyring(), &root).ok())
            .map_or_else(Vec::new, |keyring| keyring.node_keys()),
    }
}

fn disk(config: &Config) -> Found {
    let root = &config.node.data_dir;
    let space = rustix::fs::statvfs(root).map_err(|why| {
        finding(
            State::Error,
            format!("{}: {why}", root.display()),
            "check the file system",
        )
    })?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let layout = config.layout();
    let used: u64 = [layout.segments(), layout.records(), layout.results()]
        .iter()
        .map(|folder| bytes_in(folder))
        .sum();
    let wanted = config.trace.ring_bytes + config.records.ring_bytes + config.query.limits.result_bytes;
    let (free_text, wanted_text) = (gib(free + used), gib(wanted));
    if free + used < wanted {
        return Err(finding(
            State::Warn,
            format!("{free_text} GiB for {wanted_text} GiB of trace, records and results"),
            format!(
                "make room, or lower ring_bytes in [trace] (now {}), or set keep_free_bytes: the oldest go then",
                Bytes(config.trace.ring_bytes)
            ),
        ));
    }
    Ok(format!("{free_text} GiB for {wanted_text} GiB"))
}

fn gib(bytes: u64) -> u64 {
    bytes >> 30
}

fn bytes_in(folder: &Path) -> u64 {
    std::fs::read_dir(folder).map_or(0, |entries| {
        entries
            .filter_map(|entry| entry.ok()?.metadata().ok())
            .map(|metadata| metadata.len())
            .sum()
    })
}

fn users(config: &Config) -> Found {
    let plan = UidPlan::new(config.sandbox.uid_base);
    // The folder itself is given to storage at start; those above it must let its user pass.
    if let Some(closed) = plan.impassable(&config.layout().trace()) {
        return Err(finding(
            State::Error,
            format!("the roles' users cannot pass {}", closed.display()),
            format!(
                "run: chmod o+x {}, or set uid_base = 0 in [sandbox]",
                closed.display()
            ),
        ));
    }
    Ok(match plan.ids(crate::process::Role::Capture) {
        Some(ids) => format!("roles run as users {} and up", ids.uid),
        None => "roles run as this user".to_owned(),
    })
}

fn port(config: &Config) -> Found {
    let listen = config.query.listen;
    if running_supervisor(&config.layout()).is_some() {
        return Ok(format!("{listen}, in use by this node, which runs"));
    }
    match std::net::TcpListener::bind(listen) {
        Ok(_) => Ok(format!("{listen} is free")),
        Err(why) => Err(finding(
            State::Error,
            format!("{listen} cannot be listened on: {why}"),
            "stop what uses it (`ss -ltnp` shows it), or correct `listen` in [query]",
        )),
    }
}
