//! A stored trace: its size, an on-demand query over all of it, the download of all of it. One node serves
//! all rounds. Must never let a query be answered from stored records.

use std::path::Path;
use std::time::{Duration, Instant};

use como_tests::trial::{self, Node, Person};

use super::ingest::stored_bytes;
use super::{Bench, fresh_folder, modules};
use crate::measure::{Cost, Side, in_turn};
use crate::peers;
use crate::row::{Aim, Figure, Peer, Row};

/// Names of these rows.
pub const NAMES: &[&str] = &[
    "on-demand traffic, whole trace",
    "on-demand topaddr, re-keyed",
    "submit to first result",
    "download anonymized, whole trace",
    "download anonymized, cores",
    "trace on disk per byte of pcap, headers kept",
];

/// Fewest packets/s on demand: five times the original CoMo, which does 885 k packets in 0.16 to 0.19 s.
const AIM_ON_DEMAND_PACKETS_PER_S: f64 = 25e6;
/// Fewest packets/s where each address is made the asker's own.
const AIM_REKEYED_PACKETS_PER_S: f64 = 8e6;
/// Longest from a submission to the first result, seconds.
const AIM_FIRST_RESULT_S: f64 = 1.0;
/// Longest ingest before the first measurement.
const PATIENCE: Duration = Duration::from_secs(600);

pub fn rows(bench: &Bench) -> Vec<Row> {
    let packets = bench.trace.packets as f64;
    let rate = |cost: &Result<Cost, String>| cost.clone().map(|cost| packets / cost.wall_s);
    let cores = |cost: &Result<Cost, String>| cost.clone().map(|cost| cost.cpu_s * 1e9 / packets);
    let archive = Archive::build(bench);
    let trimmed = peers::for_libtrace(&bench.trace.path, &bench.scratch);
    let with_archive = |ask: fn(&Archive, &Path) -> trial::Result<Cost>| match &archive {
        Ok(archive) => ask(archive, &bench.scratch),
        Err(reason) => Err(reason.clone()),
    };
    let sides: Vec<Side<'_>> = vec![
        Box::new(|| with_archive(Archive::query_traffic)),
        Box::new(|| with_archive(Archive::query_topaddr)),
        Box::new(|| with_archive(Archive::query_a_second)),
        Box::new(|| with_archive(Archive::download)),
        Box::new(|| peers::traceanon(trimmed.as_deref().map_err(Clone::clone)?, &bench.scratch)),
    ];
    let [traffic, topaddr, second, download, traceanon] = in_turn(bench.rounds, sides)
        .try_into()
        .expect("five sides, five costs");
    let first_result = with_archive(Archive::first_result);
    let pcap_bytes = bench.trace.file_bytes as f64;
    let stored = archive
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|archive| stored_bytes(&archive.node));
    let lz4 = peers::lz4_bytes(&bench.trace.path, &bench.scratch);
    let against_traceanon = |figure: Figure| {
        Some(Peer {
            name: "traceanon -s -d -c",
            figure,
        })
    };
    vec![
        Row {
            name: NAMES[0],
            ours: rate(&traffic),
            unit: "packets/s",
            peer: None,
            aim: Aim::AtLeast(AIM_ON_DEMAND_PACKETS_PER_S),
            note: format!(
                "the original CoMo does 4.7-5.5 M; ours from `como query` to the sealed dataset on the partner's disk, of which {} ms are the same for one second of the trace",
                second.as_ref().map_or_else(|_| "?".to_owned(), |cost| format!("{:.0}", cost.wall_s * 1e3)),
            ),
        },
        Row {
            name: NAMES[1],
            ours: rate(&topaddr),
            unit: "packets/s",
            peer: None,
            aim: Aim::AtLeast(AIM_REKEYED_PACKETS_PER_S),
            note: "the same way; every address under the pseudonyms of the asker's project".into(),
        },
        Row {
            name: NAMES[2],
            ours: first_result.map(|cost| cost.wall_s),
            unit: "s",
            peer: None,
            aim: Aim::AtMost(AIM_FIRST_RESULT_S),
            note: "`como module submit`, with the node's trial of the module, then `como query` over the whole past trace; once".into(),
        },
        Row {
            name: NAMES[3],
            ours: rate(&download),
            unit: "packets/s",
            peer: against_traceanon(rate(&traceanon)),
            aim: Aim::Report,
            note: "traceanon treats the two addresses only, and reads and writes plain files".into(),
        },
        Row {
            name: NAMES[4],
            ours: cores(&download),
            unit: "core-ns/packet",
            peer: against_traceanon(cores(&traceanon)),
            aim: Aim::Report,
            note: String::new(),
        },
        Row {
            name: NAMES[5],
            ours: stored.map(|bytes| bytes as f64 / pcap_bytes),
            unit: "bytes/byte",
            peer: Some(Peer { name: "lz4 -1", figure: lz4.map(|bytes| bytes as f64 / pcap_bytes) }),
            aim: Aim::Report,
            note: "what the configuration retains unless it says otherwise, sealed; the row of all sections is an ingest row".into(),
        },
    ]
}

/// A node with the whole trace, and a partner who may see it.
struct Archive {
    node: Node,
    partner: Person,
    developer: Person,
}

impl Archive {
    fn build(bench: &Bench) -> trial::Result<Self> {
        let folder = fresh_folder(&bench.scratch, "archive")?;
        let mut node = Node::init(&folder.join("node"), &bench.trace.path)?;
        let partner = Person::create(&folder, "university", "bob")?;
        node.add_partner(&partner, "bench", "anonymized")?;
        let developer = Person::create(&folder, "university", "dora")?;
        node.add_developer(&developer, "anonymized")?;
        node.start()?;
        node.wait_until_ingested(&partner.client()?, PATIENCE)?;
        modules::submit(&developer, "traffic", &folder)?;
        modules::submit(&developer, "topaddr", &folder)?;
        Ok(Self {
            node,
            partner,
            developer,
        })
    }

    fn query_traffic(&self, scratch: &Path) -> trial::Result<Cost> {
        self.ask(
            &["query", "traffic", "--all", "--fresh"],
            &scratch.join("traffic.como"),
        )
    }

    /// What a query costs whatever its window.
    fn query_a_second(&self, scratch: &Path) -> trial::Result<Cost> {
        self.ask(
            &["query", "traffic", "--last", "1s", "--fresh"],
            &scratch.join("second.como"),
        )
    }

    fn query_topaddr(&self, scratch: &Path) -> trial::Result<Cost> {
        self.ask(
            &["query", "topaddr", "--all", "--fresh"],
            &scratch.join("topaddr.como"),
        )
    }

    /// From the submission of a module that the node does not know to its first rows.
    fn first_result(&self, scratch: &Path) -> trial::Result<Cost> {
        let signed = modules::sign(&self.developer, "protocol", scratch)?;
        let start = Instant::now();
        trial::run(self.developer.como()?.args(["module", "submit"]).arg(&signed))?;
        let answered = self.ask(&["query", "protocol", "--all"], &scratch.join("protocol.como"))?;
        Ok(Cost {
            wall_s: start.elapsed().as_secs_f64(),
            ..answered
        })
    }

    fn download(&self, scratch: &Path) -> trial::Result<Cost> {
        self.ask(
            &["trace", "--all", "--level", "anonymized"],
            &scratch.join("trace.como"),
        )
    }

    fn ask(&self, words: &[&str], out: &Path) -> trial::Result<Cost> {
        let _ = std::fs::remove_file(out);
        let mut command = self.partner.como()?;
        modules::measured(&self.node, command.args(words).arg("-o").arg(out))
    }
}
