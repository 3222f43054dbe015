//! Finding packets in a stored trace: one flow, one in a hundred packets, and what the index costs. One node serves all
//! rounds. Must never give our side a warmer file than the peer's.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use como_anonymize::{Columns, RawPacket, View, build};
use como_node::config::Layout;
use como_node::trace::{BlockKind, SegmentReader};
use como_policies::AccessLevel;
use como_tests::trial::{self, Node, Person};

use super::bare::Bare;
use super::{Bench, fresh_folder, modules};
use crate::measure::{Cost, Side, in_turn};
use crate::peers;
use crate::row::{Aim, Figure, Peer, Row};
use crate::trace::Trace;

/// Names of these rows.
pub const NAMES: &[&str] = &[
    "one flow, cold cache",
    "1 % of a window, cached",
    "whole window back to pcap",
    "the same into a file, durable",
    "index, of captured bytes",
];

/// Longest time for one flow, ms.
const AIM_NEEDLE_MS: f64 = 100.0;
/// Largest index, of the captured bytes.
const AIM_INDEX_SHARE: f64 = 0.01;
/// Smallest part of what opening and decompressing alone would allow.
const AIM_OF_BARE_LOOP: f64 = 0.7;
/// Longest ingest before the first measurement.
const PATIENCE: Duration = Duration::from_secs(1800);
/// Packets among which flow and host are chosen.
const SAMPLE_PACKETS: usize = 200_000;
/// Fewest packets of the flow that is looked for.
const NEEDLE_PACKETS: usize = 4;

pub fn rows(bench: &Bench) -> Vec<Row> {
    let trace_bytes = bench.trace.file_bytes as f64;
    let archive = Archive::build(bench);
    let ask = |question: fn(&Archive, &Path) -> trial::Result<Cost>| match &archive {
        Ok(archive) => question(archive, &bench.scratch),
        Err(reason) => Err(reason.clone()),
    };
    let tcpdump = |filter: fn(&Wanted) -> &str, cold: bool| {
        let archive = archive.as_ref().map_err(Clone::clone)?;
        if cold {
            forget(&bench.trace.path)?;
        }
        peers::tcpdump_filter(&bench.trace.path, filter(&archive.wanted), &bench.scratch)
    };
    let bare = Bare::prepare(bench);
    let sides: Vec<Side<'_>> = vec![
        Box::new(|| ask(Archive::needle_cold)),
        Box::new(|| tcpdump(|wanted| &wanted.flow, true)),
        Box::new(|| ask(Archive::hundredth)),
        Box::new(|| tcpdump(|wanted| &wanted.hundredth, false)),
        Box::new(|| ask(Archive::export)),
        Box::new(|| ask(Archive::export_to_file)),
        Box::new(|| bare.as_ref().map_err(Clone::clone)?.open()),
    ];
    let [
        cold,
        tcpdump_cold,
        hundredth,
        tcpdump_hundredth,
        export,
        export_to_file,
        loops,
    ] = in_turn(bench.rounds, sides)
        .try_into()
        .expect("seven sides, seven costs");
    let ms = |cost: &Result<Cost, String>| cost.clone().map(|cost| cost.wall_s * 1e3);
    let rate =
        |cost: &Result<Cost, String>| cost.clone().map(|cost| bench.trace.packets as f64 / cost.wall_s);
    let bytes_per_s =
        |cost: Result<Cost, String>| cost.map(|cost| bench.trace.captured_bytes as f64 / cost.wall_s);
    let against_tcpdump = |figure: Figure| {
        Some(Peer {
            name: "tcpdump -r -w",
            figure,
        })
    };
    let wanted = archive.as_ref().map(|archive| &archive.wanted);
    let about = |of: fn(&Wanted) -> String| wanted.map(of).unwrap_or_default();
    vec![
        Row {
            name: NAMES[0],
            ours: ms(&cold),
            unit: "ms",
            peer: against_tcpdump(ms(&tcpdump_cold)),
            aim: Aim::AtMost(AIM_NEEDLE_MS),
            note: format!(
                "`como trace` to a sealed dataset on the partner's disk, in a trace of {:.2} GB; aimed at is 4 GB, and a fiftieth of tcpdump's time",
                trace_bytes / 1e9
            ),
        },
        Row {
            name: NAMES[1],
            ours: rate(&hundredth),
            unit: "packets/s",
            peer: against_tcpdump(rate(&tcpdump_hundredth)),
            aim: Aim::RatioAtLeast(1.0),
            note: about(|wanted| format!("a host in {:.2} % of the packets", wanted.hundredth_share * 100.0)),
        },
        Row {
            name: NAMES[2],
            ours: bytes_per_s(export),
            unit: "bytes/s",
            peer: Some(Peer {
                name: "open + decompress alone, all cores",
                figure: loops.and_then(|cost| {
                    bare.as_ref()
                        .map(|bare| bare.bytes as f64 / cost.wall_s)
                        .map_err(Clone::clone)
                }),
            }),
            aim: Aim::RatioAtLeast(AIM_OF_BARE_LOOP),
            note: "`como-node trace export -o -` of segments in the page cache, start of the program and keys included; what comes out is thrown away".into(),
        },
        Row {
            name: NAMES[3],
            ours: bytes_per_s(export_to_file),
            unit: "bytes/s",
            peer: None,
            aim: Aim::Report,
            note: "`como-node trace export -o FILE`, which waits until the file is on the disk".into(),
        },
        Row {
            name: NAMES[4],
            ours: archive
                .as_ref()
                .map_err(Clone::clone)
                .and_then(Archive::index_bytes)
                .map(|bytes| bytes as f64 / bench.trace.captured_bytes as f64),
            unit: "bytes/byte",
            peer: Some(Peer {
                name: "stenographer, as its makers say",
                figure: Ok(0.047),
            }),
            aim: Aim::AtMost(AIM_INDEX_SHARE),
            note: String::new(),
        },
    ]
}

