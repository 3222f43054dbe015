//! A capture file into the sealed trace: every section of it, with no module; and with five, what is kept by default. Must
//! count every process of the node.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};
use std::{fs, thread};

use como_client::blocking::Client;
use como_node::config::Layout;
use como_tests::trial::{self, Node, Person, program};
use serde_json::Value;

use super::bare::Plain;
use super::{Bench, fresh_folder, modules};
use crate::measure::{Cost, Side, command, in_turn};
use crate::peers;
use crate::row::{Aim, Peer, Row};

/// Names of these rows.
pub const NAMES: &[&str] = &[
    "file ingest, all sections",
    "file ingest, all sections, cores",
    "file ingest, 5 modules",
    "file ingest, 5 modules, cores",
    "trace on disk per byte of pcap, all sections",
];

/// Fewest packets/s: more than ten times the original CoMo, which does 151 to 311 thousand on this kind of machine.
const AIM_PACKETS_PER_S: f64 = 2.5e6;
/// The same with modules; the original does 274 to 552 thousand with five.
const AIM_WITH_MODULES_PACKETS_PER_S: f64 = 2e6;
/// Largest cost of a packet over all processes.
const AIM_CORE_NS_PER_PACKET: f64 = 800.0;
/// Most bytes on disk against those of `lz4 -1`, index and all.
const AIM_LZ4_RATIO: f64 = 1.25;
/// How often the folder of segments is looked at.
const LOOK: Duration = Duration::from_millis(1);
/// Longest ingest of one round.
const PATIENCE: Duration = Duration::from_secs(600);

pub fn rows(bench: &Bench) -> Vec<Row> {
    let bare = Plain::of(bench);
    let by_role = [RefCell::default(), RefCell::default()];
    let on_disk = Cell::new(0);
    let sides: Vec<Side<'_>> = vec![
        Box::new(|| ingest(bench, Kept::Everything, &[], &by_role[0], &on_disk)),
        Box::new(|| {
            ingest(
                bench,
                Kept::Default,
                &modules::STANDARD,
                &by_role[1],
                &Cell::new(0),
            )
        }),
        Box::new(|| peers::tcpdump_copy(&bench.trace.path, &bench.scratch)),
        Box::new(|| Ok(bare.as_ref().map_err(Clone::clone)?.seal())),
    ];
    let [plain, with_modules, tcpdump, sealing] = in_turn(bench.rounds, sides)
        .try_into()
        .expect("four sides, four costs");
    let (packets, pcap_bytes) = (bench.trace.packets as f64, bench.trace.file_bytes as f64);
    let lz4 = peers::lz4_bytes(&bench.trace.path, &bench.scratch);
    let sealed = bare.as_ref().map_or(1, |bare| bare.packets) as f64;
    let bare_loop = Some(Peer {
        name: "bare loop: compress, seal",
        figure: sealing.map(|cost| cost.cpu_s * 1e9 / sealed),
    });
    let rate = |cost: &Result<Cost, String>| cost.clone().map(|cost| packets / cost.wall_s);
    let cores = |cost: &Result<Cost, String>| cost.clone().map(|cost| cost.cpu_s * 1e9 / packets);
    let peer = |figure| {
        Some(Peer {
            name: "tcpdump -r -w",
            figure,
        })
    };
    let row = |name, ours, unit, figure, aim, note: &str| Row {
        name,
        ours,
        unit,
        peer: peer(figure),
        aim,
        note: note.to_owned(),
    };
    vec![
        row(
            NAMES[0],
            rate(&plain),
            "packets/s",
            rate(&tcpdump),
            Aim::AtLeast(AIM_PACKETS_PER_S),
            "the original CoMo does 151-311 k, trace only, nothing sealed",
        ),
        Row {
            peer: bare_loop,
            ..row(
                NAMES[1],
                cores(&plain),
                "core-ns/packet",
                cores(&tcpdump),
                Aim::AtMost(AIM_CORE_NS_PER_PACKET),
                &by_role[0].borrow(),
            )
        },
        row(
            NAMES[2],
            rate(&with_modules),
            "packets/s",
            rate(&tcpdump),
            Aim::AtLeast(AIM_WITH_MODULES_PACKETS_PER_S),
            "the original CoMo does 274-552 k with five modules, nothing sealed",
        ),
        row(
            NAMES[3],
            cores(&with_modules),
            "core-ns/packet",
            cores(&tcpdump),
            Aim::Report,
            &by_role[1].borrow(),
        ),
        Row {
            peer: Some(Peer {
                name: "lz4 -1",
                figure: lz4.map(|bytes| bytes as f64 / pcap_bytes),
            }),
            ..row(
                NAMES[4],
                plain
                    .as_ref()
                    .map(|_| on_disk.get() as f64 / pcap_bytes)
                    .map_err(Clone::clone),
                "bytes/byte",
                Ok(0.0),
                Aim::RatioAtMost(AIM_LZ4_RATIO),
                "sealed, with the index",
            )
        },
    ]
}

