//! Writes entries of the registry: a new file beside, renamed over, so that a reader never sees half.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::entries::{Authority, Developer, Endorsement, Partner, RegistryName};
use super::load::{AUTHORITIES, DEVELOPERS, ENDORSEMENTS, PARTNERS, RegistryError, entry_path};
use crate::config::Layout;

/// Writes a partner.
pub fn save_partner(layout: &Layout, name: &RegistryName, partner: &Partner) -> Result<(), RegistryError> {
    save(layout, PARTNERS, name, partner, partner.check())
}

/// Writes a developer.
pub fn save_developer(
    layout: &Layout,
    name: &RegistryName,
    developer: &Developer,
) -> Result<(), RegistryError> {
    save(layout, DEVELOPERS, name, developer, developer.check())
}

/// Writes an endorsement.
pub fn save_endorsement(
    layout: &Layout,
    name: &RegistryName,
    endorsement: &Endorsement,
) -> Result<(), RegistryError> {
    save(layout, ENDORSEMENTS, name, endorsement, endorsement.check())
}

/// Removes an endorsement.
pub fn remove_endorsement(layout: &Layout, name: &RegistryName) -> Result<(), RegistryError> {
    let path = entry_path(layout, ENDORSEMENTS, name.as_ref());
    std::fs::remove_file(&path).map_err(|why| RegistryError::File { path, why })
}

/// Writes an authority.
pub fn save_authority(
    layout: &Layout,
    name: &RegistryName,
    authority: &Authority,
) -> Result<(), RegistryError> {
    save(layout, AUTHORITIES, name, authority, authority.check())
}

fn save(
    layout: &Layout,
    folder: &str,
    name: &RegistryName,
    entry: &impl serde::Serialize,
    check: Result<(), (String, String)>,
) -> Result<(), RegistryError> {
    let path = entry_path(layout, folder, name.as_ref());
    check.map_err(|(what, fix)| RegistryError::Invalid {
        path: path.clone(),
        what,
        fix,
    })?;
    let text = toml::to_string(entry).expect("an entry is plain data");
    replace(&path, text.as_bytes()).map_err(|why| RegistryError::File { path, why })
}

/// Replaces a file at once. The file beside it is this process's own: an operator's command may write while the node does.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    // The parent of a bare name is the empty path, which cannot be opened.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
