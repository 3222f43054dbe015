//! A file is in the trace exactly once, whoever is killed while it is ingested, and whatever the disk does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use como_savefile::{Packet, Resolution, Writer};
use como_tests::generate::Traffic;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::harness::{Deployment, Node, Person, open_packets, wait_for};

const PACKETS: usize = 6_000;
/// Seconds that the capture takes when it is played as recorded: kills hit during it.
const SECONDS: f64 = 6.0;

/// A node that plays its capture as recorded and keeps every byte of it.
fn paced(seed: u64) -> Deployment {
    let traffic = Traffic {
        seed,
        packets: PACKETS,
        duration_s: SECONDS,
        ..Traffic::default()
    };
    Deployment::new()
        .traffic(traffic)
        .retain("payload")
        .config_extra("[source]\npaced = true")
}

/// The trace has every packet of the capture, once, in order, byte for byte.
#[track_caller]
fn is_the_capture(site: &Deployment, node: &Node, owner: &Person) {
    assert_eq!(node.catalog()["packets"], site.generated().packets);
    owner.trace(&["--all", "--level", "payload"], "whole.como").ok();
    let packets = open_packets(owner, &owner.path("whole.como"));
    let expected: Vec<_> = site.generated().generate().collect();
    assert_eq!(packets.frames.len(), expected.len(), "none missing, none twice");
    for (at, packet) in expected.iter().enumerate() {
        assert_eq!(packets.ts_ns[at], packet.ts_ns, "time of packet {at}");
        assert_eq!(packets.frames[at], packet.data, "bytes of packet {at}");
    }
}

fn kill_process(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(pid as i32);
    // It may have ended by itself since it was seen.
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}

#[test]
fn a_file_is_ingested_exactly_once_across_kills_of_any_role() {
    let mut site = paced(31);
    let owner = site.partner("ann", "payload", false);
    let node = site.start();
    let mut random = ChaCha8Rng::seed_from_u64(31);
    for round in 0..6 {
        std::thread::sleep(Duration::from_millis(random.random_range(50..600)));
        let role = ["capture", "storage", "query"][round % 3];
        let pid = wait_for("the role runs", || node.role(role));
        kill_process(pid);
        wait_for("it is back", || node.role(role).filter(|new| *new != pid));
    }
    node.ingested();
    is_the_capture(&site, &node, &owner);
    assert!(
        node.catalog()["unsealed_segments"].as_u64() > Some(0),
        "capture died in a segment"
    );
    let trace = open_packets(&owner, &owner.path("whole.como"));
    let says_so = trace.end.gaps.iter().any(|gap| gap.cause == "unsealed end");
    assert!(says_so, "the unsealed end is told: {:?}", trace.end.gaps);
    node.stop();
}

#[test]
fn a_file_is_ingested_exactly_once_across_kills_of_the_supervisor() {
    let mut site = paced(32);
    let owner = site.partner("ann", "payload", false);
    let mut random = ChaCha8Rng::seed_from_u64(32);
    for _ in 0..3 {
        let node = site.start();
        std::thread::sleep(Duration::from_millis(random.random_range(100..700)));
        // Asserts that no role outlives it.
        node.kill();
    }
    let node = site.start();
    node.ingested();
    is_the_capture(&site, &node, &owner);
    assert_eq!(
        node.catalog()["unsealed_segments"],
        0,
        "roles of a dead supervisor seal what they have"
    );
    node.stop();
}

#[test]
fn capture_killed_again_and_again_at_one_place_sets_the_packet_there_aside_and_goes_on() {
    let mut site = paced(33);
    let owner = site.partner("ann", "payload", false);
    let node = site.launch();
    let mut last = 0;
    for _ in 0..3 {
        // Before its first block is full or old enough to be sent.
        let pid = wait_for("capture runs", || node.role("capture").filter(|pid| *pid != last));
        kill_process(pid);
        last = pid;
    }
    node.ingested();
    is_the_capture(&site, &node, &owner);
    node.stop();
}

