//! Modules that a node must not take, must not run, or must stop running.

use std::fs;
use std::path::PathBuf;

use como_capnp::module_capnp::signed_module;

use crate::harness::{Deployment, Guest, Person};

/// The same module, without its signature.
fn unsigned(file: &PathBuf) -> PathBuf {
    let signed = fs::read(file).expect("a module");
    let body = &signed[como_modules::MAGIC.len()..];
    let message = como_capnp::read_message(body).expect("a message");
    let message: signed_module::Reader<'_> = message.get_root().expect("a module");
    let mut bare = capnp::message::Builder::new_default();
    let mut to = bare.init_root::<signed_module::Builder<'_>>();
    to.set_manifest(message.get_manifest().expect("a manifest"));
    to.set_wasm(message.get_wasm().expect("code"));
    let bytes = [&como_modules::MAGIC[..], &como_capnp::write_message(&bare)].concat();
    let out = file.with_extension("unsigned.cmod");
    fs::write(&out, bytes).expect("written");
    out
}

/// The same module, with one bit changed `from_end` bytes before its end.
fn flipped(file: &PathBuf, needle: &[u8]) -> PathBuf {
    let mut bytes = fs::read(file).expect("a module");
    let at = bytes
        .windows(needle.len())
        .rposition(|window| window == needle)
        .expect("it is in the module");
    bytes[at] ^= 1;
    let out = file.with_extension("flipped.cmod");
    fs::write(&out, bytes).expect("written");
    out
}

#[test]
fn what_is_wrong_with_a_module_is_said_when_it_is_submitted() {
    let mut site = Deployment::new().capture(100, 61);
    let dora = site.developer("dora", "anonymized");
    let stranger = site.developer("stranger", "anonymized");
    let node = site.start();
    // Known to the node as a person, not as a developer: the operator withdrew the key.
    let folder = node.folder.display().to_string();
    let ended = site.admin(&["developer", "revoke", "stranger", "--node", &folder]);
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    node.reload();

    let guest = Guest::default();
    let good = guest.signed_by(&dora);
    let not_trusted: [(PathBuf, i32, &str); 6] = [
        (unsigned(&good), 7, "the module is not signed"),
        (flipped(&good, b"misbehaves"), 7, "it was changed after signing"),
        (flipped(&good, b"como_arena"), 7, "it was changed after signing"),
        (guest.signed_by(&stranger), 7, "no registered developer's key"),
        (
            Guest {
                name: "old",
                not_after_ns: 1,
                ..Guest::default()
            }
            .signed_by(&dora),
            7,
            "the module expired at 1 ns",
        ),
        (
            Guest {
                name: "greedy",
                level: "headers",
                ..Guest::default()
            }
            .signed_by(&dora),
            3,
            "more than its developer's ceiling allows",
        ),
    ];
    for (file, code, words) in not_trusted {
        dora.submit_file(&file).refused(code, words);
    }

    let not_run: [(&str, Guest<'_>, &str); 9] = [
        (
            "imports",
            Guest {
                imports: r#"(import "env" "print" (func (param i32)))"#,
                ..Guest::default()
            },
            "wasm imports `env.print`",
        ),
        (
            "starts",
            Guest {
                extra: "(func $s) (start $s)",
                ..Guest::default()
            },
            "start function",
        ),
        (
            "large",
            Guest {
                memory: r#"(memory (export "memory") 1025 1025)"#,
                ..Guest::default()
            },
            "1025 pages, the limit is 1024",
        ),
        (
            "grows",
            Guest {
                memory: r#"(memory (export "memory") 2 3)"#,
                ..Guest::default()
            },
            "may grow to 3",
        ),
        (
            "loops",
            Guest {
                init: "(loop $l (br $l)) i32.const 0",
                ..Guest::default()
            },
            "fuel",
        ),
        (
            "traps",
            Guest {
                init: "unreachable",
                ..Guest::default()
            },
            "unreachable",
        ),
        (
            "gives-up",
            Guest {
                init: "i32.const 7",
                ..Guest::default()
            },
            "7",
        ),
        (
            "floods",
            Guest {
                store: "i32.const 0x7fffffff",
                ..Guest::default()
            },
            "2147483647",
        ),
        (
            "grows-later",
            Guest {
                init: "(drop (memory.grow (i32.const 1))) i32.const 0",
                ..Guest::default()
            },
            "uses memory.grow, and memory is fixed",
        ),
    ];
    for (name, guest, words) in not_run {
        let file = Guest { name, ..guest }.signed_by(&dora);
        dora.submit_file(&file).refused(7, words);
    }
    let installed = dora.como(&["--json", "module", "list"]).ok().json();
    assert_eq!(
        installed["modules"],
        serde_json::json!([]),
        "none of them was taken"
    );

    // Releases go up only, and what was revoked does not come back.
    let release = |release: u64, extra: &'static str| Guest {
        release,
        extra,
        ..Guest::default()
    };
    dora.submit_file(&release(2, "(func)").signed_by(&dora)).ok();
    dora.submit_file(&good)
        .refused(7, "release 1 of guest is not newer than release 2");
    dora.como(&["module", "revoke", "guest"]).ok();
    dora.submit_file(&release(2, "(func)").signed_by(&dora))
        .refused(7, "was revoked on this node");
    dora.submit_file(&release(3, "(func)").signed_by(&dora))
        .refused(7, "was revoked on this node");
    dora.submit_file(&release(3, "(func) (func)").signed_by(&dora))
        .ok();
    node.stop();
}

