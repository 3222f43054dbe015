//! What levels show of a packet. At `headers`: see that file. At `anonymized`: a synthetic frame, built from scratch out of allow-listed fields. Owns the order of
//! treatments; each treatment is a file of its own. Nothing is copied that a treatment did not write, nothing
//! depends on an earlier packet, and every treatment composes: applied again under other keys (an audience's),
//! it changes pseudonyms and nothing else.

mod address;
mod arp;
pub(crate) mod cooked;
mod exact;
mod gre;
mod gtp;
pub(crate) mod headers;
mod icmp;
mod icmp6;
mod identifier;
mod ipsec;
pub(crate) mod ipv4;
pub(crate) mod ipv6;
pub(crate) mod keys;
mod l2tp;
mod link;
mod memory;
mod mpls;
mod multicast;
mod neighbour;
mod overlay;
pub(crate) mod port;
mod ppp;
mod scale;
mod sctp;
mod tcp;
mod teredo;
mod udp;

use como_keys::mapping::MappingKey;

use crate::checksum::fix_checksums;
use crate::deny::DenyReason;
use crate::dissect::{Dissection, Layer, LayerKind};
use crate::fields::FieldRule;
use crate::packet::LinkType;
use address::Address;
use keys::FieldKeys;
use memory::Memory;

/// The rows of the field table, file by file, from the link to the transport.
pub(crate) const RULES: &[&[FieldRule]] = &[
    link::RULES,
    cooked::RULES,
    ppp::RULES,
    mpls::RULES,
    arp::RULES,
    address::RULES,
    crate::networks::RULES,
    ipv4::RULES,
    ipv6::RULES,
    ipsec::RULES,
    port::RULES,
    tcp::RULES,
    udp::RULES,
    sctp::RULES,
    icmp::RULES,
    icmp6::RULES,
    neighbour::RULES,
    multicast::RULES,
    gre::RULES,
    overlay::RULES,
    gtp::RULES,
    l2tp::RULES,
    teredo::RULES,
];

/// What became of a packet at a level that shows frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A frame of this many bytes was appended.
    Framed {
        /// Bytes appended.
        len: usize,
    },
    /// Nothing was appended: default deny.
    Denied(DenyReason),
}

/// The treatments of levels `anonymized` and `headers` under one mapping key. Build once (some milliseconds, about 1.2 MiB of
/// tables), share in an `Arc`. Has no `Debug`: it holds keys.
pub struct Anonymizer {
    keys: FieldKeys,
    memory: Memory,
}

impl Anonymizer {
    /// Derives every field's key and fills the tables.
    pub fn new(keys: &MappingKey) -> Self {
        Anonymizer {
            keys: FieldKeys::new(keys),
            memory: Memory::new(),
        }
    }

    pub(crate) fn keys(&self) -> &FieldKeys {
        &self.keys
    }

    /// Appends the synthetic frame of a captured packet to `out`, or tells why there is none. The frame has the
    /// layout of the packet's headers, ends with them, and its length fields stay as on the wire; its checksums
    /// are those of the packet with a payload of zeros.
    pub fn anonymize(&self, link: LinkType, data: &[u8], out: &mut Vec<u8>) -> Outcome {
        let mut dissection = Dissection::new();
        dissection.read(link, data);
        self.anonymize_dissected(data, &dissection, out)
    }

    /// The same for a packet that is already dissected. `dissection` must be that of `data`.
    pub fn anonymize_dissected(&self, data: &[u8], dissection: &Dissection, out: &mut Vec<u8>) -> Outcome {
        if let Some(reason) = dissection.deny {
            return Outcome::Denied(reason);
        }
        let start = out.len();
        out.resize(start + dissection.header_len, 0);
        let len = self.write_frame(data, dissection, &mut out[start..]);
        out.truncate(start + len);
        fix_checksums(&mut out[start..], dissection.layers());
        Outcome::Framed { len }
    }

