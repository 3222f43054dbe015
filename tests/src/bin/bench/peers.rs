//! The tools that we are compared with, and how each is called for the same work. Must never be unfair:
//! a peer gets the options that its users would give it, and a file that it can read.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::measure::{self, Cost};

/// libtrace aborts on wire lengths of 64 KiB and more, in bytes.
const LIBTRACE_WIRE_BYTES: u32 = 65_000;
/// Any key: Crypto-PAn's work does not depend on it.
const TRACEANON_KEY: &str = "0123456789abcdef0123456789abcdef";

/// Whether a tool is here; else why its row is short.
pub fn found(tool: &str) -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let here = std::env::split_paths(&path).any(|folder| folder.join(tool).is_file());
    here.then_some(())
        .ok_or_else(|| format!("{tool} is not installed; `make setup-bench` installs it from Debian"))
}

/// `tcpdump -r FILE -w OUT`: every packet read and written, nothing else done.
pub fn tcpdump_copy(trace: &Path, scratch: &Path) -> Result<Cost, String> {
    found("tcpdump")?;
    let mut command = Command::new("tcpdump");
    command
        .arg("-r")
        .arg(trace)
        .arg("-w")
        .arg(scratch.join("tcpdump.pcap"));
    measure::command(as_ourselves(&mut command))
}

/// `tcpdump -r FILE -w OUT FILTER`: the packets that pass, out of all of them.
pub fn tcpdump_filter(trace: &Path, filter: &str, scratch: &Path) -> Result<Cost, String> {
    found("tcpdump")?;
    let mut command = Command::new("tcpdump");
    command
        .arg("-n")
        .arg("-r")
        .arg(trace)
        .arg("-w")
        .arg(scratch.join("tcpdump.pcap"));
    measure::command(as_ourselves(&mut command).arg(filter))
}

/// `cp`: the limit of everything that reads a file and writes one.
pub fn cp(trace: &Path, scratch: &Path) -> Result<Cost, String> {
    let out = scratch.join("copy");
    clear(&out);
    measure::command(Command::new("cp").arg(trace).arg(&out))
}

/// A copy of the trace that libtrace does not abort on.
pub fn for_libtrace(trace: &Path, scratch: &Path) -> Result<PathBuf, String> {
    found("traceanon")?;
    found("tcpdump")?;
    let trimmed = scratch.join("libtrace.pcap");
    let mut command = Command::new("tcpdump");
    command.arg("-n").arg("-r").arg(trace).arg("-w").arg(&trimmed);
    command.arg(format!("less {LIBTRACE_WIRE_BYTES}"));
    measure::command(as_ourselves(&mut command))?;
    Ok(trimmed)
}

/// `traceanon`: Crypto-PAn on the addresses of both ends, and nothing else treated.
pub fn traceanon(trimmed: &Path, scratch: &Path) -> Result<Cost, String> {
    found("traceanon")?;
    let uri = |path: &Path| format!("pcapfile:{}", path.display());
    let mut command = Command::new("traceanon");
    let out = scratch.join("traceanon.pcap");
    clear(&out);
    command.args(["-s", "-d", "-c", TRACEANON_KEY]);
    command.arg(uri(trimmed)).arg(uri(&out));
    measure::command(&mut command)
}

/// Removes what a round before wrote: giving its pages back would cost the next round's program processor time.
pub fn clear(out: &Path) {
    // It need not be there.
    let _ = std::fs::remove_file(out);
}

/// `lz4 -1`: size of the capture compressed, bytes.
pub fn lz4_bytes(trace: &Path, scratch: &Path) -> Result<u64, String> {
    found("lz4")?;
    let out = scratch.join("trace.lz4");
    measure::command(Command::new("lz4").args(["-1", "-q", "-f"]).arg(trace).arg(&out))?;
    std::fs::metadata(&out)
        .map(|meta| meta.len())
        .map_err(|e| format!("lz4 left no file: {e}"))
}

/// Started as root, tcpdump would become another user, who cannot write to our scratch folder.
fn as_ourselves(command: &mut Command) -> &mut Command {
    if nix::unistd::geteuid().is_root() {
        command.args(["-Z", "root"]);
    }
    command
}
