//! On-demand queries on the past trace: answers equal a naive count, and refusals say what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::oracle::{Seen, look_at};
use super::{SECOND, seconds};
use crate::harness::{Deployment, Output, Person, Table, open_table};

/// Error of the flow counter's sketch, four times its standard error of 0.8 %.
const FLOWS_ERROR: f64 = 0.033;
/// The same of combined intervals, whose standard error is 2.3 %.
const UNION_ERROR: f64 = 0.092;

fn ask(person: &Person, module: &str, args: &[&str], out: &str) -> Table {
    person.query(module, args, out).ok();
    open_table(person, &person.path(out))
}

/// Packets and bytes per key, over all intervals.
fn totals(table: &Table, keys: [&str; 2]) -> BTreeMap<(i128, i128), (i128, i128)> {
    let column = |name: &str| table.column(name).into_iter().map(|cell| cell.number());
    let keys = column(keys[0]).zip(column(keys[1]));
    let mut found: BTreeMap<_, (i128, i128)> = BTreeMap::new();
    for (key, (packets, bytes)) in keys.zip(column("packets").zip(column("bytes"))) {
        let entry = found.entry(key).or_default();
        *entry = (entry.0 + packets, entry.1 + bytes);
    }
    found
}

fn count<K: Ord>(real: &[Seen], keys: impl Fn(&Seen) -> Vec<K>) -> BTreeMap<K, (i128, i128)> {
    let mut found: BTreeMap<K, (i128, i128)> = BTreeMap::new();
    for seen in real {
        for key in keys(seen) {
            let entry = found.entry(key).or_default();
            *entry = (entry.0 + 1, entry.1 + i128::from(seen.wire_len));
        }
    }
    found
}

#[test]
fn modules_over_the_past_trace_count_what_the_link_carried() {
    let mut site = Deployment::new().capture(5_000, 12);
    let ops = site.partner("ops", "anonymized", true);
    let dev = site.developer("dev", "anonymized");
    let real = look_at(site.generated());
    let start = site.generated().start_ns;
    let node = site.start();
    node.ingested();
    for module in ["traffic", "protocol", "topports", "flowcount"] {
        dev.submit(module).ok();
    }

    let traffic = ask(&ops, "traffic", &["--all"], "traffic.como");
    assert_eq!(traffic.sum("packets"), real.len() as i128);
    let bytes: u64 = real.iter().map(|seen| seen.wire_len).sum();
    assert_eq!(traffic.sum("bytes"), i128::from(bytes));
    assert!(traffic.rows.len() >= 59, "a row per second, empty ones too");

    let udp = ask(&ops, "traffic", &["--all", "--filter", "udp"], "udp.como");
    let expected = real.iter().filter(|seen| seen.protocol == 17);
    let expected: Vec<u64> = expected.map(|seen| seen.wire_len).collect();
    assert_eq!(udp.sum("packets"), expected.len() as i128);
    assert_eq!(udp.sum("bytes"), i128::from(expected.iter().sum::<u64>()));

    // Ten seconds, border to border: exactly the packets in between.
    let (from, to) = (start + 20 * SECOND, start + 30 * SECOND);
    let window = ["--from", &seconds(from), "--to", &seconds(to)];
    let part = ask(&ops, "traffic", &window, "part.como");
    let inside = real
        .iter()
        .filter(|seen| (from..to).contains(&seen.ts_ns))
        .count();
    assert_eq!((part.rows.len(), part.sum("packets")), (10, inside as i128));

    let protocol = ask(&ops, "protocol", &["--all"], "protocol.como");
    let expected = count(&real, |seen| {
        vec![(i128::from(seen.ethertype), i128::from(seen.protocol))]
    });
    assert_eq!(totals(&protocol, ["ethertype", "protocol"]), expected);

    // Well-known ports keep their numbers; all of them are within the hundred busiest of every second.
    let topports = ask(&ops, "topports", &["--all", "--arg", "k=100"], "ports.como");
    let found = totals(&topports, ["protocol", "port"]);
    let ports = count(&real, |seen| match seen.ports {
        Some((from, to)) => BTreeSet::from([from, to])
            .into_iter()
            .map(|port| (i128::from(seen.protocol), i128::from(port)))
            .collect(),
        None => Vec::new(),
    });
    for key in [(6, 443), (6, 80), (17, 53), (17, 443)] {
        assert_eq!(found.get(&key), ports.get(&key), "protocol and port {key:?}");
    }
    let few = ask(&ops, "topports", &["--all", "--arg", "k=3"], "few.como");
    assert!(few.rows.len() <= 3 * traffic.rows.len() && few.rows.len() > traffic.rows.len());

    // Pseudonyms tell flows apart as well as addresses do.
    let flows = ask(&ops, "flowcount", &["--all"], "flows.como");
    let mut expected: BTreeMap<u64, BTreeSet<_>> = BTreeMap::new();
    for seen in real.iter().filter(|seen| !seen.source.is_empty()) {
        let flow = (&seen.source, &seen.destination, seen.protocol, seen.ports);
        expected.entry(seen.ts_ns / SECOND).or_default().insert(flow);
    }
    let expected: usize = expected.values().map(BTreeSet::len).sum();
    let error = (flows.sum("flows") as f64 - expected as f64).abs() / expected as f64;
    assert!(error < FLOWS_ERROR, "{} flows of {expected}", flows.sum("flows"));
    // A flow that lasts counts once in a longer interval: adding up would count it every second.
    let longer = ask(&ops, "flowcount", &["--all", "--every", "1m"], "longer.como");
    let mut lasting: BTreeMap<u64, BTreeSet<_>> = BTreeMap::new();
    for seen in real.iter().filter(|seen| !seen.source.is_empty()) {
        let flow = (&seen.source, &seen.destination, seen.protocol, seen.ports);
        lasting
            .entry(seen.ts_ns / (60 * SECOND))
            .or_default()
            .insert(flow);
    }
    let lasting: usize = lasting.values().map(BTreeSet::len).sum();
    let error = (longer.sum("flows") as f64 - lasting as f64).abs() / lasting as f64;
    assert!(error < UNION_ERROR, "{} flows of {lasting}", longer.sum("flows"));
    assert!(
        lasting as f64 * (1.0 + UNION_ERROR) < expected as f64,
        "adding up would pass as well: {lasting} of {expected}"
    );
    node.stop();
}

