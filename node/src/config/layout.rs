//! The names of everything in a node's data folder. Owns no file; must be the only place that spells
//! these names.

use std::path::{Path, PathBuf};

/// The data folder.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

macro_rules! names {
    ($($(#[$doc:meta])+ $method:ident = $name:literal;)+) => {
        impl Layout {
            $($(#[$doc])+ pub fn $method(&self) -> PathBuf { self.root.join($name) })+
        }
    };
}

names! {
    /// Keys and certificates; mode 0700.
    keys = "keys";
    /// The key file, sealed under the root secret.
    keyring = "keys/keyring";
    /// The root secret, where the configuration keeps it in a file (its default place).
    root_key = "keys/root.key";
    /// The trial authority's certificate.
    ca_certificate = "keys/ca.pem";
    /// The trial authority's private key.
    ca_key = "keys/ca.key";
    /// The trial authority's revocation list.
    ca_revocations = "keys/ca.crl";
    /// The server's certificate.
    server_certificate = "keys/server.pem";
    /// The server's private key.
    server_key = "keys/server.key";
    /// Who is known: partners, developers, endorsements, other authorities.
    registry = "registry";
    /// Installed modules (.cmod files).
    modules = "modules";
    /// The trace and its manifest; belongs to storage.
    trace = "trace";
    /// The trace's segments; belongs to storage.
    segments = "trace/segments";
    /// Records of live modules; belongs to storage.
    records = "trace/records";
    /// Sealed datasets, until they expire.
    results = "results";
    /// What the supervisor remembers of queries and segments.
    state = "state";
    /// Orders of administration commands that a running supervisor has not yet carried out.
    orders = "state/orders";
    /// Which capture files were imported.
    imports = "state/imports";
    /// Nonces of requests that were taken and could still be sent again.
    nonces = "state/nonces";
    /// The highest numbers of revocation lists that were in force.
    revocation_numbers = "state/revocations.json";
    /// The audit log.
    audit_log = "audit.log";
    /// Events of administration commands that a running supervisor has not yet put into the audit log.
    events = "state/events";
    /// Run-time files.
    run = "run";
    /// The running supervisor's process id.
    pid_file = "run/supervisor.pid";
    /// What commands that read the trace must know of capture; there only while it is under pressure.
    pressure = "run/pressure";
}

impl Layout {
    /// The layout under a data folder.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The data folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All folders that `init` makes, in order.
    pub fn folders(&self) -> Vec<PathBuf> {
        let registry = self.registry();
        let mut folders = vec![self.keys(), registry.clone()];
        folders.extend(crate::registry::FOLDERS.iter().map(|name| registry.join(name)));
        folders.extend([
            self.modules(),
            self.trace(),
            self.segments(),
            self.records(),
            self.results(),
            self.state(),
            self.events(),
            self.run(),
        ]);
        folders
    }
}
