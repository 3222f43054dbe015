//! From what a developer has at hand (a folder, a .wasm file, a .cmod file) to a module that passed a node's admission.
//! Must never run one.

use std::path::{Path, PathBuf};

use como_keys::signing::SigningKey;
use como_modules::{AdmittedModule, Manifest, ModuleError, SignedModule, VerifiedModule};
use como_policies::AccessLevel;

use super::build::build;
use crate::error::{ClientError, Result};
use crate::keys::{read_file, read_text};
use crate::request::MAX_MODULE_BYTES;

/// Largest module.toml that is read, in bytes.
const MAX_TOML_BYTES: u64 = 256 << 10;
/// The manifest beside a module's code.
const MANIFEST: &str = "module.toml";
/// Who a module is of that nobody signed.
const NOBODY: &str = "spiffe://local/developer/unsigned";

/// The code and the manifest of `what`: of a folder, which is built; of a .wasm file, whose module.toml is looked for
/// in its folder and those above. `manifest` names another one.
pub fn find(what: &Path, manifest: Option<&Path>) -> Result<(PathBuf, PathBuf)> {
    let beside = if what.is_dir() {
        Some(what.join(MANIFEST))
    } else {
        above(what)
    };
    let manifest = manifest.map(Path::to_owned).or(beside).ok_or_else(|| {
        ClientError::usage(
            format!("there is no {MANIFEST} beside {} or above it", what.display()),
            "name it with --manifest FILE",
        )
    })?;
    let wasm = match what.is_dir() {
        true => build(
            what,
            || Ok(manifest_of(&manifest, NOBODY, u64::MAX)?.memory_bytes),
        )?,
        false => what.to_owned(),
    };
    Ok((wasm, manifest))
}

fn above(file: &Path) -> Option<PathBuf> {
    let file = file.canonicalize().ok()?;
    let folders = file.ancestors().skip(1);
    folders
        .map(|folder| folder.join(MANIFEST))
        .find(|manifest| manifest.is_file())
}

/// The manifest in a module.toml, or of a folder that has one.
pub fn manifest_of(path: &Path, developer: &str, not_after_ns: u64) -> Result<Manifest> {
    let path = if path.is_dir() {
        path.join(MANIFEST)
    } else {
        path.to_owned()
    };
    let toml = read_text(&path, MAX_TOML_BYTES)?;
    Manifest::from_toml(&toml, developer, not_after_ns).map_err(|error| of_module(&path, &error))
}

/// Passes a module through the checks of a node, but for those of its origin. `level`: read at another level than
/// the manifest says, as a release with that level would.
pub fn load(what: &Path, manifest: Option<&Path>, level: Option<AccessLevel>) -> Result<AdmittedModule> {
    let signed = what.extension().is_some_and(|ending| ending == "cmod");
    let (mut manifest, wasm, named) = if signed {
        let bytes = read_file(what, MAX_MODULE_BYTES)?;
        let module = VerifiedModule::from_supervisor(&bytes).map_err(|error| of_module(what, &error))?;
        (
            Manifest::clone(module.manifest()),
            module.wasm().to_vec(),
            what.to_owned(),
        )
    } else {
        let (wasm, manifest) = find(what, manifest)?;
        let code = read_file(&wasm, MAX_MODULE_BYTES)?;
        if !code.starts_with(b"\0asm") {
            return Err(not_wasm(&wasm));
        }
        (manifest_of(&manifest, NOBODY, u64::MAX)?, code, wasm)
    };
    if let Some(level) = level {
        manifest.level = level;
    }
    admit(&manifest, &wasm).map_err(|error| of_module(&named, &error))
}

/// The types allow only signed code to be admitted, so that this is signed too: by a key that nobody keeps.
pub(super) fn admit(manifest: &Manifest, wasm: &[u8]) -> std::result::Result<AdmittedModule, ModuleError> {
    let signed = SignedModule::sign(manifest, wasm, &SigningKey::generate())?;
    VerifiedModule::from_supervisor(&signed)?.admit()
}

/// What begins otherwise than WebAssembly.
pub(crate) fn not_wasm(file: &Path) -> ClientError {
    ClientError::input(
        format!("{} is not WebAssembly", file.display()),
        "build the module with `como module build`",
    )
}

/// The library names `module.toml`, or no file at all; a person wants to know which one.
pub(crate) fn of_module(file: &Path, error: &ModuleError) -> ClientError {
    let (what, fix) = crate::error::split(&error.to_string());
    ClientError::input(format!("{}: {what}", file.display()), fix)
}
