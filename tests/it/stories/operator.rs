//! What an operator relies on: a clean end, an audit log that shows every change, a check before a start.

use std::fs::{self, File};

use como_keys::signing::VerifyingKey;
use como_node::config::Layout;
use como_node::trace::SegmentReader;

use crate::harness::{Deployment, open_packets, wait_for};

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
