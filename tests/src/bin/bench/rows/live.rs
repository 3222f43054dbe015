//! Live capture at fixed loads: a node that seals everything and computes four modules, beside tools that write plain
//! files and do nothing else. One receiver after the other, the same load for each. A load that the generator does
//! not reach measures the generator: such rows are void.

use std::cell::{OnceCell, RefCell};

use como_tests::trial;

use super::Bench;
use crate::live::Taken;
use crate::live::frames::{self, Sizes};
use crate::live::generator::{self, Burst, Capacity};
use crate::live::link::Link;
use crate::live::node::{MODULES, Receiver};
use crate::live::receivers::{RING_MIB, Tool};
use crate::row::{Aim, Peer, Row, human};

/// Names of these rows: size by size, load by load, packets lost and cost.
pub const NAMES: &[&str] = &[
    "live, minimum-size, 100 k/s, lost",
    "live, minimum-size, 100 k/s, cores",
    "live, minimum-size, 300 k/s, lost",
    "live, minimum-size, 300 k/s, cores",
    "live, minimum-size, 600 k/s, lost",
    "live, minimum-size, 600 k/s, cores",
    "live, minimum-size, 900 k/s, lost",
    "live, minimum-size, 900 k/s, cores",
    "live, minimum-size, as fast as it is sent, lost",
    "live, minimum-size, as fast as it is sent, cores",
    "live, mixed, 100 k/s, lost",
    "live, mixed, 100 k/s, cores",
    "live, mixed, 300 k/s, lost",
    "live, mixed, 300 k/s, cores",
    "live, mixed, 600 k/s, lost",
    "live, mixed, 600 k/s, cores",
    "live, mixed, 900 k/s, lost",
    "live, mixed, 900 k/s, cores",
    "live, mixed, as fast as it is sent, lost",
    "live, mixed, as fast as it is sent, cores",
    WHILE_ASKED,
    UNTIL_SEEN,
];

/// Name of the row with readers beside capture.
const WHILE_ASKED: &str = "live, mixed, 100 k/s, whole-window queries beside it, lost";
/// Its load, packets/s.
const LOAD_WHILE_ASKED: u32 = 100_000;

/// Name of the row that is no load.
const UNTIL_SEEN: &str = "live, one packet until a query has it";
/// Longest time until then, ms.
const AIM_UNTIL_SEEN_MS: f64 = 1000.0;

/// What is sent.
const SIZES: [Sizes; 2] = [Sizes::Minimum, Sizes::Mixed];
/// Packets a second; `None`: as many as one generator sends, which says something on every machine.
const LOADS: [Option<u32>; 5] = [Some(100_000), Some(300_000), Some(600_000), Some(900_000), None];
/// Packets of a burst without a rate.
const MOST_PACKETS: u64 = 400_000;
/// Length of a burst, seconds.
const BURST_S: f64 = 3.0;
/// The other side of every row.
const PEERS: &str = "best of tcpdump, dumpcap, netsniff-ng, stenotype";

pub fn rows(bench: &Bench) -> Vec<Row> {
    let place = Link::lay();
    let node = OnceCell::new();
    let loads = SIZES.iter().flat_map(|sizes| LOADS.map(|load| (*sizes, load)));
    let measured = loads.map(|(sizes, load)| match &place {
        Ok(link) => Loaded::measure(bench, link, &node, sizes, load),
        Err(reason) => Err(Unmeasured::Missing(reason.clone())),
    });
    let mut rows: Vec<Row> = NAMES
        .chunks_exact(2)
        .zip(measured)
        .flat_map(|(names, loaded)| rows_of(names[0], names[1], loaded))
        .collect();
    rows.push(while_asked(bench, &place, &node));
    rows.push(Row {
        name: UNTIL_SEEN,
        ours: place.as_ref().map_err(Clone::clone).and_then(|link| {
            let capture = frames::write(&bench.trace, Sizes::Minimum, &bench.scratch)?;
            let mut node = Receiver::prepare(link, &bench.scratch, "live-quiet")?;
            node.longest_until_seen_ms(link, &capture)
        }),
        unit: "ms",
        peer: None,
        aim: Aim::AtMost(AIM_UNTIL_SEEN_MS),
        note: "the longest of five, on a quiet link, until the question is asked that has it in its answer"
            .into(),
    });
    rows
}

