//! The trace in its operator's hands: what `como-node trace` tells, finds, mends and gives out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use como_anonymize::filter::Filter;
use como_anonymize::{LinkType, RawPacket, build};
use como_node::trace::SegmentReader;
use como_policies::AccessLevel;
use como_savefile::{Reader, Record};
use serde_json::Value;

use crate::harness::Deployment;

/// Several segments, everything kept.
fn site(packets: usize, seed: u64) -> Deployment {
    let trace = "[trace]\nretain = \"payload\"\nsegment_bytes = \"1 MiB\"";
    Deployment::new().capture(packets, seed).config_extra(trace)
}

/// The same, with its capture in the trace, and stopped.
fn filled(packets: usize, seed: u64) -> Deployment {
    let mut site = site(packets, seed);
    let node = site.start();
    node.ingested();
    node.stop();
    site
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

fn trace(site: &mut Deployment, words: &[&str]) -> Said {
    let folder = site.node_folder().display().to_string();
    let words = [&["trace"], words, &["--node", &folder]].concat();
    let ended = site.admin(&words);
    Said {
        code: ended.status.code().expect("it ended by itself"),
        out: String::from_utf8(ended.stdout).expect("text"),
        err: String::from_utf8(ended.stderr).expect("text"),
    }
}

fn json(site: &mut Deployment, words: &[&str]) -> Value {
    let said = trace(site, &[words, &["--json"]].concat());
    serde_json::from_str(&said.out).unwrap_or_else(|why| panic!("{why}: {}{}", said.out, said.err))
}

fn segments(site: &mut Deployment) -> Vec<PathBuf> {
    let folder = site.node_folder().join("trace/segments");
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .expect("segments")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    found.sort();
    found
}

/// Time and bytes of each packet of a capture file.
fn packets(file: &Path) -> Vec<(u64, Vec<u8>)> {
    let mut reader = Reader::new(File::open(file).expect("the file is there")).expect("a capture");
    let mut found = Vec::new();
    loop {
        match reader.peek().expect("it reads") {
            Record::Packet(packet, _) => found.push((packet.ts_ns, packet.data.to_vec())),
            Record::Skipped => {}
            Record::End(_) => return found,
        }
        reader.advance();
    }
}

fn generated(site: &Deployment) -> Vec<(u64, Vec<u8>)> {
    let packets = site.generated().generate();
    packets.map(|packet| (packet.ts_ns, packet.data)).collect()
}

fn flip(file: &Path, at: u64) {
    let file = File::options()
        .read(true)
        .write(true)
        .open(file)
        .expect("a segment");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("within the file");
    file.write_all_at(&[byte[0] ^ 0x10], at).expect("written");
}

/// The path, position and packets of a block in the middle of a segment.
fn a_block(site: &mut Deployment) -> (PathBuf, u64, u64, u32) {
    let path = segments(site)[1].clone();
    let reader = SegmentReader::open(File::open(&path).expect("a segment")).expect("it reads");
    let blocks: Vec<_> = reader.blocks().map(|block| block.expect("whole")).collect();
    let block = &blocks[blocks.len() / 2];
    (
        path,
        block.position,
        block.header.total_bytes(),
        block.header.packets,
    )
}

/// What the filter `udp` selects of captured packets.
fn udp_of(packets: &[(u64, Vec<u8>)]) -> Vec<(u64, Vec<u8>)> {
    let raw = packets.iter().map(|(ts_ns, data)| RawPacket {
        ts_ns: *ts_ns,
        wire_len: data.len() as u32,
        link: LinkType(1),
        data,
    });
    let view = build(AccessLevel::Payload, LinkType(1), raw, None);
    let kept = Filter::parse("udp").expect("a filter").eval(&view.columns);
    kept.ones().map(|row| packets[row].clone()).collect()
}

#[test]
fn the_operator_sees_what_the_trace_holds_with_and_without_keys() {
    let mut site = site(12_000, 60);
    let node = site.start();
    node.ingested();
    assert!(trace(&mut site, &["info"]).out.contains("the node runs"));
    let running = trace(&mut site, &["verify"]);
    assert_eq!(running.code, 0, "{}", running.out);
    node.stop();

    let info = json(&mut site, &["info"]);
    let rows = info["segments"].as_array().expect("segments").clone();
    assert!(rows.len() >= 3, "{info}");
    let sum = |key: &str| rows.iter().map(|row| row[key].as_u64().expect(key)).sum::<u64>();
    assert_eq!(sum("packets"), 12_000);
    assert_eq!(info["totals"]["packets"], 12_000);
    let captured: usize = generated(&site).iter().map(|(_, data)| data.len()).sum();
    assert_eq!(sum("captured_bytes"), captured as u64);
    assert_eq!(info["totals"]["lost_packets"], 0);
    for row in &rows {
        assert_eq!(
            (&row["state"], &row["sections"], &row["keys"]),
            (&"sealed".into(), &"A+R+P".into(), &true.into())
        );
    }
    assert!(info["totals"]["ring_bytes"].as_u64() > info["totals"]["file_bytes"].as_u64());

    let closed = json(&mut site, &["info", "--no-keys"]);
    assert_eq!(closed["totals"], {
        let mut totals = info["totals"].clone();
        totals["disk_free_bytes"] = closed["totals"]["disk_free_bytes"].clone();
        totals
    });
    assert_eq!(closed["segments"][0]["keys"], Value::Null);

    // A segment whose capture died has its end and its losses under seal.
    let last = segments(&mut site).pop().expect("a segment");
    let reader = SegmentReader::open(File::open(&last).expect("a segment")).expect("it reads");
    let end = reader
        .blocks()
        .map(|block| block.expect("whole"))
        .last()
        .expect("a block");
    let file = File::options().write(true).open(&last).expect("a segment");
    file.set_len(end.position + end.header.total_bytes())
        .expect("cut");
    fs::rename(&last, last.with_extension("cut")).expect("renamed");
    let of_last = |info: Value| {
        info["segments"]
            .as_array()
            .expect("segments")
            .last()
            .expect("one")
            .clone()
    };
    let (open, closed) = (
        of_last(json(&mut site, &["info"])),
        of_last(json(&mut site, &["info", "--no-keys"])),
    );
    assert_eq!((&open["state"], &closed["state"]), (&"cut".into(), &"cut".into()));
    assert_eq!(open["packets"], closed["packets"]);
    assert_eq!(open["last_ns"], rows.last().expect("one")["last_ns"]);
    assert_eq!(
        (&closed["last_ns"], &closed["lost_packets"]),
        (&Value::Null, &Value::Null)
    );
    assert!(
        trace(&mut site, &["info", "--no-keys"])
            .out
            .contains("note: the end and the losses")
    );
}

#[test]
fn verify_opens_every_seal_and_says_what_it_could_not_check() {
    let mut site = filled(4_000, 61);
    let report = json(&mut site, &["verify"]);
    assert_eq!(report["packets"], 4_000);
    assert_eq!(report["findings"], Value::Array(Vec::new()));
    assert_eq!(report["signed_by_node"], report["segments"]);
    assert_eq!(report["sections_closed"], 0);
    // Of a block of packets entry, six column groups, R and P; of the index block that ends a segment head, addresses,
    // flows, where they are, table and filter.
    let count = |what: &str| report[what].as_u64().expect("a count");
    assert_eq!(
        count("sections_opened"),
        (count("blocks") - count("segments")) * 9 + count("segments") * 6
    );

    let closed = trace(&mut site, &["verify", "--no-keys"]);
    assert_eq!(closed.code, 0);
    assert!(
        closed.out.contains("0 segments signed by the node") && closed.out.contains("note: without keys")
    );

    // Without the key file, what needs none is still checked, and the reason is told.
    let keyring = site.node_folder().join("keys/keyring");
    fs::rename(&keyring, keyring.with_extension("away")).expect("renamed");
    let lost = trace(&mut site, &["verify"]);
    assert_eq!(lost.code, 0);
    assert!(
        lost.out.contains("note: the node's keys are not at hand"),
        "{}",
        lost.out
    );

    // With the keys of another node nothing opens, and nothing is taken for signed.
    let mut stranger = Deployment::new().capture(1, 1);
    let keys = stranger.node_folder().join("keys");
    for file in ["keyring", "root.key"] {
        fs::copy(keys.join(file), site.node_folder().join("keys").join(file)).expect("copied");
    }
    let wrong = trace(&mut site, &["verify"]);
    assert_eq!(wrong.code, 1);
    assert!(
        wrong.out.contains("is not certified by this node's key"),
        "{}",
        wrong.out
    );
    assert!(
        wrong
            .out
            .contains("0 segments signed by the node; 0 sections opened"),
        "{}",
        wrong.out
    );
    let out = site.path("none.pcap");
    let said = trace(&mut site, &["export", "-o", out.to_str().expect("UTF-8")]);
    assert!(
        said.code == 1 && said.err.contains("not signed by this node"),
        "{}",
        said.err
    );
}

#[test]
fn a_day_whose_keys_are_destroyed_is_told_by_every_tool() {
    let mut site = filled(1_000, 68);
    let day = (site.generated().start_ns / 86_400_000_000_000).to_string();
    let folder = site.node_folder().display().to_string();
    let destroyed = site.admin(&["keys", "destroy", "--epoch", &day, "--trace", "--node", &folder]);
    assert!(destroyed.status.success());
    assert!(
        trace(&mut site, &["info"])
            .out
            .contains(&format!("{day} (destroyed)"))
    );
    let report = json(&mut site, &["verify"]);
    assert_eq!(report["sections_opened"], 0);
    assert!(report["sections_closed"].as_u64() > Some(0));
    assert_eq!(
        report["findings"],
        Value::Array(Vec::new()),
        "destroying keys is no damage"
    );
    let said = trace(&mut site, &["export", "-o", "-"]);
    assert!(
        said.code == 1 && said.err.contains("keys destroyed"),
        "{}",
        said.err
    );
}

#[test]
fn a_flipped_bit_is_reported_with_its_place_and_costs_one_block() {
    let mut site = filled(8_000, 62);
    let (path, position, bytes, packets_in_block) = a_block(&mut site);
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    flip(&path, position + bytes / 2);
    let said = trace(&mut site, &["verify"]);
    assert_eq!(said.code, 1, "{}", said.out);
    let words = format!(
        "{name}, byte {position}: the sections of a block are changed or torn ({packets_in_block} packets)"
    );
    assert!(said.out.contains(&words), "{}", said.out);
    assert_eq!(
        json(&mut site, &["verify"])["findings"].as_array().map(Vec::len),
        Some(1)
    );

    let out = site.path("rest.pcap");
    let said = trace(
        &mut site,
        &["export", "--level", "payload", "-o", out.to_str().expect("UTF-8")],
    );
    assert!(said.err.contains("1 x damaged block"), "{}", said.err);
    let (kept, all) = (packets(&out), generated(&site));
    assert_eq!(kept.len() + packets_in_block as usize, all.len());
    let lost = all
        .iter()
        .position(|packet| !kept.contains(packet))
        .expect("a packet is lost");
    let rest = [&all[..lost], &all[lost + packets_in_block as usize..]].concat();
    assert!(kept == rest, "all others are there, in order");

    let said = trace(&mut site, &["repair"]);
    assert!(
        said.out.contains("stays: ") && said.out.contains("nothing to mend"),
        "{}",
        said.out
    );
}

#[test]
fn repair_mends_what_is_safe_and_loses_no_block_that_reads() {
    let mut site = filled(9_000, 63);
    let files = segments(&mut site);
    let (first, second, last) = (&files[0], &files[1], files.last().expect("one"));
    // A footer that rotted, a segment that was set aside, a torn tail, a manifest that does not parse.
    let length = fs::metadata(second).expect("a segment").len();
    flip(second, length - 100);
    fs::rename(first, first.with_extension("bad")).expect("renamed");
    let reader = SegmentReader::open(File::open(last).expect("a segment")).expect("it reads");
    let end = reader
        .blocks()
        .map(|block| block.expect("whole"))
        .last()
        .expect("a block");
    let torn = File::options().write(true).open(last).expect("a segment");
    torn.set_len(end.position + end.header.total_bytes() - 1)
        .expect("cut");
    fs::rename(last, last.with_extension("open")).expect("renamed");
    let manifest = site.node_folder().join("trace/manifest.json");
    fs::write(&manifest, "{").expect("written");

    let contents = |site: &mut Deployment| {
        let files = segments(site)
            .into_iter()
            .map(|path| (path.clone(), fs::read(path).expect("read")));
        files.collect::<BTreeMap<_, _>>()
    };
    let before = contents(&mut site);
    let dry = trace(&mut site, &["repair"]);
    assert_eq!(dry.code, 0, "{}", dry.err);
    for words in ["manifest.json: set aside", "bring back", "cut off", "add --apply"] {
        assert!(dry.out.contains(words), "{words} is not in\n{}", dry.out);
    }
    assert!(contents(&mut site) == before, "a dry run changes nothing");
    assert_eq!(fs::read_to_string(&manifest).expect("a manifest"), "{");

    let done = trace(&mut site, &["repair", "--apply"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(trace(&mut site, &["repair"]).out.contains("nothing to mend"));
    let out = site.path("rest.pcap");
    trace(
        &mut site,
        &["export", "--level", "payload", "-o", out.to_str().expect("UTF-8")],
    );
    let (kept, all) = (packets(&out), generated(&site));
    assert_eq!(kept.len() + end.header.packets as usize, all.len());
    assert!(kept[..] == all[..kept.len()], "only the torn block is gone");
    // What was cut stays told: the segment after it names a footer that is no more.
    let report = trace(&mut site, &["verify"]);
    assert_eq!(report.code, 1);
    assert!(
        report.out.contains("the segment before it has lost its footer"),
        "{}",
        report.out
    );

    // The node goes on from there: what was torn off comes from the file once more, and nothing twice.
    let node = site.start();
    node.ingested();
    assert_eq!(node.catalog()["packets"], 9_000);
    let log = fs::read_to_string(node.audit_log()).expect("the audit log");
    assert!(log.contains("trace repair"), "the repair is on record");
    node.stop();
}

#[test]
fn repair_refuses_on_a_running_node() {
    let mut site = site(500, 64);
    let node = site.start();
    node.ingested();
    for words in [&["repair"][..], &["repair", "--apply"]] {
        let said = trace(&mut site, words);
        assert_eq!(said.code, 1);
        assert!(
            said.err.contains("the node runs") && said.err.contains("stop the node first"),
            "{}",
            said.err
        );
    }
    node.stop();
}

#[test]
fn export_gives_the_captured_bytes_and_every_access_is_logged() {
    let mut site = filled(5_000, 65);
    let all = generated(&site);
    let (out, out_ng) = (site.path("all.pcap"), site.path("some.pcapng"));
    let (out, out_ng) = (out.to_str().expect("UTF-8"), out_ng.to_str().expect("UTF-8"));
    let said = trace(&mut site, &["export", "--level", "payload", "-o", out]);
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{}", said.err);
    assert!(packets(Path::new(out)) == all, "byte for byte");
    let again = trace(&mut site, &["export", "--level", "payload", "-o", out]);
    assert!(
        again.code == 1 && again.err.contains("add --force"),
        "{}",
        again.err
    );

    // A window and a filter, into a pipe.
    let (from, to) = (all[1_000].0, all[3_000].0);
    let window = ["--from", &super::seconds(from), "--to", &super::seconds(to)];
    let words = [
        &["export", "--level", "payload", "--filter", "udp", "-o", out_ng],
        &window[..],
    ]
    .concat();
    trace(&mut site, &words);
    let expected = udp_of(&all[1_000..3_000]);
    let some = packets(Path::new(out_ng));
    assert_eq!(some.len(), expected.len());
    assert!(!expected.is_empty() && some == expected);

    // Below payload the level is what it is for everybody: no captured frame comes out as it was.
    for (level, shows_headers) in [("anonymized", false), ("headers", true)] {
        let file = site.path(&format!("{level}.pcapng"));
        let said = trace(
            &mut site,
            &["export", "--level", level, "-o", file.to_str().expect("UTF-8")],
        );
        assert_eq!(said.code, 0, "{}", said.err);
        let shown = packets(&file);
        assert_eq!(shown.len(), all.len());
        let addresses = |data: &[u8]| data.get(26..34).map(<[u8]>::to_vec);
        let real = shown
            .iter()
            .zip(&all)
            .filter(|(s, a)| s.1.len() >= 34 && a.1[12..14] == [8, 0] && addresses(&s.1) == addresses(&a.1));
        assert_eq!(real.count() > 0, shows_headers, "{level}");
        assert!(
            !shown.iter().zip(&all).any(|(s, a)| s.1 == a.1 && a.1.len() > 60),
            "{level} gives payload"
        );
    }
    let refused = trace(&mut site, &["export", "--level", "coarse", "-o", "-"]);
    assert!(
        refused.code == 1 && refused.err.contains("it shows tables"),
        "{}",
        refused.err
    );
    let wrong = trace(&mut site, &["export", "--filter", "tcp and", "-o", "-"]);
    assert!(
        wrong.code == 1 && wrong.err.contains("the filter does not parse"),
        "{}",
        wrong.err
    );

    let log = fs::read_to_string(site.node_folder().join("audit.log")).expect("the audit log");
    let exports: Vec<&str> = log.lines().filter(|line| line.contains("trace export")).collect();
    assert_eq!(exports.len(), 4, "{exports:#?}");
    assert!(exports.iter().all(|line| line.contains("allowed")));
    assert!(!log.contains("udp"), "filters may name hosts: the log has none");
}

#[test]
fn export_asks_the_policy_and_opens_only_what_is_kept() {
    let policy = r#"
        @id("no-payload") @rule("Payload stays in the building.")
        forbid (principal, action == Como::Action::"downloadTrace", resource is Como::Trace) when { resource.level == 4 };
        @id("rest") @rule("All else is the operator's.")
        permit (principal is Como::Operator, action, resource);
    "#;
    let mut site = filled(1_000, 66);
    fs::write(site.node_folder().join("own.cedar"), policy).expect("a policy");
    site.reconfigure("[policy]\nfile = \"own.cedar\"");
    let out = site.path("denied.pcap");
    let out = out.to_str().expect("UTF-8");
    let said = trace(&mut site, &["export", "--level", "payload", "-o", out]);
    assert!(
        said.code == 1 && said.err.contains("Payload stays in the building."),
        "{}",
        said.err
    );
    assert!(!Path::new(out).exists(), "nothing is left");
    let log = fs::read_to_string(site.node_folder().join("audit.log")).expect("the audit log");
    assert!(log.contains("denied: "), "the refusal is on record");
    assert_eq!(
        trace(&mut site, &["export", "--level", "headers", "-o", out]).code,
        0
    );

    let mut site = Deployment::new().capture(500, 67);
    let node = site.start();
    node.ingested();
    let said = trace(&mut site, &["export", "--level", "payload", "-o", "-"]);
    assert!(
        said.code == 1 && said.err.contains("not kept at payload"),
        "{}",
        said.err
    );
    let out = site.path("live.pcap");
    let words = ["export", "--level", "headers", "-o", out.to_str().expect("UTF-8")];
    let running = trace(&mut site, &words);
    assert_eq!(running.code, 0, "it works on a running node: {}", running.err);
    node.until("its access is in the log", |_| {
        !node.audited("administration").is_empty()
    });
    node.stop();
}
