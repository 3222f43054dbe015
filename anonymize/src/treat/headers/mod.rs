//! Level `headers`: the real headers, written field by field out of the captured ones. Three things are not real:
//! the NIC part of a MAC, wherever it stands (link header, ARP, neighbour discovery, EUI-64 interface ids,
//! solicited-node groups), cookies and signatures in TCP options, and checksums. No byte of payload is ever copied,
//! no byte that no header format names, and nothing depends on an earlier packet.

mod device;
mod icmp6;
mod options;

use super::Anonymizer;
use super::cooked::{SLL_ADDRESS, SLL2_ADDRESS};
use crate::checksum::fix_checksums;
use crate::dissect::tunnel::GRE_CHECKSUM;
use crate::dissect::udp_tunnel::l2tp_offset_padding;
use crate::dissect::{Dissection, Layer, LayerKind, be16};
pub(crate) use device::{FIRST_NIC_BIT, is_shown_address, is_shown_mac};
use options::{show_ipv4_options, show_tcp};

impl Anonymizer {
    /// Appends what level `headers` shows of a packet to `out`; returns the bytes appended. A packet that was
    /// denied is shown up to its last valid header. `data` need not reach further than the headers; `dissection`
    /// must be that of `data`.
    pub fn show_headers(&self, data: &[u8], dissection: &Dissection, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.resize(start + dissection.header_len, 0);
        let frame = &mut out[start..];
        let mut used = 0;
        for layer in dissection.layers() {
            let from = layer.offset as usize;
            let (real, shown) = (layer.of(data), &mut frame[from..from + layer.len as usize]);
            used = from + self.show_layer(layer, real, shown);
        }
        out.truncate(start + used);
        fix_checksums(&mut out[start..], dissection.layers());
        used
    }

    /// Writes one header; returns its shown length (shorter than the real one where options were left out).
    fn show_layer(&self, layer: &Layer, real: &[u8], out: &mut [u8]) -> usize {
        match layer.kind {
            LayerKind::Ethernet => {
                self.show_mac(&real[0..6], &mut out[0..6]);
                self.show_mac(&real[6..12], &mut out[6..12]);
                out[12..14].copy_from_slice(&real[12..14]);
            }
            LayerKind::Arp => {
                out.copy_from_slice(real);
                self.show_mac(&real[8..14], &mut out[8..14]);
                self.show_mac(&real[18..24], &mut out[18..24]);
            }
            LayerKind::Ipv4 => {
                out[..20].copy_from_slice(&real[..20]);
                show_ipv4_options(&real[20..], &mut out[20..]);
            }
            LayerKind::Ipv6 => {
                out[..8].copy_from_slice(&real[..8]);
                self.show_addresses(&real[8..], &mut out[8..]);
            }
            LayerKind::HopByHop | LayerKind::DestinationOptions => self.show_ipv6_options(real, out),
            LayerKind::Routing => self.show_routing(real, out),
            LayerKind::Tcp => show_tcp(real, out),
            LayerKind::Udp => {
                out[..6].copy_from_slice(&real[..6]);
                // A mark that there is a checksum; its value comes from the shown bytes.
                out[7] = u8::from(real[6..8] != [0, 0]);
            }
            LayerKind::Icmp6 => return self.show_icmp6(real, out),
            LayerKind::Igmp => self.show_igmp(real, out),
            LayerKind::Sctp => {
                // A quote may hold no more than this of it; behind it stands the checksum.
                out[..8].copy_from_slice(&real[..8]);
            }
            LayerKind::Sll => self.show_cooked(real, out, SLL_ADDRESS, be16(real, 4).into()),
            LayerKind::Sll2 => self.show_cooked(real, out, SLL2_ADDRESS, real[11].into()),
            LayerKind::Gre => {
                out.copy_from_slice(real);
                if be16(real, 0) & GRE_CHECKSUM != 0 {
                    out[4..8].fill(0);
                }
            }
            LayerKind::L2tp => {
                let padding = l2tp_offset_padding(real);
                out[..real.len() - padding].copy_from_slice(&real[..real.len() - padding]);
            }
            // Who the client is, and what proves it, is left out.
            LayerKind::TeredoAuthentication => out[..4].copy_from_slice(&real[..4]),
            LayerKind::Loopback
            | LayerKind::Ppp
            | LayerKind::Pppoe
            | LayerKind::Mpls
            | LayerKind::PseudowireControl
            | LayerKind::EtherIp
            | LayerKind::Vxlan
            | LayerKind::Geneve
            | LayerKind::Gtp
            | LayerKind::TeredoOrigin
            | LayerKind::Vlan
            | LayerKind::Fragment
            | LayerKind::Ah
            | LayerKind::Esp
            | LayerKind::TcpStub
            | LayerKind::Icmp => out.copy_from_slice(real),
        }
        real.len()
    }

    /// Linux cooked capture: an address of six bytes is a MAC; of other hardware it is not shown.
    fn show_cooked(&self, real: &[u8], out: &mut [u8], address: usize, len: usize) {
        out.copy_from_slice(real);
        out[address..address + 8].fill(0);
        if len == 6 {
            self.show_mac(&real[address..address + 6], &mut out[address..address + 6]);
        }
    }
}
