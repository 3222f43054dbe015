//! Capture on a link: every packet is stored or counted as lost, visible at once, and nobody's question costs one.

use std::fs;
use std::path::PathBuf;

use como_savefile::{Packet, Resolution, Writer};
use como_tests::generate::Traffic;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::harness::{Deployment, Node, Wire, open_packets, open_table, wait_for};

/// Packets in the trace, and packets that capture counted as lost. (The trace has losses too, sealed as long as their
/// segment is open.)
fn account(node: &Node) -> [u64; 2] {
    let stored = node.catalog()["packets"].as_u64();
    let lost = node.status()["capture"]["lost"].as_u64();
    [stored.unwrap_or(0), lost.unwrap_or(0)]
}

/// Waits until so many packets are stored or counted as lost, and gives both. Never are more.
#[track_caller]
fn accounted(node: &Node, expected: u64) -> [u64; 2] {
    let what = format!("{expected} packets are stored or counted as lost");
    wait_for(&what, || {
        let [stored, lost] = account(node);
        assert!(
            stored + lost <= expected,
            "{stored} stored, {lost} lost of {expected}"
        );
        (stored + lost == expected).then_some([stored, lost])
    })
}

/// A capture of frames that any link takes, all of one length.
fn frames(site: &Deployment, name: &str, count: usize, length: usize) -> PathBuf {
    let file = site.path(name);
    let mut writer = Writer::pcap(
        fs::File::create(&file).expect("a file"),
        1,
        Resolution::Nanoseconds,
    )
    .expect("a capture");
    let traffic = Traffic {
        packets: 4 * count,
        ..Traffic::default()
    };
    let frames = traffic.generate().filter(|packet| packet.data.len() >= 60);
    for (at, mut packet) in frames.take(count).enumerate() {
        // What nobody can compress: the queues are as long as they look.
        let mut noise = ChaCha8Rng::seed_from_u64(at as u64);
        packet.data.resize_with(length, || noise.random());
        let packet = Packet {
            ts_ns: packet.ts_ns,
            wire_len: length as u32,
            link: 1,
            data: &packet.data,
        };
        writer.packet(&packet).expect("written");
    }
    writer.finish().expect("written");
    file
}

#[test]
fn on_a_live_link_received_is_stored_plus_counted_losses() {
    let Some(wire) = Wire::lay() else { return };
    let packets = 3_000;
    let mut site = Deployment::new().source(&format!("live:{}", wire.here));
    let traffic = Traffic {
        packets,
        seed: 51,
        ..Traffic::default()
    };
    let file = site.write_capture("to-send.pcap", &traffic);
    let dora = site.developer("dora", "anonymized");
    let ann = site.partner("ann", "anonymized", true);
    let node = site.start();
    dora.submit("traffic").ok();
    wire.play_once_capture_listens(&node, &file, &["--pps=3000"]);
    // What the link took: frames above its MTU never got there.
    let expected = wire.received();
    assert!(
        expected > packets as u64 / 2,
        "{expected} packets of {packets} reached the link"
    );
    accounted(&node, expected);
    let capture = node.status()["capture"].clone();
    let received = capture["packets"].as_u64().expect("a count");
    assert!(
        received + capture["lost"].as_u64().expect("a count") >= expected,
        "{capture}"
    );
    // `--all` ends at the packet time that capture last reported, which may be a moment behind.
    let stored = i128::from(expected) - i128::from(capture["lost"].as_u64().unwrap_or(0));
    let mut tries = 0;
    wait_for("a query sees all that is stored", || {
        tries += 1;
        let file = format!("live-{tries}.como");
        ann.query("traffic", &["--all", "--fresh"], &file).ok();
        (open_table(&ann, &ann.path(&file)).sum("packets") >= stored).then_some(())
    });
    // The writer of a link dies in its segment: the hole is told, not hidden.
    let old = node.role("capture").expect("capture runs");
    kill(Pid::from_raw(old as i32), Signal::SIGKILL).expect("it is there");
    wait_for("capture is back", || {
        node.role("capture").filter(|new| *new != old)
    });
    node.until("its segment is unsealed", |_| {
        node.catalog()["unsealed_segments"] == 1
    });
    ann.trace(&["--all"], "cut.como").ok();
    let cut = open_packets(&ann, &ann.path("cut.como"));
    assert!(
        cut.end.gaps.iter().any(|gap| gap.cause == "unsealed end"),
        "{:?}",
        cut.end.gaps
    );
    node.stop();
}

