//! Revocation lists of modules and of developers' keys, one of each issuer: the node itself, and those whose keys the
//! configuration names. Must never go back to a lower number, whoever put the file there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use como_keys::signing::VerifyingKey;
use como_modules::RevocationList;

use super::load::{REVOCATIONS, RegistryError};
use super::replace;
use crate::config::Layout;

/// Largest list, bytes.
pub const MAX_LIST_BYTES: u64 = 4 << 20;
/// How a list's file ends; its name is the id of the issuer's key.
const EXTENSION: &str = "list";

/// The lists in force.
#[derive(Clone, Debug)]
pub struct Revocations {
    /// All of them as one: what any of them revokes, until the first expires.
    pub merged: RevocationList,
    /// Numbers by the id of the issuer's key.
    numbers: BTreeMap<String, u64>,
}

impl Revocations {
    /// Reads and verifies the lists of all issuers. Refused where one has a lower number than was in force before, or
    /// is gone: an old file that is put back must not bring a revoked module back.
    pub fn load(layout: &Layout, issuers: &[VerifyingKey]) -> Result<Self, RegistryError> {
        let mut numbers = remembered(layout)?;
        let mut merged = RevocationList::initial();
        for issuer in issuers {
            let (id, path) = (issuer.key_id().to_string(), list_path(layout, issuer));
            let known = numbers.get(&id).copied().unwrap_or(0);
            if !path.exists() && known == 0 {
                continue;
            }
            // Whether it is still good is asked whenever a module is to run.
            let list = RevocationList::verify(&read_list(&path)?, issuer, known, 0)
                .map_err(|error| invalid(&path, &error))?;
            numbers.insert(id, list.number);
            merge(&mut merged, list);
        }
        no_stranger(layout, issuers)?;
        Ok(Self { merged, numbers })
    }

    /// Writes the numbers down, before the lists are relied on.
    pub fn remember(&self, layout: &Layout) -> Result<(), RegistryError> {
        let path = layout.revocation_numbers();
        let text = serde_json::to_vec(&self.numbers).expect("numbers are plain data");
        replace(&path, &text).map_err(|why| RegistryError::File { path, why })
    }
}

/// The file of an issuer's list.
pub fn list_path(layout: &Layout, issuer: &VerifyingKey) -> PathBuf {
    let name = format!("{}.{EXTENSION}", issuer.key_id());
    layout.registry().join(REVOCATIONS).join(name)
}

/// Reads a list's file of at most [`MAX_LIST_BYTES`].
pub fn read_list(path: &Path) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_LIST_BYTES + 1).read_to_end(&mut bytes))
        .and_then(|read| match read as u64 > MAX_LIST_BYTES {
            true => Err(std::io::Error::other(format!(
                "larger than {MAX_LIST_BYTES} bytes"
            ))),
            false => Ok(bytes),
        })
        .map_err(|why| RegistryError::File {
            path: path.to_owned(),
            why,
        })
}

fn remembered(layout: &Layout) -> Result<BTreeMap<String, u64>, RegistryError> {
    let path = layout.revocation_numbers();
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let text = super::read_bounded(&path)?;
    serde_json::from_str(&text).map_err(|why| RegistryError::Invalid {
        path,
        what: format!("the numbers of revocation lists do not read: {why}"),
        fix: "restore the file from a copy; without it an old list could come back".to_owned(),
    })
}

fn merge(into: &mut RevocationList, list: RevocationList) {
    into.number = into.number.max(list.number);
    into.issued_ns = into.issued_ns.max(list.issued_ns);
    into.expires_ns = into.expires_ns.min(list.expires_ns);
    into.keys.extend(list.keys);
    into.modules.extend(list.modules);
}

