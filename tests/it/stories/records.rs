//! Modules that run live: their records answer queries, and say what the past trace says.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use como_modules::Manifest;
use como_policies::AccessLevel;
use como_tests::generate::Traffic;
use como_tests::standard;

use super::oracle::look_at;
use super::{SECOND, seconds};
use crate::harness::{Deployment, Guest, Node, Person, open_table};

/// Generated traffic is ordinary: what these look for is not in it.
const FIND_NOTHING: [&str; 2] = ["scanner-detector", "syn-flood"];
/// Length of intervals of modules whose own are longer than a test, ms.
const TEST_INTERVAL_MS: &str = "10000";

fn replay(site: &mut Deployment, traffic: &Traffic, modules: &[Manifest]) -> (Person, Node) {
    let dev = site.developer("dev", "payload");
    let ops = site.partner("ops", "anonymized", true);
    let folder = site.node_folder();
    let node = site.start();
    node.ingested();
    for module in modules {
        let name = module.name.as_str();
        let submitted = match module.interval_ns > 10 * SECOND {
            true => dev.submit_file(&with_short_intervals(&dev, module)),
            false => dev.submit(name),
        };
        let submitted = submitted.ok().json();
        if module.level == AccessLevel::Payload {
            let hash = submitted["hash"].as_str().expect("a hash");
            endorse(site, &folder, hash, module);
        }
        node.until(&format!("{name} may start"), |_| {
            ops.como(&["module", "start", name]).code == 0
        });
    }
    let node = replay_on(site, traffic, node);
    (ops, node)
}

/// The same code with intervals that a test can wait for.
fn with_short_intervals(dev: &Person, module: &Manifest) -> PathBuf {
    let folder = dev.path(&format!("short-{}", module.name));
    fs::create_dir(&folder).expect("a folder");
    let text = fs::read_to_string(standard::folder(&module.name).join("module.toml")).expect("a manifest");
    let own = format!("interval_ms = {}", module.interval_ns / 1_000_000);
    let short = text.replacen(&own, &format!("interval_ms = {TEST_INTERVAL_MS}"), 1);
    assert_ne!(short, text, "{own}");
    fs::write(folder.join("module.toml"), short).expect("a manifest");
    dev.sign_folder(&module.name, &folder)
}

