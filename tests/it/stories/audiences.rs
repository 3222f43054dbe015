//! Who shares an instance: the same module, arguments and audience; all, where the module asks for no pseudonym.

use serde_json::Value;

use super::records::{later, replay_for};
use crate::harness::{Deployment, Guest, Person, wait_for};

/// Names of the instances that somebody's status tells of, with how often each is there.
fn live(person: &Person, module: &str) -> Vec<Value> {
    let status = person.como(&["--json", "status"]).ok().json();
    let runs = status["live_modules"].as_array().expect("a list").clone();
    runs.into_iter().filter(|run| run["name"] == module).collect()
}

#[test]
fn one_instance_serves_an_audience_and_all_where_no_pseudonym_is_asked() {
    let mut site = Deployment::new().capture(500, 34);
    let dev = site.developer("dev", "anonymized");
    let ann = site.partner_of("ann", "uni-a", "study", "anonymized", true);
    let bob = site.partner_of("bob", "uni-b", "study", "anonymized", true);
    let eve = site.partner_of("eve", "uni-c", "other", "anonymized", true);
    let low = site.partner_of("low", "uni-d", "low", "aggregate", false);
    let node = site.start();
    node.ingested();
    for module in ["traffic", "topaddr"] {
        dev.submit(module).ok();
    }
    let start = |person: &Person, words: &[&str]| {
        let words = [&["--json", "module", "start"], words].concat();
        person.como(&words).ok().json()["instance"]
            .as_u64()
            .expect("an instance")
    };
    // Nothing of `traffic` depends on whom pseudonyms are made for.
    let traffic = start(&ann, &["traffic"]);
    assert_eq!(start(&bob, &["traffic"]), traffic);
    assert_eq!(start(&eve, &["traffic"]), traffic);
    // `topaddr` does: one for each project, whoever of it asks.
    let of_study = start(&ann, &["topaddr"]);
    assert_eq!(start(&bob, &["topaddr"]), of_study);
    let of_other = start(&eve, &["topaddr"]);
    assert_ne!(of_other, of_study);
    // Other arguments are another computation, and the defaults written out are not.
    let of_five = start(&ann, &["topaddr", "--arg", "k=5"]);
    assert!(of_five != of_study && of_five != of_other);
    let shown = ann.como(&["--json", "module", "show", "topaddr"]).ok().json();
    let argument = &shown["arguments"][0];
    let spelled = format!(
        "{}={}",
        argument["name"].as_str().expect("a name"),
        argument["default"]
    );
    assert_eq!(start(&bob, &["topaddr", "--arg", &spelled]), of_study);
    assert_eq!(node.audited("module_started").len(), 4);

    // Each sees what is its own or everybody's, and usage only with the level that the module reads at.
    assert_eq!(live(&ann, "topaddr").len(), 2);
    assert_eq!(live(&eve, "topaddr").len(), 1);
    assert_eq!((live(&low, "topaddr").len(), live(&low, "traffic").len()), (0, 1));
    assert_eq!(live(&low, "traffic")[0]["usage"], Value::Null);
    assert!(live(&eve, "traffic")[0]["usage"].is_object());

    // Who stops a shared instance stops it for himself; the last ends it.
    for (person, left) in [(&ann, 1), (&eve, 1), (&bob, 0)] {
        person.como(&["module", "stop", "traffic"]).ok();
        assert_eq!(live(&eve, "traffic").len(), left);
        person.como(&["module", "stop", "traffic"]).exits(7);
    }
    // A pause is for himself too.
    ann.como(&["module", "pause", "topaddr"]).ok();
    let shared = live(&bob, "topaddr");
    assert_eq!(
        shared.len(),
        1,
        "bob wants the one with defaults, nobody the other"
    );
    assert_eq!(shared[0]["instance"], of_study);
    node.stop();
}

#[test]
fn the_view_of_a_level_is_made_once_of_a_block_however_many_modules_look_at_it() {
    let traffic = later(4_000, 10.0);
    let mut site = Deployment::new().capture(500, 35).retain("payload");
    let dev = site.developer("dev", "payload");
    let ops = site.partner("ops", "payload", true);
    let levels = ["anonymized", "headers", "payload"];
    let node = replay_for(&mut site, &traffic, |_| {
        // Three modules at each level: each is code of its own, else it would be one.
        for level in levels {
            for (number, extra) in ["(func)", "(func) (func)", "(func) (func) (func)"]
                .into_iter()
                .enumerate()
            {
                let name = format!("{level}-{number}");
                let extra = format!("{extra} (data (i32.const 0) \"{level}\")");
                let guest = Guest {
                    name: &name,
                    level,
                    extra: &extra,
                    ..Guest::default()
                };
                dev.submit_file(&guest.signed_by(&dev)).ok();
                ops.como(&["module", "start", &name]).ok();
            }
        }
    });
    node.ingested();
    let status = wait_for("all saw packets, in one view of a block for each level", || {
        let status = ops.como(&["--json", "status"]).ok().json();
        let runs = status["live_modules"].as_array().expect("a list");
        let seen = |run: &Value| run["usage"]["packets"].as_u64() > Some(0);
        let (views, blocks) = (&status["capture"]["views"], status["storage"]["blocks"].as_u64());
        // Three modules look at each level: a view for each of them would be more than there are blocks.
        let once = |level: &&str| views[level].as_u64() > Some(0) && views[level].as_u64() <= blocks;
        let ready = runs.len() == 9 && runs.iter().all(seen) && levels.iter().all(once);
        ready.then_some(status)
    });
    let views = &status["capture"]["views"];
    assert_eq!(views["coarse"], 0, "nobody looks at it");
    node.stop();
}
