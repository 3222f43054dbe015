//! `como keygen` and `como join`: becoming known to a node.

use std::path::Path;

use serde_json::json;

use super::Context;
use crate::cli::{Join, Keygen};
use crate::error::Result;
use crate::keys::Bundle;
use crate::profile;

pub fn keygen(context: &Context, args: &Keygen) -> Result<()> {
    if let Some(file) = &args.anonymization {
        return anonymization_key(context, file);
    }
    let name = args.name.as_deref().unwrap_or_default().parse()?;
    let dir = match &args.out {
        Some(dir) => dir.clone(),
        None => context.keys_dir()?,
    };
    let (bundle, card) = Bundle::create(&dir, &name)?;
    let path = bundle.card_path();
    let text = format!(
        "Made the keys of {name} in {dir}. Keep the folder: datasets sealed to lost keys open never again.\n\
         Next: send {card} (all of it is public) to the node's operator;\n\
         install the welcome file that comes back with `como join FILE{keys}`.\n",
        dir = dir.display(),
        card = path.display(),
        keys = if args.out.is_some() {
            format!(" --keys {}", dir.display())
        } else {
            String::new()
        },
    );
    context
        .output
        .result(&json!({ "name": card.name, "keys": dir, "card": path }), &text);
    Ok(())
}

fn anonymization_key(context: &Context, file: &Path) -> Result<()> {
    crate::anonymize::generate_key(file)?;
    let text = format!(
        "Made {file}. Keep it: the same key makes the same pseudonyms, and whoever has it can undo them.\n\
         Next: `como anonymize --level anonymized --key-file {file} IN OUT`.\n",
        file = file.display()
    );
    context.output.result(&json!({ "key": file }), &text);
    Ok(())
}

pub fn join(context: &Context, args: &Join) -> Result<()> {
    let bundle = context.bundle()?;
    let profile = profile::join(bundle.dir(), &args.welcome, args.name.as_deref())?;
    // A certificate for other keys is found out now, not at the first query.
    crate::connection::Endpoint::new(&profile, &bundle.tls_key_pem()?)?;
    let text = format!(
        "Joined {} at {} as `{}`.\nNext: `como status`, `como catalog`.\n",
        profile.node,
        profile.url.authority(),
        profile.name
    );
    let value =
        json!({ "name": profile.name, "node": profile.node.as_str(), "url": profile.url.authority() });
    context.output.result(&value, &text);
    Ok(())
}
