//! `como module ...`: the developer's path, from a template to a module at a node. What runs without a node stands in
//! module_local.rs.

use std::fs;
use std::path::{Path, PathBuf};

use como_modules::SignedModule;
use serde_json::{Value, json};

use super::Context;
use super::query::{module_ref, pairs};
use super::{module_local, module_show};
use crate::cli::{ModuleCommand, ModuleNew, ModuleSign};
use crate::error::{ClientError, Result};
use crate::keys::read_file;
use crate::request::{Ask, MAX_MODULE_BYTES};
use crate::time::{NS_PER_DAY, wall_clock_ns};
use crate::{local, render, template, time};

pub fn run(context: &Context, command: ModuleCommand) -> Result<()> {
    match command {
        ModuleCommand::New(args) => new(context, &args),
        ModuleCommand::Build(args) => module_local::build(context, &args.dir),
        ModuleCommand::Test(args) => module_local::test(context, &args),
        ModuleCommand::Bench(args) => module_local::bench(context, &args),
        ModuleCommand::Show { module } => module_show::show(context, &module),
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
        ModuleCommand::Pause(args) => ask(context, &Ask::PauseModule(module_ref(&args.module))),
        ModuleCommand::Resume(args) => ask(context, &Ask::ResumeModule(module_ref(&args.module))),
        ModuleCommand::Revoke(args) => ask(context, &Ask::RevokeModule(module_ref(&args.module))),
    }
}

fn new(context: &Context, args: &ModuleNew) -> Result<()> {
    let dir = args.out.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    template::write(&dir, &args.name, &template::kit(args.kit.as_deref())?)?;
    let text = format!(
        "Made {dir}. Next:\n  \
         cd {dir} && cargo test\n  \
         como module test . --pcap FILE\n  \
         como module sign . -o {name}.cmod\n  \
         como module submit {name}.cmod\n",
        dir = dir.display(),
        name = args.name,
    );
    context
        .output
        .result(&json!({ "dir": dir, "name": args.name }), &text);
    Ok(())
}

fn sign(context: &Context, args: &ModuleSign) -> Result<()> {
    if args.wasm.is_none() && !args.manifest.is_dir() {
        return Err(ClientError::usage(
            format!("the code of {} is missing", args.manifest.display()),
            "name the compiled code with --wasm FILE, or give the module's folder, which is built",
        ));
    }
    let bundle = context.bundle()?;
    let built = match &args.wasm {
        Some(wasm) => wasm.clone(),
        None => local::find(&args.manifest, None)?.0,
    };
    let wasm = read_file(&built, MAX_MODULE_BYTES)?;
    if !wasm.starts_with(b"\0asm") {
        return Err(local::not_wasm(&built));
    }
    let developer = bundle.name()?;
    let not_after_ns = wall_clock_ns() + u64::from(args.days) * NS_PER_DAY;
    let manifest = local::manifest_of(&args.manifest, developer.as_str(), not_after_ns)?;
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

fn submit(context: &Context, file: &Path) -> Result<()> {
    let module = read_file(file, MAX_MODULE_BYTES)?;
    // What is no module at all need not travel; whether it is a good one is the node's to say.
    SignedModule::parse(&module).map_err(|error| local::of_module(file, &error))?;
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
