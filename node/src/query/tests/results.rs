//! Results: sealed datasets streamed from a descriptor, whole or in part.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;

use super::rig::{Act, Client, Rig, file_of, get, request};
use crate::query::Limits;

const PATH: &str = "/v1/queries/q-1/result";
const LENGTH: usize = 1_000_000;

fn sealed() -> Vec<u8> {
    (0..LENGTH as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

async fn giving(bytes: Vec<u8>, limits: Limits) -> Rig {
    Rig::with(limits, move |_, _| Act::Give(file_of(&bytes), "c0ffee")).await
}

async fn client(rig: &Rig, http2: bool) -> Client {
    if http2 {
        rig.http2(&rig.alice()).await
    } else {
        rig.http1(&rig.alice()).await
    }
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_streamed_whole() {
    let rig = giving(sealed(), Limits::default()).await;
    for http2 in [false, true] {
        let answer = client(&rig, http2).await.send(get(PATH)).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("etag"), "\"c0ffee\"");
        assert_eq!(answer.header("accept-ranges"), "bytes");
        assert_eq!(answer.header("content-length"), LENGTH.to_string());
        assert!(answer.body == sealed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_can_be_resumed() {
    let rig = giving(sealed(), Limits::default()).await;
    let mut client = client(&rig, false).await;
    let mut ask = async |headers: &[(&str, &str)]| {
        client
            .send(request("GET", PATH, headers, Bytes::new()))
            .await
            .unwrap()
    };
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=131071-131072", 131_071, 131_073),
        ("bytes=600000-", 600_000, LENGTH),
        ("bytes=-7", LENGTH - 7, LENGTH),
    ] {
        let answer = ask(&[("range", range), ("if-range", "\"c0ffee\"")]).await;
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(
            answer.header("content-range"),
            format!("bytes {from}-{}/{LENGTH}", to - 1)
        );
        assert!(answer.body == sealed()[from..to]);
    }
    let other = ask(&[("range", "bytes=5-"), ("if-range", "\"other\"")]).await;
    assert_eq!((other.status.as_u16(), other.body.len()), (200, LENGTH));
    let beyond = ask(&[("range", "bytes=1000000-")]).await;
    assert_eq!(
        (beyond.status.as_u16(), beyond.problem().as_str()),
        (416, "range")
    );
    assert_eq!(beyond.header("content-range"), format!("bytes */{LENGTH}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn head_tells_the_length_and_reads_nothing() {
    let rig = giving(sealed(), Limits::default()).await;
    let answer = client(&rig, false)
        .await
        .send(request("HEAD", PATH, &[], Bytes::new()))
        .await
        .unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    assert_eq!(answer.header("content-length"), LENGTH.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_and_a_result_that_is_not_ready_are_answered() {
    let rig = giving(Vec::new(), Limits::default()).await;
    let answer = client(&rig, false).await.send(get(PATH)).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    let rig = Rig::with(Limits::default(), |_, _| Act::Say(409, "{}")).await;
    let answer = client(&rig, false).await.send(get(PATH)).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-type")),
        (409, "application/problem+json")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_descriptor_that_is_no_file_is_refused() {
    let rig = Rig::with(Limits::default(), |_, _| {
        Act::Give(std::fs::File::open("/dev/zero").unwrap(), "")
    })
    .await;
    assert_eq!(
        client(&rig, false).await.send(get(PATH)).await.unwrap().problem(),
        "internal"
    );
}

async fn a_slow_reader_is_cut(http2: bool) {
    let limits = Limits {
        streams_per_principal: 1,
        slow_reader_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    // More than the socket buffers of both ends take.
    let rig = giving(vec![7; 64 << 20], limits).await;
    let mut slow = client(&rig, http2).await;
    let response = slow.head(get(PATH)).await.unwrap();
    let refused = client(&rig, false).await.send(get(PATH)).await.unwrap();
    assert_eq!(
        (refused.status.as_u16(), refused.problem().as_str()),
        (429, "too-many")
    );
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let second = client(&rig, false).await.head(get(PATH)).await.unwrap();
    assert_eq!(second.status(), 200, "the place of the slow reader is free again");
    assert!(
        response.into_body().collect().await.is_err(),
        "the slow reader sees a broken transfer"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_http1_reader_is_cut_and_its_place_is_free_again() {
    a_slow_reader_is_cut(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_http2_reader_is_cut_and_its_place_is_free_again() {
    a_slow_reader_is_cut(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_cuts_a_transfer_under_way() {
    let rig = giving(vec![7; 64 << 20], Limits::default()).await;
    let alice = rig.alice();
    let mut client = rig.http1(&alice).await.unwrap();
    let mut body = client.head(get(PATH)).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    rig.tls
        .reload(&[rig.authority.pinned_with(&rig.authority.crl(&[&alice], 2100))])
        .unwrap();
    assert!(body.collect().await.is_err(), "the transfer went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_shrinks_is_a_broken_transfer_not_a_short_one() {
    let file = file_of(&vec![7; 4 << 20]);
    let shrink = file.try_clone().unwrap();
    let mut file = Some(file);
    let rig = Rig::with(Limits::default(), move |_, _| {
        Act::Give(file.take().unwrap(), "c0ffee")
    })
    .await;
    let mut client = client(&rig, false).await;
    let mut body = client.head(get(PATH)).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    shrink.set_len(1).unwrap();
    // Whatever was in flight arrives; then it breaks unless all of it was.
    match body.collect().await {
        Err(_) => {}
        Ok(rest) => assert!(rest.to_bytes().len() < 4 << 20, "all of it was in flight"),
    }
}
