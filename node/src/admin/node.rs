//! An existing node, opened for administration: configuration, keys, authority.

use std::path::Path;

use como_keys::keyring::Keyring;
use como_keys::pki::TrialCa;
use como_keys::root::RootSecret;

use super::events::{self, AdminEvent, now_ns};
use super::{AdminError, root_secret};
use crate::config::{Config, Layout};
use crate::registry::{Registry, replace};

/// Validity of partners' certificates, days.
pub(super) const CLIENT_CERTIFICATE_DAYS: u32 = 365;
/// Validity of the server's certificate, days.
pub(super) const SERVER_CERTIFICATE_DAYS: u32 = 365;
/// Validity of a revocation list, days: a list that is older counts as none, and nobody is let in.
pub(super) const REVOCATIONS_DAYS: u64 = 90;
const DAY_NS: u64 = 86_400_000_000_000;

/// A node whose files a command may change.
pub struct AdminNode {
    /// Its configuration.
    pub config: Config,
    /// Its registry.
    pub registry: Registry,
    /// Where its files are.
    pub layout: Layout,
    /// What opens its key file.
    pub root: RootSecret,
    /// Its keys.
    pub keyring: Keyring,
}

impl AdminNode {
    /// Opens the node of a folder or configuration file.
    pub fn open(path: &Path) -> Result<Self, AdminError> {
        let config = Config::load(path)?;
        let layout = config.layout();
        let root = root_secret(&config)?;
        Ok(Self {
            keyring: Keyring::load(&layout.keyring(), &root)?,
            registry: Registry::load(&layout)?,
            config,
            layout,
            root,
        })
    }

    /// The trial authority; a node whose certificates come from elsewhere has none.
    pub(super) fn authority(&self) -> Result<TrialCa, AdminError> {
        authority(&self.layout)
    }

    pub(super) fn record(&self, event: AdminEvent) -> Result<(), AdminError> {
        events::record(&self.layout, &self.keyring.node_signing, &event)
    }
}

pub(super) fn authority(layout: &Layout) -> Result<TrialCa, AdminError> {
    let key = como_keys::files::read_secret(&layout.ca_key())?;
    let key = std::str::from_utf8(&key).map_err(|_| {
        AdminError::refused(
            format!("{} is not a PEM file", layout.ca_key().display()),
            "restore it from a copy",
        )
    })?;
    let certificate = crate::registry::read_bounded(&layout.ca_certificate())?;
    Ok(TrialCa::from_pem(&certificate, key)?)
}

/// Writes the authority's revocation list anew: the certificates of all who were revoked, and those that were replaced. Also for the
/// supervisor, at every start: the list is valid for 90 days.
pub fn renew_revocations(layout: &Layout, registry: &Registry) -> Result<(), AdminError> {
    let partners = registry
        .partners
        .values()
        .filter(|p| p.revoked)
        .map(|p| &p.certificate_serials);
    let developers = registry
        .developers
        .values()
        .filter(|d| d.revoked)
        .map(|d| &d.certificate_serials);
    let replaced = registry.partners.values().map(|p| &p.revoked_serials);
    let replaced = replaced.chain(registry.developers.values().map(|d| &d.revoked_serials));
    let serials: Vec<Vec<u8>> = partners
        .chain(developers)
        .chain(replaced)
        .flatten()
        .filter_map(|serial| hex::decode(serial).ok())
        .collect();
    let now = now_ns();
    // The time as number: it grows, whatever becomes of earlier lists.
    let list = authority(layout)?.crl(&serials, now, now + REVOCATIONS_DAYS * DAY_NS)?;
    let path = layout.ca_revocations();
    replace(&path, list.as_bytes()).map_err(AdminError::file(&path))
}
