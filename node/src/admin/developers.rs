//! `developer add|list|rotate|revoke`: whose modules are taken, up to which level.

use std::path::Path;

use como_policies::AccessLevel;

use super::card;
use super::events::AdminEvent;
use super::{AdminError, AdminNode, renew_revocations};
use crate::registry::{Developer, RegistryName, save_developer};

pub(super) fn add(
    node: &AdminNode,
    name: &RegistryName,
    card_file: &Path,
    ceiling: AccessLevel,
    output_ceiling: Option<AccessLevel>,
    welcome_file: &Path,
) -> Result<String, AdminError> {
    let card = card::read(card_file)?;
    let by_name = node.registry.developers.contains_key(name.as_ref());
    if by_name || node.registry.developer(card.name.as_str()).is_some() {
        return Err(AdminError::refused(
            format!("the developer `{name}` ({}) is registered already", card.name),
            "revoke it first, or register under another name and SPIFFE id",
        ));
    }
    let serial = card::welcome(node, &card, welcome_file)?;
    let developer = Developer {
        id: card.name,
        key: card.developer_key,
        request_key: card.request_key,
        certificate_serials: vec![serial],
        ceiling,
        output_ceiling: output_ceiling.unwrap_or(ceiling),
        revoked: false,
        revoked_serials: Vec::new(),
        retired_keys: Vec::new(),
        revoked_keys: Vec::new(),
    };
    save_developer(&node.layout, name, &developer)?;
    let detail = format!(
        "modules see up to {ceiling}, put out up to {}",
        developer.output_ceiling
    );
    node.record(AdminEvent::new(
        "developer add",
        name.as_ref(),
        developer.id.as_str(),
        detail.clone(),
    ))?;
    Ok(format!(
        "{name} ({}): {detail}.\nSend {} back: `como join` takes it.",
        developer.id,
        welcome_file.display()
    ))
}

/// Replaces a developer's keys by those of a new card, and its certificate. What the old key signed goes on, unless it
/// is `compromised`.
pub(super) fn rotate(
    node: &AdminNode,
    name: &RegistryName,
    card_file: &Path,
    compromised: bool,
    welcome_file: &Path,
) -> Result<String, AdminError> {
    let developer = known(node, name)?;
    let card = card::of_same(card_file, &developer.id)?;
    let mut rotated = developer.clone();
    if card.developer_key == developer.key {
        return Err(AdminError::refused(
            "the card has the key that is registered already",
            "make new keys with `como keygen` in another folder, and take the card from there",
        ));
    }
    let serial = card::welcome(node, &card, welcome_file)?;
    let former = if compromised {
        &mut rotated.revoked_keys
    } else {
        &mut rotated.retired_keys
    };
    former.push(std::mem::replace(&mut rotated.key, card.developer_key));
    rotated.request_key = card.request_key;
    rotated.revoked_serials.clone_from(&rotated.certificate_serials);
    rotated.certificate_serials.push(serial);
    save_developer(&node.layout, name, &rotated)?;
    let mut registry = node.registry.clone();
    registry.developers.insert(name.to_string(), rotated);
    renew_revocations(&node.layout, &registry)?;
    let detail = if compromised {
        "has new keys; what the old one signed is stopped, and its certificates are revoked"
    } else {
        "has new keys; what the old one signed goes on, and its certificates are revoked"
    };
    node.record(AdminEvent::new(
        "developer rotate",
        name.as_ref(),
        developer.id.as_str(),
        detail.to_owned(),
    ))?;
    Ok(format!(
        "{name} {detail}.\nSend {} back: `como join` takes it.",
        welcome_file.display()
    ))
}

fn known<'a>(node: &'a AdminNode, name: &RegistryName) -> Result<&'a Developer, AdminError> {
    node.registry.developers.get(name.as_ref()).ok_or_else(|| {
        AdminError::refused(
            format!("there is no developer `{name}`"),
            "`como-node developer list` shows who there is",
        )
    })
}

pub(super) fn list(node: &AdminNode) -> String {
    let mut lines = vec![format!(
        "{:<20} {:<11} {:<11} {:<8} {}",
        "NAME", "SEES", "PUTS OUT", "STATE", "ID"
    )];
    lines.extend(node.registry.developers.iter().map(|(name, developer)| {
        format!(
            "{name:<20} {:<11} {:<11} {:<8} {}",
            developer.ceiling.name(),
            developer.output_ceiling.name(),
            if developer.revoked { "revoked" } else { "active" },
            developer.id
        )
    }));
    lines.join("\n")
}

pub(super) fn revoke(node: &AdminNode, name: &RegistryName) -> Result<String, AdminError> {
    let developer = known(node, name)?;
    let revoked = Developer {
        revoked: true,
        ..developer.clone()
    };
    save_developer(&node.layout, name, &revoked)?;
    let mut registry = node.registry.clone();
    registry.developers.insert(name.to_string(), revoked.clone());
    renew_revocations(&node.layout, &registry)?;
    let detail = "its modules are stopped, and no more are taken".to_owned();
    node.record(AdminEvent::new(
        "developer revoke",
        name.as_ref(),
        revoked.id.as_str(),
        detail.clone(),
    ))?;
    Ok(format!("{name}: {detail}."))
}
