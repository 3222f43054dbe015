//! Streams a sealed dataset from the descriptor that the supervisor handed over. Reads ciphertext from
//! that one file; must never open a file by name.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue};
use hyper::{HeaderMap, Method, Response, StatusCode};
use rustls_pki_types::UnixTime;
use tokio::sync::mpsc;

use super::body::ResponseBody;
use super::limits::RESULT_CHUNK_BYTES;
use super::problem::Problem;
use super::range::{Span, asked};
use super::tls::Client;

/// The media type of a dataset file.
pub const DATASET_TYPE: &str = "application/vnd.como.dataset";

/// The answer for a result: the whole file or the part that the headers ask for.
pub fn respond(
    file: File,
    etag: &str,
    method: &Method,
    headers: &HeaderMap,
    client: &Arc<Client>,
    slow_reader_timeout: Duration,
) -> Result<Response<ResponseBody>, Problem> {
    let meta = file
        .metadata()
        .map_err(|_| Problem::Internal("the result cannot be examined"))?;
    if !meta.is_file() {
        return Err(Problem::Internal("the result is not a file"));
    }
    let length = meta.len();
    let etag = quoted(etag);
    let span = asked(headers, length, &etag)?;
    let (from, to) = match span {
        Span::Whole => (0, length),
        Span::Part { from, to } => (from, to),
    };
    let mut response = Response::new(if method == Method::HEAD {
        ResponseBody::empty()
    } else {
        // One chunk waits while one is sent and one is read.
        let (chunks, body) = mpsc::channel(1);
        tokio::spawn(read(file, from, to, chunks, client.clone(), slow_reader_timeout));
        ResponseBody::stream(body, to - from)
    });
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(DATASET_TYPE));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(to - from));
    if !etag.is_empty() {
        headers.insert(
            ETAG,
            HeaderValue::try_from(etag).expect("quoted() leaves visible ASCII only"),
        );
    }
    if span != Span::Whole {
        let range = format!("bytes {from}-{}/{length}", to - 1);
        headers.insert(
            CONTENT_RANGE,
            HeaderValue::try_from(range).expect("digits are a header value"),
        );
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// An entity tag as the header has it; empty where the supervisor gave none that can be one.
fn quoted(etag: &str) -> String {
    let bare = etag
        .strip_prefix('"')
        .and_then(|e| e.strip_suffix('"'))
        .unwrap_or(etag);
    let plain = !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
    if plain {
        format!("\"{bare}\"")
    } else {
        String::new()
    }
}

/// Reads `[from, to)` chunk by chunk, as fast as the reader takes it. Gives the connection up where the
/// reader is too slow, its certificate is no longer good or the file cannot be read; the client then sees
/// a broken transfer, which it may resume.
async fn read(
    file: File,
    from: u64,
    to: u64,
    chunks: mpsc::Sender<std::io::Result<Bytes>>,
    client: Arc<Client>,
    slow_reader_timeout: Duration,
) {
    let file = Arc::new(file);
    let mut at = from;
    while at < to {
        let wanted = RESULT_CHUNK_BYTES.min(usize::try_from(to - at).unwrap_or(usize::MAX));
        let reading = file.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut chunk = vec![0; wanted];
            reading.read_exact_at(&mut chunk, at).map(|()| Bytes::from(chunk))
        });
        let chunk = match read.await {
            Ok(Ok(chunk)) => client
                .still_good(UnixTime::now())
                .map(|()| chunk)
                .map_err(std::io::Error::other),
            Ok(Err(e)) => Err(e),
            Err(_) => return, // the runtime ends
        };
        let failed = chunk.is_err();
        let sent = tokio::time::timeout(slow_reader_timeout, chunks.send(chunk)).await;
        if failed || sent.is_err() {
            // The body may never be polled again: only the end of the connection gives its places back.
            return client.abandon();
        }
        if !matches!(sent, Ok(Ok(()))) {
            return; // the client gave up
        }
        at += wanted as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn entity_tags_are_quoted_or_left_out() {
        assert_eq!(quoted("ab12"), "\"ab12\"");
        assert_eq!(quoted("\"ab12\""), "\"ab12\"");
        for bad in ["", "a\"b", "a b", "a\r\nSet-Cookie: x", "ä"] {
            assert_eq!(quoted(bad), "", "{bad:?}");
        }
    }
}
