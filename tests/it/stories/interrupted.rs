//! Runs that are interrupted, on purpose or not: what they miss is marked in the records, and computed from the past trace
//! when somebody asks for it.

use std::fs::File;
use std::io::BufReader;

use como_node::records::{Block, Header};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::oracle::look_at;
use super::records::{later, replay_for};
use super::{SECOND, seconds};
use crate::harness::{Deployment, Node, Person, open_table, wait_for};

pub(super) fn window(from: u64, to: u64) -> [String; 4] {
    ["--from".into(), seconds(from), "--to".into(), seconds(to)]
}

/// Whether a query over a window would be answered from stored records.
fn is_recorded(ops: &Person, module: &str, from: u64, to: u64) -> bool {
    let window = window(from, to);
    let words = [
        &["--json", "query", module, "--explain"][..],
        &window.each_ref().map(String::as_str),
    ]
    .concat();
    ops.como(&words).ok().json()["estimate"]["from_records"] == true
}

/// The answer over a window, which must be that of a run over the past trace; whether it came from records.
fn answer(ops: &Person, module: &str, from: u64, to: u64) -> (bool, crate::harness::Table) {
    let window = window(from, to);
    let window = window.each_ref().map(String::as_str);
    let name = format!("{module}-{from}-{to}");
    let [any, fresh] = ["any", "fresh"].map(|kind| format!("{name}-{kind}.como"));
    let told = ops.query(module, &window, &any).ok().json();
    ops.query(module, &[&window[..], &["--fresh"]].concat(), &fresh)
        .ok();
    let [any, fresh] = [any, fresh].map(|file| open_table(ops, &ops.path(&file)));
    assert_eq!(any.rows, fresh.rows, "{module} over {from}..{to}");
    assert!(
        any.header.gaps.is_empty() && any.end.gaps.is_empty(),
        "the trace is complete"
    );
    (told["reused"] == true, any)
}

/// Incomplete stretches of all record files, in packet time.
fn marked(node: &Node) -> Vec<(u64, u64)> {
    let mut marks = Vec::new();
    for entry in std::fs::read_dir(node.folder.join("trace/records"))
        .expect("a folder")
        .flatten()
    {
        let mut file = BufReader::new(File::open(entry.path()).expect("a record file"));
        Header::read(&mut file).expect("a header");
        while let Some(block) = Block::read(&mut file).expect("a block") {
            if !block.head.complete {
                marks.push((block.head.from_ns, block.head.to_ns));
            }
        }
    }
    marks
}

fn intervals(ops: &Person, module: &str) -> u64 {
    let status = ops.como(&["--json", "status"]).ok().json();
    let runs = status["live_modules"].as_array().expect("a list").clone();
    let run = runs.iter().find(|run| run["name"] == module);
    run.map_or(0, |run| run["usage"]["intervals"].as_u64().unwrap_or(0))
}

/// Waits until packets of this time came.
pub(super) fn packets_until(node: &Node, time_ns: u64) {
    node.until("packets come", |status| {
        status["capture"]["now_ns"].as_u64() > Some(time_ns)
    });
}

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("a list");
    list.iter()
        .map(|run| run["name"].as_str().expect("a name"))
        .collect()
}

