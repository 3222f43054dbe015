//! `como anonymize`: opens, names and replaces files; the work is the library's.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, IsTerminal as _, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use como_anonymize::fields;
use como_policies::AccessLevel;
use como_savefile::Format;
use serde_json::{Value, json};

use super::Context;
use super::capture::{self, is_stdio};
use crate::anonymize::{self, KeyFiles, Summary, Treatment};
use crate::cli::{Anonymize, CaptureFormat, Level};
use crate::error::{ClientError, Result};

/// Mode of what is written, before the umask: like every other file.
const OUTPUT_MODE: u32 = 0o666;

pub fn run(context: &Context, args: &Anonymize) -> Result<()> {
    if let Some(level) = args.explain {
        return explain(context, level.into());
    }
    let (Some(level), Some(input), Some(out)) = (args.level, &args.input, &args.out) else {
        return Err(ClientError::usage(
            "a level, an input and an output are needed",
            "see `como anonymize --help`",
        ));
    };
    check_paths(args, input, out)?;
    let named = KeyFiles {
        key: args.key_file.clone(),
        cryptopan: args.cryptopan_key_file.clone(),
        cryptopan_v6: args.cryptopan_key_file_v6.clone(),
        allow_shared: args.allow_shared_key,
    };
    let treatment = anonymize::treatment(level.into(), &named)?;
    let job = Job {
        context,
        treatment: &treatment,
        format: format(args, out),
        input,
    };
    let summary = if is_stdio(input) {
        capture::refuse_terminal()?;
        job.write_output(io::stdin(), 0, out, args.force)?
    } else {
        let file = File::open(input).map_err(|error| ClientError::read(input, error))?;
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        job.write_output(file, length, out, args.force)?
    };
    let Some(summary) = summary else { return Ok(()) };
    if let Some(report) = &args.report {
        let text = format!("{:#}\n", summary.json());
        replace(report, args.force, |file| {
            file.write_all(text.as_bytes())
                .map_err(|error| ClientError::write(report, error))
        })?;
    }
    if context.output.json && !is_stdio(out) {
        context.output.result(&summary.json(), "");
    }
    context.output.note(summary.text().trim_end());
    capture::damage(
        summary.end(),
        summary.packets_in(),
        input,
        "the output holds what came before; take the capture again for the rest",
    )
}

/// What can be refused before anything is read.
fn check_paths(args: &Anonymize, input: &Path, out: &Path) -> Result<()> {
    let same = |path: &Path| matches!((fs::canonicalize(input), fs::canonicalize(path)), (Ok(one), Ok(other)) if one == other);
    for path in [Some(out), args.report.as_deref()].into_iter().flatten() {
        if is_stdio(path) {
            continue;
        }
        if path.is_file() && same(path) {
            return Err(ClientError::usage(
                format!("{} is the input too", path.display()),
                "name another file: the original would be lost",
            ));
        }
        if path.is_file() && !args.force {
            return Err(ClientError::usage(
                format!("{} exists already", path.display()),
                "name another file, or replace it with --force",
            ));
        }
    }
    if is_stdio(out) && io::stdout().is_terminal() {
        return Err(ClientError::usage(
            "the output would go to the terminal",
            "pipe it into a program, or name a file",
        ));
    }
    Ok(())
}

/// As asked for, else by the output's name; `None`: as the input.
fn format(args: &Anonymize, out: &Path) -> Option<Format> {
    match args.format {
        Some(CaptureFormat::Pcap) => Some(Format::Pcap),
        Some(CaptureFormat::Pcapng) => Some(Format::Pcapng),
        None => [Format::Pcap, Format::Pcapng].into_iter().find(|format| {
            out.extension()
                .is_some_and(|extension| extension == format.name())
        }),
    }
}

struct Job<'a> {
    context: &'a Context,
    treatment: &'a Treatment,
    format: Option<Format>,
    input: &'a Path,
}

impl Job<'_> {
    /// `None`: the reader of our pipe went away (`| head`), which is its wish and no error.
    fn write_output(
        &self,
        input: impl Read + Send,
        length: u64,
        out: &Path,
        force: bool,
    ) -> Result<Option<Summary>> {
        if !is_stdio(out) {
            return replace(out, force, |file| self.treat(input, length, file))
                .map_err(|error| named_as(error, out))
                .map(Some);
        }
        match self.treat(input, length, io::stdout()) {
            Err(ClientError::File { source, .. }) if source.kind() == ErrorKind::BrokenPipe => Ok(None),
            result => result.map(Some),
        }
    }

    fn treat(&self, input: impl Read + Send, length: u64, out: impl Write + Send) -> Result<Summary> {
        let reader = capture::reader(input, self.input)?;
        let mut bar = self.context.output.progress();
        let mut progress = |done| bar.to("treating", done, length, true);
        let result = anonymize::anonymize(reader, out, self.treatment, self.format, &mut progress);
        bar.end();
        result
    }
}

/// Writes beside the file and renames at the end: a half one never stands under the name. What is no plain file
/// (a device, a named pipe) is written into.
fn replace<T>(path: &Path, force: bool, write: impl FnOnce(&mut File) -> Result<T>) -> Result<T> {
    let failed = |error| ClientError::write(path, error);
    if path.exists() && !path.is_file() {
        return write(&mut File::options().write(true).open(path).map_err(failed)?);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut part = tempfile::Builder::new()
        .prefix(".como-")
        .suffix(".part")
        .permissions(Permissions::from_mode(OUTPUT_MODE))
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        // Its own words name a file that nobody knows.
        .map_err(|error| failed(error.kind().into()))?;
    let written = write(part.as_file_mut())?;
    let persisted = match force {
        true => part.persist(path),
        false => part.persist_noclobber(path),
    };
    persisted.map_err(|error| failed(error.error))?;
    Ok(written)
}

/// The library does not know names.
fn named_as(error: ClientError, out: &Path) -> ClientError {
    match error {
        ClientError::File {
            doing: "written",
            source,
            ..
        } => ClientError::write(out, source),
        other => other,
    }
}

/// The table comes from the code that treats the fields: it cannot say what is not done.
fn explain(context: &Context, level: AccessLevel) -> Result<()> {
    let rows: Vec<[&str; 3]> = fields::table()
        .map(|rule| [rule.layer, rule.field, rule.rules[usize::from(level.as_u8())]])
        .collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let (layers, names) = (width(0), width(1));
    let text: String = rows
        .iter()
        .map(|[layer, field, rule]| format!("{layer:layers$}  {field:names$}  {rule}\n"))
        .collect();
    let value: Vec<Value> = rows
        .iter()
        .map(|[layer, field, rule]| json!({ "layer": layer, "field": field, "rule": rule }))
        .collect();
    context
        .output
        .result(&json!({ "level": level.name(), "fields": value }), &text);
    Ok(())
}

impl From<Level> for AccessLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Aggregate => Self::Aggregate,
            Level::Coarse => Self::Coarse,
            Level::Anonymized => Self::Anonymized,
            Level::Headers => Self::Headers,
            Level::Payload => Self::Payload,
        }
    }
}
