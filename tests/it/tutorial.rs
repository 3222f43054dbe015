//! docs/first-module.md, as a reader follows it: every command of its blocks, in order, in one shell. Must never run a
//! command that the page does not have, but for those that check what came out.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use como_client::time::Moment;
use como_tests::site::free_port;

use crate::harness::{Person, open_table, program};
use crate::repository::root;

/// The port that the page's node listens on.
const PAGE_PORT: &str = "8443";
/// Settings of whoever runs the tests that would reach the reader's programs.
const FOREIGN_SETTINGS: [&str; 6] = [
    "COMO_KEYS",
    "COMO_NODE",
    "CARGO_TARGET_DIR",
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "LD_LIBRARY_PATH",
];

#[test]
fn the_first_module_page_leads_to_a_live_result() {
    let folder = tempfile::Builder::new()
        .prefix("como-tutorial-")
        .tempdir()
        .expect("a folder");
    // Roles with users of their own pass through it.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("chmod");
    let page = fs::read_to_string(Path::new(root()).join("docs/first-module.md")).expect("the page");
    let commands = commands(&page);
    for word in [
        "module new",
        "module build",
        "module test",
        "module bench",
        "query",
        "dataset plot",
    ] {
        assert!(
            commands.iter().any(|command| command.contains(word)),
            "the page lacks `{word}`"
        );
    }
    let port = free_port().expect("a port").to_string();
    let script = script(&commands).replace(PAGE_PORT, &port);
    let mut shell = Command::new("bash");
    let programs = program("como")
        .parent()
        .expect("programs lie in a folder")
        .to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(programs).chain(std::env::split_paths(&path)));
    FOREIGN_SETTINGS.iter().for_each(|name| {
        shell.env_remove(name);
    });
    let ended = shell
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("PATH", path.expect("a PATH"))
        .env("CARGO_NET_OFFLINE", "true")
        .stdin(Stdio::null())
        .output()
        .expect("bash starts");
    assert!(
        ended.status.success(),
        "{}{}\nnode.log:\n{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr),
        fs::read_to_string(folder.path().join("node.log")).unwrap_or_default()
    );
    first_rows_are_those_of_a_local_run(folder.path());
}

/// What came live is what `como module test` computes of the same packets.
fn first_rows_are_those_of_a_local_run(folder: &Path) {
    let ann = Person {
        name: "ann".into(),
        keys_dir: folder.join("ann"),
        folder: folder.to_owned(),
    };
    let told = ann.como(&[
        "--json",
        "module",
        "test",
        "big-packets.cmod",
        "--pcap",
        "link.pcap",
    ]);
    let told = told.ok().json();
    let local: BTreeMap<i128, i128> = told["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| {
            let time: Moment = row["time"].as_str().expect("a time").parse().expect("a time");
            (
                time.resolve(0).into(),
                row["packets"].as_u64().expect("a count").into(),
            )
        })
        .collect();
    let first = open_table(&ann, &ann.path("first.como"));
    let rows: Vec<(i128, i128)> = first
        .column("time")
        .into_iter()
        .zip(first.column("packets"))
        .map(|(time, packets)| (time.number(), packets.number()))
        .collect();
    // A window of four seconds that begins within a second cuts the first and the last.
    assert!(rows.len() >= 4, "{rows:?}");
    for (time, packets) in &rows[1..rows.len() - 1] {
        assert_eq!(local.get(time), Some(packets), "at {time}");
    }
    assert!(rows.iter().any(|(_, packets)| *packets > 0), "{rows:?}");
}

/// What stands behind `$ ` in the page's blocks.
fn commands(page: &str) -> Vec<&str> {
    let blocks = page.split("```console\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap_or_default().lines());
    lines.filter_map(|line| line.strip_prefix("$ ")).collect()
}

/// Each command is shown before it runs, the first that fails is the last, and no node stays.
fn script(commands: &[&str]) -> String {
    let mut script = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n".to_owned();
    for command in commands {
        let shown = command.replace('\'', r"'\''");
        script.push_str(&format!("printf '%s\\n' '$ {shown}'\n{command}\n"));
    }
    // The node was told to end: it must do so in order.
    script.push_str("wait $!\n");
    script
}
