//! Local runs against counts taken by hand, with guests written as text.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use como_anonymize::{Anonymizer, LinkType};
use como_dataset::Value;
use como_keys::mapping::MappingKey;
use como_modules::{AdmittedModule, FaultKind, IntervalRows, Manifest};
use como_policies::AccessLevel;
use como_savefile::{End, Reader};

use super::{Sight, bench, each, load, module, run};

const SECOND_NS: u64 = 1_000_000_000;
/// Bytes of a frame: Ethernet, IPv4, UDP, 8 bytes of payload.
const FRAME_BYTES: u32 = 50;

/// A classic pcap of nanoseconds: UDP packets from these addresses (last bytes) at these times.
fn capture(packets: &[(u64, u8)]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_3c4d, 0x0004_0002, 0, 0, 262_144, LinkType::ETHERNET.0] {
        file.extend_from_slice(&u32::to_le_bytes(word));
    }
    for (ts_ns, host) in packets {
        let (s, ns) = (ts_ns / SECOND_NS, ts_ns % SECOND_NS);
        for word in [s as u32, ns as u32, FRAME_BYTES, FRAME_BYTES] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
        let mut ip = [
            0x45, 0, 0, 36, 0, 0, 0, 0, 64, 17, 0, 0, 198, 51, 100, *host, 203, 0, 113, 1,
        ];
        let sum: u32 = ip
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
            .sum();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        file.extend_from_slice(&ip);
        file.extend_from_slice(&[4, 0, 0, 53, 0, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }
    file
}

/// Counts packets whose length stands in the arena, if they are as many as `update` is told; a row per interval. Gives
/// up with a code when an interval holds more than the argument says.
const COUNTER: &str = r#"(module (memory (export "memory") 2 2) (global $n (mut i64) (i64.const 0))
    (global $most (mut i64) (i64.const 0))
    (func (export "como_abi") (result i32) i32.const 1)
    (func (export "como_arena") (result i32) i32.const 1024)
    (func (export "como_output") (result i32) i32.const 65536)
    (func (export "init") (param i32) (result i32)
        (global.set $most (i64.load (i32.const 1088))) i32.const 0)
    (func (export "update") (param i32) (result i32) (local $i i32)
        (loop $next
            (global.set $n (i64.add (global.get $n)
                (i64.extend_i32_u (i32.eq (i32.const 50)
                    (i32.load (i32.add (i32.const 1088) (i32.mul (i32.const 4) (local.get $i))))))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $i) (local.get 0))))
        (if (result i32) (i64.gt_u (global.get $n) (global.get $most))
            (then i32.const 77) (else i32.const 0)))
    (func (export "store") (result i32)
        (i32.store (i32.const 65536) (i32.const 1))
        (i64.store (i32.const 65552) (global.get $n))
        (global.set $n (i64.const 0)) i32.const 32))"#;

/// The command line's cases run the same guest.
#[test]
fn the_guest_of_the_command_line_cases_is_that_of_the_text() {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cmd/module.in/counter.wasm");
    assert_eq!(fs::read(fixture).unwrap(), wat::parse_str(COUNTER).unwrap());
}

fn manifest(filter: &str, interval_ms: u64, level: &str) -> Manifest {
    let toml = format!(
        r#"
        name = "counter"
        version = "1"
        release = 1
        description = "counts"
        filter = "{filter}"
        level = "{level}"
        output_level = "{level}"
        interval_ms = {interval_ms}
        memory_kib = 128
        columns = ["wire_len"]
        [[schema]]
        name = "packets"
        kind = "u64"
        description = "packets"
        merge = "sum"
        [[args]]
        name = "most"
        default = 1000
        min = 0
        max = 1000
        description = "most packets of an interval"
        "#
    );
    Manifest::from_toml(&toml, "spiffe://c/o/d", u64::MAX).unwrap()
}

fn counter(filter: &str, interval_ms: u64, level: &str) -> AdmittedModule {
    let wasm = wat::parse_str(COUNTER).unwrap();
    module::admit(&manifest(filter, interval_ms, level), &wasm).unwrap()
}

