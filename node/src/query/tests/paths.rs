//! The HTTP paths: what is asked of the supervisor, and what comes back.

use std::time::Duration;

use bytes::Bytes;

use super::rig::{Act, Rig, get, post, request};
use crate::query::{Limits, Question};

#[tokio::test(flavor = "multi_thread")]
async fn every_path_asks_its_question_and_relays_the_answer() {
    let rig = Rig::new().await;
    let card = rig.alice();
    for http2 in [false, true] {
        let mut client = if http2 {
            rig.http2(&card).await
        } else {
            rig.http1(&card).await
        }
        .unwrap();
        for (path, question) in [
            ("/v1/status", Question::Status),
            ("/v1/catalog", Question::Catalog),
            ("/v1/node", Question::Node),
            ("/v1/queries/q-17", Question::State("q-17".into())),
            ("/v1/queries/q-17/result", Question::Result("q-17".into())),
        ] {
            let answer = client.send(get(path)).await.unwrap();
            assert_eq!(
                (answer.status.as_u16(), &answer.body[..]),
                (200, &b"{\"ok\":true}"[..]),
                "{path}"
            );
            assert_eq!(answer.header("content-type"), "application/json");
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(rig.asked.lock().unwrap().last().unwrap().1, question);
        }
        // The operator's counters are nothing for partners.
        let metrics = client.send(get("/v1/metrics")).await.unwrap();
        assert_eq!(metrics.status.as_u16(), 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_request_reaches_the_supervisor_unread_and_unchanged() {
    let rig = Rig::new().await;
    let card = rig.alice();
    // Not Cap'n Proto at all: this role must not look.
    let body = Bytes::from((0..4 << 20).map(|i: u32| (i % 251) as u8).collect::<Vec<_>>());
    for http2 in [false, true] {
        let mut client = if http2 {
            rig.http2(&card).await
        } else {
            rig.http1(&card).await
        }
        .unwrap();
        assert_eq!(client.send(post(body.clone())).await.unwrap().status, 200);
        let asked = rig.asked.lock().unwrap().pop().unwrap();
        assert!(asked.1 == Question::Request(body.clone()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_methods_and_media_types_are_refused() {
    let rig = Rig::new().await;
    let mut client = rig.http1(&rig.alice()).await.unwrap();
    for path in [
        "/",
        "/v1",
        "/v1/nothing",
        "/v1/queries/",
        "/v1/queries/a/b",
        "/v1/queries/%2e%2e/result",
    ] {
        let answer = client.send(get(path)).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (404, "not-found"),
            "{path}"
        );
    }
    for (method, path, allow) in [
        ("POST", "/v1/status", "GET, HEAD"),
        ("DELETE", "/v1/queries/q", "GET, HEAD"),
        ("GET", "/v1/requests", "POST"),
        ("TRACE", "/v1/node", "GET, HEAD"),
    ] {
        let answer = client
            .send(request(method, path, &[], Bytes::new()))
            .await
            .unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.header("allow")),
            (405, allow),
            "{method} {path}"
        );
        assert_eq!(answer.problem(), "method");
    }
    let json = [("content-type", "application/json")];
    for headers in [&json[..], &[]] {
        let answer = client
            .send(request("POST", "/v1/requests", headers, Bytes::from("{}")))
            .await;
        assert_eq!(answer.unwrap().problem(), "media-type");
        client = rig.http1(&rig.alice()).await.unwrap(); // its body was not read
    }
    assert_eq!(client.send(post("")).await.unwrap().problem(), "body");
    assert!(rig.asked.lock().unwrap().is_empty(), "the supervisor was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_supervisors_own_problems_are_relayed() {
    let rig = Rig::with(Limits::default(), |_, question| match question {
        Question::State(_) => Act::Say(404, "{\"type\":\"tag:como,2026:problem/no-query\"}"),
        Question::Request(_) => Act::Say(403, "{\"type\":\"tag:como,2026:problem/denied\"}"),
        Question::Status => Act::Say(503, "{}"),
        Question::Catalog => Act::Say(429, "{}"),
        _ => Act::Say(0, "{}"),
    })
    .await;
    let mut client = rig.http1(&rig.alice()).await.unwrap();
    let answer = client.send(get("/v1/queries/q")).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-type")),
        (404, "application/problem+json")
    );
    assert!(answer.body.ends_with(b"no-query\"}"));
    assert_eq!(client.send(post("x")).await.unwrap().status, 403);
    for (path, status) in [("/v1/status", 503), ("/v1/catalog", 429)] {
        let answer = client.send(get(path)).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.header("retry-after")),
            (status, "5")
        );
    }
    assert_eq!(client.send(get("/v1/node")).await.unwrap().problem(), "internal");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_supervisor_the_node_says_so() {
    let rig = Rig::with(Limits::default(), |_, _| Act::HangUp).await;
    let mut client = rig.http1(&rig.alice()).await.unwrap();
    for _ in 0..2 {
        let answer = client.send(get("/v1/status")).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (503, "unavailable")
        );
        assert_eq!(answer.header("retry-after"), "5");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_does_not_answer_is_not_waited_for() {
    let limits = Limits {
        first_byte_timeout: Duration::from_millis(100),
        asks_in_flight: 1,
        ..Limits::default()
    };
    let rig = Rig::with(limits, |_, _| Act::Silence).await;
    let mut client = rig.http1(&rig.alice()).await.unwrap();
    for _ in 0..3 {
        let answer = client.send(get("/v1/status")).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (504, "slow"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_has_no_body() {
    let rig = Rig::new().await;
    let mut client = rig.http1(&rig.alice()).await.unwrap();
    let answer = client
        .send(request("HEAD", "/v1/status", &[], Bytes::new()))
        .await
        .unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    assert_eq!(client.send(get("/v1/status")).await.unwrap().status, 200);
}
