//! Modules that run live: their records answer queries, and say what the past trace says.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use como_tests::generate::Traffic;
use como_tests::standard;

use super::oracle::look_at;
use super::{SECOND, seconds};
use crate::harness::{Deployment, Node, Person, open_table};

/// Generated traffic is ordinary: what these look for is not in it.
const FIND_NOTHING: [&str; 2] = ["scanner-detector", "syn-flood"];

fn replay(site: &mut Deployment, traffic: &Traffic) -> (Person, Node) {
    let dev = site.developer("dev", "anonymized");
    let ops = site.partner("ops", "anonymized", true);
    let node = replay_for(site, traffic, |_| {
        for module in standard::without_payload() {
            dev.submit(&module).ok();
            ops.como(&["module", "start", &module]).ok();
        }
    });
    (ops, node)
}

/// A node whose modules are wanted before it reads: then it gets `traffic`, as fast as it was recorded.
pub(super) fn replay_for(site: &mut Deployment, traffic: &Traffic, prepare: impl FnOnce(&Node)) -> Node {
    let node = site.start();
    node.ingested();
    prepare(&node);
    node.stop();
    let file = site.write_capture("replay.pcap", traffic);
    site.reconfigure(&format!("[source]\npath = {:?}\npaced = true", file));
    site.start()
}

/// A minute after the first capture of a deployment.
pub(super) fn later(packets: usize, seconds: f64) -> Traffic {
    let first = Traffic::default();
    Traffic {
        packets,
        seed: 21,
        start_ns: first.start_ns + 120 * SECOND,
        duration_s: seconds,
        ..first
    }
}

#[test]
fn records_of_the_live_stream_say_what_the_past_trace_says() {
    let traffic = later(12_000, 22.0);
    let mut site = Deployment::new().capture(500, 20);
    let (ops, node) = replay(&mut site, &traffic);
    node.ingested();
    // Ten seconds, the longest interval of these modules, before the end: they were there by then, on any machine.
    let end = traffic.start_ns + 20 * SECOND;
    let from = end - 10 * SECOND;
    let window = ["--from", &seconds(from), "--to", &seconds(end)];
    for module in &standard::without_payload() {
        let words = [&["--json", "query", module, "--explain"][..], &window].concat();
        node.until("records reach there", |_| {
            ops.como(&words).ok().json()["estimate"]["from_records"] == true
        });
        let out = |kind: &str| format!("{module}-{kind}.como");
        let answer = ops.query(module, &window, &out("live")).ok().json();
        assert_eq!(answer["reused"], true, "{module}");
        let fresh = [&window[..], &["--fresh"]].concat();
        let answer = ops.query(module, &fresh, &out("past")).ok().json();
        assert_eq!(answer["reused"], false, "{module}");
        let [live, past] = ["live", "past"].map(|kind| open_table(&ops, &ops.path(&out(kind))));
        assert!(
            !past.rows.is_empty() || FIND_NOTHING.contains(&module.as_str()),
            "{module} has rows"
        );
        assert_eq!(live.names, past.names);
        assert_eq!(
            live.rows, past.rows,
            "{module} says two things of the same packets"
        );
        if ["traffic", "topports", "topaddr"].contains(&module.as_str()) {
            let combined = ["live", "past"].map(|kind| {
                let fresh = if kind == "past" { &["--fresh"][..] } else { &[] };
                let words = [&window[..], &["--every", "10s"], fresh].concat();
                let file = format!("{module}-{kind}-combined.como");
                let answer = ops.query(module, &words, &file).ok().json();
                assert_eq!(answer["reused"], kind == "live", "{module}");
                open_table(&ops, &ops.path(&file))
            });
            assert_eq!(combined[0].rows, combined[1].rows, "{module}, combined");
            assert!(combined[0].rows.len() < live.rows.len(), "{module}");
            if module == "traffic" {
                assert_eq!(combined[0].rows.len(), 1, "ten seconds are one interval");
                assert_eq!(combined[0].sum("packets"), live.sum("packets"));
            }
        }
        if module == "traffic" {
            let real = look_at(&traffic);
            let inside = real
                .iter()
                .filter(|seen| (from..end).contains(&seen.ts_ns))
                .count();
            assert_eq!(live.sum("packets"), inside as i128);
        }
    }
    node.stop();
}

#[test]
fn a_window_ahead_waits_runs_and_can_be_cancelled() {
    let traffic = later(4_000, 25.0);
    let mut site = Deployment::new().capture(500, 22);
    let (ops, node) = replay(&mut site, &traffic);
    node.until("packets come", |status| status["capture"]["packets"] != 0);

    // Far ahead: it waits until somebody does not want it any more.
    let (from, to) = (
        seconds(traffic.start_ns + 900 * SECOND),
        seconds(traffic.start_ns + 901 * SECOND),
    );
    let mut waiting = ops
        .command(&[
            "query",
            "traffic",
            "--from",
            &from,
            "--to",
            &to,
            "-o",
            "never.como",
        ])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("como starts");
    let stderr = waiting.stderr.take().expect("piped");
    let mut note = String::new();
    BufReader::new(stderr).read_line(&mut note).expect("a line");
    let id = note
        .split_whitespace()
        .find(|word| word.len() == 32)
        .unwrap_or_else(|| panic!("no id in {note}"));
    node.until("it waits", |status| status["queries"]["waiting"] == 1);
    ops.como(&["cancel", id]).ok();
    let ended = waiting.wait().expect("como ends");
    assert!(!ended.success(), "a cancelled query has no dataset");
    assert!(!ops.path("never.como").exists());

    // A window that is just about to come: `como` waits for it, and it is what the trace then holds.
    let now = node.catalog()["now_ns"].as_u64().expect("a time");
    let from = (now / SECOND + 3) * SECOND;
    let window = ["--from", &seconds(from), "--to", &seconds(from + 4 * SECOND)];
    assert!(
        from + 4 * SECOND < traffic.start_ns + 25 * SECOND,
        "the machine is too slow for this test"
    );
    ops.query("traffic", &window, "ahead.como").ok();
    ops.query("traffic", &[&window[..], &["--fresh"]].concat(), "past.como")
        .ok();
    let [ahead, past] = ["ahead.como", "past.como"].map(|file| open_table(&ops, &ops.path(file)));
    assert_eq!(ahead.rows, past.rows);
    let inside = |ts_ns: u64| (from..from + 4 * SECOND).contains(&ts_ns);
    let expected = look_at(&traffic).iter().filter(|seen| inside(seen.ts_ns)).count();
    assert_eq!(ahead.sum("packets"), expected as i128);
    node.stop();
}
