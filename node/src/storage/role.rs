//! The storage process: links in, the ring and the record files out, acknowledgements back.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use como_capnp::wire_capnp as wire;

use super::records::{Change, RecordRetention, Records};
use super::syncer::Syncer;
use crate::link::{self, Frame, LinkError, LinkReceiver, LinkSender};
use crate::ring::{Appended, Recovered, Retention, Ring, RingError, free_bytes};
use crate::spares::Spares;
use crate::trace::{ItemBody, SealedItem, SegmentId, SegmentInfo, SourceId};
use crate::wire::{self as messages, array, text};

/// Items of all links that may wait for the disk; when they do, the links fill up and the senders wait.
const MAX_WAITING_ITEMS: usize = 32;
/// What was written is synced and acknowledged at least this often...
const SYNC_EVERY: Duration = Duration::from_millis(100);
/// ...and at least after this many bytes.
const SYNC_BYTES: u64 = 8 << 20;
/// What was written is synced earlier when nothing more has come for this long: a writer may wait for it.
const SYNC_WHEN_IDLE: Duration = Duration::from_millis(2);
/// How long storage takes what capture and export still have once the supervisor is gone.
const DRAIN: Duration = Duration::from_secs(15);
/// How long a start waits for the storage process of a killed node to have drained.
const TAKE_OVER: Duration = Duration::from_secs(20);
/// How often storage reports to the supervisor: what is captured is to be seen by queries within a second.
const REPORT_EVERY: Duration = Duration::from_millis(250);
/// How long to wait before a full disk is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// Why storage ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The record files.
    #[error("record files: {0}\nCheck the records directory and its disk.")]
    Records(#[from] std::io::Error),
    /// A link of ours broke.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A message does not parse.
    #[error("storage cannot read a message: {0}\nUse one version of como-node for all processes.")]
    Message(#[from] capnp::Error),
}

enum Input {
    Control(Frame),
    SupervisorGone,
    Item(u64, Frame),
    PeerGone(u64),
    /// The sync beside the writing is over.
    Synced,
}

/// What a writer is told once what was written is on disk.
struct Receipt {
    peer: u64,
    written: Option<u64>,
    records: u64,
}

/// Who writes on a link, in the supervisor's words. Export runs guests: it must not reach the trace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    Capture,
    Export,
}

/// A link to capture or export.
struct Peer {
    writer: Writer,
    sender: LinkSender,
    /// Highest sequence written, and acknowledged.
    written: Option<u64>,
    acknowledged: Option<u64>,
    /// Record items taken, and acknowledged.
    records: u64,
    records_acknowledged: u64,
}

struct Storage {
    control: LinkSender,
    /// Since when the supervisor is gone.
    alone: Option<Instant>,
    /// Storage is to end: it waits for a full disk no longer.
    ending: Arc<AtomicBool>,
    inputs: SyncSender<Input>,
    ring: Ring,
    folder: PathBuf,
    records: Records,
    peers: BTreeMap<u64, Peer>,
    next_peer: u64,
    unsynced_bytes: u64,
    unsynced_since: Option<Instant>,
    syncer: Syncer,
    /// Due when the sync that is under way is over.
    receipts: Vec<Receipt>,
    disk_full: bool,
    duplicates: u64,
    torn_bytes: u64,
    /// Memory of blocks that are written, for those that come.
    blocks_memory: Spares<Vec<u8>>,
    /// Blocks of this run that were not there before, and bytes of all items.
    blocks: u64,
    stored_bytes: u64,
    known: BTreeMap<SegmentId, (String, u64)>,
}

