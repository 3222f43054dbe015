//! What the tests share: a developer, manifests, guests written as text, views made of rows.

use std::path::PathBuf;

use como_anonymize::{Columns, Frames, LinkType, PacketRow, View};
use como_dataset::ColumnKind;
use como_keys::signing::{KeyId, SigningKey};
use como_modules::{
    AdmittedModule, Instance, Manifest, Merge, ModuleError, OutputColumn, RevocationList, SignedModule,
    StartError, Trust, TrustedDeveloper, VerifiedModule,
};
use como_policies::AccessLevel;

pub const DEVELOPER: &str = "spiffe://example.org/lab/ada";
pub const SECOND_NS: u64 = 1_000_000_000;
pub const MEMORY_BYTES: u32 = 131_072;

pub fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub fn developer() -> TrustedDeveloper {
    TrustedDeveloper {
        id: DEVELOPER.into(),
        key: key().verifying_key(),
    }
}

/// A module that reads lengths and stores one number per interval.
pub fn manifest() -> Manifest {
    Manifest {
        name: "probe".into(),
        version: "1.0.0".into(),
        release: 3,
        developer: DEVELOPER.into(),
        key_id: KeyId([0; 16]),
        wasm_sha256: [0; 32],
        wasm_len: 0,
        abi: 1,
        filter: String::new(),
        level: AccessLevel::Anonymized,
        output_level: AccessLevel::Anonymized,
        interval_ns: SECOND_NS,
        memory_bytes: MEMORY_BYTES,
        columns: vec![como_anonymize::Column::WireLen],
        wants_frames: false,
        schema: vec![OutputColumn {
            name: "value".into(),
            kind: ColumnKind::U64,
            unit: String::new(),
            description: "a number".into(),
            merge: Merge::Sum,
        }],
        args: vec![],
        priority: 100,
        not_after_ns: 1000,
        description: "probes the node".into(),
    }
}

pub fn verify(cmod: &[u8]) -> Result<VerifiedModule, ModuleError> {
    SignedModule::parse(cmod)?.verify(&Trust {
        developers: &[developer()],
        revocations: &RevocationList::initial(),
        now_ns: 500,
        last_release: &|_, _| None,
    })
}

pub fn admit(manifest: &Manifest, wasm: &[u8]) -> Result<AdmittedModule, ModuleError> {
    verify(&SignedModule::sign(manifest, wasm, &key())?)?.admit()
}

pub fn start(manifest: &Manifest, wasm: &[u8]) -> Result<Instance, StartError> {
    admit(manifest, wasm)
        .expect("an admissible module")
        .instantiate(&[])
}

/// Bodies of a guest's callbacks, in the WebAssembly text format. The defaults do nothing and store a 0.
pub struct Guest<'a> {
    pub abi: &'a str,
    pub init: &'a str,
    pub update: &'a str,
    pub store: &'a str,
    pub arena: &'a str,
    pub output: &'a str,
    pub memory: &'a str,
    pub extra: &'a str,
}

impl Default for Guest<'_> {
    fn default() -> Self {
        Self {
            abi: "i32.const 1",
            init: "i32.const 0",
            update: "i32.const 0",
            store: "(i32.store (i32.const 65536) (i32.const 1)) i32.const 32",
            arena: "i32.const 1024",
            output: "i32.const 65536",
            memory: r#"(memory (export "memory") 2 2)"#,
            extra: "",
        }
    }
}

impl Guest<'_> {
    pub fn wasm(&self) -> Vec<u8> {
        let text = format!(
            r#"(module {}
                (func (export "como_abi") (result i32) {})
                (func (export "como_arena") (result i32) {})
                (func (export "como_output") (result i32) {})
                (func (export "init") (param i32) (result i32) {})
                (func (export "update") (param i32) (result i32) {})
                (func (export "store") (result i32) {})
                {})"#,
            self.memory, self.abi, self.arena, self.output, self.init, self.update, self.store, self.extra
        );
        wat::parse_str(text).expect("a guest that parses")
    }
}

pub fn view(rows: &[PacketRow]) -> View {
    let mut columns = Columns::default();
    rows.iter().for_each(|row| columns.push(row));
    let mut frames = Frames::default();
    rows.iter().for_each(|_| assert!(frames.push(&[])));
    View {
        level: AccessLevel::Anonymized,
        link: LinkType::ETHERNET,
        columns,
        frames,
    }
}

/// Rows with their visible bytes.
pub fn view_with_frames(packets: &[(PacketRow, Vec<u8>)]) -> View {
    let mut view = View::new(AccessLevel::Payload, LinkType::ETHERNET);
    for (row, frame) in packets {
        assert!(view.push(row, frame));
    }
    view
}

/// `n` packets of 100 bytes.
pub fn packets(n: usize) -> View {
    view(&vec![
        PacketRow {
            wire_len: 100,
            weight: 1,
            ..PacketRow::default()
        };
        n
    ])
}

/// A standard module: its manifest and its code.
pub fn standard(name: &str) -> (Manifest, Vec<u8>) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("standard")
        .join(name);
    let toml = std::fs::read_to_string(folder.join("module.toml")).expect("module.toml");
    let manifest = Manifest::from_toml(&toml, DEVELOPER, 1000).expect("a good module.toml");
    let wasm = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join("../guests")
        .join(format!("{name}.wasm"));
    let code = std::fs::read(&wasm).unwrap_or_else(|e| {
        panic!(
            "{}: {e}\nthe guests are not compiled: run `make guests` first",
            wasm.display()
        )
    });
    (manifest, code)
}
