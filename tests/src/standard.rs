//! The standard modules, as a list: it is what lies in `modules/standard`. Owns no name of one, and must never run one.

use std::path::{Path, PathBuf};

use como_modules::Manifest;
use como_policies::AccessLevel;

/// The folder of a standard module in this clone.
pub fn folder(name: &str) -> PathBuf {
    root().join(name)
}

/// Every standard module's manifest, by name; unsigned.
pub fn manifests() -> Vec<Manifest> {
    let entries = std::fs::read_dir(root()).expect("modules/standard");
    let mut manifests: Vec<Manifest> = entries
        .map(|entry| entry.expect("an entry").path().join("module.toml"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            Manifest::from_toml(&text, "spiffe://example.org/standard", u64::MAX)
                .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        })
        .collect();
    manifests.sort_by(|a, b| a.name.cmp(&b.name));
    manifests
}

/// Names of those that need no payload: whoever may have `anonymized` can run them, without an endorsement.
pub fn without_payload() -> Vec<String> {
    let manifests = manifests().into_iter();
    let plain = manifests.filter(|m| m.level < AccessLevel::Payload);
    plain.map(|m| m.name).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../modules/standard")
}
