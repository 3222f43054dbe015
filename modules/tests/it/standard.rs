//! The standard modules as compiled guests, in the sandbox, against the same code run natively.

use como_anonymize::{Bitmap, PacketRow, View};
use como_modules::{Instance, Rows, limits};
use proptest::prelude::*;

use crate::catalogue::{self, Standard};
use crate::oracle::captures;
use crate::oracle::shown::Shown;
use crate::support::{admit, standard, view, view_with_frames};

fn sandboxed(name: &str) -> Instance {
    let (manifest, wasm) = standard(name);
    let module = admit(&manifest, &wasm).unwrap_or_else(|e| panic!("{name}: {e}"));
    module.trial().unwrap_or_else(|e| panic!("{name}: {e}"));
    module.instantiate(&[]).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Some intervals through both; both must give the same values.
fn compare(module: &Standard, intervals: &[View]) {
    let mut guest = sandboxed(module.name);
    let args: Vec<i64> = guest.manifest().args.iter().map(|arg| arg.default).collect();
    let mut oracle = (module.native)(&args);
    for view in intervals {
        guest.update(view, &Bitmap::all(view.len())).unwrap();
        oracle.update(view);
        let (got, expected) = (guest.store().unwrap(), oracle.store());
        assert_eq!(printed(&got), expected, "{}", module.name);
    }
    let usage = guest.usage();
    let packets: usize = intervals.iter().map(View::len).sum();
    assert_eq!(usage.packets as usize, packets);
    assert!(usage.fuel > 0 && usage.stores as usize == intervals.len());
}

/// The values of each row. Kit and dataset name their values alike.
fn printed(rows: &Rows) -> Vec<Vec<String>> {
    let row = |row| {
        rows.columns
            .iter()
            .map(|c| format!("{:?}", c.value(row)))
            .collect()
    };
    (0..rows.rows()).map(row).collect()
}

fn packet() -> impl Strategy<Value = PacketRow> {
    let sizes = (40u32..9000, 1u32..20);
    let kinds = prop_oneof![
        4 => Just((0x0800u16, 4u8)), 2 => Just((0x86dd, 6)), 1 => (any::<u16>(), Just(0))
    ];
    let transport = (
        prop::sample::select(vec![0u8, 1, 6, 6, 6, 17, 17, 58]),
        prop::sample::select(vec![0u8, 0, 0, 1, 3]),
    );
    (
        sizes,
        kinds,
        transport,
        0u128..400,
        0u128..50,
        0u16..500,
        prop::sample::select(vec![53u16, 80, 443, 65535]),
    )
        .prop_map(
            |(
                (wire_len, weight),
                (ethertype, ip_version),
                (protocol, fragment),
                src,
                dst,
                src_port,
                dst_port,
            )| {
                PacketRow {
                    wire_len,
                    weight,
                    ethertype,
                    ip_version,
                    protocol,
                    fragment,
                    src: src.to_be_bytes(),
                    dst: dst.to_be_bytes(),
                    src_port,
                    dst_port,
                    src_as: src as u32,
                    dst_as: dst as u32,
                    ..PacketRow::default()
                }
            },
        )
}

/// A frame: headers up to `payload_offset`, UDP in their last eight bytes, and something like DNS or like HTTP.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        (any::<[u8; 4]>(), prop::collection::vec(0u8..70, 0..40)).prop_map(|(flags, name)| {
            [
                &[1, 2][..],
                &flags[..2],
                &[0, flags[2] % 2, 0, flags[3], 0, 0, 0, 0],
                &name,
            ]
            .concat()
        }),
        prop::collection::vec(prop::sample::select(b"GET /".to_vec()), 0..60),
    ];
    payload.prop_map(|payload| {
        let length = (payload.len() as u16 + 8).to_be_bytes();
        [
            &[0; 34][..],
            &[0, 53, 0, 53, length[0], length[1], 0, 0],
            &payload,
        ]
        .concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn compiled_guests_give_what_the_same_code_gives_natively(
        intervals in prop::collection::vec(prop::collection::vec((packet(), frame()), 0..2600), 1..3),
    ) {
        let intervals: Vec<View> = intervals.iter().map(|packets| view_with_frames(packets)).collect();
        for module in catalogue::all() {
            compare(&module, &intervals);
        }
    }
}

#[test]
fn arguments_reach_the_guest() {
    let (manifest, wasm) = standard("topports");
    let module = admit(&manifest, &wasm).unwrap();
    let rows: Vec<PacketRow> = (1..=50)
        .map(|port| PacketRow {
            wire_len: 100,
            weight: 1,
            protocol: 6,
            src_port: port,
            dst_port: port,
            ..PacketRow::default()
        })
        .collect();
    for (args, expected) in [(vec![], 10), (vec![("k".to_string(), 3)], 3)] {
        let mut guest = module.instantiate(&args).unwrap();
        guest.update(&view(&rows), &Bitmap::all(50)).unwrap();
        assert_eq!(guest.store().unwrap().rows(), expected);
    }
    assert!(module.instantiate(&[("k".into(), 101)]).is_err());
}

#[test]
fn compiled_guests_give_natively_the_same_of_a_whole_capture() {
    let capture = captures::eventful();
    for shown in [Shown::anonymized(&capture), Shown::payload(&capture)] {
        for module in catalogue::all() {
            compare(&module, std::slice::from_ref(&shown.view));
        }
    }
}

/// Traffic that costs most: every packet opens a flow of its own, in any of the tables, and carries nearly a pattern.
fn expensive(packets: usize) -> View {
    let frame = [&[0; 34][..], &[0, 53, 0, 53, 1, 214, 0, 0], &b"GET".repeat(154)].concat();
    let rows: Vec<(PacketRow, Vec<u8>)> = (0..packets as u128)
        .map(|i| {
            let row = PacketRow {
                ts_ns: i as u64,
                wire_len: frame.len() as u32,
                weight: 1,
                ethertype: 0x0800,
                ip_version: 4,
                protocol: 6,
                tcp_flags: 2,
                src: (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) << 3).to_be_bytes(),
                dst: (i.wrapping_mul(0xff51_afd7_ed55_8ccd) << 5).to_be_bytes(),
                src_port: i as u16,
                dst_port: !i as u16,
                payload_offset: 42,
                ..PacketRow::default()
            };
            (row, frame.clone())
        })
        .collect();
    view_with_frames(&rows)
}

