//! Standard modules, signed and submitted as their developer would. Must never run one itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use como_tests::standard;
use como_tests::trial::{self, Person};

/// Those that the ingest rows run live.
pub const STANDARD: [&str; 4] = ["traffic", "protocol", "topports", "flowcount"];

/// Signs a standard module into `folder` and submits it.
pub fn submit(developer: &Person, name: &str, folder: &Path) -> trial::Result<()> {
    let signed = folder.join(format!("{name}.cmod"));
    let mut sign = developer.como()?;
    sign.args(["module", "sign"])
        .arg(standard::folder(name))
        .arg("--wasm")
        .arg(guest(name)?);
    trial::run(sign.arg("-o").arg(&signed))?;
    trial::run(developer.como()?.args(["module", "submit"]).arg(&signed))?;
    Ok(())
}

/// Starts a module live, in the person's own project.
pub fn start(person: &Person, name: &str) -> trial::Result<()> {
    trial::run(person.como()?.args(["module", "start", name]))?;
    Ok(())
}

/// The guest that `make guests` compiled.
fn guest(name: &str) -> trial::Result<PathBuf> {
    let target = trial::program("como")?;
    let guests = target.ancestors().nth(2).map(|folder| folder.join("guests"));
    guests
        .map(|folder| folder.join(format!("{name}.wasm")))
        .filter(|path| path.is_file())
        .ok_or_else(|| format!("{name}.wasm is not built; `make guests` builds it"))
}

/// Runs `como` as a person, and gives its cost together with the node's.
pub fn measured(node: &trial::Node, command: &mut Command) -> trial::Result<crate::measure::Cost> {
    let before = node.cpu_s()?;
    let mut cost = crate::measure::command(command)?;
    cost.cpu_s += node.cpu_s()? - before;
    Ok(cost)
}
