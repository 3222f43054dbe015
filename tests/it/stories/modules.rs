//! The life of a module: signed by a developer, submitted, started on the live stream, stopped, revoked.

use serde_json::Value;

use crate::harness::{Deployment, Node};

fn live(status: &Value) -> Vec<String> {
    let runs = status["live_modules"].as_array().expect("a list");
    let name = |run: &Value| run["name"].as_str().expect("a name").to_owned();
    runs.iter().map(name).collect()
}

fn roles(node: &Node, role: &str) -> usize {
    node.roles().iter().filter(|(name, _)| name == role).count()
}

#[test]
fn a_module_lives_through_restarts_until_it_is_stopped_or_revoked() {
    let mut site = Deployment::new().capture(1_000, 4);
    let dev = site.developer("dev", "anonymized");
    let ops = site.partner("ops", "anonymized", true);
    let ann = site.partner("ann", "anonymized", false);
    let node = site.start();
    node.ingested();

    // Who may not bring modules is told by which rule; who may not be believed, why.
    let signed = dev.sign("traffic");
    let signed = signed.to_str().expect("UTF-8");
    let refused = ann.como(&["--json", "module", "submit", signed]).exits(3);
    assert!(
        refused.stderr.contains("Only partners that the operator allowed"),
        "{}",
        refused.stderr
    );
    let unknown = ops.submit("protocol").exits(7);
    assert!(
        unknown.stderr.contains("no registered developer"),
        "{}",
        unknown.stderr
    );
    let submitted = dev.submit("traffic").ok().json();
    let hash = submitted["hash"].as_str().expect("a hash").to_owned();
    assert_eq!(hash.len(), 64, "{submitted}");
    dev.submit("traffic").ok();

    let listed = |person: &crate::harness::Person| {
        let list = person.como(&["--json", "module", "list"]).ok().json();
        let modules = list["modules"].as_array().expect("a list").clone();
        modules.into_iter().find(|module| module["name"] == "traffic")
    };
    assert_eq!(listed(&ann).expect("it is installed")["hash"], hash.as_str());
    for named in ["traffic", &hash] {
        let shown = ann.como(&["--json", "module", "show", named]).ok().json();
        assert_eq!(
            (&shown["hash"], &shown["level"]),
            (&hash.as_str().into(), &"anonymized".into())
        );
    }
    ann.como(&["--json", "module", "show", "nothing"])
        .refused(2, "no module `nothing`");

    // Only those whom the policy lets start it.
    ann.como(&["module", "start", "traffic"]).exits(3);
    ops.como(&["module", "start", "nothing"]).exits(7);
    assert_eq!(live(&node.status()), [""; 0]);
    assert_eq!(roles(&node, "export"), 0, "nothing runs where nothing is wanted");
    ops.como(&["module", "start", "traffic"]).ok();
    // The same module for the same audience is computed once.
    ops.como(&["module", "start", "traffic"]).ok();
    assert_eq!(live(&node.status()), ["traffic"]);
    node.stop();

    // Installed modules and wanted runs survive.
    let node = site.start();
    assert_eq!(live(&node.status()), ["traffic"]);
    node.until("the export process is back", |_| roles(&node, "export") == 1);
    assert_eq!(listed(&ann).expect("still installed")["live"], 1);
    ops.como(&["module", "stop", "traffic"]).ok();
    assert_eq!(live(&node.status()), [""; 0]);
    node.until("export ends with its last module", |_| {
        roles(&node, "export") == 0
    });
    node.stop();

    // So does a stop; and a revocation, which also ends what runs.
    let node = site.start();
    assert_eq!(live(&node.status()), [""; 0]);
    ops.como(&["module", "start", "traffic"]).ok();
    ann.como(&["module", "revoke", "traffic"]).exits(3);
    dev.como(&["module", "revoke", "traffic"]).ok();
    assert_eq!(live(&node.status()), [""; 0]);
    let asked = ann.query("traffic", &["--all"], "t.como");
    assert_ne!(asked.code, 0, "a revoked module answers nobody");
    node.stop();
    let node = site.start();
    assert_eq!(live(&node.status()), [""; 0]);
    assert_ne!(ann.query("traffic", &["--all"], "t.como").code, 0);
    assert_ne!(ann.query(&hash, &["--all"], "t.como").code, 0, "nor by its hash");
    assert_ne!(dev.submit("traffic").code, 0, "it does not come back");
    node.stop();
}
