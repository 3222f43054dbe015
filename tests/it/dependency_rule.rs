//! The dependency rule of docs/design.md, read back from manifests and sources: who may use whom.
//!
//! Exceptions stand in the tables with their reason. Must never be loosened without one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::repository::{Source, root, sources};

/// Which of our crates a crate may use.
///
/// ```text
///  policies   keys   capnp   savefile    leaves, know nothing of each other
///       \      /  \    /       |
///      anonymize   dataset     |
///           \       |          |
///          modules  |          |
///              \    |          |
///           node, client  -----+  ->  tests
/// ```
const OURS: &[(&str, &[&str])] = &[
    ("como-policies", &[]),
    ("como-keys", &[]),
    ("como-capnp", &[]),
    ("como-savefile", &[]),
    ("como-anonymize", &["como-policies", "como-keys"]),
    // Policies for the access level alone: a dataset says at which level it was made.
    ("como-dataset", &["como-keys", "como-capnp", "como-policies"]),
    (
        "como-modules",
        &[
            "como-policies",
            "como-keys",
            "como-capnp",
            "como-anonymize",
            "como-dataset",
        ],
    ),
    // Guests (whatever lies in modules/standard) know the kit and nothing of the host.
    ("como-kit", &[]),
    // Captures for tests: a file format, and nothing of what reads it.
    ("como-generate", &["como-savefile"]),
    ("como-node", &BELOW_THE_PROGRAMS),
    // Modules with their runtime: `como module test` runs a guest in the very sandbox of a node.
    ("como-client", &BELOW_THE_PROGRAMS),
    ("como-tests", &EVERYTHING),
];
const BELOW_THE_PROGRAMS: [&str; 7] = [
    "como-policies",
    "como-keys",
    "como-savefile",
    "como-capnp",
    "como-anonymize",
    "como-dataset",
    "como-modules",
];
/// What a standard module may use.
const GUEST: &[&str] = &["como-kit"];
const EVERYTHING: [&str; 14] = [
    "como-policies",
    "como-keys",
    "como-savefile",
    "como-capnp",
    "como-anonymize",
    "como-dataset",
    "como-modules",
    "como-node",
    "como-client",
    "como-generate",
    // The benchmark runs some standard modules natively, beside the sandbox.
    "como-kit",
    "como-traffic",
    "como-topports",
    "como-flowcount",
];

/// Which of our crates may use an outside crate that holds a privilege. Tests of a crate are free.
const PRIVILEGED: &[(&str, &[&str])] = &[
    // Cryptography: keys and dataset, and the block cipher of Crypto-PAn.
    ("aes", &["como-anonymize", "como-tests"]), // tests: the limit that the benchmark measures it against
    ("aead-stream", &["como-dataset"]),
    ("argon2", &["como-keys"]),
    ("aws-lc-rs", &["como-keys"]), // the fast RFC 8439; rustls links it anyway
    ("blake3", &["como-keys", "como-dataset"]),
    ("chacha20poly1305", &["como-keys", "como-dataset"]),
    ("ed25519-dalek", &["como-keys"]),
    ("hkdf", &["como-keys", "como-dataset"]),
    ("hmac", &["como-keys", "como-dataset"]),
    ("hpke", &["como-keys"]),
    ("rcgen", &["como-keys"]),                                 // the trial authority
    ("x509-parser", &["como-keys"]),                           // serial numbers of certificates
    ("sha2", &["como-keys", "como-dataset", "como-policies"]), // policies: names a policy set, no key is involved
    ("subtle", &["como-keys", "como-dataset"]),
    // The network.
    ("hyper", &["como-node", "como-client"]),
    ("hyper-util", &["como-node", "como-client"]),
    ("http-body-util", &["como-node", "como-client"]),
    ("rustls", &["como-node", "como-client"]),
    ("rustls-webpki", &["como-node", "como-client"]),
    ("tokio", &["como-node", "como-client"]),
    ("tokio-rustls", &["como-node", "como-client"]),
    // One user each.
    ("capnpc", &["como-capnp"]),
    ("cedar-policy", &["como-policies"]),
    ("miette", &["como-policies"]), // the places in Cedar's diagnostics
    ("landlock", &["como-node"]),
    ("pcap", &["como-node"]),
    ("seccompiler", &["como-node"]),
    ("wasmi", &["como-modules"]),
    ("wasmparser", &["como-modules"]),
];

/// Where, within the crate that may use it, an outside crate may be named.
const PLACES: &[(&str, &str, &[&str])] = &[
    ("node/src/", "tokio", &["node/src/query/"]),
    ("node/src/", "hyper", &["node/src/query/"]),
    ("node/src/", "hyper_util", &["node/src/query/"]),
    ("node/src/", "rustls", &["node/src/query/"]),
    ("node/src/", "tokio_rustls", &["node/src/query/"]),
    ("node/src/", "pcap", &["node/src/capture/source"]),
    ("node/src/", "landlock", &["node/src/process/"]),
    ("node/src/", "seccompiler", &["node/src/process/"]),
    ("modules/src/", "wasmi", &["modules/src/runtime.rs"]),
    ("anonymize/src/", "aes", &["anonymize/src/crypto/"]),
];

