//! The HTTP paths: which question each one asks of the supervisor, and how its reply is answered. Must
//! never read a signed request beyond its size: the supervisor alone does.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, EXPECT, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::admission::{Admission, Kind};
use super::body::ResponseBody;
use super::limits::{Limits, MAX_DISCARDED_BODY_BYTES, MAX_QUERY_ID_BYTES, RETRY_AFTER_S};
use super::port::{NoReply, Question, Reply, SupervisorPort};
use super::problem::{PROBLEM_JSON, Problem};
use super::tls::Client;
use super::transfer;

/// The media type of requests.
pub const CAPNP_TYPE: &str = "application/x-capnp";
const READ: &str = "GET, HEAD";

/// What every request needs.
pub struct Api {
    /// Where questions go.
    pub port: SupervisorPort,
    /// The limits in force.
    pub limits: Limits,
    /// Who holds what.
    pub admission: Arc<Admission>,
    /// Bytes of request bodies that may still be taken into memory.
    pub body_memory: Arc<Semaphore>,
}

/// What a path is.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Submit,
    State(String),
    Result(String),
    Status,
    Catalog,
    Node,
}

impl Route {
    fn of(path: &str) -> Result<Self, Problem> {
        let route = match path.strip_prefix("/v1/").ok_or(Problem::NotFound)? {
            "requests" => Route::Submit,
            "status" => Route::Status,
            "catalog" => Route::Catalog,
            "node" => Route::Node,
            other => {
                let query = other.strip_prefix("queries/").ok_or(Problem::NotFound)?;
                match query.strip_suffix("/result") {
                    Some(id) => Route::Result(query_id(id)?),
                    None => Route::State(query_id(query)?),
                }
            }
        };
        Ok(route)
    }

    fn methods(&self) -> &'static str {
        if *self == Route::Submit { "POST" } else { READ }
    }

    fn allows(&self, method: &Method) -> bool {
        match self {
            Route::Submit => method == Method::POST,
            _ => method == Method::GET || method == Method::HEAD,
        }
    }
}

/// A query id as nodes make them; anything else is not found.
fn query_id(id: &str) -> Result<String, Problem> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let good = !id.is_empty() && id.len() <= MAX_QUERY_ID_BYTES && id.bytes().all(plain);
    good.then(|| id.to_string()).ok_or(Problem::NotFound)
}

