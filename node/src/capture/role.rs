//! The capture process: opens its source, takes keys from the supervisor, runs the pipeline, hands sealed
//! items to storage and views to export.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use como_anonymize::{Anonymizer, AsTable, AsTableError, Column};
use como_capnp::wire_capnp as wire;
use como_keys::mapping::MappingKey;
use como_keys::sealing::Recipient;
use como_keys::signing::{Certificate, SigningKey, VerifyingKey};
use como_policies::AccessLevel;

use super::consumers::{Change, Consumers, ViewKey};
use super::pipeline::{EpochKeysFn, Pipeline, PipelineConfig, PipelineError, ViewSink, Wanted};
use super::sampling::Sampling;
use super::source::{FileSource, LiveConfig, LiveSource, Meter, Pace, PacketSource, SourceError};
use super::uplink::{Resume, Tell, Told, Uplink};
use crate::allowance;
use crate::link::{Frame, LinkError, LinkReceiver, LinkSender};
use crate::trace::{EpochKeys, GapCause, Retain, RunKey, SourceId};
use crate::wire::{self as messages, array, text};

/// How often the loop looks around while it ends, and nothing is told.
const LOOK: Duration = Duration::from_millis(20);
/// How often capture reports to the supervisor.
const REPORT_EVERY: Duration = Duration::from_millis(250);
/// Blocks of live views that wait for the consumers' thread.
const MAX_WAITING_LIVE_BLOCKS: usize = 16;
/// Sealed bytes of a file that may wait for storage: enough to ride out its syncs, few enough to be used again.
const FILE_WAITING_BYTES: u64 = 16 << 20;
/// Packets that go one by one after capture died: the one that kills it is then found exactly.
const CAREFUL_PACKETS: u64 = 8192;
/// Starts at one place of a file after which the packet there is not dissected any more.
const STARTS_UNTIL_SET_ASIDE: u32 = 3;
/// How long capture waits at its end for storage to have everything.
const DRAIN: Duration = Duration::from_secs(15);

/// Why capture ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The pipeline.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// A link of ours broke.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The supervisor sent what this version does not know.
    #[error("capture cannot read a message: {0}\nUse one version of como-node for all processes.")]
    Message(#[from] capnp::Error),
    /// A key does not parse.
    #[error(transparent)]
    Keys(#[from] como_keys::KeyError),
    /// A link could not be made from its descriptor.
    #[error("capture cannot use a link: {0}\nCheck the limit of open files.")]
    Descriptor(#[from] std::io::Error),
    /// The routing table.
    #[error("the routing table {path} does not serve: {error}")]
    Networks {
        /// Its path.
        path: String,
        /// Why.
        error: AsTableError,
    },
    /// Storage has something else than what capture continues.
    #[error("storage refuses: {0}\nCapture starts again from what storage has.")]
    Refused(String),
}

impl CaptureError {
    /// Whether starting capture again mends nothing: the operator named a file that is no capture, or changed it.
    pub fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Source(SourceError::Format { .. } | SourceError::Shrunk { .. }) | Self::Networks { .. }
        )
    }
}

/// A source that is open, though not a packet of it was read: opened before the sandbox closes.
pub enum OpenSource {
    /// A link.
    Live(Box<LiveSource>),
    /// A file and its name.
    File(File, String),
}

/// What capture opens before the sandbox closes.
pub struct Opened {
    source: OpenSource,
    /// The routing table for AS numbers, and its path.
    networks: Option<(File, String)>,
}

/// Opens what the supervisor's first message names. Nothing of it is read.
pub fn open(first: &Frame) -> Result<Opened, CaptureError> {
    let message = como_capnp::read_message(&first.bytes)?;
    let start = capture_start(&message)?;
    let table = text(start.get_as_table())?;
    let networks = match table.is_empty() {
        true => None,
        false => match File::open(&table) {
            Ok(file) => Some((file, table)),
            Err(error) => {
                let error = AsTableError::Io(error);
                return Err(CaptureError::Networks { path: table, error });
            }
        },
    };
    Ok(Opened {
        source: open_source(start)?,
        networks,
    })
}

