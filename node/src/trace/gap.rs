//! Loss as data: a stretch where packets are missing, and why. Must never be dropped or merged away.

use super::codec::{Reader, put_u64};
use super::error::TraceError;

/// A stretch of packet time in which packets were lost, shed or destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// First moment that may miss packets, ns since the Unix epoch.
    pub from_ns: u64,
    /// First moment that misses none again.
    pub to_ns: u64,
    /// Why.
    pub cause: GapCause,
    /// Packets lost, where anybody knows.
    pub packets: Option<u64>,
}

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why packets are missing. The numbers are part of the format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum GapCause { $($(#[$doc])* $name = $code,)* }

        impl GapCause {
            /// Every cause.
            pub const ALL: &'static [GapCause] = &[$(GapCause::$name),*];

            /// The cause of a stored number.
            pub fn from_u8(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// A word for people and for datasets.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}
causes! {
    /// The kernel's ring was full.
    KernelDrop = 1, "kernel-drop";
    /// The interface dropped before the kernel saw the packet.
    InterfaceDrop = 2, "interface-drop";
    /// Capture's own queue was full: newest packets dropped.
    QueueFull = 3, "queue-full";
    /// The source has bytes that are not packets.
    SourceCorrupt = 4, "source-corrupt";
    /// The source ends inside a packet.
    SourceTruncated = 5, "source-truncated";
    /// Capture was not running.
    CaptureDown = 6, "capture-down";
    /// A stored block does not open any more.
    Damaged = 7, "damaged";
    /// Keys of the stretch were destroyed.
    Destroyed = 8, "destroyed";
    /// The ring has written over the stretch.
    Expired = 9, "expired";
    /// A live consumer was too slow; the trace itself is complete.
    Shed = 10, "shed";
}

impl Gap {
    /// Appends the stored form: from, to, cause, count known, count.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.from_ns);
        put_u64(out, self.to_ns);
        out.push(self.cause as u8);
        out.push(u8::from(self.packets.is_some()));
        put_u64(out, self.packets.unwrap_or(0));
    }

    /// Reads what [`Gap::encode`] wrote.
    pub(super) fn decode(input: &mut Reader<'_>) -> Result<Self, TraceError> {
        let (from_ns, to_ns) = (input.u64()?, input.u64()?);
        let cause = GapCause::from_u8(input.u8()?).ok_or(TraceError::damaged(0, "unknown cause of a gap"))?;
        let known = input.u8()? != 0;
        let count = input.u64()?;
        Ok(Self {
            from_ns,
            to_ns,
            cause,
            packets: known.then_some(count),
        })
    }
}
