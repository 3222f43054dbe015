//! The ring against a simple model, seeded: append packets and gaps, sync, crash with torn writes, reopen, repair,
//! seal, expire, read.
//!
//! The model: a source has handed over `appended` packets, of which `synced` are acknowledged, and gaps among
//! them. Whatever happens, the ring holds one contiguous range of packets, each once, that ends between the two,
//! and every acknowledged gap at its place.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use como_anonymize::{LinkType, build};
use como_keys::sealing::Identity;
use como_keys::signing::SigningKey;
use como_policies::{AccessLevel, Window};

use super::*;
use crate::trace::sample::{T0, batch, epoch_keys, node_keys};
use crate::trace::{
    BlockParts, BlockPosition, EndReason, EpochKeys, FrameTemplates, Gap, GapCause, GroupSet, Retain, RunKey,
    SealScratch, SealedItem, SegmentLedger, SegmentPlan, SegmentSealer, SegmentStart, WindowItem,
};

const SOURCE: SourceId = SourceId([8; 16]);
const RING_BYTES: u64 = 120_000;

/// Runs, each of another seed; `COMO_SOAK` asks for more of them.
const SEEDS: u64 = 12;

/// A folder in memory where there is one: what is tested here is the order of writes, not the disk's speed.
pub(super) fn quick_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// A small generator: the same seed, the same run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Capture, as far as the ring sees it.
pub(super) struct Writer {
    sealer: SegmentSealer,
    ledger: SegmentLedger,
    number: u32,
}

pub(super) struct Model {
    pub dir: tempfile::TempDir,
    pub ring: Option<Ring>,
    identities: Vec<Identity>,
    epoch: EpochKeys,
    run: RunKey,
    pub writer: Option<Writer>,
    /// Wall time at which segments are begun.
    pub created_ns: u64,
    appended: u64,
    synced: u64,
    /// How many packets had been handed over at each gap, and its own number: two may stand at one place.
    gaps: Vec<(u64, u64)>,
    /// Gaps that were ever made.
    made_gaps: u64,
    /// Gaps that are acknowledged: the first so many.
    synced_gaps: usize,
    /// Length of the open file when it was last synced.
    synced_bytes: u64,
    last: Option<SealedItem>,
}

impl Model {
    pub fn new() -> Self {
        let identities: Vec<Identity> = (0..3).map(|_| Identity::generate()).collect();
        let dir = quick_dir();
        let ring = Some(Ring::open(dir.path(), RING_BYTES).unwrap().0);
        let epoch = epoch_keys(19_675, &identities);
        let run = node_keys(&SigningKey::generate());
        Self {
            dir,
            ring,
            identities,
            epoch,
            run,
            writer: None,
            created_ns: T0,
            appended: 0,
            synced: 0,
            gaps: Vec::new(),
            made_gaps: 0,
            synced_gaps: 0,
            synced_bytes: 0,
            last: None,
        }
    }

    pub fn ring(&mut self) -> &mut Ring {
        self.ring.as_mut().unwrap()
    }

    fn put(&mut self, segment: SegmentId, body: ItemBody) {
        let item = SealedItem {
            sequence: 0,
            segment,
            body,
        };
        assert_eq!(self.ring().append(&item).unwrap(), Appended::Written);
        self.last = Some(item);
    }

    fn open_segment(&mut self) {
        let plan = SegmentPlan {
            node: "node".to_owned(),
            source: SOURCE,
            source_description: "model".to_owned(),
            retain: Retain::Payload,
            link: 1,
            first_ns: T0,
            created_ns: self.created_ns,
        };
        let (sealer, start) = SegmentStart::new(plan, &self.epoch, &self.run).unwrap().split();
        let (frame, ledger) = start.open(None);
        self.synced_bytes = frame.len() as u64;
        self.put(sealer.segment(), ItemBody::Open(frame));
        self.writer = Some(Writer {
            sealer,
            ledger,
            number: 0,
        });
    }

