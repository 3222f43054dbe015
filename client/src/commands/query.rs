//! `como query`, `trace`, `fetch` and `cancel`: from a question to a verified dataset on disk.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Context, dataset};
use crate::answer::{QueryState, State};
use crate::blocking::Client;
use crate::cli::{Argument, Fetch, Query, QueryId, Trace, WindowArgs};
use crate::error::{ClientError, Result};
use crate::keys::read_file;
use crate::profile::Profile;
use crate::render;
use crate::request::{self, Ask, MAX_MODULE_BYTES, ModuleRef};
use crate::time::wall_clock_ns;

pub fn query(context: &Context, args: &Query) -> Result<()> {
    refuse_existing(args.out.as_deref())?;
    let (module, carried) = module(&args.module)?;
    let (client, profile) = context.client()?;
    let (from_ns, to_ns) = window(&client, &args.window)?;
    let asked = request::Query {
        module,
        carried,
        arguments: pairs(&args.arguments),
        filter: args.filter.clone(),
        level: args.level as u8,
        from_ns,
        to_ns,
        explain: args.explain,
        fresh: args.fresh,
        every_ns: args.every.map_or(0, |every| every.ns),
    };
    match &args.out {
        Some(out) if !args.explain => finish(context, &client, &profile, client.query(asked)?, out),
        _ => explain(context, &client, &Ask::Query(asked)),
    }
}

pub fn trace(context: &Context, args: &Trace) -> Result<()> {
    refuse_existing(args.out.as_deref())?;
    let (client, profile) = context.client()?;
    let (from_ns, to_ns) = window(&client, &args.window)?;
    let asked = request::Trace {
        filter: args.filter.clone(),
        level: args.level as u8,
        from_ns,
        to_ns,
        explain: args.explain,
    };
    match &args.out {
        Some(out) if !args.explain => finish(context, &client, &profile, client.trace(asked)?, out),
        _ => explain(context, &client, &Ask::Trace(asked)),
    }
}

pub fn fetch(context: &Context, args: &Fetch) -> Result<()> {
    refuse_existing(Some(&args.out))?;
    let (client, profile) = context.client()?;
    let state = client.state(&args.query.id)?;
    finish(context, &client, &profile, state, &args.out)
}

pub fn cancel(context: &Context, args: &QueryId) -> Result<()> {
    let answer = context.client()?.0.ask(&Ask::Cancel(args.id.clone()))?;
    context.output.result(&answer, &render::json(&answer));
    Ok(())
}

/// Waits, fetches and verifies.
fn finish(
    context: &Context,
    client: &Client,
    profile: &Profile,
    state: QueryState,
    out: &Path,
) -> Result<()> {
    if state.state != State::Done {
        context.output.note(&format!("query {}", state.id));
    }
    let mut bar = context.output.progress();
    let fetched = client
        .wait(&state.id, &mut |event| bar.on(event))
        .and_then(|state| {
            client
                .download(&state.id, out, &mut |event| bar.on(event))
                .map(|bytes| (state, bytes))
        });
    bar.end();
    let (state, bytes) = fetched?;
    let verified =
        dataset::verify_fetched(context, out, profile, &state.id).inspect_err(|_| set_aside(out))?;
    let mut text = format!(
        "{}: {}, signed by {}\n",
        out.display(),
        render::bytes(bytes),
        profile.node
    );
    if state.reused {
        text.push_str("answered from stored records: no packet was read\n");
    }
    text.push_str(&verified.text);
    let value = json!({
        "id": state.id, "file": out, "bytes": bytes, "reused": state.reused, "dataset": verified.value,
    });
    context.output.result(&value, &text);
    Ok(())
}

/// What does not verify must not stand under the name that was asked for.
fn set_aside(out: &Path) {
    let mut name = out.as_os_str().to_owned();
    name.push(".unverified");
    let _ = std::fs::rename(out, PathBuf::from(name));
}

/// clap lets `-o` be left out only with `--explain`.
fn explain(context: &Context, client: &Client, ask: &Ask) -> Result<()> {
    let explained = client.explain(ask)?;
    let estimate = explained.estimate;
    let mut text = String::from("allowed\n");
    if estimate.from_records {
        text.push_str("answered from stored records: no packet would be read\n");
    } else {
        text.push_str(&format!(
            "would read at most about {} in {} segments, {} packets, {:.1} s\n",
            render::bytes(estimate.bytes),
            render::count(estimate.segments),
            render::count(estimate.packets),
            estimate.seconds
        ));
    }
    if !estimate.from_records && estimate.recorded_ns > 0 {
        text.push_str(&format!(
            "and take {:.1} s of the window from stored records\n",
            estimate.recorded_ns as f64 / 1e9
        ));
    }
    context
        .output
        .result(&serde_json::to_value(&explained).expect("plain data"), &text);
    Ok(())
}

/// Found out before a query is run for it.
fn refuse_existing(out: Option<&Path>) -> Result<()> {
    match out {
        Some(out) if out.exists() => Err(ClientError::usage(
            format!("{} exists already", out.display()),
            "choose another name with -o, or remove it",
        )),
        Some(out)
            if out
                .parent()
                .is_some_and(|dir| !dir.as_os_str().is_empty() && !dir.is_dir()) =>
        {
            Err(ClientError::usage(
                format!("the folder of {} does not exist", out.display()),
                "make it first",
            ))
        }
        _ => Ok(()),
    }
}

/// Resolves a window; asks the node what it has only where the answer depends on it.
fn window(client: &Client, args: &WindowArgs) -> Result<(u64, u64)> {
    let now_ns = wall_clock_ns();
    let from = args.from.map(|moment| moment.resolve(now_ns));
    let to = args.to.map(|moment| moment.resolve(now_ns));
    let (from_ns, to_ns) = match (from, to, args.last) {
        (Some(from), Some(to), _) => (from, to),
        (from, to, last) => {
            let coverage = client.catalog()?.coverage.ok_or_else(|| {
                ClientError::usage(
                    "the node's trace is empty, so there is nothing to measure the window from",
                    "say both --from and --to; a window in the future runs live",
                )
            })?;
            let to = to.unwrap_or(coverage.to_ns);
            let start = last.map_or(coverage.from_ns, |span| {
                to.saturating_sub(span.ns).max(coverage.from_ns)
            });
            (from.unwrap_or(start), to)
        }
    };
    if from_ns >= to_ns {
        return Err(ClientError::usage(
            format!(
                "the window ends before it begins: {}",
                render::window(from_ns, to_ns)
            ),
            "give --from a time before --to; `como catalog` says what the node has",
        ));
    }
    Ok((from_ns, to_ns))
}

/// A module as people name it: a .cmod file to send along, a hash, or a name.
fn module(text: &str) -> Result<(ModuleRef, Vec<u8>)> {
    if text.ends_with(".cmod") {
        let carried = read_file(Path::new(text), MAX_MODULE_BYTES)?;
        return Ok((ModuleRef::default(), carried));
    }
    Ok((module_ref(text), Vec::new()))
}

/// 64 hex digits are a hash, everything else is a name: names that the node does not know it refuses.
pub fn module_ref(text: &str) -> ModuleRef {
    match hex::decode(text) {
        Ok(hash) if hash.len() == 32 => ModuleRef {
            name: String::new(),
            hash,
        },
        _ => ModuleRef {
            name: text.to_owned(),
            hash: Vec::new(),
        },
    }
}

pub fn pairs(arguments: &[Argument]) -> Vec<(String, i64)> {
    arguments
        .iter()
        .map(|argument| (argument.name.clone(), argument.value))
        .collect()
}
