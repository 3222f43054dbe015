//! What an operator relies on: a clean end, an audit log that shows every change, a check before a start.

use std::fs::{self, File};
use std::process::Stdio;

use como_keys::signing::VerifyingKey;
use como_node::config::Layout;
use como_node::trace::SegmentReader;

use super::records::{later, replay_for};
use super::{SECOND, seconds};
use crate::harness::{Deployment, Person, open_packets, wait_for};

#[test]
fn a_stopped_node_leaves_sealed_segments_and_a_sound_audit_log() {
    let mut site = Deployment::new().capture(3_000, 30);
    let ann = site.partner("ann", "anonymized", false);
    let node = site.start();
    node.ingested();
    let status = node.status();
    assert_eq!(status["capture"]["packets"], 3_000);
    assert_eq!(
        (&status["capture"]["lost"], &status["mode"]),
        (&0.into(), &"restricted".into())
    );
    let mut roles: Vec<String> = node.roles().into_iter().map(|(role, _)| role).collect();
    roles.sort();
    assert_eq!(roles, ["capture", "query", "storage"], "only what is needed runs");

    let catalog = ann.como(&["--json", "catalog"]).ok().json();
    assert_eq!(catalog["packets"], 3_000);
    assert_eq!(catalog["your_ceiling"], "anonymized");
    assert_eq!(catalog["levels"], serde_json::json!(["anonymized", "headers"]));
    let start = site.generated().start_ns;
    let coverage = &catalog["coverage"];
    assert!(
        coverage["from_ns"]
            .as_u64()
            .is_some_and(|from| from.abs_diff(start) < 5_000_000_000),
        "{catalog}"
    );

    ann.trace(&["--all"], "all.como").ok();
    ann.trace(&["--all", "--level", "payload"], "no.como").exits(3);
    let audit = node.audit_log();
    node.stop();

    let key = catalog["node_key"].as_str().expect("a key");
    let key = VerifyingKey::from_hex(key).expect("a key");
    let segments = Layout::new(&site.node_folder()).segments();
    let (mut packets, mut files) = (0, 0);
    for entry in fs::read_dir(&segments).expect("segments") {
        let path = entry.expect("an entry").path();
        let reader = SegmentReader::open(File::open(&path).expect("a segment")).expect("a sound segment");
        reader.verify(&key).expect("written by this node");
        reader.verify_blocks().expect("every block is there");
        packets += reader
            .footer()
            .unwrap_or_else(|| panic!("{} has no footer", path.display()))
            .packets;
        files += 1;
    }
    assert!(files > 0);
    assert_eq!(packets, 3_000);

    // Who asked what, and what was decided, is in the log; a changed, cut or added line is found.
    let log = fs::read_to_string(&audit).expect("the audit log");
    for words in ["ann", "payload"] {
        assert!(log.contains(words), "{words} is not in the audit log");
    }
    let verify =
        |path: &std::path::Path| ann.como(&["--json", "audit", "verify", path.to_str().expect("UTF-8")]);
    let report = verify(&audit).ok().json();
    assert_eq!(report["lines"], log.lines().count());
    let lines: Vec<&str> = log.lines().collect();
    let line = lines
        .iter()
        .position(|line| line.contains("payload"))
        .expect("the refusal");
    let changed = lines[line].replace("payload", "headers");
    let with = |lines: &[&str]| {
        let path = ann.path("tampered.log");
        fs::write(&path, lines.join("\n") + "\n").expect("a copy");
        verify(&path)
    };
    with(&lines).ok();
    let mut tampered = lines.clone();
    tampered[line] = &changed;
    with(&tampered).exits(6);
    tampered.remove(line);
    with(&tampered).exits(6);
    let mut added = lines.clone();
    added.insert(line, lines[line]);
    with(&added).exits(6);
}

