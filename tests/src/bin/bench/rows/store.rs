//! What the size of a block costs: sealing it, the bytes that it takes, reading it whole and reading two of its column
//! groups. One core, in memory but for the file that is read. The size that capture uses was chosen by these rows.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;

use como_anonymize::{Anonymizer, LinkType, build, dissect};
use como_keys::mapping::MappingKey;
use como_keys::sealing::Identity;
use como_keys::signing::{Certificate, SigningKey};
use como_node::trace::{
    BlockKind, BlockParts, BlockPosition, ColumnGroup, EndReason, EpochKeys, FrameTemplates, GroupSet,
    PacketBatch, ResumePoint, Retain, RunKey, SealScratch, Sections, SegmentPlan, SegmentReader,
    SegmentStart, SourceId, Wanted,
};
use como_policies::AccessLevel;

use super::Bench;
use crate::measure::thread_cpu_s;
use crate::row::{Aim, Figure, Row};
use crate::trace::Packets;

/// Names of these rows, and the captured bytes of their blocks.
const SIZES: [(&str, usize); 5] = [
    ("sealing, blocks of 32 KiB", 32 << 10),
    ("sealing, blocks of 64 KiB", 64 << 10),
    ("sealing, blocks of 128 KiB", 128 << 10),
    ("sealing, blocks of 256 KiB", 256 << 10),
    ("sealing, blocks of 512 KiB", 512 << 10),
];
pub const NAMES: &[&str] = &[SIZES[0].0, SIZES[1].0, SIZES[2].0, SIZES[3].0, SIZES[4].0];

/// Packets that are sealed.
const PACKETS: usize = 200_000;
/// How often a segment is read whole, and of two column groups: the system counts processor time in steps of milliseconds.
const PASSES: [u32; 2] = [4, 64];
/// Time from a packet to the next: the trace's own times do not matter here.
const STEP_NS: u64 = 10_000;
const START_NS: u64 = 1_700_000_000_000_000_000;

/// Core-nanoseconds a packet, and stored bytes per captured byte.
struct Costs {
    seal_ns: f64,
    whole_ns: f64,
    two_groups_ns: f64,
    share: f64,
}

pub fn rows(bench: &Bench) -> Vec<Row> {
    let packets = bench.trace.load(PACKETS);
    let row = |(name, block_bytes): (&'static str, usize)| {
        let costs = packets.as_ref().map_err(Clone::clone).and_then(|packets| {
            // The least of the rounds: other work only adds.
            let rounds = (0..bench.rounds).map(|_| costs(packets, block_bytes));
            let rounds = rounds.collect::<Result<Vec<_>, String>>()?;
            let least = |of: fn(&Costs) -> f64| rounds.iter().map(of).fold(f64::INFINITY, f64::min);
            Ok(Costs {
                seal_ns: least(|costs| costs.seal_ns),
                whole_ns: least(|costs| costs.whole_ns),
                two_groups_ns: least(|costs| costs.two_groups_ns),
                share: least(|costs| costs.share),
            })
        });
        let note = costs.as_ref().map_or_else(String::clone, |costs| {
            format!(
                "{:.3} bytes stored per byte captured, all sections; {:.0} core-ns a packet to open all of it, {:.1} to open times and lengths",
                costs.share, costs.whole_ns, costs.two_groups_ns
            )
        });
        let ours: Figure = costs.map(|costs| costs.seal_ns);
        Row {
            name,
            ours,
            unit: "core-ns/packet",
            peer: None,
            aim: Aim::Report,
            note,
        }
    };
    SIZES.into_iter().map(row).collect()
}

