//! The sections of the configuration: their values, defaults and ranges. Must refuse what cannot work,
//! at the place where it stands in the file.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use como_keys::signing::VerifyingKey;
use como_policies::{AccessLevel, SystemMode};
use serde::Deserialize;
use toml::Spanned;

use super::diagnose::{ConfigError, Located, Where};
use super::metrics::{self, WrittenMetrics};
use super::{Bytes, Config, Span, SpiffeId};
use crate::process::SandboxMode;

/// `[node]`: who this node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its SPIFFE id; its domain is the consortium.
    pub name: SpiffeId,
    /// The kind of system: which shipped policy set applies.
    pub mode: SystemMode,
    /// Where everything of it lies.
    pub data_dir: PathBuf,
}

/// `[source]`: where packets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A network interface.
    Live {
        /// Its name.
        interface: String,
        /// The operator's own libpcap filter; empty: everything.
        filter: String,
        /// Bytes kept of a packet.
        snaplen: u32,
        /// The kernel's ring.
        buffer_bytes: u64,
        /// Also packets that are not for this machine.
        promiscuous: bool,
        /// Threads that anonymize and seal; 0: one per core.
        workers: u16,
    },
    /// A pcap or pcapng file.
    File {
        /// The file.
        path: PathBuf,
        /// As recorded; else as fast as possible.
        paced: bool,
        /// Threads that anonymize and seal; 0: one per core.
        workers: u16,
    },
}

/// `[trace]`: the always-on record of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The highest level that can ever be read from it: sections above are dropped in capture.
    pub retain: AccessLevel,
    /// Disk for it; the oldest segment goes first.
    pub ring_bytes: u64,
    /// How long a segment is kept, wall time; `None`: as long as there is room.
    pub max_age: Option<std::time::Duration>,
    /// Free space that the disk keeps, whoever uses the rest.
    pub keep_free_bytes: u64,
    /// Size at which a segment is closed.
    pub segment_bytes: u64,
    /// Sealed blocks that wait while storage is away (a live source drops beyond it).
    pub queue_bytes: u64,
}

/// `[networks]`: whom addresses belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks {
    /// A routing table; `None`: AS numbers are not told.
    pub as_table: Option<PathBuf>,
    /// Addresses that a system announces at least, to be named.
    pub as_min_addresses: u64,
}

/// `[records]`: results of live modules.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Records {
    /// Disk for them; the oldest go first.
    #[serde(deserialize_with = "bytes")]
    pub ring_bytes: u64,
    /// How long a file of them is kept after it ended, wall time; `None`: as long as there is room.
    #[serde(deserialize_with = "span")]
    pub max_age: Option<std::time::Duration>,
}

/// `[query]`: how partners are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// `https://host:port` that partners are told.
    pub url: String,
    /// How long a finished dataset can be fetched.
    pub result_ttl: std::time::Duration,
    /// Bounds on what partners ask.
    pub limits: Limits,
}

/// `[query.limits]`: bounds on what partners ask, all of them together.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Queries that run at once: a reader and a runner process each.
    pub running: u32,
    /// Queries that wait for one of those.
    pub waiting: u32,
    /// Queries of one partner, running and waiting.
    pub per_partner: u32,
    /// Disk for datasets that wait to be fetched.
    #[serde(deserialize_with = "bytes")]
    pub result_bytes: u64,
}

/// `[modules]`: which modules may run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Modules {
    /// Names that may be installed; empty: all that policy lets in.
    pub allow: Vec<String>,
    /// Most installed modules.
    pub max_installed: u32,
    /// Most modules that compute live.
    pub max_live: u32,
    /// Whose revocation lists count beside the node's own: Ed25519 public keys, 64 hex digits.
    pub revocation_keys: Vec<String>,
    /// Live modules see one packet in so many, with that weight.
    pub sample: u32,
    /// Under load, down to one in so many, before views are shed whole.
    pub sample_at_most: u32,
}

impl Modules {
    /// Whose revocation lists count: the node's own, and those that are named.
    pub fn revocation_issuers(&self, own: VerifyingKey) -> Vec<VerifyingKey> {
        let named = self.revocation_keys.iter();
        let named = named.filter_map(|hex| VerifyingKey::from_hex(hex).ok());
        std::iter::once(own).chain(named).collect()
    }

