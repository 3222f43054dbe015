//! `keys show|destroy`: what the operator may know of the keys, and how a day is made unreadable for ever.

use como_keys::keyring::Destroy;

use super::events::{AdminEvent, running_supervisor};
use super::node::SERVER_CERTIFICATE_DAYS;
use super::orders::{self, DestroyOrder, Order};
use super::{AdminError, AdminNode, renew_revocations};
use crate::registry::replace;

pub(super) fn show(node: &AdminNode) -> String {
    let key = node.keyring.node_signing.verifying_key();
    format!(
        "node      {}\nkey       {}\nkey id    {}\nkey file  {}",
        node.config.node.name,
        key.hex(),
        key.key_id(),
        node.layout.keyring().display()
    )
}

/// Issues the server's certificate and the revocation list anew; partners notice nothing.
pub(super) fn renew(node: &AdminNode) -> Result<String, AdminError> {
    let names = super::init::server_names(node.config.query.listen, Some(&node.config.query.url));
    let server =
        node.authority()?
            .issue_server(&names, node.config.node.name.as_str(), SERVER_CERTIFICATE_DAYS)?;
    como_keys::files::replace_secret(&node.layout.server_key(), server.key_pem.as_bytes())?;
    let path = node.layout.server_certificate();
    replace(&path, server.cert_pem.as_bytes()).map_err(AdminError::file(&path))?;
    renew_revocations(&node.layout, &node.registry)?;
    let detail = format!(
        "server certificate for {} days, revocation list",
        SERVER_CERTIFICATE_DAYS
    );
    node.record(AdminEvent::new(
        "keys renew",
        "server",
        node.config.node.name.as_str(),
        detail.clone(),
    ))?;
    Ok(format!(
        "Renewed: {detail}. Restart the node to use the certificate."
    ))
}

pub(super) fn destroy(node: &mut AdminNode, epoch: u32, what: Destroy) -> Result<String, AdminError> {
    let existed = node.keyring.destroy_epoch(epoch, what);
    match running_supervisor(&node.layout) {
        // It holds the keys in memory, and writes the key file itself.
        Some(supervisor) => {
            let order = Order::Destroy(DestroyOrder::new(epoch, what));
            orders::give(&node.layout, supervisor, &order)?;
        }
        None => node.keyring.save(&node.layout.keyring(), &node.root)?,
    }
    let what = match what {
        Destroy::Trace => "trace",
        Destroy::Records => "records",
        Destroy::All => "trace and records",
    };
    let detail = format!(
        "{what} of day {epoch}: {}",
        if existed {
            "keys destroyed"
        } else {
            "no keys were there, none will be made"
        }
    );
    node.record(AdminEvent::new(
        "keys destroy",
        &epoch.to_string(),
        "",
        detail.clone(),
    ))?;
    Ok(format!(
        "{detail}.\nCopies of the key file ({}) would still open it: destroy them too.",
        node.layout.keyring().display()
    ))
}