/// A list of an issuer whom the configuration does not name would be silently without effect.
fn no_stranger(layout: &Layout, issuers: &[VerifyingKey]) -> Result<(), RegistryError> {
    let folder = layout.registry().join(REVOCATIONS);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return Ok(()); // A node from before there were lists.
    };
    let known: Vec<PathBuf> = issuers.iter().map(|key| list_path(layout, key)).collect();
    let is_list = |path: &PathBuf| path.extension().is_some_and(|e| e == EXTENSION);
    let mut lists = entries.flatten().map(|entry| entry.path()).filter(is_list);
    match lists.find(|path| !known.contains(path)) {
        None => Ok(()),
        Some(path) => Err(RegistryError::Invalid {
            path,
            what: "a revocation list of an issuer whom this node does not know".to_owned(),
            fix: "name its key in `[modules] revocation_keys`, or remove the file".to_owned(),
        }),
    }
}

fn invalid(path: &Path, error: &como_modules::ModuleError) -> RegistryError {
    let text = error.to_string();
    let (what, fix) = text
        .split_once('\n')
        .unwrap_or((&text, "restore the newest list"));
    RegistryError::Invalid {
        path: path.to_owned(),
        what: what.to_owned(),
        fix: fix.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use como_keys::signing::SigningKey;

    struct Site {
        folder: tempfile::TempDir,
        own: SigningKey,
        other: SigningKey,
    }

    impl Site {
        fn new() -> Self {
            let site = Self {
                folder: tempfile::tempdir().unwrap(),
                own: SigningKey::from_bytes(&[1; 32]),
                other: SigningKey::from_bytes(&[2; 32]),
            };
            site.layout().folders().iter().for_each(|folder| {
                std::fs::create_dir_all(folder).unwrap();
            });
            site
        }

        fn layout(&self) -> Layout {
            Layout::new(self.folder.path())
        }

        fn put(&self, key: &SigningKey, number: u64, module: u8) {
            let mut list = RevocationList::initial();
            list.number = number;
            list.modules.insert([module; 32]);
            std::fs::write(list_path(&self.layout(), &key.verifying_key()), list.sign(key)).unwrap();
        }

        fn load(&self) -> Result<Revocations, String> {
            let issuers = [self.own.verifying_key(), self.other.verifying_key()];
            let loaded = Revocations::load(&self.layout(), &issuers).map_err(|e| e.to_string())?;
            loaded.remember(&self.layout()).unwrap();
            Ok(loaded)
        }
    }

    #[test]
    fn what_any_issuer_revokes_is_revoked() {
        let site = Site::new();
        assert!(site.load().unwrap().merged.modules.is_empty());
        site.put(&site.own, 1, 7);
        site.put(&site.other, 40, 8);
        let merged = site.load().unwrap().merged;
        assert_eq!((merged.number, merged.modules.len()), (40, 2));
    }

    #[test]
    fn no_list_goes_back_to_a_lower_number_or_away() {
        let site = Site::new();
        site.put(&site.own, 2, 7);
        site.load().unwrap();
        site.put(&site.own, 1, 9);
        let told = site.load().unwrap_err();
        assert!(told.contains("number 1") && told.lines().count() == 2, "{told}");
        std::fs::remove_file(list_path(&site.layout(), &site.own.verifying_key())).unwrap();
        assert!(site.load().is_err(), "gone is older than any number");
        site.put(&site.own, 3, 9);
        assert_eq!(site.load().unwrap().merged.number, 3);
    }

    #[test]
    fn a_list_of_a_stranger_or_a_changed_one_is_refused_with_its_file() {
        let site = Site::new();
        site.put(&site.own, 1, 7);
        let path = list_path(&site.layout(), &site.own.verifying_key());
        let good = std::fs::read(&path).unwrap();
        for bit in (0..good.len() * 8).step_by(7) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bad).unwrap();
            // A bit that nothing reads (padding) leaves the list what it was.
            if let Ok(loaded) = site.load() {
                assert!(loaded.merged.modules.contains(&[7; 32]), "bit {bit}");
            }
        }
        std::fs::write(&path, &good).unwrap();
        let stranger = SigningKey::from_bytes(&[3; 32]);
        site.put(&stranger, 1, 7);
        let told = site.load().unwrap_err();
        assert!(
            told.contains("revocation_keys") && told.contains(".list"),
            "{told}"
        );
    }
}
