//! Installed modules: their signed files and what the node knows of them, on disk, so that a restart keeps
//! everything. Must never run one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use como_anonymize::filter::Filter;
use como_capnp::wire_capnp as wire;
use como_modules::{
    KnownRelease, Manifest, RevocationList, SignedModule, Trust, TrustedDeveloper, VerifiedModule,
};
use como_policies::{AccessLevel, Action, Resource};
use serde::{Deserialize, Serialize};

use super::answers::{Refusal, Reply};
use super::audit::Event;
use super::decide::Circumstances;
use super::requests::{Arguments, ModuleName, first_line};
use super::wishes::Wish;
use super::{Supervisor, now_ns};
use crate::config::Layout;

/// Faults after which a module is on the black list.
pub const FAULTS_UNTIL_BLACKLISTED: u32 = 3;

/// What the node remembers of a module, beside its file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ModuleState {
    pub submitted_by: String,
    pub submitted_ns: u64,
    #[serde(default)]
    pub revoked: bool,
    #[serde(default)]
    pub blacklisted: bool,
    #[serde(default)]
    pub faults: u32,
    #[serde(default)]
    pub last_fault: String,
    #[serde(default)]
    pub last_stop: LastStop,
    /// Runs on the live stream that a restart starts again.
    #[serde(default)]
    pub runs: Vec<Wish>,
}

/// Why and when the last run on the live stream ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct LastStop {
    pub why: String,
    /// Wall time, ns.
    pub at_ns: u64,
}

/// One installed module.
#[derive(Clone)]
pub(super) struct Installed {
    pub manifest: Arc<Manifest>,
    /// The signed file, as submitted.
    pub file: Arc<Vec<u8>>,
    pub state: ModuleState,
}

impl Installed {
    /// All arguments by name, with the manifest's defaults; refused where one does not fit.
    pub fn resolved(&self, given: &Arguments) -> Result<Vec<(String, i64)>, Refusal> {
        let given: Vec<(String, i64)> = given.iter().map(|(n, v)| (n.clone(), *v)).collect();
        let values = self
            .manifest
            .resolve_args(&given)
            .map_err(|e| Refusal::BadArguments(first_line(&e)))?;
        Ok(self
            .manifest
            .args
            .iter()
            .map(|a| a.name.clone())
            .zip(values)
            .collect())
    }

    /// Whether its rows depend on whom pseudonyms are made for: by what it reads, or by what its own filter
    /// selects.
    pub fn has_pseudonyms(&self) -> bool {
        let level = self.manifest.level;
        let selects = |text: &str| Filter::parse(text).is_ok_and(|filter| filter.names_pseudonyms_at(level));
        level <= AccessLevel::Headers
            && (self.manifest.wants_frames
                || self.manifest.columns.iter().any(|c| c.is_pseudonymous_at(level))
                || selects(&self.manifest.filter))
    }

    /// Refused once the developer's own expiry has passed, however long ago it was installed.
    pub fn not_expired(&self) -> Result<(), Refusal> {
        if now_ns() < self.manifest.not_after_ns {
            return Ok(());
        }
        let expired = como_modules::ModuleError::Expired {
            not_after_ns: self.manifest.not_after_ns,
        };
        Err(Refusal::BadModule(expired.to_string()))
    }

    /// The audience of a run for `project`: none where no pseudonym is asked for, so that all share it.
    pub fn audience(&self, project: &str) -> String {
        if self.has_pseudonyms() {
            project.to_owned()
        } else {
            String::new()
        }
    }
}

/// All installed modules, by the SHA-256 of their code.
pub(super) struct ModuleStore {
    folder: PathBuf,
    installed: BTreeMap<[u8; 32], Installed>,
    pub revocations: RevocationList,
}

impl ModuleStore {
    /// An empty store over a folder; [`Supervisor::load_modules`] fills it.
    pub fn open(layout: &Layout, revocations: RevocationList) -> Result<Self, super::SupervisorError> {
        let folder = layout.modules();
        std::fs::create_dir_all(&folder)
            .map_err(|e| super::SupervisorError::Io(folder.display().to_string(), e))?;
        Ok(Self {
            folder,
            installed: BTreeMap::new(),
            revocations,
        })
    }

