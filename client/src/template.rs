//! `como module new`: the files of a new module, a working one from the first minute.
//!
//! Owns which files there are (their text is in client/template/); must never overwrite anything.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{ClientError, Result};

/// Longest name of a module, in bytes (that of the manifest).
const MAX_NAME_BYTES: usize = 32;
/// como-kit in the clone that this program was built from.
const BUILT_FROM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../modules/kit");
/// Path in the new folder, and text.
const FILES: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("../template/Cargo.toml.in")),
    (".cargo/config.toml", include_str!("../template/config.toml.in")),
    (".gitignore", "/target\n*.cmod\n"),
    ("README.md", include_str!("../template/README.md.in")),
    ("module.toml", include_str!("../template/module.toml.in")),
    ("src/lib.rs", include_str!("../template/src/lib.rs.in")),
];

/// Where como-kit is: the folder asked for, or that of the clone that this program was built from.
pub fn kit(asked: Option<&Path>) -> Result<PathBuf> {
    let folder = asked.unwrap_or(Path::new(BUILT_FROM));
    match fs::canonicalize(folder) {
        Ok(kit) if kit.join("Cargo.toml").is_file() => Ok(kit),
        _ => Err(ClientError::usage(
            format!("{} is not the folder of como-kit", folder.display()),
            "name modules/kit of a clone of CoMo with --kit DIR",
        )),
    }
}

/// Writes a module named `name` into `dir`, which must not exist.
pub fn write(dir: &Path, name: &str, kit: &Path) -> Result<()> {
    check_name(name)?;
    if dir.exists() {
        return Err(ClientError::usage(
            format!("{} exists already", dir.display()),
            "choose another folder with --out, or another name",
        ));
    }
    for (file, text) in FILES {
        let path = dir.join(file);
        let folder = path.parent().unwrap_or(dir);
        fs::create_dir_all(folder).map_err(|error| ClientError::write(folder, error))?;
        fs::write(&path, fill(text, name, kit)).map_err(|error| ClientError::write(&path, error))?;
    }
    Ok(())
}

/// The name of the compiled file, without its ending.
pub fn crate_name(name: &str) -> String {
    name.replace('-', "_")
}

fn check_name(name: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let good = name.len() <= MAX_NAME_BYTES
        && name.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && name.bytes().all(plain)
        && !name.ends_with('-');
    if good {
        return Ok(());
    }
    Err(ClientError::usage(
        format!(
            "`{}` cannot be the name of a module",
            crate::answer::one_line(name)
        ),
        format!("take lower-case letters, digits and dashes, at most {MAX_NAME_BYTES}, a letter first"),
    ))
}

fn fill(text: &str, name: &str, kit: &Path) -> String {
    let words = name.split('-').filter(|word| !word.is_empty());
    let camel = words
        .map(|word| word[..1].to_ascii_uppercase() + &word[1..])
        .collect::<String>();
    // A path goes between quotes of TOML.
    let kit = kit
        .display()
        .to_string()
        .replace('\\', "\\\\")
        .replace('"', "\\\"");
    text.replace("{{name}}", name)
        .replace("{{crate}}", &crate_name(name))
        .replace("{{Type}}", &camel)
        .replace("{{kit}}", &kit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_module_is_complete_and_its_manifest_is_good() {
        let dir = tempfile::tempdir().unwrap();
        let module = dir.path().join("m");
        write(&module, "long-packets2", Path::new("/a \"b\"/kit")).unwrap();
        for (file, _) in FILES {
            let text = fs::read_to_string(module.join(file)).unwrap();
            assert!(!text.contains("{{"), "{file}");
        }
        let cargo = fs::read_to_string(module.join("Cargo.toml")).unwrap();
        let cargo: toml::Table = cargo.parse().unwrap();
        assert_eq!(
            cargo["dependencies"]["como-kit"]["path"].as_str(),
            Some("/a \"b\"/kit")
        );
        assert!(
            fs::read_to_string(module.join("src/lib.rs"))
                .unwrap()
                .contains("pub struct LongPackets2")
        );
        let manifest = fs::read_to_string(module.join("module.toml")).unwrap();
        let manifest = como_modules::Manifest::from_toml(&manifest, "spiffe://c/o/d", u64::MAX).unwrap();
        assert_eq!(manifest.name, "long-packets2");
        // The size of memory stands in the manifest alone: `como module build` hands it to the linker.
        let config = fs::read_to_string(module.join(".cargo/config.toml")).unwrap();
        assert!(!config.contains("-memory="));
    }

    #[test]
    fn nothing_is_overwritten_and_names_are_names() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            write(dir.path(), "ok", Path::new("/kit"))
                .unwrap_err()
                .to_string()
                .contains("exists already")
        );
        for bad in [
            "",
            "Upper",
            "1st",
            "-x",
            "x-",
            "a_b",
            "a/b",
            "../x",
            &"x".repeat(33),
        ] {
            assert!(
                write(&dir.path().join("new"), bad, Path::new("/kit")).is_err(),
                "{bad}"
            );
        }
        assert!(!dir.path().join("new").exists());
    }
}
