//! Archives of captures come into the trace of a stopped node: each once, whoever is killed when.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Output as Ended;
use std::time::Duration;

use como_savefile::{Packet, Section, Writer};
use como_tests::generate::Traffic;
use como_tests::site::processes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::harness::{Deployment, POLL, Person, open_packets, rounds, wait_for};

/// A node that keeps everything, and whose own source has nothing to do with the archive.
fn site() -> Deployment {
    let trace = "[trace]\nretain = \"payload\"\nsegment_bytes = \"1 MiB\"";
    Deployment::new().capture(1, 70).config_extra(trace)
}

fn traffic(packets: usize, seed: u64, hours_later: u64) -> Traffic {
    let traffic = Traffic::default();
    Traffic {
        packets,
        seed,
        start_ns: traffic.start_ns + hours_later * 3_600_000_000_000,
        ..traffic
    }
}

fn words(site: &mut Deployment, files: &[&Path]) -> Vec<String> {
    let folder = site.node_folder().display().to_string();
    let files = files.iter().map(|file| file.display().to_string());
    let command = ["import".to_owned()].into_iter().chain(files);
    command.chain(["--node".to_owned(), folder]).collect()
}

fn import(site: &mut Deployment, files: &[&Path]) -> (i32, String, String) {
    let words = words(site, files);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Ended {
        status,
        stdout,
        stderr,
    } = site.admin(&words);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (
        status.code().expect("it ended by itself"),
        text(stdout),
        text(stderr),
    )
}

/// The trace has the packets of these captures, each once, in the order given.
#[track_caller]
fn holds(site: &mut Deployment, owner: &Person, captures: &[&Traffic]) {
    let own = site.generated().generate().count() as u64;
    let node = site.start();
    node.ingested();
    let expected: Vec<_> = captures.iter().flat_map(|traffic| traffic.generate()).collect();
    assert_eq!(node.catalog()["packets"], expected.len() as u64 + own);
    let from = super::seconds(captures[0].start_ns);
    let last = captures.last().expect("a capture");
    let to = super::seconds(last.start_ns + (last.duration_s * 1e9) as u64 + 1_000_000);
    owner
        .trace(
            &["--from", &from, "--to", &to, "--level", "payload"],
            "whole.como",
        )
        .ok();
    let found = open_packets(owner, &owner.path("whole.como"));
    node.stop();
    let mut found: Vec<_> = found.ts_ns.into_iter().zip(found.frames).collect();
    // The node's own packet is of the same hours.
    let own: Vec<_> = site.generated().generate().map(|p| (p.ts_ns, p.data)).collect();
    found.retain(|packet| !own.contains(packet));
    assert_eq!(found.len(), expected.len(), "none missing, none twice");
    assert!(
        found
            .iter()
            .zip(&expected)
            .all(|(f, e)| f.0 == e.ts_ns && f.1 == e.data)
    );
}

fn pcapng(site: &Deployment, name: &str, traffic: &Traffic) -> PathBuf {
    let path = site.path(name);
    let out = BufWriter::new(File::create(&path).expect("a file"));
    let mut writer = Writer::pcapng(out, &Section::default()).expect("a section");
    for packet in traffic.generate() {
        let packet = Packet {
            ts_ns: packet.ts_ns,
            wire_len: packet.data.len() as u32,
            link: 1,
            data: &packet.data,
        };
        writer.packet(&packet).expect("written");
    }
    writer.finish().expect("written");
    path
}

