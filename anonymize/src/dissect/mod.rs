//! Which headers a packet has, and where. Owns the allow-list of what counts as a header: what does not parse
//! is not header. Reads only; never decides what a header's fields become.

pub(crate) mod icmp;
mod ip;
pub(crate) mod link;
pub(crate) mod multicast;
pub(crate) mod ppp;
pub(crate) mod transport;
pub(crate) mod tunnel;
pub(crate) mod udp_tunnel;

use crate::deny::DenyReason;
use crate::packet::LinkType;

/// Stacked headers followed in one packet, quoted ones included. Bounds `header_len` to about 24 x 2 KiB.
pub const MAX_LAYERS: usize = 24;
/// VLAN tags followed in one frame.
pub const MAX_VLAN_TAGS: usize = 4;
/// ICMP quotes within quotes that are followed.
pub const MAX_QUOTE_DEPTH: u8 = 2;
/// Tunnels within tunnels that are followed; the headers of a packet end where a deeper one begins.
pub const MAX_TUNNEL_DEPTH: u8 = 4;

/// A kind of header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// Ethernet II, 14 bytes.
    Ethernet,
    /// Linux cooked capture, version 1: 16 bytes (LINKTYPE_LINUX_SLL).
    Sll,
    /// Linux cooked capture, version 2: 20 bytes (LINKTYPE_LINUX_SLL2).
    Sll2,
    /// BSD loopback: an address family of 4 bytes, in either byte order (LINKTYPE_NULL, LINKTYPE_LOOP).
    Loopback,
    /// PPP: address and control where present, protocol number.
    Ppp,
    /// PPPoE, 6 bytes.
    Pppoe,
    /// An MPLS label stack.
    Mpls,
    /// The control word of an MPLS pseudowire, 4 bytes.
    PseudowireControl,
    /// 802.1Q or 802.1ad tag, 4 bytes after the ethertype that announces it.
    Vlan,
    /// ARP for IPv4 over Ethernet, 28 bytes.
    Arp,
    /// IPv4 with options.
    Ipv4,
    /// IPv6 fixed header.
    Ipv6,
    /// IPv6 hop-by-hop options.
    HopByHop,
    /// IPv6 routing header.
    Routing,
    /// IPv6 fragment header.
    Fragment,
    /// IPv6 destination options.
    DestinationOptions,
    /// Authentication header.
    Ah,
    /// ESP: SPI and sequence number; what follows is opaque.
    Esp,
    /// TCP with options.
    Tcp,
    /// The first 8 bytes of a quoted TCP header: ports and sequence number.
    TcpStub,
    /// UDP.
    Udp,
    /// SCTP common header, 12 bytes (8 where an ICMP error quotes no more); chunks are no header.
    Sctp,
    /// ICMP, without what it quotes.
    Icmp,
    /// ICMPv6: the message with its options or group records, without what it quotes.
    Icmp6,
    /// IGMP with its group records.
    Igmp,
    /// GRE with its optional fields, version 0 or 1.
    Gre,
    /// EtherIP, 2 bytes.
    EtherIp,
    /// VXLAN, 8 bytes.
    Vxlan,
    /// GENEVE with its options.
    Geneve,
    /// GTP-U with its extension headers.
    Gtp,
    /// L2TP version 2 with its optional fields.
    L2tp,
    /// Authentication indication of Teredo.
    TeredoAuthentication,
    /// Origin indication of Teredo, 8 bytes.
    TeredoOrigin,
}

/// One header: where it lies in the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// What it is.
    pub kind: LayerKind,
    /// 0 for the packet's own headers, 1 for those an ICMP error quotes, and so on.
    pub quote_depth: u8,
    /// 0 outside of tunnels, 1 for the headers that the outermost tunnel carries, and so on. A tunnel's own header
    /// belongs to its carrier. MPLS and PPPoE are tags between link and network: they add no depth.
    pub tunnel_depth: u8,
    /// First byte.
    pub offset: u32,
    /// Bytes.
    pub len: u32,
}

impl Layer {
    /// The header's bytes in `data`, the packet that was dissected. Empty if `data` is another, shorter one.
    pub fn of<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        data.get(self.offset as usize..(self.offset + self.len) as usize)
            .unwrap_or(&[])
    }
}

/// What dissection found. No allocation, no reference to the packet.
#[derive(Clone)]
pub struct Dissection {
    layers: [Layer; MAX_LAYERS],
    count: usize,
    /// End of the last validly parsed header: the real header bytes are `data[..header_len]`.
    pub header_len: usize,
    /// Why the packet has no view below `headers`, if so.
    pub deny: Option<DenyReason>,
}

