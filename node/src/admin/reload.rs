//! `reload`: a running node reads configuration, policies, registry and revocation lists again, and decides anew. Must
//! never send it into what it would refuse without saying so here.

use std::path::Path;

use rustix::process::{Signal, kill_process};

use super::events::running_supervisor;
use super::{AdminError, AdminNode, State, check};
use crate::registry::Revocations;

pub(super) fn reload(node: &Path) -> Result<String, AdminError> {
    let wrong = check::check(node)
        .into_iter()
        .find(|finding| finding.state == State::Error);
    if let Some(finding) = wrong {
        return Err(AdminError::refused(
            format!("{}: {}", finding.what, finding.found),
            finding.fix,
        ));
    }
    let AdminNode {
        config,
        layout,
        keyring,
        ..
    } = AdminNode::open(node)?;
    let own = keyring.node_signing.verifying_key();
    Revocations::load(&layout, &config.modules.revocation_issuers(own))?;
    let Some(supervisor) = running_supervisor(&layout) else {
        return Err(AdminError::refused(
            "no node runs here",
            "start it with `como-node run`: a start reads everything anyway",
        ));
    };
    kill_process(supervisor, Signal::HUP).map_err(|why| AdminError::File {
        path: layout.pid_file(),
        why: why.into(),
    })?;
    Ok(format!(
        "The node (process {supervisor}) reads configuration, policies and registry again; its log and the audit log say with what result."
    ))
}