#[test]
fn a_live_link_keeps_vlan_tags_and_tells_the_size_of_its_ring() {
    let Some(wire) = Wire::lay() else { return };
    let live = "[source]\nbuffer_bytes = \"16 MiB\"";
    let mut site = Deployment::new().source(&format!("live:{}", wire.here));
    site = site.retain("payload").config_extra(live);
    // Frames that any link takes, half of them in a VLAN: its tag comes beside the packet from the kernel.
    let traffic = Traffic::default();
    let plain = traffic.generate().map(|packet| packet.data);
    let plain = plain
        .filter(|data| data.len() <= 1400 && data[12..14] != [0x81, 0])
        .take(40);
    let sent: Vec<Vec<u8>> = plain
        .enumerate()
        .map(|(at, data)| match at % 2 {
            0 => data,
            _ => [&data[..12], &[0x81, 0, 0x60, 100 + at as u8], &data[12..]].concat(),
        })
        .collect();
    let file = site.path("vlans.pcap");
    let out = fs::File::create(&file).expect("a file");
    let mut writer = Writer::pcap(out, 1, Resolution::Nanoseconds).expect("a capture");
    for (at, data) in sent.iter().enumerate() {
        let packet = Packet {
            ts_ns: site.generated().start_ns + at as u64 * 1_000_000,
            wire_len: data.len() as u32,
            link: 1,
            data,
        };
        writer.packet(&packet).expect("written");
    }
    writer.finish().expect("written");
    let ann = site.partner("ann", "payload", false);
    let node = site.start();
    wire.play_once_capture_listens(&node, &file, &["--pps=1000"]);
    let mut tries = 0;
    let found = wait_for("all that was sent is in the trace", || {
        tries += 1;
        let file = format!("live-{tries}.como");
        let asked = ann.trace(&["--all", "--level", "payload"], &file);
        let found = (asked.code == 0).then(|| open_packets(&ann, &ann.path(&file)).frames)?;
        // The link has some words of its own in between.
        let found: Vec<_> = found.into_iter().filter(|frame| sent.contains(frame)).collect();
        (found.len() >= sent.len()).then_some(found)
    });
    assert!(found == sent, "tags and all, in order");
    let log = node.log();
    let ring = log
        .lines()
        .find(|line| line.contains("the kernel's ring"))
        .expect("the ring is told");
    assert!(
        ring.contains("asked_bytes=16777216") && ring.contains("given_bytes=16777216"),
        "{ring}"
    );
    assert_eq!(node.status()["capture"]["warning"], "");
    node.stop();
}

#[test]
fn under_overload_received_is_stored_plus_counted_losses_to_the_packet() {
    let Some(wire) = Wire::lay() else { return };
    // The smallest ring that can be configured, sealed by one thread: what is sent does not fit.
    let small = "[source]\nbuffer_bytes = \"1 MiB\"\nworkers = 1\n[trace]\nqueue_bytes = \"16 MiB\"";
    let mut site = Deployment::new().source(&format!("live:{}", wire.here));
    site = site.retain("payload").config_extra(small);
    let file = frames(&site, "flood.pcap", 4_000, 1_400);
    let node = site.start();
    let capture = wait_for("capture runs", || node.role("capture"));
    // Twice what the ring holds comes while capture may not run at all: the kernel has to drop.
    wire.play_once_capture_listens(&node, &file, &["--topspeed"]);
    let signal = |signal| kill(Pid::from_raw(capture as i32), signal).expect("it is there");
    signal(Signal::SIGSTOP);
    wire.play(&file, &["--topspeed", "--preload-pcap"]);
    signal(Signal::SIGCONT);
    wire.play(&file, &["--topspeed", "--preload-pcap"]);
    let expected = wire.received();
    assert_eq!(expected, 3 * 4_000);
    let [stored, lost] = accounted(&node, expected);
    assert!(stored > 0 && lost > 0, "{stored} stored, {lost} lost");
    assert_eq!(node.status()["capture"]["packets"], stored);
    node.stop();
    // The trace itself says so, signed, once the segment is closed.
    let again = site.start();
    again.until("storage has told what there is", |_| {
        again.catalog()["packets"] == stored
    });
    assert_eq!(again.catalog()["lost_packets"], lost);
    again.stop();
}

#[test]
fn what_the_ring_holds_when_the_node_is_stopped_is_stored() {
    let Some(wire) = Wire::lay() else { return };
    let mut site = Deployment::new().source(&format!("live:{}", wire.here));
    let file = frames(&site, "last.pcap", 20_000, 60);
    let node = site.start();
    let capture = wait_for("capture runs", || node.role("capture"));
    wire.play_once_capture_listens(&node, &file, &["--limit=1"]);
    let signal = |signal| kill(Pid::from_raw(capture as i32), signal).expect("it is there");
    signal(Signal::SIGSTOP);
    wire.play(&file, &["--topspeed", "--preload-pcap"]);
    // It finds the order to stop beside a full ring.
    node.signal(Signal::SIGTERM);
    signal(Signal::SIGCONT);
    node.stop();
    let again = site.start();
    assert_eq!(accounted(&again, wire.received()), [20_001, 0]);
    again.stop();
}

