//! What a packet costs per module: copying columns into the guest's memory, the call, the guest itself, fuel on.
//! `empty` is the host's overhead alone (its guest returns at once). Needs `make guests`.

use std::path::PathBuf;

use como_anonymize::{Bitmap, Columns, Frames, LinkType, PacketRow, View};
use como_keys::signing::SigningKey;
use como_modules::{Instance, Manifest, RevocationList, SignedModule, Trust, TrustedDeveloper};
use como_policies::AccessLevel;
use divan::counter::ItemsCount;

const DEVELOPER: &str = "spiffe://example.org/bench/developer";
/// A block of the trace has packets in this order of magnitude.
const PACKETS: usize = 64 * 1024;
/// Flows in them, as on an ordinary link: 8192.
const FLOWS_BITS: u32 = 13;
/// Bytes of a frame, for the guests that read them.
const FRAME_BYTES: usize = 500;

/// Two requested columns, and callbacks that return at once.
const EMPTY: &str = r#"(module (memory (export "memory") 2 2)
    (func (export "como_abi") (result i32) i32.const 1)
    (func (export "como_arena") (result i32) i32.const 1024)
    (func (export "como_output") (result i32) i32.const 65536)
    (func (export "init") (param i32) (result i32) i32.const 0)
    (func (export "update") (param i32) (result i32) i32.const 0)
    (func (export "store") (result i32)
        (i32.store (i32.const 65536) (i32.const 0)) i32.const 16))"#;

fn main() {
    divan::main();
}

fn manifest(name: &str) -> Manifest {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let toml =
        std::fs::read_to_string(root.join("standard").join(name).join("module.toml")).expect("module.toml");
    Manifest::from_toml(&toml, DEVELOPER, u64::MAX).expect("a good module.toml")
}

fn instance(name: &str) -> Instance {
    let (manifest, wasm) = if name == "empty" {
        (
            manifest("traffic"),
            wat::parse_str(EMPTY).expect("a guest that parses"),
        )
    } else {
        let guests = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"),
            PathBuf::from,
        );
        let path = guests.join("guests").join(format!("{name}.wasm"));
        (
            manifest(name),
            std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}\nrun `make guests`", path.display())),
        )
    };
    let key = SigningKey::from_bytes(&[7; 32]);
    let cmod = SignedModule::sign(&manifest, &wasm, &key).expect("a signature");
    let trust = Trust {
        developers: &[TrustedDeveloper {
            id: DEVELOPER.into(),
            key: key.verifying_key(),
        }],
        revocations: &RevocationList::initial(),
        now_ns: 0,
        last_release: &|_, _| None,
    };
    let verified = SignedModule::parse(&cmod)
        .expect("a file")
        .verify(&trust)
        .expect("trust");
    verified
        .admit()
        .expect("admission")
        .instantiate(&[])
        .expect("a start")
}

fn view() -> View {
    let mut columns = Columns::with_capacity(PACKETS);
    let mut frames = Frames::default();
    for i in 0..PACKETS as u32 {
        let mixed = i.wrapping_mul(2_654_435_761);
        let flow = mixed >> (32 - FLOWS_BITS);
        columns.push(&PacketRow {
            ts_ns: u64::from(i) * 1000,
            wire_len: 60 + mixed % 1440,
            weight: 1,
            ethertype: 0x0800,
            ip_version: 4,
            protocol: if mixed & 3 == 0 { 17 } else { 6 },
            src: u128::from(flow % 3001).to_be_bytes(),
            dst: u128::from(flow * 31 % 1009).to_be_bytes(),
            src_port: 32_768 + flow as u16,
            dst_port: 443,
            tcp_flags: if mixed & 63 == 1 { 2 } else { 16 },
            payload_offset: 54,
            ..PacketRow::default()
        });
        assert!(frames.push(&[mixed as u8; FRAME_BYTES]));
    }
    View {
        level: AccessLevel::Anonymized,
        link: LinkType::ETHERNET,
        columns,
        frames,
    }
}

/// What lies in modules/standard, and before it the host's overhead alone.
fn guests() -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("standard");
    let entries = std::fs::read_dir(folder).expect("modules/standard");
    let name = |entry: std::fs::DirEntry| entry.file_name().into_string().expect("UTF-8");
    let mut names: Vec<String> = entries.map(|entry| name(entry.expect("an entry"))).collect();
    names.sort();
    names.insert(0, "empty".into());
    names
}

#[divan::bench(args = guests())]
fn update(bencher: divan::Bencher<'_, '_>, name: &str) {
    let (mut instance, view) = (instance(name), view());
    let all = Bitmap::all(PACKETS);
    bencher
        .counter(ItemsCount::new(PACKETS))
        .bench_local(|| instance.update(&view, &all).expect("no fault"));
}

#[divan::bench(args = guests())]
fn store(bencher: divan::Bencher<'_, '_>, name: &str) {
    let mut instance = instance(name);
    bencher.bench_local(|| instance.store().expect("no fault"));
}
