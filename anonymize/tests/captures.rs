//! Every classic pcap of the shared folder, where present: no panic, no address of a packet in its own output,
//! and the counts add up.

use std::fs;
use std::path::{Path, PathBuf};

use como_anonymize::{Anonymizer, LinkType, RawPacket, build, dissect, rekey};
use como_anonymize::{Layer, LayerKind};
use como_keys::mapping::MappingKey;
use como_policies::AccessLevel;

/// Packets checked per file: the large captures repeat themselves.
const MAX_PACKETS: usize = 4000;

fn shared() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("COMO_SHARED").map_or(beside, PathBuf::from);
    folder.join("data").is_dir().then(|| folder.join("data"))
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Link type and packets of a classic pcap file; `None` for other formats.
fn read_pcap(bytes: &[u8]) -> Option<(LinkType, Vec<&[u8]>)> {
    let swapped = match bytes.first_chunk::<4>()? {
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => true,
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => false,
        _ => return None,
    };
    let word = |at: usize| {
        let word = *bytes.get(at..)?.first_chunk::<4>()?;
        Some(if swapped {
            u32::from_le_bytes(word)
        } else {
            u32::from_be_bytes(word)
        })
    };
    let link = LinkType(word(20)? & 0xffff);
    let (mut packets, mut at) = (Vec::new(), 24);
    while let Some(len) = word(at + 8) {
        let Some(data) = bytes.get(at + 16..at + 16 + len as usize) else {
            break;
        };
        packets.push(data);
        at += 16 + len as usize;
    }
    Some((link, packets))
}

/// Addresses of a packet's IP and ARP headers, quoted ones too, that are long and particular enough to search.
fn addresses<'a>(layer: &Layer, data: &'a [u8]) -> Vec<&'a [u8]> {
    let header = layer.of(data);
    let all = match layer.kind {
        LayerKind::Ipv4 => vec![&header[12..16], &header[16..20]],
        LayerKind::Arp => vec![&header[14..18], &header[24..28]],
        LayerKind::Ipv6 => vec![&header[8..16], &header[16..24], &header[24..32], &header[32..40]],
        _ => vec![],
    };
    // Mostly zero or all-ones bytes occur in headers for other reasons.
    all.into_iter()
        .filter(|a| a.iter().filter(|b| !matches!(**b, 0 | 1 | 0xff)).count() >= 3)
        .collect()
}

#[test]
fn no_capture_leaks_or_panics() {
    let Some(folder) = shared() else {
        println!("skipped: no shared captures (set COMO_SHARED)");
        return;
    };
    let keys = [1u8, 2, 3].map(|seed| Anonymizer::new(&MappingKey::from_bytes(&[seed; 32])));
    let mut paths = Vec::new();
    files(&folder, &mut paths);
    let mut total = 0;
    for path in paths {
        let bytes = fs::read(&path).unwrap();
        let Some((link, mut packets)) = read_pcap(&bytes) else {
            continue;
        };
        packets.truncate(MAX_PACKETS);
        total += packets.len();
        let raw = || {
            packets.iter().map(|data| RawPacket {
                ts_ns: 0,
                wire_len: data.len() as u32,
                link,
                data,
            })
        };
        let views = keys
            .each_ref()
            .map(|key| build(AccessLevel::Anonymized, link, raw(), Some(key)));
        let again = rekey(&views[0], &keys[1]);
        assert_eq!(
            [views[0].len(), again.len()],
            [packets.len(); 2],
            "{}",
            path.display()
        );
        assert_eq!(views[0].columns.deny, again.columns.deny, "{}", path.display());
        for (at, data) in packets.iter().enumerate() {
            let framed = !views[0].frames.get(at).unwrap().is_empty();
            assert_eq!(
                framed,
                views[0].columns.deny[at] == 0,
                "{} packet {at}",
                path.display()
            );
            for address in dissect(link, data)
                .layers()
                .iter()
                .flat_map(|layer| addresses(layer, data))
            {
                // Under one key chance may play; under three it is a leak.
                let leaks = views.iter().all(|view| {
                    view.frames
                        .get(at)
                        .unwrap()
                        .windows(address.len())
                        .any(|window| window == address)
                });
                assert!(!leaks, "{} packet {at}: {address:02x?}", path.display());
            }
        }
    }
    println!("{total} packets checked");
    assert!(total > 0);
}
