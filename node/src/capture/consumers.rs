//! Live consumers: one export process for each level and audience. Each gets views of exactly its level,
//! made here, where the packets are; one that is slow is shown fewer packets where the operator allows that, else
//! loses views and is told so, and never holds up a link or another. A file waits for it, within bounds.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use como_anonymize::bitmap::Bitmap;
use como_anonymize::{Anonymizer, Column, Rekeying, View, coarse, view};
use como_dataset::Gap;
use como_keys::keyring::mapping_epoch;
use como_policies::AccessLevel;

use super::hours::{Hour, LiveHours};
use super::patience::Patience;
use super::pipeline::{LiveBlock, Wanted};
use super::sampling::{Chooser, Sampling};
use crate::feed;
use crate::link::{self, LinkSender};
use crate::records::Stretch;
use crate::spares::Lent;
use crate::trace::PacketBatch;

/// Encoded views that may wait for one consumer.
const MAX_WAITING_VIEWS: usize = 32;
/// A consumer with so many waiting is behind, and one with no more than so many is not.
const CROWDED_VIEWS: usize = MAX_WAITING_VIEWS / 2;
const CALM_VIEWS: usize = 2;
/// An idle link's time goes on by the wall clock, after this.
const IDLE: Duration = Duration::from_secs(1);

/// How often a change is looked for while nobody is there.
const VACANT: Duration = Duration::from_millis(20);

/// A change of the consumers, from the control link.
pub(super) enum Change {
    /// A new consumer, or what a known one looks at from now on.
    Subscribe {
        id: u32,
        key: ViewKey,
        sampling: Sampling,
    },
    Connect {
        id: u32,
        end: OwnedFd,
    },
    Unsubscribe(u32),
    /// The map of an audience in a mapping epoch.
    Key {
        audience: String,
        mapping_epoch: u32,
        map: Arc<Anonymizer>,
    },
}

/// What a consumer sees: two with the same get one view, made once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ViewKey {
    pub level: AccessLevel,
    /// Empty: the node's own pseudonyms.
    pub audience: String,
    /// The columns that are looked at.
    pub columns: Vec<Column>,
    /// Whether the frames are.
    pub frames: bool,
}

struct Consumer {
    key: ViewKey,
    sampling: Sampling,
    queue: Option<Queue>,
    missed: Option<Gap>,
    /// Of a file that waits.
    patience: Option<Patience>,
}

/// Encoded views on their way to a consumer.
struct Queue {
    views: SyncSender<Arc<Vec<u8>>>,
    waiting: Arc<AtomicUsize>,
}

/// Where changes are sent.
pub(super) struct Consumers {
    wanted: Wanted,
    changes: Sender<Change>,
    sampled: Arc<AtomicU32>,
    counts: Arc<ViewCounts>,
}

/// What was done for consumers; only grows.
#[derive(Default)]
pub(super) struct ViewCounts {
    /// Views that were made of a block or an hour, by their level.
    made: [AtomicU64; AccessLevel::ALL.len()],
    /// Views that went to a consumer.
    sent: AtomicU64,
    /// Packets of views that a consumer was too slow for.
    shed_packets: AtomicU64,
}

impl ViewCounts {
    /// Views that were made, by their level.
    pub fn made(&self) -> [u64; AccessLevel::ALL.len()] {
        self.made.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Views that went to a consumer.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Packets of views that a consumer was too slow for.
    pub fn shed_packets(&self) -> u64 {
        self.shed_packets.load(Ordering::Relaxed)
    }

    fn count_made(&self, level: AccessLevel) {
        self.made[usize::from(level.as_u8())].fetch_add(1, Ordering::Relaxed);
    }
}

impl Consumers {
    /// Serves consumers from `blocks` on a thread of its own, until capture ends.
    /// On an idle link (`live`) time goes on by the wall clock; a source that `waits` is held up by who is behind.
    pub fn start(blocks: Receiver<LiveBlock>, wanted: Wanted, live: bool, waits: bool) -> Self {
        let (changes, queue) = channel();
        let counts = Arc::new(ViewCounts::default());
        let counting = counts.clone();
        let sampled = Arc::new(AtomicU32::new(1));
        let told = sampled.clone();
        let wanting = wanted.clone();
        std::thread::spawn(move || {
            Serving {
                consumers: BTreeMap::new(),
                maps: BTreeMap::new(),
                hours: None,
                chooser: Chooser::default(),
                sampled: told,
                wanted,
                live,
                waits,
                counts: counting,
            }
            .run(&blocks, &queue);
        });
        Self {
            wanted: wanting,
            changes,
            sampled,
            counts,
        }
    }

    /// What was done so far.
    pub fn counts(&self) -> &ViewCounts {
        &self.counts
    }

