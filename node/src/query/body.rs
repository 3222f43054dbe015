//! Bodies of answers: bytes in memory, or chunks that another task reads from a sealed dataset. The
//! request's place is given back when its body is sent or dropped. Must never read a file itself.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// The body of an answer, with what has to stay held until it is sent.
pub struct ResponseBody {
    source: Source,
    held: Vec<Box<dyn Send + Sync>>,
}

enum Source {
    Full(Option<Bytes>),
    Stream {
        chunks: mpsc::Receiver<std::io::Result<Bytes>>,
        left: u64,
    },
}

impl ResponseBody {
    /// No bytes.
    pub fn empty() -> Self {
        Self::full(Bytes::new())
    }

    /// Bytes that are in memory.
    pub fn full(bytes: Bytes) -> Self {
        ResponseBody {
            source: Source::Full(Some(bytes).filter(|b| !b.is_empty())),
            held: Vec::new(),
        }
    }

    /// `length` bytes that arrive in chunks.
    pub fn stream(chunks: mpsc::Receiver<std::io::Result<Bytes>>, length: u64) -> Self {
        ResponseBody {
            source: Source::Stream { chunks, left: length },
            held: Vec::new(),
        }
    }

    /// Keeps `guard` until the body is sent or dropped.
    pub fn hold(&mut self, guard: impl Send + Sync + 'static) {
        self.held.push(Box::new(guard));
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.get_mut().source {
            Source::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Source::Stream { left: 0, .. } => Poll::Ready(None),
            Source::Stream { chunks, left } => match std::task::ready!(chunks.poll_recv(context)) {
                Some(Ok(chunk)) => {
                    *left = left.saturating_sub(chunk.len() as u64);
                    Poll::Ready(Some(Ok(Frame::data(chunk))))
                }
                Some(Err(e)) => Poll::Ready(Some(Err(e))),
                // The reading task gave up: the client must see a broken answer, not a short one.
                None => Poll::Ready(Some(Err(std::io::ErrorKind::UnexpectedEof.into()))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Full(bytes) => bytes.is_none(),
            Source::Stream { left, .. } => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.source {
            Source::Full(bytes) => bytes.as_ref().map_or(0, |b| b.len() as u64),
            Source::Stream { left, .. } => *left,
        })
    }
}
