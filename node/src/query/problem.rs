//! What a client did wrong or must wait for, and the one exhaustive map from it to HTTP (RFC 9457
//! problem details). `type` is stable: clients match on it. Must never carry anything but metadata.

use bytes::Bytes;
use hyper::header::{ALLOW, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::body::ResponseBody;
use super::limits::RETRY_AFTER_S;

/// What every `type` begins with.
pub const TYPE_PREFIX: &str = "tag:como,2026:problem/";
/// The media type of an error.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request has no answer of the kind that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No such path, or a query id that no node gives.
    NotFound,
    /// The path exists, with other methods.
    Method {
        /// The methods it has.
        allow: &'static str,
    },
    /// The body is not announced as a Cap'n Proto message.
    MediaType,
    /// The body is empty, or ended before it was complete.
    Body(&'static str),
    /// The body is above the limit.
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    BodySlow,
    /// The byte range lies outside the result.
    Range {
        /// Length of the result, in bytes.
        length: u64,
    },
    /// The client certificate, good at the handshake, is no longer.
    Certificate(String),
    /// This principal has as many of these as it may.
    TooMany(&'static str),
    /// The node as a whole has as many of these as it may.
    Busy(&'static str),
    /// The node is without its supervisor for the moment.
    NoSupervisor,
    /// The supervisor did not answer in time.
    Slow,
    /// A defect of the node.
    Internal(&'static str),
}

/// The parts of a problem that go over the wire.
struct Wire {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    fix: &'static str,
}

impl Problem {
    /// The one map from problem to wire.
    fn wire(&self) -> Wire {
        let (status, kind, title, detail, fix) = match self {
            Problem::NotFound => (
                StatusCode::NOT_FOUND,
                "not-found",
                "no such thing here",
                "the node has nothing under this path".to_string(),
                "check the path and the query id",
            ),
            Problem::Method { allow } => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                "this path has other methods",
                format!("the methods of this path are {allow}"),
                "use one of the methods named",
            ),
            Problem::MediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media-type",
                "requests are Cap'n Proto messages",
                "the body is not announced as application/x-capnp".to_string(),
                "send one SignedRequest message with content-type application/x-capnp",
            ),
            Problem::Body(why) => (
                StatusCode::BAD_REQUEST,
                "body",
                "the request body is not complete",
                (*why).to_string(),
                "send one whole SignedRequest message",
            ),
            Problem::TooLarge { limit } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "the request is too large",
                format!("a request has at most {limit} bytes"),
                "send a smaller module (4 MiB at most)",
            ),
            Problem::BodySlow => (
                StatusCode::REQUEST_TIMEOUT,
                "body-slow",
                "the request took too long",
                "the body did not arrive in time".to_string(),
                "send it again over a faster connection",
            ),
            Problem::Range { length } => (
                StatusCode::RANGE_NOT_SATISFIABLE,
                "range",
                "the range lies outside the result",
                format!("the result has {length} bytes"),
                "ask for bytes below its length, or for the whole",
            ),
            Problem::Certificate(why) => (
                StatusCode::FORBIDDEN,
                "certificate",
                "the client certificate is no longer good",
                why.clone(),
                "have a new certificate issued, or ask the operator about yours",
            ),
            Problem::TooMany(what) => (
                StatusCode::TOO_MANY_REQUESTS,
                "too-many",
                "too many at a time",
                format!("you have as many {what} as one principal may have at a time"),
                "wait for some of them to end, then try again",
            ),
            Problem::Busy(what) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "the node is busy",
                format!("the node has as many {what} as it takes at a time"),
                "try again later",
            ),
            Problem::NoSupervisor => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "the node is restarting",
                "the part of the node that decides is away".to_string(),
                "try again in some seconds",
            ),
            Problem::Slow => (
                StatusCode::GATEWAY_TIMEOUT,
                "slow",
                "the node did not decide in time",
                "the request may still be carried out".to_string(),
                "look at the state of your queries before you send it again",
            ),
            Problem::Internal(what) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the node has a defect",
                (*what).to_string(),
                "tell the operator of the node",
            ),
        };
        Wire {
            status,
            kind,
            title,
            detail,
            fix,
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.wire().status
    }

    /// The answer to send.
    pub fn response(&self) -> Response<ResponseBody> {
        let wire = self.wire();
        let json = serde_json::json!({
            "type": format!("{TYPE_PREFIX}{}", wire.kind),
            "title": wire.title,
            "detail": wire.detail,
            "status": wire.status.as_u16(),
            "fix": wire.fix,
        });
        let mut response = Response::new(ResponseBody::full(Bytes::from(json.to_string())));
        *response.status_mut() = wire.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        match self {
            Problem::Method { allow } => {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
            }
            Problem::Range { length } => {
                let value = HeaderValue::try_from(format!("bytes */{length}"));
                headers.insert(CONTENT_RANGE, value.expect("digits are a header value"));
            }
            Problem::TooMany(_) | Problem::Busy(_) | Problem::NoSupervisor => {
                headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Problem> {
        vec![
            Problem::NotFound,
            Problem::Method { allow: "GET" },
            Problem::MediaType,
            Problem::Body("it is empty"),
            Problem::TooLarge { limit: 1 },
            Problem::BodySlow,
            Problem::Range { length: 7 },
            Problem::Certificate("revoked".into()),
            Problem::TooMany("requests"),
            Problem::Busy("requests"),
            Problem::NoSupervisor,
            Problem::Slow,
            Problem::Internal("x"),
        ]
    }

    #[test]
    fn every_problem_has_a_type_of_its_own_and_is_an_error() {
        let mut kinds: Vec<_> = all().iter().map(|p| p.wire().kind).collect();
        kinds.sort_unstable();
        let count = kinds.len();
        kinds.dedup();
        assert_eq!(kinds.len(), count);
        for problem in all() {
            assert!(problem.status().is_client_error() || problem.status().is_server_error());
            assert!(!problem.wire().fix.is_empty() && !problem.wire().detail.is_empty());
        }
    }

    #[test]
    fn too_many_and_busy_say_when_to_come_back() {
        for problem in all() {
            let status = problem.status().as_u16();
            let header = problem.response().headers().get(RETRY_AFTER).cloned();
            assert_eq!(header.is_some(), status == 429 || status == 503, "{problem:?}");
        }
    }
}
