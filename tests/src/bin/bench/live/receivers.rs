//! The peers on the receiving end, each with the options that its users would give it: the whole packet, a ring
//! larger than ours, files on the same disk. Must never count what a peer says it captured, but what is in its files.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use como_savefile::{End, Reader, Record};
use como_tests::trial;

use super::link::Link;
use super::{POLL, READY, Reaped, Taken, once_quiet, tree_cpu_s};
use crate::peers::found;
use crate::rows::fresh_folder;

/// The ring of every receiver, MiB: what stenographer's documentation is about, and more than any of them takes by itself.
pub const RING_MIB: u32 = 256;
/// After this long stenotype hands on a block that is not full (`--blockage_sec`).
const STENO_BLOCKAGE: Duration = Duration::from_secs(1);
/// A block of stenotype's files, bytes: those of the kernel's ring, as they came.
const STENO_BLOCK_BYTES: u64 = 1 << 20;
/// Where in such a block the number of its packets stands (`struct tpacket_block_desc` in `linux/if_packet.h`).
const STENO_COUNT_AT: u64 = 12;

/// A tool that captures to disk and does nothing else (but for stenotype's index).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Tcpdump,
    Dumpcap,
    NetsniffNg,
    Stenotype,
}

impl Tool {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tcpdump, Self::Dumpcap, Self::NetsniffNg, Self::Stenotype];

    /// What is run.
    pub fn program(self) -> &'static str {
        match self {
            Self::Tcpdump => "tcpdump",
            Self::Dumpcap => "dumpcap",
            Self::NetsniffNg => "netsniff-ng",
            Self::Stenotype => "stenotype",
        }
    }

    fn command(self, interface: &str, folder: &Path) -> Command {
        let mut command = Command::new(self.program());
        let file = folder.join("out.pcap");
        match self {
            Self::Tcpdump => command
                .args(["-n", "-Z", "root", "-s", "262144", "-i", interface])
                .args(["-B", &(RING_MIB * 1024).to_string()])
                .arg("-w")
                .arg(file),
            Self::Dumpcap => command
                .args(["-q", "-P", "-i", interface, "-B", &RING_MIB.to_string()])
                .arg("-w")
                .arg(file),
            Self::NetsniffNg => command
                .args(["--in", interface, "--silent", "--no-sock-mem"])
                .args(["--ring-size", &format!("{RING_MIB}MiB")])
                .arg("--out")
                .arg(file),
            Self::Stenotype => command
                .arg(format!("--iface={interface}"))
                .arg(format!("--dir={}", folder.display()))
                .arg(format!("--blocks={RING_MIB}"))
                .args(["--threads=1", "--preallocate_file_mb=1024", "--no_watchdogs"])
                .args(["--blockage_sec=1", "--uid=root", "--gid=root"]),
        };
        command
    }

    /// Lets it capture while `burst` goes on, until it has nothing to do any more.
    pub fn receive<T>(
        self,
        link: &Link,
        scratch: &Path,
        burst: impl FnOnce() -> trial::Result<T>,
    ) -> trial::Result<(T, Taken)> {
        found(self.program())?;
        let folder = fresh_folder(scratch, self.program())?;
        for part in ["PKT0", "IDX0"].iter().filter(|_| self == Self::Stenotype) {
            fs::create_dir(folder.join(part)).map_err(|e| format!("{part}: {e}"))?;
        }
        let log = File::create(folder.join("log")).map_err(|e| format!("log: {e}"))?;
        let child = self
            .command(&link.interface, &folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("{} does not start: {e}", self.program()))?;
        let mut running = Reaped(child);
        let pid = running.0.id();
        self.wait_until_it_listens(link, &folder, &mut running)?;
        let before = tree_cpu_s(pid);
        let result = burst()?;
        let cpu_s = once_quiet(|| tree_cpu_s(pid)) - before;
        if self == Self::Stenotype {
            std::thread::sleep(STENO_BLOCKAGE + POLL); // Its last block.
        }
        running.interrupt();
        let stored = match self {
            Self::Stenotype => steno_packets(&folder.join("PKT0"))?,
            _ => packets_of(&folder.join("out.pcap"))?,
        };
        let _ = fs::remove_dir_all(&folder);
        Ok((
            result,
            Taken {
                stored,
                counted_lost: None,
                cpu_s,
            },
        ))
    }

    fn wait_until_it_listens(self, link: &Link, folder: &Path, running: &mut Reaped) -> trial::Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < READY {
            if let Ok(Some(status)) = running.0.try_wait() {
                let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
                let last = log.lines().next_back().unwrap_or_default().to_owned();
                return Err(format!("{} ended with {status}: {last}", self.program()));
            }
            std::thread::sleep(POLL);
            if link.listeners() > 0 {
                once_quiet(|| tree_cpu_s(running.0.id())); // Its ring is made after its socket.
                return Ok(());
            }
        }
        Err(format!("{} does not listen after {READY:?}", self.program()))
    }
}

/// Packets of a pcap or pcapng file. Its end may be cut: a signal ended its writer.
fn packets_of(path: &Path) -> trial::Result<u64> {
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let file = File::open(path).map_err(|e| failed(&e))?;
    let mut reader = Reader::new(file).map_err(|e| failed(&e))?;
    let mut packets = 0;
    loop {
        match reader.peek().map_err(|e| failed(&e))? {
            Record::Packet(..) => packets += 1,
            Record::Skipped => {}
            Record::End(End::Corrupt) => return Err(failed(&"its end is corrupt")),
            Record::End(_) => return Ok(packets),
        }
        reader.advance();
    }
}

/// Packets of stenotype's files: the sum over their blocks.
fn steno_packets(folder: &Path) -> trial::Result<u64> {
    let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
    let files = fs::read_dir(folder).map_err(failed)?;
    let paths: Vec<PathBuf> = files.flatten().map(|entry| entry.path()).collect();
    let mut packets = 0;
    for path in paths {
        let mut file = File::open(path).map_err(failed)?;
        let blocks = file.metadata().map_err(failed)?.len() / STENO_BLOCK_BYTES;
        for block in 0..blocks {
            let mut count = [0; 4];
            file.seek(SeekFrom::Start(block * STENO_BLOCK_BYTES + STENO_COUNT_AT))
                .and_then(|_| file.read_exact(&mut count))
                .map_err(failed)?;
            packets += u64::from(u32::from_le_bytes(count));
        }
    }
    Ok(packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_stenotypes_blocks_are_added_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = vec![0; 2 * STENO_BLOCK_BYTES as usize];
        bytes[12] = 5;
        bytes[STENO_BLOCK_BYTES as usize + 13] = 1;
        fs::write(folder.path().join("1"), bytes).unwrap();
        assert_eq!(steno_packets(folder.path()), Ok(5 + 256));
    }
}