#[test]
fn an_archive_is_imported_once_in_the_order_of_time() {
    let mut site = site();
    let owner = site.partner("ann", "payload", false);
    let (early, late) = (traffic(3_000, 71, 0), traffic(2_000, 72, 5));
    let late_file = site.write_capture("late.pcap", &late);
    let early_file = pcapng(&site, "early.pcapng", &early);
    let (code, out, err) = import(&mut site, &[&late_file, &early_file, &late_file]);
    assert_eq!(code, 0, "{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    assert!(lines[0].starts_with("skipped") && lines[0].ends_with("given twice"));
    assert!(
        lines[1].ends_with("early.pcapng: 3000 packets") && lines[2].ends_with("late.pcap: 2000 packets")
    );

    // Recognised by its content, wherever it lies and whatever it is called.
    let moved = site.path("moved.pcap");
    fs::rename(&late_file, &moved).expect("moved");
    let (code, out, _) = import(&mut site, &[&moved, &early_file]);
    assert_eq!(code, 0);
    assert_eq!(out.matches("imported already").count(), 2, "{out}");
    holds(&mut site, &owner, &[&early, &late]);

    let log = fs::read_to_string(site.node_folder().join("audit.log")).expect("the audit log");
    assert_eq!(log.matches("\"event\":\"imported\"").count(), 2);
}

#[test]
fn an_import_that_is_killed_at_any_moment_goes_on_where_it_was() {
    let mut site = site();
    let owner = site.partner("ann", "payload", false);
    let captures = [traffic(20_000, 73, 0), traffic(20_000, 74, 3)];
    let files = [
        site.write_capture("one.pcap", &captures[0]),
        site.write_capture("two.pcap", &captures[1]),
    ];
    let words = words(&mut site, &[&files[0], &files[1]]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut random = ChaCha8Rng::seed_from_u64(73);
    for round in 0..rounds(9) {
        let mut running = site.start_admin(&words);
        std::thread::sleep(Duration::from_millis(random.random_range(10..700)));
        let family = processes::below(running.id());
        match round % 3 {
            // The import itself: its roles end by themselves.
            0 => running.kill().expect("it is ours"),
            // A role: it is started again, and the import goes on.
            _ => {
                if !family.is_empty() {
                    kill(family[random.random_range(0..family.len())].pid);
                }
                std::thread::sleep(Duration::from_millis(random.random_range(10..200)));
                running.kill().expect("it is ours");
            }
        }
        running.wait().expect("it is a child");
        let there = |old: &processes::Process| {
            processes::one(old.pid).is_some_and(|now| now.started == old.started && now.state != "Z")
        };
        wait_for("its roles end", || (!family.iter().any(there)).then_some(()));
        std::thread::sleep(POLL);
    }
    let (code, _, err) = import(&mut site, &[&files[0], &files[1]]);
    assert_eq!(code, 0, "{err}");
    holds(&mut site, &owner, &[&captures[0], &captures[1]]);
}

fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(pid as i32);
    // It may have ended by itself since it was seen.
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}

#[test]
fn a_stopped_import_says_how_to_go_on() {
    let mut site = site();
    let capture = traffic(60_000, 75, 0);
    let file = site.write_capture("large.pcap", &capture);
    let words = words(&mut site, &[&file]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut running = site.start_admin(&words);
    let id = running.id();
    wait_for("it has begun", || {
        (!processes::below(id).is_empty()).then_some(())
    });
    let pid = nix::unistd::Pid::from_raw(running.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it runs");
    let status = running.wait().expect("it is a child");
    let log = fs::read_to_string(site.path("node.log")).expect("a log");
    // It may have been quicker than the signal.
    if !status.success() {
        assert!(log.contains("run the same command again"), "{log}");
    }
    let (code, _, err) = import(&mut site, &[&file]);
    assert_eq!(code, 0, "{err}");
    let owner = site.partner("ann", "payload", false);
    holds(&mut site, &owner, &[&capture]);
}

#[test]
fn a_running_node_is_left_alone_and_what_to_do_is_told() {
    let mut site = site();
    let file = site.write_capture("archive.pcap", &traffic(100, 76, 0));
    let node = site.start();
    node.ingested();
    let (code, out, err) = import(&mut site, &[&file]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains("a node runs on") && err.contains("stop it first"),
        "{err}"
    );
    assert_eq!(node.catalog()["packets"], 1);
    node.stop();
    assert_eq!(import(&mut site, &[&file]).0, 0);
}

#[test]
fn what_is_no_capture_is_named_before_anything_begins_and_damage_is_told_once() {
    let mut site = site();
    let good = site.write_capture("good.pcap", &traffic(200, 77, 0));
    let text = site.path("text.pcap");
    fs::write(&text, "no capture at all, but a text\n").expect("written");
    let (code, _, err) = import(&mut site, &[&good, &text]);
    assert!(
        code == 1 && err.contains("text.pcap") && err.contains("neither magic number"),
        "{err}"
    );
    assert!(
        !site.node_folder().join("trace/manifest.json").exists(),
        "nothing has begun"
    );

    let cut = site.path("cut.pcap");
    let bytes = fs::read(&good).expect("a capture");
    fs::write(&cut, &bytes[..bytes.len() - 3]).expect("written");
    let (code, out, err) = import(&mut site, &[&cut]);
    assert!(
        code == 1 && out.contains("199 packets") && err.contains("ends inside a packet"),
        "{out}{err}"
    );
    let (code, out, _) = import(&mut site, &[&cut]);
    assert!(code == 0 && out.contains("imported already"), "{out}");
    let folder = site.node_folder().display().to_string();
    let info = site.admin(&["trace", "info", "--node", &folder]);
    assert!(
        String::from_utf8_lossy(&info.stdout).contains("0+?"),
        "the loss of unknown size is in the trace"
    );
}

#[test]
fn packets_of_a_day_whose_keys_are_destroyed_are_refused_with_the_day() {
    let mut site = site();
    let capture = traffic(300, 78, 0);
    let file = site.write_capture("old.pcap", &capture);
    let day = (capture.start_ns / 86_400_000_000_000).to_string();
    let folder = site.node_folder().display().to_string();
    let destroyed = site.admin(&["keys", "destroy", "--epoch", &day, "--trace", "--node", &folder]);
    assert!(destroyed.status.success());
    let (code, _, err) = import(&mut site, &[&file]);
    assert!(
        code == 1 && err.contains(&format!("packets of day {day}")),
        "{err}"
    );
}
