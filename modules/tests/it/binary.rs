//! WebAssembly files as sections, and sections as items: for tests that change single parts. Owns the framing of
//! the binary format (WebAssembly core specification, 5.2 and 5.5); must never be given a file that is damaged.

/// Kinds of section.
pub const CUSTOM: u8 = 0;
pub const TYPE: u8 = 1;
pub const FUNCTION: u8 = 3;
pub const MEMORY: u8 = 5;
pub const EXPORT: u8 = 7;
pub const CODE: u8 = 10;
pub const DATA: u8 = 11;
pub const DATA_COUNT: u8 = 12;

/// Magic number and version.
const HEAD_BYTES: usize = 8;

/// Kind and contents, in order.
pub type Sections = Vec<(u8, Vec<u8>)>;

pub fn split(wasm: &[u8]) -> Sections {
    let mut sections = Vec::new();
    let mut rest = &wasm[HEAD_BYTES..];
    while let Some((id, after)) = rest.split_first() {
        let (body, after) = sized(after);
        sections.push((*id, body.to_vec()));
        rest = after;
    }
    sections
}

pub fn join(sections: &Sections) -> Vec<u8> {
    let mut wasm = b"\0asm\x01\0\0\0".to_vec();
    for (id, body) in sections {
        wasm.push(*id);
        wasm.extend(leb128(body.len() as u32));
        wasm.extend(body);
    }
    wasm
}

/// Where the section of a kind is. The caller knows that there is one.
pub fn place(sections: &Sections, id: u8) -> usize {
    let found = sections.iter().position(|(kind, _)| *kind == id);
    found.expect("a section of that kind")
}

/// The bodies of a code section.
pub fn bodies(section: &[u8]) -> Vec<Vec<u8>> {
    let (count, head) = read_leb128(section);
    let mut rest = &section[head..];
    (0..count)
        .map(|_| {
            let (body, after) = sized(rest);
            rest = after;
            body.to_vec()
        })
        .collect()
}

/// A code section of these bodies.
pub fn code(bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut section = leb128(bodies.len() as u32);
    for body in bodies {
        section.extend(leb128(body.len() as u32));
        section.extend(body);
    }
    section
}

pub fn leb128(mut value: u32) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return out;
        }
        out.push(byte | 0x80);
    }
}

/// A length, so many bytes, and what follows them.
fn sized(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (len, head) = read_leb128(bytes);
    bytes[head..].split_at(len)
}

/// A number, and how many bytes it has.
fn read_leb128(bytes: &[u8]) -> (usize, usize) {
    let mut value = 0;
    for (i, byte) in bytes.iter().enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return (value, i + 1);
        }
    }
    panic!("a number without an end");
}
