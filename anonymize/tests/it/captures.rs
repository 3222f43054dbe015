//! Every capture of the shared folder, where present, malformed ones and pcapng too: no panic, no address of a packet
//! in its own output, and the counts add up.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use como_anonymize::{LinkType, RawPacket, build, rekey, rekey_addresses_and_ports};
use como_policies::AccessLevel;
use pcap_file::pcapng::{Block, PcapNgReader};

use crate::oracle::{self, KEYS};

/// Packets checked per file: the large captures repeat themselves.
const MAX_PACKETS: usize = 2000;

/// The folder of captures beside the repository, or where COMO_SHARED says.
fn shared() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("COMO_SHARED").map_or(beside, PathBuf::from);
    folder.join("data").is_dir().then(|| folder.join("data"))
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Packets by link type, in either format; none where the file is of another one, those before the damage where it
/// is damaged.
fn packets_of(bytes: &[u8]) -> BTreeMap<u32, Vec<Vec<u8>>> {
    let mut packets = BTreeMap::new();
    match bytes.first_chunk::<4>() {
        Some([0x0a, 0x0d, 0x0d, 0x0a]) => read_pcapng(bytes, &mut packets),
        _ => {
            if let Some((link, found)) = read_pcap(bytes) {
                packets.insert(link, found);
            }
        }
    }
    packets
}

fn read_pcapng(bytes: &[u8], packets: &mut BTreeMap<u32, Vec<Vec<u8>>>) {
    let Ok(mut reader) = PcapNgReader::new(bytes) else {
        return;
    };
    let mut count = 0;
    loop {
        let (interface, data) = match reader.next_block() {
            Some(Ok(Block::EnhancedPacket(packet))) => (packet.interface_id, packet.data.into_owned()),
            Some(Ok(Block::SimplePacket(packet))) => (0, packet.data.into_owned()),
            Some(Ok(_)) => continue,
            Some(Err(_)) | None => return,
        };
        let Some(link) = reader
            .interfaces()
            .get(interface as usize)
            .map(|of| u32::from(of.linktype))
        else {
            return;
        };
        packets.entry(link).or_default().push(data);
        count += 1;
        if count == MAX_PACKETS {
            return;
        }
    }
}

/// Classic pcap, read as leniently as can be: what a header claims and the file does not hold ends it.
fn read_pcap(bytes: &[u8]) -> Option<(u32, Vec<Vec<u8>>)> {
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
    let link = word(20)? & 0xffff;
    let (mut packets, mut at) = (Vec::new(), 24);
    while let Some(len) = word(at + 8) {
        let Some(data) = bytes.get(at + 16..at + 16 + len as usize) else {
            break;
        };
        packets.push(data.to_vec());
        if packets.len() == MAX_PACKETS {
            break;
        }
        at += 16 + len as usize;
    }
    Some((link, packets))
}

#[test]
fn no_capture_leaks_or_panics() {
    let Some(folder) = shared() else {
        println!("skipped: no shared captures (set COMO_SHARED)");
        return;
    };
    let mut paths = Vec::new();
    files(&folder, &mut paths);
    let (mut total, mut captures, mut pcapng) = (0, 0, 0);
    for path in paths {
        let bytes = fs::read(&path).expect("a capture");
        let found = packets_of(&bytes);
        captures += usize::from(!found.is_empty());
        pcapng += usize::from(!found.is_empty() && bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]));
        for (link, packets) in found {
            let link = LinkType(link);
            let name = path.display();
            println!("{name}: {} packets of link type {}", packets.len(), link.0);
            packets.iter().for_each(|data| oracle::check(link, data));
            total += packets.len();
            counts_add_up(link, &packets);
        }
    }
    println!("{total} packets of {captures} captures checked, {pcapng} of them pcapng");
    assert!(total > 0 && pcapng > 0);
}

/// A batch holds every packet once, framed or denied, at every level and after re-keying.
fn counts_add_up(link: LinkType, packets: &[Vec<u8>]) {
    let raw = || {
        packets.iter().map(|data| RawPacket {
            ts_ns: 0,
            wire_len: data.len() as u32,
            link,
            data,
        })
    };
    let node = build(AccessLevel::Anonymized, link, raw(), Some(&KEYS[0]));
    let partner = rekey(&node, &KEYS[1]);
    assert_eq!(node.columns.deny, partner.columns.deny);
    let mut columns = node.columns.clone();
    rekey_addresses_and_ports(&mut columns, &KEYS[1]);
    assert!(columns.src == partner.columns.src && columns.dst == partner.columns.dst);
    assert!(columns.src_port == partner.columns.src_port && columns.dst_port == partner.columns.dst_port);
    for level in AccessLevel::ALL {
        let view = build(level, link, raw(), Some(&KEYS[0]));
        assert_eq!((view.len(), view.frames.len()), (packets.len(), packets.len()));
        assert!(view.columns.is_even());
        if level <= AccessLevel::Headers {
            assert_eq!(view.columns.deny, node.columns.deny, "{level}");
        }
    }
}
