//! Export: runs live modules of one level and audience on the views that capture sends, and stores their
//! records (paper, III.B). Holds guests, views and public record keys; must never hold a private key,
//! another level's view, the disk or the network.

mod instance;
mod sink;

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use como_capnp::wire_capnp as wire;

use crate::feed::{self, Feed};
use crate::link::{self, Frame, LinkError, LinkReceiver, LinkSender};
use crate::wire as messages;
use instance::Live;
use sink::{RecordKeys, RecordSink};

/// Messages of all links that may wait for the main loop. When they do, the links fill up, and capture
/// sheds views (and says so) rather than wait.
const MAX_WAITING_INPUTS: usize = 16;

/// How often it is reported what the modules used.
const USAGE_EVERY: Duration = Duration::from_secs(1);

/// Why export ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A link of ours broke.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The supervisor sent what this version does not know.
    #[error("export cannot read a message: {0}\nUse one version of como-node for all processes.")]
    Message(#[from] capnp::Error),
    /// A link could not be made from its descriptor.
    #[error("export cannot use a link: {0}\nCheck the limit of open files.")]
    Descriptor(#[from] std::io::Error),
}

/// What comes in, from any side.
enum Input {
    Control(Frame),
    SupervisorGone,
    Feed(u64, Feed),
    FeedGone(u64),
    Stored(u64, Frame),
    StorageGone(u64),
}

/// Runs until the supervisor says stop or goes away.
pub fn run(control: LinkSender, commands: LinkReceiver) -> Result<(), ExportError> {
    let (inputs, queue) = sync_channel(MAX_WAITING_INPUTS);
    forward_control(commands, inputs.clone());
    Export {
        control,
        inputs,
        queue,
        held_back: Default::default(),
        live: Vec::new(),
        sink: RecordSink::default(),
        keys: RecordKeys::default(),
        links: 0,
        feed: 0,
        storage: 0,
        last_ns: 0,
        interrupted: false,
        fresh: true,
        reported: Instant::now(),
    }
    .main_loop()
}

fn forward_control(mut commands: LinkReceiver, inputs: SyncSender<Input>) {
    std::thread::spawn(move || {
        while let Ok(Some(frame)) = commands.recv() {
            if inputs.send(Input::Control(frame)).is_err() {
                return;
            }
        }
        let _ = inputs.send(Input::SupervisorGone);
    });
}

struct Export {
    control: LinkSender,
    inputs: SyncSender<Input>,
    queue: Receiver<Input>,
    /// Inputs that came while keys of an epoch were awaited.
    held_back: std::collections::VecDeque<Input>,
    live: Vec<Live>,
    sink: RecordSink,
    keys: RecordKeys,
    links: u64,
    feed: u64,
    storage: u64,
    last_ns: u64,
    /// Capture went away after `last_ns`; the next view tells until when.
    interrupted: bool,
    /// No view came yet: what capture showed others before, nobody here has seen.
    fresh: bool,
    /// When usage was last reported.
    reported: Instant,
}

impl Export {
    fn main_loop(mut self) -> Result<(), ExportError> {
        loop {
            if self.reported.elapsed() >= USAGE_EVERY {
                self.report_usage()?;
            }
            // While storage owes too many acknowledgements, only what is not packets is taken.
            let input = match self.held_back.pop_front() {
                Some(input) => input,
                None => match self.queue.recv_timeout(USAGE_EVERY) {
                    Ok(input) => input,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                },
            };
            match input {
                Input::Control(frame) => {
                    let stop = self.command(frame)?;
                    if stop {
                        self.finish();
                        return Ok(());
                    }
                }
                Input::SupervisorGone => {
                    self.finish();
                    return Ok(());
                }
                Input::Feed(id, feed) if id == self.feed => self.take(feed)?,
                Input::FeedGone(id) if id == self.feed => self.interrupted = true,
                Input::Stored(id, frame) if id == self.storage => self.sink.acknowledged(&frame.bytes)?,
                Input::StorageGone(id) if id == self.storage => self.sink.disconnect(),
                _ => {} // An old link's last words.
            }
        }
    }

    /// True: stop.
    fn command(&mut self, mut frame: Frame) -> Result<bool, ExportError> {
        use wire::down::Which;
        let message = como_capnp::read_message(&frame.bytes)?;
        match messages::read_down(&message)? {
            Which::Stop(()) => return Ok(true),
            Which::Peer(peer) => {
                let role = messages::text(peer?.get_role())?;
                if let Some(end) = frame.descriptors.pop() {
                    self.connect(&role, end)?;
                }
            }
            Which::StartModule(run) => self.start(run?)?,
            Which::StopModule(id) => self.stop(id),
            Which::EpochKeys(keys) => self.keys.put(keys?)?,
            _ => return Err(capnp::Error::failed("not a message for export".into()).into()),
        }
        Ok(false)
    }

    fn connect(&mut self, role: &str, end: std::os::fd::OwnedFd) -> Result<(), ExportError> {
        self.links += 1;
        let id = self.links;
        let inputs = self.inputs.clone();
        match role {
            "capture" => {
                let (_, mut receiver) = link::split("capture", end)?;
                // Whatever still comes of the old link is not looked at.
                self.interrupted |= self.feed != 0;
                self.feed = id;
                std::thread::spawn(move || {
                    while let Ok(Some(frame)) = receiver.recv() {
                        let Ok(feed) = feed::decode(&frame.bytes) else {
                            break;
                        };
                        if inputs.send(Input::Feed(id, feed)).is_err() {
                            return;
                        }
                    }
                    let _ = inputs.send(Input::FeedGone(id));
                });
            }
            "storage" => {
                let (sender, mut receiver) = link::split("storage", end)?;
                self.storage = id;
                self.sink.connect(sender);
                std::thread::spawn(move || {
                    while let Ok(Some(frame)) = receiver.recv() {
                        if inputs.send(Input::Stored(id, frame)).is_err() {
                            return;
                        }
                    }
                    let _ = inputs.send(Input::StorageGone(id));
                });
            }
            other => tracing::warn!(role = other, "export has no use for this peer"),
        }
        Ok(())
    }

    fn start(&mut self, run: wire::module_run::Reader<'_>) -> Result<(), ExportError> {
        let id = run.get_instance();
        match Live::start(run) {
            Ok(mut live) => {
                // What came through here before it began, it has not seen, however late its beginning was fixed.
                if self.last_ns > 0 {
                    live.gap(0, self.last_ns.saturating_add(1));
                }
                self.live.push(live);
            }
            Err(what) => self.report_fault(id, &what)?,
        }
        Ok(())
    }

    fn stop(&mut self, id: u64) {
        if let Some(at) = self.live.iter().position(|live| live.id == id) {
            let live = self.live.swap_remove(at);
            self.end(live);
        }
    }

    /// One message of capture. A module that misbehaves is dropped; the others go on.
    fn take(&mut self, feed: Feed) -> Result<(), ExportError> {
        if let Feed::View(view, _) = &feed {
            let first = view.columns.ts_ns.first().copied();
            if let (true, Some(first)) = (self.interrupted, first) {
                let from = self.last_ns.min(first);
                self.live
                    .iter_mut()
                    .for_each(|live| live.gap(from, first.max(self.last_ns).saturating_add(1)));
                self.interrupted = false;
            }
            if let (true, Some(first)) = (self.fresh, first) {
                self.live.iter_mut().for_each(|live| live.gap(0, first));
                self.fresh = false;
            }
            self.last_ns = self
                .last_ns
                .max(view.columns.ts_ns.iter().copied().max().unwrap_or(0));
        }
        let mut faults = Vec::new();
        for at in 0..self.live.len() {
            let mut emitted = Vec::new();
            if let Err(what) = self.live[at].take(&feed, &mut emitted) {
                faults.push((self.live[at].id, what));
            }
            self.store(at, emitted)?;
        }
        for (id, what) in faults {
            self.stop_faulty(id, &what)?;
        }
        Ok(())
    }

    fn report_usage(&mut self) -> Result<(), ExportError> {
        self.reported = Instant::now();
        let reports: Vec<_> = self.live.iter_mut().filter_map(Live::usage_if_changed).collect();
        for report in reports {
            self.control.send_bytes(&report, &[])?;
        }
        Ok(())
    }

    fn store(&mut self, at: usize, emitted: Vec<como_modules::IntervalRows>) -> Result<(), ExportError> {
        for interval in emitted {
            let epoch = como_keys::keyring::sealing_epoch(interval.interval_start_ns);
            self.await_keys(epoch)?;
            self.sink.store(&mut self.live[at], &self.keys, epoch, &interval);
            while self.sink.is_full() {
                // Nothing is dropped: capture sheds while we wait, and the gap says so.
                self.wait_for_storage()?;
            }
        }
        Ok(())
    }

    fn await_keys(&mut self, epoch: u32) -> Result<(), ExportError> {
        if self.keys.has(epoch) {
            return Ok(());
        }
        self.control
            .send_bytes(&messages::up(|mut up| up.set_need_epoch(epoch)), &[])?;
        while !self.keys.has(epoch) {
            self.wait_for(|input| matches!(input, Input::Control(_)))?;
        }
        Ok(())
    }

    fn wait_for_storage(&mut self) -> Result<(), ExportError> {
        self.wait_for(|input| !matches!(input, Input::Feed(..)))
    }

    /// Takes one input that `wanted` accepts; others wait their turn (at most what the queue held).
    fn wait_for(&mut self, wanted: impl Fn(&Input) -> bool) -> Result<(), ExportError> {
        loop {
            let Ok(input) = self.queue.recv() else {
                return Err(gone());
            };
            if !wanted(&input) {
                self.held_back.push_back(input);
                continue;
            }
            match input {
                Input::Control(frame) => {
                    let message = como_capnp::read_message(&frame.bytes)?;
                    let down = messages::read_down(&message)?;
                    if let wire::down::Which::EpochKeys(keys) = down {
                        self.keys.put(keys?)?;
                    } else if let wire::down::Which::Peer(peer) = down {
                        let role = messages::text(peer?.get_role())?;
                        if let Some(end) = { frame }.descriptors.pop() {
                            self.connect(&role, end)?;
                        }
                    } else {
                        self.held_back.push_back(Input::Control(frame));
                        continue;
                    }
                }
                Input::SupervisorGone => return Err(gone()),
                Input::Stored(id, frame) if id == self.storage => self.sink.acknowledged(&frame.bytes)?,
                Input::StorageGone(id) if id == self.storage => self.sink.disconnect(),
                Input::FeedGone(id) if id == self.feed => self.interrupted = true,
                _ => {}
            }
            return Ok(());
        }
    }

    fn stop_faulty(&mut self, id: u64, what: &str) -> Result<(), ExportError> {
        if let Some(at) = self.live.iter().position(|live| live.id == id) {
            let mut live = self.live.swap_remove(at);
            self.sink.close(&mut live);
            if let Some(report) = live.usage_if_changed() {
                self.control.send_bytes(&report, &[])?;
            }
        }
        self.report_fault(id, what)
    }

    fn report_fault(&mut self, id: u64, what: &str) -> Result<(), ExportError> {
        let report = messages::up(|up| {
            let mut fault = up.init_fault();
            fault.set_instance(id);
            fault.set_what(what);
        });
        Ok(self.control.send_bytes(&report, &[])?)
    }

    /// Ends an instance in the middle of an interval, which is stored as interrupted.
    fn end(&mut self, mut live: Live) {
        for interval in live.finish(self.last_ns) {
            let epoch = como_keys::keyring::sealing_epoch(interval.interval_start_ns);
            if self.keys.has(epoch) {
                self.sink.store(&mut live, &self.keys, epoch, &interval);
            }
        }
        self.sink.close(&mut live);
        if let Some(report) = live.usage_if_changed() {
            let _ = self.control.send_bytes(&report, &[]);
        }
    }

    fn finish(&mut self) {
        for live in std::mem::take(&mut self.live) {
            self.end(live);
        }
        let _ = self
            .control
            .send_bytes(&messages::up(|mut up| up.set_stopped(())), &[]);
    }
}

fn gone() -> ExportError {
    LinkError::Broken("supervisor", std::io::ErrorKind::UnexpectedEof.into()).into()
}