    pub fn append(&mut self, packets: u64) {
        if self.writer.is_none() {
            self.open_segment();
        }
        let batch = batch(self.appended, packets);
        let view = build(
            AccessLevel::Anonymized,
            LinkType(1),
            batch.packets(),
            Some(&self.epoch.anonymizer),
        );
        let writer = self.writer.as_mut().unwrap();
        let at = BlockPosition {
            number: writer.number,
            sequence: 0,
        };
        let parts = BlockParts {
            columns: &view.columns,
            templates: &FrameTemplates::of_view(&view),
            header_len: &vec![42; batch.len()],
        };
        let block = writer
            .sealer
            .seal_packets(at, &batch, &parts, Vec::new(), &mut SealScratch::default())
            .unwrap();
        writer.number += 1;
        writer.ledger.add(&block);
        let segment = writer.sealer.segment();
        self.put(segment, ItemBody::Block(block.bytes));
        self.appended += packets;
    }

    fn append_gap(&mut self) {
        if self.writer.is_none() {
            self.open_segment();
        }
        let writer = self.writer.as_mut().unwrap();
        let at = BlockPosition {
            number: writer.number,
            sequence: 0,
        };
        let resume = ResumePoint {
            offset: self.appended * 100,
            next_packet: self.appended,
        };
        self.made_gaps += 1;
        let gap = Gap {
            from_ns: self.appended,
            to_ns: self.appended,
            cause: GapCause::KernelDrop,
            packets: Some(self.made_gaps),
        };
        let block = writer.sealer.seal_gaps(at, resume, &[gap]).unwrap();
        writer.number += 1;
        writer.ledger.add(&block);
        let segment = writer.sealer.segment();
        self.put(segment, ItemBody::Block(block.bytes));
        self.gaps.push((self.appended, self.made_gaps));
    }

    pub fn sync(&mut self) {
        self.ring().sync().unwrap();
        self.synced = self.appended;
        self.synced_gaps = self.gaps.len();
        self.synced_bytes = self
            .open_file()
            .map_or(0, |path| fs::metadata(path).unwrap().len());
    }

    pub fn seal(&mut self) {
        if let Some(writer) = self.writer.take() {
            let segment = writer.sealer.segment();
            let (frame, _) = writer.ledger.close(EndReason::Stop);
            self.put(segment, ItemBody::Close(frame));
            self.synced = self.appended;
            self.synced_gaps = self.gaps.len();
        }
    }

    /// Storage dies: what was not synced is cut anywhere, or replaced by what the disk had there.
    fn crash(&mut self, dice: &mut Dice) {
        self.ring = None;
        if let Some(path) = self.open_file() {
            let file = File::options().write(true).open(&path).unwrap();
            let length = file.metadata().unwrap().len();
            let kept = self.synced_bytes + dice.below(length - self.synced_bytes + 1);
            match dice.below(3) {
                0 => file.set_len(kept).unwrap(),
                1 => file
                    .write_all_at(&vec![0; (length - kept) as usize], kept)
                    .unwrap(),
                _ => File::options()
                    .append(true)
                    .open(&path)
                    .unwrap()
                    .write_all(&[0x5a; 33])
                    .unwrap(),
            }
        }
        if dice.below(3) == 0 {
            self.repair();
        }
        self.ring = Some(Ring::open(self.dir.path(), RING_BYTES).unwrap().0);
        let resume = self.ring().resume(SOURCE).unwrap().point;
        assert!(
            (self.synced..=self.appended).contains(&resume.next_packet),
            "{resume:?}"
        );
        assert_eq!(resume.offset, resume.next_packet * 100);
        (self.appended, self.synced) = (resume.next_packet, resume.next_packet);
        (self.writer, self.last) = (None, None);
        let (_, gaps) = self.read();
        let kept = self.gaps.len().min(self.expired_gaps() + gaps.len());
        assert!(kept >= self.synced_gaps, "an acknowledged gap is lost");
        self.gaps.truncate(kept);
        self.synced_gaps = kept;
    }