fn open_source(start: wire::capture_start::Reader<'_>) -> Result<OpenSource, CaptureError> {
    use wire::capture_start::source::Which;
    match start.get_source().which().map_err(capnp::Error::from)? {
        Which::Live(live) => {
            let live = live?;
            let filter = text(live.get_filter())?;
            Ok(OpenSource::Live(Box::new(LiveSource::open(&LiveConfig {
                interface: text(live.get_interface())?,
                snap_bytes: live.get_snaplen() as usize,
                buffer_bytes: live.get_buffer_bytes() as usize,
                promiscuous: live.get_promiscuous(),
                filter: (!filter.is_empty()).then_some(filter),
            })?)))
        }
        Which::File(file) => {
            let file = file?;
            let path = text(file.get_path())?;
            let name = Some(text(file.get_name())?).filter(|name| !name.is_empty());
            let opened = File::open(&path).map_err(|error| SourceError::Io {
                name: path.clone(),
                error,
            })?;
            Ok(OpenSource::File(opened, name.unwrap_or(path)))
        }
    }
}

fn capture_start(message: &messages::Message) -> capnp::Result<wire::capture_start::Reader<'_>> {
    match messages::read_down(message)? {
        wire::down::Which::StartCapture(start) => start,
        _ => Err(capnp::Error::failed(
            "the first message does not start capture".into(),
        )),
    }
}

/// What the main loop waits for.
enum Event {
    /// The supervisor says something.
    Message(Frame),
    SupervisorGone,
    /// The uplink does.
    Uplink(Told),
    /// The pipeline comes to a new epoch.
    NeedEpoch(u32),
}

/// Runs until the supervisor says stop or goes away.
pub fn run(
    control: LinkSender,
    commands: LinkReceiver,
    first: &Frame,
    opened: Opened,
) -> Result<(), CaptureError> {
    let Opened { mut source, networks } = opened;
    let message = como_capnp::read_message(&first.bytes)?;
    let start = capture_start(&message)?;
    let (id, name, is_live) = match &mut source {
        OpenSource::Live(live) => (SourceId::random(), live.description().to_owned(), true),
        OpenSource::File(file, name) => (FileSource::id(name, file)?, name.clone(), false),
    };
    let wanted = Wanted::default();
    // One that is played as recorded is like a link.
    let waits = !is_live && !is_paced(start)?;
    let (blocks, live_blocks) = ViewSink::new(MAX_WAITING_LIVE_BLOCKS, wanted.clone(), waits);
    let (epochs, epoch_answers) = channel();
    let (happens, events) = channel();
    receive(commands, happens.clone());
    let most_bytes = match is_live {
        true => start.get_queue_bytes(),
        false => start.get_queue_bytes().min(FILE_WAITING_BYTES),
    };
    let mut role = Role {
        control,
        events,
        uplink: Uplink::new(id, most_bytes, tell(happens.clone())),
        consumers: Consumers::start(live_blocks, wanted, is_live, waits),
        epochs: Some(epochs),
        certificate: None,
        stopping: false,
        alone: false,
        resume: None,
        refused: None,
        source_done: false,
        drained: false,
        meter: Arc::default(),
        queue_bytes: start.get_queue_bytes(),
        is_live,
    };
    let node_key = VerifyingKey::from_bytes(&array(start.get_node_key()?)?)?;
    let Some(run_key) = role.certify(&node_key)? else {
        return role.stopped();
    };
    let Some(resume) = role.await_resume()? else {
        return role.stopped();
    };
    let mut config = PipelineConfig::new(&text(start.get_node())?, id, &name);
    config.retain = retain(start.get_retain())?;
    config.segment_bytes = start.get_segment_bytes();
    config.workers = usize::from(start.get_workers());
    config.queue_blocks = (start.get_queue_bytes() as usize / config.block_bytes).max(4);
    config.resume = resume.point;
    if let Some((file, path)) = networks {
        let table = AsTable::read(file, start.get_as_min_addresses());
        let table = table.map_err(|error| CaptureError::Networks { path, error })?;
        config.networks = Some(Arc::new(table));
    }
    if !is_live && resume.starts > 1 {
        config.careful_packets = CAREFUL_PACKETS;
        config.undissected = (resume.starts >= STARTS_UNTIL_SET_ASIDE).then_some(resume.point.next_packet);
    }
    let source: Box<dyn PacketSource> = match source {
        OpenSource::Live(live) => {
            role.meter = live.meter();
            live
        }
        OpenSource::File(file, name) => {
            let pace = if is_paced(start)? {
                Pace::Recorded
            } else {
                Pace::Fast
            };
            let file = FileSource::new(&name, file, resume.point, pace)?;
            role.meter = file.meter();
            Box::new(file)
        }
    };
    let epoch_keys = ask_for_keys(happens, epoch_answers);
    let mut pipeline = Pipeline::start(config, run_key, source, epoch_keys, Some(blocks));
    role.uplink.carry(pipeline.take_items(), pipeline.acknowledger());
    role.main_loop(pipeline, resume)
}