/// A node with the whole trace, every section kept, and a partner who may see all of it.
struct Archive {
    node: Node,
    partner: Person,
    wanted: Wanted,
}

/// What is looked for, in the words of pcap-filter.
pub(super) struct Wanted {
    /// A flow of few packets.
    pub flow: String,
    hundredth: String,
    hundredth_share: f64,
}

impl Archive {
    fn build(bench: &Bench) -> trial::Result<Self> {
        let folder = fresh_folder(&bench.scratch, "retrieval")?;
        let wanted = Wanted::choose(&bench.trace)?;
        let mut node = Node::init_as(&folder.join("node"), &bench.trace.path, "private")?;
        node.retain_payload()?;
        let partner = Person::create(&folder, "university", "bob")?;
        node.add_partner(&partner, "bench", "payload")?;
        node.start()?;
        let client = partner.client()?;
        node.wait_until_ingested(&client, PATIENCE)?;
        Ok(Self {
            node,
            partner,
            wanted,
        })
    }

    fn needle_cold(&self, scratch: &Path) -> trial::Result<Cost> {
        for segment in segments(&self.node)? {
            forget(&segment)?;
        }
        self.ask(&self.wanted.flow, scratch)
    }

    fn hundredth(&self, scratch: &Path) -> trial::Result<Cost> {
        self.ask(&self.wanted.hundredth, scratch)
    }

    /// From the page cache, as the loop that it is measured against runs in memory.
    fn export(&self, _: &Path) -> trial::Result<Cost> {
        segments(&self.node)?
            .iter()
            .try_for_each(|segment| read(segment))?;
        crate::measure::command(&mut self.node.export_to_stdout()?)
    }

    fn export_to_file(&self, scratch: &Path) -> trial::Result<Cost> {
        segments(&self.node)?
            .iter()
            .try_for_each(|segment| read(segment))?;
        crate::measure::command(&mut self.node.export(&scratch.join("export.pcap"))?)
    }

    fn ask(&self, filter: &str, scratch: &Path) -> trial::Result<Cost> {
        let out = scratch.join("found.como");
        let _ = std::fs::remove_file(&out);
        let mut command = self.partner.como()?;
        command.args(["trace", "--all", "--level", "payload", "--filter", filter]);
        modules::measured(&self.node, command.arg("-o").arg(&out))
    }

