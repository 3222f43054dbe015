//! Workers side by side, each with one batch in its hands: it reads the batch, treats it and writes it, so that the
//! bytes stay in its core's cache. Only one reads at a time, which numbers the batches, and only one writes, in the
//! order of the numbers: packets leave in the order in which they came. Memory is one batch a worker, whatever the
//! capture's length. Must never write a batch before the ones that were read before it.

use std::io::Read;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use como_savefile::{Encoder, End, Format, Interfaces, Progress, Reader};

use super::sink::Takes;
use super::summary::Summary;
use super::treat::{Treatment, Work};
use crate::error::{ClientError, Result};

/// Threads that treat packets, at most: beyond that reading is what takes the time.
const MAX_WORKERS: usize = 16;

/// Treats everything that `input` has left. `encoder`: how packets are written; none for tables.
pub(super) fn run<R: Read + Send, S: Takes + Send>(
    input: Reader<R>,
    treatment: &Treatment,
    encoder: Option<Encoder>,
    sink: &mut S,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Summary> {
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MAX_WORKERS);
    let format = encoder.map(Encoder::format);
    let mut summary = Summary::new(treatment.level(), input.format(), format);
    let source = Mutex::new(Source::new(input, format));
    let queue = Queue {
        written: Mutex::new(Written {
            sink,
            summary: &mut summary,
            progress,
            turn: 0,
            failed: None,
            abandoned: false,
        }),
        next: Condvar::new(),
    };
    let work = || {
        let _others_go_on = ReleasesOthers(&queue);
        let mut work = Work::new(format);
        loop {
            // A statement of its own: the source is let go before the batch is treated.
            let filled = lock(&source).fill(&mut work);
            let Some(turn) = filled else { break };
            match encoder {
                Some(encoder) => treatment.frames(&mut work, encoder),
                None => treatment.flows(&mut work),
            }
            if !queue.take(turn, &mut work) {
                lock(&source).stop();
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(work);
        }
        work();
    });
    if let Some(error) = queue.into_failure() {
        return Err(error);
    }
    summary.end = source
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .end()?;
    sink.finish(&mut summary)?;
    Ok(summary)
}

/// The capture, as far as it is not read.
struct Source<R> {
    input: Reader<R>,
    /// Of packets written; none for tables.
    interfaces: Option<Interfaces>,
    /// Number of the next batch.
    turn: u64,
    end: Option<Result<End>>,
}

impl<R: Read> Source<R> {
    fn new(input: Reader<R>, format: Option<Format>) -> Self {
        Self {
            input,
            interfaces: format.map(Interfaces::new),
            turn: 0,
            end: None,
        }
    }

    /// Fills `work` with the next batch and gives its number. `None`: nothing is read any more.
    fn fill(&mut self, work: &mut Work) -> Option<u64> {
        if self.end.is_some() {
            return None;
        }
        work.clear();
        match self.input.read_batch(&mut work.batch) {
            Ok(Progress::More) => {}
            Ok(Progress::Ended(end)) => return self.ended(Ok(end)),
            Err(error) => return self.ended(Err(ClientError::read(Path::new("the input"), error))),
        }
        work.offset_after = self.input.offset();
        if let Err(error) = self.declare_links(work) {
            return self.ended(Err(error));
        }
        self.turn += 1;
        Some(self.turn - 1)
    }

    /// Gives new link types their interfaces, in the order in which they come.
    fn declare_links(&mut self, work: &mut Work) -> Result<()> {
        let Some(interfaces) = &mut self.interfaces else {
            return Ok(());
        };
        // A pcap file has one link type for all packets.
        let looked_at = if self.input.link().is_some() {
            1
        } else {
            usize::MAX
        };
        let mut last = None;
        for packet in work.batch.packets().take(looked_at) {
            if last != Some(packet.link) && interfaces.of(packet.link).map_err(super::of_write)?.is_new {
                work.new_links.push(packet.link);
            }
            last = Some(packet.link);
        }
        work.interfaces.clone_from(interfaces);
        Ok(())
    }

    fn ended(&mut self, end: Result<End>) -> Option<u64> {
        self.end = Some(end);
        None
    }

    /// Nobody takes packets any more.
    fn stop(&mut self) {
        self.end.get_or_insert(Ok(End::Clean));
    }

    fn end(self) -> Result<End> {
        self.end.unwrap_or(Ok(End::Clean))
    }
}

/// Where treated batches go, in the order of their numbers.
struct Queue<'a, S> {
    written: Mutex<Written<'a, S>>,
    /// Told when the turn changes, or writing failed.
    next: Condvar,
}

struct Written<'a, S> {
    sink: &'a mut S,
    summary: &'a mut Summary,
    progress: &'a mut (dyn FnMut(u64) + Send),
    /// Number of the batch that is written next.
    turn: u64,
    failed: Option<ClientError>,
    /// A worker died, and its turn will never come.
    abandoned: bool,
}

impl<S: Takes> Queue<'_, S> {
    /// Waits until it is the turn of batch `turn`, and writes it. False: writing failed, of this batch or one before.
    fn take(&self, turn: u64, work: &mut Work) -> bool {
        let waits = |written: &mut Written<'_, S>| written.turn != turn && !written.is_over();
        let mut written = self
            .next
            .wait_while(lock(&self.written), waits)
            .unwrap_or_else(PoisonError::into_inner);
        if !written.is_over() {
            written.failed = written.take(work).err();
            written.turn += 1;
        }
        self.next.notify_all();
        !written.is_over()
    }

    fn into_failure(self) -> Option<ClientError> {
        self.written
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .failed
    }
}

impl<S: Takes> Written<'_, S> {
    fn is_over(&self) -> bool {
        self.abandoned || self.failed.is_some()
    }

    fn take(&mut self, work: &mut Work) -> Result<()> {
        if let Some(error) = work.error.take() {
            return Err(super::of_write(error));
        }
        self.sink.take(work)?;
        self.summary.take(work);
        (self.progress)(work.offset_after);
        Ok(())
    }
}

/// Where a worker panics, the others do not wait for its turn: they end, and the panic goes on in who called.
struct ReleasesOthers<'q, 'w, S>(&'q Queue<'w, S>);

impl<S> Drop for ReleasesOthers<'_, '_, S> {
    fn drop(&mut self) {
        if thread::panicking() {
            lock(&self.0.written).abandoned = true;
            self.0.next.notify_all();
        }
    }
}

/// Who panicked left nothing that is looked at: see [`ReleasesOthers`].
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
