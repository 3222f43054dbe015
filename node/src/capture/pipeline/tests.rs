//! Capture end to end in memory: what a source gives is stored, in order, numbered, exactly once.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::mpsc::RecvTimeoutError;

use como_keys::sealing::Identity;
use como_keys::signing::SigningKey;
use como_policies::{AccessLevel, Window};

use super::*;
use crate::capture::source::{Event, Progress, SourcePacket};
use crate::ring::{Appended, Ring};
use crate::trace::sample::{T0, epoch_keys, node_keys, udp};
use crate::trace::{Gap, GapCause, GroupSet, ItemBody, MAX_BLOCK_BYTES, SegmentReader, WindowItem};

const ALWAYS: Window = Window {
    from_ns: 0,
    to_ns: u64::MAX,
};
const DAY_NS: u64 = 86_400_000_000_000;

/// A source of numbered packets from a resume point, `spread_ns` apart.
struct Numbered {
    next: u64,
    count: u64,
    spread_ns: u64,
    live: bool,
}

impl PacketSource for Numbered {
    fn read(&mut self, give: &mut dyn FnMut(Event<'_>)) -> Result<Progress, SourceError> {
        for _ in 0..100 {
            if self.next == self.count {
                return Ok(Progress::End);
            }
            let data = udp(self.next);
            let ts_ns = T0 + self.next * self.spread_ns;
            let wire_len = data.len() as u32;
            self.next += 1;
            give(Event::Packet(SourcePacket {
                ts_ns,
                wire_len,
                link: 1,
                data: &data,
                offset_after: self.next * 10,
            }));
        }
        if self.next.is_multiple_of(1000) {
            let at = T0 + self.next * self.spread_ns;
            give(Event::Gap(Gap {
                from_ns: at,
                to_ns: at,
                cause: GapCause::KernelDrop,
                packets: Some(2),
            }));
        }
        Ok(Progress::More)
    }

    fn is_live(&self) -> bool {
        self.live
    }
}

/// The same behind a ring that never overflows.
struct Ringed(Numbered);

impl PacketSource for Ringed {
    fn read(&mut self, give: &mut dyn FnMut(Event<'_>)) -> Result<Progress, SourceError> {
        self.0.read(give)
    }

    fn wait(&mut self, _: &mut dyn FnMut(Event<'_>)) -> Result<(), SourceError> {
        std::thread::sleep(Duration::from_millis(1));
        Ok(())
    }

    fn is_live(&self) -> bool {
        true
    }

    fn has_ring(&self) -> bool {
        true
    }
}

struct Bench {
    identities: Vec<Identity>,
    node: SigningKey,
}

impl Bench {
    fn new() -> Self {
        Self {
            identities: (0..3).map(|_| Identity::generate()).collect(),
            node: SigningKey::generate(),
        }
    }

    fn start(
        &self,
        config: PipelineConfig,
        source: impl PacketSource + 'static,
        views: Option<ViewSink>,
    ) -> Pipeline {
        let identities = self.identities.clone();
        let keys = Box::new(move |epoch| Ok(epoch_keys(epoch, &identities)));
        Pipeline::start(config, node_keys(&self.node), Box::new(source), keys, views)
    }

    /// Numbers of the packets in all segments, in order, and the counted losses.
    fn stored(&self, readers: impl IntoIterator<Item = SegmentReader>) -> (Vec<u64>, u64) {
        let (numbers, gaps) = self.read(readers);
        (numbers, gaps.iter().map(|gap| gap.packets.unwrap()).sum())
    }

    /// The same, with the gaps as they are stored.
    fn read(&self, readers: impl IntoIterator<Item = SegmentReader>) -> (Vec<u64>, Vec<Gap>) {
        let (mut numbers, mut gaps) = (Vec::new(), Vec::new());
        for reader in readers {
            reader.verify(&self.node.verifying_key()).unwrap();
            reader.verify_blocks().unwrap();
            let keys = reader
                .header()
                .unwrap_keys(|section| self.identities.get(section as usize))
                .unwrap();
            for item in reader
                .with_keys(&keys)
                .window(ALWAYS, AccessLevel::Payload, GroupSet::ALL)
            {
                match item {
                    WindowItem::View(view) => numbers.extend((0..view.len()).map(|row| {
                        let frame = view.frames.get(row).unwrap();
                        u64::from_be_bytes(*frame.last_chunk().unwrap())
                    })),
                    WindowItem::Gap(gap) => gaps.push(gap),
                    WindowItem::Damaged(damage) => panic!("{}", damage.what),
                }
            }
        }
        (numbers, gaps)
    }
}

fn config() -> PipelineConfig {
    PipelineConfig {
        retain: Retain::Payload,
        block_packets: 64,
        segment_bytes: 40_000,
        workers: 3,
        ..PipelineConfig::new("spiffe://test/node", SourceId([1; 16]), "numbers")
    }
}

/// The segments as files, in order.
fn segments(items: impl IntoIterator<Item = SealedItem>) -> Vec<SegmentReader> {
    let mut files: Vec<std::fs::File> = Vec::new();
    for (sequence, item) in items.into_iter().enumerate() {
        assert_eq!(item.sequence, sequence as u64);
        if let ItemBody::Open(_) = item.body {
            files.push(tempfile::tempfile().unwrap());
        }
        files.last_mut().unwrap().write_all(item.body.bytes()).unwrap();
    }
    files
        .into_iter()
        .map(|file| SegmentReader::open(file).unwrap())
        .collect()
}

#[test]
fn everything_a_source_gives_is_stored_in_order_and_chained() {
    let bench = Bench::new();
    let mut pipeline = bench.start(
        config(),
        Numbered {
            next: 0,
            count: 5050,
            spread_ns: 1_000_003,
            live: false,
        },
        None,
    );
    let items: Vec<SealedItem> = pipeline.take_items().iter().collect();
    assert_eq!(pipeline.counters().stored_packets, 5050);
    pipeline.join().unwrap();
    let readers = segments(items);
    assert!(readers.len() > 3);
    let chain: BTreeSet<_> = readers.iter().map(|r| r.header().segment).collect();
    for pair in readers.windows(2) {
        let before = pair[1].header().predecessor.as_ref().unwrap();
        assert!(before.segment == pair[0].header().segment && chain.contains(&before.segment));
    }
    assert_eq!(bench.stored(readers), ((0..5050).collect(), 10));
}

#[test]
fn a_segment_never_spans_sealing_epochs() {
    let bench = Bench::new();
    let source = Numbered {
        next: 0,
        count: 40,
        spread_ns: DAY_NS / 7,
        live: false,
    };
    let mut pipeline = bench.start(config(), source, None);
    let items: Vec<SealedItem> = pipeline.take_items().iter().collect();
    pipeline.join().unwrap();
    let readers = segments(items);
    for reader in &readers {
        let epoch = u64::from(reader.header().sealing_epoch);
        let footer = reader.footer().unwrap();
        assert!(footer.first_ns / DAY_NS == epoch && footer.last_ns / DAY_NS == epoch);
    }
    assert!(readers.len() >= 6);
    assert_eq!(bench.stored(readers).0.len(), 40);
}

#[test]
fn a_live_source_that_outruns_storage_counts_every_loss() {
    let bench = Bench::new();
    let config = PipelineConfig {
        queue_blocks: 6,
        ..config()
    };
    let mut pipeline = bench.start(
        config,
        Numbered {
            next: 0,
            count: 20_000,
            spread_ns: 1000,
            live: true,
        },
        None,
    );
    std::thread::sleep(Duration::from_millis(300));
    let items: Vec<SealedItem> = pipeline.take_items().iter().collect();
    let counters = pipeline.counters();
    pipeline.join().unwrap();
    assert!(counters.dropped_packets > 0);
    assert_eq!(counters.received_packets, 20_000);
    assert_eq!(
        counters.received_packets,
        counters.stored_packets + counters.dropped_packets
    );
    let (numbers, lost) = bench.stored(segments(items));
    assert_eq!(numbers.len() as u64, counters.stored_packets);
    assert!(numbers.is_sorted());
    // The source itself reported two lost packets per thousand.
    assert_eq!(lost, counters.dropped_packets + 2 * (20_000 / 1000));
}

#[test]
fn own_drops_are_told_by_the_second() {
    const SECOND_NS: u64 = 1_000_000_000;
    let bench = Bench::new();
    let config = PipelineConfig {
        queue_blocks: 6,
        ..config()
    };
    // Twenty seconds of packets, at once.
    let source = Numbered {
        next: 0,
        count: 20_000,
        spread_ns: SECOND_NS / 1000,
        live: true,
    };
    let mut pipeline = bench.start(config, source, None);
    std::thread::sleep(Duration::from_millis(300));
    let items: Vec<SealedItem> = pipeline.take_items().iter().collect();
    let dropped = pipeline.counters().dropped_packets;
    pipeline.join().unwrap();
    let (_, mut gaps) = bench.read(segments(items));
    gaps.retain(|gap| gap.cause == GapCause::QueueFull);
    assert_eq!(gaps.iter().map(|gap| gap.packets.unwrap()).sum::<u64>(), dropped);
    assert!(gaps.len() > 10, "{} gaps", gaps.len());
    for gap in gaps {
        // A batch that was begun in a second may reach into the next.
        assert!(gap.to_ns - gap.from_ns < 2 * SECOND_NS);
    }
}

#[test]
fn what_finds_no_room_stays_in_the_ring_and_is_not_dropped() {
    let bench = Bench::new();
    let config = PipelineConfig {
        queue_blocks: 6,
        ..config()
    };
    let source = Ringed(Numbered {
        next: 0,
        count: 20_000,
        spread_ns: 1000,
        live: true,
    });
    let mut pipeline = bench.start(config, source, None);
    // Storage takes nothing for a while.
    std::thread::sleep(Duration::from_millis(300));
    let items: Vec<SealedItem> = pipeline.take_items().iter().collect();
    let counters = pipeline.counters();
    pipeline.join().unwrap();
    assert_eq!((counters.dropped_packets, counters.stored_packets), (0, 20_000));
    assert_eq!(bench.stored(segments(items)).0.len(), 20_000);
}

#[test]
fn a_slow_module_sheds_and_the_trace_is_complete() {
    let bench = Bench::new();
    let (sink, blocks) = ViewSink::new(2, Wanted::always(), false);
    let mut pipeline = bench.start(
        config(),
        Numbered {
            next: 0,
            count: 3000,
            spread_ns: 1000,
            live: false,
        },
        Some(sink),
    );
    let items: Vec<SealedItem> = pipeline.take_items().iter().collect();
    let shed = pipeline.counters().shed_packets;
    pipeline.join().unwrap();
    let seen: u64 = blocks.iter().map(|block| block.view.len() as u64).sum();
    assert!(shed > 0 && seen + shed == 3000);
    assert_eq!(bench.stored(segments(items)).0.len(), 3000);
}

#[test]
fn stopping_seals_what_was_read() {
    let bench = Bench::new();
    let mut pipeline = bench.start(
        config(),
        Numbered {
            next: 0,
            count: u64::MAX,
            spread_ns: 1,
            live: false,
        },
        None,
    );
    let (coming, mut items) = (pipeline.take_items(), Vec::new());
    loop {
        match coming.recv_timeout(Duration::from_secs(20)) {
            Ok(item) => items.push(item),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!("the pipeline hangs"),
        }
        if items.len() == 20 {
            pipeline.stop();
        }
    }
    let counters = pipeline.counters();
    pipeline.join().unwrap();
    let (numbers, _) = bench.stored(segments(items));
    assert_eq!(numbers, (0..counters.received_packets).collect::<Vec<_>>());
}

/// So many packets of noise.
struct Noise(usize, Vec<u8>);

impl PacketSource for Noise {
    fn read(&mut self, give: &mut dyn FnMut(Event<'_>)) -> Result<Progress, SourceError> {
        if self.0 == 0 {
            return Ok(Progress::End);
        }
        self.0 -= 1;
        give(Event::Packet(SourcePacket {
            ts_ns: T0,
            wire_len: self.1.len() as u32,
            link: 1,
            data: &self.1,
            offset_after: 1,
        }));
        Ok(Progress::More)
    }

    fn is_live(&self) -> bool {
        false
    }
}

#[test]
fn a_block_that_cannot_be_sealed_ends_the_pipeline_with_the_reason() {
    let bench = Bench::new();
    let config = PipelineConfig {
        block_bytes: 2 * MAX_BLOCK_BYTES,
        block_packets: 1000,
        ..config()
    };
    let noise: Vec<u8> = (0..1 << 13).flat_map(|_| como_keys::random::<32>()).collect();
    let mut pipeline = bench.start(config, Noise(1000, noise), None);
    let items = pipeline.take_items();
    while items.recv().is_ok() {}
    assert!(pipeline.has_failed(), "known before the end of the items is seen");
    assert!(matches!(
        pipeline.join(),
        Err(PipelineError::Trace(TraceError::Limit { .. }))
    ));
}

#[test]
fn careful_packets_go_one_by_one_after_acknowledgement() {
    let bench = Bench::new();
    let config = PipelineConfig {
        careful_packets: 5,
        ..config()
    };
    let mut pipeline = bench.start(
        config,
        Numbered {
            next: 0,
            count: 50,
            spread_ns: 1,
            live: false,
        },
        None,
    );
    let (items, mut blocks) = (pipeline.take_items(), 0);
    while let Ok(item) = items.recv() {
        blocks += usize::from(matches!(item.body, ItemBody::Block(_)));
        if blocks <= 5 && matches!(item.body, ItemBody::Block(_)) {
            // Nothing more comes before storage has this packet.
            assert!(items.recv_timeout(Duration::from_millis(30)).is_err());
        }
        pipeline.acknowledger().acknowledge(item.sequence);
    }
    // Five of one packet, one of the rest, one of the index.
    assert_eq!(blocks, 7);
    pipeline.join().unwrap();
}

#[test]
fn a_killed_capture_and_storage_store_every_packet_exactly_once() {
    const COUNT: u64 = 4000;
    let (bench, dir) = (Bench::new(), tempfile::tempdir().unwrap());
    let mut seed = 7u64;
    for round in 0.. {
        assert!(round < 200, "no progress");
        // Storage starts, perhaps after a kill: whatever was appended may or may not be synced.
        let (mut ring, _) = Ring::open(dir.path(), u64::MAX).unwrap();
        let resume = ring.resume(SourceId([1; 16])).unwrap().point;
        if resume.next_packet == COUNT {
            break;
        }
        assert_eq!(resume.offset, resume.next_packet * 10);
        let source = Numbered {
            next: resume.next_packet,
            count: COUNT,
            spread_ns: 1_000_003,
            live: false,
        };
        let mut pipeline = bench.start(PipelineConfig { resume, ..config() }, source, None);
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let survive = (seed >> 33) as usize % 40 + 1;
        for item in pipeline.take_items().iter().take(survive) {
            assert_eq!(ring.append(&item).unwrap(), Appended::Written);
            if item.sequence % 3 == 0 {
                ring.sync().unwrap();
                assert_eq!(ring.append(&item).unwrap(), Appended::Duplicate);
            }
        }
        drop(pipeline); // capture is killed: its items are gone
    }
    let (ring, _) = Ring::open(dir.path(), u64::MAX).unwrap();
    let readers: Vec<SegmentReader> = ring
        .catalog()
        .unwrap()
        .iter()
        .map(|info| SegmentReader::open(ring.file(info.header.segment).unwrap()).unwrap())
        .collect();
    assert_eq!(bench.stored(readers).0, (0..COUNT).collect::<Vec<_>>());
}