/// The roles of `como-node`, each a folder of its sources.
const ROLES: [&str; 7] = [
    "capture",
    "export",
    "storage",
    "query",
    "reader",
    "runner",
    "supervisor",
];
/// The files of `como-node` that may name roles: the crate's root declares them, one file starts them.
const NAMES_ROLES: [&str; 2] = ["node/src/lib.rs", "node/src/roles.rs"];

#[test]
fn crates_use_only_crates_below_them() {
    let packages = packages();
    let known: BTreeMap<&str, &[&str]> = OURS.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in &packages {
        let allowed = match known.get(package.name.as_str()) {
            None if package.is_guest => Some(&GUEST),
            listed => listed,
        };
        let Some(allowed) = allowed else {
            wrong.push(format!("{} is missing in this table", package.name));
            continue;
        };
        let ours = package.uses.iter().filter(|name| name.starts_with("como-"));
        wrong.extend(
            ours.filter(|name| !allowed.contains(&name.as_str()))
                .map(|name| format!("{} uses {name}, which is not below it", package.name)),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn privileged_crates_are_used_where_the_rule_says() {
    let mut wrong = Vec::new();
    for package in packages() {
        for (privileged, users) in PRIVILEGED {
            if package.uses.contains(*privileged) && !users.contains(&package.name.as_str()) {
                wrong.push(format!(
                    "{} uses {privileged}, which only {users:?} may",
                    package.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn privileged_crates_are_named_only_in_their_place() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (tree, name, places) in PLACES {
            let in_place = places.iter().any(|place| source.path.starts_with(place));
            if source.path.starts_with(tree) && !in_place && names_crate(&source.code, name) {
                wrong.push(format!("{} names {name}, whose place is {places:?}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn generated_code_stands_in_the_schema_crate_only() {
    let included = |source: &Source| source.code.contains("include!(concat!(env!(\"OUT_DIR\")");
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|source| !source.path.starts_with("capnp/") && !source.path.starts_with("tests/it/"))
        .filter(|source| included(source))
        .map(|source| source.path.clone())
        .collect();
    assert!(wrong.is_empty(), "{wrong:?} include generated code");
}

#[test]
fn roles_never_import_each_other() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(below) = source.path.strip_prefix("node/src/") else {
            continue;
        };
        // Tests may join two roles: what they prove is that the two fit, and they are not shipped.
        let is_test = source.path.ends_with("/tests.rs") || source.path.contains("/tests/");
        if is_test || NAMES_ROLES.contains(&source.path.as_str()) {
            continue;
        }
        let own = below.split(['/', '.']).next().unwrap_or_default();
        let foreign = crate_imports(&source.code)
            .into_iter()
            .filter(|name| ROLES.contains(&name.as_str()) && name != own);
        wrong.extend(foreign.map(|name| format!("{} imports the role {name}", source.path)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A crate of the workspace, and what it is built of (not: what its tests use).
struct Package {
    name: String,
    /// Lies in modules/standard.
    is_guest: bool,
    uses: BTreeSet<String>,
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs: it runs this test");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let text = |value: &Value| value.as_str().expect("a name").to_owned();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    list(&metadata["packages"])
        .iter()
        .map(|package| Package {
            name: text(&package["name"]),
            is_guest: text(&package["manifest_path"]).contains("/modules/standard/"),
            uses: list(&package["dependencies"])
                .iter()
                .filter(|dependency| dependency["kind"] != "dev")
                .map(|dependency| text(&dependency["name"]))
                .collect(),
        })
        .collect()
}

/// Whether code names a crate: `name::` or `use name;`, at the start of a path.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + name.len()..];
        let starts = before.is_none_or(|c| !c.is_alphanumeric() && !"_:.\"-".contains(c));
        starts && (after.starts_with("::") || (code[..at].ends_with("use ") && after.starts_with([';', ' '])))
    })
}

/// First names behind `crate::`, also in groups: `use crate::{a::b, c}` gives a and c.
fn crate_imports(code: &str) -> Vec<String> {
    let name = |text: &str| {
        text.trim_start()
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .map(str::to_owned)
    };
    let mut found = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(top_level_items(group).iter().filter_map(|item| name(item))),
            None => found.extend(name(rest)),
        }
    }
    found
}

/// The items of a group of imports, up to its closing brace.
fn top_level_items(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0_i32, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&group[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items
}

#[test]
fn the_rule_sees_through_the_ways_to_write_an_import() {
    assert_eq!(crate_imports("use crate::query::Port;"), ["query"]);
    assert_eq!(
        crate_imports("use crate::{link::{self, Frame}, export, trace::x};"),
        ["link", "export", "trace"]
    );
    assert_eq!(
        crate_imports("crate::storage::run(crate::reader::x)"),
        ["storage", "reader"]
    );
    assert!(names_crate("use pcap::Capture;", "pcap"));
    assert!(names_crate("let x = (pcap::Capture::new)();", "pcap"));
    assert!(names_crate("use wasmi;", "wasmi"));
    assert!(!names_crate(
        "use crate::pcap::Capture; como_pcap::x(); pcapng::y()",
        "pcap"
    ));
    assert!(Path::new(root()).join("Cargo.toml").is_file());
}