    /// All modules.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8; 32], &Installed)> {
        self.installed.iter()
    }

    /// A module by its hash.
    pub fn get(&self, hash: &[u8; 32]) -> Option<&Installed> {
        self.installed.get(hash)
    }

    /// A module by name and perhaps hash: else the newest release of that name that may run.
    pub fn find(&self, name: &ModuleName) -> Result<([u8; 32], Installed), Refusal> {
        let missing = || {
            let hash = name
                .hash
                .map_or(String::new(), |h| format!(" with hash {}", hex::encode(h)));
            Refusal::NoSuchModule(format!("there is no module `{}`{hash}", name.name.escape_debug()))
        };
        self.installed
            .iter()
            .filter(|(hash, m)| match &name.hash {
                Some(wanted) => *hash == wanted && (name.name.is_empty() || m.manifest.name == name.name),
                None => m.manifest.name == name.name && !m.state.revoked,
            })
            .max_by_key(|(_, m)| m.manifest.release)
            .map(|(hash, m)| (*hash, m.clone()))
            .ok_or_else(missing)
            .and_then(|(hash, module)| {
                if module.state.revoked {
                    let name = &module.manifest.name;
                    return Err(Refusal::NoSuchModule(format!("`{name}` was revoked here")));
                }
                Ok((hash, module))
            })
    }

    /// The newest release of a developer's module, revoked ones included: what a replay is measured by.
    fn last_release(&self, developer: &str, name: &str) -> Option<KnownRelease> {
        self.installed
            .iter()
            .filter(|(_, m)| m.manifest.developer == developer && m.manifest.name == name)
            .max_by_key(|(_, m)| m.manifest.release)
            .map(|(hash, m)| KnownRelease {
                release: m.manifest.release,
                wasm_sha256: *hash,
            })
    }

    /// Puts a module and its state on the disk, then into the store.
    pub fn put(&mut self, hash: [u8; 32], module: Installed) -> std::io::Result<()> {
        let file = self.path(&hash, "cmod");
        let stored = self.installed.get(&hash);
        if stored.is_none_or(|stored| !Arc::ptr_eq(&stored.file, &module.file)) {
            write_synced(&file, &module.file)?;
        }
        write_synced(
            &self.path(&hash, "json"),
            &serde_json::to_vec_pretty(&module.state)?,
        )?;
        self.installed.insert(hash, module);
        Ok(())
    }

    /// Changes the state of a module, on disk and here.
    pub fn update(&mut self, hash: &[u8; 32], change: impl FnOnce(&mut ModuleState)) {
        let Some(module) = self.installed.get(hash) else {
            return;
        };
        let mut module = module.clone();
        change(&mut module.state);
        if let Err(error) = self.put(*hash, module) {
            tracing::error!("state of module {}: {error}", hex::encode(hash));
        }
    }

    fn path(&self, hash: &[u8; 32], extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", hex::encode(hash)))
    }

    /// Signed files and their states, as found on the disk.
    fn on_disk(&self) -> Vec<(Vec<u8>, ModuleState)> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let files = entries
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.extension().is_some_and(|e| e == "cmod"));
        files
            .filter_map(|path| {
                let state = std::fs::read(path.with_extension("json")).ok()?;
                Some((std::fs::read(&path).ok()?, serde_json::from_slice(&state).ok()?))
            })
            .collect()
    }
}

/// Writes a file so that a crash leaves the old one or the new one.
fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let temporary = path.with_extension("tmp");
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

impl Supervisor {
    /// Reads the installed modules back. They were verified when they came; a key that was revoked since
    /// stops them at the decision.
    pub(super) fn load_modules(&mut self) {
        for (file, state) in self.modules.on_disk() {
            match VerifiedModule::from_supervisor(&file) {
                Ok(module) => {
                    let hash = module.manifest().wasm_sha256;
                    let manifest = module.manifest().clone();
                    self.modules.installed.insert(
                        hash,
                        Installed {
                            manifest,
                            file: Arc::new(file),
                            state,
                        },
                    );
                }
                Err(error) => tracing::error!("an installed module does not load: {error}"),
            }
        }
        self.settle_all();
    }

