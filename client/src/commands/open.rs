//! `como dataset open` and `merge`: a dataset, or the table that several become, into a file of another format, or into a
//! pipe.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use como_dataset::{ColumnKind, Completeness};
use serde_json::json;

use super::Context;
use super::dataset::{of_dataset, reader};
use crate::cli::{DatasetMerge, DatasetOpen, Format};
use crate::convert::{self, ConvertError, Converted};
use crate::error::{ClientError, Result};
use crate::merged::Merged;
use crate::{local, render};

pub fn open(context: &Context, args: &DatasetOpen) -> Result<()> {
    check_out(&args.out, args.to)?;
    let mut reader = reader(context, &args.dataset.file)?;
    let chunks = reader.chunk_count().unwrap_or(0);
    let mut bar = context.output.progress();
    let mut progress = |done| bar.to("opening", done, chunks, false);
    let result = write(&args.out, &mut |out| {
        convert::convert(&mut reader, args.to.into(), out, &mut progress)
    });
    bar.end();
    note_estimates(context, reader.completeness());
    told(context, &args.out, result)
}

/// Rows do not say of themselves that they are estimates.
fn note_estimates(context: &Context, end: Option<&Completeness>) {
    let Some(fewest) = end.and_then(|end| end.sampled.iter().map(|s| s.one_in).max()) else {
        return;
    };
    context.output.note(&format!(
        "note: some rows are estimates: at least one packet in {fewest} was looked at; `como dataset info` says when"
    ));
}

/// `como dataset merge`: what `open` does, of one table that several become.
pub fn merge(context: &Context, args: &DatasetMerge) -> Result<()> {
    check_out(&args.out, args.to)?;
    let readers = args.files.iter().map(|file| reader(context, file));
    let readers = readers.collect::<Result<Vec<_>>>()?;
    let module = args.module.as_ref().map(|module| local::load(module, None, None));
    let module = module.transpose()?;
    let every_ns = args.every.map(|every| every.ns);
    let others = readers.windows(2).any(|pair| {
        let (a, b) = (pair[0].header(), pair[1].header());
        (&a.node, &a.audience, a.mapping_epoch) != (&b.node, &b.audience, b.mapping_epoch)
    });
    let names_hosts = readers.iter().any(|reader| {
        let mut fields = reader.header().schema.fields().iter();
        fields.any(|field| field.kind == ColumnKind::Address)
    });
    if others && names_hosts {
        context.output.note(
            "note: pseudonyms of different nodes, projects or epochs: equal addresses may be different hosts",
        );
    }
    let mut merged = Merged::new(readers, module.as_ref(), every_ns)?;
    let missing = (merged.end().gaps.len(), merged.end().interrupted.len());
    if missing != (0, 0) {
        context.output.note(&format!(
            "note: incomplete: {} gaps, {} stretches of interrupted intervals; `como dataset info` of each says where",
            missing.0, missing.1
        ));
    }
    note_estimates(context, Some(merged.end()));
    let result = write(&args.out, &mut |out| {
        convert::convert_merged(&mut merged, args.to.into(), out, &mut |_| ())
    });
    told(context, &args.out, result)
}

fn is_stdout(out: &Path) -> bool {
    out.as_os_str() == "-"
}

fn check_out(out: &Path, format: Format) -> Result<()> {
    if !is_stdout(out) && out.exists() {
        return Err(ClientError::usage(
            format!("{} exists already", out.display()),
            "choose another name with -o, or remove it",
        ));
    }
    if is_stdout(out) && format.is_binary() && std::io::stdout().is_terminal() {
        return Err(ClientError::usage(
            "binary data would go to the terminal",
            "pipe it into a program, or name a file with -o",
        ));
    }
    Ok(())
}

type Written = std::result::Result<Converted, ConvertError>;

/// Writes to the file or to the pipe.
fn write(out: &Path, convert: &mut dyn FnMut(&mut (dyn Write + Send)) -> Written) -> Written {
    if is_stdout(out) {
        convert(&mut std::io::stdout())
    } else {
        to_file(out, |mut file| convert(&mut file))
    }
}

fn told(context: &Context, out: &Path, result: Written) -> Result<()> {
    let converted = match result {
        // A pipe that closes early (`| head`) is the reader's wish, not an error.
        Err(ConvertError::Output(error)) if is_stdout(out) && error.kind() == ErrorKind::BrokenPipe => {
            return Ok(());
        }
        result => result.map_err(|error| of_convert(error, out))?,
    };
    if !is_stdout(out) {
        report(context, out, converted);
    }
    Ok(())
}

fn report(context: &Context, out: &Path, converted: Converted) {
    let mut text = format!("{}: {} rows\n", out.display(), render::count(converted.rows));
    if converted.saturated_times > 0 {
        let times = render::count(converted.saturated_times);
        text.push_str(&format!(
            "{times} times after 2262 do not fit and stand as the last that does\n"
        ));
    }
    let value = json!({ "file": out, "rows": converted.rows, "saturated_times": converted.saturated_times });
    context.output.result(&value, &text);
}

/// Writes beside the file and renames: a half file never stands under the final name.
fn to_file(out: &Path, write: impl FnOnce(&File) -> Written) -> Written {
    let mut name = out.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let file = File::create(&part)?;
    let result = write(&file).and_then(|converted| {
        std::fs::rename(&part, out)?;
        Ok(converted)
    });
    if result.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    result
}

/// A converter's error by who must act.
fn of_convert(error: ConvertError, out: &Path) -> ClientError {
    match error {
        ConvertError::Dataset(error) => of_dataset(error),
        ConvertError::Merge(_) | ConvertError::Order => ClientError::of_input(error),
        ConvertError::Output(error) => ClientError::write(out, error),
        other => {
            let (what, fix) = crate::error::split(&other.to_string());
            ClientError::usage(what, fix)
        }
    }
}
