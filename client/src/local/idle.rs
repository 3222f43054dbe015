//! A guest that does nothing: what a packet costs with it is what the sandbox itself costs. Must stay what TEXT in its
//! test says.

use como_modules::Manifest;
use como_modules::limits::MEMORY_MAX_BYTES;

/// The manifest of a guest that is handed what another one is handed. Its memory is the largest, so that every arena
/// fits: pages that nobody touches cost nothing.
pub(super) fn manifest(of: &Manifest) -> Manifest {
    Manifest {
        memory_bytes: MEMORY_MAX_BYTES,
        ..of.clone()
    }
}

/// The guest, section by section (WebAssembly core specification, 5.5). The arena is at 0, the output (no rows: 16
/// zeros) in the last 16 bytes of memory.
#[rustfmt::skip]
pub(super) const WASM: &[u8] = &[
    0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, // magic, version 1
    0x01, 0x0a, 2, 0x60, 0, 1, 0x7f, 0x60, 1, 0x7f, 1, 0x7f, // types: () -> i32, (i32) -> i32
    0x03, 0x07, 6, 0, 0, 0, 1, 1, 0, // six functions and their types
    0x05, 0x06, 1, 0x01, 0x80, 0x08, 0x80, 0x08, // memory: 1024 pages, no more
    0x07, 0x48, 7, // exports
    6, b'm', b'e', b'm', b'o', b'r', b'y', 0x02, 0,
    8, b'c', b'o', b'm', b'o', b'_', b'a', b'b', b'i', 0x00, 0,
    10, b'c', b'o', b'm', b'o', b'_', b'a', b'r', b'e', b'n', b'a', 0x00, 1,
    11, b'c', b'o', b'm', b'o', b'_', b'o', b'u', b't', b'p', b'u', b't', 0x00, 2,
    4, b'i', b'n', b'i', b't', 0x00, 3,
    6, b'u', b'p', b'd', b'a', b't', b'e', 0x00, 4,
    5, b's', b't', b'o', b'r', b'e', 0x00, 5,
    0x0a, 0x22, 6, // code: constants
    4, 0, 0x41, 0x01, 0x0b,
    4, 0, 0x41, 0x00, 0x0b,
    7, 0, 0x41, 0xf0, 0xff, 0xff, 0x1f, 0x0b, // 64 MiB - 16
    4, 0, 0x41, 0x00, 0x0b,
    4, 0, 0x41, 0x00, 0x0b,
    4, 0, 0x41, 0x10, 0x0b,
];

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"(module
        (type (func (result i32))) (type (func (param i32) (result i32)))
        (memory (export "memory") 1024 1024)
        (func (export "como_abi") (type 0) i32.const 1)
        (func (export "como_arena") (type 0) i32.const 0)
        (func (export "como_output") (type 0) i32.const 67108848)
        (func (export "init") (type 1) i32.const 0)
        (func (export "update") (type 1) i32.const 0)
        (func (export "store") (type 0) i32.const 16))"#;

    #[test]
    fn the_bytes_are_those_of_the_text() {
        assert_eq!(WASM, wat::parse_str(TEXT).unwrap());
        assert_eq!(MEMORY_MAX_BYTES, 1024 << 16);
    }
}
