//! The client of one node: asks, waits and fetches.
//!
//! Owns the order of calls and what is tried again (reads are, requests are not: a signed request is
//! good once). Must never show anything: callers are told through [`Event`]s.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use como_keys::signing::SigningKey;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, header};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use crate::answer::{Catalog, Explained, Problem, QueryState, State};
use crate::connection::{Connection, Endpoint};
use crate::download;
use crate::error::{ClientError, Result};
use crate::keys::Bundle;
use crate::profile::Profile;
use crate::request::{self, Ask, Parties};
use crate::spiffe::SpiffeId;
use crate::time::wall_clock_ns;

/// Shortest pause between two looks at a query.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(3);
/// Longest pause between two looks at a query.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(2);
/// A pause is this part of what the query has taken so far.
const POLLS_PER_WAIT: u32 = 8;
/// How often in a row a read is tried again when the node cannot be reached.
pub(crate) const READ_RETRIES: u32 = 5;
/// Pause before the first retry; it doubles.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Longest query id that is put into a path.
const MAX_ID_CHARS: usize = 64;
/// Media type of requests.
const CAPNP: &str = "application/x-capnp";

/// What happens while one waits.
#[derive(Debug)]
pub enum Event<'a> {
    /// The query moved on.
    State(&'a QueryState),
    /// So much of the dataset is here.
    Fetched {
        /// Bytes on disk.
        done: u64,
        /// Bytes of the whole dataset.
        total: u64,
    },
    /// The connection broke; it is tried again.
    Retrying(&'a ClientError),
}

/// A node, as one principal sees it.
pub struct Client {
    endpoint: Endpoint,
    node: SpiffeId,
    asker: SpiffeId,
    request_key: SigningKey,
    connection: Mutex<Option<Connection>>,
    /// Whether the node ever answered: a node that was never there is not waited for.
    reached: AtomicBool,
}

impl Client {
    /// Reads the keys that requests and TLS need. Connects when first asked.
    pub fn new(bundle: &Bundle, profile: &Profile) -> Result<Self> {
        Ok(Self {
            endpoint: Endpoint::new(profile, &bundle.tls_key_pem()?)?,
            node: profile.node.clone(),
            asker: bundle.name()?,
            request_key: bundle.request_key()?,
            connection: Mutex::new(None),
            reached: AtomicBool::new(false),
        })
    }

    /// Signs a request, sends it once, and gives the JSON answer.
    pub async fn ask(&self, ask: &Ask) -> Result<serde_json::Value> {
        self.ask_for(ask).await
    }

    /// Starts a query. A refusal is an error.
    pub async fn query(&self, query: request::Query) -> Result<QueryState> {
        accepted(self.ask_for(&Ask::Query(query)).await?)
    }

    /// Starts a trace download. A refusal is an error.
    pub async fn trace(&self, trace: request::Trace) -> Result<QueryState> {
        accepted(self.ask_for(&Ask::Trace(trace)).await?)
    }

    /// What a query or trace download with `explain` set would cost. A refusal is an error.
    pub async fn explain(&self, ask: &Ask) -> Result<Explained> {
        self.ask_for(ask).await
    }

    /// Submits a signed module.
    pub async fn submit(&self, module: Vec<u8>) -> Result<serde_json::Value> {
        self.ask(&Ask::SubmitModule(module)).await
    }

    /// Where a query stands.
    pub async fn state(&self, id: &str) -> Result<QueryState> {
        self.read(&format!("/v1/queries/{}", checked(id)?)).await
    }

    /// What the node is doing.
    pub async fn status(&self) -> Result<serde_json::Value> {
        self.read("/v1/status").await
    }

    /// What the node has.
    pub async fn catalog(&self) -> Result<Catalog> {
        self.read("/v1/catalog").await
    }

    /// Waits until the query's dataset can be fetched. Any other end is an error.
    pub async fn wait(&self, id: &str, on_event: &mut dyn FnMut(Event<'_>)) -> Result<QueryState> {
        let started = Instant::now();
        loop {
            let state = self.state(id).await?;
            on_event(Event::State(&state));
            if state.state.is_final() {
                return ended_well(state);
            }
            // A short query is seen to end at once, and a long one is asked for seldom.
            let pause = started.elapsed() / POLLS_PER_WAIT;
            tokio::time::sleep(pause.clamp(MIN_POLL_INTERVAL, MAX_POLL_INTERVAL)).await;
        }
    }

    /// Fetches a query's dataset into `out`, resuming what an earlier attempt left beside it.
    pub async fn download(&self, id: &str, out: &Path, on_event: &mut dyn FnMut(Event<'_>)) -> Result<u64> {
        download::fetch(
            self,
            &format!("/v1/queries/{}/result", checked(id)?),
            out,
            on_event,
        )
        .await
    }

    /// Sends a GET and gives the answer and the connection that its body comes over, which the caller
    /// must read to the end or drop.
    pub(crate) async fn open(
        &self,
        path: &str,
        headers: &[(header::HeaderName, String)],
    ) -> Result<(Connection, Response<Incoming>)> {
        let mut connection = self.take_connection().await?;
        let mut request = Request::builder().method(Method::GET).uri(path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::default())
            .map_err(|error| bad_request(&error))?;
        let response = connection.send(request).await?;
        Ok((connection, response))
    }

    /// Keeps a connection, whose last body was read to the end, for the next request.
    pub(crate) async fn give_back(&self, connection: Connection) {
        *self.connection.lock().await = Some(connection);
    }

    async fn take_connection(&self) -> Result<Connection> {
        match self.connection.lock().await.take() {
            Some(connection) if !connection.is_closed() => Ok(connection),
            _ => {
                let connection = self.endpoint.connect().await?;
                self.reached.store(true, Relaxed);
                Ok(connection)
            }
        }
    }

    async fn ask_for<T: DeserializeOwned>(&self, ask: &Ask) -> Result<T> {
        let parties = Parties {
            node: &self.node,
            asker: &self.asker,
        };
        let body = request::sign(ask, parties, &self.request_key, wall_clock_ns());
        let request = Request::builder()
            .method(Method::POST)
            .uri("/v1/requests")
            .header(header::CONTENT_TYPE, CAPNP)
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| bad_request(&error))?;
        let mut connection = self.take_connection().await?;
        let response = connection.send(request).await?;
        self.parse(connection, response).await
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let mut pause = RETRY_PAUSE;
        for _ in 0..READ_RETRIES {
            match self.read_once(path).await {
                Err(error) if may_pass(&error) && self.reached.load(Relaxed) => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                other => return other,
            }
        }
        self.read_once(path).await
    }

    async fn read_once<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let (connection, response) = self
            .open(path, &[(header::ACCEPT, "application/json".into())])
            .await?;
        self.parse(connection, response).await
    }

    async fn parse<T: DeserializeOwned>(
        &self,
        connection: Connection,
        response: Response<Incoming>,
    ) -> Result<T> {
        let status = response.status();
        let body = connection.collect(response.into_body()).await?;
        self.give_back(connection).await;
        if !status.is_success() {
            return Err(problem(status, &body));
        }
        serde_json::from_slice(&body).map_err(|error| {
            ClientError::unreachable(
                format!("the node's answer is not understood: {error}"),
                "use a como of the same release as the node",
            )
        })
    }
}

/// An error answer as an error of ours, by the HTTP status.
pub(crate) fn problem(status: StatusCode, body: &[u8]) -> ClientError {
    let mut problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    problem.status = status.as_u16();
    let problem = Box::new(problem);
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ClientError::Refused(problem),
        StatusCode::TOO_MANY_REQUESTS => ClientError::NodeFailed(problem),
        status if status.is_client_error() => ClientError::Rejected(problem),
        _ => ClientError::NodeFailed(problem),
    }
}

