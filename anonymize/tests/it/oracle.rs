//! What must hold of any packet whatever: the check behind the fuzz target, the corpus and the captures. Takes bytes
//! from outside; panics on a defect of ours and on nothing else.

use std::ops::Range;
use std::sync::LazyLock;

use como_anonymize::{
    Anonymizer, Dissection, Layer, LayerKind, LinkType, RawPacket, RowMeta, View, build, describe, dissect,
    rekey, restore, strip,
};
use como_keys::mapping::MappingKey;
use como_policies::AccessLevel;

/// Three keys: what stands in the outputs of all three is no pseudonym. Also: the node, a partner, another partner.
pub static KEYS: LazyLock<[Anonymizer; 3]> =
    LazyLock::new(|| [0x11, 0x22, 0x33].map(|seed| Anonymizer::new(&MappingKey::from_bytes(&[seed; 32]))));

/// Link types that the first byte of an input chooses from.
const LINKS: [u32; 8] = [1, 101, 0, 113, 276, 9, 51, 105];

pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// The input of the fuzz target that is this packet; `None` for a link type that it does not try.
#[allow(dead_code, reason = "`como-regenerate seeds` uses it")]
pub fn input(link: LinkType, data: &[u8]) -> Option<Vec<u8>> {
    let choice = LINKS.iter().position(|known| *known == link.0)?;
    Some([&[choice as u8], data].concat())
}

/// An input of the fuzz target: a byte for the link type, the packet.
pub fn check_input(input: &[u8]) {
    let Some((link, data)) = input.split_first() else {
        return;
    };
    check(LinkType(LINKS[usize::from(*link) % LINKS.len()]), data);
}

/// All promises that one packet can break.
pub fn check(link: LinkType, data: &[u8]) {
    let found = dissect(link, data);
    assert!(found.header_len <= data.len(), "headers end within the packet");
    let mut reached = 0;
    for layer in found.layers() {
        assert!(
            !layer.of(data).is_empty() && layer.offset as usize >= reached,
            "layers follow one another"
        );
        reached = layer.offset as usize + layer.len as usize;
    }
    assert_eq!(reached, found.header_len);
    let packet = RawPacket {
        ts_ns: 1_234_567_891,
        wire_len: data.len() as u32,
        link,
        data,
    };
    for level in AccessLevel::ALL {
        let view = build(level, link, [packet], Some(&KEYS[0]));
        assert_eq!(
            (view.len(), view.frames.len()),
            (1, 1),
            "every packet yields a descriptor"
        );
    }
    let views = KEYS
        .each_ref()
        .map(|key| build(AccessLevel::Anonymized, link, [packet], Some(key)));
    let is_denied = found.deny.is_some();
    for view in &views {
        assert_eq!(view.columns.deny[0] != 0, is_denied);
        assert_eq!(view.frames.bytes.is_empty(), is_denied || found.header_len == 0);
    }
    let outputs = views.each_ref().map(|view| &view.frames.bytes[..]);
    no_address_in(outputs, link, data, &found);
    headers_hide_devices(&packet, &found);
    if !is_denied {
        stands_as_a_packet(&views[0], &found);
    }
}

/// The address fields of a packet's IP and ARP headers, those that are quoted or carried too.
pub fn address_fields(layer: &Layer) -> Vec<Range<usize>> {
    let at = |from: usize, to: usize| layer.offset as usize + from..layer.offset as usize + to;
    match layer.kind {
        LayerKind::Ipv4 => vec![at(12, 16), at(16, 20)],
        LayerKind::Arp => vec![at(14, 18), at(24, 28)],
        // Halves: an interface id alone is a secret.
        LayerKind::Ipv6 => vec![at(8, 16), at(16, 24), at(24, 32), at(32, 40)],
        _ => vec![],
    }
}

