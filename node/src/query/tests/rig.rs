//! A serving node side, the supervisor that answers it, and clients.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use como_capnp::wire_capnp::{ask, down, up};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::Resumption;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::authority::{Authority, Card};
use crate::link::{self, LinkReceiver, LinkSender};
use crate::query::{AuthorityParameters, Limits, Question, SupervisorPort, Tls, serve};

/// What the played supervisor does with a question.
pub enum Act {
    Say(u16, &'static str),
    Give(File, &'static str),
    Silence,
    HangUp,
}

type Asked = Arc<Mutex<Vec<(String, Question)>>>;

pub struct Rig {
    pub address: SocketAddr,
    pub authority: Authority,
    pub tls: Arc<Tls>,
    pub asked: Asked,
    pub serving: tokio::task::JoinHandle<bool>,
    stop: Option<oneshot::Sender<()>>,
}

impl Rig {
    /// A server whose supervisor answers every question with its name.
    pub async fn new() -> Self {
        Self::with(Limits::default(), |_, _| Act::Say(200, "{\"ok\":true}")).await
    }

    pub async fn with(limits: Limits, act: impl FnMut(&str, &Question) -> Act + Send + 'static) -> Self {
        let authority = Authority::new("lab.example");
        let pinned = [authority.pinned()];
        Self::pinning(authority, &pinned, limits, act).await
    }

    pub async fn pinning(
        authority: Authority,
        pinned: &[AuthorityParameters],
        limits: Limits,
        act: impl FnMut(&str, &Question) -> Act + Send + 'static,
    ) -> Self {
        let (certificate, key) = authority.server();
        let tls = Arc::new(Tls::new(&certificate, &key, pinned).unwrap());
        let (ours, theirs) = link::pair().unwrap();
        let (sender, receiver) = link::split("supervisor", ours).unwrap();
        let (port, _writer, mut commands) = SupervisorPort::start(sender, receiver, &limits).unwrap();
        let asked = play(theirs, act);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, tls.clone(), port, limits, async move {
            let commands = async { while commands.recv().await.is_some() {} };
            tokio::select! {
                _ = stopped => {}
                () = async { commands.await; std::future::pending().await } => {}
            }
        }));
        Rig {
            address,
            authority,
            tls,
            asked,
            serving,
            stop: Some(stop),
        }
    }

    pub fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub fn alice(&self) -> Card {
        self.authority.client("upenn/alice")
    }

    pub async fn tls(&self, card: Option<&Card>, alpn: &str) -> std::io::Result<TlsStream<TcpStream>> {
        tls_to(self.address, &self.authority.pem, card, alpn).await
    }

    pub async fn http1(&self, card: &Card) -> Result<Client, String> {
        let stream = self
            .tls(Some(card), "http/1.1")
            .await
            .map_err(|e| e.to_string())?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        Ok(Client::One(sender))
    }

    pub async fn http2(&self, card: &Card) -> Result<Client, String> {
        let stream = self.tls(Some(card), "h2").await.map_err(|e| e.to_string())?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        Ok(Client::Two(sender))
    }

    /// One request over a connection of its own.
    pub async fn once(&self, card: &Card, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        self.http1(card).await?.send(request).await
    }

    pub async fn get(&self, card: &Card, path: &str) -> Result<Answer, String> {
        self.once(card, get(path)).await
    }
}

/// An HTTP connection of a client.
pub enum Client {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// The short name of a problem; checks that it is one.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(json["status"], self.status.as_u16());
        for field in ["title", "detail", "fix"] {
            assert!(!json[field].as_str().unwrap().is_empty(), "{json}");
        }
        let kind = json["type"].as_str().unwrap();
        kind.strip_prefix("tag:como,2026:problem/").unwrap().to_string()
    }
}

impl Client {
    /// Sends, and waits for the head of the answer.
    pub async fn head(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> hyper::Result<hyper::Response<hyper::body::Incoming>> {
        match self {
            Client::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Client::Two(sender) => {
                let path = request.uri().path().to_string();
                *request.uri_mut() = format!("https://localhost{path}").parse().unwrap();
                request.headers_mut().remove("host");
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let response = self.head(request).await.map_err(|e| format!("{e:?}"))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|e| format!("{e:?}"))?.to_bytes();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}

pub fn get(path: &str) -> Request<Full<Bytes>> {
    request("GET", path, &[], Bytes::new())
}

pub fn post(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    request(
        "POST",
        "/v1/requests",
        &[("content-type", "application/x-capnp")],
        body.into(),
    )
}

pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Bytes) -> Request<Full<Bytes>> {
    let mut builder = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::new(body)).unwrap()
}

pub async fn tls_to(
    address: SocketAddr,
    ca_pem: &str,
    card: Option<&Card>,
    alpn: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(Arc::new(client_config(ca_pem, card, alpn)));
    let stream = TcpStream::connect(address).await?;
    connector
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await
}

pub fn client_config(ca_pem: &str, card: Option<&Card>, alpn: &str) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match card {
        Some(card) => builder
            .with_client_auth_cert(card.chain.clone(), card.key.clone_key())
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    config.resumption = Resumption::in_memory_sessions(8);
    config
}

/// A file with these bytes, read from its start.
pub fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Plays the supervisor at `end` until the link closes.
fn play(end: std::os::fd::OwnedFd, mut act: impl FnMut(&str, &Question) -> Act + Send + 'static) -> Asked {
    let asked = Asked::default();
    let seen = asked.clone();
    let (mut sender, mut receiver) = link::split("query", end).unwrap();
    std::thread::spawn(move || {
        while let Some((id, asker, question)) = next_question(&mut receiver) {
            seen.lock().unwrap().push((asker.clone(), question.clone()));
            match act(&asker, &question) {
                Act::Say(status, body) => answer(&mut sender, id, status, body, None, ""),
                Act::Give(file, etag) => answer(&mut sender, id, 200, "", Some(file), etag),
                Act::Silence => {}
                Act::HangUp => return sender.shutdown(),
            }
        }
    });
    asked
}

fn next_question(receiver: &mut LinkReceiver) -> Option<(u64, String, Question)> {
    let frame = receiver.recv().ok()??;
    let message = como_capnp::read_message(&frame.bytes).unwrap();
    let up::Ask(asked) = message.get_root::<up::Reader>().unwrap().which().unwrap() else {
        panic!("only questions come up")
    };
    let asked = asked.unwrap();
    let text = |t: capnp::text::Reader| t.to_string().unwrap();
    let question = match asked.which().unwrap() {
        ask::Request(bytes) => Question::Request(Bytes::copy_from_slice(bytes.unwrap())),
        ask::State(id) => Question::State(text(id.unwrap())),
        ask::Result(id) => Question::Result(text(id.unwrap())),
        ask::Status(()) => Question::Status,
        ask::Catalog(()) => Question::Catalog,
        ask::Metrics(()) => Question::Metrics,
        ask::Node(()) => Question::Node,
    };
    Some((asked.get_id(), text(asked.get_asker().unwrap()), question))
}

pub fn answer(sender: &mut LinkSender, id: u64, status: u16, body: &str, file: Option<File>, etag: &str) {
    let mut message = capnp::message::Builder::new_default();
    let mut answer = message.init_root::<down::Builder>().init_answer();
    answer.set_id(id);
    answer.set_status(status);
    answer.set_body(body.as_bytes());
    answer.set_file(file.is_some());
    answer.set_etag(etag);
    let descriptors: Vec<_> = file.iter().map(AsFd::as_fd).collect();
    let _ = sender.send_with(&message, &descriptors);
}
