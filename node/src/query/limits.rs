//! Every limit of the network side, each named with its unit, and what happens when it is reached.
//! Must never hold behaviour: the other files enforce them.

use std::time::Duration;

/// Connections of all principals together; one more is answered 503.
pub const MAX_CONNECTIONS: usize = 256;
/// Connections of one principal; one more is answered 429.
pub const MAX_CONNECTIONS_PER_PRINCIPAL: usize = 16;
/// TLS handshakes (and refusals) at a time; beyond it new connections wait in the kernel's backlog.
pub const MAX_HANDSHAKES: usize = 64;
/// Requests of one principal being answered at a time; one more is answered 429.
pub const MAX_REQUESTS_PER_PRINCIPAL: usize = 32;
/// Requests of all principals being answered at a time; one more is answered 503.
pub const MAX_REQUESTS: usize = 512;
/// Results being streamed to one principal at a time; one more is answered 429.
pub const MAX_STREAMS_PER_PRINCIPAL: usize = 4;
/// Results being streamed in all; one more is answered 503.
pub const MAX_STREAMS: usize = 64;
/// HTTP/2 streams that one connection may have open.
pub const MAX_H2_STREAMS: u32 = 16;
/// Request line and header fields of one request, in bytes; more is answered 431.
pub const MAX_HEADER_BYTES: usize = 16 << 10;
/// Header fields of one HTTP/1.1 request; more is answered 431.
pub const MAX_HEADERS: usize = 64;
/// One request body, in bytes: a module of 4 MiB and what the envelope adds. More is answered 413.
pub const MAX_BODY_BYTES: usize = (4 << 20) + (64 << 10);
/// Bytes of a refused body that are read and thrown away, so that its sender lives to read the refusal; a
/// connection that closes on unread bytes is reset. Beyond it, or [`REFUSAL_TIME`], it is closed all the same.
pub const MAX_DISCARDED_BODY_BYTES: usize = 32 << 20;
/// Request bodies held in memory for all principals, in bytes; beyond it requests are answered 503.
pub const MAX_BUFFERED_BODY_BYTES: usize = 48 << 20;
/// Questions to the supervisor that wait for an answer; one more is answered 503.
pub const MAX_ASKS_IN_FLIGHT: usize = 64;
/// Longest query id in a path, in bytes; a longer one is not found.
pub const MAX_QUERY_ID_BYTES: usize = 64;
/// Bytes of a result read from its file at a time; at most three such chunks per stream are in memory.
pub const RESULT_CHUNK_BYTES: usize = 128 << 10;

/// Connections to the metrics endpoint at a time; one more waits.
pub const MAX_METRICS_CONNECTIONS: usize = 4;

/// Time for one answer of the metrics endpoint, from the connection to its end.
pub const METRICS_TIMEOUT: Duration = Duration::from_secs(35);
/// Time for the TLS handshake; then the connection is closed.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the header of an HTTP/1.1 request; then the connection is closed.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the whole body of a request; then it is answered 408.
pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Time to the first byte of an answer: the supervisor's time to answer. Then 504.
pub const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(30);
/// A reader must take one [`RESULT_CHUNK_BYTES`] within this time (about 4 KiB/s); else its stream is cut.
pub const SLOW_READER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time without any request after which a connection is closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Age at which a connection takes no further request.
pub const MAX_CONNECTION_AGE: Duration = Duration::from_secs(3600);
/// Time beyond [`MAX_CONNECTION_AGE`] for streams that are under way; a cut result can be resumed.
pub const CONNECTION_AGE_GRACE: Duration = Duration::from_secs(600);
/// Time that a refused connection has to read the reason.
pub const REFUSAL_TIME: Duration = Duration::from_secs(5);
/// Time for answers under way when the node stops; then they are cut.
pub const DRAIN_TIME: Duration = Duration::from_secs(10);
/// Time for one message to the supervisor to be taken by the kernel.
pub const LINK_WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// `Retry-After` of every 429 and 503, in seconds.
pub const RETRY_AFTER_S: u32 = 5;

/// The limits in force: the constants above, or smaller ones in tests.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // each field is the constant of the same name
pub struct Limits {
    pub connections: usize,
    pub connections_per_principal: usize,
    pub handshakes: usize,
    pub requests_per_principal: usize,
    pub requests: usize,
    pub streams_per_principal: usize,
    pub streams: usize,
    pub h2_streams: u32,
    pub header_bytes: usize,
    pub headers: usize,
    pub body_bytes: usize,
    pub buffered_body_bytes: usize,
    pub asks_in_flight: usize,
    pub handshake_timeout: Duration,
    pub header_read_timeout: Duration,
    pub body_read_timeout: Duration,
    pub first_byte_timeout: Duration,
    pub slow_reader_timeout: Duration,
    pub idle_timeout: Duration,
    pub connection_age: Duration,
    pub connection_age_grace: Duration,
    pub refusal_time: Duration,
    pub drain_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: MAX_CONNECTIONS,
            connections_per_principal: MAX_CONNECTIONS_PER_PRINCIPAL,
            handshakes: MAX_HANDSHAKES,
            requests_per_principal: MAX_REQUESTS_PER_PRINCIPAL,
            requests: MAX_REQUESTS,
            streams_per_principal: MAX_STREAMS_PER_PRINCIPAL,
            streams: MAX_STREAMS,
            h2_streams: MAX_H2_STREAMS,
            header_bytes: MAX_HEADER_BYTES,
            headers: MAX_HEADERS,
            body_bytes: MAX_BODY_BYTES,
            buffered_body_bytes: MAX_BUFFERED_BODY_BYTES,
            asks_in_flight: MAX_ASKS_IN_FLIGHT,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            header_read_timeout: HEADER_READ_TIMEOUT,
            body_read_timeout: BODY_READ_TIMEOUT,
            first_byte_timeout: FIRST_BYTE_TIMEOUT,
            slow_reader_timeout: SLOW_READER_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            connection_age: MAX_CONNECTION_AGE,
            connection_age_grace: CONNECTION_AGE_GRACE,
            refusal_time: REFUSAL_TIME,
            drain_time: DRAIN_TIME,
        }
    }
}
