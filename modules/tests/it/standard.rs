//! The standard modules as compiled guests, in the sandbox, against the same code run natively.

use como_anonymize::{Bitmap, Column, Columns, PacketRow};
use como_kit::{Module, native};
use como_modules::{Instance, Rows};
use proptest::prelude::*;

use crate::support::{admit, standard, view};

fn sandboxed(name: &str) -> Instance {
    let (manifest, wasm) = standard(name);
    let module = admit(&manifest, &wasm).unwrap_or_else(|e| panic!("{name}: {e}"));
    module.trial().unwrap_or_else(|e| panic!("{name}: {e}"));
    module.instantiate(&[]).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The columns that `M` reads, as the kit's test packets.
fn native_packets<M: Module>(columns: &Columns) -> native::Packets {
    let mut packets = native::Packets::new(columns.ts_ns.len());
    for id in M::COLUMNS {
        packets = match Column::from_id(id.number).expect("a column") {
            Column::WireLen => packets.set(como_kit::columns::WIRE_LEN, &columns.wire_len),
            Column::Weight => packets.set(como_kit::columns::WEIGHT, &columns.weight),
            Column::Ethertype => packets.set(como_kit::columns::ETHERTYPE, &columns.ethertype),
            Column::IpVersion => packets.set(como_kit::columns::IP_VERSION, &columns.ip_version),
            Column::Protocol => packets.set(como_kit::columns::PROTOCOL, &columns.protocol),
            Column::Src => packets.set(como_kit::columns::SRC, &columns.src),
            Column::Dst => packets.set(como_kit::columns::DST, &columns.dst),
            Column::SrcPort => packets.set(como_kit::columns::SRC_PORT, &columns.src_port),
            Column::DstPort => packets.set(como_kit::columns::DST_PORT, &columns.dst_port),
            Column::Fragment => packets.set(como_kit::columns::FRAGMENT, &columns.fragment),
            other => panic!("{other:?} is not in this test's packets"),
        };
    }
    packets
}

/// Two intervals through both; both must give the same values.
fn compare<M: Module + Send>(name: &str, args: &[i64], intervals: &[Vec<PacketRow>]) {
    let mut guest = sandboxed(name);
    let mut oracle = native::Guest::<M>::new(args);
    for rows in intervals {
        let view = view(rows);
        guest.update(&view, &Bitmap::all(rows.len())).unwrap();
        oracle.update(native_packets::<M>(&view.columns));
        let (got, expected) = (guest.store().unwrap(), oracle.store());
        assert_eq!(got.rows(), expected.rows(), "{name}");
        for row in 0..got.rows() {
            let values = values(&got, row);
            let native: Vec<String> = expected.row(row).iter().map(|v| format!("{v:?}")).collect();
            assert_eq!(values, native, "{name}, row {row}");
        }
    }
    let usage = guest.usage();
    assert_eq!(
        usage.packets as usize,
        intervals.iter().map(Vec::len).sum::<usize>()
    );
    assert!(usage.fuel > 0 && usage.stores as usize == intervals.len());
}

/// Kit and dataset name their values alike.
fn values(rows: &Rows, row: usize) -> Vec<String> {
    rows.columns
        .iter()
        .map(|c| format!("{:?}", c.value(row)))
        .collect()
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
                    ..PacketRow::default()
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn compiled_guests_give_what_the_same_code_gives_natively(
        intervals in prop::collection::vec(prop::collection::vec(packet(), 0..2600), 1..3),
    ) {
        compare::<como_traffic::Traffic>("traffic", &[], &intervals);
        compare::<como_protocol::Protocol>("protocol", &[], &intervals);
        compare::<como_topports::TopPorts>("topports", &[10], &intervals);
        compare::<como_flowcount::FlowCount>("flowcount", &[], &intervals);
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
fn guests_stay_far_below_their_budgets() {
    let rows = vec![
        PacketRow {
            wire_len: 100,
            weight: 1,
            ip_version: 4,
            protocol: 6,
            src_port: 9,
            dst_port: 80,
            ..PacketRow::default()
        };
        1024
    ];
    for name in ["traffic", "protocol", "topports", "flowcount"] {
        let mut guest = sandboxed(name);
        let before = guest.usage().fuel;
        guest.update(&view(&rows), &Bitmap::all(1024)).unwrap();
        let per_packet = (guest.usage().fuel - before) / 1024;
        let budget = como_modules::limits::FUEL_PER_BATCH / 1024;
        assert!(
            per_packet <= budget / 16,
            "{name} takes {per_packet} units of fuel per packet"
        );
        let before = guest.usage().fuel;
        guest.store().unwrap();
        let store = guest.usage().fuel - before;
        assert!(
            store < como_modules::limits::FUEL_PER_CALLBACK / 4,
            "{name}: store takes {store} units"
        );
        println!("{name}: {per_packet} fuel per packet, {store} per store");
    }
}
