//! Which tunnel a packet is in, told from its headers. Owns the codes of the `tunnel` column, which are stored in
//! traces: never renumber.

use crate::dissect::{Layer, LayerKind};
use crate::fields::{FieldRule, NONE};

/// What is told of tunnels beside their headers.
pub(crate) const RULES: &[FieldRule] = &[FieldRule::new(
    "packet",
    "kind of the outermost tunnel",
    [NONE, NONE, "kept, in a column of its own", "kept"],
)];

/// The kind of a packet's outermost tunnel. The number is what the `tunnel` column holds; 0 there is "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TunnelKind {
    /// IPv4 in IPv4.
    Ipip = 1,
    /// IPv6 in IPv4.
    SixInFour = 2,
    /// IPv4 in IPv6.
    FourInSix = 3,
    /// IPv6 in IPv6.
    SixInSix = 4,
    /// GRE, whatever it carries.
    Gre = 5,
    /// EtherIP.
    EtherIp = 6,
    /// VXLAN.
    Vxlan = 7,
    /// GENEVE.
    Geneve = 8,
    /// GTP-U.
    Gtp = 9,
    /// L2TP version 2.
    L2tp = 10,
    /// Teredo.
    Teredo = 11,
    /// MPLS.
    Mpls = 12,
    /// PPPoE.
    Pppoe = 13,
}

impl TunnelKind {
    /// Every kind, in the order of the codes.
    pub const ALL: [TunnelKind; 13] = [
        TunnelKind::Ipip,
        TunnelKind::SixInFour,
        TunnelKind::FourInSix,
        TunnelKind::SixInSix,
        TunnelKind::Gre,
        TunnelKind::EtherIp,
        TunnelKind::Vxlan,
        TunnelKind::Geneve,
        TunnelKind::Gtp,
        TunnelKind::L2tp,
        TunnelKind::Teredo,
        TunnelKind::Mpls,
        TunnelKind::Pppoe,
    ];

    /// The code stored in the `tunnel` column.
    pub fn as_u8(self) -> u8 {
        self as u8
    }

    /// The kind with this code; `None` for 0 and for unknown codes.
    pub fn from_u8(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_u8() == code)
    }

    /// The outermost tunnel among a packet's headers. What an ICMP error quotes is not the packet's own.
    pub fn outermost(layers: &[Layer]) -> Option<Self> {
        let mut carrier = None;
        for layer in layers.iter().take_while(|layer| layer.quote_depth == 0) {
            let kind = match (layer.kind, carrier) {
                (LayerKind::Mpls, _) => Some(Self::Mpls),
                (LayerKind::Pppoe, _) => Some(Self::Pppoe),
                (LayerKind::Gre, _) => Some(Self::Gre),
                (LayerKind::EtherIp, _) => Some(Self::EtherIp),
                (LayerKind::Vxlan, _) => Some(Self::Vxlan),
                (LayerKind::Geneve, _) => Some(Self::Geneve),
                (LayerKind::Gtp, _) => Some(Self::Gtp),
                (LayerKind::L2tp, _) => Some(Self::L2tp),
                (LayerKind::TeredoAuthentication | LayerKind::TeredoOrigin, _) => Some(Self::Teredo),
                (LayerKind::Ipv6, Some(LayerKind::Udp)) => Some(Self::Teredo),
                (LayerKind::Ipv4, Some(LayerKind::Ipv4)) => Some(Self::Ipip),
                (LayerKind::Ipv6, Some(LayerKind::Ipv4)) => Some(Self::SixInFour),
                (LayerKind::Ipv4, Some(LayerKind::Ipv6)) => Some(Self::FourInSix),
                (LayerKind::Ipv6, Some(LayerKind::Ipv6)) => Some(Self::SixInSix),
                _ => None,
            };
            if kind.is_some() {
                return kind;
            }
            if matches!(layer.kind, LayerKind::Ipv4 | LayerKind::Ipv6 | LayerKind::Udp) {
                carrier = Some(layer.kind);
            }
        }
        None
    }
}