    fn index_bytes(&self) -> trial::Result<u64> {
        let of = |path: &PathBuf| {
            let file = File::open(path).map_err(|e| e.to_string())?;
            let reader = SegmentReader::open(file).map_err(|e| e.to_string())?;
            let blocks = reader.blocks().flatten();
            let index = blocks.filter(|block| block.header.kind == BlockKind::Index);
            Ok(index.map(|block| block.header.total_bytes()).sum::<u64>())
        };
        segments(&self.node)?.iter().map(of).sum()
    }
}

impl Wanted {
    /// A flow of few packets, and the host whose share of the packets is nearest to one in a hundred.
    pub fn choose(trace: &Trace) -> trial::Result<Self> {
        let packets = trace.load(SAMPLE_PACKETS)?;
        let raw = packets.iter().map(|data| RawPacket {
            ts_ns: 0,
            wire_len: data.len() as u32,
            link: packets.link,
            data,
        });
        let View { columns, .. } = build(AccessLevel::Payload, packets.link, raw, None);
        let hundredth = nearest_host(&columns).ok_or("the trace has no IPv4 packet")?;
        Ok(Self {
            flow: rare_flow(&columns).ok_or("the trace has no TCP flow over IPv4")?,
            hundredth: format!("host {}", v4(&hundredth.0)),
            hundredth_share: hundredth.1 as f64 / columns.len() as f64,
        })
    }
}

fn rare_flow(columns: &Columns) -> Option<String> {
    let mut flows: HashMap<_, usize> = HashMap::new();
    let tcp = (0..columns.len()).filter(|row| columns.ip_version[*row] == 4 && columns.protocol[*row] == 6);
    for row in tcp.clone() {
        let ends = [
            (columns.src[row], columns.src_port[row]),
            (columns.dst[row], columns.dst_port[row]),
        ];
        *flows
            .entry([ends[0].min(ends[1]), ends[0].max(ends[1])])
            .or_default() += 1;
    }
    let few = flows
        .into_iter()
        .filter(|(_, packets)| *packets >= NEEDLE_PACKETS);
    let ([low, high], _) = few.min_by_key(|(ends, packets)| (*packets, *ends))?;
    Some(format!(
        "tcp and host {} and host {} and port {} and port {}",
        v4(&low.0),
        v4(&high.0),
        low.1,
        high.1
    ))
}

fn nearest_host(columns: &Columns) -> Option<([u8; 16], usize)> {
    let mut hosts: HashMap<[u8; 16], usize> = HashMap::new();
    for row in (0..columns.len()).filter(|row| columns.ip_version[*row] == 4) {
        *hosts.entry(columns.src[row]).or_default() += 1;
        if columns.dst[row] != columns.src[row] {
            *hosts.entry(columns.dst[row]).or_default() += 1;
        }
    }
    let wanted = columns.len() / 100;
    hosts
        .into_iter()
        .min_by_key(|(host, packets)| (packets.abs_diff(wanted), *host))
}

fn v4(address: &[u8; 16]) -> String {
    let [.., a, b, c, d] = address;
    format!("{a}.{b}.{c}.{d}")
}

/// The segments of a node.
pub(super) fn segments(node: &Node) -> trial::Result<Vec<PathBuf>> {
    let folder = Layout::new(&node.folder).segments();
    let unreadable = |e: std::io::Error| format!("{}: {e}", folder.display());
    let entries = std::fs::read_dir(&folder).map_err(unreadable)?;
    entries
        .map(|entry| entry.map(|entry| entry.path()).map_err(unreadable))
        .collect()
}

/// Reads a file once, so that it is in the page cache.
fn read(path: &Path) -> trial::Result<()> {
    let read = File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut std::io::sink()));
    read.map(drop).map_err(|e| format!("{}: {e}", path.display()))
}

/// Drops a file from the page cache; of other files everything stays.
pub(super) fn forget(path: &Path) -> trial::Result<()> {
    let mut input = std::ffi::OsString::from("if=");
    input.push(path);
    trial::run(
        Command::new("dd")
            .arg(input)
            .args(["iflag=nocache", "count=0", "status=none"]),
    )?;
    Ok(())
}
