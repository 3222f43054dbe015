//! Reads and checks the registry.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use como_keys::pki::serial_of;
use como_keys::signing::{KeyId, VerifyingKey};
use como_policies::Principal;

use super::entries::{Authority, Developer, Endorsement, Partner, RegistryName};
use crate::config::Layout;

/// A registry that cannot be used. The operator acts.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A file or folder cannot be read or written.
    #[error("{}: {why}\ncheck that this user may use the registry folder", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        why: std::io::Error,
    },
    /// An entry is wrong.
    #[error("{}: {what}\n{fix}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// What to do.
        fix: String,
    },
}

/// All entries, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// Partners by name.
    pub partners: BTreeMap<String, Partner>,
    /// Developers by name.
    pub developers: BTreeMap<String, Developer>,
    /// Endorsements by module name.
    pub endorsements: BTreeMap<String, Endorsement>,
    /// Authorities by name, without the node's own.
    pub authorities: BTreeMap<String, Authority>,
}

impl Registry {
    /// Reads and checks the registry of a node.
    pub fn load(layout: &Layout) -> Result<Self, RegistryError> {
        let registry = Self {
            partners: load_folder(layout, PARTNERS, Partner::check)?,
            developers: load_folder(layout, DEVELOPERS, Developer::check)?,
            endorsements: load_folder(layout, ENDORSEMENTS, Endorsement::check)?,
            authorities: load_folder(layout, AUTHORITIES, Authority::check)?,
        };
        registry.no_id_twice(layout)?;
        Ok(registry)
    }

    /// One SPIFFE id is one partner and at most one developer: which of two entries counted would be chance.
    fn no_id_twice(&self, layout: &Layout) -> Result<(), RegistryError> {
        let partners = self.partners.iter().map(|(name, p)| (PARTNERS, name, &p.id));
        let developers = self.developers.iter().map(|(name, d)| (DEVELOPERS, name, &d.id));
        let mut seen = BTreeMap::new();
        for (folder, name, id) in partners.chain(developers) {
            if let Some(first) = seen.insert((folder, id.as_str()), name) {
                return Err(RegistryError::Invalid {
                    path: entry_path(layout, folder, name),
                    what: format!("{id} is registered as `{first}` already"),
                    fix: "remove one of the two files".to_owned(),
                });
            }
        }
        Ok(())
    }

    /// The partner with this SPIFFE id.
    pub fn partner(&self, id: &str) -> Option<(&str, &Partner)> {
        let found = self
            .partners
            .iter()
            .find(|(_, partner)| partner.id.as_str() == id)?;
        Some((found.0, found.1))
    }
    /// The developer with this SPIFFE id.
    pub fn developer(&self, id: &str) -> Option<(&str, &Developer)> {
        let found = self
            .developers
            .iter()
            .find(|(_, developer)| developer.id.as_str() == id)?;
        Some((found.0, found.1))
    }
    /// The endorsement that holds for a module and these arguments.
    pub fn endorsement(&self, hash_hex: &str, arguments: &[(String, i64)]) -> Option<&Endorsement> {
        self.endorsements
            .values()
            .find(|endorsement| endorsement.hash == hash_hex && endorsement.covers(arguments))
    }
}

impl Endorsement {
    /// Whether it was given for these arguments.
    pub fn covers(&self, arguments: &[(String, i64)]) -> bool {
        arguments.iter().all(|(name, value)| {
            self.arguments
                .get(name)
                .is_none_or(|(min, max)| (min..=max).contains(&value))
        })
    }
}

impl Partner {
    /// What policy is told of it.
    pub fn principal(&self) -> Principal {
        Principal::Partner {
            id: self.id.to_string(),
            organisation: self.organisation.clone(),
            project: self.project.clone(),
            ceiling: self.ceiling,
            may_plug_in: self.may_plug_in,
            suspended: self.suspended || self.revoked,
            listed: true,
        }
    }
}

