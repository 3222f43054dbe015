//! Ingest of a capture file to sealed blocks in memory, all sections kept: what capture costs a packet,
//! without a disk. Prints wall and core nanoseconds per packet, and sealed bytes per captured byte.
//!
//! `cargo bench -p como-tests --bench ingest [-- FILE.pcap]`

use std::fs::File;
use std::io::{Seek, Write};
use std::sync::Arc;
use std::time::Instant;

use como_anonymize::Anonymizer;
use como_keys::mapping::MappingKey;
use como_keys::sealing::Identity;
use como_keys::signing::{Certificate, SigningKey};
use como_node::capture::pipeline::{Pipeline, PipelineConfig, Snapshot};
use como_node::capture::source::{FileSource, Pace};
use como_node::trace::{EpochKeys, ResumePoint, Retain, RunKey};
use como_tests::generate::Traffic;

const ROUNDS: usize = 5;
const GENERATED_PACKETS: usize = 400_000;

fn main() {
    let mut file = match std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
    {
        Some(path) => File::open(path).expect("the capture opens"),
        None => generated(),
    };
    for retain in [Retain::Anonymized, Retain::Headers, Retain::Payload] {
        let mut best = (f64::MAX, f64::MAX, Snapshot::default());
        for _ in 0..ROUNDS {
            file.rewind().expect("the capture is a file");
            let (wall, cpu) = (Instant::now(), cpu_s());
            let counters = ingest(file.try_clone().expect("a descriptor"), retain);
            let round = (wall.elapsed().as_secs_f64(), cpu_s() - cpu, counters);
            if round.0 < best.0 {
                best = round;
            }
        }
        let (wall, cpu, counters) = best;
        let packets = counters.stored_packets as f64;
        println!(
            "retain {retain:?}: {:.0} packets/s, {:.0} ns wall and {:.0} core-ns a packet, {:.3} sealed bytes a captured byte",
            packets / wall,
            wall * 1e9 / packets,
            cpu * 1e9 / packets,
            counters.sealed_bytes as f64 / counters.stored_bytes as f64,
        );
    }
}

fn ingest(file: File, retain: Retain) -> Snapshot {
    let node = SigningKey::generate();
    let signing = SigningKey::generate();
    let certificate = Certificate::issue(&node, signing.verifying_key(), RunKey::ROLE, 0, u64::MAX);
    let identities: Vec<Identity> = (0..3).map(|_| Identity::generate()).collect();
    let anonymizer = Arc::new(Anonymizer::new(&MappingKey::generate()));
    let epoch_keys = Box::new(move |epoch: u32| {
        let recipients = identities.iter().map(Identity::recipient).collect();
        Ok(EpochKeys {
            sealing_epoch: epoch,
            mapping_epoch: epoch / 30,
            recipients,
            anonymizer: anonymizer.clone(),
        })
    });
    let mut identity = file.try_clone().expect("a descriptor");
    let source_id = FileSource::id("bench", &mut identity).expect("the capture reads");
    let source =
        FileSource::new("bench", file, ResumePoint::default(), Pace::Fast).expect("the capture reads");
    let config = PipelineConfig {
        retain,
        ..PipelineConfig::new("spiffe://bench/node", source_id, "bench")
    };
    let mut pipeline = Pipeline::start(
        config,
        RunKey { signing, certificate },
        Box::new(source),
        epoch_keys,
        None,
    );
    let (items, storage) = (pipeline.take_items(), pipeline.acknowledger());
    items
        .iter()
        .for_each(|item| storage.give_back(item.body.into_bytes()));
    let counters = pipeline.counters();
    pipeline.join().expect("the capture is sealed");
    counters
}

fn generated() -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    let traffic = Traffic {
        packets: GENERATED_PACKETS,
        ..Traffic::default()
    };
    let mut bytes = Vec::new();
    traffic.write_pcap(&mut bytes).expect("memory takes the capture");
    file.write_all(&bytes).expect("the disk takes the capture");
    file
}

/// CPU seconds of this process, all threads, ended ones too.
fn cpu_s() -> f64 {
    const TICKS_PER_S: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has /proc");
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = |at: usize| {
        after_name
            .split_whitespace()
            .nth(at)
            .and_then(|ticks| ticks.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (field(11) + field(12)) / TICKS_PER_S
}
