//! A principal's keys on disk: four secrets of mode 0600, one file and one purpose each, and the
//! public card that a node's operator registers.
//!
//! Owns the file formats; must never send a secret anywhere, nor read a file for another purpose
//! than the one that its first word names.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use como_keys::sealing::Identity;
use como_keys::signing::SigningKey;
use como_keys::{files, pki};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::{ClientError, Result};
use crate::spiffe::SpiffeId;

/// First word of the request key's file.
const REQUEST: &str = "COMO-REQUEST-KEY-1";
/// First word of the developer key's file.
const DEVELOPER: &str = "COMO-DEVELOPER-KEY-1";
/// First word of the dataset identity's file.
const DATASET: &str = "COMO-DATASET-IDENTITY-1";
/// Version of the card.
const CARD_VERSION: u32 = 1;
/// Largest card that is read, in bytes.
const MAX_CARD_BYTES: u64 = 64 << 10;

/// What a node's operator registers: everything public about a principal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Version of this format.
    pub version: u32,
    /// SPIFFE id.
    pub name: String,
    /// Public half of the request key (Ed25519), hex.
    pub request_key: String,
    /// Public half of the developer key (Ed25519), hex.
    pub developer_key: String,
    /// Public half of the dataset identity (X-Wing), hex.
    pub dataset_recipient: String,
    /// Certificate signing request, PEM.
    pub csr: String,
}

/// The folder that holds a principal's keys. Each key is read when it is needed, and only then.
#[derive(Debug, Clone)]
pub struct Bundle {
    dir: PathBuf,
}

impl Bundle {
    /// Makes all keys and the card in `dir`, which is made with mode 0700; refuses to replace any.
    pub fn create(dir: &Path, name: &SpiffeId) -> Result<(Self, Card)> {
        let bundle = Self { dir: dir.to_owned() };
        if bundle.card_path().exists() || bundle.path("request.key").exists() {
            return Err(ClientError::keys(
                format!("{} already holds keys", dir.display()),
                "choose another folder with --out; datasets sealed to lost keys open never again",
            ));
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| ClientError::write(dir, error))?;
        let request = SigningKey::generate();
        let developer = SigningKey::generate();
        let identity = Identity::generate();
        let tls = pki::make_csr(name.as_str()).map_err(ClientError::of_keys)?;
        bundle.write_hex("request.key", REQUEST, request.expose())?;
        bundle.write_hex("developer.key", DEVELOPER, developer.expose())?;
        bundle.write_hex("dataset.key", DATASET, &identity.to_bytes()[..])?;
        files::write_secret(&bundle.path("tls.key"), tls.key_pem.as_bytes()).map_err(ClientError::of_keys)?;
        let card = Card {
            version: CARD_VERSION,
            name: name.to_string(),
            request_key: request.verifying_key().hex(),
            developer_key: developer.verifying_key().hex(),
            dataset_recipient: hex::encode(identity.recipient().to_bytes()),
            csr: tls.csr_pem,
        };
        let text = toml::to_string(&card).expect("a card is plain strings");
        let path = bundle.card_path();
        fs::write(&path, text).map_err(|error| ClientError::write(&path, error))?;
        Ok((bundle, card))
    }