/// Runs until the supervisor says stop or goes away.
pub fn run(control: LinkSender, commands: LinkReceiver, first: &Frame) -> Result<(), StorageError> {
    let message = como_capnp::read_message(&first.bytes)?;
    let wire::down::Which::StartStorage(start) = messages::read_down(&message)? else {
        return Err(capnp::Error::failed("the first message does not start storage".into()).into());
    };
    let start = start?;
    let folder = PathBuf::from(text(start.get_directory())?);
    let (ring, recovered) = open_ring(
        &folder,
        Retention {
            max_bytes: start.get_ring_bytes(),
            max_age: Some(start.get_max_age_ns())
                .filter(|ns| *ns > 0)
                .map(Duration::from_nanos),
            keep_free_bytes: start.get_keep_free_bytes(),
        },
    )?;
    let retention = RecordRetention {
        max_bytes: start.get_records_bytes(),
        max_age: Some(start.get_records_max_age_ns())
            .filter(|ns| *ns > 0)
            .map(Duration::from_nanos),
    };
    let (records, found) = Records::open(&ring.records_dir(), retention)?;
    let (inputs, queue) = sync_channel(MAX_WAITING_ITEMS);
    let ending = Arc::new(AtomicBool::new(false));
    forward(commands, inputs.clone(), ending.clone());
    let wakes = inputs.clone();
    let mut storage = Storage {
        control,
        alone: None,
        ending,
        inputs,
        ring,
        folder,
        records,
        peers: BTreeMap::new(),
        next_peer: 0,
        unsynced_bytes: 0,
        unsynced_since: None,
        syncer: Syncer::start(move || drop(wakes.send(Input::Synced))),
        receipts: Vec::new(),
        disk_full: false,
        duplicates: 0,
        torn_bytes: recovered.torn_bytes,
        blocks_memory: Spares::new(MAX_WAITING_ITEMS),
        blocks: 0,
        stored_bytes: 0,
        known: BTreeMap::new(),
    };
    storage.report_catalog();
    for change in found {
        storage.report_records(&change);
    }
    // The supervisor knows all of it with the first report.
    storage.report();
    storage.main_loop(&queue)
}

/// Opens the ring; that of a node whose supervisor was killed drains for a moment.
fn open_ring(folder: &Path, retention: Retention) -> Result<(Ring, Recovered), RingError> {
    let since = Instant::now();
    loop {
        match Ring::open(folder, retention) {
            Err(RingError::InUse { .. }) if since.elapsed() < TAKE_OVER => std::thread::sleep(RETRY),
            other => return other,
        }
    }
}

fn forward(mut commands: LinkReceiver, inputs: SyncSender<Input>, ending: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        while let Ok(Some(frame)) = commands.recv() {
            if is_stop(&frame) {
                // Told beside the queue, which a full disk holds up.
                ending.store(true, Ordering::Relaxed);
            }
            if inputs.send(Input::Control(frame)).is_err() {
                return;
            }
        }
        ending.store(true, Ordering::Relaxed);
        let _ = inputs.send(Input::SupervisorGone);
    });
}

fn is_stop(frame: &Frame) -> bool {
    como_capnp::read_message(&frame.bytes)
        .is_ok_and(|message| matches!(messages::read_down(&message), Ok(wire::down::Which::Stop(()))))
}

impl Storage {
    fn main_loop(mut self, queue: &Receiver<Input>) -> Result<(), StorageError> {
        let mut reported = Instant::now();
        loop {
            let wait = match self.unsynced_since {
                Some(_) if !self.syncer.is_busy() => SYNC_WHEN_IDLE,
                _ => REPORT_EVERY,
            };
            let (mut stop, mut idle) = (false, false);
            match queue.recv_timeout(wait) {
                Ok(Input::Control(frame)) => stop = self.command(frame)?,
                // Capture and export seal what they have: it is taken before storage ends.
                Ok(Input::SupervisorGone) => self.alone = Some(Instant::now()),
                Ok(Input::Item(peer, frame)) => self.item(peer, frame)?,
                Ok(Input::PeerGone(peer)) => drop(self.peers.remove(&peer)),
                Ok(Input::Synced) => self.take_synced()?,
                Err(RecvTimeoutError::Timeout) => idle = true,
                Err(RecvTimeoutError::Disconnected) => stop = true,
            }
            stop |= self
                .alone
                .is_some_and(|since| self.peers.is_empty() || since.elapsed() > DRAIN);
            // A disk that is full at the end: what was not written is not acknowledged either.
            stop |= self.disk_full && self.ending.load(Ordering::Relaxed);
            let due = self
                .unsynced_since
                .is_some_and(|since| idle || since.elapsed() >= SYNC_EVERY);
            if stop {
                self.sync()?;
                self.tell(&messages::up(|mut up| up.set_stopped(())));
                return Ok(());
            }
            if due || self.unsynced_bytes >= SYNC_BYTES {
                self.begin_sync()?;
            }
            if reported.elapsed() >= REPORT_EVERY {
                reported = Instant::now();
                self.expire();
                self.report_catalog();
                self.report();
            }
        }
    }

