//! The key file on disk. One clear line, `como-keys 1 {"salt":...,"passphrase":...}`, then the sealed body:
//! ChaCha20-Poly1305 under HKDF(root secret, salt), the line as associated data. Every save takes a fresh
//! salt, so no key seals twice and a copy of an older file opens nothing newer. Must never leave a half
//! written file: it is replaced at once.
//!
//! The body is a list of entries, each one tag byte and its fields, integers big-endian:
//!
//! | tag | entry | fields |
//! |---|---|---|
//! | 1 | node signing key | seed 32 |
//! | 2 | trace identity | epoch u32, section u8, seed 32 |
//! | 3 | record identity | epoch u32, output level u8, seed 32 |
//! | 4 | mapping key | epoch u32, key 32 |
//! | 5 | audience key | epoch u32, key 32, name length u16, name |
//! | 6, 7, 8 | destroyed trace, records, mapping epoch | epoch u32 |
//! | 9 | payload recipient whose identity is kept off the node | public key 1216 |
//! | 10 | former node signing key | public key 32 |

use super::{Keyring, Section};
use crate::aead::DataKey;
use crate::mapping::MappingKey;
use crate::root::{PassphraseParams, RootSecret};
use crate::sealing::{Identity, RECIPIENT_BYTES, Recipient};
use crate::signing::{SigningKey, VerifyingKey};
use crate::{KeyError, files, labels};
use hkdf::Hkdf;
use sha2::Sha256;
use std::path::Path;
use zeroize::Zeroizing;

const MAGIC: &str = "como-keys 1 ";
/// Longest clear line of a key file, bytes.
const MAX_HEAD_BYTES: usize = 4096;

const NODE_SIGNING: u8 = 1;
const TRACE: u8 = 2;
const RECORDS: u8 = 3;
const MAPPING: u8 = 4;
const AUDIENCE: u8 = 5;
const DESTROYED_TRACE: u8 = 6;
const DESTROYED_RECORDS: u8 = 7;
const DESTROYED_MAPPING: u8 = 8;
const OFF_NODE_PAYLOAD: u8 = 9;
const FORMER_NODE_KEY: u8 = 10;

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    salt: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    passphrase: Option<PassphraseParams>,
}

/// The passphrase parameters of a key file; `None` where a file or a credential holds its root secret.
pub fn passphrase_params(path: &Path) -> Result<Option<PassphraseParams>, KeyError> {
    let bytes = files::read_secret(path)?;
    Ok(split(path, &bytes)?.1.passphrase)
}

pub(super) fn save(keyring: &Keyring, path: &Path, root: &RootSecret) -> Result<(), KeyError> {
    let head = Head {
        salt: hex::encode(crate::random::<32>()),
        passphrase: root.passphrase_params().cloned(),
    };
    let line = format!(
        "{MAGIC}{}\n",
        serde_json::to_string(&head).expect("a head is plain data")
    );
    let mut body = encode(keyring);
    file_key(root, &head.salt)
        .cipher()
        .seal(0, true, line.as_bytes(), &mut body);
    let mut file = line.into_bytes();
    file.extend_from_slice(&body);
    files::replace_secret(path, &file)
}

pub(super) fn load(path: &Path, root: &RootSecret) -> Result<Keyring, KeyError> {
    let bytes = files::read_secret(path)?;
    let (line, head, sealed) = split(path, &bytes)?;
    let mut body = Zeroizing::new(sealed.to_vec());
    file_key(root, &head.salt)
        .cipher()
        .open(0, true, line, &mut body)
        .map_err(|_| KeyError::DoesNotOpen { what: "the key file" })?;
    decode(&body).map_err(|why| malformed(path, why))
}

fn file_key(root: &RootSecret, salt: &str) -> DataKey {
    let mut key = Zeroizing::new([0u8; 32]);
    Hkdf::<Sha256>::new(Some(salt.as_bytes()), root.expose())
        .expand_multi_info(
            &[labels::PREFIX.as_bytes(), labels::KEY_FILE.as_bytes()],
            &mut key[..],
        )
        .expect("32 bytes are one hash");
    DataKey::from_bytes(&key)
}

/// The clear line with its newline, what it says, and the sealed body.
fn split<'a>(path: &Path, bytes: &'a [u8]) -> Result<(&'a [u8], Head, &'a [u8]), KeyError> {
    let end = bytes.iter().take(MAX_HEAD_BYTES).position(|byte| *byte == b'\n');
    let (line, sealed) = bytes.split_at(end.ok_or_else(|| malformed(path, "it has no head line"))? + 1);
    let head = line
        .strip_prefix(MAGIC.as_bytes())
        .ok_or_else(|| malformed(path, "it is not a key file of version 1"))?;
    let head = serde_json::from_slice(head).map_err(|_| malformed(path, "its head line is damaged"))?;
    Ok((line, head, sealed))
}

