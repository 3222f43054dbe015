//! Runner: computes one request from what its reader sends, and writes the dataset, sealed to the
//! recipients. Same code as export, fed from the past. Holds one guest, one view, public keys; must never
//! hold a private key: the node's signature comes from the supervisor.

mod output;
mod packets;
mod pieces;

use std::fs::File;
use std::sync::mpsc::{Receiver, sync_channel};

use como_capnp::wire_capnp as wire;
use como_dataset::{DatasetError, Header};
use como_keys::sealing::Recipient;
use como_keys::signing::Signature;
use como_modules::{AdmittedModule, Answer, Usage, VerifiedModule};

use crate::feed::{self, Feed};
use crate::link::{self, Frame, LinkError, LinkReceiver, LinkSender};
use crate::wire as messages;
use output::Output;
use pieces::Pieces;

/// Messages of the reader that may wait; then the reader waits.
const MAX_WAITING_FEEDS: usize = 8;

/// Why a request fails in its runner.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// A link of ours broke.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A message does not parse.
    #[error("the runner cannot read a message: {0}\nUse one version of como-node for all processes.")]
    Message(#[from] capnp::Error),
    /// The dataset cannot be written.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A file or link does not work.
    #[error("the runner cannot write its result: {0}\nCheck the free space of the results directory.")]
    Io(#[from] std::io::Error),
    /// The module misbehaved; recorded against its hash.
    #[error("{0}\nThe module's developer has to mend it; its faults are counted against its hash.")]
    Module(String),
    /// Rows do not become what was asked for.
    #[error("the rows cannot be combined: {0}")]
    Answer(como_modules::merge::MergeError),
    /// The reader ended before the end of the window.
    #[error("the reader ended early\nAsk again; the audit log says why it ended.")]
    ReaderGone,
}

/// What the runner computes.
enum Work {
    Module(Box<Pieces>),
    Packets,
    Records,
}

/// Runs one request to its end.
pub fn run(mut control: LinkSender, mut commands: LinkReceiver, start: &Frame) -> Result<(), RunnerError> {
    let message = como_capnp::read_message(&start.bytes)?;
    let wire::down::Which::StartRunner(start) = messages::read_down(&message)? else {
        return Err(unexpected().into());
    };
    let start = start?;
    if let wire::runner_start::Which::Check(run) = start.which().map_err(capnp::Error::from)? {
        return check(run?, &mut control);
    }
    let header = Header::from_message(start.get_header()?)?;
    let recipients = start
        .get_recipients()?
        .iter()
        .map(|bytes| Recipient::from_bytes(bytes?).map_err(|e| capnp::Error::failed(e.to_string())))
        .collect::<capnp::Result<Vec<_>>>()?;
    let (file, feeds) = peers(&mut commands)?;
    let (mut work, answer) = work(start, &header)?;
    let mut output = Output::create(file, &header, &recipients, answer)?;
    consume(&feeds, &mut work, &mut output)?;
    let usage = match &work {
        Work::Module(pieces) => pieces.usage(),
        Work::Packets | Work::Records => Usage::default(),
    };
    let unsigned = output.finish()?;
    let answering = unsigned.usage;
    control.send_bytes(
        &messages::up(|up| {
            let mut statement = up.init_statement();
            statement.set_head(&unsigned.statement.head);
            statement.set_root(&unsigned.statement.root);
            statement.set_chunks(unsigned.statement.chunk_count);
        }),
        &[],
    )?;
    let finished = unsigned.attach(&await_signature(&mut commands)?)?;
    control.send_bytes(
        &messages::up(|up| {
            let mut to = up.init_finished();
            to.set_packets(finished.packets);
            to.set_rows(finished.rows);
            to.set_bytes(finished.bytes);
            to.set_fuel(usage.fuel + answering.fuel);
            to.set_wall_ns(usage.wall_ns + answering.wall_ns);
            to.set_memory_bytes(usage.memory_bytes + answering.memory_bytes);
            to.set_late(finished.late);
        }),
        &[],
    )?;
    finished.file.sync_all()?;
    Ok(())
}

/// Waits for the result file and the reader's link.
fn peers(commands: &mut LinkReceiver) -> Result<(File, Receiver<Feed>), RunnerError> {
    let (mut file, mut feeds) = (None, None);
    while file.is_none() || feeds.is_none() {
        let mut frame = commands.recv()?.ok_or_else(supervisor_gone)?;
        let message = como_capnp::read_message(&frame.bytes)?;
        match messages::read_down(&message)? {
            wire::down::Which::Peer(peer) => {
                let role = messages::text(peer?.get_role())?;
                let end = frame.descriptors.pop().ok_or_else(unexpected)?;
                match role.as_str() {
                    "output" => file = Some(File::from(end)),
                    "reader" => feeds = Some(receive(end)?),
                    _ => return Err(unexpected().into()),
                }
            }
            _ => return Err(unexpected().into()),
        }
    }
    file.zip(feeds).ok_or_else(|| supervisor_gone().into())
}

/// Reads the feed ahead of the computation, by at most [`MAX_WAITING_FEEDS`] messages.
fn receive(end: std::os::fd::OwnedFd) -> Result<Receiver<Feed>, RunnerError> {
    let (_, mut receiver) = link::split("reader", end)?;
    let (sender, queue) = sync_channel(MAX_WAITING_FEEDS);
    std::thread::spawn(move || {
        while let Ok(Some(frame)) = receiver.recv() {
            let Ok(feed) = feed::decode(&frame.bytes) else {
                return;
            };
            receiver.reuse(frame);
            if sender.send(feed).is_err() {
                return;
            }
        }
    });
    Ok(queue)
}

/// What is computed, and what becomes of a module's rows after that.
fn work(
    start: wire::runner_start::Reader<'_>,
    header: &Header,
) -> Result<(Work, Option<Answer>), RunnerError> {
    use wire::runner_start::Which;
    let every_ns = Some(start.get_every_ns()).filter(|every_ns| *every_ns > 0);
    Ok(match start.which().map_err(capnp::Error::from)? {
        Which::Packets(()) => (Work::Packets, None),
        Which::Records(()) if !start.has_stored() => (Work::Records, None),
        Which::Records(()) => {
            let (admitted, arguments) = admit(start.get_stored()?)?;
            let answer = Answer::new(&admitted, &arguments, every_ns).map_err(refused)?;
            (Work::Records, Some(answer))
        }
        Which::Check(_) => return Err(unexpected().into()),
        Which::Module(run) => {
            let (admitted, arguments) = admit(run?)?;
            let answer = Answer::new(&admitted, &arguments, every_ns).map_err(refused)?;
            let gaps = header.gaps.iter().map(|gap| (gap.from_ns, gap.to_ns)).collect();
            let pieces = Pieces::new(admitted, arguments, gaps);
            (Work::Module(Box::new(pieces)), Some(answer))
        }
    })
}

/// Looks at a module that was submitted, and tries it without a packet.
fn check(run: wire::module_run::Reader<'_>, control: &mut LinkSender) -> Result<(), RunnerError> {
    admit(run)?
        .0
        .trial()
        .map_err(|e| RunnerError::Module(e.to_string()))?;
    Ok(control.send_bytes(
        &messages::up(|mut up| up.reborrow().init_finished().set_packets(0)),
        &[],
    )?)
}

fn refused(error: impl std::fmt::Display) -> RunnerError {
    RunnerError::Module(error.to_string())
}

/// The module of a run, and its arguments.
fn admit(run: wire::module_run::Reader<'_>) -> Result<(AdmittedModule, Vec<(String, i64)>), RunnerError> {
    let admitted = VerifiedModule::from_supervisor(run.get_module()?)
        .and_then(|module| module.admit())
        .map_err(refused)?;
    let arguments = run.get_arguments()?.iter();
    let arguments = arguments
        .map(|a| Ok((messages::text(a.get_name())?, a.get_value())))
        .collect::<capnp::Result<Vec<_>>>()?;
    Ok((admitted, arguments))
}

/// Takes the feed until its end.
fn consume(feeds: &Receiver<Feed>, work: &mut Work, output: &mut Output) -> Result<(), RunnerError> {
    loop {
        let feed = feeds.recv().map_err(|_| RunnerError::ReaderGone)?;
        match (feed, &mut *work) {
            (Feed::End, Work::Module(pieces)) => return pieces.end(output),
            (Feed::End, _) => return Ok(()),
            (Feed::Piece(window), Work::Module(pieces)) => pieces.begin(window, output)?,
            (Feed::View(view, _), Work::Module(pieces)) => {
                output.count_packets(view.len() as u64);
                pieces.view(&view, output)?;
            }
            (Feed::View(view, _), Work::Packets) => output.packets(*view)?,
            (Feed::Passed { now_ns, packets }, Work::Module(pieces)) => {
                output.count_packets(packets);
                pieces.advance(now_ns, output)?;
            }
            (Feed::Tick(now_ns), Work::Module(pieces)) => pieces.advance(now_ns, output)?,
            (Feed::Gap(gap), work) => {
                if let Work::Module(pieces) = work {
                    pieces.gap(gap.from_ns, gap.to_ns);
                }
                output.gap(gap);
            }
            (
                Feed::Rows {
                    interval,
                    complete,
                    rows,
                },
                work @ (Work::Records | Work::Module(_)),
            ) => {
                if let Work::Module(pieces) = work {
                    pieces.end(output)?;
                }
                output.stored(interval, complete, &rows)?;
            }
            (
                Feed::Tick(_) | Feed::Passed { .. } | Feed::Rows { .. } | Feed::Piece(_) | Feed::View(..),
                _,
            ) => {}
        }
    }
}

fn await_signature(commands: &mut LinkReceiver) -> Result<Signature, RunnerError> {
    let frame = commands.recv()?.ok_or_else(supervisor_gone)?;
    let message = como_capnp::read_message(&frame.bytes)?;
    match messages::read_down(&message)? {
        wire::down::Which::Signature(bytes) => {
            Signature::from_slice(bytes?).map_err(|e| capnp::Error::failed(e.to_string()).into())
        }
        _ => Err(unexpected().into()),
    }
}

fn fault(fault: como_modules::Fault) -> RunnerError {
    RunnerError::Module(fault.without_numbers())
}

fn unexpected() -> capnp::Error {
    capnp::Error::failed("not a message for a runner".into())
}

fn supervisor_gone() -> LinkError {
    LinkError::Broken("supervisor", std::io::ErrorKind::UnexpectedEof.into())
}
