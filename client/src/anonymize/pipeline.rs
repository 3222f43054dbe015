//! Reader, workers, writer: batches of about 1 MiB go round in a fixed number of buffers, so that memory does not
//! depend on the capture's length. Batch `n` goes to worker `n mod workers` and is taken from there in turn, so that
//! packets leave in the order in which they came.

use std::io::Read;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use como_savefile::{Batch, Encoder, End, Format, Interfaces, Progress, Reader};

use super::sink::Takes;
use super::summary::Summary;
use super::treat::{Counts, Flows, Treatment, Work};
use crate::error::{ClientError, Result};

/// Threads that treat packets, at most: beyond that reading is what takes the time.
const MAX_WORKERS: usize = 16;
/// Batches for each worker: one in its hands, one before and one behind it.
const BATCHES_PER_WORKER: usize = 3;

/// Treats everything that `input` has left. `encoder`: how packets are written; none for tables.
pub(super) fn run<R: Read + Send, S: Takes>(
    input: Reader<R>,
    treatment: &Treatment,
    encoder: Option<Encoder>,
    sink: &mut S,
    progress: &mut dyn FnMut(u64),
) -> Result<Summary> {
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MAX_WORKERS);
    let format = encoder.map(Encoder::format);
    let mut summary = Summary::new(treatment.level(), input.format(), format);
    let end = thread::scope(|scope| {
        let (free, spare) = sync_channel(workers * BATCHES_PER_WORKER);
        for _ in 0..workers * BATCHES_PER_WORKER {
            free.send(Work::new(format))
                .expect("the channel has room for all");
        }
        let (mut to, mut from) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let (give, take) = sync_channel(1);
            let (hand_on, taken) = sync_channel(1);
            scope.spawn(move || work(treatment, encoder, &take, &hand_on));
            to.push(give);
            from.push(taken);
        }
        let reading = scope.spawn(move || read(input, format, &spare, &to));
        let written = write(&from, &free, sink, &mut summary, progress);
        // Both ends are let go, so that whoever waits for them ends too.
        drop((from, free));
        let end = reading.join().expect("the reader does not panic");
        written.and(end)
    })?;
    summary.end = end;
    sink.finish(&mut summary)?;
    Ok(summary)
}

/// Fills batches and hands them to the workers in turn. Ends with the input, or when nobody takes them any more.
fn read<R: Read>(
    mut input: Reader<R>,
    format: Option<Format>,
    spare: &Receiver<Work>,
    to: &[SyncSender<Work>],
) -> Result<End> {
    let mut interfaces = Interfaces::new(format.unwrap_or(Format::Pcapng));
    let one_link = input.link();
    for give in to.iter().cycle() {
        let Ok(mut work) = spare.recv() else { break };
        work.clear();
        let progress = input
            .read_batch(&mut work.batch)
            .map_err(|error| ClientError::read(std::path::Path::new("the input"), error))?;
        if let Progress::Ended(end) = progress {
            return Ok(end);
        }
        work.offset_after = input.offset();
        if format.is_some() {
            let mut last = None;
            // A pcap file has one link type for all packets.
            let looked_at = if one_link.is_some() { 1 } else { usize::MAX };
            for packet in work.batch.packets().take(looked_at) {
                if last != Some(packet.link) && interfaces.of(packet.link).map_err(super::of_write)?.is_new {
                    work.new_links.push(packet.link);
                }
                last = Some(packet.link);
            }
            work.interfaces.clone_from(&interfaces);
        }
        if give.send(work).is_err() {
            break;
        }
    }
    Ok(End::Clean)
}

fn work(treatment: &Treatment, encoder: Option<Encoder>, take: &Receiver<Work>, hand_on: &SyncSender<Work>) {
    for mut work in take {
        match encoder {
            Some(encoder) => treatment.frames(&mut work, encoder),
            None => treatment.flows(&mut work),
        }
        if hand_on.send(work).is_err() {
            return;
        }
    }
}

/// Takes batches from the workers in turn; the first that has none for its turn tells that there are no more.
fn write<S: Takes>(
    from: &[Receiver<Work>],
    free: &SyncSender<Work>,
    sink: &mut S,
    summary: &mut Summary,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    for taken in from.iter().cycle() {
        let Ok(mut work) = taken.recv() else { break };
        if let Some(error) = work.error.take() {
            return Err(super::of_write(error));
        }
        sink.take(&mut work)?;
        summary.take(&work);
        progress(work.offset_after);
        // Nobody fills it any more once the input is read; batches may still be on their way.
        let _ = free.send(work);
    }
    Ok(())
}

impl Work {
    fn new(format: Option<Format>) -> Self {
        Self {
            batch: Batch::default(),
            new_links: Vec::new(),
            interfaces: Interfaces::new(format.unwrap_or(Format::Pcapng)),
            offset_after: 0,
            encoded: Vec::new(),
            flows: Flows::default(),
            counts: Counts::default(),
            error: None,
        }
    }

    /// Ready for other packets; buffers stay.
    fn clear(&mut self) {
        self.new_links.clear();
        self.encoded.clear();
        self.flows = Flows::default();
        self.counts = Counts::default();
    }
}
