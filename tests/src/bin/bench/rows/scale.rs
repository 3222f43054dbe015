//! One flow in traces of growing size, time against size: how long an answer takes must not depend on how much else was
//! kept. Pieces of generated traffic are imported one after the other, so that no more of them than one lies on the disk
//! unsealed. Must never look for a flow that every piece has.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use como_tests::trial::{self, Node, Person, program};

use super::retrieval::{Wanted, forget, segments};
use super::{Bench, fresh_folder, modules};
use crate::measure::{Cost, Side, command, in_turn};
use crate::row::{Aim, Figure, Row};
use crate::trace::Trace;

/// Names of these rows.
pub const NAMES: &[&str] = &[
    "one flow in 1 GB",
    "one flow in 4 GB",
    "one flow in 16 GB",
    "one flow in the largest, cold cache",
    "one flow, per GB of its window",
];

/// Captured bytes of the windows, GB.
const SIZES_GB: [u64; 3] = [1, 4, 16];
/// Packets of a piece: some 200 MB.
const PIECE_PACKETS: u64 = 620_000;
/// Pieces that make a GB.
const PIECES_PER_GB: u64 = 5;
/// Packet time of a piece, seconds.
const PIECE_S: u64 = 600;
/// When the first piece begins, seconds since the Unix epoch.
const START_S: u64 = 1_700_000_000;
/// Longest time for one flow, ms.
const AIM_NEEDLE_MS: f64 = 100.0;
/// Longest time that a GB more in the window may take, ms.
const AIM_MS_PER_GB: f64 = 2.0;
/// Longest wait for the last piece, which the running node ingests.
const PATIENCE: Duration = Duration::from_secs(600);

pub fn rows(bench: &Bench) -> Vec<Row> {
    let trace = Scale::build(bench);
    let largest = SIZES_GB
        .into_iter()
        .rfind(|size| *size <= bench.scale_gb)
        .unwrap_or(SIZES_GB[0]);
    let ask = |size_gb: u64, cold: bool| {
        let scale = trace.as_ref().map_err(Clone::clone)?;
        if size_gb > bench.scale_gb {
            return Err(format!("not asked for; --scale-gb {size_gb} does it"));
        }
        scale.needle(size_gb, cold, &bench.scratch)
    };
    let mut sides: Vec<Side<'_>> = Vec::new();
    for size_gb in SIZES_GB {
        sides.push(Box::new(move || ask(size_gb, false)));
    }
    sides.push(Box::new(|| ask(largest, true)));
    let costs = in_turn(bench.rounds, sides);
    let ms: Vec<Figure> = costs
        .into_iter()
        .map(|cost| cost.map(|cost| cost.wall_s * 1e3))
        .collect();
    let at = |size_gb: u64| SIZES_GB.iter().position(|size| *size == size_gb).unwrap_or(0);
    let slope = ms[at(largest)].clone().and_then(|long| {
        let more_gb = (largest - SIZES_GB[0]) as f64;
        let short = ms[0].clone()?;
        match more_gb > 0.0 {
            true => Ok((long - short) / more_gb),
            false => Err("one size tells no slope; --scale-gb 4 or more does".into()),
        }
    });
    let row = |at: usize, aim: Aim, note: &str| Row {
        name: NAMES[at],
        ours: ms[at].clone(),
        unit: "ms",
        peer: None,
        aim,
        note: note.to_owned(),
    };
    let mut rows = vec![
        row(
            0,
            Aim::Report,
            "`como trace` to a sealed dataset on the partner's disk; the flow is in one piece of 200 MB",
        ),
        row(1, Aim::AtMost(AIM_NEEDLE_MS), ""),
        row(2, Aim::Report, ""),
        row(
            3,
            Aim::AtMost(AIM_NEEDLE_MS),
            "pages of all segments dropped before each question",
        ),
    ];
    rows.push(Row {
        name: NAMES[4],
        ours: slope,
        unit: "ms/GB",
        peer: None,
        aim: Aim::AtMost(AIM_MS_PER_GB),
        note: format!("between 1 and {largest} GB"),
    });
    rows
}

/// A node that holds all pieces, and a partner who may see headers.
struct Scale {
    node: Node,
    partner: Person,
    wanted: Wanted,
}

impl Scale {
    fn build(bench: &Bench) -> trial::Result<Self> {
        let folder = fresh_folder(&bench.scratch, "scale")?;
        // The piece after all that are asked for is the node's own source.
        let pieces = bench.scale_gb.max(SIZES_GB[0]) * PIECES_PER_GB;
        let own = piece(&folder, pieces)?;
        let mut node = Node::init_as(&folder.join("node"), &own, "private")?;
        let partner = Person::create(&folder, "university", "bob")?;
        node.add_partner(&partner, "bench", "headers")?;
        let mut wanted = None;
        for number in 0..pieces {
            let path = piece(&folder, number)?;
            if wanted.is_none() {
                wanted = Some(Wanted::choose(&Trace::of(path.clone())?)?);
            }
            command(&mut node.import(&path)?)?;
            std::fs::remove_file(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        node.start()?;
        node.wait_until_ingested(&partner.client()?, PATIENCE)?;
        Ok(Self {
            node,
            partner,
            wanted: wanted.ok_or("no piece was made")?,
        })
    }

    fn needle(&self, size_gb: u64, cold: bool, scratch: &Path) -> trial::Result<Cost> {
        if cold {
            segments(&self.node)?
                .iter()
                .try_for_each(|segment| forget(segment))?;
        }
        let out = scratch.join("needle.como");
        let _ = std::fs::remove_file(&out);
        let to = START_S + size_gb * PIECES_PER_GB * PIECE_S;
        let mut command = self.partner.como()?;
        command
            .args(["trace", "--level", "headers", "--filter", &self.wanted.flow])
            .args(["--from", &START_S.to_string(), "--to", &to.to_string()]);
        modules::measured(&self.node, command.arg("-o").arg(&out))
    }
}

/// A piece of traffic, other hosts and flows in each.
fn piece(folder: &Path, number: u64) -> trial::Result<PathBuf> {
    let path = folder.join(format!("piece-{number}.pcap"));
    let start_ns = (START_S + number * PIECE_S) * 1_000_000_000;
    let mut generate = Command::new(program("como-generate")?);
    generate
        .arg(&path)
        .args([
            "--packets",
            &PIECE_PACKETS.to_string(),
            "--seconds",
            &PIECE_S.to_string(),
        ])
        .args(["--seed", &number.to_string(), "--start-ns", &start_ns.to_string()]);
    command(&mut generate)?;
    Ok(path)
}
