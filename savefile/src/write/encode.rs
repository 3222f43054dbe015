//! The bytes of file headers and records, little-endian. Appends to a buffer only, so that several threads can
//! encode at once; who orders them is another's work.

use super::WriteError;
use crate::{Format, MAX_PACKET_BYTES, Packet};

/// pcap's magic numbers.
const MAGIC_US: u32 = 0xa1b2_c3d4;
const MAGIC_NS: u32 = 0xa1b2_3c4d;
// pcapng: block types, and the options that are written.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const COMMENT: u16 = 1;
const USER_APPLICATION: u16 = 4;
const TIME_RESOLUTION: u16 = 9;
/// Ten to the minus ninth.
const NANOSECONDS: u8 = 9;
/// Largest text of an option, bytes: its length has 16 bits.
const MAX_OPTION_BYTES: usize = u16::MAX as usize;
const NS_PER_S: u64 = 1_000_000_000;
/// Before a packet's bytes.
const PCAP_HEAD_BYTES: usize = 16;
const PCAPNG_HEAD_BYTES: usize = 28;

/// The unit of pcap's time stamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolution {
    /// As every tool reads it.
    Microseconds,
    /// As every tool of the last ten years reads it.
    #[default]
    Nanoseconds,
}

/// What a pcapng file says about itself. Empty texts are left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Section<'a> {
    /// Which program wrote it.
    pub application: &'a str,
    /// What a reader should know; the first 64 KiB of it.
    pub comment: &'a str,
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoder {
    /// Classic pcap.
    Pcap(Resolution),
    /// pcapng, in nanoseconds.
    Pcapng,
}

impl Encoder {
    /// The format.
    pub fn format(self) -> Format {
        match self {
            Self::Pcap(_) => Format::Pcap,
            Self::Pcapng => Format::Pcapng,
        }
    }

    /// pcapng's first block. A pcap file has none.
    pub fn section(out: &mut Vec<u8>, section: &Section<'_>) {
        block(out, SECTION_HEADER, |out| {
            out.extend(BYTE_ORDER.to_le_bytes());
            out.extend([1, 0, 0, 0]);
            // Length of the section: not known, as in every file that is written in one go.
            out.extend([0xff; 8]);
            text_option(out, COMMENT, section.comment);
            text_option(out, USER_APPLICATION, section.application);
            end_of_options(out);
        });
    }

    /// What comes before the first packet of a link type: pcap's file header, or an interface block.
    pub fn interface(self, out: &mut Vec<u8>, link: u32) {
        match self {
            Self::Pcap(resolution) => {
                let magic = match resolution {
                    Resolution::Microseconds => MAGIC_US,
                    Resolution::Nanoseconds => MAGIC_NS,
                };
                out.extend(magic.to_le_bytes());
                out.extend([2, 0, 4, 0]);
                out.extend([0; 8]);
                out.extend((MAX_PACKET_BYTES as u32).to_le_bytes());
                out.extend(link.to_le_bytes());
            }
            Self::Pcapng => block(out, INTERFACE, |out| {
                out.extend((link as u16).to_le_bytes());
                out.extend([0; 2]);
                // Snap length: no limit.
                out.extend([0; 4]);
                option(out, TIME_RESOLUTION, &[NANOSECONDS]);
                end_of_options(out);
            }),
        }
    }

    /// A packet of an interface that was declared. A wire length below the captured one, which readers refuse,
    /// is raised to it.
    pub fn packet(self, out: &mut Vec<u8>, interface: u32, packet: &Packet<'_>) -> Result<(), WriteError> {
        self.record(out, interface, packet.ts_ns, packet.wire_len, [packet.data, &[]])
    }

    /// The same for a packet whose bytes lie in two pieces.
    pub fn record(
        self,
        out: &mut Vec<u8>,
        interface: u32,
        ts_ns: u64,
        wire_len: u32,
        pieces: [&[u8]; 2],
    ) -> Result<(), WriteError> {
        let start = self.open(out);
        pieces.iter().for_each(|piece| out.extend_from_slice(piece));
        self.close(out, start, interface, ts_ns, wire_len)
    }

    /// Begins a packet whose bytes the caller appends; gives the place that [`Encoder::close`] wants. Who has no bytes
    /// cuts `out` off there.
    pub fn open(self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        match self {
            Self::Pcap(_) => out.extend_from_slice(&[0; PCAP_HEAD_BYTES]),
            Self::Pcapng => out.extend_from_slice(&[0; PCAPNG_HEAD_BYTES]),
        }
        start
    }

    /// Ends the packet that was begun at `start`: everything behind its head is its bytes. As [`Encoder::packet`].
    pub fn close(
        self,
        out: &mut Vec<u8>,
        start: usize,
        interface: u32,
        ts_ns: u64,
        wire_len: u32,
    ) -> Result<(), WriteError> {
        let (seconds, ns) = (ts_ns / NS_PER_S, (ts_ns % NS_PER_S) as u32);
        match self {
            Self::Pcap(resolution) => {
                let captured = (out.len() - start - PCAP_HEAD_BYTES) as u32;
                let seconds = u32::try_from(seconds).map_err(|_| WriteError::Time)?;
                let fraction = match resolution {
                    Resolution::Microseconds => ns / 1000,
                    Resolution::Nanoseconds => ns,
                };
                let head = words([seconds, fraction, captured, wire_len.max(captured)]);
                out[start..start + PCAP_HEAD_BYTES].copy_from_slice(head.as_flattened());
            }
            Self::Pcapng => {
                let captured = out.len() - start - PCAPNG_HEAD_BYTES;
                let padding = captured.next_multiple_of(4) - captured;
                let length = (PCAPNG_HEAD_BYTES + captured + padding + 4) as u32;
                let captured = captured as u32;
                let (high, low) = ((ts_ns >> 32) as u32, ts_ns as u32);
                let head = [
                    ENHANCED_PACKET,
                    length,
                    interface,
                    high,
                    low,
                    captured,
                    wire_len.max(captured),
                ];
                out[start..start + PCAPNG_HEAD_BYTES].copy_from_slice(words(head).as_flattened());
                out.extend_from_slice(&[0; 3][..padding]);
                out.extend_from_slice(&length.to_le_bytes());
            }
        }
        Ok(())
    }

    /// Puts another interface into records that were encoded with interface 0. A pcap file has one.
    pub(super) fn set_interface(self, mut records: &mut [u8], interface: u32) {
        if self.format() == Format::Pcap {
            return;
        }
        while let Some((head, _)) = records.split_first_chunk_mut::<12>() {
            let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
            head[8..].copy_from_slice(&interface.to_le_bytes());
            records = records
                .split_at_mut_checked(length.max(12))
                .map_or(&mut [], |(_, rest)| rest);
        }
    }
}

fn words<const N: usize>(fields: [u32; N]) -> [[u8; 4]; N] {
    fields.map(u32::to_le_bytes)
}

fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    body(out);
    let length = (out.len() + 4 - start) as u32;
    out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    out.extend(length.to_le_bytes());
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    out.extend(&[0; 3][..value.len().next_multiple_of(4) - value.len()]);
}

fn text_option(out: &mut Vec<u8>, code: u16, text: &str) {
    let text = &text[..text.floor_char_boundary(MAX_OPTION_BYTES)];
    if !text.is_empty() {
        option(out, code, text.as_bytes());
    }
}

fn end_of_options(out: &mut Vec<u8>) {
    out.extend([0; 4]);
}