#[test]
fn a_full_disk_is_told_and_once_there_is_room_nothing_is_lost() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root can mount a small disk");
        return;
    }
    let mut site = Deployment::new().capture(20_000, 34).retain("payload");
    let owner = site.partner("ann", "payload", false);
    let trace = site.node_folder().join("trace");
    fs::create_dir_all(&trace).expect("the trace folder");
    let Some(disk) = SmallDisk::mount(&trace, "4m") else {
        eprintln!("SKIPPED: no tmpfs can be mounted here");
        return;
    };
    for folder in ["segments", "records"] {
        fs::create_dir(trace.join(folder)).expect("the folders that the mount hides");
    }
    let ballast = disk.0.join("ballast");
    fs::write(&ballast, vec![0; 2 << 20]).expect("the ballast fits");
    let node = site.start();
    node.until("the full disk is told", |status| {
        status["storage"]["disk_full"] == true
    });
    assert_eq!(node.status()["capture"]["source_done"], false);
    disk.grow("64m");
    fs::remove_file(&ballast).expect("the ballast goes");
    node.ingested();
    node.until("the disk has room", |status| {
        status["storage"]["disk_full"] == false
    });
    is_the_capture(&site, &node, &owner);
    node.stop();
}

#[test]
fn a_disk_that_is_to_keep_room_sheds_the_oldest_and_never_fills() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root can mount a small disk");
        return;
    }
    let trace = "[trace]\nretain = \"payload\"\nsegment_bytes = \"1 MiB\"\nkeep_free_bytes = \"3 MiB\"";
    let mut site = Deployment::new().capture(20_000, 36).config_extra(trace);
    let owner = site.partner("ann", "payload", false);
    let trace = site.node_folder().join("trace");
    fs::create_dir_all(&trace).expect("the trace folder");
    let Some(_disk) = SmallDisk::mount(&trace, "8m") else {
        eprintln!("SKIPPED: no tmpfs can be mounted here");
        return;
    };
    for folder in ["segments", "records"] {
        fs::create_dir(trace.join(folder)).expect("the folders that the mount hides");
    }
    let node = site.start();
    node.ingested();
    node.until("there is room", |status| {
        status["storage"]["free_bytes"].as_u64() >= Some(3 << 20)
    });
    assert!(!node.log().contains("the disk is full"), "it never was");
    let kept = node.catalog()["packets"].as_u64().expect("a count");
    assert!(0 < kept && kept < 20_000, "{kept}");
    assert!(!node.audited("expired").is_empty());
    owner.trace(&["--all", "--level", "payload"], "kept.como").ok();
    let found = open_packets(&owner, &owner.path("kept.como"));
    let newest = site.generated().generate().skip(20_000 - kept as usize);
    assert!(
        found
            .frames
            .iter()
            .eq(newest.map(|packet| packet.data).collect::<Vec<_>>().iter())
    );
    node.stop();
}

#[test]
fn a_disk_that_turns_read_only_is_waited_for_and_nothing_is_lost() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root can mount a disk");
        return;
    }
    let mut site = paced(35);
    let owner = site.partner("ann", "payload", false);
    let trace = site.node_folder().join("trace");
    fs::create_dir_all(&trace).expect("the trace folder");
    let Some(disk) = SmallDisk::mount(&trace, "64m") else {
        eprintln!("SKIPPED: no tmpfs can be mounted here");
        return;
    };
    for folder in ["segments", "records"] {
        fs::create_dir(trace.join(folder)).expect("the folders that the mount hides");
    }
    let node = site.start();
    node.until("the trace has begun", |status| {
        status["storage"]["segments"].as_u64() > Some(0)
    });
    // A file that is open for writing keeps a disk writable: storage must be away for a moment.
    wait_for("the disk is read-only", || {
        node.role("storage").into_iter().for_each(kill_process);
        disk.remount("ro").then_some(())
    });
    wait_for("storage says so", || {
        node.log().contains("Read-only file system").then_some(())
    });
    assert_eq!(node.status()["capture"]["source_done"], false);
    assert!(disk.remount("rw"), "the disk is writable again");
    node.ingested();
    is_the_capture(&site, &node, &owner);
    node.stop();
}

