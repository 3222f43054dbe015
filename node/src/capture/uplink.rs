//! Capture's link to storage: items go out in order, and are kept until storage has them on disk. When storage comes
//! back, what it did not acknowledge is sent again; it drops what it has. A thread of its own writes: storage that does
//! not read must never keep capture from telling how it is.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use como_capnp::wire_capnp as wire;

use super::pipeline::Acknowledger;
use crate::link::{self, LinkSender};
use crate::trace::{ItemBody, ResumePoint, SealedItem, SourceId};
use crate::wire as messages;

/// How often the writing thread looks whether its link is still the newest.
const LOOK: Duration = Duration::from_millis(100);

/// What storage says to a new run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resume {
    pub point: ResumePoint,
    /// Starts of capture since the point last moved.
    pub starts: u32,
}

/// What storage said.
pub(super) enum Answer {
    Resume(Resume),
    /// The items do not continue what is stored.
    Refused(String),
}

/// Items that storage does not have yet.
#[derive(Default)]
struct Waiting {
    items: Mutex<Items>,
    more: Condvar,
}

#[derive(Default)]
struct Items {
    /// In order of their sequence, without holes.
    queue: VecDeque<(u64, Arc<Vec<u8>>)>,
    bytes: usize,
}

/// The link, as far as it is there.
pub(super) struct Uplink {
    source: SourceId,
    /// Storage closed the newest link; there is none at first.
    ended: Arc<AtomicBool>,
    waiting: Arc<Waiting>,
    acknowledger: Arc<Mutex<Option<Acknowledger>>>,
    answers: (Sender<Answer>, Receiver<Answer>),
}

impl Uplink {
    pub fn new(source: SourceId) -> Self {
        Self {
            source,
            ended: Arc::new(AtomicBool::new(true)),
            waiting: Arc::default(),
            acknowledger: Arc::default(),
            answers: channel(),
        }
    }

    /// Acknowledgements go to the pipeline from now on.
    pub fn set_acknowledger(&mut self, acknowledger: Acknowledger) {
        *self.acknowledger.lock().unwrap_or_else(PoisonError::into_inner) = Some(acknowledger);
    }

    /// Takes a new link. A new run asks where to go on; a running one sends its items again.
    pub fn connect(&mut self, end: std::os::fd::OwnedFd, new_run: bool) -> std::io::Result<()> {
        let (sender, mut receiver) = link::split("storage", end)?;
        let (waiting, acknowledger, answers) = (
            self.waiting.clone(),
            self.acknowledger.clone(),
            self.answers.0.clone(),
        );
        // The writer of the link before ends with it.
        self.ended.store(true, Ordering::Relaxed);
        let ended = Arc::new(AtomicBool::new(false));
        self.ended = ended.clone();
        std::thread::spawn(move || {
            while let Ok(Some(frame)) = receiver.recv() {
                let taken = take(&frame.bytes, &waiting, &acknowledger, &answers);
                if let Err(error) = taken {
                    tracing::error!("storage sent what capture cannot read: {error}");
                    break;
                }
            }
            ended.store(true, Ordering::Relaxed);
        });
        let begin = messages::store_item(|item| {
            let mut begin = item.init_begin();
            begin.set_source(&self.source.0);
            begin.set_new_run(new_run);
        });
        let (waiting, ended) = (self.waiting.clone(), self.ended.clone());
        std::thread::spawn(move || {
            write(sender, &begin, &waiting, &ended);
            ended.store(true, Ordering::Relaxed);
        });
        Ok(())
    }

    /// What storage said, if it said something.
    pub fn answer(&self) -> Option<Answer> {
        self.answers.1.try_recv().ok()
    }

    /// Sends an item, and keeps it until it is acknowledged.
    pub fn send(&mut self, item: &SealedItem) {
        let bytes = messages::store_item(|to| {
            let mut to = to.init_sealed();
            to.set_sequence(item.sequence);
            to.set_segment(&item.segment.0);
            to.set_kind(match item.body {
                ItemBody::Open(_) => 0,
                ItemBody::Block(_) => 1,
                ItemBody::Close(_) => 2,
            });
            to.set_bytes(item.body.bytes());
        });
        let mut items = self.waiting.lock();
        items.bytes += bytes.len();
        items.queue.push_back((item.sequence, Arc::new(bytes)));
        self.waiting.more.notify_all();
    }

    /// Whether there is a link, as far as is known.
    pub fn is_connected(&self) -> bool {
        !self.ended.load(Ordering::Relaxed)
    }

    /// Bytes that storage does not have yet.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.lock().bytes
    }

    /// Whether storage has everything that was sent.
    pub fn is_drained(&self) -> bool {
        self.waiting.lock().queue.is_empty()
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Items> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first item from a sequence on, once there is one; `None`: the link has ended.
    fn next(&self, from: u64, ended: &AtomicBool) -> Option<(u64, Arc<Vec<u8>>)> {
        let mut items = self.lock();
        while !ended.load(Ordering::Relaxed) {
            let at = items.queue.partition_point(|(sequence, _)| *sequence < from);
            if let Some(item) = items.queue.get(at) {
                return Some(item.clone());
            }
            let woken = self.more.wait_timeout(items, LOOK);
            items = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        None
    }
}

/// Writes all items that storage does not have to a new link, and then each that comes, until the link ends.
fn write(mut link: LinkSender, begin: &[u8], waiting: &Waiting, ended: &AtomicBool) {
    let mut from = 0;
    let mut open = link.send_bytes(begin, &[]).is_ok();
    while open && let Some((sequence, bytes)) = waiting.next(from, ended) {
        from = sequence + 1;
        open = link.send_bytes(&bytes, &[]).is_ok();
    }
}

fn take(
    bytes: &[u8],
    waiting: &Waiting,
    acknowledger: &Mutex<Option<Acknowledger>>,
    answers: &Sender<Answer>,
) -> capnp::Result<()> {
    use wire::store_ack::Which;
    let message = como_capnp::read_message(bytes)?;
    match message.get_root::<wire::store_ack::Reader<'_>>()?.which()? {
        Which::Resume(resume) => {
            let resume = resume?;
            let point = ResumePoint {
                offset: resume.get_offset(),
                next_packet: resume.get_packets(),
            };
            let _ = answers.send(Answer::Resume(Resume {
                point,
                starts: resume.get_starts(),
            }));
        }
        Which::Refused(why) => {
            let _ = answers.send(Answer::Refused(messages::text(why)?));
        }
        Which::Acknowledged(sequence) => {
            let mut items = waiting.lock();
            while items.queue.front().is_some_and(|(number, _)| *number <= sequence) {
                let gone = items.queue.pop_front().map_or(0, |(_, bytes)| bytes.len());
                items.bytes -= gone;
            }
            drop(items);
            if let Some(pipeline) = &*acknowledger.lock().unwrap_or_else(PoisonError::into_inner) {
                pipeline.acknowledge(sequence);
            }
        }
        Which::RecordsAcknowledged(_) => {}
    }
    Ok(())
}
