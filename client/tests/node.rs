//! The client against a node of the test's own making: real TLS, real certificates, canned answers.
//! The node's side of the contract is tested with the node; here it is what a client must survive.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use como_client::answer::State;
use como_client::blocking::Client;
use como_client::error::ClientError;
use como_client::exit::Exit;
use como_client::keys::Bundle;
use como_client::profile::{self, Welcome};
use como_client::request::Ask;
use como_keys::pki::TrialCa;
use como_keys::signing::SigningKey;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

const NODE: &str = "spiffe://c/org/node";
const ALICE: &str = "spiffe://c/uni/alice";

/// What the node answers to one request.
#[derive(Clone)]
struct Canned {
    status: u16,
    headers: Vec<(header::HeaderName, String)>,
    body: Vec<u8>,
    /// Close the connection after so many bytes of the body, though more were announced.
    cut_at: Option<usize>,
}

fn json(status: u16, body: &str) -> Canned {
    Canned {
        status,
        headers: Vec::new(),
        body: body.as_bytes().to_vec(),
        cut_at: None,
    }
}

/// Answers by path, in order; the last one stays. And what was asked.
#[derive(Default)]
struct Script {
    answers: HashMap<String, Vec<Canned>>,
    asked: Vec<(String, HashMap<String, String>, Bytes)>,
}

struct Node {
    script: Arc<Mutex<Script>>,
    dir: TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Node {
    /// A node whose certificate says `spiffe`, and a principal that joined it as `NODE`.
    fn start(spiffe: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = TrialCa::create("c").unwrap();
        let server = ca.issue_server(&["127.0.0.1".into()], spiffe, 1).unwrap();
        let (bundle, card) = Bundle::create(&dir.path().join("keys"), &ALICE.parse().unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let welcome = Welcome {
            version: 1,
            node: NODE.into(),
            url: format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port()),
            node_key: SigningKey::generate().verifying_key().hex(),
            ca: ca.cert_pem().to_owned(),
            certificate: ca.issue_client_from_csr(&card.csr, ALICE, 1).unwrap(),
        };
        let path = dir.path().join("welcome.toml");
        std::fs::write(&path, toml::to_string(&welcome).unwrap()).unwrap();
        profile::join(bundle.dir(), &path, None).unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        runtime.spawn(serve(
            listener,
            tls(&ca, &server.cert_pem, &server.key_pem),
            script.clone(),
        ));
        Self {
            script,
            dir,
            _runtime: runtime,
        }
    }

    fn answer(&self, path: &str, canned: Canned) {
        self.script
            .lock()
            .unwrap()
            .answers
            .entry(path.into())
            .or_default()
            .push(canned);
    }

    fn asked(&self, path: &str) -> Vec<HashMap<String, String>> {
        let script = self.script.lock().unwrap();
        script
            .asked
            .iter()
            .filter(|(p, ..)| p == path)
            .map(|(_, headers, _)| headers.clone())
            .collect()
    }

    fn keys(&self) -> std::path::PathBuf {
        self.dir.path().join("keys")
    }

    fn client(&self) -> Client {
        let bundle = Bundle::open(&self.keys()).unwrap();
        Client::new(&bundle, &profile::find(bundle.dir(), None).unwrap()).unwrap()
    }

    fn fetch(&self, out: &Path) -> Result<u64, ClientError> {
        self.client().download("q1", out, &mut |_| {})
    }
}

fn tls(ca: &TrialCa, cert_pem: &str, key_pem: &str) -> tokio_rustls::TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.cert_pem().as_bytes()).unwrap())
        .unwrap();
    let clients =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients.unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(cert_pem.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap(),
        )
        .unwrap();
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

