//! Where an export goes: stdout, or a file that appears whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use como_savefile::{Encoder, Resolution, Section as FileSection, WriteError, Writer};

use super::Format;
use super::reading::Records;
use crate::admin::AdminError;

/// Link type that a pcap file without a packet tells: Ethernet.
const LINK_OF_NOTHING: u32 = 1;

/// Where packets go: stdout, or a file that appears whole or not at all.
pub(super) struct Output {
    target: PathBuf,
    format: Format,
    to: Option<To>,
    writer: Option<Writer<BufWriter<To>>>,
    force: bool,
}

enum To {
    /// As a file: the standard library's own buffer looks for the ends of lines.
    Stdout(File),
    File(tempfile::NamedTempFile),
}

impl Write for To {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File(file) => file.flush(),
        }
    }
}

impl Output {
    pub fn create(target: &Path, force: bool, format: Format) -> Result<Self, AdminError> {
        let to = if target == Path::new("-") {
            let stdout = io::stdout().as_fd().try_clone_to_owned();
            To::Stdout(stdout.map_err(AdminError::file(target))?.into())
        } else {
            if target.exists() && !force {
                return Err(AdminError::refused(
                    format!("{} is there already", target.display()),
                    "name another file, or add --force to replace it",
                ));
            }
            let folder = match target.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            };
            To::File(tempfile::NamedTempFile::new_in(folder).map_err(AdminError::file(target))?)
        };
        Ok(Self {
            target: target.to_owned(),
            format,
            to: Some(to),
            writer: None,
            force,
        })
    }

    /// The writer, made with the first packet: a pcap file tells its link type at its beginning.
    fn writer(&mut self, link: u32) -> Result<&mut Writer<BufWriter<To>>, WriteError> {
        if let Some(to) = self.to.take() {
            let out = BufWriter::new(to);
            self.writer = Some(match self.format {
                Format::Pcap => Writer::pcap(out, link, Resolution::Nanoseconds)?,
                Format::Pcapng => {
                    let section = FileSection {
                        application: concat!("como-node ", env!("CARGO_PKG_VERSION")),
                        ..FileSection::default()
                    };
                    Writer::pcapng(out, &section)?
                }
            });
        }
        self.writer
            .as_mut()
            .ok_or_else(|| WriteError::Output(io::Error::other("the output broke before")))
    }

    /// Appends records that [`Output::encoder`] made.
    pub fn records(&mut self, records: &mut Records) -> Result<(), WriteError> {
        self.writer(records.link)?
            .records(records.link, &mut records.bytes)
    }

    /// What makes records for this output.
    pub fn encoder(&self) -> Encoder {
        match self.format {
            Format::Pcap => Encoder::Pcap(Resolution::Nanoseconds),
            Format::Pcapng => Encoder::Pcapng,
        }
    }

    pub fn finish(mut self) -> Result<(), AdminError> {
        let begun = self.writer(LINK_OF_NOTHING).map(drop);
        begun.map_err(|error| self.failed(error))?;
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        let io = AdminError::file(&self.target);
        let out = match writer.finish() {
            Ok(out) => out,
            Err(error) => return Err(self.failed(error)),
        };
        match out.into_inner() {
            Ok(To::Stdout(mut out)) => out.flush().map_err(io),
            Ok(To::File(file)) => {
                file.as_file()
                    .sync_all()
                    .map_err(AdminError::file(&self.target))?;
                let placed = match self.force {
                    true => file.persist(&self.target),
                    false => file.persist_noclobber(&self.target),
                };
                placed.map(drop).map_err(|error| io(error.error))
            }
            Err(error) => Err(io(error.into_error())),
        }
    }

    pub fn failed(&self, error: WriteError) -> AdminError {
        match error {
            WriteError::Output(why) => AdminError::file(&self.target)(why),
            other => {
                let text = other.to_string();
                let (what, fix) = text.split_once('\n').unwrap_or((&text, ""));
                AdminError::refused(what, fix)
            }
        }
    }
}