fn says(output: &Output, words: &str) {
    assert!(
        output.stderr.contains(words),
        "`{words}` is not in\n{}",
        output.stderr
    );
}

#[test]
fn refusals_say_what_is_wrong_and_by_which_rule() {
    let mut site = Deployment::new().capture(1_000, 13);
    let ann = site.partner("ann", "anonymized", false);
    let dev = site.developer("dev", "anonymized");
    let start = site.generated().start_ns;
    let node = site.start();
    node.ingested();
    dev.submit("traffic").ok();

    // Above the ceiling: the rule that refuses is quoted, as text and as JSON.
    let refused = ann
        .como(&["trace", "--all", "--level", "headers", "-o", "h.como"])
        .exits(3);
    says(&refused, "ceiling");
    let refused = ann.como(&[
        "--json", "query", "traffic", "--all", "--level", "headers", "-o", "h.como",
    ]);
    assert_eq!(refused.exits(3).error()["exit"], 3);
    assert!(!ann.path("h.como").exists());

    says(&ann.query("nothing", &["--all"], "x.como").exits(7), "nothing");
    says(
        &ann.query("traffic", &["--all", "--arg", "k=1"], "x.como")
            .exits(7),
        "k",
    );
    let (early, late) = (seconds(start + 5 * SECOND), seconds(start + 9 * SECOND));
    for (from, to) in [(&late, &early), (&early, &early)] {
        let asked = ann.query("traffic", &["--from", from, "--to", to], "x.como");
        says(&asked.exits(2), "ends before it begins");
    }
    let (early, late) = (seconds(start - 90_000 * SECOND), seconds(start - 80_000 * SECOND));
    let asked = ann.query("traffic", &["--from", &early, "--to", &late], "x.como");
    says(&asked.exits(7), "trace");

    // A bad filter comes back with a mark below the word.
    let asked = ann.como(&[
        "query",
        "traffic",
        "--all",
        "--filter",
        "tcp and blue",
        "-o",
        "x.como",
    ]);
    let asked = asked.exits(7);
    let lines: Vec<&str> = asked.stderr.lines().collect();
    let mark = lines.iter().position(|line| line.trim() == "^").or_else(|| {
        lines
            .iter()
            .position(|line| !line.trim().is_empty() && line.trim().chars().all(|c| c == '^'))
    });
    let mark = mark.unwrap_or_else(|| panic!("no mark in\n{}", asked.stderr));
    let at = lines[mark].find('^').expect("a mark");
    assert!(
        lines[mark - 1]
            .get(at..)
            .is_some_and(|rest| rest.starts_with("blue")),
        "{}",
        asked.stderr
    );

    // What would be refused is refused by explain too; what would not is estimated, and nothing is run.
    ann.como(&["trace", "--all", "--level", "headers", "--explain"])
        .exits(3);
    let explained = ann
        .como(&["--json", "query", "traffic", "--all", "--explain"])
        .ok()
        .json();
    assert_eq!(explained["decision"], "allow");
    assert_eq!(explained["estimate"]["from_records"], false);
    assert_eq!(explained["estimate"]["packets"], 1_000);
    assert_eq!(node.status()["queries"], serde_json::json!({}), "nothing was run");
    node.stop();
}