    /// Whether a module of this name may be installed.
    pub fn allows(&self, name: &str) -> bool {
        self.allow.is_empty() || self.allow.iter().any(|allowed| allowed == name)
    }
}

/// `[policy]`: the policy set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A complete policy set in Cedar; `None`: the one that is shipped for the mode.
    pub file: Option<PathBuf>,
}

/// `[sandbox]`: how roles are confined.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sandbox {
    /// Whether a missing restriction stops a role.
    pub mode: SandboxMode,
    /// First of the user ids that roles get where the node is started as root; 0: they keep root's.
    pub uid_base: u32,
}

/// `[keys]`: what opens the key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Where the root secret comes from.
    pub root: Root,
}

/// Where the root secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// A file of mode 0600.
    File(PathBuf),
    /// A systemd credential of this name.
    Credential(String),
    /// A person types it at every start.
    Passphrase,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            ring_bytes: 4 << 30,
            max_age: None,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            running: 2,
            waiting: 32,
            per_partner: 4,
            result_bytes: 8 << 30,
        }
    }
}

impl Default for Modules {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            max_installed: 64,
            max_live: 16,
            revocation_keys: Vec::new(),
            sample: 1,
            sample_at_most: 1,
        }
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self {
            mode: SandboxMode::Strict,
            uid_base: 64_700,
        }
    }
}

// ---------------------------------------------------------------- as written

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    node: WrittenNode,
    source: Spanned<WrittenSource>,
    #[serde(default)]
    trace: WrittenTrace,
    #[serde(default)]
    networks: WrittenNetworks,
    #[serde(default)]
    records: Records,
    #[serde(default)]
    query: WrittenQuery,
    #[serde(default)]
    modules: Modules,
    #[serde(default)]
    metrics: WrittenMetrics,
    #[serde(default)]
    policy: WrittenPolicy,
    #[serde(default)]
    sandbox: Sandbox,
    #[serde(default)]
    keys: WrittenKeys,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenNode {
    name: SpiffeId,
    #[serde(default = "restricted")]
    mode: SystemMode,
    data_dir: Option<Spanned<PathBuf>>,
}

