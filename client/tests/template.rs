//! The developer's path: what `como module new` makes is tested, compiled, signed, and admitted by the
//! very code that a node admits modules with.

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

#[test]
fn a_new_module_passes_its_tests_and_is_admitted() {
    let libraries = run(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]));
    if !Path::new(libraries.trim()).is_dir() {
        eprintln!("not run: `rustup target add {TARGET}` is missing");
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
    run(cargo(&module, &built).args(["build", "--offline", "--quiet", "--release", "--target", TARGET]));
    let wasm = built.join(TARGET).join("release/big_packets.wasm");
    run(como()
        .args(["module", "sign", "big-packets", "-o", "x.cmod", "--wasm"])
        .arg(&wasm));
    let signed = std::fs::read(dir.path().join("x.cmod")).unwrap();
    let module = como_modules::VerifiedModule::from_supervisor(&signed).unwrap();
    module.admit().unwrap();
}