/// Whether a read that failed so is worth another try: the network, or a node that restarts.
pub(crate) fn may_pass(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } => true,
        ClientError::NodeFailed(problem) => matches!(problem.status, 429 | 503),
        _ => false,
    }
}

fn accepted(state: QueryState) -> Result<QueryState> {
    if state.state.is_final() {
        ended_well(state)
    } else {
        Ok(state)
    }
}

fn ended_well(state: QueryState) -> Result<QueryState> {
    match state.state {
        State::Refused => Err(ClientError::Refused(Box::new(state.problem()))),
        State::Failed | State::Cancelled => Err(ClientError::NodeFailed(Box::new(state.problem()))),
        State::Waiting | State::Queued | State::Running | State::Done | State::Other => Ok(state),
    }
}

fn checked(id: &str) -> Result<&str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !id.is_empty() && id.len() <= MAX_ID_CHARS && id.bytes().all(plain) {
        return Ok(id);
    }
    Err(ClientError::usage(
        format!("`{}` is not the id of a query", crate::answer::one_line(id)),
        "take the id that `como query` or `como trace` printed",
    ))
}

fn bad_request(error: &hyper::http::Error) -> ClientError {
    ClientError::usage(
        format!("the request cannot be written as HTTP: {error}"),
        "report this as a bug of como",
    )
}
