//! The capture that everything is measured on: given, or made. Must never change a given one.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use como_anonymize::LinkType;
use como_savefile::{End, Reader, Record};
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
        Self::of(path)
    }

    /// A capture that lies at a path.
    pub fn of(path: PathBuf) -> Result<Self, String> {
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
        "{}: {what}\n  fix: name a whole pcap or pcapng file with --trace",
        path.display()
    )
}

/// Takes a packet; `false` ends the reading.
type Visit<'a> = &'a mut dyn FnMut(&[u8]) -> bool;

fn read(path: &Path, visit: Visit<'_>) -> Result<LinkType, String> {
    let file = File::open(path).map_err(|e| wrong(path, &e.to_string()))?;
    read_all(file, visit).map_err(|e| wrong(path, &e))
}

/// A capture that is whole, of one link type.
fn read_all(file: impl Read, visit: Visit<'_>) -> Result<LinkType, String> {
    let mut reader =
        Reader::new(file).map_err(|e| e.to_string().lines().next().unwrap_or_default().to_owned())?;
    let mut link = reader.link();
    loop {
        match reader.peek().map_err(|e| e.to_string())? {
            Record::Packet(packet, _) => {
                if *link.get_or_insert(packet.link) != packet.link {
                    return Err("packets of several link types".into());
                }
                if !visit(packet.data) {
                    break;
                }
            }
            Record::Skipped => {}
            Record::End(End::Clean) => break,
            Record::End(End::Truncated) => return Err("its last record is cut".into()),
            Record::End(End::Corrupt) => return Err("it is corrupt".into()),
        }
        reader.advance();
    }
    link.map(LinkType).ok_or_else(|| "no packet in it".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use como_savefile::{Packet, Section, Writer};

    fn file(links: &[u32]) -> Vec<u8> {
        let mut writer = Writer::pcapng(Vec::new(), &Section::default()).unwrap();
        for &link in links {
            let packet = Packet {
                ts_ns: 0,
                wire_len: 60,
                link,
                data: &[7; 60],
            };
            writer.packet(&packet).unwrap();
        }
        writer.finish().unwrap()
    }

    fn lengths(file: &[u8]) -> Result<Vec<usize>, String> {
        let mut found = Vec::new();
        read_all(file, &mut |packet| {
            found.push(packet.len());
            true
        })?;
        Ok(found)
    }

    #[test]
    fn what_is_no_whole_capture_of_one_link_type_is_refused() {
        let whole = file(&[1, 1]);
        assert_eq!(lengths(&whole), Ok(vec![60, 60]));
        assert!(lengths(&whole[..whole.len() - 1]).is_err());
        assert!(lengths(b"no capture at all, of any kind").is_err());
        assert!(lengths(&file(&[])).is_err());
        assert!(lengths(&file(&[1, 101])).unwrap_err().contains("link types"));
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
