//! Who and what a node knows: people, modules, endorsements, lists, faults. A restart keeps all of it, and the audit log
//! says how it came about.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Deployment, Guest, Output, Person, wait_for};

fn hash_of(submitted: &Value) -> String {
    submitted["hash"].as_str().expect("a hash").to_owned()
}

fn verify(person: &Person, log: &Path, witness: &str) -> Output {
    let log = log.to_str().expect("UTF-8");
    person.como(&["--json", "audit", "verify", log, "--witness", witness])
}

#[test]
fn a_restart_keeps_everything_and_the_audit_log_has_it() {
    let mut site = Deployment::new().capture(800, 38).retain("payload");
    let dora = site.developer("dora", "payload");
    let gone = site.developer("gone", "anonymized");
    let ann = site.partner("ann", "anonymized", true);
    let low = site.partner("low", "coarse", false);
    let bad = site.partner("bad", "anonymized", false);
    let node = site.start();
    node.ingested();

    // Modules: one that runs, one that is paused, one revoked, one on the black list, one on a revocation list.
    for module in ["traffic", "topaddr", "protocol", "flowcount"] {
        dora.submit(module).ok();
    }
    let trapper = Guest {
        name: "trapper",
        update: "unreachable",
        ..Guest::default()
    };
    dora.submit_file(&trapper.signed_by(&dora)).ok();
    for _ in 0..3 {
        ann.query("trapper", &["--all", "--fresh"], "never.como").exits(8);
    }
    let of_gone = Guest {
        name: "of-gone",
        extra: "(func)",
        ..Guest::default()
    };
    gone.submit_file(&of_gone.signed_by(&gone)).ok();
    ann.como(&["module", "start", "traffic"]).ok();
    ann.como(&["module", "start", "topaddr", "--arg", "k=3"]).ok();
    ann.como(&["module", "pause", "topaddr"]).ok();
    ann.como(&["module", "start", "protocol"]).ok();
    dora.como(&["module", "revoke", "protocol"]).ok();
    let flowcount = dora.como(&["--json", "module", "show", "flowcount"]).ok().json();
    site.operator(&["revocations", "add", "--module", &hash_of(&flowcount)]);
    let search = hash_of(&dora.submit("pattern-search").ok().json());
    let range = [
        "--range",
        "pattern=1195725856..1195725856",
        "--range",
        "length=4..4",
    ];
    let endorse = [
        "endorse",
        &search,
        "--output-level",
        "aggregate",
        "--name",
        "search",
    ];
    site.operator(&[&endorse[..], &range].concat());
    site.operator(&["partner", "suspend", "bad"]);
    site.operator(&["developer", "revoke", "gone"]);
    wait_for("all of it is known", || {
        (bad.como(&["status"]).code != 0 && gone.como(&["module", "list"]).code != 0).then_some(())
    });
    ann.query("traffic", &["--all"], "kept.como").ok();

    let before = known(&ann);
    holds(&ann, &low, &bad, &gone, &dora, &trapper, &of_gone);
    let seen = node.status()["audit_log"].clone();
    let log = node.audit_log();
    node.stop();
    let node = site.start();
    assert_eq!(known(&ann), before);
    holds(&ann, &low, &bad, &gone, &dora, &trapper, &of_gone);
    // Everything that was done is in the one log.
    let commands: Vec<Value> = node
        .audited("administration")
        .into_iter()
        .map(|e| e["command"].clone())
        .collect();
    for command in [
        "partner add",
        "developer add",
        "revocations",
        "endorse",
        "partner suspend",
        "developer revoke",
    ] {
        assert!(
            commands.contains(&json!(command)),
            "{command} is not in {commands:?}"
        );
    }
    for event in [
        "started",
        "decided",
        "submitted",
        "module_started",
        "module_stopped",
        "module_fault",
        "revoked",
        "query_ended",
        "signed",
        "fetched",
        "refused",
        "revocations_taken",
        "reloaded",
        "stopped",
    ] {
        assert!(!node.audited(event).is_empty(), "no {event} in the log");
    }
    node.stop();

    // Any change of it is found.
    let witness = seen["last_hash"].as_str().expect("a hash");
    let lines = seen["lines"].as_u64().expect("a number") as usize;
    verify(&ann, &log, witness).ok();
    let good = fs::read_to_string(&log).expect("a log");
    let good: Vec<&str> = good.lines().collect();
    let copy = site.path("copy.log");
    let bad = |what: &str, changed: &[&str]| {
        fs::write(&copy, changed.join("\n") + "\n").expect("written");
        let found = verify(&ann, &copy, witness);
        assert_ne!(found.code, 0, "{what} is not found");
    };
    let middle = lines / 2;
    let flipped = good[middle].replacen("\"time_ns\":1", "\"time_ns\":2", 1);
    assert_ne!(flipped, good[middle]);
    let mut changed = good.clone();
    changed[middle] = &flipped;
    bad("a flipped digit", &changed);
    let mut changed = good.clone();
    changed.remove(middle);
    bad("a line cut out", &changed);
    let mut changed = good.clone();
    changed.swap(middle, middle + 1);
    bad("two lines in another order", &changed);
    let mut changed = good.clone();
    changed.insert(middle, good[middle]);
    bad("a line put in twice", &changed);
    bad("its first lines gone", &good[1..]);
    bad("its last lines gone", &good[..lines - 1]);
    bad("nothing left", &[]);
    fs::write(&copy, good.join("\n") + "\n").expect("written");
    verify(&ann, &copy, witness).ok();
}

/// What the list of modules says, without what a start changes.
fn known(ann: &Person) -> Vec<Value> {
    let list = ann.como(&["--json", "module", "list"]).ok().json();
    let mut modules = list["modules"].as_array().expect("a list").clone();
    for module in &mut modules {
        // Its run ended with the node, and began again.
        module["last_stop"].take();
    }
    modules
}

/// Everything that was decided holds.
fn holds(
    ann: &Person,
    low: &Person,
    bad: &Person,
    gone: &Person,
    dora: &Person,
    trapper: &Guest<'_>,
    of_gone: &Guest<'_>,
) {
    let status = wait_for("what ran runs", || {
        let status = ann.como(&["--json", "status"]).ok().json();
        (status["live_modules"][0]["name"] == "traffic").then_some(status)
    });
    assert_eq!(status["live_modules"].as_array().map(Vec::len), Some(1));
    assert_eq!(status["paused_modules"][0]["name"], "topaddr");
    assert_eq!(status["paused_modules"][0]["arguments"], json!({ "k": 3 }));
    ann.query("protocol", &["--all"], "never.como")
        .refused(7, "no module `protocol`");
    ann.query("flowcount", &["--all"], "never.como")
        .refused(7, "list number 1");
    ann.query("trapper", &["--all"], "never.como")
        .refused(3, "black list");
    ann.query("of-gone", &["--all"], "never.como")
        .refused(3, "The key that signed this module was revoked.");
    dora.submit_file(&trapper.signed_by(dora))
        .refused(3, "black list");
    assert_ne!(gone.submit_file(&of_gone.signed_by(gone)).code, 0);
    let args = ["--all", "--level", "coarse"];
    low.query("pattern-search", &args, "search.como").ok();
    fs::remove_file(low.path("search.como")).expect("it was written");
    let other = [&args[..], &["--arg", "length=5"]].concat();
    low.query("pattern-search", &other, "never.como").exits(3);
    low.query("traffic", &["--all"], "never.como").exits(3);
    assert_ne!(bad.como(&["status"]).code, 0);
}