fn malformed(path: &Path, why: &str) -> KeyError {
    KeyError::Malformed {
        what: path.display().to_string(),
        why: why.to_owned(),
        fix: "check that it is the key file, and that this program is not older than the file",
    }
}

/// Sized before it is filled: a growing vector would leave unwiped copies behind. Sealed in place.
fn encode(keyring: &Keyring) -> Vec<u8> {
    let names: usize = keyring.audiences.keys().map(|(_, name)| name.len()).sum();
    let bytes = 33
        + 38 * (keyring.trace.len() + keyring.records.len())
        + 37 * keyring.mappings.len()
        + 39 * keyring.audiences.len()
        + names
        + 5 * (keyring.destroyed_trace.len()
            + keyring.destroyed_records.len()
            + keyring.destroyed_mappings.len())
        + keyring
            .off_node_payload
            .as_ref()
            .map_or(0, |_| 1 + RECIPIENT_BYTES)
        + 33 * keyring.former_node_keys.len();
    let mut body = Vec::with_capacity(bytes + crate::aead::TAG_BYTES);
    let mut entry = |tag: u8, fields: &[&[u8]]| {
        body.push(tag);
        fields.iter().for_each(|field| body.extend_from_slice(field));
    };
    entry(NODE_SIGNING, &[keyring.node_signing.expose()]);
    for ((epoch, section), identity) in &keyring.trace {
        entry(
            TRACE,
            &[&epoch.to_be_bytes(), &[*section as u8], &identity.to_bytes()[..]],
        );
    }
    for ((epoch, level), identity) in &keyring.records {
        entry(
            RECORDS,
            &[&epoch.to_be_bytes(), &[*level], &identity.to_bytes()[..]],
        );
    }
    for (epoch, key) in &keyring.mappings {
        entry(MAPPING, &[&epoch.to_be_bytes(), key.expose()]);
    }
    for ((epoch, name), key) in &keyring.audiences {
        let length = u16::try_from(name.len()).expect("audience names are checked when they are made");
        entry(
            AUDIENCE,
            &[
                &epoch.to_be_bytes(),
                key.expose(),
                &length.to_be_bytes(),
                name.as_bytes(),
            ],
        );
    }
    for (tag, epochs) in [
        (DESTROYED_TRACE, &keyring.destroyed_trace),
        (DESTROYED_RECORDS, &keyring.destroyed_records),
        (DESTROYED_MAPPING, &keyring.destroyed_mappings),
    ] {
        epochs
            .iter()
            .for_each(|epoch| entry(tag, &[&epoch.to_be_bytes()]));
    }
    if let Some(recipient) = &keyring.off_node_payload {
        entry(OFF_NODE_PAYLOAD, &[&recipient.to_bytes()]);
    }
    keyring
        .former_node_keys
        .iter()
        .for_each(|key| entry(FORMER_NODE_KEY, &[&key.to_bytes()]));
    debug_assert_eq!(body.len(), bytes);
    body
}

