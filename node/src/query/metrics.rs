//! The operator's metrics: plain HTTP on a loopback address, one path, no names. Must never answer anybody of another
//! machine, nor a web page that a browser of this machine has open.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::limits::{MAX_HEADER_BYTES, MAX_HEADERS, MAX_METRICS_CONNECTIONS, METRICS_TIMEOUT};
use super::port::{NoReply, Question, SupervisorPort};
use super::server::ACCEPT_PAUSE;

/// The media type of the Prometheus text exposition format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, port: SupervisorPort) {
    let places = Arc::new(Semaphore::new(MAX_METRICS_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, peer)) if peer.ip().is_loopback() => stream,
            Ok(_) => continue,
            Err(error) => {
                tracing::warn!(%error, "a connection for metrics could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let port = port.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let port = port.clone();
                async move { Ok::<_, std::convert::Infallible>(answer(&port, &request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .keep_alive(false)
                .max_headers(MAX_HEADERS)
                .max_buf_size(MAX_HEADER_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            let _ = timeout(METRICS_TIMEOUT, connection).await;
            drop(place);
        });
    }
}

async fn answer(port: &SupervisorPort, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !names_this_machine(request.headers().get(HOST)) {
        return told(StatusCode::FORBIDDEN, "Ask 127.0.0.1, [::1] or localhost.\n");
    }
    if request.uri().path() != "/metrics" {
        return told(StatusCode::NOT_FOUND, "The metrics are at /metrics.\n");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return told(StatusCode::METHOD_NOT_ALLOWED, "Use GET.\n");
    }
    match port.ask("", 0, &Question::Metrics).await {
        Ok(reply) => response(StatusCode::OK, reply.body),
        Err(NoReply::Busy | NoReply::Slow) => told(StatusCode::SERVICE_UNAVAILABLE, "Try again later.\n"),
        Err(NoReply::Gone) => told(StatusCode::SERVICE_UNAVAILABLE, "The supervisor is away.\n"),
    }
}

/// Whether a request is meant for this machine. A web page can make a browser connect here under a name of its own
/// (DNS rebinding), and would read the answer: its requests name that host.
fn names_this_machine(host: Option<&HeaderValue>) -> bool {
    let Some(host) = host.and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn told(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    response(status, Bytes::from_static(text.as_bytes()))
}

fn response(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_for_this_machine_are_answered() {
        let named = |host: &'static str| names_this_machine(Some(&HeaderValue::from_static(host)));
        for good in [
            "127.0.0.1:9464",
            "[::1]:9464",
            "localhost:9464",
            "LOCALHOST",
            "127.0.0.1",
        ] {
            assert!(named(good), "{good}");
        }
        for bad in [
            "rebound.example:9464",
            "192.0.2.1",
            "",
            "localhost.example",
            "127.0.0.1.example",
        ] {
            assert!(!named(bad), "{bad}");
        }
        assert!(!names_this_machine(None));
    }
}
