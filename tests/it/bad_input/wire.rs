//! Connections that `como` does not make: TLS with any certificate or none, HTTP with any body.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use como_client::keys::Bundle;
use como_client::profile;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::harness::{PATIENCE, Person};

/// A node's answer.
pub struct Answer {
    pub status: u16,
    /// The body, where it is JSON.
    pub body: Value,
}

impl Answer {
    /// It must be a problem of this type, with these words, and say what to do.
    #[track_caller]
    pub fn is_problem(&self, status: u16, kind: &str, words: &str) {
        let text = |key: &str| self.body[key].as_str().unwrap_or_default();
        assert_eq!(self.status, status, "{}", self.body);
        assert!(
            text("type").ends_with(&format!("problem/{kind}")),
            "{}",
            self.body
        );
        assert!(
            text("detail").contains(words),
            "`{words}` is not in {}",
            self.body
        );
        assert!(!text("fix").is_empty(), "{}", self.body);
    }
}

/// A connection without any TLS.
pub fn plain(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the node listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// GET as somebody (with the certificate of the node that was joined), or without any certificate.
pub fn get(port: u16, trusting: &Person, with_certificate: bool, path: &str) -> std::io::Result<Answer> {
    let head = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    exchange(tls(port, trusting, with_certificate), head.as_bytes(), &[])
}

/// POST of a body to `/v1/requests`, announced as `announced` bytes.
pub fn post(port: u16, person: &Person, kind: &str, announced: usize, body: &[u8]) -> Answer {
    let head = format!(
        "POST /v1/requests HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-type: {kind}\r\n\
         content-length: {announced}\r\n\r\n"
    );
    exchange(tls(port, person, true), head.as_bytes(), body).expect("the node answers")
}

fn tls(port: u16, person: &Person, with_certificate: bool) -> StreamOwned<ClientConnection, TcpStream> {
    let joined = profile::find(&person.keys_dir, None).expect("a joined node");
    let mut roots = RootCertStore::empty();
    for certificate in &joined.ca {
        roots.add(certificate.clone()).expect("an authority");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots);
    let config = if with_certificate {
        let pem = Bundle::open(&person.keys_dir)
            .and_then(|keys| keys.tls_key_pem())
            .expect("a key");
        let key = PrivateKeyDer::from_pem_slice(&pem).expect("a key");
        config
            .with_client_auth_cert(joined.certificate.clone(), key)
            .expect("a certificate")
    } else {
        config.with_no_client_auth()
    };
    let name = ServerName::try_from(joined.url.host.clone()).expect("a host");
    let client = ClientConnection::new(Arc::new(config), name).expect("a client");
    StreamOwned::new(client, plain(port))
}

/// Sends, and reads until the node closes. A node that has refused may close before it has read everything.
fn exchange(
    mut stream: StreamOwned<ClientConnection, TcpStream>,
    head: &[u8],
    body: &[u8],
) -> std::io::Result<Answer> {
    stream.sock.set_write_timeout(Some(Duration::from_secs(5)))?;
    let sent = stream.write_all(head).and_then(|()| stream.write_all(body));
    let sent = sent.and_then(|()| stream.flush());
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        sent?;
        read?;
        return Err(std::io::Error::other("closed without an answer"));
    };
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Ok(Answer {
        status: status.expect("a status"),
        body: serde_json::from_str(body).unwrap_or_default(),
    })
}