/// Whether a file is played as it was recorded.
fn is_paced(start: wire::capture_start::Reader<'_>) -> capnp::Result<bool> {
    Ok(match start.get_source().which()? {
        wire::capture_start::source::Which::File(file) => file?.get_paced(),
        wire::capture_start::source::Which::Live(_) => false,
    })
}

/// The pipeline's question for an epoch's keys, across threads.
fn ask_for_keys(ask: Sender<Event>, answers: Receiver<Result<EpochKeys, String>>) -> EpochKeysFn {
    Box::new(move |epoch| {
        let refused = |why: String| PipelineError::NoEpochKeys { epoch, why };
        ask.send(Event::NeedEpoch(epoch))
            .map_err(|_| refused("capture is ending".into()))?;
        match answers.recv() {
            Ok(Ok(keys)) => Ok(keys),
            Ok(Err(why)) => Err(refused(why)),
            Err(_) => Err(refused("the supervisor is gone".into())),
        }
    })
}

fn receive(mut commands: LinkReceiver, happens: Sender<Event>) {
    std::thread::spawn(move || {
        while let Ok(Some(frame)) = commands.recv() {
            if happens.send(Event::Message(frame)).is_err() {
                return;
            }
        }
        let _ = happens.send(Event::SupervisorGone);
    });
}

fn tell(happens: Sender<Event>) -> Tell {
    Arc::new(move |told| {
        let _ = happens.send(Event::Uplink(told));
    })
}

fn retain(level: u8) -> capnp::Result<Retain> {
    AccessLevel::from_u8(level)
        .and_then(|level| match level {
            AccessLevel::Anonymized => Some(Retain::Anonymized),
            AccessLevel::Headers => Some(Retain::Headers),
            AccessLevel::Payload => Some(Retain::Payload),
            AccessLevel::Aggregate | AccessLevel::Coarse => None,
        })
        .ok_or_else(|| capnp::Error::failed("retain is not a section".into()))
}

/// What the status says of a file that does not read to its end.
fn damage_warning(cause: GapCause) -> &'static str {
    match cause {
        GapCause::SourceTruncated => {
            "the source ends inside a packet: all before it is stored, what is missing is a gap of unknown size"
        }
        _ => {
            "the source has bytes that are no packet: all before them is stored, all after them is a gap of unknown size"
        }
    }
}

struct Role {
    control: LinkSender,
    events: Receiver<Event>,
    uplink: Uplink,
    consumers: Consumers,
    /// Answers for the pipeline; `None`: no answer will come any more.
    epochs: Option<Sender<Result<EpochKeys, String>>>,
    certificate: Option<Vec<u8>>,
    stopping: bool,
    /// The supervisor is gone: nobody can be told or asked, but storage still takes what there is.
    alone: bool,
    /// Where to go on, as storage said.
    resume: Option<Resume>,
    /// Why storage refuses the items.
    refused: Option<String>,
    /// The pipeline has given its last item.
    source_done: bool,
    /// And storage has it.
    drained: bool,
    /// What the source tells beside its packets.
    meter: Arc<Meter>,
    /// Sealed blocks that may wait for storage.
    queue_bytes: u64,
    is_live: bool,
}

impl Role {
    /// A fresh key for this run, certified by the node: it signs what only capture can have written.
    /// `None`: told to stop before it came.
    fn certify(&mut self, node_key: &VerifyingKey) -> Result<Option<RunKey>, CaptureError> {
        let signing = SigningKey::generate();
        let public = signing.verifying_key().to_bytes();
        self.say(&messages::up(|mut up| up.set_certify_run(&public)));
        while self.certificate.is_none() {
            if self.stopping {
                return Ok(None);
            }
            self.event_within(REPORT_EVERY)?;
        }
        let certificate = Certificate::from_bytes(&self.certificate.take().unwrap_or_default())?;
        certificate.verify_signature(node_key)?;
        Ok(Some(RunKey { signing, certificate }))
    }

    /// Where the source goes on; `None`: told to stop before storage said.
    fn await_resume(&mut self) -> Result<Option<Resume>, CaptureError> {
        while self.resume.is_none() && !self.stopping {
            self.event_within(REPORT_EVERY)?;
            self.look_refused()?;
        }
        Ok(self.resume)
    }

    fn look_refused(&mut self) -> Result<(), CaptureError> {
        self.refused
            .take()
            .map_or(Ok(()), |why| Err(CaptureError::Refused(why)))
    }

