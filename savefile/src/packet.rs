//! A packet as a capture file has it. Owns the limits that both directions share; must never be printed.

/// Largest packet that is read, in bytes: libpcap's own limit. A longer one means a corrupt file.
pub const MAX_PACKET_BYTES: usize = 262_144;

/// One packet of a file. No Debug: it holds real bytes.
#[derive(Clone, Copy)]
pub struct Packet<'a> {
    /// Time, ns since the Unix epoch.
    pub ts_ns: u64,
    /// Length on the wire, bytes.
    pub wire_len: u32,
    /// LINKTYPE_ number.
    pub link: u32,
    /// The captured bytes, at most [`MAX_PACKET_BYTES`].
    pub data: &'a [u8],
}

/// The two formats of capture files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Classic pcap: one link type a file.
    Pcap,
    /// pcapng: blocks, several interfaces.
    Pcapng,
}

impl Format {
    /// Its name, which is also its files' extension.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcap => "pcap",
            Self::Pcapng => "pcapng",
        }
    }
}
