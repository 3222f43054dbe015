//! Anonymization alone: in memory on one core, and as the tool `como anonymize` from file to file, beside the
//! peer that does part of it and `cp`, which does nothing.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use como_anonymize::Anonymizer;
use como_keys::mapping::MappingKey;
use como_savefile::{Format, Reader};
use como_tests::trial::program;

use super::Bench;
use crate::measure::{self, Cost, Side, in_turn};
use crate::peers;
use crate::row::{Aim, Figure, Peer, Row};

/// Names of these rows.
pub const NAMES: &[&str] = &[
    "dissect + anonymize in memory",
    "como anonymize, per CPU second",
    "como anonymize, wall time",
    "como anonymize, peak memory",
];

/// Packets that are held in memory.
const MAX_PACKETS: usize = 200_000;
/// Largest time for one packet, ns.
const AIM_NS_PER_PACKET: f64 = 150.0;
/// Smallest multiple of the peer's packets per CPU second.
const AIM_OF_TRACEANON: f64 = 5.0;
/// Largest multiple of the time that a copy takes.
const AIM_OF_CP: f64 = 4.0;
/// How much longer the capture is whose memory is compared.
const LONGER: u64 = 4;
/// Memory of the longer capture against the shorter one: what allocators and threads vary by.
const AIM_OF_MEMORY: f64 = 1.1;
/// Bytes of a pcap file's header.
const PCAP_HEADER_BYTES: u64 = 24;

pub fn rows(bench: &Bench) -> Vec<Row> {
    let packets = bench.trace.load(MAX_PACKETS);
    let loaded = packets.as_ref().map_or(1, |packets| packets.len()) as f64;
    let anonymizer = Anonymizer::new(&MappingKey::from_bytes(&[5; 32]));
    let in_memory = || {
        let packets = packets.as_ref().map_err(Clone::clone)?;
        let mut out = Vec::with_capacity(1 << 16);
        Ok(timed(|| {
            for packet in packets.iter() {
                out.clear();
                black_box(anonymizer.anonymize(packets.link, packet, &mut out));
            }
        }))
    };
    let tool = Tool::new(&bench.scratch);
    let trimmed = peers::for_libtrace(&bench.trace.path, &bench.scratch);
    let with_tool = |trace: &Path| measure::command(&mut tool.as_ref().map_err(Clone::clone)?.on(trace)?);
    let sides: Vec<Side<'_>> = vec![
        Box::new(in_memory),
        Box::new(|| with_tool(&bench.trace.path)),
        Box::new(|| peers::traceanon(trimmed.as_deref().map_err(Clone::clone)?, &bench.scratch)),
        Box::new(|| peers::cp(&bench.trace.path, &bench.scratch)),
    ];
    let [in_memory, ours, traceanon, cp] = in_turn(bench.rounds, sides)
        .try_into()
        .expect("four sides, four costs");
    let count = bench.trace.packets as f64;
    let per_cpu = |cost: Result<Cost, String>| cost.map(|cost| count / cost.cpu_s);
    let wall = |cost: Result<Cost, String>| cost.map(|cost| cost.wall_s);
    let peer = |name, figure: Figure| Some(Peer { name, figure });
    let [memory, memory_longer] = memory(&tool, bench);
    vec![
        Row {
            name: NAMES[0],
            ours: in_memory.map(|cost| cost.cpu_s * 1e9 / loaded),
            unit: "ns/packet",
            peer: None,
            aim: Aim::AtMost(AIM_NS_PER_PACKET),
            note: String::new(),
        },
        Row {
            name: NAMES[1],
            ours: per_cpu(ours.clone()),
            unit: "packets/CPU s",
            peer: peer("traceanon -s -d -c", per_cpu(traceanon)),
            aim: Aim::RatioAtLeast(AIM_OF_TRACEANON),
            note: "every field treated; traceanon treats the two outermost IPv4 addresses, and keeps the payload".into(),
        },
        Row {
            name: NAMES[2],
            ours: wall(ours),
            unit: "s",
            peer: peer("cp", wall(cp)),
            aim: Aim::RatioAtMost(AIM_OF_CP),
            note: String::new(),
        },
        Row {
            name: NAMES[3],
            ours: memory_longer,
            unit: "bytes",
            peer: peer("the same, 1/4 of the capture", memory),
            aim: Aim::RatioAtMost(AIM_OF_MEMORY),
            note: "a capture four times as long: memory must not depend on the length".into(),
        },
    ]
}

/// Peak memory on the capture, and on one that is [`LONGER`].
fn memory(tool: &Result<Tool, String>, bench: &Bench) -> [Figure; 2] {
    let peak = |trace: Result<&Path, String>| {
        let command = tool.as_ref().map_err(Clone::clone)?.on(trace?)?;
        measure::peak_bytes(&command)
    };
    let longer = lengthened(&bench.trace.path, &bench.scratch);
    let figures = [
        peak(Ok(&bench.trace.path)),
        peak(longer.as_deref().map_err(Clone::clone)),
    ];
    // It is large, and nobody needs it any more.
    let _ = longer.map(fs::remove_file);
    figures
}

/// The packets of a capture several times over. Sections of pcapng follow each other; pcap has one header.
fn lengthened(trace: &Path, scratch: &Path) -> Result<PathBuf, String> {
    let failed = |e: io::Error| format!("no longer capture: {e}");
    let path = scratch.join("longer");
    let mut out = File::create(&path).map_err(failed)?;
    let format = Reader::new(File::open(trace).map_err(failed)?)
        .map_err(|e| e.to_string())?
        .format();
    for copy in 0..LONGER {
        let mut input = File::open(trace).map_err(failed)?;
        if copy > 0 && format == Format::Pcap {
            input.seek(SeekFrom::Start(PCAP_HEADER_BYTES)).map_err(failed)?;
        }
        io::copy(&mut input, &mut out).map_err(failed)?;
    }
    Ok(path)
}

/// `como anonymize` with a key of its own.
struct Tool {
    key: PathBuf,
    out: PathBuf,
}

impl Tool {
    fn new(scratch: &Path) -> Result<Self, String> {
        let key = scratch.join("anonymization.key");
        measure::command(
            Command::new(program("como")?)
                .args(["keygen", "--anonymization"])
                .arg(&key),
        )?;
        Ok(Self {
            key,
            out: scratch.join("anonymized.pcap"),
        })
    }

    fn on(&self, trace: &Path) -> Result<Command, String> {
        peers::clear(&self.out);
        let mut command = Command::new(program("como")?);
        command
            .args(["anonymize", "--level", "anonymized", "--key-file"])
            .args([self.key.as_path(), trace, self.out.as_path()]);
        Ok(command)
    }
}

/// One thread that waits for nothing: what it costs is its processor time, whoever else runs on the machine.
pub fn timed(work: impl FnOnce()) -> Cost {
    let before = measure::thread_cpu_s();
    let start = Instant::now();
    work();
    Cost {
        wall_s: start.elapsed().as_secs_f64(),
        cpu_s: measure::thread_cpu_s() - before,
    }
}
