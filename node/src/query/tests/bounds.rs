//! Every limit, reached.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::rig::{Act, Rig, file_of, get, post, request};
use crate::query::{Limits, limits};

const LONG: Duration = Duration::from_secs(10);

/// A supervisor that never answers requests, and everything else at once.
fn slow_requests(_: &str, question: &crate::query::Question) -> Act {
    match question {
        crate::query::Question::Request(_) => Act::Silence,
        crate::query::Question::Result(_) => Act::Give(file_of(&vec![1; 64 << 20]), "x"),
        _ => Act::Say(200, "{}"),
    }
}

/// Starts a request that will wait for its answer.
async fn hanging(rig: &Rig, path: &str) -> tokio::task::JoinHandle<()> {
    let mut client = rig.http1(&rig.authority.client(path)).await.unwrap();
    let before = rig.asked.lock().unwrap().len();
    let task = tokio::spawn(async move {
        let _ = client.send(post("x")).await;
    });
    while rig.asked.lock().unwrap().len() == before {
        sleep(Duration::from_millis(5)).await;
    }
    task
}

#[tokio::test(flavor = "multi_thread")]
async fn max_connections_per_principal() {
    let rig = Rig::with(
        Limits {
            connections_per_principal: 1,
            ..Limits::default()
        },
        slow_requests,
    )
    .await;
    let mut first = rig.http1(&rig.alice()).await.unwrap();
    assert_eq!(first.send(get("/v1/status")).await.unwrap().status, 200);
    let refused = rig.get(&rig.alice(), "/v1/status").await.unwrap();
    assert_eq!(
        (refused.status.as_u16(), refused.problem().as_str()),
        (429, "too-many")
    );
    assert_eq!(refused.header("retry-after"), limits::RETRY_AFTER_S.to_string());
    assert_eq!(
        rig.get(&rig.authority.client("upenn/bob"), "/v1/status")
            .await
            .unwrap()
            .status,
        200
    );
    drop(first);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(rig.get(&rig.alice(), "/v1/status").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn max_connections() {
    let rig = Rig::with(
        Limits {
            connections: 1,
            ..Limits::default()
        },
        slow_requests,
    )
    .await;
    let mut first = rig.http2(&rig.alice()).await.unwrap();
    assert_eq!(first.send(get("/v1/status")).await.unwrap().status, 200);
    let refused = rig
        .get(&rig.authority.client("upenn/bob"), "/v1/status")
        .await
        .unwrap();
    assert_eq!(
        (refused.status.as_u16(), refused.problem().as_str()),
        (503, "busy")
    );
    assert!(!refused.header("retry-after").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn max_requests_per_principal() {
    let rig = Rig::with(
        Limits {
            requests_per_principal: 1,
            ..Limits::default()
        },
        slow_requests,
    )
    .await;
    let waiting = hanging(&rig, "upenn/alice").await;
    let refused = rig.get(&rig.alice(), "/v1/status").await.unwrap();
    assert_eq!(
        (refused.status.as_u16(), refused.problem().as_str()),
        (429, "too-many")
    );
    assert_eq!(
        rig.get(&rig.authority.client("upenn/bob"), "/v1/status")
            .await
            .unwrap()
            .status,
        200
    );
    waiting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn max_asks_in_flight() {
    let rig = Rig::with(
        Limits {
            asks_in_flight: 1,
            ..Limits::default()
        },
        slow_requests,
    )
    .await;
    let waiting = hanging(&rig, "upenn/alice").await;
    let bob = rig.authority.client("upenn/bob");
    let refused = rig.get(&bob, "/v1/status").await.unwrap();
    assert_eq!(
        (refused.status.as_u16(), refused.problem().as_str()),
        (503, "busy")
    );
    // A client that goes away takes its question back.
    waiting.abort();
    sleep(Duration::from_millis(200)).await;
    assert_eq!(rig.get(&bob, "/v1/status").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn max_buffered_body_bytes() {
    let rig = Rig::with(
        Limits {
            buffered_body_bytes: 1000,
            ..Limits::default()
        },
        slow_requests,
    )
    .await;
    let refused = rig.once(&rig.alice(), post(vec![1; 1001])).await.unwrap();
    assert_eq!(
        (refused.status.as_u16(), refused.problem().as_str()),
        (503, "busy")
    );
    // `hanging` holds one byte.
    let waiting = hanging(&rig, "upenn/alice").await;
    assert_eq!(
        rig.once(&rig.alice(), post(vec![1; 1000])).await.unwrap().status,
        503
    );
    waiting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn max_body_bytes() {
    let rig = Rig::with(
        Limits {
            body_bytes: 1000,
            ..Limits::default()
        },
        slow_requests,
    )
    .await;
    for http2 in [false, true] {
        let card = rig.alice();
        let mut client = if http2 {
            rig.http2(&card).await
        } else {
            rig.http1(&card).await
        }
        .unwrap();
        let refused = client.send(post(vec![1; 1001])).await.unwrap();
        assert_eq!(
            (refused.status.as_u16(), refused.problem().as_str()),
            (413, "too-large")
        );
    }
    // Announced as nothing, sent in chunks without end.
    let mut stream = rig.tls(Some(&rig.alice()), "http/1.1").await.unwrap();
    let head = "POST /v1/requests HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-capnp\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..3 {
        let _ = stream
            .write_all(format!("200\r\n{}\r\n", "a".repeat(0x200)).as_bytes())
            .await;
    }
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
    assert!(rig.asked.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_body_limit_takes_a_whole_module_and_answers_beyond_it() {
    let rig = Rig::new().await;
    let card = rig.alice();
    assert_eq!(
        rig.once(&card, post(vec![1; limits::MAX_BODY_BYTES]))
            .await
            .unwrap()
            .status,
        200
    );
    for http2 in [false, true] {
        let mut client = if http2 {
            rig.http2(&card).await
        } else {
            rig.http1(&card).await
        }
        .unwrap();
        let refused = client.send(post(vec![1; 16 << 20])).await.unwrap();
        assert_eq!(refused.status, 413);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn max_header_bytes_and_headers() {
    let rig = Rig::new().await;
    let long = "a".repeat(limits::MAX_HEADER_BYTES);
    let refused = rig
        .once(
            &rig.alice(),
            request("GET", "/v1/status", &[("x-long", &long)], Bytes::new()),
        )
        .await;
    assert_eq!(refused.unwrap().status, 431);
    let many: Vec<_> = (0..limits::MAX_HEADERS + 1).map(|i| format!("x-{i}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "1")).collect();
    let refused = rig
        .once(&rig.alice(), request("GET", "/v1/status", &many, Bytes::new()))
        .await;
    assert_eq!(refused.unwrap().status, 431);
    let mut client = rig.http2(&rig.alice()).await.unwrap();
    let answer = client
        .send(request("GET", "/v1/status", &[("x-long", &long)], Bytes::new()))
        .await;
    assert!(answer.is_err() || answer.unwrap().status == 431);
    assert!(rig.asked.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn handshake_timeout() {
    let limits = Limits {
        handshake_timeout: Duration::from_millis(100),
        handshakes: 1,
        ..Limits::default()
    };
    let rig = Rig::with(limits, slow_requests).await;
    let mut silent = TcpStream::connect(rig.address).await.unwrap();
    assert_eq!(
        timeout(LONG, silent.read(&mut [0; 8]))
            .await
            .unwrap()
            .unwrap_or(0),
        0
    );
    assert_eq!(
        rig.get(&rig.alice(), "/v1/status").await.unwrap().status,
        200,
        "its permit came back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn header_read_timeout() {
    let limits = Limits {
        header_read_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let rig = Rig::with(limits, slow_requests).await;
    let mut stream = rig.tls(Some(&rig.alice()), "http/1.1").await.unwrap();
    stream
        .write_all(b"GET /v1/status HTTP/1.1\r\nx-slow: ")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let _ = timeout(LONG, stream.read_to_end(&mut rest))
        .await
        .expect("the connection was to be closed");
    assert!(rig.asked.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn body_read_timeout() {
    let limits = Limits {
        body_read_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let rig = Rig::with(limits, slow_requests).await;
    let mut stream = rig.tls(Some(&rig.alice()), "http/1.1").await.unwrap();
    let head = "POST /v1/requests HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-capnp\r\ncontent-length: 9\r\n\r\nhalf";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    timeout(LONG, stream.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_timeout() {
    let limits = Limits {
        idle_timeout: Duration::from_millis(200),
        header_read_timeout: LONG,
        ..Limits::default()
    };
    let rig = Rig::with(limits, slow_requests).await;
    // Never says a word of HTTP/2.
    let mut silent = rig.tls(Some(&rig.alice()), "h2").await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(LONG, silent.read_to_end(&mut rest))
        .await
        .expect("the connection was to be closed");
    // A request that waits for its answer is not idle.
    let waiting = hanging(&rig, "upenn/alice").await;
    sleep(Duration::from_millis(600)).await;
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn max_connection_age() {
    let limits = Limits {
        connection_age: Duration::from_millis(200),
        ..Limits::default()
    };
    let rig = Rig::with(limits, slow_requests).await;
    for http2 in [false, true] {
        let card = rig.alice();
        let mut client = if http2 {
            rig.http2(&card).await
        } else {
            rig.http1(&card).await
        }
        .unwrap();
        assert_eq!(client.send(get("/v1/status")).await.unwrap().status, 200);
        sleep(Duration::from_millis(600)).await;
        assert!(client.send(get("/v1/status")).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_age_grace() {
    let limits = Limits {
        connection_age: Duration::from_millis(100),
        connection_age_grace: Duration::from_millis(200),
        ..Limits::default()
    };
    let rig = Rig::with(limits, slow_requests).await;
    let waiting = hanging(&rig, "upenn/alice").await;
    timeout(LONG, waiting)
        .await
        .expect("cut after the grace")
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn max_streams_per_principal_and_in_all() {
    let limits = Limits {
        streams_per_principal: 1,
        streams: 2,
        ..Limits::default()
    };
    let rig = Rig::with(limits, slow_requests).await;
    let path = "/v1/queries/q/result";
    let (mut a, mut b) = (
        rig.http2(&rig.alice()).await.unwrap(),
        rig.http2(&rig.authority.client("b")).await.unwrap(),
    );
    let first = a.head(get(path)).await.unwrap();
    assert_eq!(a.send(get(path)).await.unwrap().problem(), "too-many");
    let _second = b.head(get(path)).await.unwrap();
    assert_eq!(
        rig.get(&rig.authority.client("c"), path).await.unwrap().problem(),
        "busy"
    );
    drop(first); // a client that gives up frees its place
    sleep(Duration::from_millis(300)).await;
    assert_eq!(a.head(get(path)).await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_answers_finish_and_takes_no_new_connection() {
    let mut rig = Rig::with(Limits::default(), |_, question| match question {
        crate::query::Question::Result(_) => Act::Give(file_of(&vec![1; 32 << 20]), "x"),
        _ => Act::Say(200, "{}"),
    })
    .await;
    let mut client = rig.http1(&rig.alice()).await.unwrap();
    let response = client.head(get("/v1/queries/q/result")).await.unwrap();
    let mut idle = rig.http2(&rig.alice()).await.unwrap();
    assert_eq!(idle.send(get("/v1/status")).await.unwrap().status, 200);
    rig.stop();
    sleep(Duration::from_millis(200)).await;
    assert!(TcpStream::connect(rig.address).await.is_err(), "still listening");
    assert!(idle.send(get("/v1/status")).await.is_err());
    let body = http_body_util::BodyExt::collect(response.into_body())
        .await
        .unwrap()
        .to_bytes();
    assert_eq!(body.len(), 32 << 20);
    assert!(timeout(LONG, rig.serving).await.unwrap().unwrap(), "drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_time() {
    let mut rig = Rig::with(
        Limits {
            drain_time: Duration::from_millis(200),
            ..Limits::default()
        },
        slow_requests,
    )
    .await;
    let waiting = hanging(&rig, "upenn/alice").await;
    rig.stop();
    assert!(
        !timeout(LONG, &mut rig.serving).await.unwrap().unwrap(),
        "it was cut"
    );
    timeout(LONG, waiting).await.unwrap().unwrap();
}
