//! Capture's link to storage: items go out in order, and are kept until storage has them on disk. When
//! storage comes back, what it did not acknowledge is sent again; it drops what it has.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use como_capnp::wire_capnp as wire;

use super::pipeline::Acknowledger;
use crate::link::{self, LinkSender};
use crate::trace::{ItemBody, ResumePoint, SealedItem, SourceId};
use crate::wire as messages;

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
    items: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
    acknowledged: Option<u64>,
}

/// The link, as far as it is there.
pub(super) struct Uplink {
    source: SourceId,
    link: Option<LinkSender>,
    /// Storage closed the newest link.
    ended: Arc<AtomicBool>,
    waiting: Arc<Mutex<Waiting>>,
    acknowledger: Arc<Mutex<Option<Acknowledger>>>,
    answers: (Sender<Answer>, Receiver<Answer>),
}

impl Uplink {
    pub fn new(source: SourceId) -> Self {
        Self {
            source,
            link: None,
            ended: Arc::default(),
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
        let (mut sender, mut receiver) = link::split("storage", end)?;
        let (waiting, acknowledger, answers) = (
            self.waiting.clone(),
            self.acknowledger.clone(),
            self.answers.0.clone(),
        );
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
        if sender.send_bytes(&begin, &[]).is_err() {
            return Ok(()); // Storage died again; the next link comes.
        }
        let again: Vec<Vec<u8>> = {
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.items.iter().map(|(_, bytes)| bytes.clone()).collect()
        };
        self.link = Some(sender);
        again.iter().for_each(|bytes| self.transmit(bytes));
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
        self.transmit(&bytes);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting
            .acknowledged
            .is_none_or(|acknowledged| acknowledged < item.sequence)
        {
            waiting.bytes += bytes.len();
            waiting.items.push_back((item.sequence, bytes));
        }
    }

    /// Whether there is a link, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.link.is_some() && !self.ended.load(Ordering::Relaxed)
    }

    /// Bytes that storage does not have yet.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// Whether storage has everything that was sent.
    pub fn is_drained(&self) -> bool {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .items
            .is_empty()
    }

    fn transmit(&mut self, bytes: &[u8]) {
        if let Some(link) = &mut self.link
            && link.send_bytes(bytes, &[]).is_err()
        {
            self.link = None;
        }
    }
}

fn take(
    bytes: &[u8],
    waiting: &Mutex<Waiting>,
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
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            while waiting
                .items
                .front()
                .is_some_and(|(number, _)| *number <= sequence)
            {
                let gone = waiting.items.pop_front().map_or(0, |(_, bytes)| bytes.len());
                waiting.bytes -= gone;
            }
            waiting.acknowledged = Some(waiting.acknowledged.unwrap_or(0).max(sequence));
            drop(waiting);
            if let Some(pipeline) = &*acknowledger.lock().unwrap_or_else(PoisonError::into_inner) {
                pipeline.acknowledge(sequence);
            }
        }
        Which::RecordsAcknowledged(_) => {}
    }
    Ok(())
}