fn decode(body: &[u8]) -> Result<Keyring, &'static str> {
    let mut rest = Fields(body);
    let mut keyring: Option<Keyring> = None;
    while !rest.0.is_empty() {
        let [tag] = rest.take::<1>()?;
        if tag == NODE_SIGNING {
            keyring = Some(Keyring::with_signing_key(SigningKey::from_bytes(
                &Zeroizing::new(rest.take()?),
            )));
            continue;
        }
        let keyring = keyring
            .as_mut()
            .ok_or("it does not begin with the node's signing key")?;
        if tag == OFF_NODE_PAYLOAD {
            let recipient = Recipient::from_bytes(&rest.take::<RECIPIENT_BYTES>()?);
            keyring.off_node_payload = Some(recipient.map_err(|_| "its payload recipient is no key")?);
            continue;
        }
        if tag == FORMER_NODE_KEY {
            let key = VerifyingKey::from_bytes(&rest.take()?).map_err(|_| "a former node key is no key")?;
            keyring.former_node_keys.push(key);
            continue;
        }
        let epoch = u32::from_be_bytes(rest.take()?);
        match tag {
            TRACE => {
                let [number] = rest.take::<1>()?;
                let section = Section::from_u8(number).ok_or("it names a section that this program lacks")?;
                keyring.trace.insert(
                    (epoch, section),
                    Identity::from_bytes(&Zeroizing::new(rest.take()?)),
                );
            }
            RECORDS => {
                let [level] = rest.take::<1>()?;
                keyring.records.insert(
                    (epoch, level),
                    Identity::from_bytes(&Zeroizing::new(rest.take()?)),
                );
            }
            MAPPING => {
                keyring
                    .mappings
                    .insert(epoch, MappingKey::from_bytes(&Zeroizing::new(rest.take()?)));
            }
            AUDIENCE => {
                let key = MappingKey::from_bytes(&Zeroizing::new(rest.take()?));
                let length = u16::from_be_bytes(rest.take()?);
                let name = rest.take_slice(usize::from(length))?;
                let name = std::str::from_utf8(name).map_err(|_| "an audience name is not UTF-8")?;
                keyring.audiences.insert((epoch, name.to_owned()), key);
            }
            DESTROYED_TRACE => drop(keyring.destroyed_trace.insert(epoch)),
            DESTROYED_RECORDS => drop(keyring.destroyed_records.insert(epoch)),
            DESTROYED_MAPPING => drop(keyring.destroyed_mappings.insert(epoch)),
            _ => return Err("it has an entry that this program does not know"),
        }
    }
    keyring.ok_or("it holds no signing key")
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or("it ends within an entry")?;
        self.0 = rest;
        Ok(*field)
    }

    fn take_slice(&mut self, length: usize) -> Result<&'a [u8], &'static str> {
        let (field, rest) = self.0.split_at_checked(length).ok_or("it ends within an entry")?;
        self.0 = rest;
        Ok(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::Destroy;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    fn full() -> Keyring {
        let mut keyring = Keyring::create();
        for epoch in [20_000, 20_001] {
            for section in Section::ALL {
                keyring.trace_identity(epoch, section).unwrap();
            }
            for level in 0..=4 {
                keyring.record_identity(epoch, level).unwrap();
            }
        }
        keyring.mapping_key(666).unwrap();
        keyring.audience_key(666, "institute/scans").unwrap();
        keyring.destroy_epoch(19_999, Destroy::All);
        keyring.destroy_mapping_epoch(600);
        keyring.keep_payload_off_node(Identity::generate().recipient());
        keyring.rotate_node_signing();
        keyring
    }

    fn seeds(keyring: &Keyring) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(encode(keyring))
    }

    #[test]
    fn a_key_file_opens_with_its_root_secret_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let root = RootSecret::generate();
        let keyring = full();
        keyring.save(&path, &root).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(seeds(&Keyring::load(&path, &root).unwrap()), seeds(&keyring));
        assert!(matches!(
            Keyring::load(&path, &RootSecret::generate()),
            Err(KeyError::DoesNotOpen { what: "the key file" })
        ));
        assert_eq!(passphrase_params(&path).unwrap(), None);
        // No seed lies in it in clear, and saving again changes every byte of the body.
        let first = std::fs::read(&path).unwrap();
        assert!(
            !first
                .windows(32)
                .any(|window| window == keyring.node_signing.expose())
        );
        keyring.save(&path, &root).unwrap();
        assert_ne!(std::fs::read(&path).unwrap(), first);
        assert_eq!(
            std::fs::read_dir(&folder).unwrap().count(),
            1,
            "nothing stays beside it"
        );
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused_with_the_fix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let root = RootSecret::generate();
        full().save(&path, &root).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
        for error in [
            Keyring::load(&path, &root).unwrap_err(),
            full().save(&path, &root).unwrap_err(),
        ] {
            assert!(
                error
                    .to_string()
                    .contains(&format!("chmod 600 {}", path.display())),
                "{error}"
            );
        }
    }

    #[test]
    fn a_passphrase_file_tells_its_parameters() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let cheap = PassphraseParams {
            memory_kib: 64,
            passes: 1,
            lanes: 1,
            ..PassphraseParams::generate()
        };
        full()
            .save(&path, &RootSecret::from_passphrase("p", &cheap).unwrap())
            .unwrap();
        let stored = passphrase_params(&path).unwrap().unwrap();
        assert_eq!(stored, cheap);
        assert!(Keyring::load(&path, &RootSecret::from_passphrase("p", &stored).unwrap()).is_ok());
        assert!(Keyring::load(&path, &RootSecret::from_passphrase("q", &stored).unwrap()).is_err());
    }

    #[test]
    fn any_changed_or_missing_byte_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let root = RootSecret::generate();
        full().save(&path, &root).unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert!(Keyring::load(&path, &root).is_err(), "flipped byte {at}");
            std::fs::write(&path, &good[..at]).unwrap();
            assert!(Keyring::load(&path, &root).is_err(), "cut at {at}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bodies_never_panic(mut body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&body);
            body.splice(0..0, [&[NODE_SIGNING][..], &[7; 32]].concat());
            let _ = decode(&body);
        }
    }
}