impl Api {
    /// Answers one request of `client`.
    pub async fn answer<B>(
        &self,
        client: &Arc<Client>,
        request: Request<B>,
    ) -> Result<Response<ResponseBody>, Problem>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let route = Route::of(request.uri().path())?;
        if !route.allows(request.method()) {
            return Err(Problem::Method {
                allow: route.methods(),
            });
        }
        let place = self.admission.enter(Kind::Request, client.identity())?;
        let mut response = match route {
            Route::Result(id) => self.result(client, id, request).await,
            Route::Submit => self.submit(client, request).await,
            Route::State(id) => self.relay(client, Question::State(id)).await,
            Route::Status => self.relay(client, Question::Status).await,
            Route::Catalog => self.relay(client, Question::Catalog).await,
            Route::Node => self.relay(client, Question::Node).await,
        }?;
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.body_mut().hold(place);
        Ok(response)
    }

    async fn submit<B>(&self, client: &Client, request: Request<B>) -> Result<Response<ResponseBody>, Problem>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (head, mut body) = request.into_parts();
        let reading = timeout(self.limits.body_read_timeout, self.body(&head.headers, &mut body));
        // The memory is held until the answer: the message waits for the supervisor in it.
        let (bytes, _memory) = match reading.await {
            Ok(Ok(read)) => read,
            Ok(Err(problem)) => {
                self.discard(&head.headers, body).await;
                return Err(problem);
            }
            Err(_) => return Err(Problem::BodySlow),
        };
        self.relay(client, Question::Request(bytes)).await
    }

    /// The whole body, within the limit of one body and of all of them.
    async fn body<B>(
        &self,
        headers: &HeaderMap,
        body: &mut B,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Problem>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let media = headers
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("");
        if !media
            .split(';')
            .next()
            .unwrap_or("")
            .trim()
            .eq_ignore_ascii_case(CAPNP_TYPE)
        {
            return Err(Problem::MediaType);
        }
        let limit = self.limits.body_bytes;
        let too_large = Problem::TooLarge { limit };
        // Refused before a byte of it is kept.
        if body.size_hint().lower() > limit as u64 {
            return Err(too_large);
        }
        let mut whole = BytesMut::new();
        let mut memory: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::Body("it broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + data.len() > limit {
                return Err(too_large);
            }
            let bytes = u32::try_from(data.len()).map_err(|_| too_large.clone())?;
            let more = self.body_memory.clone().try_acquire_many_owned(bytes);
            let more = more.map_err(|_| Problem::Busy("requests in memory"))?;
            match &mut memory {
                Some(held) => held.merge(more),
                None => memory = Some(more),
            }
            whole.extend_from_slice(&data);
        }
        if whole.is_empty() {
            return Err(Problem::Body("it is empty"));
        }
        Ok((whole.freeze(), memory))
    }

    /// Reads a refused body to nowhere, so that its sender gets to read why. A sender that waits to be told
    /// to go on sends none.
    pub async fn discard<B>(&self, headers: &HeaderMap, mut body: B)
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if headers.contains_key(EXPECT) {
            return;
        }
        let reading = async {
            let mut seen = 0;
            while let Some(Ok(frame)) = body.frame().await {
                seen += frame.data_ref().map_or(0, Bytes::len);
                if seen > MAX_DISCARDED_BODY_BYTES {
                    return;
                }
            }
        };
        let _ = timeout(self.limits.refusal_time, reading).await;
    }

    /// Asks, and passes the reply on as it is.
    async fn relay(&self, client: &Client, question: Question) -> Result<Response<ResponseBody>, Problem> {
        relayed(self.ask(client, &question).await?)
    }

    async fn result<B>(
        &self,
        client: &Arc<Client>,
        id: String,
        request: Request<B>,
    ) -> Result<Response<ResponseBody>, Problem> {
        // Taken before the supervisor is asked: it hands out a descriptor.
        let place = self.admission.enter(Kind::Stream, client.identity())?;
        let mut reply = self.ask(client, &Question::Result(id)).await?;
        let Some(file) = reply.file.take() else {
            return relayed(reply);
        };
        let mut response = transfer::respond(
            file,
            &reply.etag,
            request.method(),
            request.headers(),
            client,
            self.limits.slow_reader_timeout,
        )?;
        response.body_mut().hold(place);
        Ok(response)
    }

    async fn ask(&self, client: &Client, question: &Question) -> Result<Reply, Problem> {
        self.port
            .ask(client.identity().as_str(), client.until_ns(), question)
            .await
            .map_err(|why| match why {
                NoReply::Busy => Problem::Busy("open questions"),
                NoReply::Gone => Problem::NoSupervisor,
                NoReply::Slow => Problem::Slow,
            })
    }
}

/// The supervisor's words, with its status.
fn relayed(reply: Reply) -> Result<Response<ResponseBody>, Problem> {
    let status = StatusCode::from_u16(reply.status)
        .ok()
        .filter(|status| status.as_u16() >= 200)
        .ok_or(Problem::Internal("the supervisor answered without a status"))?;
    let failed = status.is_client_error() || status.is_server_error();
    let mut response = Response::new(ResponseBody::full(reply.body));
    *response.status_mut() = status;
    let media = if failed { PROBLEM_JSON } else { "application/json" };
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media));
    if matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_known_exactly() {
        assert_eq!(Route::of("/v1/requests"), Ok(Route::Submit));
        assert_eq!(Route::of("/v1/queries/q-1"), Ok(Route::State("q-1".into())));
        assert_eq!(
            Route::of("/v1/queries/q-1/result"),
            Ok(Route::Result("q-1".into()))
        );
        let long = format!("/v1/queries/{}", "a".repeat(MAX_QUERY_ID_BYTES + 1));
        for bad in [
            "/",
            "/v1",
            "/v1/",
            "/v2/status",
            "/v1/status/",
            "/v1/Status",
            "/v1/queries",
            "/v1/queries/",
            "/v1/queries//result",
            "/v1/queries/a/b",
            "/v1/queries/..",
            "/v1/queries/a%2fb",
            "/v1/queries/a/result/",
            "*",
            &long,
        ] {
            assert_eq!(Route::of(bad), Err(Problem::NotFound), "{bad}");
        }
    }
}
