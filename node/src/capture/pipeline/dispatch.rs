//! The reading thread: packets into batches, batches into segments, everything numbered. Must never wait for storage
//! with a packet of a live source in hand: what does not fit stays in the kernel's ring, which counts what it cannot
//! hold, and where there is no ring it becomes one gap a second.

use std::mem;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use como_keys::keyring::sealing_epoch;

use super::control::{Control, Counters};
use super::order::Done;
use super::permits::Permits;
use super::worker::Job;
use super::{EpochKeysFn, PipelineConfig, PipelineError};
use crate::capture::source::{Event, PacketSource, Progress, SourcePacket};
use crate::spares::{Lent, Spares};
use crate::trace::{
    BlockPosition, EndReason, EpochKeys, Gap, GapCause, MAX_GAPS_PER_BLOCK, PART_BLOCKS, PacketBatch,
    ResumePoint, RunKey, SegmentPlan, SegmentSealer, SegmentStart,
};

/// Places that are kept for the packets of one look into the kernel's ring.
const PLACES_PER_READ: usize = 16;
/// Longest way of a packet from the interface out of the kernel's ring, ns: several times the timeout of its blocks.
const ON_ITS_WAY_NS: u64 = 500_000_000;
/// Own drops are told for each of these, ns.
const SECOND_NS: u64 = 1_000_000_000;

pub(super) struct Dispatch {
    config: PipelineConfig,
    run: RunKey,
    epoch_keys: EpochKeysFn,
    ends: Ends,
    control: Arc<Control>,
    live: bool,
    /// The source keeps what is not read yet.
    ring: bool,
    batch: Lent<PacketBatch>,
    batch_epoch: u32,
    batch_since: Instant,
    gaps: Vec<Gap>,
    dropped: Option<Gap>,
    /// After the last packet read.
    position: ResumePoint,
    /// After the last packet on its way to storage.
    dispatched: ResumePoint,
    sequence: u64,
    segment: Option<OpenSegment>,
}

/// The dispatcher's ends of the pipeline's channels.
pub(super) struct Ends {
    /// Places for blocks in flight.
    pub permits: Permits,
    /// Memory of batches that nobody needs any more.
    pub batches: Spares<PacketBatch>,
    /// To the workers.
    pub jobs: SyncSender<Job>,
    /// What needs no worker.
    pub done: SyncSender<Done>,
}

struct OpenSegment {
    epoch: u32,
    keys: EpochKeys,
    sealer: Arc<SegmentSealer>,
    blocks: u32,
    /// Blocks since the last of the index.
    unindexed: usize,
    captured_bytes: u64,
}

impl Dispatch {
    pub fn new(
        config: PipelineConfig,
        run: RunKey,
        epoch_keys: EpochKeysFn,
        ends: Ends,
        control: Arc<Control>,
    ) -> Self {
        let position = config.resume;
        Self {
            config,
            run,
            epoch_keys,
            ends,
            control,
            live: false,
            ring: false,
            batch: Lent::own(PacketBatch::default()),
            batch_epoch: 0,
            batch_since: Instant::now(),
            gaps: Vec::new(),
            dropped: None,
            position,
            dispatched: position,
            sequence: 0,
            segment: None,
        }
    }

    /// Runs until the source ends or capture is stopped.
    pub fn run(mut self, mut source: Box<dyn PacketSource>) -> Result<(), PipelineError> {
        (self.live, self.ring) = (source.is_live(), source.has_ring());
        let mut failed = None;
        let mut reason = EndReason::Stop;
        while !self.control.stopped() && failed.is_none() {
            if !self.has_room() {
                source.wait(&mut |event| self.take(event, &mut failed))?;
                continue;
            }
            let begun_ns = wall_ns();
            let progress = source.read(&mut |event| self.take(event, &mut failed))?;
            match progress {
                Progress::More if !self.live => {}
                Progress::End => {
                    reason = EndReason::SourceEnd;
                    break;
                }
                Progress::Idle if self.live && self.is_drained() => {
                    self.control.newest.raise(begun_ns.saturating_sub(ON_ITS_WAY_NS));
                    self.flush_gaps().unwrap_or_else(|error| failed = Some(error));
                }
                _ => self.flush_if_old().unwrap_or_else(|error| failed = Some(error)),
            }
        }
        // What is left waits for room: nothing follows that it could delay.
        self.live &= !self.ring;
        source.finish(&mut |event| self.take(event, &mut failed))?;
        if let Some(error) = failed {
            return Err(error);
        }
        self.live = false;
        self.flush()?;
        // A full block, and one for what came on top of it.
        self.flush_gaps()?;
        self.flush_gaps()?;
        self.close_segment(reason)
    }

    /// Nothing that was read waits anywhere: on an idle link time goes on by the wall clock, or whoever asks for all
    /// there is would wait for the next packet.
    fn is_drained(&self) -> bool {
        self.batch.is_empty() && self.ends.permits.fill() == 0
    }

