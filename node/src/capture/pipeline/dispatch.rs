//! The reading thread: packets into batches, batches into segments, everything numbered. Must never wait
//! for storage on a live source: what does not fit becomes one coalesced gap.

use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use como_keys::keyring::sealing_epoch;

use super::control::{Control, Counters};
use super::order::Done;
use super::worker::Job;
use super::{EpochKeysFn, PipelineConfig, PipelineError};
use crate::capture::source::{Event, PacketSource, Progress, SourcePacket};
use crate::trace::{
    BlockPosition, EndReason, EpochKeys, Gap, GapCause, MAX_GAPS_PER_BLOCK, PART_BLOCKS, PacketBatch,
    ResumePoint, RunKey, SegmentPlan, SegmentSealer, SegmentStart,
};

pub(super) struct Dispatch {
    config: PipelineConfig,
    run: RunKey,
    epoch_keys: EpochKeysFn,
    ends: Ends,
    control: Arc<Control>,
    live: bool,
    batch: PacketBatch,
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
    pub permits: Receiver<()>,
    /// Batches whose memory is used again.
    pub spares: Receiver<PacketBatch>,
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
            batch: PacketBatch::default(),
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
        self.live = source.is_live();
        let mut failed = None;
        let mut reason = EndReason::Stop;
        while !self.control.stopped() && failed.is_none() {
            let progress = source.read(&mut |event| self.take(event, &mut failed))?;
            match progress {
                Progress::More if !self.live => {}
                Progress::End => {
                    reason = EndReason::SourceEnd;
                    break;
                }
                _ => self.flush_if_old().unwrap_or_else(|error| failed = Some(error)),
            }
        }
        source.finish(&mut |event| self.take(event, &mut failed))?;
        if let Some(error) = failed {
            return Err(error);
        }
        // The last batch waits for room: nothing follows that it could delay.
        self.live = false;
        self.flush()?;
        self.flush_gaps()?;
        self.close_segment(reason)
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
            self.batch = self.ends.spares.try_recv().unwrap_or_default();
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
        self.flush()?;
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
        self.flush_gaps()
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
        let batch = mem::take(&mut self.batch);
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
        if !self.live {
            return self.ends.permits.recv().is_ok();
        }
        !matches!(self.ends.permits.try_recv(), Err(TryRecvError::Empty))
    }

    /// The queue is full: these packets become part of one growing gap, and their numbers are free again.
    fn drop_batch(&mut self, batch: &PacketBatch) {
        let packets = batch.len() as u64;
        let from_ns = batch.ts_ns.iter().copied().min().unwrap_or(0);
        let to_ns = batch.ts_ns.iter().copied().max().unwrap_or(0);
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
            created_ns: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_nanos() as u64),
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
