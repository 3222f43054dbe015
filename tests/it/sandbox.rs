//! The sandbox of every role, read back from the kernel's own account of a running node, and tried out.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::harness::{Deployment, Node, open_table, program, wait_for};

/// First user id of the roles in a node that root starts.
const UID_BASE: u32 = 64_700;
const ROLES: [&str; 6] = ["capture", "export", "storage", "query", "reader", "runner"];

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A line of `/proc/PID/status`.
fn kernel_says(pid: u32, key: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {key} in the status of {pid}"))
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// A node whose four lasting roles all run.
fn with_every_lasting_role(site: &mut Deployment) -> Node {
    let dora = site.developer("dora", "anonymized");
    let ann = site.partner("ann", "anonymized", true);
    let node = site.start();
    node.ingested();
    dora.submit("traffic").ok();
    ann.como(&["module", "start", "traffic"]).ok();
    wait_for("export runs", || {
        let status = node.status();
        let processes = status["processes"].as_array()?.clone();
        let ready = |role: &str| processes.iter().any(|p| p["role"] == role && p["ready"] == true);
        ["capture", "storage", "query", "export"]
            .iter()
            .all(|role| ready(role))
            .then_some(())
    });
    node
}

#[test]
fn each_role_is_a_process_of_its_own_confined_as_the_role_table_says() {
    let mut site = Deployment::new();
    let node = with_every_lasting_role(&mut site);
    let roles = node.roles();
    let names: BTreeSet<&str> = roles.iter().map(|(role, _)| role.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["capture", "export", "query", "storage"]));
    let mut users = BTreeSet::new();
    for (role, pid) in &roles {
        assert_eq!(kernel_says(*pid, "NoNewPrivs"), "1", "{role}");
        assert_eq!(kernel_says(*pid, "Seccomp"), "2", "{role}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(kernel_says(*pid, set), "0000000000000000", "{role} {set}");
        }
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
        let core = limits.lines().find(|line| line.starts_with("Max core file size"));
        let core: Vec<&str> = core
            .map(|line| line.split_whitespace().collect())
            .unwrap_or_default();
        assert_eq!(core[4..6], ["0", "0"], "{role} leaves no core file");
        let environment = fs::read(format!("/proc/{pid}/environ"));
        assert!(
            environment.is_ok_and(|e| e.is_empty()) || !is_root(),
            "{role} has no environment"
        );
        if is_root() {
            let uids = kernel_says(*pid, "Uid");
            let uid: u32 = uids
                .split(' ')
                .next()
                .and_then(|id| id.parse().ok())
                .expect("a user");
            assert!((UID_BASE..UID_BASE + 7).contains(&uid), "{role} runs as {uids}");
            assert_eq!(uids, format!("{uid} {uid} {uid} {uid}"), "{role} cannot go back");
            assert_eq!(kernel_says(*pid, "Groups"), "", "{role} has no other groups");
            users.insert(uid);
            // What is not dumpable belongs to root in /proc, whatever its user.
            let owner =
                fs::metadata(format!("/proc/{pid}/environ")).map(|m| std::os::unix::fs::MetadataExt::uid(&m));
            assert_eq!(owner.ok(), Some(0), "{role} is not dumpable");
        }
    }
    if is_root() {
        assert_eq!(users.len(), roles.len(), "a user for each role");
    } else {
        eprintln!("SKIPPED: users of the roles are their own only in a node that root starts");
    }
    every_process_says_that_it_is_confined(&node);
    node.stop();
}

/// What the status says of each process.
fn every_process_says_that_it_is_confined(node: &Node) {
    for process in node.status()["processes"].as_array().expect("processes") {
        let sandbox = process["sandbox"].as_str().expect("a sandbox");
        for part in [
            "no capabilities",
            "no_new_privs",
            "non-dumpable",
            "Landlock",
            "seccomp",
        ] {
            assert!(sandbox.contains(part), "{}: {sandbox}", process["role"]);
        }
        assert!(!sandbox.contains("MISSING"), "{sandbox}");
    }
}

/// A user without any right: `nobody` of Debian.
const NOBODY: u32 = 65_534;

