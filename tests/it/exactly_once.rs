//! A file is in the trace exactly once, whoever is killed while it is ingested, and whatever the disk does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

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
        let options = format!("remount,size={size}");
        let grown = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(grown.is_ok_and(|s| s.success()), "the disk grows");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a node that a failing test left may still be on it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
