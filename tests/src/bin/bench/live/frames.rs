//! The two captures that are sent: shortest frames only, and all as they come. Both are cut out of the benchmark's
//! trace. Must never send a frame that the trace does not have, but for the padding of Ethernet.

use std::fs::File;
use std::path::{Path, PathBuf};

use como_anonymize::LinkType;
use como_savefile::{Packet, Resolution, Writer};
use como_tests::trial;

use crate::trace::Trace;

/// Shortest Ethernet frame without its check sequence, bytes.
const SHORTEST_BYTES: usize = 60;
/// Packets of the trace that are looked at.
const LOOKED_AT: usize = 400_000;
/// Most packets of a capture that is sent; it goes round as often as the load needs.
const MOST: usize = 100_000;
/// With fewer, the link would carry the same few flows over and over.
const FEWEST: usize = 500;

/// Which frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// Frames of at most 60 bytes, padded to that.
    Minimum,
    /// All frames.
    Mixed,
}

/// Writes the capture that is sent.
pub fn write(trace: &Trace, sizes: Sizes, folder: &Path) -> trial::Result<PathBuf> {
    let packets = trace.load(LOOKED_AT)?;
    if packets.link != LinkType::ETHERNET {
        return Err("a veth carries Ethernet only; give an Ethernet capture with --trace".into());
    }
    let wanted = |data: &&[u8]| data.len() >= 14 && (sizes == Sizes::Mixed || data.len() <= SHORTEST_BYTES);
    let frames: Vec<Vec<u8>> = packets.iter().filter(wanted).take(MOST).map(padded).collect();
    if frames.len() < FEWEST {
        return Err(format!(
            "the trace has only {} such frames; {FEWEST} are needed",
            frames.len()
        ));
    }
    let path = folder.join(match sizes {
        Sizes::Minimum => "minimum.pcap",
        Sizes::Mixed => "mixed.pcap",
    });
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let file = File::create(&path).map_err(|e| failed(&e))?;
    let mut writer =
        Writer::pcap(file, LinkType::ETHERNET.0, Resolution::Microseconds).map_err(|e| failed(&e))?;
    for (at, data) in frames.iter().enumerate() {
        let packet = Packet {
            ts_ns: at as u64 * 1000,
            wire_len: data.len() as u32,
            link: LinkType::ETHERNET.0,
            data,
        };
        writer.packet(&packet).map_err(|e| failed(&e))?;
    }
    writer.finish().map_err(|e| failed(&e))?;
    Ok(path)
}

fn padded(data: &[u8]) -> Vec<u8> {
    let mut frame = data.to_vec();
    frame.resize(frame.len().max(SHORTEST_BYTES), 0);
    frame
}
