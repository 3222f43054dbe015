//! Any process of a loaded node is killed at any moment, again and again: no packet is lost or doubled, what
//! was not known is a gap, and nobody has to do anything. `make soak` runs many more rounds than `make test`.

use std::fs;
use std::time::Duration;

use como_tests::generate::Traffic;
use como_tests::site::processes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::harness::{Deployment, Node, Person, open_packets, rounds, wait_for};

/// Rounds of the usual run.
const ROUNDS: usize = 10;
/// Packet time for each round, seconds: the source must outlast all of them.
const SECONDS_PER_ROUND: f64 = 3.0;
/// Packets a second of the source.
const PACKETS_PER_SECOND: f64 = 700.0;
/// Longest time between a node that works and the next kill, ms.
const CALM_MS: u64 = 500;

/// What works while processes are killed: two live modules, and a partner who asks all the time.
struct Load {
    asker: std::process::Child,
}

impl Load {
    fn start(ann: &Person) -> Self {
        let script = format!(
            "while :; do rm -f '{out}'*; '{como}' --keys '{keys}' trace --last 20s --level headers -o '{out}'; done",
            como = super::harness::program("como").display(),
            keys = ann.keys_dir.display(),
            out = ann.path("load.como").display(),
        );
        let asker = std::process::Command::new("sh")
            .args(["-c", &script])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn();
        Self {
            asker: asker.expect("a shell"),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let below = processes::below(self.asker.id());
        let _ = self.asker.kill();
        let _ = self.asker.wait();
        below.iter().for_each(|process| kill(process.pid));
    }
}

fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(pid as i32);
    // It may have ended by itself since it was seen.
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}

#[test]
fn a_loaded_node_survives_kills_of_every_process_at_random_moments() {
    let rounds = rounds(ROUNDS);
    let seconds = rounds as f64 * SECONDS_PER_ROUND;
    let traffic = Traffic {
        seed: 90,
        packets: (seconds * PACKETS_PER_SECOND) as usize,
        duration_s: seconds,
        ..Traffic::default()
    };
    let mut site = Deployment::new()
        .traffic(traffic)
        .retain("payload")
        .config_extra("[source]\npaced = true\n[trace]\nsegment_bytes = \"1 MiB\"");
    let dora = site.developer("dora", "anonymized");
    let ann = site.partner("ann", "payload", true);
    let mut node = site.start();
    for module in ["traffic", "protocol"] {
        dora.submit(module).ok();
        ann.como(&["module", "start", module]).ok();
    }
    let load = Load::start(&ann);
    let mut random = ChaCha8Rng::seed_from_u64(90);
    let (mut stored, mut killed) = (0, std::collections::BTreeMap::<String, usize>::new());
    for round in 0..rounds {
        std::thread::sleep(Duration::from_millis(random.random_range(0..CALM_MS)));
        // What was acknowledged before a kill is there after it.
        stored = stored.max(known(&node));
        if random.random_range(0..8) == 0 {
            *killed.entry("supervisor".to_owned()).or_default() += 1;
            node.kill();
            node = site.start();
        } else {
            let roles = node.roles();
            let (role, pid) = &roles[random.random_range(0..roles.len())];
            *killed.entry(role.clone()).or_default() += 1;
            kill(*pid);
            noticed(&node, role, *pid);
        }
        healed(&node);
        let now = known(&node);
        assert!(
            now >= stored,
            "round {round}: {now} packets are known, {stored} were"
        );
    }
    drop(load);
    assert_eq!(killed.values().sum::<usize>(), rounds);
    eprintln!("killed: {killed:?}");
    let done = node.status()["capture"]["source_done"] == true;
    assert!(
        !done,
        "the source outlasts the rounds, so that all kills hit a loaded node"
    );
    let died = node.audited("died").len();
    assert!(died > 0, "deaths are on record");
    node.stop();

    // The rest of the file at once; then every packet is there, once, in order, byte for byte.
    site.reconfigure("[source]\npaced = false");
    let node = site.start();
    node.ingested();
    let expected: Vec<_> = site.generated().generate().collect();
    assert_eq!(node.catalog()["packets"], expected.len() as u64);
    ann.trace(&["--all", "--level", "payload"], "whole.como").ok();
    let found = open_packets(&ann, &ann.path("whole.como"));
    assert_eq!(found.frames.len(), expected.len(), "none missing, none twice");
    for (at, packet) in expected.iter().enumerate() {
        assert!(
            found.ts_ns[at] == packet.ts_ns && found.frames[at] == packet.data,
            "packet {at}"
        );
    }
    let unsealed = node.catalog()["unsealed_segments"].as_u64().expect("a count");
    let told = found
        .end
        .gaps
        .iter()
        .filter(|gap| gap.cause == "unsealed end")
        .count();
    assert_eq!(told as u64, unsealed, "each end that nobody vouches for is told");
    node.stop();
    let folder = site.node_folder().display().to_string();
    let verified = site.admin(&["trace", "verify", "--node", &folder]);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success(), "nothing is left to mend: {said}");
    let left = fs::read_dir(site.node_folder().join("trace/segments"))
        .expect("segments")
        .filter(|entry| {
            entry
                .as_ref()
                .is_ok_and(|e| e.path().extension().is_some_and(|x| x == "bad"))
        });
    assert_eq!(left.count(), 0, "nothing was set aside");
}

/// Packets that the catalog knows; storage that was just killed tells again first.
fn known(node: &Node) -> u64 {
    node.catalog()["packets"].as_u64().expect("a count")
}

/// Waits until the death is on record: before it, the status is that of the dead. Readers and runners end by
/// themselves too, and may have been quicker.
fn noticed(node: &Node, role: &str, pid: u32) {
    if !["reader", "runner"].contains(&role) {
        wait_for("the death is recorded", || {
            node.audited("died").into_iter().find(|entry| entry["pid"] == pid)
        });
    }
}

/// Waits until the core roles are ready again, storage has told what it has, and the source is being read.
fn healed(node: &Node) {
    node.until("the node heals", |status| {
        let ready = |role: &str| {
            status["processes"]
                .as_array()
                .is_some_and(|all| all.iter().any(|p| p["role"] == role && p["ready"] == true))
        };
        ["storage", "capture", "query"].iter().all(|role| ready(role))
            && status["storage"]["segments"].as_u64() > Some(0)
            && status["capture"]["packets"].as_u64() > Some(0)
    });
}
