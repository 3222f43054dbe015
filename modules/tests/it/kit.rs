//! The guest's copy of the ABI against the host's, and the promise about `unsafe` in guests.

use std::path::{Path, PathBuf};

use como_anonymize::Column;
use como_kit::{abi, columns};
use como_modules::{ABI_VERSION, Manifest, limits};

use crate::catalogue;
use crate::support::DEVELOPER;

#[test]
fn kit_and_host_have_the_same_numbers() {
    assert_eq!(abi::VERSION, i32::from(ABI_VERSION));
    assert_eq!(abi::BATCH_MAX_PACKETS, limits::BATCH_MAX_PACKETS);
    assert_eq!(abi::HEADER_BYTES, limits::BATCH_HEADER_BYTES);
    assert_eq!(abi::BATCH_MAX_FRAME_BYTES, limits::BATCH_MAX_FRAME_BYTES);
    assert_eq!(abi::ALIGN_BYTES, limits::COLUMN_ALIGN_BYTES);
    assert_eq!(abi::ARGS_MAX, limits::ARGUMENTS_MAX);
    assert_eq!(abi::COLUMNS_MAX, limits::OUTPUT_MAX_COLUMNS);
    let kit: Vec<_> = columns::ALL
        .iter()
        .map(|(name, id)| (id.number, id.bytes, name.to_lowercase()))
        .collect();
    let host: Vec<_> = Column::ALL
        .iter()
        .map(|c| (c.id(), c.width(), c.name().to_string()))
        .collect();
    assert_eq!(kit, host);
}

/// module.toml is what is signed, the consts are what is compiled: they must not drift apart.
#[test]
fn every_module_toml_says_what_its_code_says() {
    for module in catalogue::all() {
        let name = module.name;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("standard").join(name);
        let toml = std::fs::read_to_string(folder.join("module.toml")).unwrap();
        let manifest = Manifest::from_toml(&toml, DEVELOPER, 1000).unwrap();
        let declared: Vec<u8> = manifest.columns.iter().map(|c| c.id()).collect();
        let compiled: Vec<u8> = module.columns.iter().map(|c| c.number).collect();
        assert_eq!(declared, compiled, "{name}: columns");
        let declared: Vec<String> = manifest.schema.iter().map(|c| format!("{:?}", c.kind)).collect();
        let compiled: Vec<String> = module.schema.iter().map(|k| format!("{k:?}")).collect();
        assert_eq!(declared, compiled, "{name}: schema");
        assert_eq!(manifest.wants_frames, module.wants_frames, "{name}: frames");
        assert_eq!(manifest.name, name);
    }
}

#[test]
fn unsafe_stands_in_the_kits_exports_and_nowhere_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in [root.join("kit"), root.join("standard")] {
        visit(&folder, &mut |path, text| {
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            if code.into_iter().any(|line| line.contains("unsafe")) {
                found.push(path.strip_prefix(root).unwrap().to_path_buf());
            }
        });
    }
    found.sort();
    assert_eq!(
        found,
        [PathBuf::from("kit/src/guest.rs"), PathBuf::from("kit/src/lib.rs")]
    );
}

#[test]
fn a_typing_error_in_module_toml_is_shown_where_it_is() {
    let error = Manifest::from_toml("name = \"x\"\nversoin = \"1\"\n", DEVELOPER, 1000).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("line 2") && text.contains("versoin") && text.contains('^'),
        "{text}"
    );
}

fn visit(folder: &Path, each: &mut impl FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, each);
        } else if path.extension().is_some_and(|e| e == "rs") {
            each(&path, &std::fs::read_to_string(&path).unwrap());
        }
    }
}
