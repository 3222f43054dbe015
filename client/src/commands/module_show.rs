//! `como module show`: what a module says of itself. Must never pass a file's words on as true: whether a signature
//! holds is for the node that knows the developer's key.

use std::path::Path;

use como_modules::{Manifest, SignedModule};
use serde_json::{Value, json};

use super::Context;
use crate::answer::one_line;
use crate::error::{ClientError, Result};
use crate::keys::read_file;
use crate::request::{Ask, MAX_MODULE_BYTES};
use crate::time::Display;
use crate::{local, render};

/// A file is read here; of everything else the node is asked.
pub fn show(context: &Context, module: &str) -> Result<()> {
    let file = Path::new(module);
    if module.ends_with(".cmod") || file.is_file() {
        return show_file(context, file);
    }
    let answer = context.client()?.0.ask(&Ask::ListModules)?;
    let found = newest(&answer, module).ok_or_else(|| {
        ClientError::usage(
            format!("the node offers you no module `{}`", one_line(module)),
            "`como module list` says what there is; a file's name ends in .cmod",
        )
    })?;
    context.output.result(found, &render::json(found));
    context
        .output
        .note("note: columns and table are told by the .cmod file only; a node does not list them");
    Ok(())
}

/// The newest release of that name, or the module of that hash.
fn newest<'a>(answer: &'a Value, module: &str) -> Option<&'a Value> {
    let all = answer["modules"].as_array()?.iter();
    all.filter(|entry| entry["name"] == module || entry["hash"] == module)
        .max_by_key(|entry| entry["release"].as_u64())
}

fn show_file(context: &Context, file: &Path) -> Result<()> {
    let bytes = read_file(file, MAX_MODULE_BYTES)?;
    let manifest = SignedModule::parse(&bytes).and_then(|module| module.unverified_manifest());
    let manifest = manifest.map_err(|error| local::of_module(file, &error))?;
    context.output.result(&as_json(&manifest), &text(&manifest));
    context.output.note(
        "note: the signature is not checked here: a node checks it with the key that its operator registered",
    );
    Ok(())
}

fn as_json(manifest: &Manifest) -> Value {
    let columns: Vec<&str> = manifest.columns.iter().map(|column| column.name()).collect();
    let schema: Vec<Value> = manifest
        .schema
        .iter()
        .map(|c| {
            json!({ "name": c.name, "kind": c.kind.name(), "unit": c.unit, "merge": c.merge.name(), "description": c.description })
        })
        .collect();
    let arguments: Vec<Value> = manifest
        .args
        .iter()
        .map(|a| json!({ "name": a.name, "default": a.default, "min": a.min, "max": a.max, "description": a.description, "load_only": a.load_only }))
        .collect();
    json!({
        "name": manifest.name, "version": manifest.version, "release": manifest.release,
        "description": manifest.description, "developer": manifest.developer,
        "key_id": hex::encode(manifest.key_id.0), "hash": hex::encode(manifest.wasm_sha256),
        "wasm_bytes": manifest.wasm_len, "abi": manifest.abi, "filter": manifest.filter,
        "level": manifest.level.name(), "output_level": manifest.output_level.name(),
        "interval_ns": manifest.interval_ns, "memory_bytes": manifest.memory_bytes, "columns": columns,
        "wants_frames": manifest.wants_frames, "priority": manifest.priority,
        "expires_ns": manifest.not_after_ns, "arguments": arguments, "schema": schema,
    })
}

fn text(manifest: &Manifest) -> String {
    let mut columns: Vec<&str> = manifest.columns.iter().map(|column| column.name()).collect();
    if manifest.wants_frames {
        columns.push("and the visible bytes of each packet");
    }
    let filter = match manifest.filter.as_str() {
        "" => "(all packets)".to_owned(),
        filter => one_line(filter),
    };
    let mut output = format!("a reader of its table needs {}", manifest.output_level);
    if manifest.output_level < manifest.level {
        output.push_str(", once the operator has endorsed this code");
    }
    let interval = jiff::SignedDuration::from_nanos_i128(manifest.interval_ns.into());
    let lines = [
        ("name", one_line(&manifest.name)),
        ("about", one_line(&manifest.description)),
        (
            "release",
            format!("{}, version {}", manifest.release, one_line(&manifest.version)),
        ),
        ("developer", one_line(&manifest.developer)),
        ("key", hex::encode(manifest.key_id.0)),
        (
            "code",
            format!(
                "{}, hash {}",
                render::bytes(manifest.wasm_len.into()),
                hex::encode(manifest.wasm_sha256)
            ),
        ),
        ("expires", Display(manifest.not_after_ns).to_string()),
        ("reads", format!("at {}: {}", manifest.level, columns.join(", "))),
        ("filter", filter),
        ("output", output),
        ("interval", format!("{interval:#}")),
        ("memory", render::bytes(manifest.memory_bytes.into())),
        ("priority", format!("{}, 0 is shed first", manifest.priority)),
    ];
    let mut page: String = lines
        .iter()
        .map(|(name, value)| format!("{name:<10}  {value}\n"))
        .collect();
    let header = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    if !manifest.args.is_empty() {
        let rows: Vec<Vec<String>> = manifest
            .args
            .iter()
            .map(|arg| {
                vec![
                    arg.name.clone(),
                    arg.default.to_string(),
                    format!("{} to {}", arg.min, arg.max),
                    arg.description.clone(),
                ]
            })
            .collect();
        page.push_str("\narguments:\n");
        page.push_str(&render::table(
            &header(&["name", "default", "range", "about"]),
            &rows,
        ));
    }
    let rows: Vec<Vec<String>> = manifest
        .schema
        .iter()
        .map(|column| {
            vec![
                column.name.clone(),
                column.kind.name().to_owned(),
                column.unit.clone(),
                column.merge.name().to_owned(),
                column.description.clone(),
            ]
        })
        .collect();
    page.push_str("\ntable:\n");
    page.push_str(&render::table(
        &header(&["column", "kind", "unit", "merge", "about"]),
        &rows,
    ));
    page
}
