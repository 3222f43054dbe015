//! `developer add|list|revoke`: whose modules are taken, up to which level.

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
    let Some(developer) = node.registry.developers.get(name.as_ref()) else {
        return Err(AdminError::refused(
            format!("there is no developer `{name}`"),
            "`como-node developer list` shows who there is",
        ));
    };
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
