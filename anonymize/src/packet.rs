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
    /// BSD loopback: address family in the byte order of the capturing host (LINKTYPE_NULL).
    pub const NULL: LinkType = LinkType(0);
    /// Ethernet II and 802.3 (LINKTYPE_ETHERNET).
    pub const ETHERNET: LinkType = LinkType(1);
    /// PPP, with or without address and control (LINKTYPE_PPP).
    pub const PPP: LinkType = LinkType(9);
    /// Bare IP, as DLT_RAW is numbered on most systems.
    pub const RAW_BSD: LinkType = LinkType(12);
    /// Bare IP, as DLT_RAW is numbered on OpenBSD.
    pub const RAW_OPENBSD: LinkType = LinkType(14);
    /// PPP in HDLC-like framing (LINKTYPE_PPP_HDLC).
    pub const PPP_HDLC: LinkType = LinkType(50);
    /// PPPoE from its session header on (LINKTYPE_PPP_ETHER).
    pub const PPP_ETHER: LinkType = LinkType(51);
    /// Bare IPv4 or IPv6, told apart by the version nibble (LINKTYPE_RAW).
    pub const RAW: LinkType = LinkType(101);
    /// 802.11 (LINKTYPE_IEEE802_11).
    pub const IEEE802_11: LinkType = LinkType(105);
    /// OpenBSD loopback: address family in network byte order (LINKTYPE_LOOP).
    pub const LOOP: LinkType = LinkType(108);
    /// Linux cooked capture (LINKTYPE_LINUX_SLL).
    pub const LINUX_SLL: LinkType = LinkType(113);
    /// 802.11 behind radiotap (LINKTYPE_IEEE802_11_RADIOTAP).
    pub const IEEE802_11_RADIOTAP: LinkType = LinkType(127);
    /// Bare IPv4 (LINKTYPE_IPV4).
    pub const IPV4: LinkType = LinkType(228);
    /// Bare IPv6 (LINKTYPE_IPV6).
    pub const IPV6: LinkType = LinkType(229);
    /// Linux cooked capture, version 2 (LINKTYPE_LINUX_SLL2).
    pub const LINUX_SLL2: LinkType = LinkType(276);
}
