//! What must hold for the files of the repository themselves: promises have tests, files say what they own,
//! scripts parse, links lead somewhere. Must never need a file that is not under version control.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest source file, lines: beyond it a newcomer stops reading. Most are far below.
const MAX_LINES: usize = 1000;
/// Median of all source files, lines.
const MAX_MEDIAN_LINES: usize = 300;
/// Folders that hold nothing of ours.
const FOREIGN_FOLDERS: [&str; 4] = ["target", ".git", "demo", "node_modules"];
/// The version of the `capnp` tool that the request files are made with (Debian 12): it writes its own
/// version into them.
const CAPNP_VERSION: &str = "0.9.2";

/// The repository's folder.
pub fn root() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/..")
}

/// A Rust source file.
pub struct Source {
    /// From the repository's folder, with `/`.
    pub path: String,
    /// As it stands.
    pub text: String,
    /// Without comments.
    pub code: String,
}

/// Every Rust source file of ours.
pub fn sources() -> Vec<Source> {
    let of = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("sources are UTF-8");
        Source {
            path: shown(&path),
            code: without_comments(&text),
            text,
        }
    };
    files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .map(of)
        .collect()
}

fn without_comments(text: &str) -> String {
    let code = |line: &str| match line.find("//") {
        // `https://` in a string is no comment.
        Some(at) if !line[..at].ends_with(':') => line[..at].to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(code).collect::<Vec<_>>().join("\n")
}

fn files() -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::from(root())]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the repository is readable") {
            let path = entry.expect("the repository is readable").path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if path.is_dir() && !FOREIGN_FOLDERS.contains(&name) {
                folders.push(path);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(root()).join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// What stands in bold in the README's promises: `- **Promise.** more`.
fn promises() -> Vec<String> {
    let readme = read("README.md");
    let section = readme
        .split("\n## ")
        .find(|section| section.starts_with("Promises"))
        .unwrap_or_default();
    let bold = |line: &str| Some(line.strip_prefix("- **")?.split("**").next()?.to_owned());
    section.lines().filter_map(bold).collect()
}

#[test]
fn every_promise_of_the_readme_is_the_name_of_a_test() {
    let sources = sources();
    let promises = promises();
    assert!(!promises.is_empty(), "README.md has no list of promises");
    let kept = |name: &str| sources.iter().any(|source| has_test(&source.code, name));
    let broken: Vec<String> = promises
        .iter()
        .map(|promise| (promise, snake_case(promise)))
        .filter(|(_, name)| !kept(name))
        .map(|(promise, name)| format!("**{promise}** needs `#[test] fn {name}()`"))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Whether code has a test of that name: its attribute stands within the lines above.
fn has_test(code: &str, name: &str) -> bool {
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    let named = format!("fn {name}(");
    let is_attribute = |line: &&str| *line == "#[test]" || line.starts_with("#[tokio::test");
    let above = |at: usize| &lines[at.saturating_sub(3)..at];
    lines
        .iter()
        .enumerate()
        .any(|(at, line)| line.contains(&named) && above(at).iter().any(is_attribute))
}

fn snake_case(words: &str) -> String {
    let words: Vec<String> = words
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    words.join("_")
}

#[test]
fn every_source_file_says_what_it_owns() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path)
        .collect();
    assert!(
        silent.is_empty(),
        "these files do not begin with `//! `: {silent:#?}"
    );
}

#[test]
fn nothing_is_left_to_do() {
    // Written in two halves, so that this file does not accuse itself.
    let marks = [concat!("to", "do!("), concat!("unimple", "mented!(")];
    let left: Vec<String> = sources()
        .into_iter()
        .filter(|source| marks.iter().any(|mark| source.code.contains(mark)))
        .map(|source| source.path)
        .collect();
    assert!(left.is_empty(), "stubs are left in {left:#?}");
}

#[test]
fn files_are_short_enough_to_remember() {
    let mut sizes: Vec<(usize, String)> = sources()
        .into_iter()
        .map(|source| (source.text.lines().count(), source.path))
        .collect();
    sizes.sort();
    let too_long: Vec<_> = sizes.iter().filter(|(lines, _)| *lines > MAX_LINES).collect();
    assert!(too_long.is_empty(), "beyond {MAX_LINES} lines: {too_long:#?}");
    let (median, _) = sizes[sizes.len() / 2];
    assert!(median <= MAX_MEDIAN_LINES, "the median file has {median} lines");
}

#[test]
fn shell_scripts_parse() {
    let first_line = |path: &Path| {
        fs::read(path)
            .ok()
            .and_then(|bytes| String::from_utf8_lossy(&bytes).lines().next().map(str::to_owned))
    };
    let mut checked = 0;
    for path in files() {
        let interpreter = match first_line(&path).as_deref() {
            Some("#!/bin/bash") => "bash",
            Some("#!/bin/sh") => "sh",
            _ => continue,
        };
        let output = Command::new(interpreter)
            .arg("-n")
            .arg(&path)
            .output()
            .expect("there is a shell");
        assert!(
            output.status.success(),
            "{}: {}",
            shown(&path),
            String::from_utf8_lossy(&output.stderr)
        );
        checked += 1;
    }
    assert!(checked >= 3, "only {checked} scripts found");
}

#[test]
fn request_files_are_those_of_the_schemas() {
    let version = Command::new("capnp").arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    match version {
        Ok(version) if version.ends_with(CAPNP_VERSION) => {}
        _ => {
            eprintln!("skipped: the capnp tool {CAPNP_VERSION} is not installed");
            return;
        }
    }
    let folder = Path::new(root()).join("capnp/schema");
    for schema in files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "capnp"))
    {
        let name = schema.file_name().expect("a file has a name");
        let output = Command::new("capnp")
            .args(["compile", "-o-"])
            .arg(name)
            .current_dir(&folder)
            .output();
        let output = output.expect("capnp runs: it told its version");
        assert!(
            output.status.success(),
            "{}: {}",
            shown(&schema),
            String::from_utf8_lossy(&output.stderr)
        );
        let kept = fs::read(schema.with_extension("request.bin")).expect("each schema has its request file");
        assert!(
            kept == output.stdout,
            "{} changed: run `make schema`",
            shown(&schema)
        );
    }
}

#[test]
fn links_of_the_documentation_lead_somewhere() {
    let mut dead = Vec::new();
    for path in files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
    {
        let text = fs::read_to_string(&path).expect("documentation is UTF-8");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            let outside = link.contains("://") || link.starts_with("mailto:") || target.is_empty();
            if !outside && !path.with_file_name(target).exists() {
                dead.push(format!("{}: {link}", shown(&path)));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

#[test]
fn commands_that_the_documentation_names_exist() {
    let makefile = read("Makefile");
    let targets: Vec<&str> = makefile
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
        .filter_map(|line| line.split_once(':').map(|(target, _)| target))
        .collect();
    for path in files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
    {
        let text = fs::read_to_string(&path).expect("documentation is UTF-8");
        for marked in ["`make ", "$ make "]
            .iter()
            .flat_map(|mark| text.split(mark).skip(1))
        {
            let target: String = marked
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '-')
                .collect();
            assert!(
                target.is_empty() || targets.contains(&target.as_str()),
                "{}: there is no `make {target}`",
                shown(&path)
            );
        }
    }
}

#[test]
fn names_of_tests_are_made_of_promises() {
    assert_eq!(
        snake_case("A stolen disk reads as noise."),
        "a_stolen_disk_reads_as_noise"
    );
    assert_eq!(
        without_comments("a // b\nurl(\"https://x\")\n/// c"),
        "a \nurl(\"https://x\")\n"
    );
}