impl Default for Dissection {
    fn default() -> Self {
        Self::new()
    }
}

impl Dissection {
    /// That of no packet: no layers.
    pub fn new() -> Self {
        let none = Layer {
            kind: LayerKind::Ethernet,
            quote_depth: 0,
            tunnel_depth: 0,
            offset: 0,
            len: 0,
        };
        Dissection {
            layers: [none; MAX_LAYERS],
            count: 0,
            header_len: 0,
            deny: None,
        }
    }

    /// Dissects another captured packet in the place of this one: what [`dissect`] finds, without making room anew.
    pub fn read(&mut self, link: LinkType, data: &[u8]) {
        (self.count, self.header_len) = (0, 0);
        // Offsets are 32 bits; captured packets end far below (libpcap's own limit is 256 KiB).
        let data = &data[..data.len().min(u32::MAX as usize)];
        let walk = Walk { data, found: self };
        let result = walk.link(link);
        self.deny = result.err();
    }

    /// From the dissection of a packet to that of the frame which it became at `anonymized`: a frame that ends where the
    /// packet's headers did has the same layers, and only another is looked at.
    pub fn follow(&mut self, link: LinkType, frame: &[u8]) {
        if frame.is_empty() || frame.len() != self.header_len {
            self.read(link, frame);
        }
    }

    /// The headers in their order in the packet; those of a quoted packet follow the ICMP header quoting it.
    pub fn layers(&self) -> &[Layer] {
        &self.layers[..self.count]
    }

    /// The headers that describe the packet as a whole: up to those of the outermost IP or ARP packet, nothing
    /// that it quotes or carries.
    pub fn own(&self) -> &[Layer] {
        let layers = self.layers();
        let depth = layers
            .iter()
            .find(|layer| matches!(layer.kind, LayerKind::Ipv4 | LayerKind::Ipv6 | LayerKind::Arp))
            .map_or(0, |layer| layer.tunnel_depth);
        let own = layers
            .iter()
            .take_while(|layer| layer.quote_depth == 0 && layer.tunnel_depth <= depth)
            .count();
        &layers[..own]
    }
}

/// Dissects a captured packet. Total: every input yields layers and, where something did not parse, a reason.
pub fn dissect(link: LinkType, data: &[u8]) -> Dissection {
    let mut found = Dissection::new();
    found.read(link, data);
    found
}

/// The state of one dissection.
struct Walk<'a, 'd> {
    data: &'a [u8],
    found: &'d mut Dissection,
}

/// The part of the packet that a protocol may read, and who is reading.
#[derive(Clone, Copy)]
struct Span {
    /// First byte.
    at: usize,
    /// One beyond the last captured byte that belongs to it.
    end: usize,
    /// Whether the enclosing header claims more bytes than were captured.
    cut: bool,
    /// See `Layer::quote_depth`.
    quote_depth: u8,
    /// See `Layer::tunnel_depth`.
    tunnel_depth: u8,
}

impl Walk<'_, '_> {
    /// Notes a header of `len` bytes at the start of `span`, which were checked to be there.
    fn push(&mut self, kind: LayerKind, span: Span, len: usize) -> Result<(), DenyReason> {
        let found = &mut *self.found;
        let layer = found.layers.get_mut(found.count).ok_or(DenyReason::TooDeep)?;
        *layer = Layer {
            kind,
            quote_depth: span.quote_depth,
            tunnel_depth: span.tunnel_depth,
            offset: span.at as u32,
            len: len as u32,
        };
        found.count += 1;
        found.header_len = span.at + len;
        Ok(())
    }
}

impl Span {
    /// The next `len` bytes, or the reason why they are not there.
    fn take<'a>(&self, data: &'a [u8], len: usize) -> Result<&'a [u8], DenyReason> {
        let missing = if self.cut {
            DenyReason::Truncated
        } else {
            DenyReason::Malformed
        };
        if self.at + len > self.end {
            return Err(missing);
        }
        data.get(self.at..self.at + len).ok_or(missing)
    }

    /// The rest after `len` bytes.
    fn skip(mut self, len: usize) -> Self {
        self.at += len;
        self
    }

    fn available(&self) -> usize {
        self.end.saturating_sub(self.at)
    }
}

/// A big-endian 16-bit field of a header whose length was checked.
pub(crate) fn be16(header: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([header[at], header[at + 1]])
}

/// A big-endian 32-bit field of a header whose length was checked.
pub(crate) fn be32(header: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}
