//! `como dataset open`: a dataset into a file of another format, or into a pipe.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal as _};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Context;
use super::dataset::{of_dataset, reader};
use crate::cli::DatasetOpen;
use crate::convert::{self, ConvertError, Converted};
use crate::error::{ClientError, Result};
use crate::render;

pub fn open(context: &Context, args: &DatasetOpen) -> Result<()> {
    let to_stdout = args.out.as_os_str() == "-";
    if !to_stdout && args.out.exists() {
        return Err(ClientError::usage(
            format!("{} exists already", args.out.display()),
            "choose another name with -o, or remove it",
        ));
    }
    if to_stdout && args.to.is_binary() && std::io::stdout().is_terminal() {
        return Err(ClientError::usage(
            "binary data would go to the terminal",
            "pipe it into a program, or name a file with -o",
        ));
    }
    let mut reader = reader(context, &args.dataset.file)?;
    let chunks = reader.chunk_count().unwrap_or(0);
    let mut bar = context.output.progress();
    let mut progress = |done| bar.to("opening", done, chunks, false);
    let result = if to_stdout {
        convert::convert(&mut reader, args.to.into(), std::io::stdout(), &mut progress)
    } else {
        to_file(&args.out, |out| {
            convert::convert(&mut reader, args.to.into(), out, &mut progress)
        })
    };
    bar.end();
    let converted = match result {
        // A pipe that closes early (`| head`) is the reader's wish, not an error.
        Err(ConvertError::Output(error)) if to_stdout && error.kind() == ErrorKind::BrokenPipe => {
            return Ok(());
        }
        result => result.map_err(|error| of_convert(error, &args.out))?,
    };
    if !to_stdout {
        report(context, &args.out, converted);
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
fn to_file(
    out: &Path,
    write: impl FnOnce(&File) -> std::result::Result<Converted, ConvertError>,
) -> std::result::Result<Converted, ConvertError> {
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
        ConvertError::Output(error) => ClientError::write(out, error),
        other => {
            let (what, fix) = crate::error::split(&other.to_string());
            ClientError::usage(what, fix)
        }
    }
}