#[test]
fn what_a_paused_module_misses_is_marked_and_computed_from_the_past_trace() {
    let traffic = later(9_000, 30.0);
    let mut site = Deployment::new().capture(500, 31);
    let dev = site.developer("dev", "anonymized");
    let ops = site.partner("ops", "anonymized", true);
    let ann = site.partner("ann", "anonymized", false);
    let node = replay_for(&mut site, &traffic, |_| {
        dev.submit("traffic").ok();
        ops.como(&["module", "start", "traffic"]).ok();
    });
    packets_until(&node, traffic.start_ns + 5 * SECOND);

    // Who started nothing pauses nothing.
    ann.como(&["module", "pause", "traffic"]).exits(7);
    ops.como(&["module", "resume", "traffic"]).exits(7);
    let told = ops.como(&["--json", "module", "pause", "traffic"]).ok().json();
    assert_eq!(told["paused"], 1);
    let paused_ns = node.catalog()["now_ns"].as_u64().expect("a time");
    ops.como(&["module", "pause", "traffic"]).exits(7);
    let status = node.status();
    assert_eq!(names(&status["live_modules"]), [""; 0]);
    assert_eq!(names(&status["paused_modules"]), ["traffic"]);
    assert_eq!(status["stopped_modules"][0]["why"], "paused");
    node.until("export ends with its last module", |_| {
        !node.roles().iter().any(|(role, _)| role == "export")
    });
    packets_until(&node, paused_ns + 4 * SECOND);

    // The developer may let it go on as well.
    let told = dev.como(&["--json", "module", "resume", "traffic"]).ok().json();
    assert_eq!(told["resumed"], 1);
    let resumed_ns = node.catalog()["now_ns"].as_u64().expect("a time");
    assert_eq!(names(&node.status()["live_modules"]), ["traffic"]);
    wait_for("it goes on", || (intervals(&ops, "traffic") >= 4).then_some(()));
    node.ingested();

    // Marked: a stretch without rows, from the last whole interval before the pause.
    let first = (traffic.start_ns / SECOND + 1) * SECOND;
    let (pause, resume) = (paused_ns / SECOND * SECOND, (resumed_ns / SECOND + 2) * SECOND);
    let whole = |from: u64, to: u64| to - from > 2 * SECOND && from <= pause + SECOND && to <= resume;
    let marks = marked(&node);
    assert!(
        marks.iter().any(|(from, to)| whole(*from, *to)),
        "{marks:?} around {pause}..{resume}"
    );
    wait_for("records say what is whole", || {
        (is_recorded(&ops, "traffic", pause - 2 * SECOND, pause - SECOND)
            && is_recorded(&ops, "traffic", resume + SECOND, resume + 2 * SECOND))
        .then_some(())
    });
    assert!(!is_recorded(&ops, "traffic", pause + SECOND, pause + 2 * SECOND));
    // And computed, alone and with what is recorded around it.
    for (from, to, recorded) in [
        (pause - 2 * SECOND, pause - SECOND, true),
        (pause + SECOND, pause + 3 * SECOND, false),
        (first, resume + 2 * SECOND, false),
    ] {
        let (reused, table) = answer(&ops, "traffic", from, to);
        assert_eq!(reused, recorded);
        let real = look_at(&traffic);
        let inside = real
            .iter()
            .filter(|seen| (from..to).contains(&seen.ts_ns))
            .count();
        assert_eq!(table.sum("packets"), inside as i128);
    }
    node.stop();
}

#[test]
fn what_records_cover_is_not_computed_again_and_the_tables_are_those_of_a_whole_run() {
    let traffic = later(18_000, 30.0);
    let mut site = Deployment::new().capture(500, 34);
    let dev = site.developer("dev", "anonymized");
    let ops = site.partner("ops", "anonymized", true);
    // With pseudonyms and without, with a merge of its own, with a filter of its own.
    let modules = ["traffic", "topaddr", "topports"];
    let node = replay_for(&mut site, &traffic, |_| {
        for module in modules {
            dev.submit(module).ok();
            ops.como(&["module", "start", module]).ok();
        }
    });
    let pause = |from: u64, to: u64| {
        packets_until(&node, from);
        let told = modules.map(|module| ops.como(&["module", "pause", module]).ok());
        packets_until(&node, to);
        let resumed = modules.map(|module| ops.como(&["module", "resume", module]).ok());
        (told, resumed)
    };
    pause(traffic.start_ns + 8 * SECOND, traffic.start_ns + 10 * SECOND);
    pause(traffic.start_ns + 16 * SECOND, traffic.start_ns + 18 * SECOND);
    node.ingested();
    let (first, end) = (
        (traffic.start_ns / SECOND + 3) * SECOND,
        (traffic.start_ns / SECOND + 28) * SECOND,
    );
    for module in modules {
        wait_for("records reach the end", || {
            is_recorded(&ops, module, end - SECOND, end).then_some(())
        });
        let half = SECOND / 2;
        for (from, to, every) in [
            (first, end, None),
            // Intervals that the window cuts are computed, and marked as ever.
            (first + half, end - half, None),
            (first, end, Some("5s")),
        ] {
            let window = window(from, to);
            let window = window.each_ref().map(String::as_str);
            let every = every.map(|every| ["--every", every]);
            let asked = [&window[..], every.as_ref().map_or(&[][..], |every| every)].concat();
            let explain = [&["--json", "query", module, "--explain"][..], &asked].concat();
            let estimate = ops.como(&explain).ok().json()["estimate"].clone();
            let recorded_s = estimate["recorded_ns"].as_u64().expect("a time") / SECOND;
            assert!(
                estimate["from_records"] == false && (10..23).contains(&recorded_s),
                "{module}: {estimate}"
            );
            let file = |kind: &str| format!("{module}-{from}-{}-{kind}.como", every.is_some());
            ops.query(module, &asked, &file("partly")).ok();
            ops.query(module, &[&asked[..], &["--fresh"]].concat(), &file("whole"))
                .ok();
            let [partly, whole] = ["partly", "whole"].map(|kind| open_table(&ops, &ops.path(&file(kind))));
            assert_eq!(partly.rows, whole.rows, "{module}");
            assert_eq!(partly.end.interrupted, whole.end.interrupted, "{module}");
            assert_eq!((partly.end.gaps.len(), whole.end.gaps.len()), (0, 0));
            assert!(
                partly.end.packets > 0 && partly.end.packets < whole.end.packets * 3 / 4,
                "{module}: {} packets of {} were read",
                partly.end.packets,
                whole.end.packets
            );
        }
    }
    node.stop();
}

