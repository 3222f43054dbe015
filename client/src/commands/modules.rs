//! `como module ...`: the developer's path, from a template to a module at a node.

use std::fs;
use std::path::{Path, PathBuf};

use como_modules::{Manifest, ModuleError, SignedModule};
use serde_json::{Value, json};

use super::Context;
use super::query::{module_ref, pairs};
use crate::cli::{ModuleCommand, ModuleNew, ModuleSign};
use crate::error::{ClientError, Result};
use crate::keys::{read_file, read_text};
use crate::request::{Ask, MAX_MODULE_BYTES};
use crate::time::{NS_PER_DAY, wall_clock_ns};
use crate::{render, template, time};

/// Largest module.toml that is read, in bytes.
const MAX_TOML_BYTES: u64 = 256 << 10;

pub fn run(context: &Context, command: ModuleCommand) -> Result<()> {
    match command {
        ModuleCommand::New(args) => new(context, &args),
        ModuleCommand::Sign(args) => sign(context, &args),
        ModuleCommand::Submit { file } => submit(context, &file),
        ModuleCommand::List => ask(context, &Ask::ListModules),
        ModuleCommand::Start(args) => ask(
            context,
            &Ask::StartModule {
                module: module_ref(&args.module.module),
                arguments: pairs(&args.arguments),
            },
        ),
        ModuleCommand::Stop(args) => ask(context, &Ask::StopModule(module_ref(&args.module))),
        ModuleCommand::Revoke(args) => ask(context, &Ask::RevokeModule(module_ref(&args.module))),
    }
}

fn new(context: &Context, args: &ModuleNew) -> Result<()> {
    let dir = args.out.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    template::write(&dir, &args.name, &template::kit(args.kit.as_deref())?)?;
    let text = format!(
        "Made {dir}. Next:\n  \
         cd {dir} && cargo test\n  \
         cargo build --release --target wasm32-unknown-unknown\n  \
         como module sign . --wasm target/wasm32-unknown-unknown/release/{file}.wasm -o {name}.cmod\n  \
         como module submit {name}.cmod\n",
        dir = dir.display(),
        name = args.name,
        file = template::crate_name(&args.name),
    );
    context
        .output
        .result(&json!({ "dir": dir, "name": args.name }), &text);
    Ok(())
}

fn sign(context: &Context, args: &ModuleSign) -> Result<()> {
    let bundle = context.bundle()?;
    let path = if args.manifest.is_dir() {
        args.manifest.join("module.toml")
    } else {
        args.manifest.clone()
    };
    let toml = read_text(&path, MAX_TOML_BYTES)?;
    let wasm = read_file(&args.wasm, MAX_MODULE_BYTES)?;
    if !wasm.starts_with(b"\0asm") {
        return Err(ClientError::input(
            format!("{} is not WebAssembly", args.wasm.display()),
            "build the module with `cargo build --release --target wasm32-unknown-unknown`",
        ));
    }
    let developer = bundle.name()?;
    let not_after_ns = wall_clock_ns() + u64::from(args.days) * NS_PER_DAY;
    let manifest = Manifest::from_toml(&toml, developer.as_str(), not_after_ns)
        .map_err(|error| of_manifest(&path, &error))?;
    let signed =
        SignedModule::sign(&manifest, &wasm, &bundle.developer_key()?).map_err(ClientError::of_input)?;
    fs::write(&args.out, &signed).map_err(|error| ClientError::write(&args.out, error))?;
    let hash = hex::encode(como_keys::digest::sha256(&wasm));
    let text = format!(
        "{}: {} release {}, {}, signed by {developer}, good until {}\nhash {hash}\n",
        args.out.display(),
        manifest.name,
        manifest.release,
        render::bytes(signed.len() as u64),
        time::Display(not_after_ns),
    );
    let value = json!({
        "file": args.out, "name": manifest.name, "release": manifest.release, "hash": hash,
        "developer": developer.as_str(), "not_after_ns": not_after_ns,
    });
    context.output.result(&value, &text);
    Ok(())
}

/// The library names `module.toml`; a person wants to know which one.
fn of_manifest(path: &Path, error: &ModuleError) -> ClientError {
    let (what, fix) = crate::error::split(&error.to_string());
    ClientError::input(format!("{}: {what}", path.display()), fix)
}

fn submit(context: &Context, file: &Path) -> Result<()> {
    let module = read_file(file, MAX_MODULE_BYTES)?;
    // What is no module at all need not travel; whether it is a good one is the node's to say.
    SignedModule::parse(&module).map_err(|error| of_manifest(file, &error))?;
    let answer = context.client()?.0.submit(module)?;
    show(context, &answer);
    Ok(())
}

fn ask(context: &Context, ask: &Ask) -> Result<()> {
    let answer = context.client()?.0.ask(ask)?;
    show(context, &answer);
    Ok(())
}

/// A list under one name is shown as the list itself.
fn show(context: &Context, answer: &Value) {
    let shown = match answer.as_object() {
        Some(members) if members.len() == 1 => members.values().next().unwrap_or(answer),
        _ => answer,
    };
    context.output.result(answer, &render::json(shown));
}
