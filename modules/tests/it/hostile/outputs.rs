//! Guests whose rows lie: lengths, counts, offsets, characters. Owns one case per lie; what a verdict is stands
//! in suite.rs.

use como_dataset::ColumnKind;
use como_modules::{Callback, Manifest, OutputColumn, limits};

use super::suite::{Case, Verdict, with_column};
use crate::support::{Guest, manifest};

pub fn cases() -> Vec<Case> {
    [counts(), booleans(), ragged(), text(), floats(), large()]
        .into_iter()
        .flatten()
        .collect()
}

/// `store` that leaves one row with one number of 64 bits.
pub fn one_u64(value: &str) -> String {
    format!(
        "(i32.store (i32.const 65536) (i32.const 1)) (i64.store (i32.const 65552) (i64.const {value})) i32.const 32"
    )
}

/// `store` that leaves these words of 32 bits, and returns `bytes`.
fn words(words: &[u32], bytes: i64) -> String {
    let stores: String = (65_536..)
        .step_by(4)
        .zip(words)
        .map(|(at, word)| format!("(i32.store (i32.const {at}) (i32.const {word})) "))
        .collect();
    format!("{stores} i32.const {bytes}")
}

fn case(name: &str, manifest: Manifest, store: &str, verdict: Verdict) -> Case {
    let guest = Guest {
        store,
        ..Guest::default()
    };
    Case::new(name, manifest, guest.wasm(), verdict)
}

fn lies(name: &str, says: &'static str, manifest: Manifest, store: &str) -> Case {
    case(name, manifest, store, Verdict::Stopped(Callback::Store, says))
}

fn fine(name: &str, manifest: Manifest, store: &str) -> Case {
    case(name, manifest, store, Verdict::Harmless)
}