#[test]
fn a_single_packet_on_a_quiet_link_is_seen_by_a_query_though_no_other_follows() {
    let Some(wire) = Wire::lay() else { return };
    let mut site = Deployment::new()
        .source(&format!("live:{}", wire.here))
        .retain("payload");
    let file = frames(&site, "one.pcap", 1, 60);
    let ann = site.partner("ann", "payload", false);
    let node = site.start();
    wire.play_once_capture_listens(&node, &file, &[]);
    let mut tries = 0;
    wait_for("the packet is in an answer", || {
        tries += 1;
        let out = format!("one-{tries}.como");
        let asked = ann.trace(&["--all", "--level", "payload"], &out);
        let found = (asked.code == 0).then(|| open_packets(&ann, &ann.path(&out)).frames)?;
        (found.len() == 1).then_some(())
    });
    node.stop();
}

#[test]
fn a_reader_goes_slower_while_capture_is_under_pressure_and_on_afterwards() {
    let Some(wire) = Wire::lay() else { return };
    let queue = "[trace]\nqueue_bytes = \"16 MiB\"";
    let mut site = Deployment::new().source(&format!("live:{}", wire.here));
    site = site.retain("payload").config_extra(queue);
    let file = frames(&site, "large.pcap", 4_000, 1_400);
    let ann = site.partner("ann", "payload", false);
    let node = site.start();
    let play = || wire.play(&file, &["--topspeed", "--preload-pcap", "--loop=4"]);
    wire.play_once_capture_listens(&node, &file, &["--limit=1"]);
    play();
    accounted(&node, wire.received());
    node.until("nothing holds readers back", |status| {
        status["reading"]["bytes_per_s"].is_null()
    });
    // Storage takes nothing any more: what comes fills the queue in front of it.
    let storage = node.role("storage").expect("storage runs");
    let signal = |signal| kill(Pid::from_raw(storage as i32), signal).expect("it is there");
    signal(Signal::SIGSTOP);
    play();
    node.until("capture tells the pressure", |status| {
        status["capture"]["pressure"] == 1000
    });
    let mut asked = ann
        .command(&["--json", "trace", "--all", "--level", "payload", "-o", "all.como"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("como starts");
    node.until("its reader waits", |status| {
        status["reading"]["paused_ms"].as_u64().is_some_and(|ms| ms > 0)
    });
    signal(Signal::SIGCONT);
    assert!(asked.wait().expect("it is a child").success());
    let seen = open_packets(&ann, &ann.path("all.como")).frames.len();
    assert!(seen >= 16_001, "{seen} packets");
    let ended = wait_for("the end of the query is recorded", || {
        node.audited("query_ended").pop()
    });
    assert!(ended["paused_ms"].as_u64().is_some_and(|ms| ms > 0), "{ended}");
    node.until("readers are free again", |status| {
        status["reading"]["bytes_per_s"].is_null()
    });
    accounted(&node, wire.received());
    node.stop();
}

#[test]
fn an_export_waits_for_capture_as_a_reader_does() {
    let Some(wire) = Wire::lay() else { return };
    let queue = "[trace]\nqueue_bytes = \"16 MiB\"";
    let mut site = Deployment::new().source(&format!("live:{}", wire.here));
    site = site.retain("payload").config_extra(queue);
    let file = frames(&site, "large.pcap", 4_000, 1_400);
    let node = site.start();
    let play = || wire.play(&file, &["--topspeed", "--preload-pcap", "--loop=4"]);
    wire.play_once_capture_listens(&node, &file, &["--limit=1"]);
    play();
    accounted(&node, wire.received());
    let folder = site.node_folder();
    let told = folder.join("run/pressure");
    node.until("nobody is held back", |_| !told.exists());
    // Storage takes nothing any more: what comes fills the queue in front of it.
    let storage = node.role("storage").expect("storage runs");
    let signal = |signal| kill(Pid::from_raw(storage as i32), signal).expect("it is there");
    signal(Signal::SIGSTOP);
    play();
    node.until("capture tells the pressure", |status| {
        status["capture"]["pressure"] == 1000 && told.exists()
    });
    let folder = folder.to_str().expect("UTF-8");
    let exporting = site
        .admin_command(&["trace", "export", "--node", folder, "--level", "payload"])
        .args(["-o", "all.pcap"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("como-node starts");
    // So much is allowed at once, and then as much in a second: who has read more has waited.
    const MORE_THAN_AT_ONCE: u64 = 3 << 20;
    wait_for("it has read more than is allowed at once", || {
        let io = fs::read_to_string(format!("/proc/{}/io", exporting.id())).expect("it still reads");
        let read = io.lines().find_map(|line| line.strip_prefix("rchar: "));
        (read.and_then(|bytes| bytes.parse::<u64>().ok())? > MORE_THAN_AT_ONCE).then_some(())
    });
    signal(Signal::SIGCONT);
    let ended = exporting.wait_with_output().expect("it is a child");
    let said = String::from_utf8(ended.stderr).expect("text");
    assert!(ended.status.success(), "{said}");
    assert!(said.contains("while capture was under pressure"), "{said}");
    let packets = said
        .split(' ')
        .next()
        .and_then(|packets| packets.parse::<u64>().ok());
    assert!(packets.is_some_and(|packets| packets >= 16_001), "{said}");
    accounted(&node, wire.received());
    node.until("nobody is held back any more", |_| !told.exists());
    node.stop();
}
