//! One HTTPS connection to a node: TLS 1.3 with a client certificate, HTTP/1.1.
//!
//! Owns trust in the node (its certificate comes from the profile's authority *and* carries the
//! node's SPIFFE id, and no other) and every time and size limit of the transport. Must never know
//! what is asked. HTTP/1.1 because a client asks one thing at a time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::{ClientError, Result};
use crate::profile::{Profile, Url};
use crate::spiffe::SpiffeId;

/// Longest wait for the TCP connection and the TLS handshake together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait from the last byte sent to the head of the answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest silence inside an answer's body.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest JSON answer, in bytes.
pub const MAX_ANSWER_BYTES: usize = 4 << 20;
/// Largest head of an answer, in bytes.
pub const MAX_HEAD_BYTES: usize = 64 << 10;

/// How to reach one node; cheap to clone, holds the private TLS key.
#[derive(Clone)]
pub struct Endpoint {
    url: Url,
    node: SpiffeId,
    tls: TlsConnector,
    server_name: ServerName<'static>,
}

impl Endpoint {
    /// From a profile and the private TLS key in PEM.
    pub fn new(profile: &Profile, tls_key_pem: &[u8]) -> Result<Self> {
        let key = PrivateKeyDer::from_pem_slice(tls_key_pem).map_err(|_| {
            ClientError::keys(
                "tls.key is not a private key in PEM form",
                "restore it from a copy, or make new keys with `como keygen`",
            )
        })?;
        let mut roots = RootCertStore::empty();
        for certificate in &profile.ca {
            roots
                .add(certificate.clone())
                .map_err(|error| bad_profile(&profile.name, "ca.pem", error))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has TLS 1.3")
            .with_root_certificates(roots)
            .with_client_auth_cert(profile.certificate.clone(), key)
            .map_err(|error| bad_profile(&profile.name, "certificate.pem", error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A resumed session skips the certificates: each connection proves both ends anew.
        config.resumption = rustls::client::Resumption::disabled();
        let server_name = ServerName::try_from(profile.url.host.clone())
            .map_err(|error| bad_profile(&profile.name, "node.toml", error))?;
        Ok(Self {
            url: profile.url.clone(),
            node: profile.node.clone(),
            tls: TlsConnector::from(Arc::new(config)),
            server_name,
        })
    }

    /// Connects, and checks who answers.
    pub async fn connect(&self) -> Result<Connection> {
        let attempt = tokio::time::timeout(CONNECT_TIMEOUT, self.handshake());
        attempt
            .await
            .unwrap_or_else(|_| Err(self.unreachable(&"no answer within 10 s")))
    }

    async fn handshake(&self) -> Result<Connection> {
        let tcp = TcpStream::connect((self.url.host.as_str(), self.url.port))
            .await
            .map_err(|error| self.unreachable(&error))?;
        tcp.set_nodelay(true).map_err(|error| self.unreachable(&error))?;
        let tls = self
            .tls
            .connect(self.server_name.clone(), tcp)
            .await
            .map_err(|error| self.tls_failed(&error))?;
        self.check_node(tls.get_ref().1.peer_certificates())?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(tls))
            .await
            .map_err(|error| self.unreachable(&error))?;
        tokio::spawn(async move {
            // Its error reaches whoever waits for the answer.
            let _ = connection.await;
        });
        Ok(Connection {
            sender,
            endpoint: self.clone(),
        })
    }

    /// The certificate's chain and host name were verified by rustls; its SPIFFE id is checked here.
    fn check_node(&self, certificates: Option<&[CertificateDer<'_>]>) -> Result<()> {
        let leaf = certificates.and_then(|chain| chain.first());
        let names: Vec<String> = leaf
            .and_then(|leaf| {
                webpki::EndEntityCert::try_from(leaf)
                    .ok()
                    .map(|cert| cert.valid_uri_names().map(str::to_owned).collect())
            })
            .unwrap_or_default();
        if names == [self.node.as_str()] {
            return Ok(());
        }
        let shown = names
            .iter()
            .map(|name| crate::answer::one_line(name))
            .collect::<Vec<_>>()
            .join(", ");
        Err(ClientError::unreachable(
            format!("{} says it is `{shown}`, not {}", self.url.authority(), self.node),
            "do not trust it; ask the node's operator where the node listens now",
        ))
    }

    fn unreachable(&self, why: &dyn std::fmt::Display) -> ClientError {
        ClientError::unreachable(
            format!("no connection to {}: {why}", self.url.authority()),
            "check the network and that the node runs; its address is in your profile (node.toml)",
        )
    }

    fn tls_failed(&self, error: &std::io::Error) -> ClientError {
        ClientError::unreachable(
            format!("TLS with {} failed: {error}", self.url.authority()),
            "check that your certificate is in date and not revoked; the operator sends a new welcome file for your card",
        )
    }
}

fn bad_profile(name: &str, file: &str, error: impl std::fmt::Display) -> ClientError {
    ClientError::keys(
        format!("nodes/{name}/{file} cannot be used: {error}"),
        "join again with the welcome file for the card of these keys",
    )
}

/// An open connection. It answers one request at a time.
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    endpoint: Endpoint,
}

impl Connection {
    /// Whether the node has closed it.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends a request and waits for the head of the answer. `request` needs no host header.
    pub async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        let host = self.endpoint.url.authority();
        let host = header::HeaderValue::from_str(&host).expect("a parsed authority is a header value");
        request.headers_mut().insert(header::HOST, host);
        let answer = async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.endpoint.broken(&error)),
            Err(_) => Err(self.endpoint.unreachable(&"no answer within 60 s")),
        }
    }

    /// The whole body of a small answer.
    pub async fn collect(&self, body: Incoming) -> Result<Bytes> {
        let all = tokio::time::timeout(ANSWER_TIMEOUT, Limited::new(body, MAX_ANSWER_BYTES).collect());
        match all.await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) => Err(self.endpoint.unreachable(&error)),
            Err(_) => Err(self.endpoint.unreachable(&"the answer did not end within 60 s")),
        }
    }

    /// The next piece of a long body; `None` at its end.
    pub async fn next_piece(&self, body: &mut Incoming) -> Result<Option<Bytes>> {
        loop {
            return match tokio::time::timeout(STALL_TIMEOUT, body.frame()).await {
                Ok(None) => Ok(None),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => Ok(Some(data)),
                    Err(_trailers) => continue,
                },
                Ok(Some(Err(error))) => Err(self.endpoint.broken(&error)),
                Err(_) => Err(self.endpoint.unreachable(&"nothing came for 30 s")),
            };
        }
    }
}

impl Endpoint {
    /// TLS 1.3 servers refuse a client certificate after the client's handshake is done: the alert
    /// arrives with the first answer, inside hyper's error.
    fn broken(&self, error: &hyper::Error) -> ClientError {
        let mut source: Option<&dyn std::error::Error> = Some(error);
        while let Some(cause) = source {
            if let Some(io) = cause.downcast_ref::<std::io::Error>()
                && io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
            {
                return self.tls_failed(io);
            }
            source = cause.source();
        }
        self.unreachable(error)
    }
}
