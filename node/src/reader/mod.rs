//! Reader: opens the segments and sections of one request and sends what it asks for to its runner, as
//! views at the request's level and audience. Holds those segments' data keys; must never hold guests, the
//! network, identities or write access. It cannot open a section whose key it was not given.

mod blocks;
mod hours;
#[cfg(test)]
mod passing_test;
mod records;
mod request;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use como_capnp::wire_capnp as wire;

use crate::allowance::{Bucket, UNLIMITED};
use crate::feed;
use crate::link::{self, Frame, LinkError, LinkReceiver, LinkSender};
use crate::trace::TraceError;
use crate::wire as messages;
use hours::{Flows, Hours};
use request::Request;

/// How often progress is reported.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Decoded runs of blocks that may wait for the runner, beyond those that workers hold.
const MAX_WAITING_RUNS: usize = 8;

/// Why a request fails in its reader.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// A link of ours broke.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A message does not parse.
    #[error("the reader cannot read a message: {0}\nUse one version of como-node for all processes.")]
    Message(#[from] capnp::Error),
    /// What was read cannot be released.
    #[error(transparent)]
    Release(#[from] TraceError),
    /// A segment cannot be opened at all.
    #[error("segment {file}: {source}")]
    Segment {
        /// Its file name.
        file: String,
        /// Why.
        source: TraceError,
    },
    /// A record file cannot be read.
    #[error("records {file}: {source}")]
    Records {
        /// Its file name.
        file: String,
        /// Why.
        source: crate::records::RecordError,
    },
    /// The filter does not parse here, though it did at the supervisor.
    #[error("the filter is refused: {0}\nUse one version of como-node for all processes.")]
    Filter(String),
    /// The operating system.
    #[error("the reader cannot work: {0}\nCheck the limits on files and threads.")]
    Io(#[from] std::io::Error),
}

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    packets: u64,
    damaged: u64,
}

/// What workers hand to the sender of the feed, in order.
enum Part {
    /// What a run of blocks gives, and the bytes of the trace that are done with it, read or not.
    Run(Vec<Piece>, u64, Totals),
    /// Nothing can follow.
    Failed(ReaderError),
}

/// What one or more blocks give.
enum Piece {
    /// A message of the feed.
    Message(Vec<u8>),
    /// What a block adds to its hours.
    Flows(Flows),
}

impl Part {
    /// One message.
    fn message(message: Vec<u8>, bytes: u64) -> Self {
        Self::Run(vec![Piece::Message(message)], bytes, Totals::default())
    }
}

/// Reads one request to its end.
pub fn run(mut control: LinkSender, mut commands: LinkReceiver, start: &Frame) -> Result<(), ReaderError> {
    let request = Request::read(&start.bytes)?;
    let mut runner = runner_link(&mut commands)?;
    hear_allowances(commands, request.bucket.clone());
    let (parts, queue) = sync_channel::<Receiver<Part>>(MAX_WAITING_RUNS);
    let total = request.total_bytes()?;
    let totals = std::thread::scope(|scope| {
        let request = &request;
        scope.spawn(move || {
            if request.records.is_empty() {
                blocks::read(request, &parts)
            } else {
                records::read(request, &parts)
            }
        });
        send_parts(queue, request, &mut runner, &mut control, total)
    })?;
    runner.send_bytes(&feed::encode_tick(request.window.to_ns), &[])?;
    runner.send_bytes(&feed::encode_end(), &[])?;
    control.send_bytes(
        &messages::up(|up| {
            let mut finished = up.init_finished();
            finished.set_packets(totals.packets);
            finished.set_damaged(totals.damaged);
            finished.set_read_bytes(request.read_bytes.load(Ordering::Relaxed));
            finished.set_paused_ns(request.bucket.paused_ns());
        }),
        &[],
    )?;
    Ok(())
}

/// Sends parts in the order of the trace, whichever worker is done first.
fn send_parts(
    queue: Receiver<Receiver<Part>>,
    request: &Request,
    runner: &mut LinkSender,
    control: &mut LinkSender,
    total: u64,
) -> Result<Totals, ReaderError> {
    let mut hours = Hours::new(request);
    let (mut totals, mut done) = (Totals::default(), 0);
    let mut reported = Instant::now();
    for part in queue {
        // A worker that is gone without a part has panicked; its thread reported that.
        let Ok(part) = part.recv() else {
            return Err(std::io::Error::other("a worker thread failed").into());
        };
        let (pieces, bytes, part) = match part {
            Part::Run(pieces, bytes, part) => (pieces, bytes, part),
            Part::Failed(error) => return Err(error),
        };
        for piece in pieces {
            let messages = match piece {
                Piece::Message(message) => vec![message],
                Piece::Flows(flows) => hours.take(flows)?,
            };
            for message in messages {
                runner.send_bytes(&message, &[])?;
            }
        }
        done += bytes;
        totals.packets += part.packets;
        totals.damaged += part.damaged;
        if reported.elapsed() >= PROGRESS_EVERY {
            reported = Instant::now();
            let message = messages::up(|up| {
                let mut progress = up.init_progress();
                progress.set_done(done.min(total));
                progress.set_total(total);
                progress.set_paused_ns(request.bucket.paused_ns());
            });
            control.send_bytes(&message, &[])?;
        }
    }
    for message in hours.finish()? {
        runner.send_bytes(&message, &[])?;
    }
    Ok(totals)
}

fn runner_link(commands: &mut LinkReceiver) -> Result<LinkSender, ReaderError> {
    let gone = || LinkError::Broken("supervisor", std::io::ErrorKind::UnexpectedEof.into());
    let mut frame = commands.recv()?.ok_or_else(gone)?;
    let message = como_capnp::read_message(&frame.bytes)?;
    let is_peer = matches!(messages::read_down(&message)?, wire::down::Which::Peer(_));
    match frame.descriptors.pop() {
        Some(end) if is_peer => Ok(link::split("runner", end)?.0),
        _ => Err(capnp::Error::failed("not the link to the runner".into()).into()),
    }
}

/// The supervisor says nothing else from here on. Once it is gone, nobody holds this reader back: it is ending.
fn hear_allowances(mut commands: LinkReceiver, bucket: Arc<Bucket>) {
    std::thread::spawn(move || {
        while let Ok(Some(frame)) = commands.recv() {
            match allowance(&frame.bytes) {
                Ok(rate) => bucket.set_rate(rate),
                Err(error) => tracing::error!("not an allowance: {error}"),
            }
        }
        bucket.set_rate(UNLIMITED);
    });
}

fn allowance(bytes: &[u8]) -> capnp::Result<u64> {
    let message = como_capnp::read_message(bytes)?;
    match messages::read_down(&message)? {
        wire::down::Which::Allowance(rate) => Ok(rate),
        _ => Err(capnp::Error::failed("another message".into())),
    }
}
