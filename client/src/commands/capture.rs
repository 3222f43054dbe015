//! Capture files as commands take them: opened, and their damage told. Must never print a packet.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::Path;

use como_savefile::{End, OpenError, Reader};

use crate::error::{ClientError, Result};
use crate::render;

/// Opens a capture by name, or stdin by `-`.
pub fn open(path: &Path) -> Result<Reader<Box<dyn Read>>> {
    if !is_stdio(path) {
        let file = File::open(path).map_err(|error| ClientError::read(path, error))?;
        return reader(Box::new(file), path);
    }
    refuse_terminal()?;
    reader(Box::new(io::stdin()), path)
}

/// A capture that is open already.
pub fn reader<R: Read>(input: R, named: &Path) -> Result<Reader<R>> {
    Reader::new(input).map_err(|error| match error {
        OpenError::Io(source) => ClientError::read(named, source),
        other => ClientError::of_input(format!(
            "{} is not a pcap or pcapng file: {other}",
            named.display()
        )),
    })
}

/// Nobody types a capture.
pub fn refuse_terminal() -> Result<()> {
    if io::stdin().is_terminal() {
        return Err(ClientError::usage(
            "`-` reads a capture from stdin, and stdin is a terminal",
            "pipe one in, for example from `tcpdump -w -`, or name a file",
        ));
    }
    Ok(())
}

/// What was before the damage was used; the exit code says that it is not all. `fix`: what holds, and what to do.
pub fn damage(end: End, packets: u64, input: &Path, fix: &str) -> Result<()> {
    let what = match end {
        End::Clean => return Ok(()),
        End::Truncated => "ends inside a record",
        End::Corrupt => "is corrupt from there on",
    };
    let packets = render::count(packets);
    Err(ClientError::input(
        format!("{} {what}, after {packets} packets", input.display()),
        fix,
    ))
}

/// Whether a path stands for stdin or stdout.
pub fn is_stdio(path: &Path) -> bool {
    path.as_os_str() == "-"
}
