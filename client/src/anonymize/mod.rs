//! The node's own anonymization as a tool for capture files and pipes: packets in, what a level shows of them out.
//!
//! Owns the way of a packet through the tool, in constant memory and in order. Nothing but packets passes: of
//! pcapng's names, comments, statistics and secrets there is only a count. Must never invent a key, nor keep a
//! packet that the level denies.

mod keys;
mod pipeline;
mod sink;
mod summary;
mod treat;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use como_policies::AccessLevel;
use como_savefile::{Format, Reader};

use crate::error::{ClientError, Result};

pub use keys::{KeyFiles, anonymizer, generate_key, treatment};
pub use summary::Summary;
pub use treat::Treatment;

/// Treats a whole capture. `format` is that of packets written, by default the input's; tables are CSV.
/// `progress` is told the bytes read.
pub fn anonymize<R: Read + Send, W: Write + Send>(
    input: Reader<R>,
    out: W,
    treatment: &Treatment,
    format: Option<Format>,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Summary> {
    let bytes_out = AtomicU64::new(0);
    let out = Counted {
        out,
        bytes: &bytes_out,
    };
    let mut summary = match treatment.level() {
        AccessLevel::Aggregate | AccessLevel::Coarse => {
            let mut tables = sink::Tables::new(out, treatment)?;
            pipeline::run(input, treatment, None, &mut tables, progress)
        }
        AccessLevel::Anonymized | AccessLevel::Headers | AccessLevel::Payload => {
            let encoder = sink::encoder(format.unwrap_or(input.format()));
            let mut packets = sink::Packets::new(out, encoder, input.link())?;
            pipeline::run(input, treatment, Some(encoder), &mut packets, progress)
        }
    }?;
    summary.bytes_out = bytes_out.into_inner();
    Ok(summary)
}

/// An error of writing, by who must act.
fn of_write(error: como_savefile::WriteError) -> ClientError {
    match error {
        como_savefile::WriteError::Output(error) => failed_output(error),
        other => {
            let (what, fix) = crate::error::split(&other.to_string());
            ClientError::usage(what, fix)
        }
    }
}

/// Who writes knows the name: [`crate::commands`] puts it in.
fn failed_output(source: std::io::Error) -> ClientError {
    ClientError::write(std::path::Path::new("the output"), source)
}

/// Counts what is written.
struct Counted<'a, W> {
    out: W,
    bytes: &'a AtomicU64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests;