fn costs(packets: &Packets, block_bytes: usize) -> Result<Costs, String> {
    let say = |e: &dyn std::fmt::Display| e.to_string();
    let node = SigningKey::generate();
    let signing = SigningKey::generate();
    let certificate = Certificate::issue(&node, signing.verifying_key(), RunKey::ROLE, 0, u64::MAX);
    let run = RunKey { signing, certificate };
    let identities: Vec<Identity> = (0..3).map(|_| Identity::generate()).collect();
    let epoch = EpochKeys {
        sealing_epoch: 19_675,
        mapping_epoch: 655,
        recipients: identities.iter().map(Identity::recipient).collect(),
        anonymizer: Arc::new(Anonymizer::new(&MappingKey::generate())),
    };
    let plan = SegmentPlan {
        node: "spiffe://trial.example/observatory/node".into(),
        source: SourceId([0; 16]),
        source_description: "benchmark".into(),
        retain: Retain::Payload,
        link: packets.link.0,
        created_ns: START_NS,
        first_ns: START_NS,
    };
    let (sealer, start) = SegmentStart::new(plan, &epoch, &run)
        .map_err(|e| say(&e))?
        .split();
    let (mut bytes, mut ledger) = start.open(None);
    let (mut at, mut scratch, mut seal_s) = (position(0), SealScratch::default(), 0.0);
    let mut spare = Vec::new();
    for batch in batches(packets, block_bytes) {
        let anonymizer = Some(&*epoch.anonymizer);
        let view = build(
            AccessLevel::Anonymized,
            LinkType(batch.link),
            batch.packets(),
            anonymizer,
        );
        let header_len: Vec<u32> = batch
            .packets()
            .map(|packet| dissect(packet.link, packet.data).header_len as u32)
            .collect();
        let parts = BlockParts {
            columns: &view.columns,
            templates: &FrameTemplates::of_view(&view),
            header_len: &header_len,
        };
        let before = thread_cpu_s();
        let block = sealer
            .seal_packets(at, &batch, &parts, spare, &mut scratch)
            .map_err(|e| say(&e))?;
        seal_s += thread_cpu_s() - before;
        ledger.add(&block);
        bytes.extend_from_slice(&block.bytes);
        spare = block.bytes;
        at = position(at.number + 1);
    }
    let index = ledger
        .seal_index(at, ResumePoint::default(), true)
        .map_err(|e| say(&e))?;
    bytes.extend_from_slice(&index);
    bytes.extend_from_slice(&ledger.close(EndReason::Stop).0);
    let reader = opened(&bytes, &identities)?;
    let time_and_size = GroupSet::NONE.with(ColumnGroup::Time).with(ColumnGroup::Size);
    let count = packets.len() as f64;
    let captured: usize = packets.iter().map(<[u8]>::len).sum();
    Ok(Costs {
        seal_ns: seal_s * 1e9 / count,
        whole_ns: reading_s(&reader, None, PASSES[0])? * 1e9 / count,
        two_groups_ns: reading_s(&reader, Some(time_and_size), PASSES[1])? * 1e9 / count,
        share: bytes.len() as f64 / captured as f64,
    })
}

fn position(number: u32) -> BlockPosition {
    BlockPosition {
        number,
        sequence: u64::from(number) + 1,
    }
}

fn batches(packets: &Packets, block_bytes: usize) -> Vec<PacketBatch> {
    let mut batches: Vec<PacketBatch> = Vec::new();
    for (number, data) in (0u64..).zip(packets.iter()) {
        if batches
            .last()
            .is_none_or(|batch| batch.bytes.len() >= block_bytes)
        {
            batches.push(PacketBatch::new(packets.link.0, number, block_bytes));
        }
        if let Some(batch) = batches.last_mut() {
            batch.push(START_NS + number * STEP_NS, data.len() as u32, data);
        }
    }
    batches
}

fn opened(bytes: &[u8], identities: &[Identity]) -> Result<SegmentReader, String> {
    let mut file = tempfile::tempfile().map_err(|e| e.to_string())?;
    file.write_all(bytes).map_err(|e| e.to_string())?;
    let again = |file: &File| SegmentReader::open(file.try_clone()?);
    let reader = again(&file).map_err(|e| e.to_string())?;
    let keys = reader
        .header()
        .unwrap_keys(|section| identities.get(section as usize));
    Ok(reader.with_keys(&keys.map_err(|e| e.to_string())?))
}

/// Processor time of reading all blocks once, of the chosen column groups or whole.
fn reading_s(reader: &SegmentReader, groups: Option<GroupSet>, passes: u32) -> Result<f64, String> {
    /// Bytes that are read at once where little of a block is wanted.
    const FIRST_BYTES: u64 = 6 << 10;
    let blocks: Vec<_> = reader.blocks().flatten().collect();
    let mut sections = Sections::default();
    let packets = blocks
        .iter()
        .filter(|block| block.header.kind == BlockKind::Packets);
    let before = thread_cpu_s();
    for block in (0..passes).flat_map(|_| packets.clone()) {
        let bytes = groups.map_or(block.header.total_bytes(), |_| FIRST_BYTES);
        let block = reader
            .block_in(&mut sections, block.position, bytes)
            .map_err(|e| e.to_string())?;
        let read = match groups {
            None => reader
                .captured(&mut sections, &block)
                .map(|captured| captured.len()),
            Some(groups) => {
                let wanted = Wanted::all(AccessLevel::Anonymized, groups);
                reader
                    .view_in(&mut sections, &block, &wanted)
                    .map(|view| view.len())
            }
        };
        black_box(read.map_err(|e| e.to_string())?);
    }
    Ok((thread_cpu_s() - before) / f64::from(passes))
}
