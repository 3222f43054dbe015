//! `revocations show|add|install`: which modules and developers' keys run here no more, by the node's own list or by
//! that of an issuer whom the configuration names.

use std::path::Path;

use como_keys::signing::{KeyId, VerifyingKey};
use como_modules::{ModuleError, RevocationList};

use super::events::{AdminEvent, now_ns};
use super::{AdminError, AdminNode};
use crate::registry::{Revocations, list_path, read_list, replace};

const DAY_NS: u64 = 86_400_000_000_000;

/// What is put on the list.
pub(super) struct Addition {
    /// Ids of keys, or the keys themselves, in hex.
    pub keys: Vec<KeyId>,
    /// Hashes of modules.
    pub modules: Vec<[u8; 32]>,
    /// How long the list is good for; `None`: it does not expire.
    pub days: Option<u32>,
}

/// A key's id of 32 hex digits, or a whole key of 64.
pub(super) fn parse_key(text: &str) -> Result<KeyId, String> {
    match text.len() {
        64 => VerifyingKey::from_hex(text)
            .map(|key| key.key_id())
            .map_err(|e| e.to_string().lines().next().unwrap_or_default().to_owned()),
        _ => text
            .parse()
            .map_err(|_| "it is neither a key of 64 hex digits nor a key id of 32".to_owned()),
    }
}

/// A module's hash.
pub(super) fn parse_module(text: &str) -> Result<[u8; 32], String> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash)
        .map(|()| hash)
        .map_err(|_| "it is not a hash of 64 hex digits, as `como module list` shows it".to_owned())
}

pub(super) fn show(node: &AdminNode) -> Result<String, AdminError> {
    let mut lines = vec![format!(
        "{:<34} {:>7} {:<20} {:>5} {:>8}",
        "ISSUER", "NUMBER", "EXPIRES", "KEYS", "MODULES"
    )];
    for issuer in issuers(node) {
        let path = list_path(&node.layout, &issuer);
        if path.exists() {
            let list = verified(&read_list(&path)?, &issuer)?;
            let expires = match list.expires_ns {
                u64::MAX => "never".to_owned(),
                ns => super::trace::moment::shown(ns),
            };
            lines.push(format!(
                "{:<34} {:>7} {expires:<20} {:>5} {:>8}",
                issuer.key_id().to_string(),
                list.number,
                list.keys.len(),
                list.modules.len()
            ));
        }
    }
    Ok(lines.join("\n"))
}

/// Makes the node's own list anew, with the next number and more on it.
pub(super) fn add(node: &AdminNode, addition: Addition) -> Result<String, AdminError> {
    let own = node.keyring.node_signing.verifying_key();
    let path = list_path(&node.layout, &own);
    let mut list = match path.exists() {
        true => verified(&read_list(&path)?, &own)?,
        false => RevocationList::initial(),
    };
    let now = now_ns();
    list.number += 1;
    list.issued_ns = now;
    list.expires_ns = addition
        .days
        .map_or(u64::MAX, |days| now + u64::from(days) * DAY_NS);
    list.keys.extend(addition.keys);
    list.modules.extend(addition.modules);
    put(node, &path, &list, &list.sign(&node.keyring.node_signing))
}

/// Takes a list of an issuer whom the configuration names.
pub(super) fn install(node: &AdminNode, file: &Path) -> Result<String, AdminError> {
    let bytes = read_list(file)?;
    for issuer in issuers(node) {
        let path = list_path(&node.layout, &issuer);
        let known = match path.exists() {
            true => Some(verified(&read_list(&path)?, &issuer)?),
            false => None,
        };
        let number = known.as_ref().map_or(0, |list| list.number);
        match RevocationList::verify(&bytes, &issuer, number, now_ns()) {
            Ok(list)
                if known
                    .as_ref()
                    .is_some_and(|k| k.number == list.number && *k != list) =>
            {
                return Err(AdminError::refused(
                    format!("another list of number {number} is in force"),
                    "ask its issuer for a list with a larger number",
                ));
            }
            Ok(list) => return put(node, &path, &list, &bytes),
            Err(ModuleError::BadSignature { .. }) => {}
            Err(error) => return Err(refused(&error)),
        }
    }
    Err(AdminError::refused(
        format!("{} is signed by nobody whose lists count here", file.display()),
        "name the issuer's key in `[modules] revocation_keys`",
    ))
}

fn issuers(node: &AdminNode) -> Vec<VerifyingKey> {
    let own = node.keyring.node_signing.verifying_key();
    node.config.modules.revocation_issuers(own)
}

/// A list that lies here already: good or not, its number and entries count.
fn verified(bytes: &[u8], issuer: &VerifyingKey) -> Result<RevocationList, AdminError> {
    RevocationList::verify(bytes, issuer, 0, 0).map_err(|error| refused(&error))
}

fn refused(error: &ModuleError) -> AdminError {
    let text = error.to_string();
    let (what, fix) = text
        .split_once('\n')
        .unwrap_or((&text, "ask its issuer for the list again"));
    AdminError::refused(what, fix)
}

fn put(node: &AdminNode, path: &Path, list: &RevocationList, bytes: &[u8]) -> Result<String, AdminError> {
    replace(path, bytes).map_err(AdminError::file(path))?;
    // Refused here, rather than at the node's next start.
    Revocations::load(&node.layout, &issuers(node))?.remember(&node.layout)?;
    let detail = format!(
        "list number {} with {} keys and {} modules",
        list.number,
        list.keys.len(),
        list.modules.len()
    );
    node.record(AdminEvent::new("revocations", "modules", "", detail.clone()))?;
    Ok(format!(
        "In force: {detail}.\nOther nodes can take it: {}",
        path.display()
    ))
}
