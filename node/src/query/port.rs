//! The async side of the control link: questions to the supervisor, answers matched by number, and the
//! supervisor's commands. Two threads do the blocking reads and writes. Must never decide anything.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use como_capnp::wire_capnp::{ask, down, up};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::error::QueryError;
use super::limits::{LINK_WRITE_TIMEOUT, Limits};
use super::start::read_trust;
use super::trust::AuthorityParameters;
use crate::link::{Frame, LinkReceiver, LinkSender};

/// Commands that wait to be carried out; beyond it the link waits.
const MAX_COMMANDS: usize = 8;

/// What is asked of the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// A SignedRequest message, unread.
    Request(Bytes),
    /// The state of a query.
    State(String),
    /// The result of a query.
    Result(String),
    /// The node's state.
    Status,
    /// What the node has.
    Catalog,
    /// Prometheus text, for the operator's own endpoint.
    Metrics,
    /// The node's identity and keys.
    Node,
}

/// What the supervisor answered.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// JSON, or Prometheus text.
    pub body: Bytes,
    /// A sealed dataset, read only.
    pub file: Option<File>,
    /// The dataset's entity tag.
    pub etag: String,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoReply {
    /// As many questions wait as may.
    Busy,
    /// The supervisor is away.
    Gone,
    /// The supervisor did not answer in time.
    Slow,
}

/// What the supervisor wants of this role.
#[derive(Debug)]
pub enum Command {
    /// New authorities and revocation lists.
    Trust(Vec<AuthorityParameters>),
    /// Drain and end.
    Stop,
    /// The link ended; `Some`: not in good order.
    Gone(Option<QueryError>),
}

/// Where questions are asked. Clones share one link.
#[derive(Clone)]
pub struct SupervisorPort {
    shared: Arc<Shared>,
}

struct Shared {
    outbox: std::sync::mpsc::SyncSender<Outgoing>,
    waiting: Mutex<Waiting>,
    slots: Semaphore,
    next_id: AtomicU64,
    answer_within: Duration,
}

struct Waiting {
    gone: bool,
    by_id: HashMap<u64, oneshot::Sender<Reply>>,
}

enum Outgoing {
    Message(Vec<u8>),
    Last(Vec<u8>),
}

/// The thread that writes; joined at the end so that the last message is out.
pub struct PortWriter(JoinHandle<()>);

impl SupervisorPort {
    /// Starts the two threads over a link.
    pub fn start(
        sender: LinkSender,
        receiver: LinkReceiver,
        limits: &Limits,
    ) -> Result<(Self, PortWriter, mpsc::Receiver<Command>), QueryError> {
        let no_thread = |source| QueryError::System {
            what: "a thread for the control link",
            source,
        };
        sender.set_timeout(Some(LINK_WRITE_TIMEOUT)).map_err(no_thread)?;
        let (outbox, inbox) = std::sync::mpsc::sync_channel(limits.asks_in_flight + 2);
        let (commands, commanded) = mpsc::channel(MAX_COMMANDS);
        let shared = Arc::new(Shared {
            outbox,
            waiting: Mutex::new(Waiting {
                gone: false,
                by_id: HashMap::new(),
            }),
            slots: Semaphore::new(limits.asks_in_flight),
            next_id: AtomicU64::new(1),
            answer_within: limits.first_byte_timeout,
        });
        let reading = shared.clone();
        std::thread::Builder::new()
            .name("control-read".into())
            .spawn(move || {
                let end = read_loop(receiver, &reading, &commands).err();
                reading.hang_up();
                let _ = commands.blocking_send(Command::Gone(end));
            })
            .map_err(no_thread)?;
        // Weak: the writer must end when the last port is dropped.
        let writing = Arc::downgrade(&shared);
        let writer = std::thread::Builder::new()
            .name("control-write".into())
            .spawn(move || {
                write_loop(sender, inbox);
                if let Some(shared) = writing.upgrade() {
                    shared.hang_up();
                }
            })
            .map_err(no_thread)?;
        Ok((SupervisorPort { shared }, PortWriter(writer), commanded))
    }

