//! A consortium in a temporary folder: an operator's node, developers and partners, driven through the real
//! programs. Must never reach into a node by another way than its users and its files.
//!
//! ```ignore
//! let mut site = Deployment::new().capture(5_000, 7);
//! let ann = site.partner("ann", "anonymized", false);
//! let node = site.start();
//! node.ingested();
//! ann.trace(&["--all"], "a.como").ok();
//! let packets = open_packets(&ann, &ann.path("a.como"));
//! node.stop();
//! ```
//!
//! Nothing waits for a fixed time: what is waited for is asked for again until [`PATIENCE`] ends.

#![allow(dead_code, unused_imports, reason = "every test file takes what it needs")]

mod deployment;
mod guest;
mod node;
mod person;
mod wire;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use deployment::{Deployment, merge_toml};
pub use guest::Guest;
pub use node::Node;
pub use person::{Cell, Output, Packets, Person, Table, open, open_packets, open_table};
pub use wire::Wire;

/// How long anything may take before a test calls it broken: generous, for a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked.
pub const POLL: Duration = Duration::from_millis(30);
/// The trust domain of everybody.
pub const CONSORTIUM: &str = "test.example";

/// Rounds of a test that breaks things at random: so many, or as `COMO_SOAK` says (`make soak`).
pub fn rounds(usual: usize) -> usize {
    let soak = std::env::var("COMO_SOAK").ok();
    soak.and_then(|rounds| rounds.parse().ok()).unwrap_or(usual)
}

/// A program of this build, or a test that says what to do about it.
pub fn program(name: &str) -> PathBuf {
    como_tests::site::program(name).unwrap_or_else(|why| panic!("{why}"))
}

/// A standard module's code, as `modules/build.sh` makes it.
pub fn guest(name: &str) -> PathBuf {
    let target = program("como-node");
    let file = target
        .ancestors()
        .nth(2)
        .expect("programs lie in target/PROFILE")
        .join("guests")
        .join(format!("{name}.wasm"));
    assert!(
        file.is_file(),
        "{} is missing\n  fix: make guests",
        file.display()
    );
    file
}

/// The folder of a standard module's source, with its `module.toml`.
pub fn module_source(name: &str) -> PathBuf {
    como_tests::standard::folder(name)
}

/// Asks again until there is an answer; after [`PATIENCE`] the test fails with what it waited for.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(POLL);
    }
}
