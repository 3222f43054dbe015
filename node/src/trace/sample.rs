//! Small segments for tests: of any packets, with keys of their own. Must never be compiled into the node.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use como_anonymize::{Anonymizer, LinkType, build};
use como_keys::mapping::MappingKey;
use como_keys::sealing::Identity;
use como_keys::signing::{Certificate, SigningKey};
use como_policies::AccessLevel;
use proptest::prelude::*;

use super::*;

/// Time of the first packet: 2023-11-14, well inside a day.
pub(crate) const T0: u64 = 1_700_000_000_000_000_000;

/// A sealed segment in memory, and everything that opens it.
#[derive(Clone)]
pub(crate) struct Sample {
    pub bytes: Vec<u8>,
    pub keys: ReadKeys,
    pub identities: Vec<Identity>,
    pub node: SigningKey,
    pub epoch: EpochKeys,
}

/// Keys of a node for tests.
pub(crate) fn node_keys(node: &SigningKey) -> RunKey {
    let signing = SigningKey::generate();
    let certificate = Certificate::issue(node, signing.verifying_key(), RunKey::ROLE, 0, u64::MAX);
    RunKey { signing, certificate }
}

/// Keys of one epoch for tests.
pub(crate) fn epoch_keys(epoch: u32, identities: &[Identity]) -> EpochKeys {
    EpochKeys {
        sealing_epoch: epoch,
        mapping_epoch: epoch / 30,
        recipients: identities.iter().map(Identity::recipient).collect(),
        anonymizer: Arc::new(Anonymizer::new(&MappingKey::generate())),
    }
}

impl Sample {
    pub fn new(retain: Retain, batches: &[PacketBatch]) -> Self {
        Self::build(retain, batches, &[], PART_BLOCKS as u32)
    }

    /// With a part of the index after every `part_blocks` blocks.
    pub fn indexed(retain: Retain, batches: &[PacketBatch], part_blocks: u32) -> Self {
        Self::build(retain, batches, &[], part_blocks)
    }

    pub fn with_gaps(retain: Retain, gaps: &[Gap]) -> Self {
        Self::build(retain, &[batch(0, 3)], gaps, PART_BLOCKS as u32)
    }

    pub fn traffic(retain: Retain, blocks: u64, packets: u64) -> Self {
        let batches: Vec<PacketBatch> = (0..blocks).map(|block| batch(block * packets, packets)).collect();
        Self::build(retain, &batches, &[], PART_BLOCKS as u32)
    }

    pub fn reader(&self) -> SegmentReader {
        SegmentReader::open(self.file_of(&self.bytes))
            .unwrap()
            .with_keys(&self.keys)
            .with_audience(Some(self.epoch.anonymizer.clone()))
    }

