//! `como-node init`: a new node in a folder of its own. Makes everything beside and moves it into place at
//! once; must never overwrite anything.

use std::fs::{self, DirBuilder};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use como_keys::files::write_secret;
use como_keys::keyring::Keyring;
use como_keys::pki::TrialCa;
use como_keys::root::RootSecret;
use como_policies::SystemMode;

use super::events::{AdminEvent, record};
use super::node::{SERVER_CERTIFICATE_DAYS, renew_revocations};
use super::{AdminError, secret};
use crate::config::{Config, FILE_NAME, Layout, Sandbox, SpiffeId, template};
use crate::process::UidPlan;
use crate::registry::Registry;

/// Where a new node takes packets from: `file:PATH` or `live:INTERFACE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewSource {
    /// A pcap or pcapng file.
    File(PathBuf),
    /// An interface.
    Live(String),
}

impl std::str::FromStr for NewSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("live", interface)) if !interface.is_empty() => Ok(Self::Live(interface.to_owned())),
            _ => Err(format!("`{text}` is neither file:PATH nor live:INTERFACE")),
        }
    }
}

/// What a new node is made of.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// Its SPIFFE id.
    pub name: SpiffeId,
    /// The kind of system.
    pub mode: SystemMode,
    /// Where packets come from.
    pub source: NewSource,
    /// Where it listens.
    pub listen: SocketAddr,
    /// What partners connect to; `None`: the address it listens on.
    pub url: Option<String>,
    /// Seal the key file with a passphrase that is asked for, instead of a key file.
    pub passphrase: bool,
}

/// Makes a node in `folder`, which must not exist or be empty. Returns what the operator should know.
pub fn init(folder: &Path, options: &InitOptions) -> Result<Vec<String>, AdminError> {
    let folder = std::path::absolute(folder).map_err(AdminError::file(folder))?;
    refuse_existing(&folder)?;
    let beside = folder.with_extension(format!("new-{}", std::process::id()));
    let made = make(&beside, &folder, options).and_then(|notes| {
        fs::rename(&beside, &folder).map_err(AdminError::file(&folder))?;
        Ok(notes)
    });
    if made.is_err() {
        // Nothing of a node that was not made stays, above all no keys.
        let _ = fs::remove_dir_all(&beside);
    }
    let notes = made?;
    Config::load(&folder)?;
    Ok(notes)
}

fn refuse_existing(folder: &Path) -> Result<(), AdminError> {
    let occupied = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => false,
        Err(why) => return Err(AdminError::file(folder)(why)),
    };
    if occupied {
        return Err(AdminError::refused(
            format!("{} is not empty", folder.display()),
            "name a new folder: keys that are overwritten open nothing ever again",
        ));
    }
    Ok(())
}

fn make(at: &Path, final_folder: &Path, options: &InitOptions) -> Result<Vec<String>, AdminError> {
    let mut notes = Vec::new();
    let layout = Layout::new(at);
    make_folders(at, &layout)?;
    let uid_base = choose_uid_base(at, final_folder, &mut notes);
    let config = at.join(FILE_NAME);
    fs::write(&config, configuration(options, uid_base)?).map_err(AdminError::file(&config))?;
    make_keys(&layout, options)?;
    Ok(notes)
}

fn make_folders(at: &Path, layout: &Layout) -> Result<(), AdminError> {
    let make = |folder: &Path, mode: u32| {
        DirBuilder::new()
            .recursive(true)
            .create(folder)
            .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(mode)))
            .map_err(AdminError::file(folder))
    };
    // Role users pass through it to what is theirs; they list nothing.
    make(at, 0o711)?;
    for folder in layout.folders() {
        make(&folder, 0o700)?;
    }
    Ok(())
}

/// Roles with users of their own must be able to reach their folders.
fn choose_uid_base(at: &Path, folder: &Path, notes: &mut Vec<String>) -> u32 {
    let base = Sandbox::default().uid_base;
    match UidPlan::new(base).impassable(at) {
        None => base,
        Some(closed) => {
            notes.push(format!(
                "All roles will run as root, without capabilities: other users cannot pass {}.\n\
                 For a user id per role, move {} to a place that they can pass, as /srv, and set uid_base in {FILE_NAME}.",
                closed.display(),
                folder.display()
            ));
            0
        }
    }
}

fn configuration(options: &InitOptions, uid_base: u32) -> Result<String, AdminError> {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let mut values = vec![
        ("node", "name", quoted(options.name.as_str())),
        ("node", "mode", quoted(options.mode.name())),
        ("query", "listen", quoted(&options.listen.to_string())),
        ("sandbox", "uid_base", uid_base.to_string()),
    ];
    if let Some(url) = &options.url {
        values.push(("query", "url", quoted(url)));
    }
    if options.passphrase {
        values.push(("keys", "root", "{ passphrase = true }".to_owned()));
    }
    match &options.source {
        NewSource::Live(interface) => {
            values.push(("source", "kind", quoted("live")));
            values.push(("source", "interface", quoted(interface)));
        }
        NewSource::File(path) => {
            let path = path.canonicalize().map_err(AdminError::file(path))?;
            let text = path.to_str().ok_or_else(|| {
                AdminError::refused(
                    format!("{} is not UTF-8", path.display()),
                    "rename the file: the configuration is a text",
                )
            })?;
            values.push(("source", "kind", quoted("file")));
            values.push(("source", "path", quoted(text)));
        }
    }
    Ok(template(&values))
}

fn make_keys(layout: &Layout, options: &InitOptions) -> Result<(), AdminError> {
    let root = if options.passphrase {
        secret::new_passphrase()?
    } else {
        RootSecret::create_key_file(&layout.root_key())?
    };
    let keyring = Keyring::create();
    keyring.save(&layout.keyring(), &root)?;
    let ca = TrialCa::create(options.name.domain())?;
    let names = server_names(options.listen, options.url.as_deref());
    let server = ca.issue_server(&names, options.name.as_str(), SERVER_CERTIFICATE_DAYS)?;
    write_secret(&layout.ca_key(), ca.key_pem().as_bytes())?;
    write_secret(&layout.server_key(), server.key_pem.as_bytes())?;
    for (path, text) in [
        (layout.ca_certificate(), ca.cert_pem()),
        (layout.server_certificate(), server.cert_pem.as_str()),
    ] {
        fs::write(&path, text).map_err(AdminError::file(&path))?;
    }
    renew_revocations(layout, &Registry::default())?;
    let detail = format!(
        "node key {}, mode {}, listens on {}",
        keyring.node_signing.verifying_key().hex(),
        options.mode,
        options.listen
    );
    let event = AdminEvent::new("init", "node", options.name.as_str(), detail);
    record(layout, &keyring.node_signing, &event)
}

/// Names under which the server may be reached: what is listened on, what partners are told, and the
/// machine itself.
pub(super) fn server_names(listen: SocketAddr, url: Option<&str>) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let ip = listen.ip();
    if !ip.is_unspecified() {
        names.push(ip.to_string());
    }
    let told = url.and_then(|url| url.strip_prefix("https://"));
    names.extend(told.map(|authority| host(authority).to_owned()));
    names.extend(fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()));
    // A host may be called anything; a certificate takes names and addresses only.
    let nameable = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    names.retain(|name| name.parse::<IpAddr>().is_ok() || (!name.is_empty() && name.chars().all(nameable)));
    names.sort();
    names.dedup();
    names
}

fn host(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    authority.split(':').next().unwrap_or(authority)
}
