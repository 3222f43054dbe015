//! The promise of passing over blocks: a module over the past stores the same rows, bit by bit, whether blocks that its
//! own filter passes nothing of are read or passed over.

use std::sync::mpsc::sync_channel;

use como_anonymize::columns::Column;
use como_anonymize::filter::{Filter, Names};
use como_keys::mapping::MappingKey;
use como_keys::signing::SigningKey;
use como_modules::{AdmittedModule, IntervalRows, IntervalRunner, Manifest, SignedModule, VerifiedModule};
use como_policies::{AccessLevel, Window};
use proptest::prelude::*;

use super::request::Request;
use super::{MAX_WAITING_RUNS, Output, Part, blocks};
use crate::feed::{self, Feed};
use crate::trace::Retain;
use crate::trace::sample::{Parts, Sample, T0, batch_of, parts};
use crate::wire::down;

const SECOND_NS: u64 = 1_000_000_000;
/// Times of the packets of [`parts`], ns after T0.
const SPAN_NS: u64 = 86_000 * SECOND_NS;

/// A row per interval, empty ones too: how many packets there were, and calls of `update`.
const COUNTER: &str = r#"(module (memory (export "memory") 2 2) (global $n (mut i64) (i64.const 0))
    (func (export "como_abi") (result i32) i32.const 1)
    (func (export "como_arena") (result i32) i32.const 1024)
    (func (export "como_output") (result i32) i32.const 65536)
    (func (export "init") (param i32) (result i32) i32.const 0)
    (func (export "update") (param i32) (result i32)
        (global.set $n (i64.add (global.get $n)
            (i64.add (i64.const 0x100000000) (i64.extend_i32_u (local.get 0))))) i32.const 0)
    (func (export "store") (result i32)
        (i32.store (i32.const 65536) (i32.const 1))
        (i64.store (i32.const 65552) (global.get $n))
        (global.set $n (i64.const 0)) i32.const 32))"#;

fn module(filter: &str, level: AccessLevel, interval_ns: u64) -> AdmittedModule {
    let toml = format!(
        "name = \"counter\"\nversion = \"1\"\nrelease = 1\ndescription = \"counts\"\nfilter = \"{filter}\"\n\
         level = \"{level}\"\noutput_level = \"{level}\"\ninterval_ms = {}\nmemory_kib = 128\ncolumns = [\"wire_len\"]\n\
         [[schema]]\nname = \"n\"\nkind = \"u64\"\ndescription = \"n\"\nmerge = \"sum\"\n",
        interval_ns / 1_000_000
    );
    let manifest = Manifest::from_toml(&toml, "spiffe://test/developer", u64::MAX).unwrap();
    let wasm = wat::parse_str(COUNTER).unwrap();
    let signed = SignedModule::sign(&manifest, &wasm, &SigningKey::generate()).unwrap();
    VerifiedModule::from_supervisor(&signed).unwrap().admit().unwrap()
}

/// What a run gives: rows with everything that is known of their intervals, and packets that were offered to the filter.
#[derive(Debug, PartialEq)]
struct Outcome {
    intervals: Vec<IntervalRows>,
    packets: u64,
}

/// The run of a module over a folder of segments, and how many packets were read for it. `pruned`: its filter is looked up
/// in the index.
fn run(
    folder: &std::path::Path,
    samples: &[(String, &Sample)],
    module: &AdmittedModule,
    window: Window,
    audience: &MappingKey,
    index_filter: Option<&str>,
) -> (Outcome, usize) {
    let manifest = module.manifest();
    let request = down(|down| {
        let mut start = down.init_start_reader();
        start.set_directory(folder.to_string_lossy().as_ref());
        start.set_from_ns(window.from_ns);
        start.set_to_ns(window.to_ns);
        start.set_view_level(manifest.level.as_u8());
        // The asker may see less than the module does; what is left out depends on the module alone.
        start.set_ask_level(AccessLevel::Coarse.as_u8());
        let columns = manifest.looked_at();
        let mut list = start.reborrow().init_columns(columns.len() as u32);
        (0u32..)
            .zip(&columns)
            .for_each(|(i, column)| list.set(i, column.id()));
        let mut segments = start.reborrow().init_segments(samples.len() as u32);
        for (i, (file, sample)) in (0u32..).zip(samples) {
            let mut to = segments.reborrow().get(i);
            to.set_file(file);
            let keys = [&sample.keys.a, &sample.keys.r, &sample.keys.p].map(|key| key.as_ref().unwrap());
            to.set_key_a(keys[0].expose());
            to.set_key_r(keys[1].expose());
            to.set_key_p(keys[2].expose());
        }
        let mut to = start.reborrow().init_audiences(1).get(0);
        to.set_audience("project");
        to.set_key(audience.expose());
        if let Some(filter) = index_filter {
            start.set_interval_ns(manifest.interval_ns);
            start.init_index_filters(1).get(0).set_filter(filter);
        }
    });
    let request = Request::read(&request).unwrap();
    assert!(request.sent.contains(&Column::TsNs));
    let instance = module.instantiate(&[]).unwrap();
    let mut runner = IntervalRunner::new(instance, module.filter().clone(), window.from_ns, window.to_ns);
    let (sender, parts) = sync_channel(MAX_WAITING_RUNS);
    let (mut intervals, mut packets, mut read) = (Vec::new(), 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let all: Vec<usize> = (0..request.segments.len()).collect();
            blocks::read(&request, &all, &sender);
            drop(sender);
        });
        for part in parts {
            let Part::Run(outputs, _, totals) = part.recv().unwrap() else {
                panic!("packets are read, and nothing fails")
            };
            packets += totals.packets;
            for output in outputs {
                let Output::Message(message) = output else {
                    panic!("a module gets packets")
                };
                let mut emit = |rows| intervals.push(rows);
                match feed::decode(&message).unwrap() {
                    Feed::View(view, _) => {
                        read += view.len();
                        runner.push(&view, None, &mut emit).unwrap();
                    }
                    Feed::Passed { now_ns, .. } => runner.advance(now_ns, &mut emit).unwrap(),
                    Feed::Gap(gap) => runner.gap(gap.from_ns, gap.to_ns),
                    Feed::Tick(_) | Feed::Rows { .. } | Feed::Piece(_) | Feed::End => {
                        panic!("not of a block")
                    }
                }
            }
        }
    });
    runner
        .finish(window.to_ns, &mut |rows| intervals.push(rows))
        .unwrap();
    (Outcome { intervals, packets }, read)
}

