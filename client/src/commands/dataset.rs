//! `como dataset info | verify | open | plot`.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use como_dataset::{Chunk, Completeness, DatasetError, DatasetReader, Head, Header, Schema, Verified};
use serde_json::{Value, json};

use super::Context;
use crate::answer::one_line;
use crate::cli::{DatasetCommand, DatasetPlot, DatasetVerify};
use crate::error::{ClientError, Result};
use crate::plot::Plot;
use crate::profile::{self, Profile};
use crate::render;

/// Gaps that are listed for a person.
const MAX_GAPS_SHOWN: usize = 5;

pub fn run(context: &Context, command: DatasetCommand) -> Result<()> {
    match command {
        DatasetCommand::Info(args) => info(context, &args.file),
        DatasetCommand::Verify(args) => verify(context, &args),
        DatasetCommand::Open(args) => super::open::open(context, &args),
        DatasetCommand::Merge(args) => super::open::merge(context, &args),
        DatasetCommand::Plot(args) => plot(context, &args),
    }
}

/// What is known of a dataset, for a person and for a script.
pub struct Summary {
    pub text: String,
    pub value: Value,
}

/// Checks what was just fetched: whole, signed by the node, and the answer to this very query.
pub fn verify_fetched(context: &Context, file: &Path, profile: &Profile, query_id: &str) -> Result<Summary> {
    let verified = como_dataset::verify(open_file(file)?, &profile.node_key).map_err(of_dataset)?;
    let header = &verified.header;
    if header.query_id != query_id || header.node != profile.node.as_str() {
        return Err(ClientError::verification(
            format!(
                "the node sent the dataset of query `{}` of {}",
                one_line(&header.query_id),
                one_line(&header.node)
            ),
            "do not use it; tell the node's operator",
        ));
    }
    let end = DatasetReader::open(
        open_file(file)?,
        &context.bundle()?.dataset_identity()?,
        Some(&profile.node_key),
    )
    .map_err(of_dataset)?
    .completeness()
    .cloned();
    Ok(summary(header, end.as_ref()))
}

fn info(context: &Context, file: &Path) -> Result<()> {
    let head = Head::read(&mut open_file(file)?).map_err(of_dataset)?;
    // With one's own key the sealed end says how complete it is; without it, the header is all there is.
    let end = context
        .bundle()
        .and_then(|bundle| bundle.dataset_identity())
        .ok()
        .and_then(|identity| {
            DatasetReader::open(open_file(file).ok()?, &identity, None)
                .ok()?
                .completeness()
                .cloned()
        });
    let Summary { mut text, mut value } = summary(&head.header, end.as_ref());
    text.push_str(&format!("recipients  {}\n", head.recipients()));
    text.push_str("signature   not checked here: `como dataset verify` does\n");
    value["recipients"] = head.recipients().into();
    context.output.result(&value, &text);
    Ok(())
}

fn verify(context: &Context, args: &DatasetVerify) -> Result<()> {
    let file = &args.dataset.file;
    let key = match &args.node_key {
        Some(_) => context.node_key(args.node_key.as_deref())?,
        None => {
            let head = Head::read(&mut open_file(file)?).map_err(of_dataset)?;
            match joined(context, &head.header.node) {
                Some(profile) => profile.node_key,
                None => context.node_key(None)?,
            }
        }
    };
    let verified: Verified = como_dataset::verify(open_file(file)?, &key).map_err(of_dataset)?;
    let Summary { mut text, mut value } = summary(&verified.header, None);
    text.push_str(&format!("root        {}\n", hex::encode(verified.root)));
    text.push_str(&format!(
        "verified    whole, and signed by the node's key {}\n",
        verified.signer
    ));
    value["root"] = hex::encode(verified.root).into();
    value["signer"] = verified.signer.to_string().into();
    value["chunks"] = verified.chunk_count.into();
    context.output.result(&value, &text);
    Ok(())
}

