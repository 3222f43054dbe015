//! Where packets come from: pcap and pcapng files, a live link. A source gives packets and losses in the
//! order it has them, with its own position; it must never look into a packet or drop one silently.

mod file;
mod live;
mod meter;
mod ring;
#[cfg(test)]
mod tests;

use como_savefile::OpenError;
use thiserror::Error;

pub use file::{FileSource, Pace};
pub use live::{LiveConfig, LiveSource};
pub use meter::Meter;

use crate::trace::Gap;

/// What a source gives.
pub enum Event<'a> {
    /// A packet as captured.
    Packet(SourcePacket<'a>),
    /// Packets that the source lost or cannot give.
    Gap(Gap),
}

/// A packet as captured. No Debug: it holds real bytes.
pub struct SourcePacket<'a> {
    /// Time, ns since the Unix epoch.
    pub ts_ns: u64,
    /// Length on the wire.
    pub wire_len: u32,
    /// LINKTYPE_ number.
    pub link: u32,
    /// The captured bytes, at most [`crate::trace::MAX_CAPTURE_BYTES`].
    pub data: &'a [u8],
    /// Offset in the source after this packet: resuming there gives the next one.
    pub offset_after: u64,
}

/// What a call of [`PacketSource::read`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be more at once.
    More,
    /// Nothing now; the source has slept a little.
    Idle,
    /// Nothing ever again.
    End,
}

/// A source of packets.
pub trait PacketSource: Send {
    /// Gives some packets and losses, then returns. Never blocks for more than a tenth of a second.
    fn read(&mut self, give: &mut dyn FnMut(Event<'_>)) -> Result<Progress, SourceError>;

    /// Called instead of [`PacketSource::read`] while there is no room for packets: gives losses, and sleeps a little.
    fn wait(&mut self, give: &mut dyn FnMut(Event<'_>)) -> Result<(), SourceError> {
        let _ = give;
        Ok(())
    }

    /// What is left when capture stops: packets already received, and the last losses.
    fn finish(&mut self, give: &mut dyn FnMut(Event<'_>)) -> Result<(), SourceError> {
        let _ = give;
        Ok(())
    }

    /// A live source does not wait for us: when capture is behind, packets are lost.
    fn is_live(&self) -> bool;

    /// A live source that keeps packets until they are read, and counts those that it has no room for.
    fn has_ring(&self) -> bool {
        false
    }
}

/// What is wrong with a source. For the operator.
#[derive(Debug, Error)]
pub enum SourceError {
    /// Not a capture file that this program reads.
    #[error("{name} is not a pcap or pcapng file: {what}")]
    Format {
        /// File name.
        name: String,
        /// What did not fit, and what to do.
        what: OpenError,
    },
    /// The file is shorter than what was already stored from it.
    #[error(
        "{name} ends before byte {offset}, up to which it is already stored\ngive the same file as before, or remove the source's entry to start anew"
    )]
    Shrunk {
        /// File name.
        name: String,
        /// Where it should continue.
        offset: u64,
    },
    /// libpcap refused.
    #[error(
        "capture on {interface}: {what}\ncheck that the interface exists and that the node may capture on it (CAP_NET_RAW)"
    )]
    Live {
        /// Interface name.
        interface: String,
        /// libpcap's words.
        what: String,
    },
    /// The file cannot be read.
    #[error("{name}: {error}\ncheck the file and its permissions")]
    Io {
        /// File name.
        name: String,
        /// The system's words.
        error: std::io::Error,
    },
}