fn key() -> Anonymizer {
    Anonymizer::new(&MappingKey::from_bytes(&[9; 32]))
}

fn sight(anonymizer: &Anonymizer) -> Sight<'_> {
    Sight {
        anonymizer: Some(anonymizer),
        networks: None,
    }
}

fn row(interval: &IntervalRows) -> (u64, u64) {
    match interval.rows.columns[0].value(0) {
        Value::U64(packets) => (interval.interval_start_ns / SECOND_NS, packets),
        _ => panic!("the schema says u64"),
    }
}

#[test]
fn rows_are_those_of_a_count_by_hand() {
    let at = |s: u64, rest: u64| s * SECOND_NS + rest;
    let file = capture(&[
        (at(100, 5), 1),
        (at(100, 900_000_000), 2),
        (at(101, 0), 1),
        (at(103, 999_999_999), 3),
        (at(104, 1), 1),
    ]);
    let mut rows = Vec::new();
    let module = counter("", 1000, "anonymized");
    let report = run(
        &module,
        &[],
        Reader::new(&file[..]).unwrap(),
        sight(&key()),
        None,
        &mut |interval| {
            rows.push((row(interval), interval.complete));
        },
    )
    .unwrap();
    let expected = [
        // The capture's first and last intervals may have had more before and after it; empty ones are rows too.
        ((100, 2), true),
        ((101, 1), true),
        ((102, 0), true),
        ((103, 1), true),
        ((104, 1), false),
    ];
    // The first packet's time is floored to the level's grain of 1 ms, which is the start of its interval here.
    assert_eq!(rows, expected);
    assert_eq!(
        (report.seen.packets, report.usage.packets, report.usage.rows),
        (5, 5, 5)
    );
    assert_eq!((report.intervals, report.cut, report.fault), (5, 1, None));
    assert_eq!((report.seen.end, report.seen.denied.len()), (End::Clean, 0));
    assert!(report.usage.fuel > 0 && report.usage.memory_bytes == 128 << 10);
}

#[test]
fn the_manifests_filter_and_arguments_count() {
    let file = capture(&[(SECOND_NS, 1), (SECOND_NS + 1, 2), (SECOND_NS + 2, 3)]);
    let open = || Reader::new(&file[..]).unwrap();
    let none = counter("tcp", 1000, "headers");
    let report = run(&none, &[], open(), sight(&key()), None, &mut |_| ()).unwrap();
    assert_eq!((report.seen.packets, report.usage.packets), (3, 0));

    let module = counter("udp and src host 198.51.100.2", 1000, "headers");
    let mut rows = Vec::new();
    run(&module, &[], open(), sight(&key()), None, &mut |interval| {
        rows.push(row(interval))
    })
    .unwrap();
    assert_eq!(rows, [(1, 1)]);

    let most = |most| [("most".to_owned(), most)];
    let module = counter("", 1000, "headers");
    let report = run(&module, &most(2), open(), sight(&key()), None, &mut |_| ()).unwrap();
    let fault = report.fault.expect("three packets are more than two");
    assert_eq!(fault.kind, FaultKind::GaveUp(77));
    assert_eq!(fault.module, module.hash_hex());
    assert!(
        run(&module, &most(3), open(), sight(&key()), None, &mut |_| ())
            .unwrap()
            .fault
            .is_none()
    );
    let refused = run(&module, &most(1001), open(), sight(&key()), None, &mut |_| ()).unwrap_err();
    assert_eq!(refused.exit() as u8, 2, "{refused}");
}

