//! The developer's path: what `como module new` makes is tested, compiled, signed, and admitted by the
//! very code that a node admits modules with.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use como_client::keys::Bundle;

const TARGET: &str = "wasm32-unknown-unknown";

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}\n{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

fn cargo(module: &Path, target_dir: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    // The module's own settings count, not those that this test was started with.
    cargo
        .current_dir(module)
        .env("CARGO_TARGET_DIR", target_dir)
        .env_remove("RUSTFLAGS");
    cargo
}

/// A command that must end with the exit code of a bad input; its words.
fn failed(como: &mut Command, built: &Path) -> String {
    como.env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", built);
    let output = como.output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_is_missing_to_build_is_named_with_how_to_get_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("Cargo.toml"), "").unwrap();
    let como = |path: &Path| {
        let mut como = Command::new(env!("CARGO_BIN_EXE_como"));
        como.args(["module", "build"]).arg(dir.path()).env("PATH", path);
        failed(&mut como, dir.path())
    };
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let words = como(&empty);
    assert!(
        words.contains("rustc is not installed") && words.contains("rustup.rs"),
        "{words}"
    );
    // A compiler that has its libraries elsewhere, as one without the target has.
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let rustc = bin.join("rustc");
    std::fs::write(&rustc, "#!/bin/sh\necho /nonexistent/lib\n").unwrap();
    std::fs::set_permissions(&rustc, std::fs::Permissions::from_mode(0o755)).unwrap();
    let words = como(&bin);
    assert!(words.contains(&format!("rustup target add {TARGET}")), "{words}");
}

/// Whether guests can be compiled here; says so where not.
fn has_target() -> bool {
    let libraries = run(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]));
    let has_it = Path::new(libraries.trim()).is_dir();
    if !has_it {
        eprintln!("not run: `rustup target add {TARGET}` is missing");
    }
    has_it
}

#[test]
fn a_standard_module_is_built_in_its_folder() {
    if !has_target() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../modules/standard/packet-sizes");
    let mut como = Command::new(env!("CARGO_BIN_EXE_como"));
    como.args(["--json", "module", "build"]).arg(folder);
    como.env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", dir.path());
    let told: serde_json::Value = serde_json::from_str(&run(&mut como)).unwrap();
    assert_eq!(told["name"], "packet-sizes");
}

#[test]
fn a_new_module_passes_its_tests_and_is_admitted() {
    if !has_target() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (keys, module, built) = (
        dir.path().join("keys"),
        dir.path().join("big-packets"),
        dir.path().join("target"),
    );
    Bundle::create(&keys, &"spiffe://c/org/dev".parse().unwrap()).unwrap();
    let como = || {
        let mut como = Command::new(env!("CARGO_BIN_EXE_como"));
        como.current_dir(dir.path()).env("COMO_KEYS", &keys);
        como
    };
    run(como().args(["module", "new", "big-packets"]));
    run(cargo(&module, &built).args(["test", "--offline", "--quiet"]));
    let offline = |como: &mut Command| {
        como.env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_TARGET_DIR", &built);
        // Settings of whoever builds do not reach the guest: with these, no node would admit it.
        como.env("RUSTFLAGS", "-C target-feature=+reference-types");
        run(como)
    };
    let told = offline(como().args(["--json", "module", "build", "big-packets"]));
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let wasm = built.join(TARGET).join("release/big_packets.wasm");
    assert_eq!(told["wasm"].as_str(), wasm.to_str());
    assert_eq!(
        told["bytes"].as_u64(),
        Some(std::fs::metadata(&wasm).unwrap().len())
    );
    offline(como().args(["module", "sign", "big-packets", "-o", "x.cmod"]));
    let signed = std::fs::read(dir.path().join("x.cmod")).unwrap();
    assert!(
        signed.windows(8).any(|bytes| bytes == b"\0asm\x01\0\0\0"),
        "the code is in it"
    );
    let admitted = como_modules::VerifiedModule::from_supervisor(&signed).unwrap();
    admitted.admit().unwrap();

    // Its memory is what the manifest says, and nothing else has to say it; code of before has another one.
    let older = dir.path().join("older.wasm");
    std::fs::copy(&wasm, &older).unwrap();
    let manifest = module.join("module.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("memory_kib = 2048", "memory_kib = 2112")).unwrap();
    offline(como().args(["module", "build", "big-packets"]));
    let mut test = como();
    test.args(["module", "test"])
        .arg(&older)
        .arg("--manifest")
        .arg(&manifest)
        .args(["--pcap", "none.pcap"]);
    let refused = failed(&mut test, &built);
    assert!(
        refused.contains("it has 2097152 bytes, the manifest says 2162688"),
        "{refused}"
    );

    // What does not compile is told by the compiler.
    std::fs::write(module.join("src/lib.rs"), "fn broken(").unwrap();
    let refused = failed(como().args(["module", "build", "big-packets"]), &built);
    assert!(refused.contains("src/lib.rs:1"), "{refused}");
    assert!(refused.contains("does not compile"), "{refused}");
}