fn plot(context: &Context, args: &DatasetPlot) -> Result<()> {
    let mut reader = reader(context, &args.dataset.file)?;
    let Schema::Table(fields) = reader.header().schema.clone() else {
        return Err(ClientError::input(
            format!("{} holds packets, not a table", args.dataset.file.display()),
            "open it with `como dataset open --to pcapng`",
        ));
    };
    let mut plot = Plot::new(&fields, args.column.as_deref(), args.rows)?;
    while let Some(chunk) = reader.next_chunk().map_err(of_dataset)? {
        if let Chunk::Table(batch) = chunk {
            plot.add(&batch);
        }
    }
    let value = json!({
        "column": plot.column().name, "unit": plot.column().unit, "rows": plot.rows(),
        "series": plot.series().collect::<Vec<_>>(), "largest": plot.largest(),
    });
    context.output.result(&value, &plot.render(super::page_width()));
    Ok(())
}

/// Opens with one's own identity, and with the node's key where that node was joined.
pub fn reader(context: &Context, file: &Path) -> Result<DatasetReader<BufReader<File>>> {
    let identity = context.bundle()?.dataset_identity()?;
    let head = Head::read(&mut open_file(file)?).map_err(of_dataset)?;
    let profile = joined(context, &head.header.node);
    if profile.is_none() {
        context.output.note(&format!(
            "note: you have not joined {}, so its signature is not checked",
            one_line(&head.header.node)
        ));
    }
    let node_key = profile.as_ref().map(|profile| &profile.node_key);
    DatasetReader::open(open_file(file)?, &identity, node_key).map_err(of_dataset)
}

/// The profile of the node of that id, where it was joined.
fn joined(context: &Context, node: &str) -> Option<Profile> {
    let keys = context.keys_dir().ok()?;
    let profiles = profile::names(&keys)
        .into_iter()
        .filter_map(|name| profile::find(&keys, Some(&name)).ok());
    profiles.into_iter().find(|profile| profile.node.as_str() == node)
}

fn open_file(file: &Path) -> Result<BufReader<File>> {
    File::open(file)
        .map(BufReader::new)
        .map_err(|error| ClientError::read(file, error))
}

/// A dataset's error by who must act.
pub fn of_dataset(error: DatasetError) -> ClientError {
    match error {
        DatasetError::NotADataset
        | DatasetError::UnknownVersion { .. }
        | DatasetError::UnknownSuite { .. }
        | DatasetError::Io(_) => ClientError::of_input(error),
        DatasetError::NotARecipient { .. } => {
            let (what, fix) = crate::error::split(&error.to_string());
            ClientError::keys(what, fix)
        }
        other => ClientError::of_verification(other),
    }
}