    /// True: stop.
    fn command(&mut self, mut frame: Frame) -> Result<bool, StorageError> {
        let message = como_capnp::read_message(&frame.bytes)?;
        match messages::read_down(&message)? {
            wire::down::Which::Stop(()) => Ok(true),
            wire::down::Which::Peer(peer) => {
                let writer = match text(peer?.get_role())?.as_str() {
                    "capture" => Writer::Capture,
                    "export" => Writer::Export,
                    _ => return Err(capnp::Error::failed("not a peer of storage".into()).into()),
                };
                if let Some(end) = frame.descriptors.pop() {
                    self.connect(writer, end)?;
                }
                Ok(false)
            }
            _ => Err(capnp::Error::failed("not a message for storage".into()).into()),
        }
    }

    fn connect(&mut self, writer: Writer, end: OwnedFd) -> Result<(), StorageError> {
        if writer == Writer::Capture {
            // What an earlier run still has on its way was not acknowledged: the new one brings it again.
            self.peers.retain(|_, peer| peer.writer != Writer::Capture);
        }
        let (sender, mut receiver) = link::split("writer", end)?;
        self.next_peer += 1;
        let (id, inputs) = (self.next_peer, self.inputs.clone());
        let peer = Peer {
            writer,
            sender,
            written: None,
            acknowledged: None,
            records: 0,
            records_acknowledged: 0,
        };
        self.peers.insert(id, peer);
        let blocks = self.blocks_memory.clone();
        std::thread::spawn(move || {
            let spare = || blocks.take().unwrap_or_default();
            while let Ok(Some(frame)) = receiver.recv_into(spare) {
                if inputs.send(Input::Item(id, frame)).is_err() {
                    return;
                }
            }
            let _ = inputs.send(Input::PeerGone(id));
        });
        Ok(())
    }

    fn item(&mut self, from: u64, frame: Frame) -> Result<(), StorageError> {
        let Some(writer) = self.peers.get(&from).map(|peer| peer.writer) else {
            return Ok(()); // An old link's last words.
        };
        match self.take(from, writer, frame) {
            // Whoever took over export must not be able to stop the trace.
            Err(StorageError::Message(error)) => {
                tracing::error!("a writer breaks the protocol, its link is closed: {error}");
                self.refuse(from, &error.to_string());
                Ok(())
            }
            other => other,
        }
    }

