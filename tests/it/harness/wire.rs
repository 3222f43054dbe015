//! A link of a test's own: a veth pair, on whose far end captures are played. Needs root and tcpreplay; a test without
//! them says that it is skipped.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Node;

/// A pair of interfaces, until it is dropped.
pub struct Wire {
    /// The end that a node captures on.
    pub here: String,
    there: String,
}

impl Wire {
    /// Lays one; `None`, and said, where that cannot be done here.
    pub fn lay() -> Option<Self> {
        static LAID: AtomicU32 = AtomicU32::new(0);
        let player = Command::new("tcpreplay").arg("--version").output().is_ok();
        if !nix::unistd::geteuid().is_root() || !player {
            eprintln!("SKIPPED: a live link needs root and tcpreplay");
            return None;
        }
        let laid = LAID.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}x{laid}", std::process::id() % 100_000);
        let wire = Self {
            here: format!("coma{id}"),
            there: format!("comb{id}"),
        };
        let pair = [
            "link",
            "add",
            &wire.here,
            "type",
            "veth",
            "peer",
            "name",
            &wire.there,
        ];
        if !ip(&pair) {
            eprintln!("SKIPPED: no veth pair can be made here");
            return None;
        }
        for end in [&wire.here, &wire.there] {
            // No neighbour discovery: what arrives is what was sent. A kernel without IPv6 has none.
            let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6"), "1");
            assert!(ip(&["link", "set", end, "up"]));
        }
        Some(wire)
    }

    /// Packets that reached the node's end.
    pub fn received(&self) -> u64 {
        let counter = format!("/sys/class/net/{}/statistics/rx_packets", self.here);
        let text = fs::read_to_string(counter).expect("a link");
        text.trim().parse().expect("a count")
    }

    /// Sends a capture from the other end with these options of tcpreplay, as soon as the node listens.
    pub fn play_once_capture_listens(&self, node: &Node, capture: &Path, options: &[&str]) {
        node.until("capture listens", |status| {
            let processes = status["processes"].as_array().expect("processes");
            processes
                .iter()
                .any(|p| p["role"] == "capture" && p["ready"] == true)
        });
        self.play(capture, options);
    }

    /// Sends a capture from the other end.
    pub fn play(&self, capture: &Path, options: &[&str]) {
        let player = Command::new("tcpreplay")
            .args(["-q", "-i", &self.there])
            .args(options)
            .arg(capture)
            .output()
            .expect("tcpreplay runs");
        assert!(
            player.status.success(),
            "{}",
            String::from_utf8_lossy(&player.stderr)
        );
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = ip(&["link", "del", &self.here]);
    }
}

fn ip(args: &[&str]) -> bool {
    let done = Command::new("ip").args(args).output();
    done.is_ok_and(|output| output.status.success())
}
