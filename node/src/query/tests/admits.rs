//! Whom the node lets in, and for how long.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::HandshakeKind;
use rustls_pki_types::{ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::authority::{Authority, Card};
use super::rig::{Act, Rig, client_config, get};
use crate::query::{Limits, Question, tls};

const ALICE: &str = "spiffe://lab.example/upenn/alice";

async fn refused(rig: &Rig, card: &Card) {
    let answer = rig.get(card, "/v1/status").await;
    assert!(answer.is_err(), "let in: {}", answer.unwrap().status);
    assert!(rig.asked.lock().unwrap().is_empty(), "the supervisor was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_who_its_certificate_says_over_tls_1_3_with_the_hybrid_first() {
    let rig = Rig::new().await;
    let card = rig.alice();
    assert_eq!(rig.get(&card, "/v1/status").await.unwrap().status, 200);
    assert_eq!(
        *rig.asked.lock().unwrap(),
        [(ALICE.to_string(), Question::Status)]
    );
    let stream = rig.tls(Some(&card), "h2").await.unwrap();
    let session = stream.get_ref().1;
    assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(
        session.negotiated_key_exchange_group().unwrap().name(),
        rustls::NamedGroup::X25519MLKEM768
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_certificate_is_refused() {
    let rig = Rig::new().await;
    let mut stream = rig.tls(None, "http/1.1").await.unwrap();
    let _ = stream
        .write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    let error = stream.read(&mut [0; 64]).await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_ca_is_refused() {
    let rig = Rig::new().await;
    refused(&rig, &Authority::new("lab.example").client("upenn/alice")).await;
    refused(&rig, &Authority::new("other.example").client("upenn/alice")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_not_an_identity_are_refused() {
    let rig = Rig::new().await;
    let ca = &rig.authority;
    refused(&rig, &ca.card(&[], |_| {})).await; // a common name only
    refused(&rig, &ca.card(&[ALICE, "spiffe://lab.example/upenn/bob"], |_| {})).await;
    refused(&rig, &ca.card(&[ALICE, ALICE], |_| {})).await;
    refused(&rig, &ca.card(&[ALICE, "https://lab.example/"], |_| {})).await;
    refused(&rig, &ca.card(&["https://lab.example/upenn/alice"], |_| {})).await;
    refused(&rig, &ca.card(&["spiffe://lab.example"], |_| {})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_not_yet_valid_and_server_certificates_are_refused() {
    let rig = Rig::new().await;
    let ca = &rig.authority;
    refused(
        &rig,
        &ca.card(&[ALICE], |c| c.not_after = date_time_ymd(2021, 1, 1)),
    )
    .await;
    refused(
        &rig,
        &ca.card(&[ALICE], |c| c.not_before = date_time_ymd(2099, 1, 1)),
    )
    .await;
    refused(
        &rig,
        &ca.card(&[ALICE], |c| {
            c.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
        }),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_speaks_for_its_own_trust_domain_only() {
    let (lab, grid) = (Authority::new("lab.example"), Authority::new("grid.example"));
    let pinned = [lab.pinned(), grid.pinned()];
    let forged = grid.card(&[ALICE], |_| {});
    let good = grid.client("cern/bob");
    let rig = Rig::pinning(lab, &pinned, Limits::default(), |_, _| Act::Say(200, "{}")).await;
    refused(&rig, &forged).await;
    assert_eq!(rig.get(&good, "/v1/status").await.unwrap().status, 200);
    assert_eq!(rig.get(&rig.alice(), "/v1/status").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_authorities_of_one_domain_serve_a_change_over() {
    let (old, new) = (Authority::new("lab.example"), Authority::new("lab.example"));
    let pinned = [old.pinned(), new.pinned()];
    let renewed = new.client("upenn/alice");
    let rig = Rig::pinning(old, &pinned, Limits::default(), |_, _| Act::Say(200, "{}")).await;
    for card in [rig.alice(), renewed] {
        assert_eq!(rig.get(&card, "/v1/status").await.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_certificates_and_expired_lists_are_refused() {
    let authority = Authority::new("lab.example");
    let (alice, bob) = (authority.client("upenn/alice"), authority.client("upenn/bob"));
    let in_date = authority.pinned_with(&authority.crl(&[&alice], 2100));
    let expired = authority.pinned_with(&authority.crl(&[], 2021));
    let rig = Rig::pinning(authority, &[in_date], Limits::default(), |_, _| {
        Act::Say(200, "{}")
    })
    .await;
    refused(&rig, &alice).await;
    assert_eq!(rig.get(&bob, "/v1/status").await.unwrap().status, 200);
    rig.asked.lock().unwrap().clear();
    rig.tls.reload(&[expired]).unwrap();
    refused(&rig, &bob).await;
}

async fn revocation_ends_an_open_connection(http2: bool) {
    let rig = Rig::new().await;
    let alice = rig.alice();
    let mut client = if http2 {
        rig.http2(&alice).await
    } else {
        rig.http1(&alice).await
    }
    .unwrap();
    assert_eq!(client.send(get("/v1/status")).await.unwrap().status, 200);
    rig.tls
        .reload(&[rig.authority.pinned_with(&rig.authority.crl(&[&alice], 2100))])
        .unwrap();
    rig.asked.lock().unwrap().clear();
    let answer = client.send(get("/v1/status")).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (403, "certificate")
    );
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(
        client.send(get("/v1/status")).await.is_err(),
        "the connection was to be closed"
    );
    refused(&rig, &alice).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_ends_an_open_http1_connection() {
    revocation_ends_an_open_connection(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_ends_an_open_http2_connection() {
    revocation_ends_an_open_connection(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_never_resumed() {
    let rig = Rig::new().await;
    let card = rig.alice();
    // One client configuration: it would resume if it had a ticket.
    let config = Arc::new(client_config(&rig.authority.pem, Some(&card), "http/1.1"));
    for _ in 0..2 {
        let connector = tokio_rustls::TlsConnector::from(config.clone());
        let stream = TcpStream::connect(rig.address).await.unwrap();
        let mut stream = connector
            .connect(ServerName::try_from("localhost").unwrap(), stream)
            .await
            .unwrap();
        stream
            .write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        let session = stream.get_ref().1;
        assert_eq!(session.tls13_tickets_received(), 0);
        assert!(matches!(
            session.handshake_kind(),
            Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)
        ));
    }
    rig.tls
        .reload(&[rig.authority.pinned_with(&rig.authority.crl(&[&card], 2100))])
        .unwrap();
    rig.asked.lock().unwrap().clear();
    refused(&rig, &card).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_list_leaves_the_old_one_in_force() {
    let rig = Rig::new().await;
    let mut bad = vec![];
    assert!(rig.tls.reload(&bad).is_err(), "no authority");
    for (certificate, revocations) in [
        ("", ""),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "",
        ),
        (rig.authority.pem.as_str(), "not a list"),
        (
            rig.authority.pem.as_str(),
            "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        ),
    ] {
        bad = vec![rig.authority.pinned()];
        bad[0].certificate_pem = certificate.to_string();
        bad[0].revocations_pem = revocations.to_string();
        let text = rig.tls.reload(&bad).unwrap_err().to_string();
        assert!(
            text.contains("lab.example") && text.lines().count() == 2,
            "{text}"
        );
    }
    bad[0] = rig.authority.pinned();
    bad[0].domain = "Lab Example".to_string();
    assert!(rig.tls.reload(&bad).is_err(), "not a trust domain");
    assert_eq!(rig.get(&rig.alice(), "/v1/status").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_and_a_list_expire_while_a_connection_is_open() {
    let rig = Rig::new().await;
    let at = |year: u64| UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_557_600));
    let alice = rig.alice();
    let client = tls::Client::new(rig.tls.clone(), alice.chain.clone()).unwrap();
    assert!(client.still_good(at(2090)).is_ok());
    assert!(
        client.still_good(at(2101)).is_err(),
        "the certificate ends in 2100"
    );
    rig.tls
        .reload(&[rig.authority.pinned_with(&rig.authority.crl(&[], 2080))])
        .unwrap();
    assert!(client.still_good(at(2079)).is_ok());
    assert!(client.still_good(at(2090)).is_err(), "the list ends in 2080");
    rig.tls.reload(&[Authority::new("lab.example").pinned()]).unwrap();
    assert!(
        client.still_good(at(2079)).is_err(),
        "its authority is no longer pinned"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_is_refused() {
    let rig = Rig::new().await;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(&tls12_client_hello()).await.unwrap();
    let mut alert = [0; 7];
    stream.read_exact(&mut alert).await.unwrap();
    assert_eq!(
        (alert[0], alert[5], alert[6]),
        (21, 2, 70),
        "fatal protocol_version: {alert:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_and_noise_are_refused() {
    let rig = Rig::new().await;
    for hello in [&b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n"[..], &[0xff; 300]] {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        stream.write_all(hello).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"));
    }
    assert_eq!(rig.get(&rig.alice(), "/v1/status").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trial_ca_issues_what_this_node_lets_in() {
    let ca = como_keys::pki::TrialCa::create("trial.example").unwrap();
    let authority = Authority::new("lab.example");
    let trial = crate::query::AuthorityParameters {
        domain: "trial.example".into(),
        certificate_pem: ca.cert_pem().to_string(),
        revocations_pem: String::new(),
    };
    let spiffe = "spiffe://trial.example/upenn/carol";
    let csr = como_keys::pki::make_csr(spiffe).unwrap();
    let certificate = ca.issue_client_from_csr(&csr.csr_pem, spiffe, 30).unwrap();
    let carol = Card::from_pem(&certificate, &csr.key_pem);
    let serial = como_keys::pki::serial_of(&certificate).unwrap();
    let rig = Rig::pinning(
        authority,
        std::slice::from_ref(&trial),
        Limits::default(),
        |_, _| Act::Say(200, "{}"),
    )
    .await;
    assert_eq!(rig.get(&carol, "/v1/status").await.unwrap().status, 200);
    rig.asked.lock().unwrap().clear();
    let far = 4_000_000_000_000_000_000;
    let revoked = crate::query::AuthorityParameters {
        revocations_pem: ca.crl(&[serial], 1, far).unwrap(),
        ..trial
    };
    rig.tls.reload(&[revoked]).unwrap();
    refused(&rig, &carol).await;
}

/// A well-formed hello of a client that knows TLS 1.2 at best.
fn tls12_client_hello() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]); // random
    body.push(0); // no session id
    body.extend([0, 4, 0xc0, 0x2b, 0xc0, 0x2f]); // ECDHE with AES-128-GCM
    body.extend([1, 0]); // no compression
    let extensions: &[u8] = &[
        0, 10, 0, 4, 0, 2, 0, 29, // supported_groups: x25519
        0, 13, 0, 4, 0, 2, 4, 3, // signature_algorithms: ecdsa_secp256r1_sha256
    ];
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
