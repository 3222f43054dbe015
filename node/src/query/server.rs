//! Accepts connections and keeps each within its limits, from the first byte to the drain. Must never look
//! into a request: `routes.rs` does.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls_pki_types::UnixTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::admission::{Admission, Kind, Place};
use super::body::ResponseBody;
use super::limits::Limits;
use super::port::SupervisorPort;
use super::problem::Problem;
use super::routes::Api;
use super::tls::{Client, Tls};

/// How long to wait before the next accept when the system refused one (no descriptors left, mostly).
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` is ready, then drains; returns whether all answers could be finished in time.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<Tls>,
    port: SupervisorPort,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> bool {
    let handshakes = Arc::new(Semaphore::new(limits.handshakes));
    let drain_time = limits.drain_time;
    let api = Arc::new(Api {
        port,
        admission: Admission::new(&limits),
        body_memory: Arc::new(Semaphore::new(limits.buffered_body_bytes)),
        limits,
    });
    let (draining, drain) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            (stream, permit) = accept(&listener, &handshakes) => {
                connections.spawn(connection(api.clone(), tls.clone(), stream, permit, drain.clone()));
            }
        }
    }
    drop(listener);
    draining.send_replace(true);
    let drained = timeout(drain_time, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
    connections.shutdown().await;
    drained.is_ok()
}

/// The next connection, with its permit for a handshake.
async fn accept(listener: &TcpListener, handshakes: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        let Ok(permit) = handshakes.clone().acquire_owned().await else {
            std::future::pending::<()>().await;
            continue;
        };
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection from its first byte to its last.
async fn connection(
    api: Arc<Api>,
    tls: Arc<Tls>,
    stream: TcpStream,
    handshake: OwnedSemaphorePermit,
    drain: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let accepting = TlsAcceptor::from(tls.config()).accept(stream);
    let stream = match timeout(api.limits.handshake_timeout, accepting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::info!(%error, "a TLS handshake failed"),
        Err(_) => return tracing::info!("a TLS handshake took too long"),
    };
    let session = stream.get_ref().1;
    let chain = session.peer_certificates().unwrap_or_default();
    let chain = chain.iter().map(|c| c.clone().into_owned()).collect();
    let http2 = session.alpn_protocol() == Some(b"h2");
    let client = match Client::new(tls, chain) {
        Ok(client) => Arc::new(client),
        Err(error) => return tracing::info!(%error, "a client names nobody"),
    };
    let place = api.admission.enter(Kind::Connection, client.identity());
    let served = Arc::new(Served {
        refusal: place.as_ref().err().cloned(),
        client,
        close: Notify::new(),
        busy: AtomicUsize::new(0),
        idle: Notify::new(),
        api,
    });
    // A refused connection keeps its handshake permit: refusals are bounded too.
    let _held: (Option<Place>, Option<OwnedSemaphorePermit>) = match place {
        Ok(place) => (Some(place), None),
        Err(_) => (None, Some(handshake)),
    };
    served.run(TokioIo::new(stream), http2, drain).await;
}

/// A connection past its handshake.
struct Served {
    api: Arc<Api>,
    client: Arc<Client>,
    /// Why every request is refused, where it is.
    refusal: Option<Problem>,
    /// Asks the connection to end after the answers under way.
    close: Notify,
    /// Requests whose answer is not sent yet.
    busy: AtomicUsize,
    /// Told when `busy` falls to zero.
    idle: Notify,
}

impl Served {
    async fn run(
        self: Arc<Self>,
        io: TokioIo<tokio_rustls::server::TlsStream<TcpStream>>,
        http2: bool,
        mut drain: watch::Receiver<bool>,
    ) {
        let limits = self.api.limits.clone();
        let builder = http_builder(&limits, http2);
        let answering = self.clone();
        let service = service_fn(move |request| {
            let served = answering.clone();
            async move { Ok::<_, std::convert::Infallible>(served.answer(request).await) }
        });
        let connection = builder.serve_connection(io, service);
        tokio::pin!(connection);
        let first_age = if self.refusal.is_some() {
            limits.refusal_time
        } else {
            limits.connection_age
        };
        let age = sleep(first_age);
        let idle = sleep(limits.idle_timeout);
        tokio::pin!(age, idle);
        let mut closing = false;
        loop {
            let grace = tokio::select! {
                _ = &mut connection => return,
                () = self.client.abandoned() => return,
                // Longer than the drain, which `serve` itself cuts and reports.
                _ = drain.wait_for(|draining| *draining), if !closing => limits.connection_age_grace,
                () = self.close.notified(), if !closing => limits.refusal_time,
                () = &mut age => {
                    if closing || self.refusal.is_some() {
                        return;
                    }
                    limits.connection_age_grace
                }
                () = self.idle.notified() => {
                    idle.as_mut().reset(Instant::now() + limits.idle_timeout);
                    continue;
                }
                () = &mut idle => {
                    if self.busy.load(Ordering::Acquire) == 0 {
                        return;
                    }
                    idle.as_mut().reset(Instant::now() + limits.idle_timeout);
                    continue;
                }
            };
            closing = true;
            age.as_mut().reset(Instant::now() + grace);
            connection.as_mut().graceful_shutdown();
        }
    }

    /// Answers one request, whatever it is.
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<ResponseBody> {
        self.busy.fetch_add(1, Ordering::AcqRel);
        let busy = Busy(self.clone());
        let refusal = match &self.refusal {
            Some(problem) => Some(problem.clone()),
            None => {
                let checked = self.client.still_good(UnixTime::now());
                checked.err().map(|error| Problem::Certificate(error.to_string()))
            }
        };
        let answered = match refusal {
            None => self.api.answer(&self.client, request).await,
            Some(problem) => {
                let (head, body) = request.into_parts();
                self.api.discard(&head.headers, body).await;
                self.close.notify_one();
                Err(problem)
            }
        };
        let mut response = answered.unwrap_or_else(|problem| problem.response());
        response.body_mut().hold(busy);
        response
    }
}

/// Counts a request as under way until its answer is sent.
struct Busy(Arc<Served>);

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.busy.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_one();
        }
    }
}

/// HTTP/1.1 or HTTP/2, as the handshake agreed, with the limits of both.
fn http_builder(limits: &Limits, http2: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        .max_headers(limits.headers)
        .max_buf_size(limits.header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.slow_reader_timeout)
        .keep_alive_timeout(limits.slow_reader_timeout);
    if http2 {
        builder.http2_only()
    } else {
        builder.http1_only()
    }
}