    /// Verifies and decides a module: signature, freshness and revocation first. Nothing here looks at the
    /// code; `jobs` has that done in a process without keys. True: the node has it already.
    pub(super) fn examine(
        &mut self,
        asker: &str,
        file: Vec<u8>,
    ) -> Result<([u8; 32], Installed, bool), Refusal> {
        let verified = self
            .verify_module(&file)
            .map_err(|e| Refusal::BadModule(e.to_string()))?;
        let manifest = verified.manifest().clone();
        let hash = manifest.wasm_sha256;
        if !self.config.modules.allows(&manifest.name) {
            let text = format!(
                "modules named `{}` may not be installed on this node",
                manifest.name
            );
            return Err(Refusal::Denied {
                rule: text,
                policies: vec!["modules.allow".into()],
            });
        }
        let state = ModuleState {
            submitted_by: asker.to_owned(),
            submitted_ns: now_ns(),
            revoked: false,
            blacklisted: false,
            faults: 0,
            last_fault: String::new(),
            last_stop: LastStop::default(),
            runs: Vec::new(),
        };
        self.name_is_free(&manifest)?;
        let (module, known) = match self.modules.get(&hash) {
            Some(module) if module.state.revoked => {
                return Err(Refusal::BadModule(format!(
                    "the code of `{}` was revoked on this node and does not come back\n\
                     change the code, raise `release` and sign it again",
                    module.manifest.name
                )));
            }
            Some(module) if *module.manifest == *manifest => (module.clone(), true),
            // Signed again for longer: the same module, with the past that it has here.
            Some(module) if is_renewal(&module.manifest, &manifest) => (
                Installed {
                    manifest,
                    file: Arc::new(file),
                    state: module.state.clone(),
                },
                false,
            ),
            // Endorsements and stored records name the code: it must not come back meaning something else.
            Some(_) => {
                return Err(Refusal::BadModule(
                    "this code is installed under another manifest; change the code, or what you declare of it"
                        .into(),
                ));
            }
            None => (
                Installed {
                    manifest,
                    file: Arc::new(file),
                    state,
                },
                false,
            ),
        };
        let principal = self.developer_or_partner(asker)?;
        let facts = self.module_facts(&module, &Arguments::new(), known);
        let level = Some(facts.level);
        let about = Circumstances {
            level,
            ..Circumstances::default()
        };
        self.decide(&principal, Action::SubmitModule, &Resource::Module(facts), about)?;
        if !known && self.modules.installed.len() >= self.config.modules.max_installed as usize {
            return Err(Refusal::Busy("the node has as many modules as it may".into()));
        }
        Ok((hash, module, known))
    }

    /// A name means one developer's module here: who asks for it by name must not get somebody else's.
    fn name_is_free(&self, manifest: &Manifest) -> Result<(), Refusal> {
        let taken = self.modules.iter().any(|(_, other)| {
            !other.state.revoked
                && other.manifest.name == manifest.name
                && other.manifest.developer != manifest.developer
        });
        if taken {
            return Err(Refusal::BadModule(format!(
                "another developer's module is named `{}` here; choose another name",
                manifest.name
            )));
        }
        Ok(())
    }

    fn verify_module(&self, file: &[u8]) -> Result<VerifiedModule, como_modules::ModuleError> {
        let developers: Vec<TrustedDeveloper> = self
            .registry
            .developers
            .values()
            .filter(|d| !d.revoked)
            // Keys that were replaced sign nothing any more; what they signed before was verified when it came.
            .filter_map(|d| {
                let key = como_keys::signing::VerifyingKey::from_hex(&d.key).ok()?;
                Some(TrustedDeveloper {
                    id: d.id.to_string(),
                    key,
                })
            })
            .collect();
        let last_release = |developer: &str, name: &str| self.modules.last_release(developer, name);
        SignedModule::parse(file)?.verify(&Trust {
            developers: &developers,
            revocations: &self.modules.revocations,
            now_ns: now_ns(),
            last_release: &last_release,
        })
    }