fn restricted() -> SystemMode {
    SystemMode::Restricted
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSource {
    kind: Spanned<Kind>,
    interface: Option<Spanned<String>>,
    filter: Option<Spanned<String>>,
    snaplen: Option<Spanned<u32>>,
    buffer_bytes: Option<Spanned<Bytes>>,
    promiscuous: Option<Spanned<bool>>,
    path: Option<Spanned<PathBuf>>,
    paced: Option<Spanned<bool>>,
    workers: Option<Spanned<u16>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Live,
    File,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WrittenTrace {
    retain: Option<Spanned<AccessLevel>>,
    ring_bytes: Option<Spanned<Bytes>>,
    max_age: Option<Spanned<Span>>,
    keep_free_bytes: Option<Spanned<Bytes>>,
    segment_bytes: Option<Spanned<Bytes>>,
    queue_bytes: Option<Spanned<Bytes>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WrittenNetworks {
    as_table: Option<Spanned<PathBuf>>,
    as_min_addresses: Option<Spanned<u64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WrittenQuery {
    listen: Option<Spanned<String>>,
    url: Option<Spanned<String>>,
    result_ttl: Option<Spanned<Span>>,
    #[serde(default)]
    limits: Limits,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WrittenPolicy {
    file: Option<Spanned<PathBuf>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WrittenKeys {
    root: Option<Spanned<WrittenRoot>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRoot {
    file: Option<PathBuf>,
    credential: Option<String>,
    passphrase: Option<bool>,
}

fn span<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<std::time::Duration>, D::Error> {
    Span::deserialize(deserializer).map(|span| Some(span.0))
}

fn bytes<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Bytes::deserialize(deserializer).map(|bytes| bytes.0)
}

// ---------------------------------------------------------------- checks

/// Smallest and largest number of bytes kept of a packet (libpcap's own maximum).
const SNAPLEN: Range<u32> = 64..262_145;
/// Smallest ring of the kernel for a live source.
const MIN_BUFFER_BYTES: u64 = 1 << 20;
/// Largest ring of the kernel for a live source: libpcap takes an `int`.
const MAX_BUFFER_BYTES: u64 = i32::MAX as u64;
/// Smallest segment.
const MIN_SEGMENT_BYTES: u64 = 1 << 20;
/// Segments that a ring must at least hold, so that there is always one to expire.
const MIN_SEGMENTS: u64 = 4;
/// Smallest queue in front of storage: some blocks.
const MIN_QUEUE_BYTES: u64 = 16 << 20;
/// Shortest life of a segment and of records: less would be a trace of nothing.
const MIN_MAX_AGE: std::time::Duration = std::time::Duration::from_secs(60);
/// Fewest addresses of a system that is named: below, its number tells a network, or a host.
const MIN_AS_ADDRESSES: u64 = 256;
/// Smallest ring of records.
const MIN_RECORDS_BYTES: u64 = 16 << 20;
/// Longest life of a result: it is a copy of data that the trace may have forgotten.
const MAX_RESULT_TTL: std::time::Duration = std::time::Duration::from_secs(90 * 86_400);
/// Shortest life of a result: a partner must be able to fetch it.
const MIN_RESULT_TTL: std::time::Duration = std::time::Duration::from_secs(60);
/// Most queries that run at once: two processes each.
const MAX_RUNNING: u32 = 64;
/// Most queries that wait.
const MAX_WAITING: u32 = 10_000;
/// Fewest packets that live modules can be shown: one in so many.
const MAX_SAMPLE: u32 = 65_536;
/// Longest interface name, bytes (IFNAMSIZ without its end).
const MAX_INTERFACE_BYTES: usize = 15;
/// User ids below are the distribution's.
const MIN_UID_BASE: u32 = 1000;

pub(super) fn parse(file: &Path, text: &str) -> Result<Config, ConfigError> {
    let located = Located { file, text };
    let written: Written = toml::from_str(text).map_err(|e| located.of_toml(&e))?;
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let check = Check {
        located,
        folder: absolute.parent().unwrap_or(Path::new("/")),
    };
    let node = check.node(written.node)?;
    let keys = check.keys(written.keys, &node.data_dir)?;
    Ok(Config {
        source: check.source(written.source)?,
        trace: check.trace(written.trace)?,
        networks: check.networks(written.networks)?,
        records: check.records(written.records)?,
        metrics: metrics::check(&check.located, written.metrics)?,
        query: check.query(written.query)?,
        modules: check.modules(written.modules)?,
        policy: check.policy(written.policy)?,
        sandbox: check.sandbox(written.sandbox)?,
        file: absolute.clone(),
        node,
        keys,
    })
}

struct Check<'a> {
    located: Located<'a>,
    folder: &'a Path,
}

type Checked<T> = Result<T, ConfigError>;

impl Check<'_> {
    fn wrong<T>(&self, at: impl Where, what: impl Into<String>, fix: impl Into<String>) -> Checked<T> {
        Err(self.located.error(at.range(), what.into(), fix.into()))
    }

    fn node(&self, written: WrittenNode) -> Checked<Node> {
        let data_dir = match &written.data_dir {
            None => self.folder.to_owned(),
            Some(path) => self.folder.join(path.get_ref()),
        };
        if let Some(path) = &written.data_dir
            && !data_dir.is_dir()
        {
            return self.wrong(
                path,
                format!("{} is not a folder", data_dir.display()),
                "make it, or run `como-node init` for a new node",
            );
        }
        Ok(Node {
            name: written.name,
            mode: written.mode,
            data_dir,
        })
    }

    fn source(&self, written: Spanned<WrittenSource>) -> Checked<Source> {
        let section = written.span();
        let source = written.into_inner();
        let kind = *source.kind.get_ref();
        let foreign = [
            (
                source.interface.as_ref().map(Spanned::span),
                "interface",
                Kind::Live,
            ),
            (source.filter.as_ref().map(Spanned::span), "filter", Kind::Live),
            (source.snaplen.as_ref().map(Spanned::span), "snaplen", Kind::Live),
            (
                source.buffer_bytes.as_ref().map(Spanned::span),
                "buffer_bytes",
                Kind::Live,
            ),
            (
                source.promiscuous.as_ref().map(Spanned::span),
                "promiscuous",
                Kind::Live,
            ),
            (source.path.as_ref().map(Spanned::span), "path", Kind::File),
            (source.paced.as_ref().map(Spanned::span), "paced", Kind::File),
        ];
        for (span, key, of) in foreign {
            if let Some(span) = span.filter(|_| of != kind) {
                let (this, other) = if kind == Kind::Live {
                    ("live", "file")
                } else {
                    ("file", "live")
                };
                return self.wrong(
                    span,
                    format!("`{key}` means nothing for a {this} source"),
                    format!("remove it, or write kind = \"{other}\""),
                );
            }
        }
        let workers = source.workers.map_or(0, Spanned::into_inner);
        match kind {
            Kind::File => {
                let Some(path) = source.path else {
                    return self.wrong(
                        section,
                        "a file source needs a `path`",
                        "add path = \"capture.pcap\"",
                    );
                };
                let file = self.folder.join(path.get_ref());
                if !file.is_file() {
                    return self.wrong(
                        &path,
                        format!("{} is not a file", file.display()),
                        "name a pcap or pcapng file; relative paths count from the folder of this configuration",
                    );
                }
                Ok(Source::File {
                    path: file,
                    paced: source.paced.is_some_and(Spanned::into_inner),
                    workers,
                })
            }
            Kind::Live => {
                let Some(interface) = source.interface else {
                    return self.wrong(
                        section,
                        "a live source needs an `interface`",
                        "add interface = \"eth0\"",
                    );
                };
                let name = interface.get_ref();
                if name.is_empty() || name.len() > MAX_INTERFACE_BYTES || name.contains(['/', ' ', '\0']) {
                    return self.wrong(
                        &interface,
                        format!("`{}` is not the name of an interface", name.escape_debug()),
                        "`ip link` lists them",
                    );
                }
                let snaplen = match source.snaplen {
                    Some(bytes) if !SNAPLEN.contains(bytes.get_ref()) => {
                        return self.wrong(
                            &bytes,
                            format!(
                                "snaplen is {}, outside {} to {}",
                                bytes.get_ref(),
                                SNAPLEN.start,
                                SNAPLEN.end - 1
                            ),
                            "262144 keeps every packet whole",
                        );
                    }
                    Some(bytes) => bytes.into_inner(),
                    None => SNAPLEN.end - 1,
                };
                Ok(Source::Live {
                    interface: interface.into_inner(),
                    filter: source.filter.map_or_else(String::new, Spanned::into_inner),
                    snaplen,
                    buffer_bytes: self.size(
                        source.buffer_bytes,
                        64 << 20,
                        MIN_BUFFER_BYTES,
                        Some(MAX_BUFFER_BYTES),
                    )?,
                    promiscuous: source.promiscuous.is_none_or(Spanned::into_inner),
                    workers,
                })
            }
        }
    }

    fn trace(&self, written: WrittenTrace) -> Checked<Trace> {
        let retain = match written.retain {
            Some(level) if *level.get_ref() < AccessLevel::Anonymized => {
                return self.wrong(
                    &level,
                    format!("a trace cannot be kept at `{}`", level.get_ref()),
                    "write anonymized, headers or payload; lower levels are computed from it",
                );
            }
            Some(level) => level.into_inner(),
            None => AccessLevel::Headers,
        };
        let segment_bytes = self.size(written.segment_bytes, 256 << 20, MIN_SEGMENT_BYTES, None)?;
        let ring_bytes = match written.ring_bytes {
            Some(ring) if ring.get_ref().0 / MIN_SEGMENTS < segment_bytes => {
                return self.wrong(
                    &ring,
                    format!(
                        "a ring of {} holds fewer than {MIN_SEGMENTS} segments",
                        ring.get_ref()
                    ),
                    format!(
                        "write at least {}, or a smaller segment_bytes",
                        Bytes(segment_bytes.saturating_mul(MIN_SEGMENTS))
                    ),
                );
            }
            Some(ring) => ring.into_inner().0,
            None => (32u64 << 30).max(segment_bytes.saturating_mul(MIN_SEGMENTS)),
        };
        let max_age = match written.max_age {
            Some(age) if age.get_ref().0 < MIN_MAX_AGE => {
                return self.wrong(
                    &age,
                    format!("{} is too short a life for a segment", age.get_ref()),
                    "write at least 1 min, or leave the line out to keep what there is room for",
                );
            }
            age => age.map(|age| age.into_inner().0),
        };
        Ok(Trace {
            retain,
            ring_bytes,
            max_age,
            keep_free_bytes: self.size(written.keep_free_bytes, 0, 0, None)?,
            segment_bytes,
            queue_bytes: self.size(written.queue_bytes, 256 << 20, MIN_QUEUE_BYTES, None)?,
        })
    }

    fn networks(&self, written: WrittenNetworks) -> Checked<Networks> {
        let as_table = written
            .as_table
            .as_ref()
            .map(|path| self.folder.join(path.get_ref()));
        if let (Some(written), Some(path)) = (&written.as_table, &as_table)
            && !path.is_file()
        {
            return self.wrong(
                written,
                format!("{} is not a file", path.display()),
                "name a RIB dump (MRT) or a pfx2as table, or leave the line out",
            );
        }
        let as_min_addresses = match written.as_min_addresses {
            Some(least) if *least.get_ref() < MIN_AS_ADDRESSES => {
                return self.wrong(
                    &least,
                    format!(
                        "with {} addresses a system would name single networks",
                        least.get_ref()
                    ),
                    format!("write at least {MIN_AS_ADDRESSES}"),
                );
            }
            Some(least) => least.into_inner(),
            None => como_anonymize::networks::MIN_ADDRESSES,
        };
        Ok(Networks {
            as_table,
            as_min_addresses,
        })
    }

    fn size(
        &self,
        written: Option<Spanned<Bytes>>,
        default: u64,
        min: u64,
        max: Option<u64>,
    ) -> Checked<u64> {
        let Some(size) = written else { return Ok(default) };
        let bytes = size.get_ref().0;
        if bytes < min {
            return self.wrong(
                &size,
                format!("{} is too small", size.get_ref()),
                format!("write at least {}", Bytes(min)),
            );
        }
        if let Some(max) = max.filter(|max| bytes > *max) {
            return self.wrong(
                &size,
                format!("{} is too large", size.get_ref()),
                format!("write at most {max} bytes"),
            );
        }
        Ok(bytes)
    }

    fn records(&self, written: Records) -> Checked<Records> {
        if written.ring_bytes < MIN_RECORDS_BYTES {
            return self.wrong(
                self.located.key("records", "ring_bytes"),
                "the ring of records is too small",
                format!("write at least {}", Bytes(MIN_RECORDS_BYTES)),
            );
        }
        if written.max_age.is_some_and(|age| age < MIN_MAX_AGE) {
            return self.wrong(
                self.located.key("records", "max_age"),
                "that is too short a life for records",
                "write at least 1 min, or leave the line out to keep what there is room for",
            );
        }
        Ok(written)
    }

    fn query(&self, written: WrittenQuery) -> Checked<Query> {
        let listen: SocketAddr = match &written.listen {
            None => SocketAddr::from(([127, 0, 0, 1], 8443)),
            Some(text) => match text.get_ref().parse() {
                Ok(listen) => listen,
                Err(_) => {
                    return self.wrong(
                        text,
                        format!(
                            "`{}` is not an address with a port",
                            text.get_ref().escape_debug()
                        ),
                        "write an IP address and a port, as in \"0.0.0.0:8443\" or \"[::]:8443\"",
                    );
                }
            },
        };
        let url = match &written.url {
            None => format!("https://{listen}"),
            Some(url) if is_https(url.get_ref()) => url.get_ref().clone(),
            Some(url) => {
                return self.wrong(
                    url,
                    format!("`{}` is not the address of a node", url.get_ref().escape_debug()),
                    "it looks like https://node.example.org:8443",
                );
            }
        };
        let result_ttl = match written.result_ttl {
            None => std::time::Duration::from_secs(86_400),
            Some(ttl) if !(MIN_RESULT_TTL..=MAX_RESULT_TTL).contains(&ttl.get_ref().0) => {
                return self.wrong(
                    &ttl,
                    format!("{} is outside 1 min to 90 d", ttl.get_ref()),
                    "\"24 h\" gives partners a day to fetch a dataset",
                );
            }
            Some(ttl) => ttl.into_inner().0,
        };
        let limits = self.limits(written.limits)?;
        Ok(Query {
            listen,
            url,
            result_ttl,
            limits,
        })
    }

    fn limits(&self, written: Limits) -> Checked<Limits> {
        let limits = &written;
        let checks = [
            ("running", limits.running, MAX_RUNNING),
            ("waiting", limits.waiting, MAX_WAITING),
            ("per_partner", limits.per_partner, MAX_WAITING),
        ];
        for (key, value, max) in checks {
            if !(1..=max).contains(&value) {
                return self.wrong(
                    self.located.key("query.limits", key),
                    format!("{key} is {value}, outside 1 to {max}"),
                    "leave the line out to have the default",
                );
            }
        }
        Ok(written)
    }

    fn modules(&self, written: Modules) -> Checked<Modules> {
        if written.max_live > written.max_installed {
            return self.wrong(
                self.located.key("modules", "max_live"),
                "more modules may be live than installed",
                "write max_live no larger than max_installed",
            );
        }
        let bad = |key: &String| VerifyingKey::from_hex(key).is_err();
        if written.revocation_keys.iter().any(bad) {
            return self.wrong(
                self.located.key("modules", "revocation_keys"),
                "one of these is not an Ed25519 public key",
                "write 64 hex digits for each issuer of revocation lists",
            );
        }
        let rates = [
            ("sample", written.sample),
            ("sample_at_most", written.sample_at_most),
        ];
        for (key, one_in) in rates {
            if !(1..=MAX_SAMPLE).contains(&one_in) {
                return self.wrong(
                    self.located.key("modules", key),
                    format!("{key} is {one_in}, outside 1 to {MAX_SAMPLE}"),
                    "1 shows live modules every packet, 10 one in ten",
                );
            }
        }
        Ok(written)
    }

    fn policy(&self, written: WrittenPolicy) -> Checked<Policy> {
        let file = match written.file {
            None => None,
            Some(path) => {
                let file = self.folder.join(path.get_ref());
                if !file.is_file() {
                    return self.wrong(
                        &path,
                        format!("{} is not a file", file.display()),
                        "name a complete policy set in Cedar, or leave the line out to have the shipped one",
                    );
                }
                Some(file)
            }
        };
        Ok(Policy { file })
    }

    fn sandbox(&self, written: Sandbox) -> Checked<Sandbox> {
        let base = written.uid_base;
        let last = base.checked_add(crate::process::UIDS_PER_NODE);
        // -1 and the kernel's overflow id are nobody's to take.
        let taken = |id: u32| id == 65_534;
        if base != 0 && (base < MIN_UID_BASE || last.is_none() || (base..last.unwrap_or(base)).any(taken)) {
            return self.wrong(
                self.located.key("sandbox", "uid_base"),
                format!("uid_base {base} is not free for the roles"),
                "write a number above 1000 that nobody uses, as 64700, or 0 to run all roles as one user",
            );
        }
        Ok(written)
    }

    fn keys(&self, written: WrittenKeys, data_dir: &Path) -> Checked<Keys> {
        let Some(root) = written.root else {
            let file = super::Layout::new(data_dir).root_key();
            return Ok(Keys {
                root: Root::File(file),
            });
        };
        let span = root.span();
        let root = match root.into_inner() {
            WrittenRoot {
                file: Some(file),
                credential: None,
                passphrase: None,
            } => Root::File(self.folder.join(file)),
            WrittenRoot {
                file: None,
                credential: Some(name),
                passphrase: None,
            } if !name.is_empty() && !name.contains(['/', '\0']) => Root::Credential(name),
            WrittenRoot {
                file: None,
                credential: None,
                passphrase: Some(true),
            } => Root::Passphrase,
            _ => {
                return self.wrong(
                    span,
                    "the root secret comes from one place",
                    "write one of { file = \"keys/root.key\" }, { credential = \"como-root\" } and { passphrase = true }",
                );
            }
        };
        Ok(Keys { root })
    }
}

fn is_https(url: &str) -> bool {
    url.strip_prefix("https://").is_some_and(|authority| {
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "443"));
        let host_ok = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        !host.is_empty() && host.chars().all(host_ok) && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}