#[test]
fn a_node_that_root_does_not_start_works_with_one_user_and_the_rest_of_the_sandbox() {
    let may_run = || {
        let mut command = Command::new(program("como-node"));
        let tried = command.arg("--version").uid(NOBODY).gid(NOBODY).output();
        tried.is_ok_and(|ended| ended.status.success())
    };
    if !is_root() {
        eprintln!("SKIPPED: all other tests run a node that root does not start");
        return;
    }
    if !may_run() {
        eprintln!("SKIPPED: the folder of the programs is closed to other users");
        return;
    }
    let mut site = Deployment::new().run_by(NOBODY);
    let node = with_every_lasting_role(&mut site);
    for (role, pid) in node.roles() {
        let uid = NOBODY.to_string();
        assert_eq!(kernel_says(pid, "Uid"), [uid.as_str(); 4].join(" "), "{role}");
        assert_eq!(kernel_says(pid, "NoNewPrivs"), "1", "{role}");
        assert_eq!(kernel_says(pid, "Seccomp"), "2", "{role}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(kernel_says(pid, set), "0000000000000000", "{role} {set}");
        }
        // Not dumpable: the others of the same user read neither its memory nor its descriptors.
        let owner =
            fs::metadata(format!("/proc/{pid}/environ")).map(|m| std::os::unix::fs::MetadataExt::uid(&m));
        assert_eq!(owner.ok(), Some(0), "{role} is not dumpable");
    }
    every_process_says_that_it_is_confined(&node);
    // It does the whole work: past trace, readers and runners included.
    let bob = site.partner("bob", "anonymized", false);
    node.reload();
    bob.query("traffic", &["--all", "--fresh"], "all.como").ok();
    let table = open_table(&bob, &bob.path("all.como"));
    assert_eq!(table.sum("packets"), site.generated().packets as i128);
    bob.trace(&["--all"], "packets.como").ok();
    node.stop();
}

#[test]
fn no_role_but_query_has_a_network_socket() {
    let mut site = Deployment::new();
    let node = with_every_lasting_role(&mut site);
    for (role, pid) in node.roles() {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            eprintln!("SKIPPED: only root may list the descriptors of what is not dumpable");
            break;
        };
        let links: Vec<String> = entries
            .flatten()
            .filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string()))
            .collect();
        let inet: BTreeSet<String> = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet"]
            .into_iter()
            .flat_map(sockets_of)
            .collect();
        let network = links.iter().filter(|link| inet.contains(link.as_str())).count();
        assert_eq!(network > 0, role == "query", "{role}: {links:?}");
    }
    node.stop();
}

/// `socket:[INODE]` of every socket of a family.
fn sockets_of(family: &str) -> Vec<String> {
    let table = fs::read_to_string(format!("/proc/net/{family}")).unwrap_or_default();
    let at = if family == "packet" { 8 } else { 9 };
    table
        .lines()
        .skip(1)
        .filter_map(|line| Some(format!("socket:[{}]", line.split_whitespace().nth(at)?)))
        .collect()
}

#[test]
fn what_a_role_may_not_do_is_denied_and_what_it_needs_works() {
    for (number, role) in (1..).zip(ROLES) {
        let mut probe = Command::new(program("como-node"));
        probe.args(["role", "probe", role]);
        if is_root() {
            let ids = format!("{}:{UID_BASE}", UID_BASE + number);
            probe.args(["--drop-to", &ids]);
        }
        let ended = probe.output().expect("the probe starts");
        let said = String::from_utf8_lossy(&ended.stdout);
        let report: serde_json::Value = serde_json::from_str(&said)
            .unwrap_or_else(|e| panic!("{role}: {e}: {said}{}", String::from_utf8_lossy(&ended.stderr)));
        let tries = report["must_fail"].as_object().expect("tries");
        assert!(tries.len() > 15, "{role}: {said}");
        for (what, outcome) in tries {
            let outcome = outcome.as_str().unwrap_or_default();
            assert!(outcome.starts_with("denied"), "{role}: {what}: {outcome}");
        }
        for (what, outcome) in report["must_work"].as_object().expect("tries") {
            assert_eq!(outcome, "works", "{role}: {what}");
        }
        assert_eq!(report["dumpable"], false, "{role}");
        assert!(ended.status.success(), "{role}: {said}");
    }
}