    fn take(&mut self, from: u64, writer: Writer, frame: Frame) -> Result<(), StorageError> {
        use wire::store_item::Which;
        let message = como_capnp::read_message(&frame.bytes)?;
        let item = message
            .get_root::<wire::store_item::Reader<'_>>()?
            .which()
            .map_err(capnp::Error::from)?;
        let of_trace = matches!(item, Which::Begin(_) | Which::Sealed(_));
        if of_trace != (writer == Writer::Capture) {
            return Err(capnp::Error::failed("an item that this writer never sends".into()).into());
        }
        match item {
            Which::Begin(begin) => {
                let begin = begin?;
                if begin.get_new_run() {
                    self.resume(from, SourceId(array(begin.get_source()?)?))?;
                }
            }
            Which::Sealed(sealed) => {
                let item = sealed_item(sealed?, frame.body)?;
                self.append(from, &item)?;
                self.blocks_memory.give(item.body.into_bytes());
            }
            Which::RecordOpen(open) => {
                let open = open?;
                let (file, header) = (text(open.get_file())?, open.get_header()?);
                self.retry(|storage| storage.records.begin(&file, header))?;
                self.record_taken(from);
            }
            Which::RecordBlock(block) => {
                let block = block?;
                let (file, bytes) = (text(block.get_file())?, block.get_bytes()?);
                let change = self.retry(|storage| storage.records.append(&file, bytes))?;
                if let Some(change) = change.flatten() {
                    self.report_records(&change);
                }
                self.written(bytes.len() as u64);
                self.record_taken(from);
            }
            Which::RecordClose(close) => {
                let file = text(close?.get_file())?;
                self.retry(|storage| storage.records.end(&file))?;
                self.record_taken(from);
                self.expire_records();
            }
        }
        Ok(())
    }

    /// A new run of capture: its predecessor's open segment ends here, unsealed.
    fn resume(&mut self, to: u64, source: SourceId) -> Result<(), StorageError> {
        self.sync()?;
        let resume = loop {
            match self.ring.resume(source) {
                Ok(resume) => break resume,
                Err(error) if error.is_retryable() && !self.gives_up(&error) => std::thread::sleep(RETRY),
                Err(error) => return Err(error.into()),
            }
        };
        self.set_disk_full(false);
        self.report_catalog();
        let answer = messages::store_ack(|ack| {
            let mut answer = ack.init_resume();
            answer.set_offset(resume.point.offset);
            answer.set_packets(resume.point.next_packet);
            answer.set_starts(resume.starts);
        });
        self.answer(to, &answer);
        Ok(())
    }

    /// Lets go what is too old or, on a disk that others fill too, too much. Tried again at the next report.
    fn expire(&mut self) {
        if let Err(error) = self.ring.expire() {
            tracing::error!("nothing expires: {error}");
        }
        self.expire_records();
    }

    fn expire_records(&mut self) {
        match self.records.expire() {
            Ok(gone) => gone
                .iter()
                .for_each(|file| self.tell(&messages::up(|mut up| up.set_records_gone(file)))),
            Err(error) => tracing::error!("no records expire: {error}"),
        }
    }

    fn append(&mut self, from: u64, item: &SealedItem) -> Result<(), StorageError> {
        loop {
            match self.ring.append(item) {
                Ok(appended) => {
                    if appended == Appended::Duplicate {
                        self.duplicates += 1;
                    }
                    self.set_disk_full(false);
                    self.written(item.body.bytes().len() as u64);
                    if appended != Appended::Duplicate {
                        self.blocks += u64::from(matches!(item.body, ItemBody::Block(_)));
                        self.stored_bytes += item.body.bytes().len() as u64;
                    }
                    if let Some(peer) = self.peers.get_mut(&from) {
                        peer.written = Some(item.sequence);
                    }
                    if !matches!(item.body, ItemBody::Block(_)) {
                        self.sync()?;
                        self.report_catalog();
                    }
                    return Ok(());
                }
                // Nothing is acknowledged, nothing is lost: capture keeps what it sent.
                Err(error) if error.is_retryable() => {
                    if self.gives_up(&error) {
                        return Ok(());
                    }
                    self.expire();
                    std::thread::sleep(RETRY);
                }
                Err(error) => {
                    self.refuse(from, &error.to_string());
                    return Ok(());
                }
            }
        }
    }

    /// Says why storage waits; true: it is to end, and waits no longer.
    fn gives_up(&mut self, error: &RingError) -> bool {
        if !self.disk_full {
            tracing::error!("storage waits: {error}");
        }
        self.set_disk_full(true);
        self.ending.load(Ordering::Relaxed)
    }

