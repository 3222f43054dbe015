//! `partner add|list|rotate|suspend|resume|revoke`: who may ask, up to which level. A certificate is issued from
//! the request in the partner's card; the partner's keys never come here.

use std::path::Path;

use como_policies::AccessLevel;

use super::card;
use super::events::AdminEvent;
use super::{AdminError, AdminNode, renew_revocations};
use crate::registry::{Partner, RegistryName, save_partner};

/// What a partner is granted.
pub(super) struct Grant {
    pub ceiling: AccessLevel,
    /// `None`: a project of its own, named as the partner.
    pub project: Option<String>,
    pub may_plug_in: bool,
}

pub(super) fn add(
    node: &mut AdminNode,
    name: &RegistryName,
    card_file: &Path,
    grant: Grant,
    welcome_file: &Path,
) -> Result<String, AdminError> {
    let card = card::read(card_file)?;
    refuse_known(node, name, card.name.as_str())?;
    let serial = card::welcome(node, &card, welcome_file)?;
    let partner = Partner {
        organisation: card.name.organisation().to_owned(),
        project: grant.project.unwrap_or_else(|| name.to_string()),
        ceiling: grant.ceiling,
        may_plug_in: grant.may_plug_in,
        suspended: false,
        revoked: false,
        request_key: card.request_key,
        dataset_recipient: card.dataset_recipient,
        certificate_serials: vec![serial],
        revoked_serials: Vec::new(),
        id: card.name,
    };
    save_partner(&node.layout, name, &partner)?;
    let detail = format!(
        "up to {}, project {}{}",
        partner.ceiling,
        partner.project,
        if partner.may_plug_in {
            ", may plug in modules"
        } else {
            ""
        }
    );
    node.record(AdminEvent::new(
        "partner add",
        name.as_ref(),
        partner.id.as_str(),
        detail.clone(),
    ))?;
    Ok(format!(
        "{name} ({}) may ask {detail}.\nSend {} back: `como join` takes it.",
        partner.id,
        welcome_file.display()
    ))
}

/// Replaces a partner's keys and certificate by those of a new card. Results for the old dataset identity end.
pub(super) fn rotate(
    node: &mut AdminNode,
    name: &RegistryName,
    card_file: &Path,
    welcome_file: &Path,
) -> Result<String, AdminError> {
    let Some(partner) = node.registry.partners.get(name.as_ref()) else {
        return Err(unknown(name));
    };
    let card = card::of_same(card_file, &partner.id)?;
    let mut rotated = partner.clone();
    let serial = card::welcome(node, &card, welcome_file)?;
    rotated.request_key = card.request_key;
    rotated.dataset_recipient = card.dataset_recipient;
    rotated.revoked_serials.clone_from(&rotated.certificate_serials);
    rotated.certificate_serials.push(serial);
    save_partner(&node.layout, name, &rotated)?;
    let id = rotated.id.clone();
    node.registry.partners.insert(name.to_string(), rotated);
    renew_revocations(&node.layout, &node.registry)?;
    let detail = "has new keys; its old certificates are revoked";
    node.record(AdminEvent::new(
        "partner rotate",
        name.as_ref(),
        id.as_str(),
        detail.to_owned(),
    ))?;
    Ok(format!(
        "{name} {detail}.\nSend {} back: `como join` takes it.",
        welcome_file.display()
    ))
}

fn unknown(name: &RegistryName) -> AdminError {
    AdminError::refused(
        format!("there is no partner `{name}`"),
        "`como-node partner list` shows who there is",
    )
}

fn refuse_known(node: &AdminNode, name: &RegistryName, id: &str) -> Result<(), AdminError> {
    let by_name = node.registry.partners.contains_key(name.as_ref());
    let known = by_name
        .then(|| name.to_string())
        .or_else(|| node.registry.partner(id).map(|(name, _)| name.to_owned()));
    match known {
        None => Ok(()),
        Some(known) => Err(AdminError::refused(
            format!("a partner `{known}` is registered already"),
            "revoke it first, or register under another name and SPIFFE id",
        )),
    }
}

pub(super) fn list(node: &AdminNode) -> String {
    let mut lines = vec![format!(
        "{:<20} {:<11} {:<16} {:<10} {}",
        "NAME", "UP TO", "PROJECT", "STATE", "ID"
    )];
    lines.extend(node.registry.partners.iter().map(|(name, partner)| {
        let state = match (partner.revoked, partner.suspended) {
            (true, _) => "revoked",
            (false, true) => "suspended",
            (false, false) => "active",
        };
        format!(
            "{name:<20} {:<11} {:<16} {state:<10} {}",
            partner.ceiling.name(),
            partner.project,
            partner.id
        )
    }));
    lines.join("\n")
}

/// What becomes of a partner's standing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Suspend,
    Resume,
    Revoke,
}

pub(super) fn change(node: &mut AdminNode, name: &RegistryName, to: Standing) -> Result<String, AdminError> {
    let Some(partner) = node.registry.partners.get_mut(name.as_ref()) else {
        return Err(unknown(name));
    };
    let (command, detail) = match to {
        Standing::Suspend => ("partner suspend", "is refused everything until resumed"),
        Standing::Resume => ("partner resume", "is answered again"),
        Standing::Revoke => (
            "partner revoke",
            "is never answered again; its certificates are revoked",
        ),
    };
    match to {
        Standing::Suspend => partner.suspended = true,
        Standing::Resume => partner.suspended = false,
        Standing::Revoke => partner.revoked = true,
    }
    let partner = partner.clone();
    save_partner(&node.layout, name, &partner)?;
    if to == Standing::Revoke {
        renew_revocations(&node.layout, &node.registry)?;
    }
    node.record(AdminEvent::new(
        command,
        name.as_ref(),
        partner.id.as_str(),
        detail.to_owned(),
    ))?;
    Ok(format!("{name} {detail}."))
}