    fn main_loop(mut self, pipeline: Pipeline, resume: Resume) -> Result<(), CaptureError> {
        let (mut reported, mut stop_sent) = (Instant::now(), false);
        let (mut stop_since, mut at_end) = (None, false);
        loop {
            let until_report = REPORT_EVERY.saturating_sub(reported.elapsed());
            self.event_within(if self.stopping { LOOK } else { until_report })?;
            self.look_refused()?;
            // A pipeline that failed has not read its source to the end, however little is left to send.
            let over = self.drained && !pipeline.has_failed();
            // A pipeline that was told to stop ends too, wherever its source stands.
            let ends_now = over && !stop_sent && !at_end;
            at_end |= ends_now;
            // The end is told at once: somebody may wait for it.
            if ends_now || reported.elapsed() >= REPORT_EVERY || (self.stopping && over) {
                reported = Instant::now();
                self.report(&pipeline, at_end, resume);
            }
            if self.stopping && !stop_sent {
                pipeline.stop();
                stop_sent = true;
                stop_since = Some(Instant::now());
            }
            let overdue = stop_since.is_some_and(|since: Instant| since.elapsed() > DRAIN);
            // Without a supervisor nobody hands out another link: what storage did not take stays in the source.
            let abandoned = self.alone && !self.uplink.is_connected();
            if self.stopping && (over || overdue || abandoned) {
                self.epochs = None;
                self.uplink.close();
                pipeline.join()?;
                return self.stopped();
            }
            if self.source_done && !self.stopping && pipeline.has_failed() {
                return Ok(pipeline.join()?);
            }
        }
    }

    fn stopped(mut self) -> Result<(), CaptureError> {
        self.say(&messages::up(|mut up| up.set_stopped(())));
        Ok(())
    }

    /// Tells the supervisor; one that is gone does not keep capture from sealing what it has.
    fn say(&mut self, message: &[u8]) {
        if !self.alone && self.control.send_bytes(message, &[]).is_err() {
            self.supervisor_gone();
        }
    }

    /// Without a supervisor nobody can be answered: seal what there is, and end.
    fn supervisor_gone(&mut self) {
        self.alone = true;
        self.stopping = true;
        self.epochs = None;
    }

    fn report(&mut self, pipeline: &Pipeline, at_end: bool, resume: Resume) {
        let (counters, losses) = (pipeline.counters(), pipeline.losses());
        let views = self.consumers.counts();
        let message = messages::up(|up| {
            let mut report = up.init_capture();
            report.set_packets(counters.received_packets);
            report.set_bytes(counters.stored_bytes);
            report.set_lost(counters.dropped_packets + counters.lost_packets);
            report.set_shed(counters.shed_packets + views.shed_packets());
            report.set_poisoned(counters.undissected_packets);
            report.set_now_ns(pipeline.newest_ns());
            report.set_acked(if at_end {
                resume.point.next_packet + counters.stored_packets
            } else {
                0
            });
            report.set_sampled(self.consumers.sampled());
            report.set_pressure(self.pressure(pipeline));
            report.set_source_done(at_end);
            report.set_offset(self.meter.offset.load(Ordering::Relaxed));
            report.set_out_of_order(self.meter.out_of_order.load(Ordering::Relaxed));
            report.set_sealed_bytes(counters.sealed_bytes);
            report.set_denied(counters.denied_packets);
            report.set_views_sent(views.sent());
            let mut made = report.reborrow().init_views(AccessLevel::ALL.len() as u32);
            (0..)
                .zip(views.made())
                .for_each(|(at, count)| made.set(at, count));
            let mut list = report.reborrow().init_losses(losses.len() as u32);
            for (at, (cause, count)) in (0..).zip(losses) {
                let mut loss = list.reborrow().get(at);
                loss.set_cause(cause);
                loss.set_count(count);
            }
            if let Some(cause) = pipeline.source_damage() {
                report.set_warning(damage_warning(cause));
            } else {
                report.set_warning(self.meter.warning());
            }
        });
        self.say(&message);
    }

    /// How full the fullest of the queues is through which packets of a link go, per mille. A file waits: it has none.
    fn pressure(&self, pipeline: &Pipeline) -> u16 {
        if !self.is_live {
            return 0;
        }
        let ring = self.meter.ring_fill.load(Ordering::Relaxed);
        let storage = allowance::fill(self.uplink.waiting_bytes(), self.queue_bytes);
        ring.max(pipeline.fill()).max(storage)
    }