impl Developer {
    /// What policy is told of it.
    pub fn principal(&self) -> Principal {
        Principal::Developer {
            id: self.id.to_string(),
            organisation: self.id.organisation().to_owned(),
            ceiling: self.ceiling,
            output_ceiling: self.output_ceiling,
            key_revoked: self.revoked,
        }
    }

    /// Whether it had this key, and what the key signed runs no more.
    pub fn has_revoked(&self, id: &KeyId) -> bool {
        self.revoked_keys
            .iter()
            .filter_map(|hex| VerifyingKey::from_hex(hex).ok())
            .any(|key| key.key_id() == *id)
    }

    /// What policy is told of it where one of its modules is the resource.
    pub fn facts(&self) -> como_policies::DeveloperFacts {
        como_policies::DeveloperFacts {
            id: self.id.to_string(),
            ceiling: self.ceiling,
            output_ceiling: self.output_ceiling,
            key_revoked: self.revoked,
        }
    }
}

/// Largest registry file, bytes.
pub const MAX_ENTRY_BYTES: u64 = 1 << 20;
/// Most entries of a kind.
pub const MAX_ENTRIES: usize = 10_000;
/// Length of an X-Wing public key in hex digits.
const RECIPIENT_HEX_DIGITS: usize = 2 * 1216;

pub(super) const PARTNERS: &str = super::FOLDERS[0];
pub(super) const DEVELOPERS: &str = super::FOLDERS[1];
pub(super) const ENDORSEMENTS: &str = super::FOLDERS[2];
pub(super) const AUTHORITIES: &str = super::FOLDERS[3];
pub(super) const REVOCATIONS: &str = super::FOLDERS[4];

/// What a check finds: what is wrong, and what to do.
type Finding = Result<(), (String, String)>;

fn load_folder<T: serde::de::DeserializeOwned>(
    layout: &Layout,
    folder: &str,
    check: fn(&T) -> Finding,
) -> Result<BTreeMap<String, T>, RegistryError> {
    let path = layout.registry().join(folder);
    let unreadable = |why| RegistryError::File {
        path: path.clone(),
        why,
    };
    let mut entries = BTreeMap::new();
    for file in std::fs::read_dir(&path).map_err(unreadable)? {
        let file = file.map_err(unreadable)?.path();
        let Some(name) = file
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".toml"))
        else {
            continue;
        };
        let invalid = |what: String, fix: String| RegistryError::Invalid {
            path: file.clone(),
            what,
            fix,
        };
        name.parse::<RegistryName>()
            .map_err(|what| invalid(what, "rename the file".to_owned()))?;
        if entries.len() == MAX_ENTRIES {
            return Err(invalid(
                format!("there are more than {MAX_ENTRIES} entries"),
                "remove those that nobody needs".to_owned(),
            ));
        }
        let entry: T = toml::from_str(&read_bounded(&file)?)
            .map_err(|e| invalid(e.to_string().trim_end().to_owned(), FIX_ENTRY.to_owned()))?;
        check(&entry).map_err(|(what, fix)| invalid(what, fix))?;
        entries.insert(name.to_owned(), entry);
    }
    Ok(entries)
}

const FIX_ENTRY: &str = "correct the file, or remove it and register again from the card";

/// Reads a text file of at most [`MAX_ENTRY_BYTES`].
pub(crate) fn read_bounded(path: &Path) -> Result<String, RegistryError> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_ENTRY_BYTES + 1).read_to_string(&mut text))
        .and_then(|bytes| match bytes as u64 > MAX_ENTRY_BYTES {
            true => Err(std::io::Error::other(format!(
                "larger than {MAX_ENTRY_BYTES} bytes"
            ))),
            false => Ok(()),
        })
        .map_err(|why| RegistryError::File {
            path: path.to_owned(),
            why,
        })?;
    Ok(text)
}

