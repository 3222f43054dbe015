//! The commands on a real node folder, from `init` to revocation.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use como_keys::pki;
use como_keys::sealing::Identity;
use como_keys::signing::SigningKey;
use como_policies::{AccessLevel, SystemMode};

use super::card::{self, Card, Welcome};
use super::init::{InitOptions, NewSource, init};
use super::partners::{self, Grant, Standing};
use super::{AdminNode, State, check, developers, endorse, events, keys};
use crate::registry::RegistryName;

const ALICE: &str = "spiffe://consortium.example/uni-a/alice";

/// A pcap file without a packet: version 2.4, Ethernet.
const EMPTY_CAPTURE: [u8; 24] = [
    0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0,
];

fn options(dir: &Path) -> InitOptions {
    let capture = dir.join("capture.pcap");
    fs::write(&capture, EMPTY_CAPTURE).unwrap();
    InitOptions {
        name: "spiffe://consortium.example/org/node".parse().unwrap(),
        mode: SystemMode::Restricted,
        source: NewSource::File(capture),
        listen: "127.0.0.1:0".parse().unwrap(),
        url: Some("https://localhost:8443".to_owned()),
        passphrase: false,
    }
}

fn new_node() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("node");
    init(&folder, &options(dir.path())).unwrap();
    (dir, folder)
}

fn card(dir: &Path) -> PathBuf {
    let card = Card {
        version: card::VERSION,
        name: ALICE.parse().unwrap(),
        request_key: SigningKey::generate().verifying_key().hex(),
        developer_key: SigningKey::generate().verifying_key().hex(),
        dataset_recipient: hex::encode(Identity::generate().recipient().to_bytes()),
        csr: pki::make_csr(ALICE).unwrap().csr_pem,
    };
    let path = dir.join("card.toml");
    fs::write(&path, toml::to_string(&card).unwrap()).unwrap();
    path
}

fn name(text: &str) -> RegistryName {
    text.parse().unwrap()
}

fn add_alice(dir: &Path, folder: &Path) -> Result<String, super::AdminError> {
    let grant = Grant {
        ceiling: AccessLevel::Anonymized,
        project: None,
        may_plug_in: false,
    };
    let mut node = AdminNode::open(folder).unwrap();
    partners::add(
        &mut node,
        &name("alice"),
        &card(dir),
        grant,
        &dir.join("welcome.toml"),
    )
}

#[test]
fn a_new_node_passes_its_check() {
    let (_dir, folder) = new_node();
    let findings = check(&folder);
    let bad: Vec<String> = findings
        .iter()
        .filter(|finding| finding.state == State::Error)
        .map(ToString::to_string)
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    for what in [
        "config",
        "policy",
        "keys",
        "server",
        "registry",
        "audit log",
        "disk",
        "port",
    ] {
        assert!(findings.iter().any(|finding| finding.what == what), "{what}");
    }
}

#[test]
fn init_never_overwrites_and_leaves_nothing_half_made() {
    let (dir, folder) = new_node();
    let before = fs::read(folder.join("keys/keyring")).unwrap();
    let error = init(&folder, &options(dir.path())).unwrap_err().to_string();
    assert!(error.contains("is not empty\n"), "{error}");
    assert_eq!(fs::read(folder.join("keys/keyring")).unwrap(), before);

    let missing = InitOptions {
        source: NewSource::File(dir.path().join("absent.pcap")),
        ..options(dir.path())
    };
    init(&dir.path().join("second"), &missing).unwrap_err();
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != "node" && name != "capture.pcap")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn secrets_are_closed_to_others_and_the_check_says_so_when_not() {
    let (_dir, folder) = new_node();
    for secret in ["root.key", "keyring", "ca.key", "server.key"] {
        let mode = folder.join("keys").join(secret).metadata().unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600, "{secret}");
    }
    assert_eq!(folder.join("keys").metadata().unwrap().mode() & 0o777, 0o700);
    let key = folder.join("keys/ca.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let findings = check(&folder);
    let open = findings
        .iter()
        .find(|finding| finding.state == State::Error)
        .unwrap();
    assert_eq!(open.what, "permissions");
    assert_eq!(open.fix, format!("run: chmod 600 {}", key.display()));
}

