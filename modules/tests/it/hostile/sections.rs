//! Files that are no modules, nearly: sections twice, in the wrong order, cut, lying about their length. Owns
//! one case per defect, made from the bytes of the plain guest; what a verdict is stands in suite.rs.

use super::suite::{Case, Outcome, beside, check_message};
use crate::binary::{
    CODE, CUSTOM, DATA, DATA_COUNT, EXPORT, FUNCTION, MEMORY, Sections, TYPE, bodies, code as code_section,
    join, place, split,
};
use crate::support::{Guest, manifest};

pub fn cases() -> Vec<Case> {
    [heads(), order(), lengths(), contents(), custom()]
        .into_iter()
        .flatten()
        .collect()
}

fn heads() -> Vec<Case> {
    let plain = Guest::default().wasm();
    let head = |bytes: &[u8]| [bytes, &plain[8..]].concat();
    vec![
        Case::refused("is empty", "wasm, byte 0", vec![]),
        Case::refused(
            "is a head and nothing else",
            "memory: there is none",
            plain[..8].to_vec(),
        ),
        Case::refused("has half a head", "wasm, byte", plain[..6].to_vec()),
        Case::refused("is a program for Linux", "magic", head(b"\x7fELF\x01\0\0\0")),
        Case::refused("is text", "magic", b"(module)".to_vec()),
        Case::refused("has version 2", "version", head(b"\0asm\x02\0\0\0")),
        Case::refused(
            "is one module after the other",
            "wasm, byte",
            [plain.clone(), plain.clone()].concat(),
        ),
        Case::refused(
            "has zeros behind its last section",
            "wasm, byte",
            [plain.as_slice(), &[0; 16]].concat(),
        ),
    ]
}

fn order() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, id) in [
        ("type", TYPE),
        ("function", FUNCTION),
        ("memory", MEMORY),
        ("export", EXPORT),
        ("code", CODE),
    ] {
        let twice = edit(|sections| {
            let at = place(sections, id);
            let again = sections[at].clone();
            sections.insert(at, again);
        });
        cases.push(Case::refused(
            &format!("has two {name} sections"),
            "wasm, byte",
            twice,
        ));
    }
    cases.push(Case::refused(
        "has its sections in reverse",
        "wasm, byte",
        edit(|s| s.reverse()),
    ));
    cases.push(Case::refused(
        "has its memory behind its code",
        "wasm, byte",
        edit(|sections| {
            let memory = sections.remove(place(sections, MEMORY));
            sections.push(memory);
        }),
    ));
    cases.push(Case::refused(
        "has a section of an unknown kind",
        "wasm, byte",
        edit(|sections| sections.push((99, vec![1, 2, 3]))),
    ));
    cases
}

fn lengths() -> Vec<Case> {
    let body = |id: u8, change: fn(&mut Vec<u8>)| {
        edit(move |sections| {
            let at = place(sections, id);
            change(&mut sections[at].1);
        })
    };
    let long = {
        let mut wasm = Guest::default().wasm();
        wasm.extend([CUSTOM, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        wasm
    };
    let overlong = {
        let mut wasm = Guest::default().wasm();
        wasm.extend([CUSTOM, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]);
        wasm
    };
    vec![
        Case::refused("has a section of 4 GiB", "wasm, byte", long),
        Case::refused("has a length of six bytes", "wasm, byte", overlong),
        Case::refused(
            "promises 4 thousand million types",
            "types, the limit is 4096",
            body(TYPE, huge),
        ),
        Case::refused(
            "promises 4 thousand million functions",
            "functions, the limit is 4096",
            body(FUNCTION, huge),
        ),
        Case::refused(
            "promises 4 thousand million memories",
            "memories, the limit is 1",
            body(MEMORY, huge),
        ),
        Case::refused(
            "promises 4 thousand million exports",
            "exports, the limit is 64",
            body(EXPORT, huge),
        ),
        Case::refused(
            "promises 4 thousand million bodies",
            "wasm, byte",
            body(CODE, huge),
        ),
        Case::refused(
            "has a body more than functions",
            "wasm, byte",
            body(FUNCTION, |b| {
                b.pop();
                b[0] -= 1;
            }),
        ),
        Case::refused(
            "has a function more than bodies",
            "wasm, byte",
            body(CODE, |b| {
                let mut all = bodies(b);
                all.pop();
                *b = code_section(&all);
            }),
        ),
        Case::refused(
            "has bytes behind its exports",
            "wasm, byte",
            body(EXPORT, |b| b.push(0)),
        ),
        Case::refused(
            "has bytes behind its last body",
            "wasm, byte",
            body(CODE, |b| b.push(0)),
        ),
        Case::refused(
            "has a body cut by a byte",
            "wasm, byte",
            body(CODE, |b| {
                b.pop();
            }),
        ),
        Case::refused(
            "has locals of 4 thousand million",
            "4294967295 locals in one function",
            body(CODE, |b| {
                first_body(b, &[1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f, 0x41, 1, 0x0b])
            }),
        ),
        Case::refused(
            "has two groups of locals that wrap round in 32 bits",
            "locals in one function",
            body(CODE, |b| {
                let group = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f];
                first_body(b, &[&[2][..], &group, &group, &[0x41, 1, 0x0b]].concat());
            }),
        ),
    ]
}

fn contents() -> Vec<Case> {
    let code = |first: &'static [u8]| {
        edit(move |sections| {
            let at = place(sections, CODE);
            first_body(&mut sections[at].1, first);
        })
    };
    let export_of = |name: &'static [u8], index: u8| {
        edit(move |sections| {
            let at = place(sections, EXPORT);
            let body = &mut sections[at].1;
            body[0] += 1;
            body.push(name.len() as u8);
            body.extend_from_slice(name);
            body.extend([0, index]);
        })
    };
    vec![
        Case::refused(
            "returns a float for an integer",
            "type mismatch",
            code(&[0, 0x43, 0, 0, 0, 0, 0x0b]),
        ),
        Case::refused("returns nothing", "type mismatch", code(&[0, 0x0b])),
        Case::refused(
            "takes from an empty stack",
            "type mismatch",
            code(&[0, 0x6a, 0x0b]),
        ),
        Case::refused(
            "has an instruction that does not exist",
            "wasm, byte",
            code(&[0, 0xff, 0x0b]),
        ),
        Case::refused(
            "has a vector instruction that does not exist",
            "wasm, byte",
            code(&[0, 0xfd, 0xff, 0x7f, 0x0b]),
        ),
        Case::refused(
            "branches out of its function",
            "wasm, byte",
            code(&[0, 0x0c, 9, 0x0b]),
        ),
        Case::refused(
            "calls a function that does not exist",
            "wasm, byte",
            code(&[0, 0x10, 99, 0x0b]),
        ),
        Case::refused(
            "reads a local that does not exist",
            "wasm, byte",
            code(&[0, 0x20, 99, 0x0b]),
        ),
        Case::refused(
            "reads a global that does not exist",
            "wasm, byte",
            code(&[0, 0x23, 0, 0x0b]),
        ),
        Case::refused(
            "reads with an alignment of 2^31",
            "wasm, byte",
            code(&[0, 0x41, 0, 0x28, 31, 0, 0x0b]),
        ),
        Case::refused("has a body without an end", "wasm, byte", code(&[0, 0x41, 1])),
        Case::refused(
            "has an end too many",
            "wasm, byte",
            code(&[0, 0x41, 1, 0x0b, 0x0b]),
        ),
        Case::refused(
            "exports a name twice",
            "duplicate export",
            export_of(b"update", 0),
        ),
        Case::refused(
            "exports a function that does not exist",
            "wasm, byte",
            export_of(b"more", 99),
        ),
        Case::refused(
            "exports a name that is no text",
            "wasm, byte",
            export_of(&[0xff, 0xfe], 0),
        ),
        Case::refused(
            "counts data segments that are not there",
            "wasm, byte",
            edit(|sections| {
                let at = place(sections, CODE);
                sections.insert(at, (DATA_COUNT, vec![7]));
            }),
        ),
        Case::refused(
            "has data for a memory that does not exist",
            "wasm, byte",
            edit(|sections| sections.push((DATA, vec![1, 2, 5, 0x41, 0, 0x0b, 1, 7]))),
        ),
    ]
}