/// No address of a packet stands in its own output, wherever. Other fields may hold the same bytes by chance, and a
/// fuzzer makes chance happen: what stands there is the address only if another address would stand there too.
fn no_address_in(outputs: [&[u8]; 3], link: LinkType, data: &[u8], found: &Dissection) {
    for field in found.layers().iter().flat_map(address_fields) {
        let address = &data[field.clone()];
        // Mostly zero or all-ones bytes occur in headers for other reasons.
        let told = address.iter().filter(|byte| !matches!(**byte, 0 | 1 | 0xff));
        if told.count() < 3 {
            continue;
        }
        for at in places(outputs, address) {
            let mut other = data.to_vec();
            other[field.clone()].iter_mut().for_each(|byte| *byte ^= 0x5a);
            let others = KEYS.each_ref().map(|key| {
                let mut out = Vec::new();
                key.anonymize(link, &other, &mut out);
                out
            });
            let follows = places(others.each_ref().map(|out| &out[..]), &other[field.clone()]).contains(&at);
            assert!(!follows, "an address stands at byte {at} of its own output");
        }
    }
}

/// Where all three outputs hold the same bytes.
fn places(outputs: [&[u8]; 3], bytes: &[u8]) -> Vec<usize> {
    let holds = |output: &&[u8], at: usize| output.get(at..at + bytes.len()) == Some(bytes);
    (0..outputs[0].len())
        .filter(|at| outputs.iter().all(|output| holds(output, *at)))
        .collect()
}

/// Level `headers`: as long as the headers at most, the same from section R as from the whole packet, and no MAC of
/// a device as it was.
fn headers_hide_devices(packet: &RawPacket<'_>, found: &Dissection) {
    let shown = KEYS.each_ref().map(|key| {
        let mut live = Vec::new();
        key.show_headers(packet.data, found, &mut live);
        let (mut past, stored) = (Vec::new(), &packet.data[..found.header_len]);
        key.show_headers(stored, &dissect(packet.link, stored), &mut past);
        assert_eq!(live, past, "the past is shown as it was live");
        assert!(live.len() <= found.header_len);
        live
    });
    for layer in found
        .layers()
        .iter()
        .filter(|layer| layer.kind == LayerKind::Ethernet)
    {
        for at in [0, 6].map(|at| layer.offset as usize + at) {
            let is_device = packet.data[at] & 1 == 0 && packet.data[at + 3..at + 6] != [0; 3];
            let nic = &packet.data[at + 3..at + 6];
            let leaks = shown.iter().all(|shown| &shown[at + 3..at + 6] == nic);
            assert!(!(is_device && leaks), "the NIC part of a MAC is shown");
        }
    }
}

/// The output is a packet of the same layers, can be re-keyed, stripped and restored.
fn stands_as_a_packet(view: &View, found: &Dissection) {
    let output = &view.frames.bytes;
    let again = dissect(view.link, output);
    let shape = |found: &Dissection| -> Vec<(LayerKind, u8, u32)> {
        let layers = found.layers().iter();
        layers
            .map(|layer| (layer.kind, layer.quote_depth, layer.offset))
            .collect()
    };
    assert_eq!(again.deny, None, "the output parses");
    assert_eq!(
        shape(&again),
        shape(found),
        "the output has the layers of the packet"
    );
    let partner = rekey(view, &KEYS[1]);
    assert_eq!(
        partner.frames.offsets, view.frames.offsets,
        "re-keying keeps the layout"
    );
    assert_eq!(partner.columns.deny, [0]);
    let meta = RowMeta::of_row(&view.columns.row(0).expect("one row"));
    let row = describe(&meta, view.link, output);
    assert_eq!(
        view.columns.row(0),
        Some(row),
        "the row of the packet's own dissection is that of the output"
    );
    let mut back = output.clone();
    let found = dissect(view.link, &back);
    strip(&found, &mut back);
    assert_eq!(
        dissect(view.link, &back).layers(),
        found.layers(),
        "stripping moves no header"
    );
    restore(&found, &mut back, &row);
    assert_eq!(&back, output, "what was stripped is restored");
}