#[test]
fn a_killed_export_loses_no_stored_record_and_what_it_missed_is_computed() {
    let traffic = later(6_000, 24.0);
    let mut site = Deployment::new().capture(500, 32);
    let dev = site.developer("dev", "anonymized");
    let ops = site.partner("ops", "anonymized", true);
    // Two without pseudonyms share a process; one with them has another.
    let modules = ["traffic", "protocol", "topaddr"];
    let node = replay_for(&mut site, &traffic, |_| {
        for module in modules {
            dev.submit(module).ok();
            ops.como(&["module", "start", module]).ok();
        }
    });
    packets_until(&node, traffic.start_ns + 10 * SECOND);
    let first = (traffic.start_ns / SECOND + 5) * SECOND;
    let killed_ns = node.catalog()["now_ns"].as_u64().expect("a time");
    let processes = node.status()["processes"].as_array().expect("a list").clone();
    let exports: Vec<u64> = processes
        .iter()
        .filter(|process| process["role"] == "export")
        .filter_map(|process| process["pid"].as_u64())
        .collect();
    assert_eq!(exports.len(), 2, "one for each audience");
    kill(Pid::from_raw(exports[0] as i32), Signal::SIGKILL).expect("it is there");
    wait_for("all go on", || {
        modules
            .iter()
            .all(|module| intervals(&ops, module) >= 5)
            .then_some(())
    });
    node.ingested();
    let end = (traffic.start_ns / SECOND + 20) * SECOND;
    let stored_ns = killed_ns / SECOND * SECOND - 2 * SECOND;
    assert!(first < stored_ns, "it had stored something");
    let whole = |module: &str| is_recorded(&ops, module, first, end);
    wait_for("records reach the end", || {
        let reached = |module: &&str| is_recorded(&ops, module, end - SECOND, end);
        modules.iter().all(reached).then_some(())
    });
    // Which of the two it was, the table of processes does not say.
    let by_second = modules.map(|module| {
        let seconds = (first..end).step_by(SECOND as usize);
        let recorded = seconds.map(|from| is_recorded(&ops, module, from, from + SECOND));
        recorded
            .map(|recorded| if recorded { '+' } else { '-' })
            .collect::<String>()
    });
    let (apart, together) = (whole("topaddr"), whole("traffic") && whole("protocol"));
    assert_ne!(
        apart, together,
        "the other process has all its records: {by_second:?}"
    );
    for module in modules {
        assert!(
            is_recorded(&ops, module, first, stored_ns),
            "{module} keeps what was stored"
        );
        let (reused, _) = answer(&ops, module, first, end);
        assert_eq!(reused, whole(module));
    }
    assert_eq!(node.catalog()["lost_packets"], 0);
    node.stop();
}