    fn take(&mut self, event: Event<'_>, failed: &mut Option<PipelineError>) {
        if failed.is_some() {
            return;
        }
        let taken = match event {
            Event::Packet(packet) => self.take_packet(&packet),
            Event::Gap(gap) => self.take_gap(gap),
        };
        if let Err(error) = taken {
            *failed = Some(error);
        }
    }

    fn take_packet(&mut self, packet: &SourcePacket<'_>) -> Result<(), PipelineError> {
        let epoch = sealing_epoch(packet.ts_ns);
        let full = self.batch.bytes.len() + packet.data.len() > self.config.block_bytes
            || self.batch.len() >= self.config.block_packets
            || self.is_careful(&self.batch);
        if !self.batch.is_empty() && (full || self.batch.link != packet.link || self.batch_epoch != epoch) {
            self.flush()?;
        }
        if self.batch.is_empty() {
            let spare = self.ends.batches.take().unwrap_or_default();
            self.batch = self.ends.batches.lend(spare);
            self.batch.restart(packet.link, self.position.next_packet);
            self.batch_epoch = epoch;
            self.batch_since = Instant::now();
        }
        self.batch.push(packet.ts_ns, packet.wire_len, packet.data);
        self.batch.offset_after = packet.offset_after;
        self.position = ResumePoint {
            offset: packet.offset_after,
            next_packet: self.position.next_packet + 1,
        };
        Ok(())
    }

    fn take_gap(&mut self, gap: Gap) -> Result<(), PipelineError> {
        Counters::add(&self.control.counters.lost_packets, gap.packets.unwrap_or(0));
        self.control.losses.add(gap.cause, gap.packets.unwrap_or(0));
        if matches!(gap.cause, GapCause::SourceTruncated | GapCause::SourceCorrupt) {
            let _ = self.control.damage.set(gap.cause); // A source ends with the first.
        }
        if self.has_room() {
            self.flush()?;
        }
        self.keep_gap(gap);
        self.flush_gaps()
    }

    /// Until there is room to store it.
    fn keep_gap(&mut self, gap: Gap) {
        let full = self.gaps.len() >= MAX_GAPS_PER_BLOCK;
        match self
            .gaps
            .iter_mut()
            .rfind(|other| full && other.cause == gap.cause)
        {
            // Storage is away for long: gaps of one cause become one.
            Some(other) => {
                (other.from_ns, other.to_ns) = (other.from_ns.min(gap.from_ns), other.to_ns.max(gap.to_ns));
                other.packets = other.packets.zip(gap.packets).map(|(a, b)| a + b);
            }
            None => self.gaps.push(gap),
        }
    }

    /// Whether what a ring gives at once can be handed on. A source without a ring is always read: a file waits with
    /// its packet in hand, and what a link without one brings is gone if nobody takes it.
    fn has_room(&self) -> bool {
        !(self.live && self.ring) || self.ends.permits.has(PLACES_PER_READ)
    }

    fn is_careful(&self, batch: &PacketBatch) -> bool {
        batch.first_packet.saturating_sub(self.config.resume.next_packet) < self.config.careful_packets
    }

    fn flush_if_old(&mut self) -> Result<(), PipelineError> {
        if !self.batch.is_empty() && self.batch_since.elapsed() >= self.config.flush_after {
            self.flush()?;
        }
        self.flush_gaps()
    }