    /// Withdraws a module: it stops at once and never runs again.
    pub(super) fn revoke_module(&mut self, asker: &str, name: &ModuleName) -> Result<Reply, Refusal> {
        let (hash, module) = self.modules.find(name)?;
        let principal = self.developer_or_partner(asker)?;
        let facts = self.module_facts(&module, &Arguments::new(), true);
        self.decide(
            &principal,
            Action::Revoke,
            &Resource::Module(facts),
            Circumstances::default(),
        )?;
        self.stop_runs_of(&hash, "revoked");
        self.modules.update(&hash, |state| {
            state.revoked = true;
            state.runs.clear();
        });
        self.decide_jobs_again();
        let hash_hex = hex::encode(hash);
        self.log(&Event::Revoked {
            asker,
            module: &module.manifest.name,
            hash: &hash_hex,
        });
        Ok(Reply::ok(
            serde_json::json!({ "name": module.manifest.name, "hash": hash_hex, "revoked": true }),
        ))
    }

    /// A module misbehaved, live or in a query.
    pub(super) fn count_fault(&mut self, hash: &[u8; 32], what: &str) {
        self.modules.update(hash, |state| {
            state.faults += 1;
            state.last_fault = what.to_owned();
            state.blacklisted |= state.faults >= FAULTS_UNTIL_BLACKLISTED;
        });
        let (faults, blacklisted) = self
            .modules
            .get(hash)
            .map_or((1, false), |m| (m.state.faults, m.state.blacklisted));
        self.log(&Event::ModuleFault {
            hash: &hex::encode(hash),
            what,
            faults,
            blacklisted,
        });
        if blacklisted {
            self.stop_runs_of(hash, "on the black list");
            self.modules.update(hash, |state| state.runs.clear());
            self.decide_jobs_again();
        }
    }

    /// Whether a module may run here at all, whoever wants it: by time, by revocation lists, by its developer's keys.
    pub(super) fn may_be_run(&self, module: &Installed) -> Result<(), Refusal> {
        let manifest = &module.manifest;
        if module.state.revoked {
            let what = format!("`{}` was revoked here", manifest.name);
            return Err(Refusal::NoSuchModule(what));
        }
        module.not_expired()?;
        let lists = &self.modules.revocations;
        lists
            .check_fresh(now_ns())
            .and_then(|()| lists.check(&manifest.key_id, &manifest.wasm_sha256))
            .map_err(|e| Refusal::BadModule(e.to_string()))?;
        let developer = self.registry.developer(&manifest.developer);
        if developer.is_some_and(|(_, d)| d.has_revoked(&manifest.key_id)) {
            return Err(Refusal::Denied {
                rule: "The key that signed this module was revoked.".into(),
                policies: vec!["guard-module-key-revoked".into()],
            });
        }
        Ok(())
    }
}

/// Whether `new` says the same as `old`, but for release, version, expiry and signing key.
fn is_renewal(old: &Manifest, new: &Manifest) -> bool {
    let mut same = old.clone();
    same.release = new.release;
    same.version.clone_from(&new.version);
    same.not_after_ns = new.not_after_ns;
    // Its developer may have a new key.
    same.key_id = new.key_id;
    new.release >= old.release && same == *new
}

/// Fills a module run for the process that runs it.
pub(super) fn fill_run(
    mut to: wire::module_run::Builder<'_>,
    module: &Installed,
    instance: u64,
    arguments: &[(String, i64)],
    audience: &str,
    window: (u64, u64),
) {
    to.set_instance(instance);
    to.set_module(&module.file);
    to.set_audience(audience);
    to.set_from_ns(window.0);
    to.set_to_ns(window.1);
    let mut list = to.init_arguments(arguments.len() as u32);
    for (i, (name, value)) in arguments.iter().enumerate() {
        let mut argument = list.reborrow().get(i as u32);
        argument.set_name(name);
        argument.set_value(*value);
    }
}
