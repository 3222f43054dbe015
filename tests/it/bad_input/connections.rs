//! Who does not get in: certificates that are nobody's, over or withdrawn, none at all, and old TLS.

use std::fs;
use std::io::{Read, Write};

use como_client::keys::Bundle;
use como_keys::pki::TrialCa;
use como_node::config::Layout;
use rcgen::{
    CertificateSigningRequestParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType, date_time_ymd,
};

use super::wire;
use crate::harness::{CONSORTIUM, Deployment, Person, wait_for};

/// Puts another certificate into somebody's profile of the node.
fn wear(person: &Person, certificate: &str) {
    let name = como_client::profile::find(&person.keys_dir, None)
        .expect("a joined node")
        .name;
    let file = person.keys_dir.join("nodes").join(name).join("certificate.pem");
    fs::write(file, certificate).expect("written");
}

fn csr(person: &Person) -> String {
    Bundle::open(&person.keys_dir)
        .and_then(|keys| keys.card())
        .expect("a card")
        .csr
}

/// A certificate of the node's own authority that ended long ago.
fn expired(site: &mut Deployment, person: &Person, id: &str) -> String {
    let layout = Layout::new(&site.node_folder());
    let read = |path: std::path::PathBuf| fs::read_to_string(path).expect("a file of the authority");
    let key = KeyPair::from_pem(&read(layout.ca_key())).expect("a key");
    let issuer = Issuer::from_ca_cert_pem(&read(layout.ca_certificate()), key).expect("an authority");
    let request = CertificateSigningRequestParams::from_pem(&csr(person)).expect("a request");
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(id.try_into().expect("ASCII"))];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 2, 1));
    params
        .signed_by(&request.public_key, &issuer)
        .expect("signed")
        .pem()
}

#[test]
fn who_shows_no_good_certificate_gets_no_answer() {
    let mut site = Deployment::new().capture(100, 64);
    let ann = site.partner("ann", "anonymized", false);
    let bob = site.partner("bob", "anonymized", false);
    let node = site.start();
    let port = site.port();
    let status = |person: &Person| person.como(&["--json", "status"]);
    status(&ann).ok();

    // An authority that the node does not know, though it issues the very same name.
    let id = format!("spiffe://{CONSORTIUM}/ann-org/ann");
    let other = TrialCa::create(CONSORTIUM).expect("an authority");
    wear(
        &ann,
        &other.issue_client_from_csr(&csr(&ann), &id, 30).expect("issued"),
    );
    status(&ann).refused(5, "TLS");
    let ended = expired(&mut site, &ann, &id);
    wear(&ann, &ended);
    status(&ann).refused(5, "TLS");

    // Good a moment ago, withdrawn now.
    status(&bob).ok();
    let folder = node.folder.display().to_string();
    let revoked = site.admin(&["partner", "revoke", "bob", "--node", &folder]);
    assert!(
        revoked.status.success(),
        "{}",
        String::from_utf8_lossy(&revoked.stderr)
    );
    node.reload();
    // For a moment the supervisor alone knows it, and says so (3) to whom TLS still lets in.
    let mut served = true;
    wait_for("the revocation is in force", || {
        let answer = status(&bob);
        assert!(served || answer.code != 0, "answered again after a refusal");
        served = answer.code == 0;
        Some(answer).filter(|answer| answer.code != 0 && answer.code != 3)
    })
    .refused(5, "TLS");

    // No certificate: the handshake fails before anything is asked.
    let none = wire::get(port, &bob, false, "/v1/status");
    assert!(none.is_err(), "an answer without a certificate");

    // TLS 1.2: a fatal alert, protocol_version (RFC 8446, section 6).
    let mut stream = wire::plain(port);
    stream.write_all(&tls12_client_hello()).expect("sent");
    let mut alert = [0; 7];
    stream.read_exact(&mut alert).expect("an alert");
    assert_eq!((alert[0], alert[5], alert[6]), (21, 2, 70), "{alert:?}");

    // Plain HTTP: no HTTP comes back.
    let mut stream = wire::plain(port);
    stream
        .write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n")
        .expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"));
    node.stop();
}

/// A well-formed hello of a client that knows TLS 1.2 at best (RFC 5246, section 7.4.1.2).
fn tls12_client_hello() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]); // random
    body.push(0); // no session id
    body.extend([0, 4, 0xc0, 0x2b, 0xc0, 0x2f]); // ECDHE with AES-128-GCM
    body.extend([1, 0]); // no compression
    let extensions = [0, 10, 0, 4, 0, 2, 0, 29, 0, 13, 0, 4, 0, 2, 4, 3]; // x25519, ecdsa_secp256r1_sha256
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let mut handshake = vec![1, 0];
    handshake.extend((body.len() as u16).to_be_bytes());
    handshake.extend(body);
    let mut record = vec![22, 3, 1];
    record.extend((handshake.len() as u16).to_be_bytes());
    record.extend(handshake);
    record
}