async fn serve(
    listener: tokio::net::TcpListener,
    tls: tokio_rustls::TlsAcceptor,
    script: Arc<Mutex<Script>>,
) {
    while let Ok((tcp, _)) = listener.accept().await {
        let Ok(stream) = tls.accept(tcp).await else {
            continue;
        };
        let script = script.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(script.clone(), request));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// A body that announces all and sends less.
type Body = http_body_util::combinators::BoxBody<Bytes, std::io::Error>;

async fn answer(
    script: Arc<Mutex<Script>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let headers = request
        .headers()
        .iter()
        .map(|(k, v)| (k.to_string(), v.to_str().unwrap().to_owned()))
        .collect();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let canned = {
        let mut script = script.lock().unwrap();
        script.asked.push((path.clone(), headers, body));
        match script.answers.get_mut(&path) {
            Some(answers) if answers.len() > 1 => answers.remove(0),
            Some(answers) => answers[0].clone(),
            None => json(404, r#"{"title":"no such thing here","fix":"check the path"}"#),
        }
    };
    let mut response = Response::builder().status(canned.status);
    for (name, value) in &canned.headers {
        response = response.header(name, value);
    }
    let never = |error: Infallible| match error {};
    let body = match canned.cut_at {
        None => Full::new(Bytes::from(canned.body)).map_err(never).boxed(),
        Some(at) => {
            response = response.header(header::CONTENT_LENGTH, canned.body.len());
            let data = Some(Bytes::from(canned.body[..at].to_vec())).filter(|data| !data.is_empty());
            Cut {
                data,
                moment: Box::pin(tokio::time::sleep(Duration::from_millis(200))),
            }
            .boxed()
        }
    };
    Ok(response.body(body).unwrap())
}

/// Some data, and after a moment in which it is sent, a broken connection.
struct Cut {
    data: Option<Bytes>,
    moment: std::pin::Pin<Box<tokio::time::Sleep>>,
}

impl hyper::body::Body for Cut {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, std::io::Error>>> {
        if let Some(data) = self.data.take() {
            return std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(data))));
        }
        self.moment
            .as_mut()
            .poll(context)
            .map(|()| Some(Err(std::io::Error::other("cut"))))
    }
}

const RESULT: &str = "/v1/queries/q1/result";

fn whole(bytes: &[u8], tag: &str) -> Canned {
    Canned {
        status: 200,
        headers: vec![(header::ETAG, tag.into())],
        body: bytes.to_vec(),
        cut_at: None,
    }
}

fn part(bytes: &[u8], from: usize, tag: &str) -> Canned {
    let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
    Canned {
        status: 206,
        headers: vec![(header::ETAG, tag.into()), (header::CONTENT_RANGE, range)],
        body: bytes[from..].to_vec(),
        cut_at: None,
    }
}

#[test]
fn a_broken_download_is_resumed_where_it_broke() {
    let node = Node::start(NODE);
    let bytes: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    node.answer(
        RESULT,
        Canned {
            cut_at: Some(70_000),
            ..whole(&bytes, "\"r\"")
        },
    );
    node.answer(
        RESULT,
        Canned {
            cut_at: Some(0),
            ..part(&bytes, 70_000, "\"r\"")
        },
    );
    node.answer(RESULT, part(&bytes, 70_000, "\"r\""));
    let out = node.dir.path().join("d.como");
    assert_eq!(node.fetch(&out).unwrap(), 200_000);
    assert_eq!(std::fs::read(&out).unwrap(), bytes);
    let asked = node.asked(RESULT);
    assert_eq!(asked.len(), 3);
    assert!(!asked[0].contains_key("range"));
    assert_eq!(
        (asked[1]["range"].as_str(), asked[1]["if-range"].as_str()),
        ("bytes=70000-", "\"r\"")
    );
    for left in ["d.como.part", "d.como.part.etag"] {
        assert!(!node.dir.path().join(left).exists(), "{left}");
    }
}

#[test]
fn a_later_run_resumes_and_a_changed_dataset_starts_over() {
    let node = Node::start(NODE);
    let out = node.dir.path().join("d.como");
    std::fs::write(node.dir.path().join("d.como.part"), b"old ").unwrap();
    std::fs::write(node.dir.path().join("d.como.part.etag"), "\"old\"").unwrap();
    node.answer(RESULT, whole(b"new dataset", "\"new\""));
    assert_eq!(node.fetch(&out).unwrap(), 11);
    assert_eq!(std::fs::read(&out).unwrap(), b"new dataset");
    assert_eq!(node.asked(RESULT)[0]["if-range"], "\"old\"");
}

#[test]
fn refusals_carry_the_rule_and_their_own_exit_code() {
    let node = Node::start(NODE);
    let problem = r#"{"type":"tag:x","title":"refused by policy","status":403,"detail":"level headers","rule":"partners see at most anonymized","fix":"ask at anonymized"}"#;
    node.answer("/v1/requests", json(403, problem));
    let error = node.client().ask(&Ask::ListModules).unwrap_err();
    assert_eq!(error.exit(), Exit::Refused);
    let (what, fix) = error.lines();
    assert!(what.contains("partners see at most anonymized"), "{what}");
    assert_eq!(fix, "ask at anonymized");
}

