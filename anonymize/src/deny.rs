//! Why a packet has no view below `payload`. Owns the reason codes, which are stored in traces: never renumber.

/// The reason for which a packet was denied. The number is what the `deny` column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DenyReason {
    /// No dissector for this link type.
    UnknownLinkType = 1,
    /// The captured bytes end inside a header.
    Truncated = 2,
    /// A header contradicts itself or its surroundings (lengths, reserved values).
    Malformed = 3,
    /// An ethertype that is not on the allow-list.
    UnknownEthertype = 4,
    /// An 802.3 length field: LLC/SNAP, STP, IS-IS and their like.
    Llc = 5,
    /// The version nibble disagrees with the ethertype, or is neither 4 nor 6.
    BadIpVersion = 6,
    /// More stacked headers than the dissector follows.
    TooDeep = 7,
    /// ARP for anything but IPv4 over Ethernet.
    UnsupportedArp = 8,
    /// Not dissected at all: the packet was set aside because it stopped the process once.
    Undissected = 9,
    /// 802.11, with radiotap or without: its frames tell too much before any address is mapped.
    Wireless = 10,
    /// At `coarse`: flows that fewer than k sources share, all in one row.
    Suppressed = 64,
    /// At `coarse`: flows beyond those that a bin tells apart, all in one row.
    TooManyFlows = 65,
}

impl DenyReason {
    /// Every reason, in the order of the codes.
    pub const ALL: [DenyReason; 12] = [
        DenyReason::UnknownLinkType,
        DenyReason::Truncated,
        DenyReason::Malformed,
        DenyReason::UnknownEthertype,
        DenyReason::Llc,
        DenyReason::BadIpVersion,
        DenyReason::TooDeep,
        DenyReason::UnsupportedArp,
        DenyReason::Undissected,
        DenyReason::Wireless,
        DenyReason::Suppressed,
        DenyReason::TooManyFlows,
    ];

    /// The code stored in the `deny` column (0 there means "not denied").
    pub fn as_u8(self) -> u8 {
        self as u8
    }

    /// The reason with this code; `None` for 0 and for unknown codes.
    pub fn from_u8(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_u8() == code)
    }

    /// A short name for counters and reports.
    pub fn name(self) -> &'static str {
        match self {
            DenyReason::UnknownLinkType => "unknown-link-type",
            DenyReason::Truncated => "truncated",
            DenyReason::Malformed => "malformed",
            DenyReason::UnknownEthertype => "unknown-ethertype",
            DenyReason::Llc => "llc",
            DenyReason::BadIpVersion => "bad-ip-version",
            DenyReason::TooDeep => "too-deep",
            DenyReason::UnsupportedArp => "unsupported-arp",
            DenyReason::Undissected => "undissected",
            DenyReason::Wireless => "wireless",
            DenyReason::Suppressed => "suppressed",
            DenyReason::TooManyFlows => "too-many-flows",
        }
    }
}