#[test]
fn hours_of_coarse_show_what_ten_sources_share() {
    let hour_ns = 3600 * SECOND_NS;
    let hosts = |hour: u64, many: u8| (1..=many).map(move |host| (hour * hour_ns + u64::from(host), host));
    let packets: Vec<(u64, u8)> = hosts(10, 12).chain(hosts(11, 3)).collect();
    let file = capture(&packets);
    let mut views = Vec::new();
    let seen = each(
        Reader::new(&file[..]).unwrap(),
        AccessLevel::Coarse,
        sight(&key()),
        &mut |view| {
            views.push(view);
            ControlFlow::Continue(())
        },
    )
    .unwrap();
    assert_eq!((seen.packets, seen.end_ns), (15, 12 * hour_ns));
    let rows: Vec<(u64, usize)> = views
        .iter()
        .map(|v| (v.columns.ts_ns[0] / hour_ns, v.len()))
        .collect();
    // Twelve flows that twelve sources share; three that are one row with the reason.
    assert_eq!(rows, [(10, 12), (11, 1)]);
    assert!(views.iter().all(|view| view.level == AccessLevel::Coarse));

    let report = run(
        &counter("", 3_600_000, "coarse"),
        &[],
        Reader::new(&file[..]).unwrap(),
        sight(&key()),
        None,
        &mut |_| (),
    )
    .unwrap();
    assert_eq!((report.usage.packets, report.intervals, report.cut), (13, 2, 0));
}

#[test]
fn a_cut_capture_counts_up_to_the_cut() {
    let mut file = capture(&[(SECOND_NS, 1), (SECOND_NS, 2)]);
    file.truncate(file.len() - 10);
    let module = counter("", 1000, "anonymized");
    let report = run(
        &module,
        &[],
        Reader::new(&file[..]).unwrap(),
        sight(&key()),
        None,
        &mut |_| (),
    )
    .unwrap();
    assert_eq!((report.usage.packets, report.seen.end), (1, End::Truncated));
}

#[test]
fn the_bench_runs_the_module_and_the_idle_one_over_the_same_packets() {
    let packets: Vec<(u64, u8)> = (0..5000)
        .map(|i| (SECOND_NS + i * 1_000_000, (i % 200) as u8))
        .collect();
    let file = capture(&packets);
    let module = counter("udp", 1000, "anonymized");
    // The largest interval has 1000 packets, as many as the argument allows by default.
    let figures = bench(&module, &[], Reader::new(&file[..]).unwrap(), sight(&key())).unwrap();
    assert_eq!(figures.kept, 5000);
    for report in [&figures.module, &figures.idle] {
        assert_eq!((report.usage.packets, report.intervals), (5000, 5));
        assert!(report.sandbox_ns > 0);
    }
    assert!(
        figures.module.usage.fuel > 5000 * 5,
        "the module looks at each packet"
    );
    assert!(figures.idle.usage.fuel < 5000, "the idle one at none");
    let many = [("most".to_owned(), 1)];
    let fault = bench(&module, &many, Reader::new(&file[..]).unwrap(), sight(&key())).unwrap_err();
    assert!(fault.to_string().contains("gave up with code 77"), "{fault}");
    let empty = capture(&[]);
    let nothing = bench(&module, &[], Reader::new(&empty[..]).unwrap(), sight(&key())).unwrap_err();
    assert!(nothing.to_string().contains("no packet"), "{nothing}");
}

#[test]
fn admission_names_the_file_and_what_offends() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    };
    let imports = wat::parse_str(r#"(module (import "env" "clock" (func)))"#).unwrap();
    let wasm = write("target/release/x.wasm", &imports);
    let missing = load(&wasm, None, None).err().unwrap();
    assert!(missing.to_string().contains("no module.toml"), "{missing}");
    // The manifest stands above, in the module's folder.
    let traffic = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../modules/standard/traffic/module.toml"
    );
    write("module.toml", &fs::read(traffic).unwrap());
    let (what, fix) = load(&wasm, None, None).err().unwrap().lines();
    assert!(what.contains("x.wasm") && what.contains("env.clock"), "{what}");
    assert!(!fix.is_empty());
    let text = write("not.wasm", b"(module)");
    let (what, _) = load(&text, None, None).err().unwrap().lines();
    assert!(what.contains("not.wasm is not WebAssembly"), "{what}");
    // A level that has no view is refused as a manifest with it would be.
    let good = write("good.wasm", &wat::parse_str(COUNTER).unwrap());
    assert!(load(&good, None, Some(AccessLevel::Aggregate)).is_err());
}