    /// Ends a link; its writer starts again from what is stored.
    fn refuse(&mut self, writer: u64, why: &str) {
        self.answer(writer, &messages::store_ack(|mut ack| ack.set_refused(why)));
        if let Some(peer) = self.peers.remove(&writer) {
            peer.sender.shutdown();
        }
    }

    /// Does something with the record files, waiting while the disk is full. Other errors concern one
    /// file of one export process: they are reported, and that block is not stored.
    fn retry<T>(
        &mut self,
        mut act: impl FnMut(&mut Self) -> std::io::Result<T>,
    ) -> Result<Option<T>, StorageError> {
        loop {
            match act(self) {
                Ok(done) => {
                    self.set_disk_full(false);
                    return Ok(Some(done));
                }
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                    self.set_disk_full(true);
                    if self.ending.load(Ordering::Relaxed) {
                        return Ok(None);
                    }
                    std::thread::sleep(RETRY);
                }
                Err(error) => {
                    tracing::error!("a record was not stored: {error}");
                    return Ok(None);
                }
            }
        }
    }

    fn record_taken(&mut self, from: u64) {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.records += 1;
        }
        self.written(0);
    }

    fn written(&mut self, bytes: u64) {
        self.unsynced_bytes += bytes;
        self.unsynced_since.get_or_insert_with(Instant::now);
    }

    /// Makes everything durable; afterwards, and only then, it is acknowledged. Waits for the disk.
    fn sync(&mut self) -> Result<(), StorageError> {
        self.syncer.wait()?;
        let receipts = self.receipts_for_all();
        self.ring.sync()?;
        self.records.sync()?;
        self.acknowledge(&receipts);
        Ok(())
    }

    /// The same beside the writing that goes on, unless a sync is under way; record files are few and small, and are synced
    /// at once.
    fn begin_sync(&mut self) -> Result<(), StorageError> {
        if self.syncer.is_busy() {
            return Ok(());
        }
        self.receipts = self.receipts_for_all();
        self.records.sync()?;
        self.syncer.begin(self.ring.take_unsynced());
        Ok(())
    }

    fn take_synced(&mut self) -> Result<(), StorageError> {
        // `None`: somebody waited for it.
        if let Some(result) = self.syncer.result() {
            result?;
            let receipts = std::mem::take(&mut self.receipts);
            self.acknowledge(&receipts);
        }
        Ok(())
    }

    /// What is written so far is about to be synced: nothing is unsynced that no receipt is for.
    fn receipts_for_all(&mut self) -> Vec<Receipt> {
        self.unsynced_bytes = 0;
        self.unsynced_since = None;
        let receipt = |(id, peer): (&u64, &Peer)| Receipt {
            peer: *id,
            written: peer.written,
            records: peer.records,
        };
        self.peers.iter().map(receipt).collect()
    }

    fn acknowledge(&mut self, receipts: &[Receipt]) {
        for receipt in receipts {
            let Some(peer) = self.peers.get_mut(&receipt.peer) else {
                continue;
            };
            let mut answers = Vec::new();
            if receipt.written > peer.acknowledged {
                peer.acknowledged = receipt.written;
                let written = receipt.written.unwrap_or_default();
                answers.push(messages::store_ack(|mut ack| ack.set_acknowledged(written)));
            }
            if receipt.records > peer.records_acknowledged {
                peer.records_acknowledged = receipt.records;
                let count = receipt.records;
                answers.push(messages::store_ack(|mut ack| ack.set_records_acknowledged(count)));
            }
            answers
                .iter()
                .for_each(|answer| self.answer(receipt.peer, answer));
        }
    }

    fn answer(&mut self, to: u64, message: &[u8]) {
        if let Some(peer) = self.peers.get_mut(&to)
            && peer.sender.send_bytes(message, &[]).is_err()
        {
            self.peers.remove(&to);
        }
    }

    fn set_disk_full(&mut self, full: bool) {
        if self.disk_full != full {
            self.disk_full = full;
            self.report();
        }
    }

    /// Tells the supervisor; one that is gone does not keep storage from taking what capture has.
    fn tell(&mut self, message: &[u8]) {
        if self.alone.is_none() {
            // The end of the link comes as an input of its own.
            let _ = self.control.send_bytes(message, &[]);
        }
    }

    fn report(&mut self) {
        let message = messages::up(|up| {
            let mut report = up.init_storage();
            report.set_segments(self.known.len() as u32);
            report.set_bytes(self.ring.bytes());
            report.set_free_bytes(free_bytes(&self.folder).unwrap_or(0));
            report.set_disk_full(self.disk_full);
            report.set_duplicates(self.duplicates);
            report.set_torn_bytes(self.torn_bytes);
            report.set_record_files(self.records.files() as u32);
            report.set_record_bytes(self.records.bytes());
            report.set_blocks(self.blocks);
            report.set_stored_bytes(self.stored_bytes);
        });
        self.tell(&message);
    }

    fn report_records(&mut self, change: &Change) {
        let message = messages::up(|up| {
            let mut state = up.init_records();
            state.set_file(&change.file);
            state.set_header(&change.header);
            state.set_from_ns(change.stretch.from_ns);
            state.set_to_ns(change.stretch.to_ns);
            state.set_one_in(change.stretch.one_in);
            state.set_bytes(change.bytes);
            state.set_new_hole(change.new_stretch);
        });
        self.tell(&message);
    }

    /// Tells the supervisor of segments that are new, grew, ended or went.
    fn report_catalog(&mut self) {
        let mut seen = BTreeMap::new();
        for (id, file, bytes) in self.ring.listing() {
            let state = (file, bytes);
            if self.known.get(&id) != Some(&state)
                && let Some(info) = self.ring.info(id)
            {
                self.tell(&segment_state(&state.0, &info));
            }
            seen.insert(id, state);
        }
        let gone: Vec<SegmentId> = self
            .known
            .keys()
            .filter(|id| !seen.contains_key(id))
            .copied()
            .collect();
        for id in gone {
            self.tell(&messages::up(|mut up| up.set_segment_gone(&id.0)));
        }
        self.known = seen;
    }
}

