//! Compiling a module's folder to WebAssembly, with the cargo that is there. Must never install anything: what is
//! missing is named, with how to get it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::error::{ClientError, Result};

/// What modules are compiled for.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// Compiler settings from outside would replace those of the module's own `.cargo/config.toml`, and with them what
/// nodes admit.
const FOREIGN_SETTINGS: [&str; 3] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
];
const GET_RUST: &str = "install it from https://rustup.rs, or with your distribution's package of cargo";

/// Builds the module in `dir` and gives its WebAssembly; `memory_bytes` says how much memory it has. The compiler's own
/// words go to stderr.
pub fn build(dir: &Path, memory_bytes: impl FnOnce() -> Result<u32>) -> Result<PathBuf> {
    if !dir.join("Cargo.toml").is_file() {
        return Err(ClientError::usage(
            format!(
                "{} is not the folder of a module in Rust: it has no Cargo.toml",
                dir.display()
            ),
            "make one with `como module new NAME`; code of another compiler is given as its .wasm file",
        ));
    }
    check_target(dir)?;
    let memory_bytes = memory_bytes()?;
    let mut cargo = Command::new("cargo");
    cargo.current_dir(dir).stderr(Stdio::inherit());
    // Of the code that is loaded alone: beside an rlib cargo would drop LTO, and with it what nodes refuse.
    cargo.args(["rustc", "--release", "--target", TARGET, "--crate-type", "cdylib"]);
    cargo.args(["--message-format=json-render-diagnostics", "--"]);
    for size in ["initial", "max"] {
        cargo.args(["-C", &format!("link-arg=--{size}-memory={memory_bytes}")]);
    }
    FOREIGN_SETTINGS.iter().for_each(|name| {
        cargo.env_remove(name);
    });
    let ended = run(&mut cargo)?;
    if !ended.status.success() {
        return Err(ClientError::input(
            format!("the module in {} does not compile", dir.display()),
            "the compiler's messages above say where",
        ));
    }
    // Dependencies come first: the last one is the module's own.
    let artefacts = String::from_utf8_lossy(&ended.stdout);
    let last = artefacts.lines().filter_map(wasm_of).next_back();
    last.ok_or_else(|| {
        ClientError::input(
            format!("{} compiles to no WebAssembly file", dir.display()),
            "a module is a library: its Cargo.toml needs `[lib]`, as `como module new` writes it",
        )
    })
}

/// Rust comes without the target, and the compiler's own message for that is long.
fn check_target(dir: &Path) -> Result<()> {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(dir).stderr(Stdio::inherit());
    let asked = run(rustc.args(["--print", "target-libdir", "--target", TARGET]))?;
    let libraries = String::from_utf8_lossy(&asked.stdout);
    if asked.status.success() && Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    Err(ClientError::input(
        format!("Rust's target {TARGET} is not installed"),
        format!("rustup target add {TARGET} (Debian's own Rust: apt-get install libstd-rust-dev-wasm32)"),
    ))
}

fn run(command: &mut Command) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
        .spawn()
        .and_then(|child| child.wait_with_output())
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                ClientError::input(format!("{program} is not installed, or not in PATH"), GET_RUST)
            }
            _ => ClientError::input(format!("{program} does not start: {error}"), GET_RUST),
        })
}

/// The WebAssembly file of one of cargo's messages, if it tells of one.
fn wasm_of(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let files = message["filenames"].as_array()?.iter().filter_map(Value::as_str);
    files
        .map(PathBuf::from)
        .find(|file| file.extension().is_some_and(|ending| ending == "wasm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wasm_file_is_found_among_cargos_messages() {
        let artefact = r#"{"reason":"compiler-artifact","filenames":["/t/x.d","/t/x.wasm"]}"#;
        assert_eq!(wasm_of(artefact), Some(PathBuf::from("/t/x.wasm")));
        for other in [
            r#"{"reason":"compiler-artifact","filenames":["/t/libkit.rlib"]}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "not JSON",
        ] {
            assert_eq!(wasm_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_folder_without_a_module_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (what, fix) = build(dir.path(), || Ok(1 << 16)).unwrap_err().lines();
        assert!(
            what.contains("no Cargo.toml") && fix.contains("como module new"),
            "{what}\n{fix}"
        );
    }
}
