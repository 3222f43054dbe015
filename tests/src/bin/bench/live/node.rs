//! A node on the receiving end: every section kept and sealed, modules computing live. Must never store less than
//! the peers do, or with less of a node than an operator would run.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use como_client::blocking::Client;
use como_tests::trial::{self, Node, Person};
use serde_json::Value;

use super::asking::Asking;
use super::generator;
use super::link::Link;
use super::{Taken, once_quiet, tree_cpu_s};
use crate::rows::{fresh_folder, modules};

/// Modules that compute live.
pub const MODULES: [&str; 4] = ["traffic", "protocol", "topports", "flowcount"];
/// How long the node may take until it captures and its modules run.
const UP: Duration = Duration::from_secs(30);

/// The account is whole once it stayed for this long.
const SETTLED: Duration = Duration::from_millis(1200);
/// Packets that are sent one by one, to see how long each takes to be found.
const LOOKED_FOR: usize = 5;
/// Longest search for one of them.
const SEARCH: Duration = Duration::from_secs(10);

/// A node that can be started for one burst after the other.
pub struct Receiver {
    node: Node,
    client: Client,
    operator: Person,
    out: PathBuf,
}

impl Receiver {
    /// Makes a node on the link, and has its modules started once; they go on with every start.
    pub fn prepare(link: &Link, scratch: &Path, name: &str) -> trial::Result<Self> {
        let folder = fresh_folder(scratch, name)?;
        let mut node = Node::init_live(&folder.join("node"), &link.interface)?;
        node.retain_payload()?;
        let operator = Person::create(&folder, "observatory", "alice")?;
        node.add_partner(&operator, "bench", "payload")?;
        let developer = Person::create(&folder, "university", "dora")?;
        node.add_developer(&developer, "payload")?;
        let client = operator.client()?;
        node.start()?;
        node.wait_until_up(&client)?;
        for name in MODULES {
            modules::submit(&developer, name, &folder)?;
            modules::start(&operator, name)?;
        }
        node.stop()?;
        Ok(Self {
            node,
            client,
            operator,
            out: folder.join("found.como"),
        })
    }

    /// Runs the node while `burst` goes on and somebody asks for all of its trace again and again. With the result: how
    /// many answers came meanwhile.
    pub fn receive_while_asked<T>(
        &mut self,
        burst: impl FnOnce() -> trial::Result<T>,
    ) -> trial::Result<((T, u32), Taken)> {
        let operator = Person {
            keys: self.operator.keys.clone(),
            name: self.operator.name.clone(),
        };
        let out = self.out.clone();
        self.receive(|| {
            let asking = Asking::start(&operator, &out)?;
            let result = burst();
            let answers = asking.stop()?;
            Ok((result?, answers))
        })
    }

    /// Runs the node while `burst` goes on, until it has nothing to do any more.
    pub fn receive<T>(&mut self, burst: impl FnOnce() -> trial::Result<T>) -> trial::Result<(T, Taken)> {
        let taken = self.start().and_then(|()| self.take(burst));
        // Where the burst was none, too: the next load needs a node that starts.
        let stopped = self.node.stop();
        let taken = taken?;
        stopped.map(|_| taken)
    }

    fn take<T>(&mut self, burst: impl FnOnce() -> trial::Result<T>) -> trial::Result<(T, Taken)> {
        let pid = self.node.pid()?;
        let before = (once_quiet(|| tree_cpu_s(pid)), self.stored()?);
        let result = burst()?;
        once_quiet(|| tree_cpu_s(pid));
        let after = self.once_settled()?;
        let cpu_s = tree_cpu_s(pid) - before.0;
        Ok((
            result,
            Taken {
                stored: after[0] - before.1[0],
                counted_lost: Some(after[1] - before.1[1]),
                cpu_s,
            },
        ))
    }

    fn start(&mut self) -> trial::Result<()> {
        self.node.start()?;
        self.node
            .wait_until(&self.client, UP, "capture and modules running", |status| {
                captures(status) && count(&status["live_modules"]) == MODULES.len()
            })?;
        Ok(())
    }

    /// How long a packet on a quiet link takes until a query that is asked then has it: the longest of some, ms. The
    /// node must not have captured before.
    pub fn longest_until_seen_ms(&mut self, link: &Link, capture: &Path) -> trial::Result<f64> {
        self.start()?;
        once_quiet(|| self.node.cpu_s().unwrap_or_default());
        let mut longest = 0.0_f64;
        // The first begins the trace, and is not timed.
        generator::send_one(link, capture)?;
        let mut before = 0;
        let begin = Instant::now();
        while before == 0 && begin.elapsed() < SEARCH {
            before = self.found()?;
        }
        for _ in 0..LOOKED_FOR {
            generator::send_one(link, capture)?;
            let sent = Instant::now();
            let (found, asked) = loop {
                let asked = sent.elapsed();
                let found = self.found()?;
                if found > before {
                    break (found, asked);
                }
                if sent.elapsed() > SEARCH {
                    return Err(format!("not found in {SEARCH:?}"));
                }
            };
            (before, longest) = (found, longest.max(asked.as_secs_f64() * 1e3));
        }
        self.node.stop()?;
        Ok(longest)
    }

    /// Packets that a query for all there is has; none while there is nothing to ask for.
    fn found(&self) -> trial::Result<u64> {
        let _ = std::fs::remove_file(&self.out);
        let mut command = self.operator.como()?;
        command.args(["--json", "trace", "--all", "--level", "payload"]);
        let output = command
            .arg("-o")
            .arg(&self.out)
            .output()
            .map_err(|e| e.to_string())?;
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok(answer["dataset"]["content"]["packets"].as_u64().unwrap_or(0))
    }

    /// The account, once it does not change any more: what is on disk is told a moment later.
    fn once_settled(&self) -> trial::Result<[u64; 2]> {
        let mut before = self.stored()?;
        loop {
            std::thread::sleep(SETTLED);
            let now = self.stored()?;
            if now == before {
                return Ok(now);
            }
            before = now;
        }
    }

    /// Packets in the trace, and packets that this run of capture counted as lost.
    fn stored(&self) -> trial::Result<[u64; 2]> {
        let catalog = self.client.catalog().map_err(|e| e.to_string())?;
        let status = self.client.status().map_err(|e| e.to_string())?;
        let packets = catalog.rest.get("packets").and_then(Value::as_u64);
        let lost = status["capture"]["lost"].as_u64();
        Ok([packets.unwrap_or(0), lost.unwrap_or(0)])
    }
}

fn captures(status: &Value) -> bool {
    let processes = status["processes"].as_array().into_iter().flatten();
    let mut ready = processes.filter(|process| process["ready"] == true);
    ready.any(|process| process["role"] == "capture")
}

fn count(list: &Value) -> usize {
    list.as_array().map_or(0, Vec::len)
}
