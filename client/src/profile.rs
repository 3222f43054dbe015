//! The nodes that one has joined: `KEYS/nodes/NAME/{node.toml, ca.pem, certificate.pem}`.
//!
//! Owns the welcome file that an operator sends and what is kept of it; must never hold a secret: a
//! profile is public data, the keys beside it are not.

use std::fs;
use std::path::{Path, PathBuf};

use como_keys::signing::VerifyingKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};

use crate::error::{ClientError, Result};
use crate::keys::{malformed, read_text};
use crate::spiffe::SpiffeId;

/// Version of the welcome and node files.
const VERSION: u32 = 1;
/// Largest welcome or profile file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 10;
/// Most nodes that are listed in a message.
const MAX_LISTED: usize = 20;

/// What a node's operator sends back for a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Welcome {
    /// Version of this format.
    pub version: u32,
    /// SPIFFE id of the node.
    pub node: String,
    /// Where it listens: `https://host:port`.
    pub url: String,
    /// Public signing key of the node (Ed25519), hex: datasets are verified with it.
    pub node_key: String,
    /// Certificate authority of the node's TLS certificate, PEM.
    pub ca: String,
    /// The TLS certificate issued for the card's request, PEM.
    pub certificate: String,
}

/// What stays of a welcome in `node.toml`; the certificates are files of their own beside it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeFile {
    version: u32,
    node: String,
    url: String,
    node_key: String,
}

/// A node that one has joined, checked.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Name on this machine.
    pub name: String,
    /// SPIFFE id of the node.
    pub node: SpiffeId,
    /// Where it listens.
    pub url: Url,
    /// Public signing key of the node.
    pub node_key: VerifyingKey,
    /// Certificate authorities that the node's certificate may come from.
    pub ca: Vec<CertificateDer<'static>>,
    /// One's own certificate and its intermediates.
    pub certificate: Vec<CertificateDer<'static>>,
}

/// `https://host:port`, and nothing behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Host name or address (IPv6 without brackets).
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Url {
    /// `host:port`, as in the Host header.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl std::str::FromStr for Url {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            ClientError::input(
                format!("`{}` is not the address of a node", crate::answer::one_line(text)),
                "it looks like https://node.example.org:7443",
            )
        };
        let uri: hyper::Uri = text.parse().map_err(|_| wrong())?;
        let plain = uri.scheme_str() == Some("https") && uri.path() == "/" && uri.query().is_none();
        let host = uri
            .host()
            .filter(|host| plain && !host.is_empty())
            .ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let url = Self {
            host,
            port: uri.port_u16().unwrap_or(443),
        };
        // A user name, or a port that is no number of 16 bits, is passed over by the parser.
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority == url.authority() || format!("{authority}:443") == url.authority() {
            Ok(url)
        } else {
            Err(wrong())
        }
    }
}

/// Installs a welcome under `keys/nodes/`, replacing an earlier one of the same node only.
pub fn join(keys: &Path, welcome: &Path, name: Option<&str>) -> Result<Profile> {
    let text = read_text(welcome, MAX_FILE_BYTES)?;
    let welcome_file: Welcome = toml::from_str(&text).map_err(|error| malformed(welcome, &error))?;
    let node: SpiffeId = welcome_file.node.parse().map_err(ClientError::of_input)?;
    let name = name.unwrap_or(node.name()).to_owned();
    let profile = check(name, &welcome_file)?;
    let dir = keys.join("nodes").join(&profile.name);
    if let Ok(existing) = load(&dir, &profile.name)
        && existing.node != profile.node
    {
        return Err(ClientError::usage(
            format!("`{}` is already the name of {}", profile.name, existing.node),
            "choose another name with --as NAME",
        ));
    }
    fs::create_dir_all(&dir).map_err(|error| ClientError::write(&dir, error))?;
    let Welcome {
        version,
        node,
        url,
        node_key,
        ca,
        certificate,
    } = welcome_file;
    let node_toml = toml::to_string(&NodeFile {
        version,
        node,
        url,
        node_key,
    })
    .expect("plain strings");
    // node.toml last: without it the folder is not a profile yet.
    for (file, text) in [
        ("ca.pem", ca),
        ("certificate.pem", certificate),
        ("node.toml", node_toml),
    ] {
        let path = dir.join(file);
        fs::write(&path, text).map_err(|error| ClientError::write(&path, error))?;
    }
    Ok(profile)
}

/// The profile of that name, or the only one.
pub fn find(keys: &Path, name: Option<&str>) -> Result<Profile> {
    let names = names(keys);
    let listed = names
        .iter()
        .take(MAX_LISTED)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    let name = match name {
        Some(name) if names.iter().any(|known| known == name) => name,
        Some(name) => {
            let known = if listed.is_empty() {
                "none yet".to_owned()
            } else {
                listed
            };
            return Err(ClientError::keys(
                format!(
                    "you have not joined a node named `{}`",
                    crate::answer::one_line(name)
                ),
                format!("known: {known}; install a welcome file with `como join FILE`"),
            ));
        }
        None => match names.as_slice() {
            [only] => only,
            [] => {
                return Err(ClientError::keys(
                    format!("no node is joined in {}", keys.display()),
                    "install the welcome file of a node's operator with `como join FILE`",
                ));
            }
            _ => {
                return Err(ClientError::usage(
                    "you have joined several nodes",
                    format!("say which with --node NAME: {listed}"),
                ));
            }
        },
    };
    load(&keys.join("nodes").join(name), name)
}