    pub fn file_of(&self, bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn build(retain: Retain, batches: &[PacketBatch], gaps: &[Gap], part_blocks: u32) -> Self {
        let node = SigningKey::generate();
        let run = node_keys(&node);
        let identities: Vec<Identity> = (0..3).map(|_| Identity::generate()).collect();
        let epoch = epoch_keys(19_675, &identities);
        let plan = SegmentPlan {
            node: "spiffe://test/node".to_owned(),
            source: SourceId([3; 16]),
            source_description: "sample".to_owned(),
            retain,
            link: 1,
            first_ns: T0,
            created_ns: T0,
        };
        let (sealer, start) = SegmentStart::new(plan, &epoch, &run).unwrap().split();
        let (mut bytes, mut ledger) = start.open(None);
        let mut at = BlockPosition {
            number: 0,
            sequence: 1,
        };
        for batch in batches {
            if at.number % (part_blocks + 1) == part_blocks {
                bytes.extend_from_slice(&ledger.seal_index(at, ResumePoint::default(), false).unwrap());
                at.number += 1;
            }
            let view = build(
                AccessLevel::Anonymized,
                LinkType(batch.link),
                batch.packets(),
                Some(&epoch.anonymizer),
            );
            let header_len: Vec<u32> = batch
                .packets()
                .map(|p| como_anonymize::dissect(p.link, p.data).header_len as u32)
                .collect();
            let parts = BlockParts {
                columns: &view.columns,
                templates: &FrameTemplates::of_view(&view),
                header_len: &header_len,
            };
            let block = sealer
                .seal_packets(at, batch, &parts, Vec::new(), &mut SealScratch::default())
                .unwrap();
            ledger.add(&block);
            bytes.extend_from_slice(&block.bytes);
            at = BlockPosition {
                number: at.number + 1,
                sequence: at.sequence + 1,
            };
        }
        if !gaps.is_empty() {
            let block = sealer.seal_gaps(at, ResumePoint::default(), gaps).unwrap();
            ledger.add(&block);
            bytes.extend_from_slice(&block.bytes);
            at.number += 1;
        }
        bytes.extend_from_slice(&ledger.seal_index(at, ResumePoint::default(), true).unwrap());
        bytes.extend_from_slice(&ledger.close(EndReason::Stop).0);
        let reader = SegmentReader::open({
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            file
        });
        let keys = reader
            .unwrap()
            .header()
            .unwrap_keys(|section| identities.get(section as usize))
            .unwrap();
        Self {
            bytes,
            keys,
            identities,
            node,
            epoch,
        }
    }
}

/// Makes a segment file one of another format version, signed as such by a key of its own.
pub(crate) fn set_version(path: &std::path::Path, version: u16) {
    let bytes = std::fs::read(path).unwrap();
    let frame = super::frame::HEADER.read(&bytes, 0).unwrap();
    let message = como_capnp::read_message(frame.payload).unwrap();
    let header = message
        .get_root::<como_capnp::trace_capnp::segment_header::Reader<'_>>()
        .unwrap();
    let mut changed = capnp::message::Builder::new_default();
    changed.set_root(header).unwrap();
    changed
        .get_root::<como_capnp::trace_capnp::segment_header::Builder<'_>>()
        .unwrap()
        .set_version(version);
    let payload = como_capnp::write_message(&changed);
    let written = super::frame::HEADER.write(&payload, &SigningKey::generate());
    std::fs::write(path, [&written, &bytes[frame.bytes..]].concat()).unwrap();
}

/// A batch of UDP packets over IPv4, numbered from `first`.
pub(crate) fn batch(first: u64, packets: u64) -> PacketBatch {
    let mut batch = PacketBatch::new(1, first, 4096);
    for number in first..first + packets {
        let data = udp(number);
        batch.push(T0 + number * 1_234_567, data.len() as u32, &data);
    }
    batch.offset_after = (first + packets) * 100;
    batch
}

/// A UDP packet that differs with its number.
pub(crate) fn udp(number: u64) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let payload = number.to_be_bytes();
    frame.extend_from_slice(&[
        0x45,
        0,
        0,
        28 + payload.len() as u8,
        0,
        number as u8,
        0,
        0,
        64,
        17,
        0,
        0,
    ]);
    frame.extend_from_slice(&[10, 0, 0, number as u8, 93, 184, 216, 34]);
    frame.extend_from_slice(&[0x80, number as u8, 0, 53, 0, 8 + payload.len() as u8, 0, 0]);
    frame.extend_from_slice(&payload);
    frame
}

/// The same packet inside VXLAN.
pub(crate) fn vxlan(number: u64) -> Vec<u8> {
    let carried = [&[8, 0, 0, 0, 0, 0, number as u8, 0][..], &udp(number)].concat();
    let mut frame = vec![2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 4, 8, 0];
    frame.extend_from_slice(&[0x45, 0, 0, 28 + carried.len() as u8, 0, 1, 0, 0, 64, 17, 0, 0]);
    frame.extend_from_slice(&[10, 9, 0, 1, 10, 9, 0, 2]);
    frame.extend_from_slice(&[
        0x90,
        number as u8,
        0x12,
        0xb5,
        0,
        8 + carried.len() as u8,
        0x12,
        0x34,
    ]);
    frame.extend_from_slice(&carried);
    frame
}

/// The parts of a batch: link type, and time, wire length and bytes of each packet. Printable, as a batch
/// must not be.
pub(crate) type Parts = (u32, Vec<(u64, u32, Vec<u8>)>);

/// The batch of its parts.
pub(crate) fn batch_of((link, packets): &Parts) -> PacketBatch {
    let mut batch = PacketBatch::new(*link, 0, 1024);
    for (after, wire_len, data) in packets {
        batch.push(T0 + after, *wire_len, data);
    }
    batch
}

/// Any batch: real-looking packets, in a tunnel too, noise, empty ones, captured longer than the wire says, out of order,
/// of any link type.
pub(crate) fn parts() -> impl Strategy<Value = Parts> {
    let cut = |(number, cut): (u64, usize)| udp(number).into_iter().take(cut).collect();
    let data = prop_oneof![
        3 => any::<u64>().prop_map(udp),
        2 => any::<u64>().prop_map(vxlan),
        2 => (any::<u64>(), 0usize..40).prop_map(cut),
        1 => prop::collection::vec(any::<u8>(), 0..300),
        1 => (any::<u64>(), prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(n, tail)| [udp(n), tail].concat()),
    ];
    let packet = (0u64..86_000_000_000_000, any::<u32>(), data);
    (
        prop::sample::select(vec![1u32, 1, 0, 9, 101, 105, 113, 276]),
        prop::collection::vec(packet, 0..12),
    )
}
