//! Guests of the tests' own: bodies of callbacks in the WebAssembly text format, and a manifest around them.

use std::path::PathBuf;

use como_client::keys::Bundle;
use como_modules::{Manifest, SignedModule};

use super::Person;

/// Wall time that no test reaches, ns.
pub const FAR_AHEAD_NS: u64 = 4_000_000_000_000_000_000;

/// A module that reads lengths and stores one number per interval; each test changes what it is about.
#[derive(Clone, Debug)]
pub struct Guest<'a> {
    pub name: &'a str,
    pub release: u64,
    pub level: &'a str,
    pub not_after_ns: u64,
    pub interval_ms: u64,
    /// Body of `init`.
    pub init: &'a str,
    /// Body of `update`.
    pub update: &'a str,
    /// Body of `store`.
    pub store: &'a str,
    /// Bodies of `como_arena` and `como_output`.
    pub arena: &'a str,
    pub output: &'a str,
    /// Kind of its one column.
    pub kind: &'a str,
    /// The memory and its export.
    pub memory: &'a str,
    /// Before everything else: where imports stand.
    pub imports: &'a str,
    /// After everything else.
    pub extra: &'a str,
}

impl Default for Guest<'_> {
    fn default() -> Self {
        Self {
            name: "guest",
            release: 1,
            level: "anonymized",
            not_after_ns: FAR_AHEAD_NS,
            interval_ms: 1000,
            init: "i32.const 0",
            update: "i32.const 0",
            store: "(i32.store (i32.const 65536) (i32.const 1)) i32.const 32",
            arena: "i32.const 1024",
            output: "i32.const 65536",
            kind: "u64",
            memory: r#"(memory (export "memory") 2 2)"#,
            imports: "",
            extra: "",
        }
    }
}

impl Guest<'_> {
    /// Its code.
    pub fn wasm(&self) -> Vec<u8> {
        wat::parse_str(format!(
            r#"(module {} {}
                (func (export "como_abi") (result i32) i32.const 1)
                (func (export "como_arena") (result i32) {})
                (func (export "como_output") (result i32) {})
                (func (export "init") (param i32) (result i32) {})
                (func (export "update") (param i32) (result i32) {})
                (func (export "store") (result i32) {})
                {})"#,
            self.imports,
            self.memory,
            self.arena,
            self.output,
            self.init,
            self.update,
            self.store,
            self.extra
        ))
        .expect("a guest that parses")
    }

    /// Signs it under a person's developer key; gives the `.cmod` file.
    pub fn signed_by(&self, developer: &Person) -> PathBuf {
        self.signed_as(developer, &self.wasm())
    }

    /// The same around other code.
    pub fn signed_as(&self, developer: &Person, wasm: &[u8]) -> PathBuf {
        let bundle = Bundle::open(&developer.keys_dir).expect("keys");
        let id = bundle.name().expect("a name");
        let (name, release, level) = (self.name, self.release, self.level);
        let interval_ms = self.interval_ms;
        let manifest = format!(
            r#"name = "{name}"
            version = "1.0.{release}"
            release = {release}
            description = "misbehaves"
            level = "{level}"
            output_level = "{level}"
            interval_ms = {interval_ms}
            memory_kib = 128
            columns = ["wire_len"]
            [[schema]]
            name = "value"
            kind = "{}"
            description = "a number"
            merge = "last"
            "#,
            self.kind
        );
        let manifest = Manifest::from_toml(&manifest, id.as_str(), self.not_after_ns).expect("a manifest");
        let key = bundle.developer_key().expect("a key");
        let signed = SignedModule::sign(&manifest, wasm, &key).expect("signed");
        let file = developer.path(&format!("{name}-{release}.cmod"));
        std::fs::write(&file, signed).expect("a file");
        file
    }
}