#[test]
fn every_kind_of_answer_has_its_exit_code() {
    for (status, exit) in [
        (400, Exit::Rejected),
        (404, Exit::Rejected),
        (500, Exit::NodeFailed),
        (429, Exit::NodeFailed),
    ] {
        let node = Node::start(NODE);
        node.answer("/v1/requests", json(status, "not json at all \u{1b}[2J"));
        let error = node.client().ask(&Ask::ListModules).unwrap_err();
        assert_eq!(error.exit(), exit, "{status}");
        assert_eq!(error.to_string().lines().count(), 2);
    }
}

#[test]
fn a_query_is_waited_for_through_its_states() {
    let node = Node::start(NODE);
    let path = "/v1/queries/q1";
    node.answer(
        "/v1/requests",
        json(
            202,
            r#"{"id":"q1","state":"queued","estimate":{"segments":2,"bytes":9,"seconds":0.1}}"#,
        ),
    );
    node.answer(
        path,
        json(
            200,
            r#"{"id":"q1","state":"running","progress":{"done":1,"total":2}}"#,
        ),
    );
    node.answer(path, json(503, r#"{"title":"the node is restarting"}"#));
    node.answer(path, json(200, r#"{"id":"q1","state":"done","rows":7}"#));
    let client = node.client();
    let state = client.query(Default::default()).unwrap();
    assert_eq!(
        (state.state, state.estimate.unwrap().segments),
        (State::Queued, 2)
    );
    let mut seen = Vec::new();
    let done = client.wait("q1", &mut |event| {
        if let como_client::Event::State(state) = event {
            seen.push(state.state);
        }
    });
    assert_eq!(done.unwrap().rows, 7);
    assert_eq!(seen, [State::Running, State::Done]);
}

#[test]
fn an_estimate_needs_no_query() {
    let node = Node::start(NODE);
    let answer = r#"{"decision":"allow","estimate":{"segments":3,"bytes":9,"packets":7,"seconds":0.5,"from_records":false}}"#;
    node.answer("/v1/requests", json(200, answer));
    let ask = Ask::Trace(como_client::request::Trace {
        explain: true,
        ..Default::default()
    });
    let explained = node.client().explain(&ask).unwrap();
    assert_eq!(
        (explained.decision.as_str(), explained.estimate.packets),
        ("allow", 7)
    );
}

#[test]
fn a_refused_or_failed_query_is_an_error() {
    for (state, exit) in [
        ("refused", Exit::Refused),
        ("failed", Exit::NodeFailed),
        ("cancelled", Exit::NodeFailed),
    ] {
        let node = Node::start(NODE);
        node.answer(
            "/v1/queries/q1",
            json(200, &format!(r#"{{"id":"q1","state":"{state}","detail":"why"}}"#)),
        );
        let error = node.client().wait("q1", &mut |_| {}).unwrap_err();
        assert_eq!(error.exit(), exit, "{state}");
        assert!(error.to_string().contains("why"));
    }
}

#[test]
fn a_node_with_another_identity_is_not_spoken_to() {
    let node = Node::start("spiffe://c/org/impostor");
    node.answer("/v1/requests", json(200, "{}"));
    let error = node.client().ask(&Ask::ListModules).unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable);
    assert!(error.to_string().contains("spiffe://c/org/impostor"), "{error}");
    assert!(
        node.asked("/v1/requests").is_empty(),
        "a request went to the impostor"
    );
}

#[test]
fn an_unknown_authority_and_a_closed_port_are_unreachable() {
    let node = Node::start(NODE);
    let folder = node.keys().join("nodes/node");
    std::fs::write(folder.join("ca.pem"), TrialCa::create("c").unwrap().cert_pem()).unwrap();
    let error = node.client().status().unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable);
    assert!(error.to_string().contains("TLS"), "{error}");
    let text = std::fs::read_to_string(folder.join("node.toml")).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("url = \"https://127.0.0.1:{port}\"");
    let text: Vec<&str> = text
        .lines()
        .map(|line| {
            if line.starts_with("url") {
                url.as_str()
            } else {
                line
            }
        })
        .collect();
    std::fs::write(folder.join("node.toml"), text.join("\n")).unwrap();
    let error = node.client().status().unwrap_err();
    assert!(
        error.to_string().contains("no connection to 127.0.0.1"),
        "{error}"
    );
}

#[test]
fn an_endless_answer_is_cut_off() {
    let node = Node::start(NODE);
    node.answer("/v1/requests", json(200, &format!("\"{}\"", "x".repeat(5 << 20))));
    assert_eq!(
        node.client().ask(&Ask::ListModules).unwrap_err().exit(),
        Exit::Unreachable
    );
}