/// Names of the nodes that were joined, sorted.
pub fn names(keys: &Path) -> Vec<String> {
    let entries = fs::read_dir(keys.join("nodes")).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().join("node.toml").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn load(dir: &Path, name: &str) -> Result<Profile> {
    let path: PathBuf = dir.join("node.toml");
    let file: NodeFile =
        toml::from_str(&read_text(&path, MAX_FILE_BYTES)?).map_err(|error| malformed(&path, &error))?;
    let welcome = Welcome {
        version: file.version,
        node: file.node,
        url: file.url,
        node_key: file.node_key,
        ca: read_text(&dir.join("ca.pem"), MAX_FILE_BYTES)?,
        certificate: read_text(&dir.join("certificate.pem"), MAX_FILE_BYTES)?,
    };
    check(name.to_owned(), &welcome)
}

fn check(name: String, welcome: &Welcome) -> Result<Profile> {
    if welcome.version != VERSION {
        return Err(ClientError::input(
            format!(
                "the welcome file has version {}, this como knows {VERSION}",
                welcome.version
            ),
            "use a como of the same release as the node",
        ));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
        return Err(ClientError::usage(
            format!(
                "`{}` cannot be the name of a folder",
                crate::answer::one_line(&name)
            ),
            "choose letters, digits, dots, dashes and underscores with --as NAME",
        ));
    }
    Ok(Profile {
        name,
        node: welcome.node.parse().map_err(ClientError::of_input)?,
        url: welcome.url.parse()?,
        node_key: VerifyingKey::from_hex(&welcome.node_key).map_err(ClientError::of_input)?,
        ca: certificates("ca", &welcome.ca)?,
        certificate: certificates("certificate", &welcome.certificate)?,
    })
}

fn certificates(what: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(ClientError::input(
            format!("`{what}` holds no certificate in PEM form"),
            "ask the node's operator to send the welcome file again",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use como_keys::signing::SigningKey;

    fn welcome(node: &str) -> Welcome {
        let ca = como_keys::pki::TrialCa::create("c").unwrap();
        let csr = como_keys::pki::make_csr("spiffe://c/o/alice").unwrap();
        Welcome {
            version: 1,
            node: node.into(),
            url: "https://127.0.0.1:7443".into(),
            node_key: SigningKey::generate().verifying_key().hex(),
            ca: ca.cert_pem().to_owned(),
            certificate: ca
                .issue_client_from_csr(&csr.csr_pem, "spiffe://c/o/alice", 1)
                .unwrap(),
        }
    }

    fn write(dir: &Path, welcome: &Welcome) -> PathBuf {
        let path = dir.join("welcome.toml");
        fs::write(&path, toml::to_string(welcome).unwrap()).unwrap();
        path
    }

    #[test]
    fn joined_nodes_are_found_by_name_or_alone() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path();
        assert!(
            find(keys, None)
                .unwrap_err()
                .to_string()
                .contains("no node is joined")
        );
        let first = join(keys, &write(keys, &welcome("spiffe://c/o/edge")), None).unwrap();
        assert_eq!(first.name, "edge");
        assert_eq!(find(keys, None).unwrap().node_key, first.node_key);
        join(keys, &write(keys, &welcome("spiffe://c/o/core")), Some("second")).unwrap();
        assert_eq!(names(keys), ["edge", "second"]);
        assert!(find(keys, None).unwrap_err().to_string().contains("edge, second"));
        assert_eq!(
            find(keys, Some("second")).unwrap().node.as_str(),
            "spiffe://c/o/core"
        );
        assert!(
            find(keys, Some("third"))
                .unwrap_err()
                .to_string()
                .contains("known: edge, second")
        );
    }

    #[test]
    fn a_name_is_not_taken_over_by_another_node() {
        let dir = tempfile::tempdir().unwrap();
        join(
            dir.path(),
            &write(dir.path(), &welcome("spiffe://c/o/edge")),
            None,
        )
        .unwrap();
        let other = write(dir.path(), &welcome("spiffe://c/other/edge"));
        assert!(
            join(dir.path(), &other, None)
                .unwrap_err()
                .to_string()
                .contains("--as NAME")
        );
        assert_eq!(find(dir.path(), None).unwrap().node.as_str(), "spiffe://c/o/edge");
    }

    #[test]
    fn a_bad_welcome_is_refused_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let good = welcome("spiffe://c/o/edge");
        let bad = [
            Welcome {
                version: 2,
                ..good.clone()
            },
            Welcome {
                node: "edge".into(),
                ..good.clone()
            },
            Welcome {
                url: "http://127.0.0.1".into(),
                ..good.clone()
            },
            Welcome {
                node_key: "00".repeat(32),
                ..good.clone()
            },
            Welcome {
                ca: String::new(),
                ..good.clone()
            },
            Welcome {
                certificate: "-----BEGIN".into(),
                ..good.clone()
            },
        ];
        for welcome in bad {
            assert!(
                join(dir.path(), &write(dir.path(), &welcome), None).is_err(),
                "{welcome:?}"
            );
        }
        assert!(join(dir.path(), &write(dir.path(), &good), Some("../up")).is_err());
        let path = dir.path().join("welcome.toml");
        fs::write(&path, "version = 1\nnoed = 'x'\n").unwrap();
        assert!(
            join(dir.path(), &path, None)
                .unwrap_err()
                .to_string()
                .contains("noed")
        );
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn urls_of_nodes() {
        let url: Url = "https://node.example:7443".parse().unwrap();
        assert_eq!(url.authority(), "node.example:7443");
        assert_eq!(
            "https://[::1]:7443".parse::<Url>().unwrap().authority(),
            "[::1]:7443"
        );
        assert_eq!("https://node.example/".parse::<Url>().unwrap().port, 443);
        for bad in [
            "",
            "node",
            "http://n:1",
            "https://",
            "https://n/x",
            "https://u@n",
            "https://n/?q",
            "https://n:99999",
        ] {
            assert!(bad.parse::<Url>().is_err(), "{bad} was taken");
        }
    }
}