#[test]
fn guests_stay_within_half_of_their_budgets_whatever_the_traffic() {
    let view = expensive(40 * limits::BATCH_MAX_PACKETS);
    let mut wrong = Vec::new();
    for module in catalogue::all() {
        let mut guest = sandboxed(module.name);
        let before = guest.usage();
        guest.update(&view, &Bitmap::all(view.len())).unwrap();
        let fuel = guest.usage().fuel - before.fuel;
        let per_batch = fuel / (guest.usage().batches - before.batches).max(1);
        let per_packet = fuel / view.len() as u64;
        let before = guest.usage().fuel;
        let rows = guest.store().unwrap().rows();
        let store = guest.usage().fuel - before;
        println!(
            "{}: {per_packet} fuel per packet, {per_batch} per batch, {store} per store, {rows} rows, {} KiB",
            module.name,
            guest.usage().memory_bytes >> 10
        );
        if per_batch > limits::FUEL_PER_BATCH / 2 || store > limits::FUEL_PER_CALLBACK / 2 {
            wrong.push(module.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?} use too much fuel");
}

#[test]
fn argument_ranges_are_those_of_the_manifest() {
    for module in catalogue::all() {
        let (manifest, wasm) = standard(module.name);
        let admitted = admit(&manifest, &wasm).unwrap();
        for arg in &manifest.args {
            for value in [arg.min, arg.default, arg.max] {
                let started = admitted.instantiate(&[(arg.name.clone(), value)]);
                assert!(started.is_ok(), "{} with {}={value}", module.name, arg.name);
            }
            for value in [arg.min.checked_sub(1), arg.max.checked_add(1)]
                .into_iter()
                .flatten()
            {
                let started = admitted.instantiate(&[(arg.name.clone(), value)]);
                assert!(started.is_err(), "{} with {}={value}", module.name, arg.name);
            }
        }
    }
}