/// Segments of these batches, in a folder.
fn stored(segments: &[Vec<Parts>]) -> (tempfile::TempDir, Vec<(String, Sample)>) {
    let folder = tempfile::tempdir().unwrap();
    let samples = segments.iter().enumerate().map(|(number, batches)| {
        let batches: Vec<_> = batches.iter().map(batch_of).collect();
        let sample = Sample::indexed(Retain::Payload, &batches, 2);
        let file = format!("{number}.seg");
        std::fs::write(folder.path().join(&file), &sample.bytes).unwrap();
        (file, sample)
    });
    let samples = samples.collect();
    (folder, samples)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Whatever the traffic, its order, the filter, the level, the interval and the window.
    #[test]
    fn a_module_stores_the_same_whether_blocks_are_read_or_passed_over(
        segments in prop::collection::vec(prop::collection::vec(parts(), 1..6), 1..3),
        filter in prop::sample::select(vec![
            "udp", "tcp", "port 53", "src port 32770", "not udp", "vxlan", "len > 100 and udp", "net 10.0.0.0/30", "ip6",
        ]),
        level in prop::sample::select(vec![AccessLevel::Anonymized, AccessLevel::Headers, AccessLevel::Payload]),
        interval_ns in prop::sample::select(vec![7 * SECOND_NS, 60 * SECOND_NS, 10_000 * SECOND_NS]),
        span in (0..SPAN_NS, 0..SPAN_NS),
        everything: bool,
    ) {
        let (folder, samples) = stored(&segments);
        let audience = MappingKey::from_bytes(&[9; 32]);
        let ms = |ns: u64| ns - ns % 1_000_000;
        let window = match everything {
            true => Window::new(T0 - ms(T0 % interval_ns), T0 + 90_000 * SECOND_NS),
            false => Window::new(T0 + ms(span.0), T0 + ms(span.0 + span.1) + 1_000_000),
        }
        .unwrap();
        let module = module(filter, level, interval_ns);
        // Each sample has pseudonyms of its own: one that a filter names can be looked up in one segment alone.
        let names_hosts = filter.contains("net");
        let samples: Vec<_> = samples.iter().take(if names_hosts { 1 } else { 2 }).map(|(f, s)| (f.clone(), s)).collect();
        let shown = como_anonymize::Anonymizer::new(&audience);
        let names = match level {
            AccessLevel::Anonymized => Names::Audience(&shown),
            _ => Names::Real(&samples[0].1.epoch.anonymizer),
        };
        let index = Filter::parse(filter).unwrap().under_node(names).unwrap().canonical();
        let run = |index: Option<&str>| run(folder.path(), &samples, &module, window, &audience, index);
        let (read, all) = run(None);
        let (passed, fewer) = run(Some(&index));
        prop_assert_eq!(passed, read);
        prop_assert!(fewer <= all);
    }
}

/// Blocks of one minute, of which one in ten holds what the module counts.
#[test]
fn blocks_of_which_nothing_passes_are_not_read() {
    let minute = |number: u64| -> Parts {
        let wire_len = if number.is_multiple_of(10) { 300 } else { 100 };
        let packet = |packet: u64| {
            let after = (number * 60 + packet) * SECOND_NS;
            (after, wire_len, crate::trace::sample::udp(packet))
        };
        (1, (0..10).map(packet).collect())
    };
    let (folder, samples) = stored(&[(0..50).map(minute).collect(), (50..100).map(minute).collect()]);
    let samples: Vec<_> = samples
        .iter()
        .map(|(file, sample)| (file.clone(), sample))
        .collect();
    let window = Window::new(T0, T0 + 100 * 60 * SECOND_NS).unwrap();
    let module = module("len > 200", AccessLevel::Headers, SECOND_NS);
    let audience = MappingKey::from_bytes(&[9; 32]);
    let index = |pruned: bool| pruned.then_some("len > 200");
    let run = |pruned| run(folder.path(), &samples, &module, window, &audience, index(pruned));
    let ((read, all), (passed, fewer)) = (run(false), run(true));
    assert_eq!(read.packets, 1000);
    assert_eq!(read.intervals.iter().map(|i| i.packets).sum::<u64>(), 100);
    assert_eq!((all, fewer), (1000, 100));
    assert_eq!(passed, read);
}
