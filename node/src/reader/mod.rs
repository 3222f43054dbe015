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
use request::{Piece, Request};

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
    Run(Vec<Output>, u64, Totals),
    /// Nothing can follow.
    Failed(ReaderError),
}

/// What one or more blocks give.
enum Output {
    /// A message of the feed.
    Message(Vec<u8>),
    /// What a block adds to its hours.
    Flows(Flows),
}

impl Part {
    /// One message.
    fn message(message: Vec<u8>, bytes: u64) -> Self {
        Self::Run(vec![Output::Message(message)], bytes, Totals::default())
    }
}

/// Reads one request to its end, one part of its window after the other.
pub fn run(control: LinkSender, mut commands: LinkReceiver, start: &Frame) -> Result<(), ReaderError> {
    let mut request = Request::read(&start.bytes)?;
    let runner = runner_link(&mut commands)?;
    hear_allowances(commands, request.bucket.clone());
    let mut feeding = Feeding {
        runner,
        control,
        totals: Totals::default(),
        done: 0,
        total: request.total_bytes()?,
        reported: Instant::now(),
    };
    let end_ns = request.window.to_ns;
    for piece in std::mem::take(&mut request.pieces) {
        if let Piece::Trace(window, _) = &piece {
            request.window = *window;
            feeding.runner.send_bytes(&feed::encode_piece(*window), &[])?;
        }
        feeding.piece(&request, &piece)?;
        if let Piece::Trace(window, _) = &piece {
            feeding.runner.send_bytes(&feed::encode_tick(window.to_ns), &[])?;
        }
    }
    feeding.runner.send_bytes(&feed::encode_tick(end_ns), &[])?;
    feeding.runner.send_bytes(&feed::encode_end(), &[])?;
    let totals = feeding.totals;
    feeding.control.send_bytes(
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

/// What goes to the runner, and how far it is.
struct Feeding {
    runner: LinkSender,
    control: LinkSender,
    totals: Totals,
    /// Bytes that are done with, read or not.
    done: u64,
    total: u64,
    reported: Instant,
}

impl Feeding {
    /// Reads one part of the window.
    fn piece(&mut self, request: &Request, piece: &Piece) -> Result<(), ReaderError> {
        let (parts, queue) = sync_channel::<Receiver<Part>>(MAX_WAITING_RUNS);
        std::thread::scope(|scope| {
            scope.spawn(move || match piece {
                Piece::Trace(_, segments) => blocks::read(request, segments, &parts),
                Piece::Records(stretch) => records::read(request, stretch, &parts),
            });
            self.send_parts(queue, request)
        })
    }

    /// Sends parts in the order of the trace, whichever worker is done first.
    fn send_parts(&mut self, queue: Receiver<Receiver<Part>>, request: &Request) -> Result<(), ReaderError> {
        let mut hours = Hours::new(request);
        for part in queue {
            // A worker that is gone without a part has panicked; its thread reported that.
            let Ok(part) = part.recv() else {
                return Err(std::io::Error::other("a worker thread failed").into());
            };
            let (messages, bytes, part) = match part {
                Part::Run(messages, bytes, part) => (messages, bytes, part),
                Part::Failed(error) => return Err(error),
            };
            for message in messages {
                let messages = match message {
                    Output::Message(message) => vec![message],
                    Output::Flows(flows) => hours.take(flows)?,
                };
                for message in messages {
                    self.runner.send_bytes(&message, &[])?;
                }
            }
            self.done += bytes;
            self.totals.packets += part.packets;
            self.totals.damaged += part.damaged;
            self.report(request)?;
        }
        for message in hours.finish()? {
            self.runner.send_bytes(&message, &[])?;
        }
        Ok(())
    }

    fn report(&mut self, request: &Request) -> Result<(), ReaderError> {
        if self.reported.elapsed() < PROGRESS_EVERY {
            return Ok(());
        }
        self.reported = Instant::now();
        let message = messages::up(|up| {
            let mut progress = up.init_progress();
            progress.set_done(self.done.min(self.total));
            progress.set_total(self.total);
            progress.set_paused_ns(request.bucket.paused_ns());
        });
        Ok(self.control.send_bytes(&message, &[])?)
    }
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