    /// An operator has the ring mended: nothing that a start would keep may go.
    fn repair(&mut self) {
        let found = repair::plan(self.dir.path()).unwrap();
        assert_eq!(found.stays, []);
        repair::apply(self.dir.path(), &found).unwrap();
        assert_eq!(repair::plan(self.dir.path()).unwrap().repairs, []);
    }

    /// Gaps that went with segments that expired.
    fn expired_gaps(&mut self) -> usize {
        let (_, found) = self.read();
        let expired: u64 = self.ring().expired().iter().map(|expired| expired.packets).sum();
        match found.first() {
            Some(first) => self.gaps.iter().position(|gap| gap == first).unwrap_or(0),
            // A gap goes with the packets before it: one behind more packets was cut off.
            None => self.gaps.iter().filter(|(at, _)| *at <= expired).count(),
        }
    }

    fn open_file(&self) -> Option<PathBuf> {
        let files = fs::read_dir(self.dir.path().join("segments"))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.extension().is_some_and(|e| e == "open"))
            .max()
    }

    /// What the ring holds is one contiguous range that ends with what was appended, gaps at their places.
    pub fn check(&mut self) {
        let (numbers, gaps) = self.read();
        let expired: u64 = self.ring().expired().iter().map(|expired| expired.packets).sum();
        assert_eq!(numbers, (expired..self.appended).collect::<Vec<_>>());
        assert!(
            self.gaps.ends_with(&gaps),
            "{:?} is not the end of {:?}",
            gaps,
            self.gaps
        );
        // A gap goes with the packets before it, never earlier.
        let due = self.gaps.iter().filter(|(at, _)| *at > expired).count();
        assert!(gaps.len() >= due, "{due} gaps are due, {} are there", gaps.len());
    }

    /// Numbers of all packets; how many stand before each gap, with its number: as every reader reads them.
    fn read(&mut self) -> (Vec<u64>, Vec<(u64, u64)>) {
        let identities = self.identities.clone();
        let ring = self.ring();
        let expired: u64 = ring.expired().iter().map(|expired| expired.packets).sum();
        let (mut numbers, mut gaps) = (Vec::new(), Vec::new());
        for info in ring.catalog().unwrap() {
            let reader = SegmentReader::open(ring.file(info.header.segment).unwrap()).unwrap();
            let keys = reader
                .header()
                .unwrap_keys(|section| identities.get(section as usize))
                .unwrap();
            let window = Window {
                from_ns: 0,
                to_ns: u64::MAX,
            };
            for item in reader
                .with_keys(&keys)
                .window(window, AccessLevel::Payload, GroupSet::ALL)
            {
                match item {
                    WindowItem::View(view) => {
                        numbers.extend((0..view.len()).map(|row| {
                            u64::from_be_bytes(*view.frames.get(row).unwrap().last_chunk().unwrap())
                        }))
                    }
                    WindowItem::Damaged(damage) => panic!("{}", damage.what),
                    WindowItem::Gap(gap) => {
                        assert_eq!(
                            gap.from_ns,
                            expired + numbers.len() as u64,
                            "a gap keeps its place"
                        );
                        gaps.push((gap.from_ns, gap.packets.unwrap()));
                    }
                }
            }
        }
        (numbers, gaps)
    }
}

#[test]
fn the_ring_is_its_model() {
    let mut expired = 0;
    let soak = std::env::var("COMO_SOAK")
        .ok()
        .and_then(|rounds| rounds.parse().ok());
    for seed in 0..soak.unwrap_or(SEEDS).max(SEEDS) {
        let (mut dice, mut model) = (Dice(seed), Model::new());
        for _ in 0..120 {
            match dice.below(20) {
                0..=9 => model.append(1 + dice.below(30)),
                10 => model.append_gap(),
                11..=13 => model.sync(),
                14 | 15 => model.seal(),
                16 | 17 => model.crash(&mut dice),
                18 => {
                    if let Some(item) = model.last.clone() {
                        assert_eq!(model.ring().append(&item).unwrap(), Appended::Duplicate);
                    }
                }
                _ => model.check(),
            }
        }
        model.check();
        assert!(
            model.ring().bytes() <= RING_BYTES + 60_000,
            "seed {seed}: the oldest segments expire"
        );
        expired += model.ring().expired().len();
    }
    assert!(expired > 0, "the runs are long enough for segments to expire");
}