    /// Asks on behalf of `asker`, whose certificate is valid until `until_ns`, and waits for the answer.
    pub async fn ask(&self, asker: &str, until_ns: u64, question: &Question) -> Result<Reply, NoReply> {
        let _slot = self.shared.slots.try_acquire().map_err(|_| NoReply::Busy)?;
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let (reply, replied) = oneshot::channel();
        {
            let mut waiting = self.shared.waiting();
            if waiting.gone {
                return Err(NoReply::Gone);
            }
            waiting.by_id.insert(id, reply);
        }
        let _forget = Forget {
            shared: &self.shared,
            id,
        };
        use std::sync::mpsc::TrySendError;
        match self
            .shared
            .outbox
            .try_send(Outgoing::Message(ask_message(id, asker, until_ns, question)))
        {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(NoReply::Busy),
            Err(TrySendError::Disconnected(_)) => return Err(NoReply::Gone),
        }
        match tokio::time::timeout(self.shared.answer_within, replied).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(NoReply::Gone),
            Err(_) => Err(NoReply::Slow),
        }
    }

    /// Reports a failure that does not end the role: two lines, what and how to fix it.
    pub fn report(&self, error: &QueryError) {
        let text = error.to_string();
        let (what, fix) = text.split_once('\n').unwrap_or((&text, ""));
        let mut message = capnp::message::Builder::new_default();
        let mut failed = message.init_root::<up::Builder>().init_failed();
        failed.set_what(what);
        failed.set_fix(fix);
        let bytes = como_capnp::write_message(&message);
        if self.shared.outbox.try_send(Outgoing::Message(bytes)).is_err() {
            tracing::error!(%what, %fix, "the supervisor could not be told");
        }
    }

    /// Says `stopped`, and waits until it is out (or the link is found broken). The link stays open for
    /// reading until the process ends.
    pub fn close(self, writer: PortWriter) {
        let mut message = capnp::message::Builder::new_default();
        message.init_root::<up::Builder>().set_stopped(());
        // Blocks while the queue is full: the writer's own timeout bounds that.
        let _ = self
            .shared
            .outbox
            .send(Outgoing::Last(como_capnp::write_message(&message)));
        drop(self);
        let _ = writer.0.join();
    }
}

impl Shared {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails everything that waits, and all that comes.
    fn hang_up(&self) {
        let mut waiting = self.waiting();
        waiting.gone = true;
        waiting.by_id.clear();
    }
}

/// Takes a question back whose asker went away or lost patience; its late answer is dropped.
struct Forget<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.waiting().by_id.remove(&self.id);
    }
}

fn ask_message(id: u64, asker: &str, until_ns: u64, question: &Question) -> Vec<u8> {
    let mut message = capnp::message::Builder::new_default();
    let mut ask: ask::Builder = message.init_root::<up::Builder>().init_ask();
    ask.set_id(id);
    ask.set_asker(asker);
    ask.set_not_after_ns(until_ns);
    match question {
        Question::Request(bytes) => ask.set_request(bytes),
        Question::State(query) => ask.set_state(query.as_str()),
        Question::Result(query) => ask.set_result(query.as_str()),
        Question::Status => ask.set_status(()),
        Question::Catalog => ask.set_catalog(()),
        Question::Metrics => ask.set_metrics(()),
        Question::Node => ask.set_node(()),
    }
    como_capnp::write_message(&message)
}

fn write_loop(mut sender: LinkSender, inbox: std::sync::mpsc::Receiver<Outgoing>) {
    for outgoing in inbox {
        let (bytes, last) = match outgoing {
            Outgoing::Message(bytes) => (bytes, false),
            Outgoing::Last(bytes) => (bytes, true),
        };
        let sent = sender.send_bytes(&bytes, &[]);
        if let Err(error) = &sent {
            tracing::error!(%error, "the control link does not take messages");
            // A frame that is only half out cannot be followed by another.
            sender.shutdown();
        }
        if last || sent.is_err() {
            return;
        }
    }
}

fn read_loop(
    mut receiver: LinkReceiver,
    shared: &Shared,
    commands: &mpsc::Sender<Command>,
) -> Result<(), QueryError> {
    while let Some(frame) = receiver.recv()? {
        let Frame {
            bytes,
            mut descriptors,
            ..
        } = frame;
        let message = como_capnp::read_message(&bytes)?;
        let command = match message
            .get_root::<down::Reader>()?
            .which()
            .map_err(capnp::Error::from)?
        {
            down::Answer(answer) => {
                let answer = answer?;
                let reply = Reply {
                    status: answer.get_status(),
                    body: Bytes::copy_from_slice(answer.get_body()?),
                    file: descriptors.pop().filter(|_| answer.get_file()).map(File::from),
                    etag: answer
                        .get_etag()?
                        .to_str()
                        .map_err(capnp::Error::from)?
                        .to_string(),
                };
                if let Some(asker) = shared.waiting().by_id.remove(&answer.get_id()) {
                    let _ = asker.send(reply);
                }
                continue;
            }
            down::Trust(trust) => Command::Trust(read_trust(trust?)?),
            down::Stop(()) => Command::Stop,
            _ => return Err(capnp::Error::failed("not a message for the query role".into()).into()),
        };
        if commands.blocking_send(command).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
