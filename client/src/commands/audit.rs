//! `como audit verify`: whether a node's audit log is whole.

use como_keys::KeyError;
use serde_json::json;

use super::Context;
use crate::cli::AuditVerify;
use crate::error::{ClientError, Result};
use crate::render;

pub fn verify(context: &Context, args: &AuditVerify) -> Result<()> {
    let node_key = context.node_key(args.node_key.as_deref())?;
    let checked = match &args.witness {
        None => como_keys::audit::verify(&args.file, &[node_key]),
        Some(hash) => como_keys::audit::verify_witnessed(&args.file, &[node_key], hash),
    };
    let report = checked.map_err(|error| match error {
        KeyError::File { path, source, .. } => ClientError::read(&path, source),
        other => ClientError::of_verification(other),
    })?;
    let mut text = format!(
        "{}: whole; {} lines, {} signed heads, last hash {}\n",
        args.file.display(),
        render::count(report.lines),
        render::count(report.heads),
        report.last_hash
    );
    if report.unsigned_tail > 0 {
        text.push_str(&format!(
            "The last {} lines are chained but not signed yet: ask again after the next signed head.\n",
            render::count(report.unsigned_tail)
        ));
    }
    if report.torn_bytes > 0 {
        text.push_str(&format!(
            "The last {} are a line that was never completed.\n",
            render::bytes(report.torn_bytes)
        ));
    }
    let value = json!({
        "file": args.file, "lines": report.lines, "heads": report.heads,
        "unsigned_tail": report.unsigned_tail, "last_hash": report.last_hash,
        "torn_bytes": report.torn_bytes,
    });
    context.output.result(&value, &text);
    Ok(())
}