/// The name of an entry's file.
pub(super) fn entry_path(layout: &Layout, folder: &str, name: &str) -> PathBuf {
    layout.registry().join(folder).join(format!("{name}.toml"))
}

fn ed25519(key: &str) -> Finding {
    VerifyingKey::from_hex(key).map(drop).map_err(|e| {
        let text = e.to_string();
        let (what, fix) = text.split_once('\n').unwrap_or((&text, FIX_ENTRY));
        (what.to_owned(), fix.to_owned())
    })
}

impl Partner {
    pub(crate) fn check(&self) -> Finding {
        ed25519(&self.request_key)?;
        if self.organisation != self.id.organisation() {
            return Err((
                format!("`{}` is not the organisation of {}", self.organisation, self.id),
                FIX_ENTRY.to_owned(),
            ));
        }
        if self.project.is_empty() {
            return Err((
                "the project is empty".to_owned(),
                "name the project that its pseudonyms are for".to_owned(),
            ));
        }
        hex::decode(&self.dataset_recipient)
            .ok()
            .filter(|_| self.dataset_recipient.len() == RECIPIENT_HEX_DIGITS)
            .and_then(|bytes| como_keys::sealing::Recipient::from_bytes(&bytes).ok())
            .ok_or_else(|| {
                (
                    "the dataset recipient is not an X-Wing public key".to_owned(),
                    FIX_ENTRY.to_owned(),
                )
            })?;
        match self
            .certificate_serials
            .iter()
            .find(|serial| hex::decode(serial).is_err())
        {
            Some(serial) => Err((
                format!("`{serial}` is not a serial number in hex"),
                FIX_ENTRY.to_owned(),
            )),
            None => Ok(()),
        }
    }
}

impl Developer {
    pub(crate) fn check(&self) -> Finding {
        let former = self.retired_keys.iter().chain(&self.revoked_keys);
        former.chain([&self.key]).try_for_each(|key| ed25519(key))?;
        ed25519(&self.request_key)
    }
}

impl Endorsement {
    pub(crate) fn check(&self) -> Finding {
        let well_formed = self.hash.len() == 64
            && hex::decode(&self.hash).is_ok_and(|_| !self.hash.contains(char::is_uppercase));
        if !well_formed {
            return Err((
                format!("`{}` is not the hash of a module", self.hash.escape_debug()),
                "write 64 lower-case hex digits, as `como module list` shows them".to_owned(),
            ));
        }
        match self.arguments.iter().find(|(_, (min, max))| min > max) {
            Some((name, _)) => Err((
                format!("the range of `{name}` is inverted"),
                "write the smaller value first".to_owned(),
            )),
            None => Ok(()),
        }
    }
}

