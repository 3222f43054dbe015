//! The supervisor's promises: who dies is restarted and recorded, the trace depends on nobody else, what cannot
//! work is said at once, and what is asked of a node that goes on stays as it was.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use como_tests::generate::Traffic;
use nix::sys::signal::Signal;

use super::harness::{Deployment, Guest, open_packets, open_table, wait_for};

fn kill_process(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(pid as i32);
    nix::sys::signal::kill(pid, Signal::SIGKILL).expect("the process is there");
}

/// A capture that is played as recorded, for so many seconds.
fn paced(packets: usize, seconds: f64) -> Deployment {
    let traffic = Traffic {
        packets,
        duration_s: seconds,
        ..Traffic::default()
    };
    Deployment::new()
        .traffic(traffic)
        .config_extra("[source]\npaced = true")
}

#[test]
fn a_role_that_dies_is_restarted_and_the_death_is_in_the_audit_log() {
    let mut site = Deployment::new();
    let dora = site.developer("dora", "anonymized");
    let ann = site.partner("ann", "anonymized", true);
    let node = site.start();
    node.ingested();
    dora.submit("traffic").ok();
    ann.como(&["module", "start", "traffic"]).ok();
    for role in ["storage", "capture", "query", "export"] {
        let old = wait_for("the role runs", || node.role(role));
        kill_process(old);
        wait_for("it is restarted", || node.role(role).filter(|new| *new != old));
        let death = wait_for("the death is recorded", || {
            node.audited("died").into_iter().find(|entry| entry["pid"] == old)
        });
        assert_eq!(death["role"], role);
        assert_eq!(death["end"], "signal 9");
        assert_eq!(death["restart"], true);
    }
    // All work again, together.
    node.until("all roles are ready", |status| {
        let processes = status["processes"].as_array().expect("processes");
        processes.len() == 4 && processes.iter().all(|process| process["ready"] == true)
    });
    node.ingested();
    ann.query("traffic", &["--all", "--fresh"], "after.como").ok();
    let table = open_table(&ann, &ann.path("after.como"));
    assert_eq!(table.sum("packets"), site.generated().packets as i128);
    node.stop();
}

#[test]
fn the_trace_never_depends_on_modules() {
    let mut site = paced(5_000, 8.0);
    let dora = site.developer("dora", "anonymized");
    let ann = site.partner("ann", "anonymized", true);
    let node = site.start();
    dora.submit("traffic").ok();
    let hostile = [
        Guest {
            name: "looper",
            update: "(loop $l (br $l)) i32.const 0",
            ..Guest::default()
        },
        Guest {
            name: "trapper",
            update: "unreachable",
            ..Guest::default()
        },
        Guest {
            name: "flooder",
            // Well-behaved until it has seen a packet: it must get past the trial at submission.
            update: "(i32.store (i32.const 0) (i32.const 1)) i32.const 0",
            store: "(if (result i32) (i32.load (i32.const 0)) (then i32.const 0x7fffffff) (else i32.const 16))",
            ..Guest::default()
        },
    ];
    for guest in hostile {
        dora.submit_file(&guest.signed_by(&dora)).ok();
    }
    for module in ["traffic", "looper", "trapper", "flooder"] {
        ann.como(&["module", "start", module]).ok();
    }
    let status = node.until("the three that misbehave are stopped", |status| {
        status["live_modules"]
            .as_array()
            .is_some_and(|live| live.len() == 1)
    });
    assert_eq!(status["live_modules"][0]["name"], "traffic", "the others go on");
    assert_eq!(node.audited("module_fault").len(), 3, "each fault is recorded");
    // And the process that ran them may die.
    kill_process(wait_for("export runs", || node.role("export")));
    node.ingested();
    assert_eq!(node.catalog()["packets"], site.generated().packets);
    assert_eq!(node.catalog()["lost_packets"], 0);
    assert_eq!(node.catalog()["unsealed_segments"], 0);
    node.stop();
}