    /// The keys in `dir`, which must have been made by [`Bundle::create`] and be closed to others.
    pub fn open(dir: &Path) -> Result<Self> {
        let bundle = Self { dir: dir.to_owned() };
        if !bundle.card_path().exists() {
            return Err(ClientError::keys(
                format!("{} holds no keys", dir.display()),
                "make them with `como keygen --name spiffe://CONSORTIUM/ORGANISATION/NAME`, or name their folder with --keys",
            ));
        }
        let mode = fs::metadata(dir)
            .map_err(|error| ClientError::read(dir, error))?
            .permissions()
            .mode();
        if mode & 0o022 != 0 {
            return Err(ClientError::keys(
                format!(
                    "{} can be written by others (mode {:o})",
                    dir.display(),
                    mode & 0o7777
                ),
                format!("run `chmod 700 {}`", dir.display()),
            ));
        }
        Ok(bundle)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the card is.
    pub fn card_path(&self) -> PathBuf {
        self.path("card.toml")
    }

    /// The public card.
    pub fn card(&self) -> Result<Card> {
        let path = self.card_path();
        let text = read_text(&path, MAX_CARD_BYTES)?;
        let card: Card = toml::from_str(&text).map_err(|error| malformed(&path, &error))?;
        if card.version != CARD_VERSION {
            return Err(ClientError::keys(
                format!(
                    "{} has version {}, this como knows {CARD_VERSION}",
                    path.display(),
                    card.version
                ),
                "use the como that made it, or make new keys with `como keygen`",
            ));
        }
        Ok(card)
    }

    /// Who these keys belong to.
    pub fn name(&self) -> Result<SpiffeId> {
        self.card()?.name.parse()
    }

    /// Signs requests.
    pub fn request_key(&self) -> Result<SigningKey> {
        self.read_hex("request.key", REQUEST)
            .map(|seed| SigningKey::from_bytes(&seed))
    }

    /// Signs modules.
    pub fn developer_key(&self) -> Result<SigningKey> {
        self.read_hex("developer.key", DEVELOPER)
            .map(|seed| SigningKey::from_bytes(&seed))
    }

    /// Opens datasets.
    pub fn dataset_identity(&self) -> Result<Identity> {
        self.read_hex("dataset.key", DATASET)
            .map(|seed| Identity::from_bytes(&seed))
    }

    /// The private TLS key, PEM.
    pub fn tls_key_pem(&self) -> Result<Zeroizing<Vec<u8>>> {
        files::read_secret(&self.path("tls.key")).map_err(ClientError::of_keys)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    fn write_hex(&self, file: &str, word: &str, secret: &[u8]) -> Result<()> {
        let text = Zeroizing::new(format!("{word} {}\n", *Zeroizing::new(hex::encode(secret))));
        files::write_secret(&self.path(file), text.as_bytes()).map_err(ClientError::of_keys)
    }

    fn read_hex(&self, file: &str, word: &str) -> Result<Zeroizing<[u8; 32]>> {
        let path = self.path(file);
        let text = files::read_secret(&path).map_err(ClientError::of_keys)?;
        let mut secret = Zeroizing::new([0; 32]);
        std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.trim_end().strip_prefix(word)?.strip_prefix(' '))
            .and_then(|digits| hex::decode_to_slice(digits, &mut secret[..]).ok())
            .ok_or_else(|| {
                ClientError::keys(
                    format!("{} is not a key file of the kind {word}", path.display()),
                    "restore it from a copy, or make new keys with `como keygen` and have them registered",
                )
            })?;
        Ok(secret)
    }
}

/// Reads a text file of bounded size.
pub(crate) fn read_text(path: &Path, max_bytes: u64) -> Result<String> {
    let bytes = read_file(path, max_bytes)?;
    String::from_utf8(bytes).map_err(|_| {
        ClientError::input(
            format!("{} is not a text file", path.display()),
            "check that it is the file you mean",
        )
    })
}

/// Reads a file of bounded size.
pub(crate) fn read_file(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let failed = |error| ClientError::read(path, error);
    let mut bytes = Vec::new();
    fs::File::open(path)
        .map_err(failed)?
        .take(max_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > max_bytes {
        return Err(ClientError::input(
            format!("{} is larger than {max_bytes} bytes", path.display()),
            "check that it is the file you mean",
        ));
    }
    Ok(bytes)
}

/// A TOML error, with the line and a caret.
pub(crate) fn malformed(path: &Path, error: &toml::de::Error) -> ClientError {
    ClientError::input(
        format!("{}: {}", path.display(), error.to_string().trim_end()),
        "correct it, or take it again from where it came",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (tempfile::TempDir, Bundle, Card) {
        let dir = tempfile::tempdir().unwrap();
        let name = "spiffe://c/o/alice".parse().unwrap();
        let (bundle, card) = Bundle::create(&dir.path().join("keys"), &name).unwrap();
        (dir, bundle, card)
    }

    #[test]
    fn keys_are_read_back_and_match_the_card() {
        let (_dir, bundle, card) = made();
        let again = Bundle::open(bundle.dir()).unwrap();
        assert_eq!(again.card().unwrap(), card);
        assert_eq!(again.name().unwrap().as_str(), "spiffe://c/o/alice");
        assert_eq!(
            again.request_key().unwrap().verifying_key().hex(),
            card.request_key
        );
        assert_eq!(
            again.developer_key().unwrap().verifying_key().hex(),
            card.developer_key
        );
        let recipient = again.dataset_identity().unwrap().recipient().to_bytes();
        assert_eq!(hex::encode(recipient), card.dataset_recipient);
        assert!(
            String::from_utf8(again.tls_key_pem().unwrap().to_vec())
                .unwrap()
                .contains("PRIVATE KEY")
        );
        assert!(card.csr.contains("CERTIFICATE REQUEST"));
    }

    #[test]
    fn every_secret_is_mode_0600_and_none_is_in_the_card() {
        let (_dir, bundle, _) = made();
        let card = fs::read_to_string(bundle.card_path()).unwrap();
        for file in ["request.key", "developer.key", "dataset.key", "tls.key"] {
            let path = bundle.path(file);
            assert_eq!(
                fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
                0o600,
                "{file}"
            );
            let text = fs::read_to_string(&path).unwrap();
            let secret = text.split_whitespace().last().unwrap();
            assert!(!card.contains(secret) || secret.starts_with("-----"), "{file}");
        }
    }

    #[test]
    fn keys_are_never_replaced() {
        let (_dir, bundle, card) = made();
        let name = "spiffe://c/o/alice".parse().unwrap();
        let error = Bundle::create(bundle.dir(), &name).unwrap_err();
        assert!(error.to_string().contains("already holds keys"));
        assert_eq!(bundle.card().unwrap(), card);
    }

    #[test]
    fn a_readable_or_swapped_key_file_is_refused() {
        let (_dir, bundle, _) = made();
        fs::copy(bundle.path("request.key"), bundle.path("swap")).unwrap();
        fs::rename(bundle.path("swap"), bundle.path("developer.key")).unwrap();
        assert!(
            bundle
                .developer_key()
                .unwrap_err()
                .to_string()
                .contains("COMO-DEVELOPER-KEY-1")
        );
        fs::set_permissions(bundle.path("request.key"), fs::Permissions::from_mode(0o640)).unwrap();
        let error = bundle.request_key().unwrap_err();
        assert_eq!(error.exit(), crate::exit::Exit::Keys);
        fs::set_permissions(bundle.dir(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(
            Bundle::open(bundle.dir())
                .unwrap_err()
                .to_string()
                .contains("chmod 700")
        );
    }
}
