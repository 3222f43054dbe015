//! `como-node trace repair`: says what can be mended and, where told to, has the ring mend it. Must never work
//! beside a running node, whose storage owns the files.

use std::fmt::Write as _;

use super::folder::{Folder, name_of};
use crate::admin::AdminError;
use crate::admin::events::{self, AdminEvent};
use crate::ring::repair::{apply, plan};

pub(super) fn repair(folder: &Folder, doing: bool) -> Result<String, AdminError> {
    let dir = folder.layout.trace();
    if folder.is_running {
        return Err(AdminError::refused(
            "the node runs, and its storage writes the trace",
            "stop the node first (SIGTERM to its supervisor); `trace verify` works on a running one",
        ));
    }
    if folder.files()?.is_empty() {
        return Ok("there is no segment yet: nothing to mend".to_owned());
    }
    let found = plan(&dir)?;
    let mut out = String::new();
    for repair in &found.repairs {
        let _ = writeln!(out, "{} {repair}", if doing { "done:" } else { "would:" });
    }
    for (path, position, what) in &found.stays {
        let _ = writeln!(
            out,
            "stays: {}, byte {position}: {what}; all other blocks read, and readers report this one",
            name_of(path)
        );
    }
    if !doing {
        let _ = write!(
            out,
            "{}",
            match found.repairs.len() {
                0 => "nothing to mend",
                _ => "nothing was changed: add --apply to do it",
            }
        );
        return Ok(out);
    }
    let recovered = apply(&dir, &found)?;
    // The next start takes it into the audit log, which only the node's key can sign.
    events::leave(
        &folder.layout,
        &AdminEvent::new(
            "trace repair",
            "trace",
            "",
            found
                .repairs
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
        ),
    )?;
    let _ = write!(
        out,
        "{} repairs; {} open segments recovered, {} torn bytes cut off",
        found.repairs.len(),
        recovered.open_segments,
        recovered.torn_bytes
    );
    Ok(out)
}