#[test]
fn records_answer_alone_where_the_trace_is_gone_and_say_what_they_lack() {
    let traffic = later(24_000, 24.0);
    let mut site = Deployment::new()
        .capture(500, 43)
        .config_extra("[trace]\nretain = \"payload\"\nsegment_bytes = \"1 MiB\"\nring_bytes = \"4 MiB\"");
    let dev = site.developer("dev", "anonymized");
    let ops = site.partner("ops", "anonymized", true);
    let node = replay_for(&mut site, &traffic, |_| {
        dev.submit("traffic").ok();
        ops.como(&["module", "start", "traffic"]).ok();
    });
    packets_until(&node, traffic.start_ns + 4 * SECOND);
    ops.como(&["module", "pause", "traffic"]).ok();
    let paused_ns = node.catalog()["now_ns"].as_u64().expect("a time") / SECOND * SECOND;
    packets_until(&node, paused_ns + 2 * SECOND);
    ops.como(&["module", "resume", "traffic"]).ok();
    node.ingested();
    let first = traffic.start_ns + 2 * SECOND;
    let end = paused_ns + 6 * SECOND;
    let coverage = wait_for("the trace is gone there", || {
        let coverage = node.catalog()["coverage"].clone();
        (coverage["from_ns"].as_u64() > Some(end)).then_some(coverage)
    });
    assert!(coverage["to_ns"].as_u64() > Some(end));
    let asked = window(first, end);
    let asked = asked.each_ref().map(String::as_str);
    let told = ops.query("traffic", &asked, "alone.como").ok().json();
    assert_eq!(told["reused"], true);
    let table = open_table(&ops, &ops.path("alone.como"));
    let gaps = &table.header.gaps;
    assert!(
        gaps.iter().all(|gap| gap.cause == "not recorded") && gaps.len() == 1,
        "{gaps:?}"
    );
    assert!(
        gaps[0].from_ns <= paused_ns && gaps[0].to_ns >= paused_ns + 2 * SECOND,
        "{gaps:?}"
    );
    let real = look_at(&traffic);
    let lacks = |ts_ns: u64| (gaps[0].from_ns..gaps[0].to_ns).contains(&ts_ns);
    let told = |ts_ns: u64| (first..end).contains(&ts_ns) && !lacks(ts_ns);
    let expected = real.iter().filter(|seen| told(seen.ts_ns)).count();
    assert_eq!(table.sum("packets"), expected as i128);
    // Nothing was recorded with the asker's own filter, nor of another module.
    ops.query(
        "traffic",
        &[&asked[..], &["--filter", "udp"]].concat(),
        "never.como",
    )
    .exits(7);
    ops.query("traffic", &[&asked[..], &["--fresh"]].concat(), "never.como")
        .exits(7);
    node.stop();
}

#[test]
fn intervals_of_which_packets_were_shed_are_computed_from_the_past_trace() {
    let traffic = later(60_000, 16.0);
    let mut site = Deployment::new().capture(500, 33);
    let dev = site.developer("dev", "anonymized");
    let ops = site.partner("ops", "anonymized", true);
    let node = replay_for(&mut site, &traffic, |_| {
        dev.submit("traffic").ok();
        ops.como(&["module", "start", "traffic"]).ok();
    });
    packets_until(&node, traffic.start_ns + 3 * SECOND);
    let export = Pid::from_raw(node.role("export").expect("it runs") as i32);
    kill(export, Signal::SIGSTOP).expect("it is there");
    let status = node.until("views are shed", |status| status["capture"]["shed"] != 0);
    let shed_ns = status["capture"]["now_ns"].as_u64().expect("a time");
    kill(export, Signal::SIGCONT).expect("it is there");
    node.ingested();
    let end = (traffic.start_ns / SECOND + 15) * SECOND;
    let first = (traffic.start_ns / SECOND + 1) * SECOND;
    wait_for("records reach the end", || {
        is_recorded(&ops, "traffic", end - SECOND, end).then_some(())
    });
    assert!(
        !is_recorded(&ops, "traffic", first, end),
        "some intervals are incomplete"
    );
    let (reused, table) = answer(&ops, "traffic", first, end);
    assert!(!reused);
    let real = look_at(&traffic);
    let inside = real
        .iter()
        .filter(|seen| (first..end).contains(&seen.ts_ns))
        .count();
    assert_eq!(table.sum("packets"), inside as i128);
    assert!(shed_ns < end, "it was shed in the middle");
    node.stop();
}

#[test]
fn a_file_waits_for_its_live_modules() {
    let traffic = later(60_000, 30.0);
    let mut site = Deployment::new().capture(500, 33);
    let dev = site.developer("dev", "anonymized");
    let ops = site.partner("ops", "anonymized", true);
    let node = site.start();
    node.ingested();
    for module in ["traffic", "flow"] {
        dev.submit(module).ok();
        ops.como(&["module", "start", module]).ok();
    }
    node.stop();
    // As fast as the disk takes it.
    let file = site.write_capture("more.pcap", &traffic);
    site.reconfigure(&format!("[source]\npath = {file:?}"));
    let node = site.start();
    node.ingested();
    assert_eq!(node.status()["capture"]["shed"], 0);
    let from = (traffic.start_ns / SECOND + 1) * SECOND;
    let to = (traffic.start_ns / SECOND + 29) * SECOND;
    for module in ["traffic", "flow"] {
        // `flow` has longer intervals: those that end before the file does.
        let to = if module == "flow" {
            from - from % (10 * SECOND) + 20 * SECOND
        } else {
            to
        };
        let from = if module == "flow" {
            from - from % (10 * SECOND) + 10 * SECOND
        } else {
            from
        };
        wait_for("records reach the end", || {
            is_recorded(&ops, module, from, to).then_some(())
        });
        assert!(answer(&ops, module, from, to).0, "{module}: all of it was seen");
    }
    node.stop();
}