#[test]
fn times_that_jump_back_and_disorder_are_stored_as_they_came_found_and_counted() {
    const DAY_NS: u64 = 86_400_000_000_000;
    // Noon, a day back, noon again: each of the days has its own keys; and pairs that are swapped.
    let start = Traffic::default().start_ns / DAY_NS * DAY_NS + DAY_NS / 2;
    let data: Vec<Vec<u8>> = Traffic::default()
        .generate()
        .take(900)
        .map(|packet| packet.data)
        .collect();
    let time = |at: usize| {
        let jump = if (300..600).contains(&at) { DAY_NS } else { 0 };
        start - jump + (at as u64 ^ 1) * 1_000_000
    };
    let packets: Vec<(u64, Vec<u8>)> = data
        .into_iter()
        .enumerate()
        .map(|(at, data)| (time(at), data))
        .collect();
    let disorder = packets.windows(2).filter(|pair| pair[1].0 < pair[0].0).count();
    let mut site = Deployment::new().retain("payload");
    let file = site.path("jumps.pcap");
    let out = fs::File::create(&file).expect("a file");
    let mut writer = Writer::pcap(out, 1, Resolution::Nanoseconds).expect("a capture");
    for (ts_ns, data) in &packets {
        let packet = Packet {
            ts_ns: *ts_ns,
            wire_len: data.len() as u32,
            link: 1,
            data,
        };
        writer.packet(&packet).expect("written");
    }
    writer.finish().expect("written");
    site = site.source(&format!("file:{}", file.display()));
    let owner = site.partner("ann", "payload", false);
    let node = site.start();
    node.ingested();
    assert_eq!(node.catalog()["packets"], packets.len() as u64);
    assert_eq!(node.status()["capture"]["out_of_order"], disorder as u64);
    let sorted = |mut packets: Vec<(u64, Vec<u8>)>| {
        packets.sort();
        packets
    };
    let seconds = |ns: u64| format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
    // Everything; the day before alone; some milliseconds in the middle of swapped pairs.
    let windows = [
        (start - DAY_NS, start + DAY_NS),
        (start - DAY_NS, start - 1),
        (start + 101_000_000, start + 112_000_000),
    ];
    for (number, (from, to)) in windows.into_iter().enumerate() {
        let out = format!("window-{number}.como");
        let window = [
            "--from",
            &seconds(from),
            "--to",
            &seconds(to),
            "--level",
            "payload",
        ];
        owner.trace(&window, &out).ok();
        let found = open_packets(&owner, &owner.path(&out));
        let found: Vec<_> = found.ts_ns.into_iter().zip(found.frames).collect();
        let expected: Vec<_> = packets
            .iter()
            .filter(|p| (from..to).contains(&p.0))
            .cloned()
            .collect();
        assert!(!expected.is_empty());
        assert!(sorted(found) == sorted(expected), "window {number}");
    }
    node.stop();
}

/// A tmpfs over a folder, until it is dropped.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        let options = format!("size={size},mode=0755");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "como-test"])
            .arg(at)
            .status();
        let disk = mounted.is_ok_and(|s| s.success()).then(|| Self(at.to_owned()))?;
        fs::set_permissions(at, fs::Permissions::from_mode(0o755)).expect("chmod");
        Some(disk)
    }

    fn grow(&self, size: &str) {
        assert!(self.remount(&format!("size={size}")), "the disk grows");
    }

    /// False: the kernel refuses, as while a file is written.
    fn remount(&self, options: &str) -> bool {
        let options = format!("remount,{options}");
        let mounted = Command::new("mount").args(["-o", &options]).arg(&self.0).output();
        mounted.is_ok_and(|mounted| mounted.status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a node that a failing test left may still be on it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