fn sealed_item(item: wire::sealed_item::Reader<'_>, bytes: Vec<u8>) -> capnp::Result<SealedItem> {
    let body = match item.get_kind() {
        0 => ItemBody::Open(bytes),
        1 => ItemBody::Block(bytes),
        2 => ItemBody::Close(bytes),
        _ => return Err(capnp::Error::failed("an item of unknown kind".into())),
    };
    Ok(SealedItem {
        sequence: item.get_sequence(),
        segment: SegmentId(array(item.get_segment()?)?),
        body,
    })
}

fn segment_state(file: &str, info: &SegmentInfo) -> Vec<u8> {
    messages::up(|up| {
        let mut state = up.init_segment();
        state.set_segment(&info.header.segment.0);
        state.set_file(file);
        state.set_sealed(if info.footer.is_some() {
            1
        } else if file.ends_with(".open") {
            0
        } else {
            2
        });
        state.set_sealing_epoch(info.header.sealing_epoch);
        state.set_mapping_epoch(info.header.mapping_epoch);
        state.set_first_ns(info.header.first_ns);
        state.set_bytes(info.file_bytes);
        state.set_packets(info.packets);
        if let Some(footer) = &info.footer {
            state.set_first_ns(footer.first_ns);
            // Floored to 1 ms in the footer: the last packet may be that much later.
            state.set_last_ns(footer.last_ns + 999_999);
            state.set_captured_bytes(footer.captured_bytes);
            state.set_lost(footer.lost_packets);
            let mut sections = state.init_section_bytes(footer.section_bytes.len() as u32);
            (0..)
                .zip(footer.section_bytes)
                .for_each(|(at, bytes)| sections.set(at, bytes));
        }
    })
}
