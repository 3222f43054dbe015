//! Standard modules, signed and submitted as their developer would, and what the sandbox costs without a node. Must
//! never run a guest in this process.

use std::path::{Path, PathBuf};
use std::process::Command;

use como_flowcount::FlowCount;
use como_kit::Module;
use como_tests::standard;
use como_tests::trial::{self, Person};
use como_topports::TopPorts;
use como_traffic::Traffic;
use serde_json::Value;

use super::Bench;
use super::native::Native;
use crate::row::{Aim, Peer, Row};

/// Those that the ingest rows run live.
pub const STANDARD: [&str; 5] = ["traffic", "protocol", "topports", "flowcount", "packet-sizes"];

/// Names of the rows of the sandbox alone.
pub const NAMES: &[&str] = &[
    "host's share per packet and module",
    "traffic in the sandbox",
    "topports in the sandbox",
    "flowcount in the sandbox",
];

/// Largest share, ns.
const AIM_HOST_NS: f64 = 12.0;

/// `como module bench`: the guest that does nothing has only the host's share.
pub fn rows(bench: &Bench) -> Vec<Row> {
    let host = Row {
        name: NAMES[0],
        ours: sandboxed(bench, "traffic").map(|figures| figures.idle_ns),
        unit: "ns/packet",
        peer: None,
        aim: Aim::AtMost(AIM_HOST_NS),
        note: "a guest that does nothing, with the columns of `traffic`, fuel on; batches and intervals included".into(),
    };
    vec![
        host,
        beside_native::<Traffic>(bench, NAMES[1], "traffic", &[]),
        beside_native::<TopPorts>(bench, NAMES[2], "topports", &[10]),
        beside_native::<FlowCount>(bench, NAMES[3], "flowcount", &[]),
    ]
}

/// A standard module in the sandbox, and the same function built natively, over the same packets.
fn beside_native<M: Module + Send>(bench: &Bench, row: &'static str, name: &str, args: &[i64]) -> Row {
    Row {
        name: row,
        ours: sandboxed(bench, name).map(|figures| figures.module_ns),
        unit: "ns/packet",
        peer: Some(Peer {
            name: "the same function, native",
            figure: Native::prepare::<M>(bench, name).map(|native| native.ns::<M>(args)),
        }),
        aim: Aim::Report,
        note: "both with laying down the columns; the sandbox with fuel, filter and intervals".into(),
    }
}

/// What `como module bench` says of a standard module: time a packet, `store` left out.
struct Sandboxed {
    module_ns: f64,
    idle_ns: f64,
}

fn sandboxed(bench: &Bench, name: &str) -> trial::Result<Sandboxed> {
    let mut command = Command::new(trial::program("como")?);
    command.args(["--json", "module", "bench"]).arg(guest(name)?);
    command
        .arg("--manifest")
        .arg(standard::folder(name).join("module.toml"));
    let output = command.arg("--pcap").arg(&bench.trace.path).output();
    let output = output.map_err(|e| format!("como does not start: {e}"))?;
    let answer: Value =
        serde_json::from_slice(&output.stdout).map_err(|e| format!("como module bench: {e}"))?;
    let figure = |who: &str, what: &str| {
        let figure = answer[who][what].as_f64();
        figure.ok_or_else(|| format!("como module bench tells no {what}"))
    };
    let a_packet =
        |who: &str, more: f64| Ok::<_, String>((figure(who, "total_ns")? - more) / figure(who, "packets")?);
    Ok(Sandboxed {
        module_ns: a_packet("used", figure("used", "store_ns")?)?,
        idle_ns: a_packet("idle", 0.0)?,
    })
}

/// Signs a standard module into `folder`, and gives the file.
pub fn sign(developer: &Person, name: &str, folder: &Path) -> trial::Result<PathBuf> {
    let signed = folder.join(format!("{name}.cmod"));
    let mut sign = developer.como()?;
    sign.args(["module", "sign"])
        .arg(standard::folder(name))
        .arg("--wasm")
        .arg(guest(name)?);
    trial::run(sign.arg("-o").arg(&signed))?;
    Ok(signed)
}

/// Signs a standard module into `folder` and submits it.
pub fn submit(developer: &Person, name: &str, folder: &Path) -> trial::Result<()> {
    let signed = sign(developer, name, folder)?;
    trial::run(developer.como()?.args(["module", "submit"]).arg(&signed))?;
    Ok(())
}

/// Starts a module live, in the person's own project.
pub fn start(person: &Person, name: &str) -> trial::Result<()> {
    trial::run(person.como()?.args(["module", "start", name]))?;
    Ok(())
}

/// The guest that `make guests` compiled.
fn guest(name: &str) -> trial::Result<PathBuf> {
    let target = trial::program("como")?;
    let guests = target.ancestors().nth(2).map(|folder| folder.join("guests"));
    guests
        .map(|folder| folder.join(format!("{name}.wasm")))
        .filter(|path| path.is_file())
        .ok_or_else(|| format!("{name}.wasm is not built; `make guests` builds it"))
}

/// Runs `como` as a person, and gives its cost together with the node's.
pub fn measured(node: &trial::Node, command: &mut Command) -> trial::Result<crate::measure::Cost> {
    let before = node.cpu_s()?;
    let mut cost = crate::measure::command(command)?;
    cost.cpu_s += node.cpu_s()? - before;
    Ok(cost)
}