    /// Of all consumers, the one that is shown fewest packets gets one in so many.
    pub fn sampled(&self) -> u32 {
        self.sampled.load(Ordering::Relaxed)
    }

    /// Applies a change before the next block.
    pub fn change(&self, change: Change) {
        if matches!(change, Change::Subscribe { .. }) {
            self.wanted.set(true); // Now: it is looked for in a while only.
        }
        let _ = self.changes.send(change);
    }
}

struct Serving {
    consumers: BTreeMap<u32, Consumer>,
    maps: BTreeMap<(String, u32), Arc<Anonymizer>>,
    /// Kept while a consumer at `coarse` is there.
    hours: Option<LiveHours>,
    chooser: Chooser,
    sampled: Arc<AtomicU32>,
    wanted: Wanted,
    live: bool,
    waits: bool,
    counts: Arc<ViewCounts>,
}

impl Serving {
    fn run(mut self, blocks: &Receiver<LiveBlock>, changes: &Receiver<Change>) {
        loop {
            // Nobody is there: no block comes, and whoever subscribes should not wait long.
            let patience = if self.consumers.is_empty() { VACANT } else { IDLE };
            let block = blocks.recv_timeout(patience);
            while let Ok(change) = changes.try_recv() {
                self.apply(change);
            }
            match block {
                Ok(block) => {
                    self.show(&block);
                    self.gather(&block);
                }
                Err(RecvTimeoutError::Timeout) if self.live => self.tick(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Subscribe { id, key, sampling } => {
                if key.level <= AccessLevel::Coarse {
                    self.hours.get_or_insert_default();
                }
                let waits = self.waits;
                let consumer = self.consumers.entry(id).or_insert_with(|| Consumer {
                    key: key.clone(),
                    sampling: sampling.clone(),
                    queue: None,
                    missed: None,
                    patience: waits.then(Patience::new),
                });
                consumer.key = key;
                consumer.sampling.rebound(&sampling);
            }
            Change::Connect { id, end } => {
                if let (Some(consumer), Ok((sender, _))) =
                    (self.consumers.get_mut(&id), link::split("export", end))
                {
                    consumer.queue = Some(forward(sender));
                }
            }
            Change::Unsubscribe(id) => {
                self.consumers.remove(&id);
                if !self
                    .consumers
                    .values()
                    .any(|c| c.key.level <= AccessLevel::Coarse)
                {
                    self.hours = None;
                }
            }
            Change::Key {
                audience,
                mapping_epoch,
                map,
            } => {
                self.maps.insert((audience, mapping_epoch), map);
            }
        }
        self.wanted.set(!self.consumers.is_empty());
    }

    /// Builds each view once, however many consumers share it.
    fn show(&mut self, block: &LiveBlock) {
        let mut made: BTreeMap<(ViewKey, u32), Option<Arc<Vec<u8>>>> = BTreeMap::new();
        let span = span(&block.view);
        let of_packets = |c: &&mut Consumer| c.key.level > AccessLevel::Coarse;
        for consumer in self.consumers.values_mut().filter(of_packets) {
            if let Some(shed) = &block.shed_before {
                let gap = Gap {
                    from_ns: shed.from_ns,
                    to_ns: shed.to_ns,
                    cause: shed.cause.as_str().to_owned(),
                    count: shed.packets,
                };
                consumer.missed = Some(merged(consumer.missed.take(), gap));
            }
            let view = made
                .entry((consumer.key.clone(), consumer.sampling.one_in()))
                .or_insert_with_key(|(key, one_in)| {
                    self.counts.count_made(key.level);
                    let sampled = sampled(block, *one_in, key.level, &mut self.chooser);
                    let sample = sampled.as_ref().map(|_| Stretch {
                        from_ns: span.0,
                        to_ns: span.1.saturating_add(1),
                        one_in: *one_in,
                    });
                    view_for(key, sampled.as_ref().unwrap_or(block), sample, &self.maps).map(Arc::new)
                });
            let lost = || Gap {
                from_ns: span.0,
                to_ns: span.1.saturating_add(1),
                cause: "shed".into(),
                count: Some(block.view.len() as u64),
            };
            match view {
                Some(bytes) => consumer.offer(bytes, lost, &self.counts),
                None => consumer.missed = Some(merged(consumer.missed.take(), lost())),
            }
            consumer.adapt();
        }
        self.tell_sampling();
    }

    fn tell_sampling(&self) {
        let packets = self
            .consumers
            .values()
            .filter(|c| c.key.level > AccessLevel::Coarse);
        let fewest = packets.map(|consumer| consumer.sampling.one_in()).max();
        self.sampled.store(fewest.unwrap_or(1), Ordering::Relaxed);
    }

    /// Adds a block to the hour's flows; hours that are over go to the consumers at `coarse`.
    fn gather(&mut self, block: &LiveBlock) {
        if let Some(hours) = &mut self.hours {
            hours.take(block);
            self.release_hours();
        }
    }

    fn release_hours(&mut self) {
        while let Some(hour) = self.hours.as_mut().and_then(LiveHours::pop_over) {
            let mut made: BTreeMap<String, Option<Vec<Arc<Vec<u8>>>>> = BTreeMap::new();
            let of_hours = |c: &&mut Consumer| c.key.level <= AccessLevel::Coarse;
            for consumer in self.consumers.values_mut().filter(of_hours) {
                let views = made
                    .entry(consumer.key.audience.clone())
                    .or_insert_with_key(|audience| {
                        self.counts.count_made(AccessLevel::Coarse);
                        rows_for(audience, &hour, &self.maps)
                    });
                consumer.offer_hour(views.as_deref(), hour.bin.start_ns, &self.counts);
            }
        }
    }

    fn tick(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // A second behind: packets may still be on their way through the kernel's ring.
        let now_ns = now.saturating_sub(IDLE).as_nanos() as u64;
        if let Some(hours) = &mut self.hours {
            hours.advance(now_ns);
            self.release_hours();
        }
        for consumer in self.consumers.values_mut() {
            if let Some(queue) = &consumer.queue {
                // An hour's rows come when its late packets are in: its consumers' time is that much behind.
                let behind_ns = if consumer.key.level > AccessLevel::Coarse {
                    0
                } else {
                    coarse::LATE_NS
                };
                let _ = queue.offer(Arc::new(feed::encode_tick(now_ns.saturating_sub(behind_ns))));
            }
        }
    }
}

impl Consumer {
    /// The rows of an hour; `None`: it is not released, or this consumer's pseudonyms are not there.
    fn offer_hour(&mut self, views: Option<&[Arc<Vec<u8>>]>, start_ns: u64, counts: &ViewCounts) {
        let lost = || Gap {
            from_ns: start_ns,
            to_ns: start_ns.saturating_add(coarse::BIN_NS),
            cause: "hour not seen whole".into(),
            count: None,
        };
        match views {
            Some(views) => views.iter().for_each(|bytes| self.offer(bytes, lost, counts)),
            None => self.missed = Some(merged(self.missed.take(), lost())),
        }
    }

    fn offer(&mut self, bytes: &Arc<Vec<u8>>, lost: impl Fn() -> Gap, counts: &ViewCounts) {
        let Some(queue) = &self.queue else {
            self.missed = Some(merged(self.missed.take(), lost()));
            return;
        };
        if let Some(gap) = self.missed.take()
            && queue.offer(Arc::new(feed::encode_gap(&gap))).is_err()
        {
            self.missed = Some(merged(Some(gap), shed(counts, lost())));
            return;
        }
        let mut offered = queue.offer(bytes.clone());
        while let Err(TrySendError::Full(_)) = offered
            && self.patience.as_mut().is_some_and(Patience::wait)
        {
            offered = queue.offer(bytes.clone());
        }
        match offered {
            Ok(()) => {
                self.patience.iter_mut().for_each(Patience::took);
                counts.sent.fetch_add(1, Ordering::Relaxed);
            }
            Err(TrySendError::Full(_)) => {
                self.missed = Some(merged(self.missed.take(), shed(counts, lost())))
            }
            Err(TrySendError::Disconnected(_)) => {
                self.queue = None;
                self.missed = Some(merged(self.missed.take(), lost()));
            }
        }
    }
}

impl Consumer {
    /// Shows fewer packets from now on to one that is behind, and more to one that has not been for a while. Whoever is
    /// waited for may be behind.
    fn adapt(&mut self) {
        if self.patience.is_some() {
            return;
        }
        let waiting = self
            .queue
            .as_ref()
            .map_or(0, |queue| queue.waiting.load(Ordering::Relaxed));
        if waiting >= CROWDED_VIEWS {
            self.sampling.crowded();
        } else if waiting <= CALM_VIEWS {
            self.sampling.calm();
        }
    }
}

impl Queue {
    fn offer(&self, bytes: Arc<Vec<u8>>) -> Result<(), TrySendError<Arc<Vec<u8>>>> {
        // Before it is there: whoever takes it counts it off.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.views.try_send(bytes).inspect_err(|_| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        })
    }
}

/// One packet in `one_in` of a block, each with that weight; `None`: all of them are shown.
fn sampled(block: &LiveBlock, one_in: u32, level: AccessLevel, chooser: &mut Chooser) -> Option<LiveBlock> {
    if one_in == 1 {
        return None;
    }
    let chosen = chooser.choose(block.view.len(), one_in);
    let mut view = block.view.select(&chosen);
    for weight in &mut view.columns.weight {
        *weight = weight.saturating_mul(one_in);
    }
    // The levels up to `anonymized` are made of the view alone.
    let batch = match level > AccessLevel::Anonymized {
        true => chosen_of(&block.batch, &chosen),
        false => PacketBatch::default(),
    };
    Some(LiveBlock {
        sequence: block.sequence,
        source: block.source,
        view: Lent::own(Box::new(view)),
        batch: Lent::own(batch),
        anonymizer: block.anonymizer.clone(),
        shed_before: None,
    })
}

fn chosen_of(batch: &PacketBatch, chosen: &Bitmap) -> PacketBatch {
    let mut some = PacketBatch::default();
    some.restart(batch.link, batch.first_packet);
    for (row, packet) in batch.packets().enumerate() {
        if chosen.get(row) {
            some.push(packet.ts_ns, packet.wire_len, packet.data);
        }
    }
    some
}

/// The view of a block that a consumer gets; `None`: its pseudonyms are not there.
fn view_for(
    key: &ViewKey,
    block: &LiveBlock,
    sample: Option<Stretch>,
    maps: &BTreeMap<(String, u32), Arc<Anonymizer>>,
) -> Option<Vec<u8>> {
    let map = || match key.audience.as_str() {
        "" => Some(&block.anonymizer),
        audience => maps.get(&(audience.to_owned(), mapping_epoch(span(&block.view).0))),
    };
    let raw = |map| {
        let mut view = view::build(key.level, block.view.link, block.batch.packets(), map);
        // Looked up once, where the block was treated.
        view.columns.src_as.clone_from(&block.view.columns.src_as);
        view.columns.dst_as.clone_from(&block.view.columns.dst_as);
        view.columns.weight.clone_from(&block.view.columns.weight);
        view
    };
    let encode = |view: &View| feed::encode_sample(view, key.frames, Some(&key.columns), sample);
    Some(match key.level {
        AccessLevel::Payload => encode(&raw(None)),
        AccessLevel::Headers => encode(&raw(Some(&**map()?))),
        _ if key.audience.is_empty() => encode(&block.view),
        _ => match Rekeying::of(&key.columns, key.frames) {
            Rekeying::Nothing => encode(&block.view),
            // Treated anew packet by packet: nothing of the view need be copied first.
            Rekeying::Everything => encode(&view::rekey(&block.view, map()?)),
            columns => {
                let needed: Vec<Column> = key.columns.iter().chain(columns.needs()).copied().collect();
                let mut view = View::new(block.view.level, block.view.link);
                view.columns = block.view.columns.only(&needed);
                encode(&columns.apply(view, map()?))
            }
        },
    })
}

/// The rows of an hour for an audience; `None`: nothing may be shown of it.
fn rows_for(
    audience: &str,
    hour: &Hour,
    maps: &BTreeMap<(String, u32), Arc<Anonymizer>>,
) -> Option<Vec<Arc<Vec<u8>>>> {
    let epoch = mapping_epoch(hour.bin.start_ns);
    let map = match audience {
        "" => None,
        audience => Some(maps.get(&(audience.to_owned(), epoch))?),
    };
    let views = hour.is_whole.then(|| hour.bin.release(map.map(Arc::as_ref)))?;
    Some(
        views
            .iter()
            .map(|view| Arc::new(feed::encode_view(view, false, None)))
            .collect(),
    )
}

fn span(view: &View) -> (u64, u64) {
    let times = &view.columns.ts_ns;
    (
        times.iter().copied().min().unwrap_or(0),
        times.iter().copied().max().unwrap_or(0),
    )
}

/// Counts what a consumer was too slow for.
fn shed(counts: &ViewCounts, gap: Gap) -> Gap {
    counts
        .shed_packets
        .fetch_add(gap.count.unwrap_or(0), Ordering::Relaxed);
    gap
}

fn merged(before: Option<Gap>, gap: Gap) -> Gap {
    match before {
        None => gap,
        Some(before) => Gap {
            from_ns: before.from_ns.min(gap.from_ns),
            to_ns: before.to_ns.max(gap.to_ns),
            cause: gap.cause,
            count: before.count.zip(gap.count).map(|(a, b)| a + b),
        },
    }
}

/// Writes to one consumer from a thread of its own: its link may block, capture must not.
fn forward(mut sender: LinkSender) -> Queue {
    let (queue, views) = sync_channel::<Arc<Vec<u8>>>(MAX_WAITING_VIEWS);
    let waiting = Arc::new(AtomicUsize::new(0));
    let sent = waiting.clone();
    std::thread::spawn(move || {
        while let Ok(bytes) = views.recv() {
            if sender.send_bytes(&bytes, &[]).is_err() {
                return;
            }
            sent.fetch_sub(1, Ordering::Relaxed);
        }
    });
    Queue {
        views: queue,
        waiting,
    }
}