fn summary(header: &Header, end: Option<&Completeness>) -> Summary {
    let mut lines = vec![
        ("node", one_line(&header.node)),
        ("query", one_line(&header.query_id)),
        ("kind", kind(header)),
        ("level", header.level.to_string()),
        (
            "window",
            render::window(header.window.from_ns, header.window.to_ns),
        ),
        (
            "filter",
            if header.filter.is_empty() {
                "(all packets)".into()
            } else {
                one_line(&header.filter)
            },
        ),
        ("audience", one_line(&header.audience)),
        ("made", crate::time::Display(header.created_ns).to_string()),
    ];
    if let Some(module) = &header.module {
        let arguments: String = module
            .args
            .iter()
            .map(|(name, value)| format!(" {name}={value}"))
            .collect();
        lines.insert(
            3,
            (
                "module",
                one_line(&format!("{} release {}{arguments}", module.name, module.release)),
            ),
        );
    }
    let gaps = end.map_or(&header.gaps, |end| &end.gaps);
    if let Some(end) = end {
        let rows = format!(
            "{} packets, {} rows",
            render::count(end.packets),
            render::count(end.rows)
        );
        lines.push(("content", rows));
        lines.push(("complete", complete(end)));
    }
    let mut text: String = lines
        .iter()
        .map(|(name, value)| format!("{name:<10}  {value}\n"))
        .collect();
    for gap in gaps.iter().take(MAX_GAPS_SHOWN) {
        let count = gap.count.map_or("unknown".into(), render::count);
        let window = render::window(gap.from_ns, gap.to_ns);
        text.push_str(&format!(
            "gap         {window}: {}, packets lost: {count}\n",
            one_line(&gap.cause)
        ));
    }
    if gaps.len() > MAX_GAPS_SHOWN {
        text.push_str(&format!(
            "            … and {} more gaps (--json lists all)\n",
            gaps.len() - MAX_GAPS_SHOWN
        ));
    }
    let sampled = end.map_or(&[][..], |end| &end.sampled);
    for stretch in sampled.iter().take(MAX_GAPS_SHOWN) {
        let window = render::window(stretch.window.from_ns, stretch.window.to_ns);
        let one_in = render::count(stretch.one_in.into());
        text.push_str(&format!(
            "estimated   {window}: one packet in {one_in} was looked at\n"
        ));
    }
    if sampled.len() > MAX_GAPS_SHOWN {
        text.push_str(&format!(
            "            … and {} more estimated stretches (--json lists all)\n",
            sampled.len() - MAX_GAPS_SHOWN
        ));
    }
    Summary {
        text,
        value: as_json(header, end),
    }
}

fn kind(header: &Header) -> String {
    match &header.schema {
        Schema::Table(fields) => {
            let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            one_line(&format!("table: {}", names.join(", ")))
        }
        Schema::Packets { link_type } => format!("packets, link type {link_type}"),
    }
}

fn complete(end: &Completeness) -> String {
    if end.is_complete() {
        return "yes".into();
    }
    format!(
        "no: {} gaps, {} interrupted intervals, {} suppressed rows",
        end.gaps.len(),
        end.interrupted.len(),
        end.suppressed_rows
    )
}

fn as_json(header: &Header, end: Option<&Completeness>) -> Value {
    let gaps = end.map_or(&header.gaps, |end| &end.gaps);
    let gaps: Vec<Value> = gaps
        .iter()
        .map(|gap| json!({ "from_ns": gap.from_ns, "to_ns": gap.to_ns, "cause": gap.cause, "count": gap.count }))
        .collect();
    let columns: Vec<Value> = header
        .schema
        .fields()
        .iter()
        .map(|f| json!({ "name": f.name, "kind": f.kind.name(), "unit": f.unit, "merge": f.merge, "description": f.description }))
        .collect();
    let module = header.module.as_ref().map(|module| {
        let arguments: serde_json::Map<_, _> =
            module.args.iter().map(|(name, value)| (name.clone(), (*value).into())).collect();
        json!({ "name": module.name, "release": module.release, "hash": module.hash_hex, "arguments": arguments })
    });
    let content = end.map(|end| {
        let sampled: Vec<Value> = end
            .sampled
            .iter()
            .map(|s| json!({ "from_ns": s.window.from_ns, "to_ns": s.window.to_ns, "one_in": s.one_in }))
            .collect();
        json!({
            "packets": end.packets, "rows": end.rows, "complete": end.is_complete(),
            "interrupted_intervals": end.interrupted.len(), "suppressed_rows": end.suppressed_rows,
            "sampled": sampled,
        })
    });
    json!({
        "node": header.node, "query": header.query_id, "level": header.level.to_string(),
        "from_ns": header.window.from_ns, "to_ns": header.window.to_ns, "filter": header.filter,
        "audience": header.audience, "mapping_epoch": header.mapping_epoch, "created_ns": header.created_ns,
        "policy": header.policy_hash, "module": module, "columns": columns, "gaps": gaps, "content": content,
        "kind": if header.schema.fields().is_empty() { "packets" } else { "table" },
    })
}