/// What reads payload runs for somebody below it with the arguments that the operator endorsed: here, their defaults.
fn endorse(site: &mut Deployment, folder: &Path, hash: &str, module: &Manifest) {
    let level = module.output_level.to_string();
    let folder = folder.display().to_string();
    let mut words = vec!["endorse", hash, "--output-level", &level, "--name", &module.name];
    let ranges: Vec<String> = module
        .args
        .iter()
        .map(|arg| format!("{}={1}..{1}", arg.name, arg.default))
        .collect();
    words.extend(ranges.iter().flat_map(|range| ["--range", range]));
    words.extend(["--node", &folder]);
    let done = site.admin(&words);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// A node whose modules are wanted before it reads: then it gets `traffic`, as fast as it was recorded.
pub(crate) fn replay_for(site: &mut Deployment, traffic: &Traffic, prepare: impl FnOnce(&Node)) -> Node {
    let node = site.start();
    node.ingested();
    prepare(&node);
    replay_on(site, traffic, node)
}

fn replay_on(site: &mut Deployment, traffic: &Traffic, node: Node) -> Node {
    node.stop();
    let file = site.write_capture("replay.pcap", traffic);
    site.reconfigure(&format!("[source]\npath = {:?}\npaced = true", file));
    site.start()
}

/// A minute after the first capture of a deployment.
pub(crate) fn later(packets: usize, seconds: f64) -> Traffic {
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
fn records_of_every_standard_module_say_what_the_past_trace_says() {
    let traffic = later(12_000, 22.0);
    let mut site = Deployment::new().capture(500, 20).retain("payload");
    let modules = standard::manifests();
    let (ops, node) = replay(&mut site, &traffic, &modules);
    node.ingested();
    // Ten seconds, the longest interval of these modules here, before the end: they were there by then, on any machine.
    let end = traffic.start_ns + 20 * SECOND;
    let from = end - 10 * SECOND;
    let window = ["--from", &seconds(from), "--to", &seconds(end)];
    for module in modules.iter().map(|module| &module.name) {
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
        if ["traffic", "topports", "topaddr", "flowcount"].contains(&module.as_str()) {
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
        if module == "pattern-search" {
            assert!(
                live.sum("packets") > 0,
                "the pattern is in what ten hosts sent to ten"
            );
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
    let traffic_only: Vec<Manifest> = standard::manifests()
        .into_iter()
        .filter(|module| module.name == "traffic")
        .collect();
    let (ops, node) = replay(&mut site, &traffic, &traffic_only);
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

/// Rows of one interval of the module below, and what it stores them as: numbers that do not compress.
const NOISY_ROWS: u32 = 7900;
const NOISY: &str = "(local $i i32) (local $x i64)
    (local.set $x (i64.const 88172645463325252))
    (loop $l
        (local.set $x (i64.add (i64.mul (local.get $x) (i64.const 6364136223846793005))
            (i64.const 1442695040888963407)))
        (i64.store (i32.add (i32.const 65552) (i32.shl (local.get $i) (i32.const 3))) (local.get $x))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $i) (i32.const 7900))))
    (i32.store (i32.const 65536) (i32.const 7900)) i32.const 63216";
/// Where a record file ends, bytes; it has one block more at most.
const FILE_BYTES: u64 = 1 << 20;

/// Name and bytes of the record files of a module.
fn files_of(node: &Node, module: &str) -> Vec<(PathBuf, u64)> {
    let folder = fs::read_dir(node.folder.join("trace/records")).expect("a folder");
    let files = folder.flatten().filter_map(|entry| {
        let mut file = fs::File::open(entry.path()).ok()?;
        let (header, _) = como_node::records::Header::read(&mut file).ok()?;
        let bytes = entry.metadata().ok()?.len();
        (header.name == module).then(|| (entry.path(), bytes))
    });
    files.collect()
}

#[test]
fn record_files_end_at_a_mebibyte_and_answers_go_over_their_borders() {
    let traffic = later(6_000, 18.0);
    let mut site = Deployment::new().capture(500, 26);
    let dev = site.developer("dev", "anonymized");
    let ops = site.partner("ops", "anonymized", true);
    let noisy = Guest {
        name: "noisy",
        store: NOISY,
        interval_ms: 100,
        ..Guest::default()
    };
    let node = replay_for(&mut site, &traffic, |_| {
        dev.submit_file(&noisy.signed_by(&dev)).ok();
        ops.como(&["module", "start", "noisy"]).ok();
    });
    node.ingested();
    let end = traffic.start_ns + 16 * SECOND;
    let from = end - 5 * SECOND;
    let window = ["--from", &seconds(from), "--to", &seconds(end)];
    let explain = [&["--json", "query", "noisy", "--explain"][..], &window].concat();
    let recorded = |node: &Node| {
        node.until("records reach there", |_| {
            ops.como(&explain).ok().json()["estimate"]["from_records"] == true
        })
    };
    recorded(&node);
    let files = files_of(&node, "noisy");
    let block = u64::from(NOISY_ROWS) * 8 + 1024;
    let ended = files.iter().filter(|(_, bytes)| *bytes >= FILE_BYTES).count();
    assert!(
        ended >= 5 && files.iter().all(|(_, bytes)| *bytes < FILE_BYTES + block),
        "{files:?}"
    );
    let answer = |name: &str, args: &[&str], reused: bool| {
        let args = [&window[..], args].concat();
        let told = ops.query("noisy", &args, name).ok().json();
        assert_eq!(told["reused"], reused);
        open_table(&ops, &ops.path(name))
    };
    let live = answer("live.como", &[], true);
    assert_eq!(live.rows.len(), 50 * NOISY_ROWS as usize);
    assert!(live.rows == answer("past.como", &["--fresh"], false).rows);
    // They are there after a restart.
    node.stop();
    let node = site.start();
    recorded(&node);
    assert!(live.rows == answer("again.como", &[], true).rows);
    // One that is gone leaves a hole, which the trace fills.
    node.stop();
    let middle = (from + end) / 2;
    let holds = |path: &PathBuf| {
        let mut file = io::BufReader::new(fs::File::open(path).expect("a record file"));
        como_node::records::Header::read(&mut file).expect("a header");
        let block = |_| como_node::records::Block::read(&mut file).ok().flatten();
        std::iter::repeat(())
            .map_while(block)
            .any(|block| (block.head.from_ns..block.head.to_ns).contains(&middle))
    };
    let (gone, _) = files.iter().find(|(path, _)| holds(path)).expect("one holds it");
    fs::remove_file(gone).expect("it is there");
    let node = site.start();
    node.until("storage tells what it has", |status| {
        status["storage"]["record_files"] != 0
    });
    let told = ops.como(&explain).ok().json()["estimate"].clone();
    assert!(
        told["from_records"] == false && told["recorded_ns"].as_u64() > Some(SECOND),
        "{told}"
    );
    assert!(live.rows == answer("mended.como", &[], false).rows);
    node.stop();
}