    /// Waits for the next event, takes it and all that came meanwhile. There is always somebody who could tell one: the
    /// uplink.
    fn event_within(&mut self, wait: Duration) -> Result<(), CaptureError> {
        let mut next = self.events.recv_timeout(wait).ok();
        while let Some(event) = next {
            self.take(event)?;
            next = self.events.try_recv().ok();
        }
        Ok(())
    }

    fn take(&mut self, event: Event) -> Result<(), CaptureError> {
        match event {
            Event::Message(frame) => return self.take_message(frame),
            Event::SupervisorGone => self.supervisor_gone(),
            Event::NeedEpoch(epoch) => self.say(&messages::up(|mut up| up.set_need_epoch(epoch))),
            Event::Uplink(Told::Resume(resume)) => self.resume = Some(resume),
            Event::Uplink(Told::Refused(why)) => self.refused = Some(why),
            Event::Uplink(Told::LastItem) => self.source_done = true,
            Event::Uplink(Told::Drained) => self.drained = true,
        }
        Ok(())
    }

    fn take_message(&mut self, mut frame: Frame) -> Result<(), CaptureError> {
        use wire::down::Which;
        let message = como_capnp::read_message(&frame.bytes)?;
        match messages::read_down(&message)? {
            Which::Stop(()) => self.stopping = true,
            Which::Certificate(bytes) => self.certificate = Some(bytes?.to_vec()),
            Which::EpochKeys(keys) => {
                let keys = self.epoch_keys(keys?);
                if let Some(epochs) = &self.epochs {
                    let _ = epochs.send(keys.map_err(|e| e.to_string()));
                }
            }
            Which::Subscribe(subscription) => self.subscribe(subscription?)?,
            Which::Unsubscribe(id) => self.consumers.change(Change::Unsubscribe(id)),
            Which::Peer(peer) => {
                let peer = peer?;
                let (role, id) = (text(peer.get_role())?, peer.get_id());
                match (role.as_str(), frame.descriptors.pop()) {
                    ("storage", Some(end)) => {
                        // Storage may have died between the question and its answer.
                        self.uplink.connect(end, self.resume.is_none())?;
                    }
                    ("export", Some(end)) => {
                        self.consumers.change(Change::Connect { id: id as u32, end });
                    }
                    _ => return Err(capnp::Error::failed("not a peer of capture".into()).into()),
                }
            }
            _ => return Err(capnp::Error::failed("not a message for capture".into()).into()),
        }
        Ok(())
    }

    fn epoch_keys(&mut self, keys: wire::epoch_keys::Reader<'_>) -> Result<EpochKeys, CaptureError> {
        for audience in keys.get_audiences()?.iter() {
            self.audience_key(audience)?;
        }
        let recipients = [
            keys.get_recipient_a()?,
            keys.get_recipient_r()?,
            keys.get_recipient_p()?,
        ]
        .into_iter()
        .map(Recipient::from_bytes)
        .collect::<Result<_, _>>()?;
        let mapping = MappingKey::from_bytes(&array(keys.get_mapping_key()?)?);
        Ok(EpochKeys {
            sealing_epoch: keys.get_sealing_epoch(),
            mapping_epoch: keys.get_mapping_epoch(),
            recipients,
            anonymizer: Arc::new(Anonymizer::new(&mapping)),
        })
    }

    fn subscribe(&mut self, subscription: wire::subscription::Reader<'_>) -> Result<(), CaptureError> {
        for key in subscription.get_keys()?.iter() {
            self.audience_key(key)?;
        }
        let level = AccessLevel::from_u8(subscription.get_level())
            .ok_or_else(|| capnp::Error::failed("unknown level".into()))?;
        let audience = text(subscription.get_audience())?;
        let columns = subscription.get_columns()?.iter();
        let columns = columns.filter_map(|id| Column::from_id(*id)).collect();
        self.consumers.change(Change::Subscribe {
            id: subscription.get_id(),
            key: ViewKey {
                level,
                audience,
                columns,
                frames: subscription.get_frames(),
            },
            sampling: Sampling::new(subscription.get_sample(), subscription.get_sample_at_most()),
        });
        Ok(())
    }

    fn audience_key(&mut self, key: wire::audience_key::Reader<'_>) -> Result<(), CaptureError> {
        let mapping = MappingKey::from_bytes(&array(key.get_key()?)?);
        self.consumers.change(Change::Key {
            audience: text(key.get_audience())?,
            mapping_epoch: key.get_mapping_epoch(),
            map: Arc::new(Anonymizer::new(&mapping)),
        });
        Ok(())
    }
}