#[test]
fn old_segments_expire_and_the_catalog_and_refusals_say_so() {
    let trace = "[trace]\nretain = \"payload\"\nsegment_bytes = \"1 MiB\"\nring_bytes = \"4 MiB\"";
    let mut site = Deployment::new().capture(20_000, 41).config_extra(trace);
    let ann = site.partner("ann", "payload", false);
    let node = site.start();
    node.ingested();
    let expired = wait_for("a segment expires", || {
        Some(node.audited("expired")).filter(|e| !e.is_empty())
    });
    let catalog = node.catalog();
    let packets = site.generated().packets as u64;
    assert!(
        catalog["packets"]
            .as_u64()
            .is_some_and(|kept| 0 < kept && kept < packets),
        "{catalog}"
    );
    let from_ns = catalog["coverage"]["from_ns"].as_u64().expect("a coverage");
    assert!(
        from_ns > site.generated().start_ns,
        "{} expired, {catalog}",
        expired.len()
    );
    let start_s = site.generated().start_ns / 1_000_000_000;
    let (from, to) = (start_s.to_string(), (start_s + 1).to_string());
    let refused = ann.trace(&["--from", &from, "--to", &to, "--level", "payload"], "gone.como");
    assert_ne!(refused.code, 0);
    assert!(
        refused.error()["error"]
            .as_str()
            .is_some_and(|e| e.contains("the trace reaches over"))
    );
    ann.trace(&["--all", "--level", "payload"], "kept.como").ok();
    let kept = open_packets(&ann, &ann.path("kept.como"));
    assert_eq!(
        kept.frames.len() as u64,
        catalog["packets"].as_u64().expect("a count")
    );
    let expected: Vec<_> = site.generated().generate().collect();
    let tail = &expected[expected.len() - kept.frames.len()..];
    assert!(
        tail.iter()
            .zip(&kept.frames)
            .all(|(packet, frame)| packet.data == *frame),
        "the newest stay"
    );
    node.stop();
}

#[test]
fn a_port_in_use_stops_the_node_with_what_to_do() {
    let mut site = Deployment::new();
    site.node_folder();
    let _taken = TcpListener::bind(("127.0.0.1", site.port())).expect("the port was free");
    let mut node = site.launch();
    assert!(!node.ended().success());
    let log = node.log();
    let at = log
        .lines()
        .position(|line| line.starts_with("como-node: "))
        .expect("the reason");
    let words: Vec<&str> = log.lines().skip(at).collect();
    assert!(words[0].contains(&site.port().to_string()), "{words:?}");
    assert!(words.len() >= 2 && !words[1].is_empty(), "what to do: {words:?}");
}

#[test]
fn two_nodes_on_one_directory_are_refused_and_the_first_is_not_touched() {
    let mut site = Deployment::new();
    let ann = site.partner("ann", "anonymized", false);
    let node = site.start();
    node.ingested();
    let before = fs::read(node.audit_log()).expect("an audit log");
    let folder = node.folder.display().to_string();
    let second = site.admin(&["run", &folder]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success());
    assert!(
        said.contains("already runs") && said.contains(&node.pid().to_string()),
        "{said}"
    );
    assert!(said.contains("Stop it first"), "{said}");
    assert!(
        fs::read(node.audit_log())
            .expect("an audit log")
            .starts_with(&before)
    );
    ann.trace(&["--all"], "still.como").ok();
    let log = node.audit_log().display().to_string();
    node.stop();
    ann.como(&["audit", "verify", &log]).ok();
}

#[test]
fn a_reload_with_a_broken_configuration_keeps_the_old_one() {
    let mut site = Deployment::new();
    let ann = site.partner("ann", "anonymized", false);
    let node = site.start();
    node.ingested();
    let file = node.folder.join("como.toml");
    let sound = fs::read_to_string(&file).expect("a configuration");
    fs::write(&file, format!("{sound}\n[node2]\nname = 1\n")).expect("written");
    node.reload();
    wait_for("the refusal is logged", || {
        node.log()
            .contains("reload refused, nothing changed")
            .then_some(())
    });
    ann.trace(&["--all"], "still.como").ok();
    fs::write(&file, sound).expect("written");
    node.reload();
    wait_for("a sound one is taken", || {
        (!node.audited("reloaded").is_empty()).then_some(())
    });
    ann.trace(&["--all"], "again.como").ok();
    node.stop();
}

#[test]
fn a_list_of_revocations_that_does_not_read_leaves_the_old_one_in_force() {
    let mut site = Deployment::new();
    let ann = site.partner("ann", "anonymized", false);
    let node = site.start();
    node.ingested();
    let query = node.role("query").expect("query runs");
    let lists: Vec<_> = walk(&node.folder)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "crl" || e == "pem"))
        .filter(|path| fs::read_to_string(path).is_ok_and(|text| text.contains("BEGIN X509 CRL")))
        .collect();
    assert!(!lists.is_empty(), "the node keeps a list");
    for list in &lists {
        fs::write(list, "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n").expect("written");
    }
    node.reload();
    node.until("the failure is told", |status| {
        status["failures"]["query"].is_string()
    });
    ann.trace(&["--all"], "still.como").ok();
    assert_eq!(node.role("query"), Some(query), "it was not taken as dead");
    node.stop();
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}
