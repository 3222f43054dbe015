//! The card that a partner or developer sends (`como keygen` writes it) and the welcome that goes back.
//! Public data only.

use std::path::Path;

use serde::{Deserialize, Serialize};

use como_keys::pki::serial_of;

use super::node::CLIENT_CERTIFICATE_DAYS;
use super::{AdminError, AdminNode};
use crate::config::SpiffeId;
use crate::registry::{read_bounded, replace};

/// Version of both files.
pub const VERSION: u32 = 1;

/// What a principal registers with.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Version of this format.
    pub version: u32,
    /// SPIFFE id.
    #[serde(alias = "id")]
    pub name: SpiffeId,
    /// Public half of the request key (Ed25519), hex.
    pub request_key: String,
    /// Public half of the developer key (Ed25519), hex.
    pub developer_key: String,
    /// Public half of the dataset identity (X-Wing), hex.
    pub dataset_recipient: String,
    /// Certificate signing request, PEM.
    pub csr: String,
}

/// What goes back to a partner: all that its client needs to find and check this node.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Welcome {
    /// Version of this format.
    pub version: u32,
    /// SPIFFE id of the node.
    pub node: String,
    /// Where it listens.
    pub url: String,
    /// Public signing key of the node (Ed25519), hex.
    pub node_key: String,
    /// Authority of the node's TLS certificate, PEM.
    pub ca: String,
    /// The partner's TLS certificate, PEM.
    pub certificate: String,
}

/// Issues a certificate to the owner of a card and writes the welcome; the certificate's serial, in hex,
/// comes out.
pub(super) fn welcome(node: &AdminNode, card: &Card, file: &Path) -> Result<String, AdminError> {
    if file.exists() {
        return Err(AdminError::refused(
            format!("{} exists", file.display()),
            "name another file with -o",
        ));
    }
    let certificate =
        node.authority()?
            .issue_client_from_csr(&card.csr, card.name.as_str(), CLIENT_CERTIFICATE_DAYS)?;
    let serial = hex::encode(serial_of(&certificate)?);
    let welcome = Welcome {
        version: VERSION,
        node: node.config.node.name.to_string(),
        url: node.config.query.url.clone(),
        node_key: node.keyring.node_signing.verifying_key().hex(),
        ca: read_bounded(&node.layout.ca_certificate())?,
        certificate,
    };
    let text = toml::to_string(&welcome).expect("a welcome is plain strings");
    replace(file, text.as_bytes()).map_err(AdminError::file(file))?;
    Ok(serial)
}

/// Reads the card with which somebody who is registered replaces keys.
pub(super) fn of_same(path: &Path, id: &SpiffeId) -> Result<Card, AdminError> {
    let card = read(path)?;
    if card.name == *id {
        return Ok(card);
    }
    Err(AdminError::refused(
        format!("the card is of {}, the entry of {id}", card.name),
        "make the new keys under the same SPIFFE id, or register somebody new with `add`",
    ))
}

/// Reads a card.
pub fn read(path: &Path) -> Result<Card, AdminError> {
    let text = read_bounded(path)?;
    let wrong = |why: &str| {
        AdminError::refused(
            format!("{} is not a card: {why}", path.display()),
            "ask for the file card.toml that `como keygen` wrote, whole",
        )
    };
    let card: Card = toml::from_str(&text).map_err(|e| wrong(e.message()))?;
    if card.version != VERSION {
        return Err(wrong(&format!(
            "it is of version {}, not {VERSION}",
            card.version
        )));
    }
    Ok(card)
}
