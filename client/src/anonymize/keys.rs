//! Key files of the tool: one that all pseudonyms are made with, and Crypto-PAn keys of other tools.
//!
//! Every file is mode 0600 and refused otherwise. Must never take a key from the command line, nor make one that
//! is not on disk: what was made with it could not be made again.

use std::path::{Path, PathBuf};

use como_anonymize::Anonymizer;
use como_keys::files;
use como_keys::mapping::MappingKey;
use como_policies::AccessLevel;
use zeroize::Zeroizing;

use super::Treatment;
use crate::error::{ClientError, Result};

/// First word of the file.
const ANONYMIZATION: &str = "COMO-ANONYMIZATION-KEY-1";

/// Which key files a person named.
#[derive(Clone, Debug, Default)]
pub struct KeyFiles {
    /// Made by [`generate_key`].
    pub key: Option<PathBuf>,
    /// Crypto-PAn key for IPv4, 64 hex digits.
    pub cryptopan: Option<PathBuf>,
    /// Crypto-PAn key for IPv6, 64 hex digits.
    pub cryptopan_v6: Option<PathBuf>,
    /// Whether the two may be the same.
    pub allow_shared: bool,
}

/// Makes a key file; refuses to replace one.
pub fn generate_key(path: &Path) -> Result<()> {
    let key = MappingKey::generate();
    let text = Zeroizing::new(format!(
        "{ANONYMIZATION} {}\n",
        *Zeroizing::new(hex::encode(key.expose()))
    ));
    files::write_secret(path, text.as_bytes()).map_err(ClientError::of_keys)
}

/// What is done at a level under these keys; a key that would not be used is refused.
pub fn treatment(level: AccessLevel, named: &KeyFiles) -> Result<Treatment> {
    if level == AccessLevel::Payload {
        return match named
            .key
            .as_ref()
            .or(named.cryptopan.as_ref())
            .or(named.cryptopan_v6.as_ref())
        {
            Some(_) => Err(ClientError::usage(
                "level payload copies packets as they are, and a key was given",
                "leave the key out, or ask for --level anonymized",
            )),
            None => Ok(Treatment::new(level, None)),
        };
    }
    let Some(path) = &named.key else {
        return Err(ClientError::keys(
            format!("level {level} makes pseudonyms, and no key was given"),
            "make one with `como keygen --anonymization FILE`, keep it, and give it with --key-file FILE",
        ));
    };
    let mut anonymizer = anonymizer(path)?;
    let v4 = named
        .cryptopan
        .as_deref()
        .map(|path| read(path, None))
        .transpose()?;
    let v6 = named
        .cryptopan_v6
        .as_deref()
        .map(|path| read(path, None))
        .transpose()?;
    if v4.is_some() && v4 == v6 && !named.allow_shared {
        return Err(ClientError::keys(
            "the Crypto-PAn keys of IPv4 and IPv6 are the same: who knows one address pair of one family then \
             knows bits of the other",
            "use two keys; only to agree with a tool that shares one, add --allow-shared-key",
        ));
    }
    if let Some(key) = v4 {
        anonymizer = anonymizer.with_cryptopan_v4(&key);
    }
    if let Some(key) = v6 {
        anonymizer = anonymizer.with_cryptopan_v6(&key);
    }
    Ok(Treatment::new(level, Some(anonymizer)))
}

/// Pseudonyms under the key in a file that [`generate_key`] made.
pub fn anonymizer(path: &Path) -> Result<Anonymizer> {
    Ok(Anonymizer::new(&MappingKey::from_bytes(&*read(
        path,
        Some(ANONYMIZATION),
    )?)))
}

/// 32 bytes in hex, after the word that says what they are for where there is one.
fn read(path: &Path, word: Option<&str>) -> Result<Zeroizing<[u8; 32]>> {
    let text = files::read_secret(path).map_err(ClientError::of_keys)?;
    let mut key = Zeroizing::new([0; 32]);
    std::str::from_utf8(&text)
        .ok()
        .map(str::trim_end)
        .and_then(|text| match word {
            Some(word) => text.strip_prefix(word)?.strip_prefix(' '),
            None => Some(text),
        })
        .and_then(|digits| hex::decode_to_slice(digits, &mut key[..]).ok())
        .ok_or_else(|| match word {
            Some(word) => ClientError::keys(
                format!("{} is not a key file of the kind {word}", path.display()),
                "give the file that `como keygen --anonymization FILE` made",
            ),
            None => ClientError::keys(
                format!("{} is not a Crypto-PAn key", path.display()),
                "write the key's 32 bytes as 64 hex digits, on one line",
            ),
        })?;
    Ok(key)
}
