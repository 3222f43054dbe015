//! A packet as the source gave it. Owns the raw input types; must never be printed, logged or serialised.

/// One captured packet. Deliberately without `Debug`, `Display` or any serialisation: nothing that holds
/// real bytes can slip into a log by accident.
#[derive(Clone, Copy)]
pub struct RawPacket<'a> {
    /// Packet time, nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// Length on the wire, bytes (`data` may be shorter).
    pub wire_len: u32,
    /// Link type of `data`.
    pub link: LinkType,
    /// The captured bytes, from the link header on.
    pub data: &'a [u8],
}

/// A libpcap `LINKTYPE_` number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(pub u32);

impl LinkType {
    /// Ethernet II and 802.3 (LINKTYPE_ETHERNET).
    pub const ETHERNET: LinkType = LinkType(1);
    /// Bare IPv4 or IPv6, told apart by the version nibble (LINKTYPE_RAW).
    pub const RAW: LinkType = LinkType(101);
}
