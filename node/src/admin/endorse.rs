//! `endorse`, `withdraw`: the operator's word that a module's results reveal less than its input, for this hash and
//! these arguments only.

use std::collections::BTreeMap;

use como_policies::AccessLevel;

use super::events::AdminEvent;
use super::{AdminError, AdminNode};
use crate::registry::{Endorsement, RegistryName, remove_endorsement, save_endorsement};

/// `NAME=MIN..MAX`, both included.
pub(super) fn parse_range(text: &str) -> Result<(String, (i64, i64)), String> {
    let wrong = || format!("`{text}` is not NAME=MIN..MAX");
    let (name, range) = text.split_once('=').ok_or_else(wrong)?;
    let (min, max) = range.split_once("..").ok_or_else(wrong)?;
    let bound = |text: &str| text.parse::<i64>().map_err(|_| wrong());
    if name.is_empty() {
        return Err(wrong());
    }
    Ok((name.to_owned(), (bound(min)?, bound(max)?)))
}

/// Takes an endorsement back: what ran by it alone stops.
pub(super) fn withdraw(node: &AdminNode, name: &RegistryName) -> Result<String, AdminError> {
    let Some(endorsement) = node.registry.endorsements.get(name.as_ref()) else {
        return Err(AdminError::refused(
            format!("there is no endorsement `{name}`"),
            "the files in registry/modules show which there are",
        ));
    };
    remove_endorsement(&node.layout, name)?;
    let detail = format!("module {} is no longer endorsed by it", endorsement.hash);
    node.record(AdminEvent::new("withdraw", name.as_ref(), "", detail.clone()))?;
    Ok(format!("Withdrew {name}: {detail}."))
}

pub(super) fn endorse(
    node: &AdminNode,
    hash: &str,
    output_level: AccessLevel,
    name: &RegistryName,
    ranges: &[(String, (i64, i64))],
) -> Result<String, AdminError> {
    let endorsement = Endorsement {
        hash: hash.to_owned(),
        output_level,
        arguments: BTreeMap::from_iter(ranges.iter().cloned()),
    };
    save_endorsement(&node.layout, name, &endorsement)?;
    let detail = format!("module {hash} puts out {output_level}");
    node.record(AdminEvent::new("endorse", name.as_ref(), "", detail.clone()))?;
    Ok(format!("Endorsed as {name}: {detail}."))
}