fn one_segment(dir: &Path) -> Model {
    let mut model = Model::new();
    model.ring = None;
    model.ring = Some(Ring::open(dir, u64::MAX).unwrap().0);
    model.append(5);
    model.append(5);
    model
}

#[test]
fn a_damaged_block_in_an_open_segment_does_not_cost_those_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = one_segment(dir.path());
    model.append(5);
    model.sync();
    let info = model.ring().catalog().unwrap().remove(0);
    let reader = SegmentReader::open(model.ring().file(info.header.segment).unwrap()).unwrap();
    let second = reader.blocks().nth(1).unwrap().unwrap();
    let path = fs::read_dir(dir.path().join("segments"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    model.ring = None;
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all_at(&[0xff; 4], second.position + 400)
        .unwrap();
    let (mut ring, recovered) = Ring::open(dir.path(), u64::MAX).unwrap();
    assert_eq!((recovered.damaged_segments, recovered.torn_bytes), (1, 0));
    assert_eq!(ring.resume(SOURCE).unwrap().point.next_packet, 15);
    assert_eq!(ring.catalog().unwrap()[0].blocks, 3);
}

#[test]
fn starts_at_one_point_are_counted_until_it_moves() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = one_segment(dir.path());
    model.sync();
    let ring = model.ring();
    let starts = [(); 3].map(|()| ring.resume(SOURCE).unwrap().starts);
    assert_eq!(starts, [1, 2, 3]);
    model.writer = None;
    model.append(1);
    assert_eq!(model.ring().resume(SOURCE).unwrap().starts, 1);
}

#[test]
fn a_lost_manifest_is_made_anew_from_the_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = one_segment(dir.path());
    model.seal();
    model.ring = None;
    fs::remove_file(dir.path().join("manifest.json")).unwrap();
    let (mut ring, _) = Ring::open(dir.path(), u64::MAX).unwrap();
    assert_eq!(
        ring.resume(SOURCE).unwrap().point,
        ResumePoint {
            offset: 1000,
            next_packet: 10
        }
    );
    fs::write(dir.path().join("manifest.json"), "{").unwrap();
    drop(ring);
    assert!(matches!(
        Ring::open(dir.path(), u64::MAX),
        Err(RingError::Manifest { .. })
    ));
}

#[test]
fn two_processes_cannot_have_one_ring() {
    let dir = tempfile::tempdir().unwrap();
    let (_ring, _) = Ring::open(dir.path(), u64::MAX).unwrap();
    assert!(matches!(
        Ring::open(dir.path(), u64::MAX),
        Err(RingError::InUse { .. })
    ));
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = one_segment(dir.path());
    let Some(SealedItem {
        segment,
        body: ItemBody::Block(bytes),
        ..
    }) = model.last.clone()
    else {
        panic!()
    };
    let mut refuse = |segment, bytes: Vec<u8>| {
        let item = SealedItem {
            sequence: 0,
            segment,
            body: ItemBody::Block(bytes),
        };
        assert!(model.ring().append(&item).is_err());
    };
    refuse(SegmentId([0; 16]), bytes.clone());
    refuse(segment, bytes[..bytes.len() - 1].to_vec());
    let mut flipped = bytes.clone();
    flipped[100] ^= 1; // in its header
    refuse(segment, flipped);
    model.append(5);
    model.check();
}

#[test]
fn a_full_disk_is_told_apart_and_may_be_waited_out() {
    let full = RingError::io(Path::new("x"), std::io::ErrorKind::StorageFull.into());
    assert!(matches!(full, RingError::DiskFull { .. }) && full.is_retryable());
    assert_eq!(full.to_string().lines().count(), 2);
}