/// One load on a node that holds what the loads before left, once alone and once while its whole trace is asked for.
fn while_asked(bench: &Bench, place: &trial::Result<Link>, node: &Prepared) -> Row {
    let measure = || {
        let link = place.as_ref().map_err(Clone::clone)?;
        let capture = frames::write(&bench.trace, Sizes::Mixed, &bench.scratch)?;
        let mut node = prepared(bench, link, node)?.borrow_mut();
        let burst = || generator::send(link, &capture, LOAD_WHILE_ASKED, 2.0 * BURST_S, 1);
        let alone = node.receive(burst)?;
        let ((burst, answers), taken) = node.receive_while_asked(burst)?;
        Ok((lost(&alone), lost(&(burst, taken)), answers, burst.rate))
    };
    let measured: trial::Result<(f64, f64, u32, f64)> = measure();
    Row {
        name: WHILE_ASKED,
        ours: measured.clone().map(|(_, asked, ..)| asked),
        unit: "packets",
        peer: Some(Peer {
            name: "the same without queries",
            figure: measured.clone().map(|(alone, ..)| alone),
        }),
        aim: Aim::AtMost(0.0),
        note: measured.map_or_else(
            |_| String::new(),
            |(_, _, answers, rate)| format!("{answers} whole answers meanwhile; sent at {}/s", human(rate)),
        ),
    }
}

/// The node of all loads, made when it is needed first.
fn prepared<'a>(bench: &Bench, link: &Link, node: &'a Prepared) -> trial::Result<&'a RefCell<Receiver>> {
    let node = node.get_or_init(|| Receiver::prepare(link, &bench.scratch, "live-loaded").map(Into::into));
    node.as_ref().map_err(Clone::clone)
}

/// See [`prepared`].
type Prepared = OnceCell<trial::Result<RefCell<Receiver>>>;

/// A figure of one receiver at one load, or why there is none.
type Outcome = trial::Result<(Burst, Taken)>;

/// Why nothing was measured at a load.
enum Unmeasured {
    /// The generator does not reach it: the most that it did, packets/s.
    Void(f64),
    /// Something is not here.
    Missing(String),
}

impl From<String> for Unmeasured {
    fn from(reason: String) -> Self {
        Self::Missing(reason)
    }
}

/// What all receivers made of one load.
struct Loaded {
    ours: Outcome,
    peers: [(Tool, Outcome); Tool::ALL.len()],
}

impl Loaded {
    /// The node last: a slow start of it disturbs nobody.
    fn measure(
        bench: &Bench,
        link: &Link,
        node: &Prepared,
        sizes: Sizes,
        load: Option<u32>,
    ) -> Result<Self, Unmeasured> {
        let capture = frames::write(&bench.trace, sizes, &bench.scratch)?;
        let streams = match load
            .map(|load| generator::capacity(link, &capture, load))
            .transpose()?
        {
            Some(Capacity::Limit(rate)) => return Err(Unmeasured::Void(rate)),
            Some(Capacity::Streams(streams)) => streams,
            None => 1,
        };
        let burst = || {
            let Some(load) = load else {
                return generator::send_most(link, &capture, MOST_PACKETS);
            };
            let burst = generator::send(link, &capture, load, BURST_S, streams)?;
            match burst.reaches(load) {
                true => Ok(burst),
                false => Err(format!(
                    "void, the generator fell to {} packets/s",
                    human(burst.rate)
                )),
            }
        };
        let peers = Tool::ALL.map(|tool| (tool, tool.receive(link, &bench.scratch, burst)));
        let ours = prepared(bench, link, node).and_then(|node| node.borrow_mut().receive(burst));
        Ok(Self { ours, peers })
    }

    /// The least of a figure over the peers.
    fn best(&self, figure: fn(&(Burst, Taken)) -> f64) -> trial::Result<f64> {
        let figures = self.peers.iter().filter_map(|(_, outcome)| outcome.as_ref().ok());
        figures
            .map(figure)
            .reduce(f64::min)
            .ok_or_else(|| "no peer has a figure".into())
    }

    /// Every receiver's figure, for people.
    fn each(&self, figure: fn(&(Burst, Taken)) -> f64) -> String {
        let shown = |outcome: &Outcome| match outcome {
            Ok(taken) => format!("{:.0} (at {}/s)", figure(taken), human(taken.0.rate)),
            Err(reason) => reason.clone(),
        };
        let peers = self
            .peers
            .iter()
            .map(|(tool, outcome)| format!("{} {}", tool.program(), shown(outcome)));
        let ours = std::iter::once(format!("como-node {}", shown(&self.ours)));
        ours.chain(peers).collect::<Vec<_>>().join(", ")
    }
}

/// Packets that reached the interface and are in no file.
fn lost((burst, taken): &(Burst, Taken)) -> f64 {
    burst.received as f64 - taken.stored as f64
}

