//! The capture that everything is measured on: given, or made. Must never change a given one.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use como_anonymize::LinkType;
use como_tests::trial::program;

use crate::{Options, measure};

/// A capture file and its size in every sense.
pub struct Trace {
    /// Where it lies.
    pub path: PathBuf,
    /// Packets.
    pub packets: u64,
    /// Bytes of packets, as captured.
    pub captured_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// Packets in memory.
pub struct Packets {
    /// Of all of them.
    pub link: LinkType,
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl Trace {
    /// The capture of `--trace`, or one of our own generator.
    pub fn take_or_make(options: &Options, scratch: &Path) -> Result<Self, String> {
        let path = match &options.trace {
            Some(path) => std::path::absolute(path).map_err(|e| e.to_string())?,
            None => make(options.packets, scratch)?,
        };
        let (mut packets, mut captured_bytes) = (0, 0);
        read(&path, &mut |packet| {
            packets += 1;
            captured_bytes += packet.len() as u64;
            true
        })?;
        if packets == 0 {
            return Err(wrong(&path, "no packet in it"));
        }
        let file_bytes = std::fs::metadata(&path)
            .map_err(|e| wrong(&path, &e.to_string()))?
            .len();
        Ok(Self {
            path,
            packets,
            captured_bytes,
            file_bytes,
        })
    }

    /// Its first packets.
    pub fn load(&self, max_packets: usize) -> Result<Packets, String> {
        let (mut ends, mut bytes) = (Vec::new(), Vec::new());
        let link = read(&self.path, &mut |packet| {
            bytes.extend_from_slice(packet);
            ends.push(bytes.len());
            ends.len() < max_packets
        })?;
        Ok(Packets { link, ends, bytes })
    }
}

impl Packets {
    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Each, as captured.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends
            .iter()
            .map(move |&end| &self.bytes[std::mem::replace(&mut start, end)..end])
    }
}

fn make(packets: u64, scratch: &Path) -> Result<PathBuf, String> {
    let path = scratch.join("generated.pcap");
    let mut command = Command::new(program("como-generate")?);
    command.arg(&path).args(["--packets", &packets.to_string()]);
    measure::command(&mut command)?;
    Ok(path)
}

fn wrong(path: &Path, what: &str) -> String {
    format!(
        "{}: {what}\n  fix: name a classic pcap file with --trace",
        path.display()
    )
}

/// Takes a packet; `false` ends the reading.
type Visit<'a> = &'a mut dyn FnMut(&[u8]) -> bool;

fn read(path: &Path, visit: Visit<'_>) -> Result<LinkType, String> {
    let file = File::open(path).map_err(|e| wrong(path, &e.to_string()))?;
    read_pcap(&mut BufReader::with_capacity(1 << 20, file), visit).map_err(|e| wrong(path, &e))
}

/// Largest packet that libpcap writes, bytes: a length beyond it means a corrupt file.
const MAX_CAPTURED_BYTES: usize = 262_144;

/// A classic pcap file, either byte order, micro- or nanoseconds.
fn read_pcap(file: &mut impl BufRead, visit: Visit<'_>) -> Result<LinkType, String> {
    let mut head = [0; 24];
    file.read_exact(&mut head)
        .map_err(|_| "too short for a pcap file")?;
    let little = match head[..4] {
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => true,
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => false,
        _ => return Err("not a classic pcap file".into()),
    };
    let number = |bytes: &[u8]| {
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if little {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        }
    };
    let mut packet = vec![0; MAX_CAPTURED_BYTES];
    let mut record = [0; 16];
    while !file.fill_buf().map_err(|e| e.to_string())?.is_empty() {
        file.read_exact(&mut record)
            .map_err(|_| "its last record is cut")?;
        let length = number(&record[8..]) as usize;
        let packet = packet
            .get_mut(..length)
            .ok_or_else(|| format!("a packet claims {length} bytes"))?;
        file.read_exact(packet).map_err(|_| "its last packet is cut")?;
        if !visit(packet) {
            break;
        }
    }
    Ok(LinkType(number(&head[20..]) & 0xffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(magic: [u8; 4], lengths: &[[u8; 4]], bytes: usize) -> Vec<u8> {
        let mut file = magic.to_vec();
        file.extend([0; 16]);
        file.extend([1, 0, 0, 0]);
        for length in lengths {
            file.extend([0; 8]);
            file.extend(length);
            file.extend([0; 4]);
            file.extend(vec![7; bytes]);
        }
        file
    }

    fn lengths(mut file: &[u8]) -> Result<Vec<usize>, String> {
        let mut found = Vec::new();
        read_pcap(&mut file, &mut |packet| {
            found.push(packet.len());
            true
        })?;
        Ok(found)
    }

    #[test]
    fn both_byte_orders_are_read() {
        let little = file([0xd4, 0xc3, 0xb2, 0xa1], &[[60, 0, 0, 0], [60, 0, 0, 0]], 60);
        let big = file([0xa1, 0xb2, 0x3c, 0x4d], &[[0, 0, 0, 60]], 60);
        assert_eq!(lengths(&little), Ok(vec![60, 60]));
        assert_eq!(lengths(&big), Ok(vec![60]));
    }

    #[test]
    fn what_is_no_whole_pcap_file_is_refused() {
        let whole = file([0xd4, 0xc3, 0xb2, 0xa1], &[[60, 0, 0, 0]], 60);
        assert!(lengths(&whole[..whole.len() - 1]).is_err());
        assert!(lengths(&whole[..30]).is_err());
        assert!(lengths(b"\x0a\x0d\x0d\x0apcapng").is_err());
        assert!(lengths(&file([0xd4, 0xc3, 0xb2, 0xa1], &[[0, 0, 0, 0xff]], 60)).is_err());
    }

    #[test]
    fn packets_in_memory_are_those_of_the_file() {
        let packets = Packets {
            link: LinkType(1),
            ends: vec![2, 2, 5],
            bytes: b"abcde".to_vec(),
        };
        assert_eq!(packets.iter().collect::<Vec<_>>(), [&b"ab"[..], b"", b"cde"]);
        assert_eq!(packets.len(), 3);
    }
}