    fn flush(&mut self) -> Result<(), PipelineError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = mem::replace(&mut self.batch, Lent::own(PacketBatch::default()));
        // Once for all: a counter that other threads share costs each packet dearly.
        Counters::add(&self.control.counters.received_packets, batch.len() as u64);
        let careful = self.is_careful(&batch);
        if !self.permit() {
            self.drop_batch(&batch);
            return Ok(());
        }
        self.enter_epoch(
            self.batch_epoch,
            batch.link,
            batch.ts_ns.iter().copied().min().unwrap_or(0),
        )?;
        let sequence = self.next_sequence();
        let segment = self.segment.as_mut().expect("a segment was just entered");
        segment.captured_bytes += batch.bytes.len() as u64;
        let at = BlockPosition {
            number: segment.blocks,
            sequence,
        };
        segment.blocks += 1;
        self.dispatched = ResumePoint {
            offset: batch.offset_after,
            next_packet: batch.first_packet + batch.len() as u64,
        };
        let job = Job {
            at,
            batch,
            sealer: segment.sealer.clone(),
            anonymizer: segment.keys.anonymizer.clone(),
        };
        self.ends.jobs.send(job).map_err(|_| PipelineError::ThreadDied)?;
        if careful {
            self.control.wait_acknowledged(sequence);
        }
        self.index_if_due()
    }

    fn flush_gaps(&mut self) -> Result<(), PipelineError> {
        if (self.gaps.is_empty() && self.dropped.is_none()) || !self.permit() {
            return Ok(());
        }
        self.gaps.extend(self.dropped.take());
        let take = self.gaps.len().min(MAX_GAPS_PER_BLOCK);
        let gaps: Vec<Gap> = self.gaps.drain(..take).collect();
        self.enter_epoch(sealing_epoch(gaps[0].from_ns), self.batch.link, gaps[0].from_ns)?;
        let sequence = self.next_sequence();
        let segment = self.segment.as_mut().expect("a segment was just entered");
        let at = BlockPosition {
            number: segment.blocks,
            sequence,
        };
        segment.blocks += 1;
        let block = segment.sealer.seal_gaps(at, self.dispatched, &gaps)?;
        self.ends
            .done
            .send(Done::block(sequence, segment.sealer.segment(), block))
            .map_err(|_| PipelineError::ThreadDied)?;
        self.index_if_due()
    }

    /// After each block: the index stands behind the blocks that it covers.
    fn index_if_due(&mut self) -> Result<(), PipelineError> {
        let Some(segment) = &mut self.segment else {
            return Ok(());
        };
        segment.unindexed += 1;
        if segment.unindexed < PART_BLOCKS {
            return Ok(());
        }
        segment.unindexed = 0;
        self.index(false)
    }

    /// Takes the place of a block of the index, which the ordering thread fills.
    fn index(&mut self, last: bool) -> Result<(), PipelineError> {
        let sequence = self.next_sequence();
        let Some(segment) = &mut self.segment else {
            return Ok(());
        };
        let at = BlockPosition {
            number: segment.blocks,
            sequence,
        };
        segment.blocks += 1;
        self.ends
            .done
            .send(Done::index(at, self.dispatched, last))
            .map_err(|_| PipelineError::ThreadDied)
    }

    /// Takes one place in flight. A file waits for it; for a link there may be none.
    fn permit(&mut self) -> bool {
        match self.live {
            false => self.ends.permits.take(),
            true => self.ends.permits.try_take(),
        }
    }

    /// The queue is full: these packets become part of this second's gap, and their numbers are free again.
    fn drop_batch(&mut self, batch: &PacketBatch) {
        let packets = batch.len() as u64;
        let from_ns = batch.ts_ns.iter().copied().min().unwrap_or(0);
        let to_ns = batch.ts_ns.iter().copied().max().unwrap_or(0);
        let second = |ns: u64| ns / SECOND_NS;
        if let Some(earlier) = self.dropped.take_if(|gap| second(gap.from_ns) != second(from_ns)) {
            self.keep_gap(earlier);
        }
        let gap = self.dropped.get_or_insert(Gap {
            from_ns,
            to_ns,
            cause: GapCause::QueueFull,
            packets: Some(0),
        });
        gap.from_ns = gap.from_ns.min(from_ns);
        gap.to_ns = gap.to_ns.max(to_ns);
        gap.packets = gap.packets.map(|count| count + packets);
        self.position.next_packet -= packets;
        Counters::add(&self.control.counters.dropped_packets, packets);
        self.control.losses.add(GapCause::QueueFull, packets);
    }

    /// Makes sure that the open segment is of this epoch and has room.
    fn enter_epoch(&mut self, epoch: u32, link: u32, first_ns: u64) -> Result<(), PipelineError> {
        let end = match &self.segment {
            Some(segment) if segment.epoch != epoch => Some(EndReason::Epoch),
            Some(segment) if segment.captured_bytes >= self.config.segment_bytes => Some(EndReason::Size),
            Some(_) => return Ok(()),
            None => None,
        };
        let known = self
            .segment
            .as_ref()
            .filter(|segment| segment.epoch == epoch)
            .map(|segment| segment.keys.clone());
        if let Some(reason) = end {
            self.close_segment(reason)?;
        }
        let keys = match known {
            Some(keys) => keys,
            None => (self.epoch_keys)(epoch)?,
        };
        let plan = SegmentPlan {
            node: self.config.node.clone(),
            source: self.config.source,
            source_description: self.config.source_description.clone(),
            retain: self.config.retain,
            link,
            created_ns: wall_ns(),
            first_ns,
        };
        let (sealer, ledger) = SegmentStart::new(plan, &keys, &self.run)?.split();
        let sequence = self.next_sequence();
        self.ends
            .done
            .send(Done::open(sequence, ledger))
            .map_err(|_| PipelineError::ThreadDied)?;
        self.segment = Some(OpenSegment {
            epoch,
            keys,
            sealer: Arc::new(sealer),
            blocks: 0,
            unindexed: 0,
            captured_bytes: 0,
        });
        Ok(())
    }

    fn close_segment(&mut self, reason: EndReason) -> Result<(), PipelineError> {
        if self.segment.is_none() {
            return Ok(());
        }
        self.index(true)?;
        self.segment = None;
        let sequence = self.next_sequence();
        self.ends
            .done
            .send(Done::close(sequence, reason))
            .map_err(|_| PipelineError::ThreadDied)
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence - 1
    }
}

fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}