/// Processor time of a packet that reached the interface, ns: who loses packets gets no credit for it.
fn core_ns((burst, taken): &(Burst, Taken)) -> f64 {
    taken.cpu_s * 1e9 / taken.stored.clamp(1, burst.received.max(1)) as f64
}

fn rows_of(
    lost_name: &'static str,
    cores_name: &'static str,
    loaded: Result<Loaded, Unmeasured>,
) -> [Row; 2] {
    let row = |name, unit, ours, figure, aim, note| Row {
        name,
        ours,
        unit,
        peer: Some(Peer { name: PEERS, figure }),
        aim,
        note,
    };
    let unmeasured = |aim: Aim, reason: String| {
        let none = |name, unit| {
            let peer = Err("not measured".into());
            row(name, unit, Err(reason.clone()), peer, aim, String::new())
        };
        [none(lost_name, "packets"), none(cores_name, "core-ns/packet")]
    };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(Unmeasured::Missing(reason)) => return unmeasured(Aim::Report, reason),
        Err(Unmeasured::Void(rate)) => {
            let reason = format!("the generator is the limit: it reached {} packets/s", human(rate));
            return unmeasured(Aim::Void, reason);
        }
    };
    let of = |figure: fn(&(Burst, Taken)) -> f64| loaded.ours.as_ref().map(figure).map_err(Clone::clone);
    let best = loaded.best(lost);
    // Where no peer is there to compare with, nothing may be lost at all.
    let aim = Aim::AtMost(best.clone().unwrap_or(0.0).max(0.0));
    [
        row(lost_name, "packets", of(lost), best, aim, note_of_losses(&loaded)),
        row(
            cores_name,
            "core-ns/packet",
            of(core_ns),
            loaded.best(core_ns),
            Aim::Report,
            format!(
                "{}; ours seals and runs {}",
                loaded.each(core_ns),
                MODULES.join(", ")
            ),
        ),
    ]
}

fn note_of_losses(loaded: &Loaded) -> String {
    let counted = match &loaded.ours {
        Ok((burst, taken)) => format!(
            "; ours: {} received = {} stored + {} counted as lost{}",
            burst.received,
            taken.stored,
            taken.counted_lost.unwrap_or(0),
            match burst.received == taken.stored + taken.counted_lost.unwrap_or(0) {
                true => "",
                false => " DOES NOT HOLD",
            }
        ),
        Err(_) => String::new(),
    };
    format!(
        "{}; the peers have rings of {RING_MIB} MiB, the node its default{counted}",
        loaded.each(lost)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(received: u64, stored: u64, cpu_s: f64) -> (Burst, Taken) {
        let burst = Burst { received, rate: 1e5 };
        let counted_lost = Some(received - stored);
        (
            burst,
            Taken {
                stored,
                counted_lost,
                cpu_s,
            },
        )
    }

    #[test]
    fn a_load_that_was_not_reached_is_void_and_says_why() {
        let rows = rows_of("lost", "cores", Err(Unmeasured::Void(3e5)));
        assert_eq!(rows[0].verdict(), "void");
        assert!(rows[1].reasons()[0].contains("the generator is the limit: it reached 300 k"));
        let rows = rows_of("lost", "cores", Err(Unmeasured::Missing("needs root".into())));
        assert_eq!(
            (rows[0].verdict(), rows[0].reasons()[0].as_str()),
            ("short", "ours: needs root")
        );
    }

    #[test]
    fn nothing_may_be_lost_where_the_best_peer_loses_nothing() {
        let peers = Tool::ALL.map(|tool| {
            let outcome = match tool {
                Tool::Tcpdump => Ok(taken(100, 100, 1e-6)),
                Tool::Dumpcap => Ok(taken(100, 90, 1e-6)),
                _ => Err("not installed".into()),
            };
            (tool, outcome)
        });
        let loaded = |stored| Loaded {
            ours: Ok(taken(100, stored, 5e-5)),
            peers: peers.clone(),
        };
        let verdicts = |stored| rows_of("lost", "cores", Ok(loaded(stored))).map(|row| row.verdict());
        assert_eq!(verdicts(100), ["ok", "ok"]);
        assert_eq!(verdicts(99), ["short", "ok"]);
        let [lost, cores] = rows_of("lost", "cores", Ok(loaded(99)));
        assert!(
            lost.note.contains("100 received = 99 stored + 1 counted"),
            "{}",
            lost.note
        );
        assert!(lost.note.contains("netsniff-ng not installed"));
        assert_eq!(cores.peer.unwrap().figure, Ok(10.0));
    }
}
