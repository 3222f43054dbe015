//! A guest that does nothing: what a packet costs with it is what the sandbox itself costs. Must stay what the text
//! in its test says.

use como_modules::limits::{MEMORY_MAX_BYTES, WASM_PAGE_BYTES};
use como_modules::{Manifest, Merge};

/// The manifest of a guest that is handed what another one is handed. It has a page more, where there are more, so that
/// the same arena fits behind the output; another size would make starting and ending it cost something else.
pub(super) fn manifest(of: &Manifest) -> Manifest {
    let mut idle = Manifest {
        memory_bytes: (of.memory_bytes + WASM_PAGE_BYTES).min(MEMORY_MAX_BYTES),
        ..of.clone()
    };
    // It stores no row, and has no `merge` of its own for any.
    let by_guest = idle
        .schema
        .iter_mut()
        .filter(|column| column.merge == Merge::Guest);
    by_guest.for_each(|column| column.merge = Merge::Last);
    idle
}

/// The code for such a manifest, section by section (WebAssembly core specification, 5.5). The output (no rows: 16
/// zeros) is at 0, the arena behind it.
#[rustfmt::skip]
pub(super) fn wasm(manifest: &Manifest) -> Vec<u8> {
    // LEB128 in two bytes, enough for the 1024 pages that there are at most.
    let pages = manifest.memory_bytes / WASM_PAGE_BYTES;
    let pages = [0x80 | (pages & 0x7f) as u8, (pages >> 7) as u8];
    let head: &[u8] = &[
        0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, // magic, version 1
        0x01, 0x0a, 2, 0x60, 0, 1, 0x7f, 0x60, 1, 0x7f, 1, 0x7f, // types: () -> i32, (i32) -> i32
        0x03, 0x07, 6, 0, 0, 0, 1, 1, 0, // six functions and their types
        0x05, 0x06, 1, 0x01, // one memory: so many pages, no more
    ];
    let rest: &[u8] = &[
        0x07, 0x48, 7, // exports
        6, b'm', b'e', b'm', b'o', b'r', b'y', 0x02, 0,
        8, b'c', b'o', b'm', b'o', b'_', b'a', b'b', b'i', 0x00, 0,
        10, b'c', b'o', b'm', b'o', b'_', b'a', b'r', b'e', b'n', b'a', 0x00, 1,
        11, b'c', b'o', b'm', b'o', b'_', b'o', b'u', b't', b'p', b'u', b't', 0x00, 2,
        4, b'i', b'n', b'i', b't', 0x00, 3,
        6, b'u', b'p', b'd', b'a', b't', b'e', 0x00, 4,
        5, b's', b't', b'o', b'r', b'e', 0x00, 5,
        0x0a, 0x1f, 6, // code: constants
        4, 0, 0x41, 0x01, 0x0b,
        4, 0, 0x41, 0x10, 0x0b,
        4, 0, 0x41, 0x00, 0x0b,
        4, 0, 0x41, 0x00, 0x0b,
        4, 0, 0x41, 0x00, 0x0b,
        4, 0, 0x41, 0x10, 0x0b,
    ];
    [head, &pages, &pages, rest].concat()
}

#[cfg(test)]
mod tests {
    use como_policies::AccessLevel;

    use super::*;
    use crate::local::module::admit;

    /// Shortest and longest arenas that a manifest can ask for.
    fn manifests() -> [Manifest; 2] {
        let toml = |memory_kib: u32, columns: &str, frames: bool, merge: &str| {
            let toml = format!(
                "name = \"x\"\nversion = \"1\"\nrelease = 1\ndescription = \"x\"\nlevel = \"payload\"\n\
                 output_level = \"payload\"\ninterval_ms = 1000\nmemory_kib = {memory_kib}\ncolumns = [{columns}]\n\
                 wants_frames = {frames}\n[[schema]]\nname = \"n\"\nkind = \"u8\"\ndescription = \"n\"\nmerge = \"{merge}\"\n"
            );
            Manifest::from_toml(&toml, "spiffe://c/o/d", u64::MAX).unwrap()
        };
        [
            toml(64, "\"deny\"", false, "guest"),
            toml(65536, "\"src\", \"dst\"", true, "sum"),
        ]
    }

    #[test]
    fn the_bytes_are_those_of_the_text() {
        let [_, largest] = manifests();
        let text = r#"(module
            (type (func (result i32))) (type (func (param i32) (result i32)))
            (memory (export "memory") 1024 1024)
            (func (export "como_abi") (type 0) i32.const 1)
            (func (export "como_arena") (type 0) i32.const 16)
            (func (export "como_output") (type 0) i32.const 0)
            (func (export "init") (type 1) i32.const 0)
            (func (export "update") (type 1) i32.const 0)
            (func (export "store") (type 0) i32.const 16))"#;
        assert_eq!(wasm(&manifest(&largest)), wat::parse_str(text).unwrap());
    }

    #[test]
    fn it_is_admitted_and_starts_beside_any_module() {
        for other in manifests() {
            let manifest = manifest(&other);
            assert_eq!(manifest.level, AccessLevel::Payload);
            admit(&manifest, &wasm(&manifest)).unwrap().trial().unwrap();
        }
    }
}