/// What of packets goes into the trace.
#[derive(Clone, Copy, PartialEq)]
enum Kept {
    /// Anonymized view and headers.
    Default,
    /// The payload too.
    Everything,
}

/// One run: a new node, from its start with the capture until the last segment is sealed on the disk. Leaves in `by_role`
/// what each process used, in `on_disk` the bytes of the trace.
fn ingest(
    bench: &Bench,
    kept: Kept,
    names: &[&str],
    by_role: &RefCell<String>,
    on_disk: &Cell<u64>,
) -> trial::Result<Cost> {
    let folder = fresh_folder(&bench.scratch, "ingest")?;
    let mut node = Node::init(&folder.join("node"), &bench.trace.path)?;
    if kept == Kept::Everything {
        node.retain_payload()?;
    }
    let operator = Person::create(&folder, "observatory", "alice")?;
    node.add_partner(&operator, "bench", "payload")?;
    let client = operator.client()?;
    if !names.is_empty() {
        run_modules(&mut node, &operator, names, bench)?;
    }
    let start = Instant::now();
    let before = segments(&node, "seg")?;
    node.start()?;
    let (wall_s, status) = until_sealed(&mut node, &client, before, start)?;
    let cpu_s = node.cpu_s()?;
    let cost = Cost { wall_s, cpu_s };
    on_disk.set(stored_bytes(&node)?);
    let shares: Vec<String> = node
        .cpu_by_role(&status)?
        .into_iter()
        .map(|(role, seconds)| format!("{role} {seconds:.2}"))
        .collect();
    *by_role.borrow_mut() = format!("CPU seconds per process in the last round: {}", shares.join(", "));
    if !names.is_empty() {
        // What live modules are too slow for is marked in their records, and computed from the trace when it is asked for.
        let shed = status["capture"]["shed"]
            .as_f64()
            .ok_or("the status tells no packets shed")?;
        let seen = 1.0 - shed / bench.trace.packets as f64;
        by_role
            .borrow_mut()
            .push_str(&format!("; the modules saw {:.0} % live", seen * 100.0));
    }
    node.stop()?;
    Ok(cost)
}

/// Waits until the whole file is in sealed segments; seconds until that was so, and the status. Asking the node all the
/// time would be part of what is measured: it is asked when no segment is open.
fn until_sealed(
    node: &mut Node,
    client: &Client,
    before: usize,
    start: Instant,
) -> trial::Result<(f64, Value)> {
    let mut seen = (before, 0.0);
    while start.elapsed() < PATIENCE {
        let sealed = segments(node, "seg")?;
        if segments(node, "open")? > 0 || sealed == before {
            thread::sleep(LOOK);
            continue;
        }
        if sealed != seen.0 {
            seen = (sealed, start.elapsed().as_secs_f64());
        }
        match client.status() {
            Ok(status) if status["capture"]["source_done"] == Value::Bool(true) => {
                return Ok((seen.1, status));
            }
            _ => thread::sleep(LOOK),
        }
    }
    // Says what the node says last.
    node.wait_until_ingested(client, Duration::ZERO)
        .map(|status| (seen.1, status))
}

/// How many segments there are of one kind.
fn segments(node: &Node, extension: &str) -> trial::Result<usize> {
    let has_it = |file: &&fs::DirEntry| file.path().extension().is_some_and(|found| found == extension);
    Ok(segment_files(node)?.iter().filter(has_it).count())
}

/// Bytes of the trace on the disk.
pub fn stored_bytes(node: &Node) -> trial::Result<u64> {
    let bytes = |file: &fs::DirEntry| file.metadata().map(|about| about.len());
    let sizes: Result<Vec<u64>, _> = segment_files(node)?.iter().map(bytes).collect();
    Ok(sizes.map_err(|e| e.to_string())?.iter().sum())
}

fn segment_files(node: &Node) -> trial::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(Layout::new(&node.folder).segments()) {
        Ok(files) => files.collect::<Result<_, _>>().map_err(|e| e.to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    }
}

/// Modules are installed and started on a node that reads a capture of one packet; they go on where it
/// starts again, now on the real one.
fn run_modules(node: &mut Node, operator: &Person, names: &[&str], bench: &Bench) -> trial::Result<()> {
    let first = bench.scratch.join("ingest/first.pcap");
    command(
        std::process::Command::new(program("como-generate")?)
            .arg(&first)
            .args(["--packets", "1", "--start-ns", "0"]),
    )?;
    node.set_capture(&first)?;
    let developer = Person::create(&bench.scratch.join("ingest"), "university", "dora")?;
    node.add_developer(&developer, "payload")?;
    node.start()?;
    node.wait_until_up(&operator.client()?)?;
    for name in names {
        modules::submit(&developer, name, &bench.scratch.join("ingest"))?;
        modules::start(operator, name)?;
    }
    node.stop()?;
    node.set_capture(&bench.trace.path)
}