fn custom() -> Vec<Case> {
    let with = |bytes: Vec<u8>| edit(move |sections| sections.insert(0, (CUSTOM, bytes)));
    vec![
        Case::harmless("has a custom section of 3 MiB", with(named(b"padding", 3 << 20))),
        Case::harmless(
            "has a name section that is no such thing",
            with(named(b"name", 100)),
        ),
        Case::harmless("has a link section full of zeros", with(named(b"dylink.0", 4096))),
        Case::harmless(
            "has ten thousand custom sections",
            edit(|sections| sections.extend((0..10_000).map(|_| (CUSTOM, vec![1, b'x'])))),
        ),
        Case::refused(
            "has a custom section above the limit of a file",
            "the limit is 4194304",
            with(named(b"padding", 5 << 20)),
        ),
        Case::refused("has a custom section without a name", "wasm, byte", with(vec![])),
        Case::refused(
            "has a custom section whose name goes beyond it",
            "wasm, byte",
            with(vec![100, b'x']),
        ),
    ]
}

/// Every prefix of the plain guest, and every byte of it flipped: too many for the table, and each a verdict.
#[test]
fn no_cut_and_no_flipped_byte_harms() {
    let plain = Guest::default().wasm();
    let expected = super::suite::alone();
    let cuts = (0..plain.len()).map(|len| plain[..len].to_vec());
    let flips = (0..plain.len()).flat_map(|at| {
        [0x01, 0x40, 0xff].map(|mask| {
            let mut wasm = plain.clone();
            wasm[at] ^= mask;
            wasm
        })
    });
    let mut refused = 0;
    for wasm in cuts.chain(flips) {
        let (outcome, rows) = beside(&manifest(), &wasm);
        assert_eq!(rows, expected);
        match outcome {
            Outcome::Refused(error) => {
                refused += 1;
                check_message(&error.to_string()).unwrap();
            }
            Outcome::Stopped(fault) => check_message(&fault.to_string()).unwrap(),
            Outcome::Ran(_) => {}
        }
    }
    assert!(
        refused > plain.len(),
        "all cuts and some flips are refused: {refused}"
    );
}

/// The plain guest with its sections changed.
fn edit(change: impl FnOnce(&mut Sections)) -> Vec<u8> {
    let mut sections = split(&Guest::default().wasm());
    change(&mut sections);
    join(&sections)
}

/// A custom section's contents: name, then so many zeros.
fn named(name: &[u8], zeros: usize) -> Vec<u8> {
    [&[name.len() as u8], name, &vec![0; zeros]].concat()
}

/// The count at the start of a section, which is one byte in the plain guest.
fn huge(section: &mut Vec<u8>) {
    section.splice(0..1, [0xff, 0xff, 0xff, 0xff, 0x0f]);
}

/// Another first body in a code section.
fn first_body(section: &mut Vec<u8>, body: &[u8]) {
    let mut all = bodies(section);
    all[0] = body.to_vec();
    *section = code_section(&all);
}
