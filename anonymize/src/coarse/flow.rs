//! Flows of a bin, told apart by everything that a coarse row can show of them. Owns what a packet's row becomes
//! in a flow; must never keep a value finer than that, sizes apart, which are summed here and rounded on release.

use std::collections::HashMap;

use crate::columns::{Columns, NO_VLAN};
use crate::dissect::transport::{PROTOCOL_TCP, PROTOCOL_UDP};
use crate::row::IS_FRAGMENT;
use crate::treat::port::is_exact_port;

use super::BIN_NS;

/// How a port outside the exact list is shown: all of them are one service class.
pub const HIGH_PORT: u16 = u16::MAX;

/// What tells one flow of a bin from another. Addresses are those of the view that it was gathered from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// Source address as in the view's column; zero where the packets have none.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
    /// Everything else.
    pub kind: FlowKind,
}

/// What a flow shows beside its ends: together with its rounded sizes the tuple that k sources must share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKind {
    /// `DenyReason` code; then nothing else is set.
    pub deny: u8,
    /// Ethertype.
    pub ethertype: u16,
    /// 0, 4 or 6.
    pub ip_version: u8,
    /// IP protocol.
    pub protocol: u8,
    /// Service class: an exact port, or [`HIGH_PORT`].
    pub src_port: u16,
    /// Service class of the destination.
    pub dst_port: u16,
    /// Address class of the source.
    pub src_class: u8,
    /// Address class of the destination.
    pub dst_class: u8,
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
    /// ARP operation.
    pub arp_op: u8,
    /// Whether there is a VLAN tag.
    pub is_tagged: bool,
}

/// What is summed over a flow's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowSums {
    /// Packets, sampling weights included.
    pub packets: u64,
    /// Bytes on the wire, likewise.
    pub bytes: u64,
    /// Union of the TCP flags.
    pub tcp_flags: u8,
    /// Whether any packet was a fragment.
    pub is_fragmented: bool,
}

/// A flow and its sums.
pub type Flow = (FlowKey, FlowSums);

impl FlowSums {
    /// Adds another part of the same flow.
    pub fn add(&mut self, other: &FlowSums) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.tcp_flags |= other.tcp_flags;
        self.is_fragmented |= other.is_fragmented;
    }
}

/// The flows of a batch, by start of their bin (ns). The columns must hold [`super::SOURCE_COLUMNS`].
pub fn gather(columns: &Columns) -> HashMap<(u64, FlowKey), FlowSums> {
    let mut flows: HashMap<(u64, FlowKey), FlowSums> = HashMap::new();
    for at in 0..columns.len() {
        let Some((bin, key, sums)) = flow_of(columns, at) else {
            break;
        };
        flows.entry((bin, key)).or_default().add(&sums);
    }
    flows
}

/// `None` where a column is shorter than the first: such a view is not what it claims to be.
fn flow_of(columns: &Columns, at: usize) -> Option<(u64, FlowKey, FlowSums)> {
    let ts_ns = *columns.ts_ns.get(at)?;
    let weight = u64::from(*columns.weight.get(at)?);
    let wire_len = u64::from(*columns.wire_len.get(at)?);
    let mut sums = FlowSums {
        packets: weight,
        bytes: weight.saturating_mul(wire_len),
        ..FlowSums::default()
    };
    let deny = *columns.deny.get(at)?;
    let key = if deny != 0 {
        let kind = FlowKind {
            deny,
            ..FlowKind::default()
        };
        FlowKey {
            kind,
            ..FlowKey::default()
        }
    } else {
        sums.tcp_flags = *columns.tcp_flags.get(at)?;
        sums.is_fragmented = *columns.fragment.get(at)? & IS_FRAGMENT != 0;
        let protocol = *columns.protocol.get(at)?;
        let service = |port: u16| service(protocol, port);
        FlowKey {
            src: *columns.src.get(at)?,
            dst: *columns.dst.get(at)?,
            kind: FlowKind {
                deny,
                ethertype: *columns.ethertype.get(at)?,
                ip_version: *columns.ip_version.get(at)?,
                protocol,
                src_port: service(*columns.src_port.get(at)?),
                dst_port: service(*columns.dst_port.get(at)?),
                src_class: *columns.src_class.get(at)?,
                dst_class: *columns.dst_class.get(at)?,
                icmp_type: *columns.icmp_type.get(at)?,
                icmp_code: *columns.icmp_code.get(at)?,
                arp_op: *columns.arp_op.get(at)?,
                is_tagged: *columns.vlan.get(at)? != NO_VLAN,
            },
        }
    };
    Some((ts_ns - ts_ns % BIN_NS, key, sums))
}

fn service(protocol: u8, port: u16) -> u16 {
    match protocol {
        PROTOCOL_TCP | PROTOCOL_UDP if is_exact_port(port) => port,
        PROTOCOL_TCP | PROTOCOL_UDP => HIGH_PORT,
        _ => 0,
    }
}