/// Rows and bytes that do not fit each other. The schema is one `u64`.
fn counts() -> Vec<Case> {
    let cases: [(&str, &'static str, &[u32], i64); 15] = [
        (
            "stores 2 GiB less one",
            "bytes, the limit is 4194304",
            &[],
            0x7fff_ffff,
        ),
        (
            "stores one byte above the limit",
            "4194305 bytes, the limit is 4194304",
            &[],
            4_194_305,
        ),
        (
            "stores the smallest integer of bytes",
            "code -2147483648",
            &[],
            -2_147_483_648,
        ),
        ("stores nothing at all", "`header` needs 16 bytes", &[], 0),
        ("stores half a header", "`header` needs 16 bytes", &[1], 15),
        (
            "stores a header that promises a row",
            "`value` needs 8 bytes",
            &[1],
            16,
        ),
        (
            "stores 4 thousand million rows",
            "4294967295 rows, the limit is 65536",
            &[u32::MAX],
            65_536,
        ),
        (
            "stores one row above the limit",
            "65537 rows, the limit is 65536",
            &[65_537],
            65_536,
        ),
        (
            "stores so many rows that 32 bits of bytes wrap round",
            "rows, the limit is 65536",
            &[0x2000_0000],
            16,
        ),
        (
            "stores two rows and the bytes of one",
            "`value` needs 16 bytes",
            &[2],
            24,
        ),
        (
            "stores one row and the bytes of two",
            "16 bytes follow the last column",
            &[1],
            48,
        ),
        (
            "stores a row without its padding",
            "`value` needs 8 bytes",
            &[1],
            24,
        ),
        (
            "stores no rows and a row's bytes",
            "16 bytes follow the last column",
            &[0],
            32,
        ),
        (
            "stores in the reserved word of the header",
            "reserved bytes",
            &[0, 1],
            16,
        ),
        (
            "stores in the last reserved byte of the header",
            "reserved bytes",
            &[0, 0, 0, 0x0100_0000],
            16,
        ),
    ];
    cases
        .iter()
        .map(|(name, says, left, bytes)| lies(name, says, manifest(), &words(left, *bytes)))
        .collect()
}

fn booleans() -> Vec<Case> {
    let of = |value| words(&[1, 0, 0, 0, value], 32);
    let schema = || with_column(ColumnKind::Bool);
    vec![
        lies(
            "stores a boolean of 2",
            "has 2 where 0 or 1 must stand",
            schema(),
            &of(2),
        ),
        lies(
            "stores a boolean of 255",
            "has 255 where 0 or 1 must stand",
            schema(),
            &of(255),
        ),
        fine(
            "hides bytes in the padding of a boolean",
            schema(),
            &of(0xdead_be01),
        ),
    ]
}

/// Offsets of byte strings.
fn ragged() -> Vec<Case> {
    let offsets = "offsets of `value` do not start at 0 and ascend";
    let cases: [(&str, &'static str, &[u32], i64); 8] = [
        ("stores offsets that start at 1", offsets, &[1, 0, 0, 0, 1, 1], 32),
        (
            "stores offsets that descend",
            offsets,
            &[2, 0, 0, 0, 0, 4, 2, 0],
            48,
        ),
        (
            "stores offsets that go to 4 GiB and back",
            offsets,
            &[2, 0, 0, 0, 0, u32::MAX, 1, 0],
            48,
        ),
        (
            "stores an offset of 4 GiB",
            "`value` needs 4294967295 bytes",
            &[1, 0, 0, 0, 0, u32::MAX, 0, 0],
            32,
        ),
        (
            "stores an offset one byte behind the output",
            "`value` needs 9 bytes",
            &[1, 0, 0, 0, 0, 9, 0, 0],
            32,
        ),
        (
            "stores byte strings without their offsets",
            "`value` needs 8 bytes",
            &[1],
            16,
        ),
        (
            "stores 65536 strings and no offset",
            "`value` needs 262148 bytes",
            &[65_536],
            16,
        ),
        (
            "stores no strings and no offset either",
            "`value` needs 4 bytes",
            &[0],
            16,
        ),
    ];
    cases
        .iter()
        .map(|(name, says, left, bytes)| {
            lies(name, says, with_column(ColumnKind::Bytes), &words(left, *bytes))
        })
        .collect()
}

fn text() -> Vec<Case> {
    let schema = || with_column(ColumnKind::Text);
    let one = |bytes: u32, text: u32| words(&[1, 0, 0, 0, 0, bytes, text], 32);
    let utf8 = "row 0, is not UTF-8";
    vec![
        lies("stores text that is no text", utf8, schema(), &one(1, 0xff)),
        // U+00E9 is c3 a9.
        lies(
            "splits a character between two rows",
            utf8,
            schema(),
            &words(&[2, 0, 0, 0, 0, 1, 2, 0xa9c3], 32),
        ),
        lies("stores a surrogate", utf8, schema(), &one(3, 0x0080_a0ed)),
        lies("stores an overlong zero", utf8, schema(), &one(2, 0x80c0)),
        // It is data: whoever shows it on a terminal has to escape it.
        fine(
            "stores an escape sequence as text",
            schema(),
            &one(4, 0x4a32_5b1b),
        ),
    ]
}

fn floats() -> Vec<Case> {
    [
        ("stores a signalling NaN", "0x7ff0000000000001"),
        ("stores a NaN full of bits", "0xffffffffffffffff"),
        ("stores an infinity", "0x7ff0000000000000"),
        ("stores a negative zero", "0x8000000000000000"),
        ("stores the smallest float", "0x0000000000000001"),
    ]
    .iter()
    .map(|(name, bits)| fine(name, with_column(ColumnKind::F64), &one_u64(bits)))
    .collect()
}

/// The largest output that is allowed, in every interval, and one that is far from its size.
fn large() -> Vec<Case> {
    let memory_bytes = 8 << 20;
    let many = Manifest {
        memory_bytes,
        ..manifest()
    };
    let column = |i: usize| OutputColumn {
        name: format!("c{i}"),
        ..with_column(ColumnKind::Address).schema.remove(0)
    };
    let wide = Manifest {
        memory_bytes,
        schema: (0..limits::OUTPUT_MAX_COLUMNS).map(column).collect(),
        ..manifest()
    };
    let rows = limits::OUTPUT_MAX_ROWS;
    let store = format!(
        "(i32.store (i32.const 65536) (i32.const {rows})) i32.const {}",
        16 + 8 * rows
    );
    let wasm = Guest {
        store: &store,
        memory: r#"(memory (export "memory") 128 128)"#,
        ..Guest::default()
    }
    .wasm();
    vec![
        Case::new(
            "stores as many rows as it may",
            many,
            wasm.clone(),
            Verdict::Harmless,
        ),
        Case::new(
            "stores 64 columns in the bytes of half of one",
            wide,
            wasm,
            Verdict::Stopped(Callback::Store, "`c0` needs 1048576 bytes"),
        ),
    ]
}