    /// Fills the zeroed `frame`; returns how much of it is used.
    fn write_frame(&self, data: &[u8], dissection: &Dissection, frame: &mut [u8]) -> usize {
        let mut flow = Flow::default();
        let mut used = 0;
        // The Ethernet header whose IP packet is still to come.
        let mut ethernet = None;
        for layer in dissection.layers() {
            let real = layer.of(data);
            let from = layer.offset as usize;
            let end = from + layer.len as usize;
            let Some(out) = frame.get_mut(from..end) else {
                break;
            };
            used = from + self.write_layer(layer, real, out, &mut flow);
            match layer.kind {
                LayerKind::Ethernet => ethernet = Some(from),
                LayerKind::Ipv4 | LayerKind::Ipv6 => {
                    if let Some(at) = ethernet.take() {
                        link::rebuild_multicast_mac(&mut frame[at..], &data[at..], flow.released_dst);
                    }
                }
                _ => {}
            }
        }
        used
    }

    /// Writes one header; returns its released length (shorter than the real one where options were dropped).
    fn write_layer(&self, layer: &Layer, real: &[u8], out: &mut [u8], flow: &mut Flow) -> usize {
        match layer.kind {
            LayerKind::Ethernet => self.ethernet(real, out),
            LayerKind::Sll => self.sll(real, out),
            LayerKind::Sll2 => self.sll2(real, out),
            LayerKind::Loopback => out.copy_from_slice(real),
            LayerKind::Ppp => self.ppp(real, out),
            LayerKind::Pppoe => self.pppoe(real, out),
            LayerKind::Mpls => self.mpls(real, out),
            // Its presence is all that is released of it.
            LayerKind::PseudowireControl => {}
            LayerKind::Vlan => self.vlan_tag(real, out),
            LayerKind::Arp => self.arp(real, out),
            LayerKind::Ipv4 => self.ipv4(real, out, flow),
            LayerKind::Ipv6 => self.ipv6(real, out, flow),
            LayerKind::HopByHop | LayerKind::DestinationOptions => self.ipv6_options(real, out),
            LayerKind::Routing => self.routing(real, out),
            LayerKind::Fragment => self.ipv6_fragment(real, out, flow),
            LayerKind::Ah => self.ah(real, out, flow),
            LayerKind::Esp => self.esp(real, out, flow),
            LayerKind::Tcp => self.tcp(real, out, flow),
            LayerKind::TcpStub => self.tcp_stub(real, out, flow),
            LayerKind::Udp => self.udp(real, out),
            LayerKind::Sctp => self.sctp(real, out),
            LayerKind::Icmp => self.icmp(real, out),
            LayerKind::Icmp6 => return self.icmp6(real, out),
            LayerKind::Igmp => self.igmp(real, out),
            LayerKind::Gre => self.gre(real, out, flow),
            LayerKind::EtherIp => self.etherip(real, out),
            LayerKind::Vxlan | LayerKind::Geneve => self.overlay(real, out),
            LayerKind::Gtp => self.gtp(real, out),
            LayerKind::L2tp => self.l2tp(real, out),
            LayerKind::TeredoAuthentication => self.teredo_authentication(real, out),
            LayerKind::TeredoOrigin => self.teredo_origin(real, out),
        }
        real.len()
    }
}

/// The addresses of the innermost IP header so far: what later headers' treatments are tweaked with.
#[derive(Clone, Copy, Default)]
struct Flow {
    /// As captured.
    src: Address,
    dst: Address,
    /// As released, for the multicast MAC.
    released_dst: Address,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::sample::{check_laws, samples};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        /// Whatever becomes of a header's bytes: no panic, and the laws hold for what is released.
        #[test]
        fn the_laws_hold_for_broken_packets(
            pick in 0usize..1000,
            changes in prop::collection::vec((0usize..160, any::<u8>()), 0..6),
            cut in prop::option::of(0usize..200),
        ) {
            let all = samples();
            let (link, mut packet) = all[pick % all.len()].clone();
            for (at, value) in changes {
                if let Some(byte) = packet.get_mut(at) {
                    *byte = value;
                }
            }
            packet.truncate(cut.unwrap_or(usize::MAX));
            check_laws(link, &packet);
        }
    }
}