#[test]
fn a_broken_download_goes_on_where_it_broke() {
    let mut site = Deployment::new().capture(2_000, 14);
    let ann = site.partner("ann", "anonymized", false);
    let bob = site.partner("bob", "anonymized", false);
    let node = site.start();
    node.ingested();
    let answer = ann.trace(&["--all"], "whole.como").ok().json();
    let id = answer["id"].as_str().expect("an id");
    let tag = format!("\"{id}\"");
    let whole = std::fs::read(ann.path("whole.como")).expect("the dataset");

    let half = |name: &str, change: bool| {
        let mut part = whole[..whole.len() / 2].to_vec();
        let middle = part.len() / 2;
        part[middle] ^= u8::from(change);
        std::fs::write(ann.path(&format!("{name}.part")), part).expect("a part");
        std::fs::write(ann.path(&format!("{name}.part.etag")), &tag).expect("a tag");
    };
    half("again.como", false);
    ann.como(&["fetch", id, "-o", "again.como"]).ok();
    assert!(std::fs::read(ann.path("again.como")).expect("a file") == whole);
    // What is here is not fetched again: a flipped bit of it stays, and is found.
    half("flipped.como", true);
    ann.como(&["fetch", id, "-o", "flipped.como"]).exits(6);
    assert!(!ann.path("flipped.como").exists() && ann.path("flipped.como.unverified").exists());
    // It outlives a restart of the node.
    node.stop();
    let node = site.start();
    ann.como(&["fetch", id, "-o", "later.como"]).ok();
    assert!(std::fs::read(ann.path("later.como")).expect("a file") == whole);
    // An id is no key: nobody else gets the file.
    bob.como(&["fetch", id, "-o", "stolen.como"]).exits(7);
    node.stop();
}

#[test]
fn datasets_of_several_windows_merge_by_their_module_into_what_the_node_says_of_the_whole() {
    let mut site = Deployment::new().capture(4_000, 15);
    let ops = site.partner("ops", "anonymized", true);
    let dev = site.developer("dev", "anonymized");
    let start = site.generated().start_ns;
    let node = site.start();
    node.ingested();
    let modules = ["topaddr", "traffic"].map(|module| {
        dev.submit(module).ok();
        dev.sign(module).display().to_string()
    });
    let ten = 10 * SECOND;
    let from = start - start % ten + ten;
    let query = |module: &str, from: u64, to: u64, more: &[&str], out: &str| {
        let window = ["--from", &seconds(from), "--to", &seconds(to), "--arg", "k=4"];
        let window = if module == "topaddr" {
            &window[..]
        } else {
            &window[..4]
        };
        ops.query(module, &[window, more].concat(), out).ok();
    };
    query("topaddr", from, from + ten / 2, &[], "first.como");
    query("topaddr", from + ten / 2, from + 2 * ten, &[], "second.como");
    query("topaddr", from, from + 2 * ten, &["--every", "10s"], "whole.como");
    query("traffic", from, from + ten, &[], "other.como");
    let merge = |args: &[&str], out: &str| {
        let files = ["dataset", "merge", "second.como", "first.como", "--every", "10s"];
        ops.como(&[&files[..], args, &["--to", "csv", "-o", out]].concat())
    };
    merge(&["--module", &modules[0]], "merged.csv").ok();
    ops.como(&["dataset", "open", "whole.como", "--to", "csv", "-o", "whole.csv"])
        .ok();
    let [merged, whole] = ["merged.csv", "whole.csv"].map(|file| std::fs::read_to_string(ops.path(file)));
    let [merged, whole] = [merged, whole].map(|text| text.expect("a table"));
    assert_eq!(merged, whole);
    assert_eq!(
        whole.lines().count(),
        1 + 2 * 4,
        "four addresses in each: {whole}"
    );

    // Its merge is the module's own: nothing else can do it.
    let refused = merge(&[], "never.csv");
    assert!(
        refused.code != 0 && refused.stderr.contains("own `merge`, which is missing"),
        "{}",
        refused.stderr
    );
    let refused = merge(&["--module", &modules[1]], "never.csv");
    assert!(
        refused.code != 0 && refused.stderr.contains("other code"),
        "{}",
        refused.stderr
    );
    let mixed = [
        "dataset",
        "merge",
        "first.como",
        "other.como",
        "--module",
        &modules[0],
    ];
    let mixed = ops.como(&[&mixed[..], &["--to", "csv", "-o", "never.csv"]].concat());
    assert_ne!(mixed.code, 0, "tables of two modules are no table");
    assert!(!ops.path("never.csv").exists());
    node.stop();
}