#[test]
fn check_knows_a_good_node_from_a_broken_one() {
    let mut site = Deployment::new().capture(100, 31);
    let folder = site.node_folder();
    let folder = folder.to_str().expect("UTF-8");
    let check = |site: &Deployment| {
        let ended = site.admin(&["check", folder]);
        let said = [ended.stdout, ended.stderr].concat();
        (ended.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let (code, said) = check(&site);
    assert_eq!(code, Some(0), "{said}");

    fs::write(site.path("text.pcap"), "no capture at all, but a text\n").expect("written");
    let config = site.node_folder().join("como.toml");
    let good = fs::read_to_string(&config).expect("a configuration");
    for (wrong, named) in [
        (good.replace("mode = ", "moda = "), "moda"),
        (good.replace("restricted", "secret"), "secret"),
        (good.replace("capture.pcap", "nothing.pcap"), "nothing.pcap"),
        (good.replace("capture.pcap", "text.pcap"), "neither magic number"),
    ] {
        fs::write(&config, wrong).expect("written");
        let (code, said) = check(&site);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(named), "`{named}` is not in\n{said}");
    }
    fs::write(&config, good).expect("written");
    let keyring = Layout::new(&site.node_folder()).keyring();
    let sealed = fs::read(&keyring).expect("the key file");
    let mut broken = sealed.clone();
    *broken.last_mut().expect("not empty") ^= 1;
    fs::write(&keyring, broken).expect("written");
    let (code, said) = check(&site);
    assert_eq!(code, Some(1), "{said}");
    // A node that check refuses does not start either, and leaves nothing behind.
    let mut node = site.launch();
    assert!(!node.ended().success());
    fs::write(&keyring, sealed).expect("written");
    assert_eq!(check(&site).0, Some(0));
    site.start().stop();
}

#[test]
fn a_day_that_is_destroyed_while_the_node_runs_is_read_by_nobody_again() {
    const DAY_NS: u64 = 86_400_000_000_000;
    let mut site = Deployment::new().capture(2_000, 32);
    let ann = site.partner("ann", "headers", false);
    let node = site.start();
    node.ingested();
    ann.trace(&["--all", "--level", "headers"], "before.como").ok();
    assert_eq!(open_packets(&ann, &ann.path("before.como")).frames.len(), 2_000);

    let day = (site.generated().start_ns / DAY_NS).to_string();
    let folder = node.folder.display().to_string();
    let capture = node.role("capture");
    let ended = site.admin(&["keys", "destroy", "--epoch", &day, "--all", "--node", &folder]);
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    wait_for("it is in the audit log", || {
        let done = node.audited("administration");
        done.iter()
            .any(|event| event["command"] == "keys destroy")
            .then_some(())
    });
    // Who held its keys is another process now.
    wait_for("capture is back", || {
        node.role("capture").filter(|new| Some(*new) != capture)
    });
    node.ingested();

    let is_gone = |name: &str| {
        ann.trace(&["--all"], name).ok();
        let packets = open_packets(&ann, &ann.path(name));
        assert!(
            packets.frames.is_empty(),
            "{} packets of a destroyed day",
            packets.frames.len()
        );
        let gaps = &packets.end.gaps;
        assert!(
            gaps.iter()
                .any(|gap| gap.cause == "destroyed" && gap.count == Some(2_000)),
            "{gaps:?}"
        );
    };
    is_gone("after.como");
    node.stop();
    let node = site.start();
    node.ingested();
    is_gone("restarted.como");
    node.stop();
}

/// Runs of a module, by their numbers, as somebody sees them.
fn instances(who: &Person, module: &str) -> Vec<u64> {
    let status = who.como(&["--json", "status"]).ok().json();
    let runs = status["live_modules"].as_array().expect("a list").clone();
    let of_it = runs.iter().filter(|run| run["name"] == module);
    of_it
        .map(|run| run["instance"].as_u64().expect("a number"))
        .collect()
}

#[test]
fn the_operator_ends_one_run_or_query_and_nothing_else() {
    let traffic = later(5_000, 25.0);
    let mut site = Deployment::new().capture(500, 39);
    let dev = site.developer("dev", "anonymized");
    let ann = site.partner("ann", "anonymized", true);
    // Of one project: they see the same pseudonyms, and share what runs.
    let bob = site.partner_of("bob", "bob-org", "ann", "anonymized", true);
    let folder = site.node_folder().display().to_string();
    let node = replay_for(&mut site, &traffic, |_| {
        for module in ["traffic", "topports"] {
            dev.submit(module).ok();
        }
    });
    let start = |who: &Person, module: &str, k: &str| {
        let told = who.como(&["--json", "module", "start", module, "--arg", k]).ok();
        told.json()["instance"].as_u64().expect("a number")
    };
    let (three, five) = (start(&ann, "topports", "k=3"), start(&bob, "topports", "k=5"));
    let shared = start(&bob, "topports", "k=3");
    assert_eq!(shared, three, "who wants the same shares a run");
    ann.como(&["module", "start", "traffic"]).ok();

    let shown = site.operator(&["module", "list"]);
    let line = |number: u64| {
        let begins = format!("{number:>4} topports");
        shown.lines().find(|line| line.starts_with(&begins))
    };
    let shared = line(three).expect("it is listed");
    assert!(
        ["k=3", "ann-org/ann", "bob-org/bob"]
            .iter()
            .all(|word| shared.contains(word)),
        "{shown}"
    );
    assert!(
        line(five).is_some_and(|line| !line.contains("ann-org")),
        "{shown}"
    );
    let said = site.operator(&["module", "stop", &three.to_string()]);
    assert!(said.contains("topports"), "{said}");
    assert_eq!(instances(&ann, "topports"), [five], "the other one goes on");
    assert_eq!(instances(&ann, "traffic").len(), 1);
    let stopped = ann.como(&["--json", "status"]).ok().json()["stopped_modules"].clone();
    assert_eq!(
        (&stopped[0]["instance"], &stopped[0]["why"]),
        (&three.into(), &"stopped by the operator".into())
    );
    let refuse = |site: &Deployment, words: &[&str], says: &str| {
        let ended = site.admin(&[words, &["--node", &folder]].concat());
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && said.contains(says), "{said}");
    };
    refuse(
        &site,
        &["module", "stop", &three.to_string()],
        "no run has the number",
    );

    // A query over a window ahead: its run goes with it, and its asker hears why.
    let ahead = traffic.start_ns + 900 * SECOND;
    let (from, to) = (seconds(ahead), seconds(ahead + SECOND));
    let ask = [
        "query",
        "topports",
        "--from",
        &from,
        "--to",
        &to,
        "--arg",
        "k=9",
        "-o",
        "never.como",
    ];
    let waiting = ann
        .command(&ask)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("como starts");
    node.until("it waits", |status| status["queries"]["waiting"] == 1);
    let shown = site.operator(&["query", "list"]);
    let row = shown.lines().find(|line| line.contains("ann-org/ann"));
    let row = row.unwrap_or_else(|| panic!("{shown}"));
    let id = row.split_whitespace().next().expect("an id");
    assert!(row.contains("topports") && row.contains("waiting"), "{shown}");
    let its_run = instances(&ann, "topports").into_iter().max().expect("it runs");
    assert_ne!(its_run, five);
    refuse(&site, &["module", "stop", &its_run.to_string()], id);
    site.operator(&["query", "cancel", id]);
    let ended = waiting.wait_with_output().expect("como ends");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        !ended.status.success() && said.contains("cancelled by the operator"),
        "{said}"
    );
    assert_eq!(instances(&ann, "topports"), [five]);
    refuse(&site, &["query", "cancel", id], "waits or runs");

    // On record; and what was stopped stays so, until somebody who may starts it again.
    for (command, subject) in [
        ("module stop", format!("topports {three}")),
        ("query cancel", id.to_owned()),
    ] {
        let events = wait_for("it is on record", || {
            let events = node.audited("administration");
            let of_it: Vec<_> = events.into_iter().filter(|e| e["command"] == command).collect();
            (!of_it.is_empty()).then_some(of_it)
        });
        assert_eq!(events.len(), 1, "what was refused is not done: {events:?}");
        assert_eq!(events[0]["subject"], subject.as_str());
    }
    node.stop();
    refuse(&site, &["module", "list"], "no node runs here");
    let node = site.start();
    wait_for("what is wanted runs, and nothing else", || {
        let runs = ["traffic", "topports"].map(|module| instances(&bob, module).len());
        (runs == [1, 1]).then_some(())
    });
    let again = start(&ann, "topports", "k=3");
    assert!(instances(&ann, "topports").contains(&again));
    node.stop();
}