/// Queries a module that fails at the first packet it sees.
fn fails(ann: &Person, words: &str) {
    ann.query("trapper", &["--all", "--fresh"], "never.como")
        .refused(8, words);
    assert!(!ann.path("never.como").exists());
}

#[test]
fn a_module_that_faults_again_and_again_is_black_listed_by_its_code() {
    let mut site = Deployment::new().capture(500, 62);
    let dora = site.developer("dora", "anonymized");
    let ann = site.partner("ann", "anonymized", true);
    let node = site.start();
    node.ingested();
    // It is fine as long as it sees no packet: so it passes the trial.
    let trapper = Guest {
        name: "trapper",
        update: "unreachable",
        ..Guest::default()
    };
    let file = trapper.signed_by(&dora);
    dora.submit_file(&file).ok();
    for round in 1..=3 {
        fails(&ann, "unreachable");
        let faults = node.audited("module_fault");
        assert_eq!(faults.len(), round);
        assert_eq!(faults[round - 1]["blacklisted"], round == 3);
    }
    let black_listed = |dora: &Person, ann: &Person| {
        let rule = "black list";
        ann.query("trapper", &["--all"], "never.como").refused(3, rule);
        ann.como(&["--json", "module", "start", "trapper"])
            .refused(3, rule);
        dora.submit_file(&file).refused(3, rule);
        // The same code in a newer release is the same code.
        let again = Guest {
            release: 2,
            ..trapper.clone()
        };
        dora.submit_file(&again.signed_by(dora)).refused(3, rule);
        let list = ann.como(&["--json", "module", "list"]).ok().json();
        assert_eq!(list["modules"][0]["blacklisted"], true, "{list}");
        assert_eq!(list["modules"][0]["faults"], 3);
    };
    black_listed(&dora, &ann);
    node.stop();
    let node = site.start();
    black_listed(&dora, &ann);
    // Mended, it is another module.
    let mended = Guest {
        release: 3,
        update: "i32.const 0",
        ..trapper.clone()
    };
    dora.submit_file(&mended.signed_by(&dora)).ok();
    ann.query("trapper", &["--all"], "mended.como").ok();
    node.stop();
}

#[test]
fn a_module_that_misbehaves_in_a_query_fails_it_and_says_how() {
    let mut site = Deployment::new().capture(500, 63);
    let dora = site.developer("dora", "anonymized");
    let ann = site.partner("ann", "anonymized", true);
    let node = site.start();
    node.ingested();
    let cases = [
        ("looper", "(loop $l (br $l)) i32.const 0", "i32.const 16", "fuel"),
        (
            "stray",
            "(i32.load (i32.const 0x7ffffff0))",
            "i32.const 16",
            "memory",
        ),
        (
            "flooder",
            "(i32.store (i32.const 0) (i32.const 1)) i32.const 0",
            "(if (result i32) (i32.load (i32.const 0)) (then i32.const 0x7fffffff) (else i32.const 16))",
            // Not the number that it gave: it could have been a packet's.
            "store: bad output",
        ),
    ];
    for (name, update, store, words) in cases {
        let guest = Guest {
            name,
            update,
            store,
            ..Guest::default()
        };
        dora.submit_file(&guest.signed_by(&dora)).ok();
        ann.query(name, &["--all"], "never.como").refused(8, words);
        assert!(!ann.path("never.como").exists(), "{name} left a result");
    }
    assert_eq!(node.audited("module_fault").len(), cases.len());
    assert_eq!(
        node.catalog()["packets"],
        500,
        "the trace has nothing to do with it"
    );
    node.stop();
}
