//! Capture's link to storage: items go out in order, and are kept until storage has them on disk. When storage comes
//! back, what it did not acknowledge is sent again; it drops what it has. Threads of its own carry and write: storage
//! that does not read must never keep capture from telling how it is.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
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

/// What the uplink has to say.
pub(super) enum Told {
    /// Where to go on.
    Resume(Resume),
    /// The items do not continue what is stored.
    Refused(String),
    /// The pipeline has given its last item.
    LastItem,
    /// After the last item: storage has all of them.
    Drained,
}

/// Whom the uplink tells.
pub(super) type Tell = Arc<dyn Fn(Told) + Send + Sync>;

/// An item on its way.
struct Item {
    sequence: u64,
    /// The message; the item's bytes are its body.
    message: Vec<u8>,
    bytes: Vec<u8>,
}

/// Items that storage does not have yet.
#[derive(Default)]
struct Waiting {
    items: Mutex<Items>,
    more: Condvar,
    fewer: Condvar,
}

#[derive(Default)]
struct Items {
    /// In order of their sequence, without holes.
    queue: VecDeque<Arc<Item>>,
    bytes: u64,
    /// No item follows.
    last: bool,
    /// Nobody waits for any of them any more.
    closed: bool,
}

/// The link, as far as it is there.
pub(super) struct Uplink {
    source: SourceId,
    /// Most bytes that wait; the pipeline keeps what is more.
    most_bytes: u64,
    /// Storage closed the newest link; there is none at first.
    ended: Arc<AtomicBool>,
    waiting: Arc<Waiting>,
    acknowledger: Arc<Mutex<Option<Acknowledger>>>,
    tell: Tell,
}

impl Uplink {
    pub fn new(source: SourceId, most_bytes: u64, tell: Tell) -> Self {
        Self {
            source,
            most_bytes,
            ended: Arc::new(AtomicBool::new(true)),
            waiting: Arc::default(),
            acknowledger: Arc::default(),
            tell,
        }
    }

    /// Takes a new link. A new run asks where to go on; a running one sends its items again.
    pub fn connect(&mut self, end: std::os::fd::OwnedFd, new_run: bool) -> std::io::Result<()> {
        let (sender, mut receiver) = link::split("storage", end)?;
        let (waiting, acknowledger, tell) =
            (self.waiting.clone(), self.acknowledger.clone(), self.tell.clone());
        // The writer of the link before ends with it.
        self.ended.store(true, Ordering::Relaxed);
        let ended = Arc::new(AtomicBool::new(false));
        self.ended = ended.clone();
        std::thread::spawn(move || {
            while let Ok(Some(frame)) = receiver.recv() {
                let taken = take(&frame.bytes, &waiting, &acknowledger, &tell);
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

    /// Carries a pipeline's items to storage until the last of them, as many at a time as may wait. While storage is away
    /// and they do, files wait and links drop newest. Acknowledgements go to the pipeline.
    pub fn carry(&mut self, items: Receiver<SealedItem>, acknowledger: Acknowledger) {
        *self.acknowledger.lock().unwrap_or_else(PoisonError::into_inner) = Some(acknowledger);
        let (waiting, most_bytes, tell) = (self.waiting.clone(), self.most_bytes, self.tell.clone());
        std::thread::spawn(move || {
            for item in items {
                if !waiting.push(item, most_bytes) {
                    return;
                }
            }
            tell(Told::LastItem);
            if waiting.end() {
                tell(Told::Drained);
            }
        });
    }

    /// Lets go of every item: nobody will take them.
    pub fn close(&self) {
        self.waiting.lock().closed = true;
        self.waiting.fewer.notify_all();
    }

    /// Whether there is a link, as far as is known.
    pub fn is_connected(&self) -> bool {
        !self.ended.load(Ordering::Relaxed)
    }

    /// Bytes that storage does not have yet.
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting.lock().bytes
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Items> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an item once there is room; false: nobody will take it.
    fn push(&self, item: SealedItem, most_bytes: u64) -> bool {
        let message = messages::store_item(|to| {
            let mut to = to.init_sealed();
            to.set_sequence(item.sequence);
            to.set_segment(&item.segment.0);
            to.set_kind(match item.body {
                ItemBody::Open(_) => 0,
                ItemBody::Block(_) => 1,
                ItemBody::Close(_) => 2,
            });
        });
        let item = Item {
            sequence: item.sequence,
            message,
            bytes: item.body.into_bytes(),
        };
        let mut items = self.lock();
        while items.bytes >= most_bytes && !items.closed {
            items = self.fewer.wait(items).unwrap_or_else(PoisonError::into_inner);
        }
        if items.closed {
            return false;
        }
        items.bytes += item.bytes.len() as u64;
        items.queue.push_back(Arc::new(item));
        self.more.notify_all();
        true
    }

    /// No item follows; true: storage has all.
    fn end(&self) -> bool {
        let mut items = self.lock();
        items.last = true;
        items.queue.is_empty()
    }

    /// The first item from a sequence on, once there is one; `None`: the link has ended.
    fn next(&self, from: u64, ended: &AtomicBool) -> Option<Arc<Item>> {
        let mut items = self.lock();
        while !ended.load(Ordering::Relaxed) {
            let at = items.queue.partition_point(|item| item.sequence < from);
            if let Some(item) = items.queue.get(at) {
                return Some(item.clone());
            }
            let woken = self.more.wait_timeout(items, LOOK);
            items = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        None
    }

    /// Takes what is on disk out, and whether that was the last of all.
    fn acknowledge(&self, sequence: u64) -> (Vec<Arc<Item>>, bool) {
        let mut items = self.lock();
        let had_some = !items.queue.is_empty();
        let count = items.queue.partition_point(|item| item.sequence <= sequence);
        let stored: Vec<_> = items.queue.drain(..count).collect();
        items.bytes -= stored.iter().map(|item| item.bytes.len() as u64).sum::<u64>();
        self.fewer.notify_all();
        (stored, had_some && items.last && items.queue.is_empty())
    }
}

/// Writes all items that storage does not have to a new link, and then each that comes, until the link ends.
fn write(mut link: LinkSender, begin: &[u8], waiting: &Waiting, ended: &AtomicBool) {
    let mut from = 0;
    let mut open = link.send_bytes(begin, &[]).is_ok();
    while open && let Some(item) = waiting.next(from, ended) {
        from = item.sequence + 1;
        open = link.send_with_body(&item.message, &item.bytes).is_ok();
    }
}

fn take(
    bytes: &[u8],
    waiting: &Waiting,
    acknowledger: &Mutex<Option<Acknowledger>>,
    tell: &Tell,
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
            tell(Told::Resume(Resume {
                point,
                starts: resume.get_starts(),
            }));
        }
        Which::Refused(why) => tell(Told::Refused(messages::text(why)?)),
        Which::Acknowledged(sequence) => {
            let (stored, drained) = waiting.acknowledge(sequence);
            if let Some(pipeline) = &*acknowledger.lock().unwrap_or_else(PoisonError::into_inner) {
                pipeline.acknowledge(sequence);
                // One that is still being written again to a new link is simply freed.
                let memory = stored.into_iter().filter_map(Arc::into_inner);
                memory.for_each(|item| pipeline.give_back(item.bytes));
            }
            if drained {
                tell(Told::Drained);
            }
        }
        Which::RecordsAcknowledged(_) => {}
    }
    Ok(())
}