#[test]
fn a_partner_is_registered_welcomed_listed_and_revoked() {
    let (dir, folder) = new_node();
    add_alice(dir.path(), &folder).unwrap();
    let welcome: Welcome =
        toml::from_str(&fs::read_to_string(dir.path().join("welcome.toml")).unwrap()).unwrap();
    let mut node = AdminNode::open(&folder).unwrap();
    assert_eq!(welcome.url, "https://localhost:8443");
    assert_eq!(welcome.node_key, node.keyring.node_signing.verifying_key().hex());
    assert!(partners::list(&node).contains(ALICE));
    let serial = hex::encode(pki::serial_of(&welcome.certificate).unwrap());
    assert_eq!(node.registry.partners["alice"].certificate_serials, [serial]);

    let crl = fs::read(folder.join("keys/ca.crl")).unwrap();
    partners::change(&mut node, &name("alice"), Standing::Revoke).unwrap();
    assert_ne!(fs::read(folder.join("keys/ca.crl")).unwrap(), crl);
    let again = AdminNode::open(&folder).unwrap();
    assert!(again.registry.partners["alice"].revoked);
    let error = partners::change(&mut node, &name("bob"), Standing::Revoke).unwrap_err();
    assert!(error.to_string().starts_with("there is no partner `bob`\n"));
}

#[test]
fn nobody_is_registered_twice() {
    let (dir, folder) = new_node();
    add_alice(dir.path(), &folder).unwrap();
    let error = add_alice(dir.path(), &folder).unwrap_err().to_string();
    assert!(error.contains("registered already\n"), "{error}");
}

#[test]
fn a_card_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("card.toml");
    for text in ["", "version = 1", "\u{0}", "version = 1\nname = \"alice\""] {
        fs::write(&path, text).unwrap();
        let error = card::read(&path).unwrap_err().to_string();
        assert!(
            error.contains("is not a card") && error.lines().count() >= 2,
            "{error}"
        );
    }
}

#[test]
fn every_change_is_in_the_audit_log() {
    let (dir, folder) = new_node();
    add_alice(dir.path(), &folder).unwrap();
    let node = AdminNode::open(&folder).unwrap();
    let level = AccessLevel::Headers;
    developers::add(
        &node,
        &name("alice"),
        &card(dir.path()),
        level,
        Some(AccessLevel::Coarse),
        &dir.path().join("developer.toml"),
    )
    .unwrap();
    let mut node = AdminNode::open(&folder).unwrap();
    developers::revoke(&node, &name("alice")).unwrap();
    endorse::endorse(
        &node,
        &"ab".repeat(32),
        AccessLevel::Aggregate,
        &name("traffic"),
        &[],
    )
    .unwrap();
    keys::destroy(&mut node, 20_000, como_keys::keyring::Destroy::All).unwrap();
    let log = fs::read_to_string(folder.join("audit.log")).unwrap();
    for command in [
        "init",
        "partner add",
        "developer add",
        "developer revoke",
        "endorse",
        "keys destroy",
    ] {
        assert!(log.contains(&format!("\"command\":\"{command}\"")), "{command}");
    }
    como_keys::audit::verify(&folder.join("audit.log"), &node.keyring.node_keys()).unwrap();
}

#[test]
fn beside_a_running_supervisor_events_wait_for_it() {
    let (_dir, folder) = new_node();
    let node = AdminNode::open(&folder).unwrap();
    let mut log =
        como_keys::audit::AuditLog::open(&node.layout.audit_log(), node.keyring.node_signing.clone())
            .unwrap();
    let event = events::AdminEvent::new("partner suspend", "alice", ALICE, "test".to_owned());
    events::leave(&node.layout, &event).unwrap();
    assert_eq!(events::take(&node.layout, &mut log).unwrap(), 1);
    assert_eq!(events::take(&node.layout, &mut log).unwrap(), 0, "taken once");
    let text = fs::read_to_string(node.layout.audit_log()).unwrap();
    assert!(text.contains("partner suspend"));
}

#[test]
fn an_endorsement_names_a_module_and_ranges() {
    let (_dir, folder) = new_node();
    let node = AdminNode::open(&folder).unwrap();
    let range = endorse::parse_range("n=1..20").unwrap();
    endorse::endorse(
        &node,
        &"ab".repeat(32),
        AccessLevel::Aggregate,
        &name("top"),
        &[range],
    )
    .unwrap();
    let again = AdminNode::open(&folder).unwrap();
    let held = |n: i64| {
        again
            .registry
            .endorsement(&"ab".repeat(32), &[("n".to_owned(), n)])
            .is_some()
    };
    assert!(held(20) && !held(21));
    for wrong in ["n", "n=1", "n=1..", "=1..2", "n=a..b"] {
        assert!(endorse::parse_range(wrong).is_err(), "{wrong}");
    }
    let error = endorse::endorse(&node, "xyz", AccessLevel::Aggregate, &name("top"), &[]).unwrap_err();
    assert!(error.to_string().contains("not the hash of a module"));
}