impl Authority {
    pub(crate) fn check(&self) -> Finding {
        // A SPIFFE id under the domain is well formed exactly if the domain is.
        format!("spiffe://{}/o/n", self.domain)
            .parse::<crate::config::SpiffeId>()
            .map_err(|_| {
                (
                    format!("`{}` is not a trust domain", self.domain.escape_debug()),
                    "write it as in consortium.example".to_owned(),
                )
            })?;
        serial_of(&self.certificate).map(drop).map_err(|_| {
            (
                "the certificate is not a PEM certificate".to_owned(),
                "copy the authority's certificate whole, with its BEGIN and END lines".to_owned(),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{RegistryName, save_developer, save_partner};
    use como_keys::{sealing::Identity, signing::SigningKey};
    use como_policies::AccessLevel;

    fn node() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        for folder in layout.folders() {
            std::fs::create_dir_all(folder).unwrap();
        }
        (dir, layout)
    }

    fn alice() -> Partner {
        Partner {
            id: "spiffe://c.example/uni-a/alice".parse().unwrap(),
            organisation: "uni-a".to_owned(),
            project: "traffic-study".to_owned(),
            ceiling: AccessLevel::Anonymized,
            may_plug_in: false,
            suspended: false,
            revoked: false,
            request_key: SigningKey::generate().verifying_key().hex(),
            dataset_recipient: hex::encode(Identity::generate().recipient().to_bytes()),
            certificate_serials: vec!["0a".to_owned()],
            revoked_serials: Vec::new(),
        }
    }

    fn name(text: &str) -> RegistryName {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_saved_is_loaded_and_found_by_id() {
        let (_dir, layout) = node();
        let developer = Developer {
            id: "spiffe://c.example/uni-a/alice".parse().unwrap(),
            key: SigningKey::generate().verifying_key().hex(),
            request_key: SigningKey::generate().verifying_key().hex(),
            certificate_serials: vec!["0a".into()],
            ceiling: AccessLevel::Headers,
            output_ceiling: AccessLevel::Coarse,
            revoked: true,
            revoked_serials: Vec::new(),
            retired_keys: Vec::new(),
            revoked_keys: Vec::new(),
        };
        save_partner(&layout, &name("alice"), &alice()).unwrap();
        save_developer(&layout, &name("alice"), &developer).unwrap();
        let registry = Registry::load(&layout).unwrap();
        assert_eq!(
            registry.partner("spiffe://c.example/uni-a/alice").unwrap().0,
            "alice"
        );
        assert_eq!(
            registry.developer("spiffe://c.example/uni-a/alice"),
            Some(("alice", &developer))
        );
        assert!(registry.partner("spiffe://c.example/uni-a/bob").is_none());
    }

    #[test]
    fn a_revoked_partner_is_suspended_for_policy() {
        let principal = Partner {
            revoked: true,
            ..alice()
        }
        .principal();
        assert!(matches!(principal, Principal::Partner { suspended: true, .. }));
    }

    #[test]
    fn wrong_entries_are_refused_with_their_file() {
        type Spoil = fn(&mut Partner);
        let cases: [(Spoil, &str); 4] = [
            (|p| p.request_key = "00".repeat(32), "small order"),
            (|p| p.organisation = "uni-b".to_owned(), "not the organisation"),
            (|p| p.dataset_recipient.truncate(20), "X-Wing"),
            (|p| p.project.clear(), "project is empty"),
        ];
        for (spoil, words) in cases {
            let (_dir, layout) = node();
            let mut partner = alice();
            spoil(&mut partner);
            std::fs::write(
                entry_path(&layout, PARTNERS, "alice"),
                toml::to_string(&partner).unwrap(),
            )
            .unwrap();
            let error = Registry::load(&layout).unwrap_err().to_string();
            assert!(
                error.contains("partners/alice.toml") && error.contains(words),
                "{error}"
            );
        }
    }

    #[test]
    fn unknown_keys_and_second_entries_are_refused() {
        let (_dir, layout) = node();
        save_partner(&layout, &name("alice"), &alice()).unwrap();
        save_partner(&layout, &name("alice2"), &alice()).unwrap();
        let error = Registry::load(&layout).unwrap_err().to_string();
        assert!(error.contains("registered as `alice` already"), "{error}");
        let text = toml::to_string(&alice()).unwrap() + "cieling = \"payload\"\n";
        std::fs::write(entry_path(&layout, PARTNERS, "alice"), text).unwrap();
        let error = Registry::load(&layout).unwrap_err().to_string();
        assert!(error.contains("cieling"), "{error}");
    }

    #[test]
    fn an_endorsement_holds_within_its_ranges_only() {
        let endorsement = Endorsement {
            hash: "ab".repeat(32),
            output_level: AccessLevel::Aggregate,
            arguments: BTreeMap::from([("n".to_owned(), (1, 20))]),
        };
        endorsement.check().unwrap();
        assert!(endorsement.covers(&[("n".to_owned(), 20), ("other".to_owned(), 5)]));
        assert!(!endorsement.covers(&[("n".to_owned(), 21)]));
    }
}
