//! The flows of one block: made where the block is sealed, by the thread that seals it. A flow is what all its packets
//! share as the anonymized view shows them, both directions as one.

use std::hash::{Hash, Hasher};

use como_anonymize::{Columns, LinkType, RowMeta, describe};
use hashbrown::HashMap;

use super::zone::Zone;
use crate::trace::PacketBatch;

/// Ethertype of ARP.
pub(super) const ETHERTYPE_ARP: u16 = 0x0806;
/// Bit of the `fragment` column: not the first one, so without ports.
pub(super) const NOT_FIRST_FRAGMENT: u8 = como_anonymize::row::NOT_FIRST_FRAGMENT;

/// Seen from the lower end to the higher one.
pub(super) const UP: u8 = 1;
/// Seen from the higher end to the lower one.
pub(super) const DOWN: u8 = 2;

const IP_VERSION: u8 = 0x0f;
const ARP: u8 = 0x10;
const LATER_FRAGMENT: u8 = 0x20;

/// What kind of packets a flow has: IP version, ARP, later fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Class(pub u8);

impl Class {
    fn of(ip_version: u8, ethertype: u16, fragment: u8) -> Self {
        let arp = if ethertype == ETHERTYPE_ARP { ARP } else { 0 };
        let later = if fragment & NOT_FIRST_FRAGMENT != 0 {
            LATER_FRAGMENT
        } else {
            0
        };
        Self(ip_version & IP_VERSION | arp | later)
    }

    pub fn ip_version(self) -> u8 {
        self.0 & IP_VERSION
    }

    pub fn is_arp(self) -> bool {
        self.0 & ARP != 0
    }

    pub fn is_later_fragment(self) -> bool {
        self.0 & LATER_FRAGMENT != 0
    }
}

/// A flow: its lower end (address, then port) comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    pub ends: [[u8; 16]; 2],
    pub ports: [u16; 2],
    pub protocol: u8,
    pub class: Class,
}

impl Flow {
    /// The flow of a row, and in which direction the packet goes.
    fn of(columns: &Columns, row: usize) -> (Self, u8) {
        let class = Class::of(
            columns.ip_version[row],
            columns.ethertype[row],
            columns.fragment[row],
        );
        let (src, dst) = (columns.src[row], columns.dst[row]);
        let (src_port, dst_port) = (columns.src_port[row], columns.dst_port[row]);
        let up = (src, src_port) <= (dst, dst_port);
        let flow = Self {
            ends: if up { [src, dst] } else { [dst, src] },
            ports: if up {
                [src_port, dst_port]
            } else {
                [dst_port, src_port]
            },
            protocol: columns.protocol[row],
            class,
        };
        (flow, if up { UP } else { DOWN })
    }
}

impl Hash for Flow {
    /// In whole words, which is what the hasher is fast at.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ends
            .iter()
            .for_each(|end| state.write_u128(u128::from_le_bytes(*end)));
        let rest = u64::from(self.ports[0]) | u64::from(self.ports[1]) << 16;
        state.write_u64(rest | u64::from(self.protocol) << 32 | u64::from(self.class.0) << 40);
    }
}

/// A block as the index sees it.
#[derive(Clone, Debug, Default)]
pub(in crate::trace) struct BlockFlows {
    pub(super) zone: Zone,
    /// Each flow with the directions in which it was seen.
    pub(super) flows: Vec<(Flow, u8)>,
}

impl BlockFlows {
    /// Whether the levels above `anonymized` see more of a packet than the index does.
    pub fn is_opaque(&self) -> bool {
        self.zone.is_opaque()
    }
}

/// Sums up a block: `columns` are the packets at `anonymized`, `header_len` how many bytes of each packet are header.
pub(in crate::trace) fn summarize(batch: &PacketBatch, columns: &Columns, header_len: &[u32]) -> BlockFlows {
    let mut zone = Zone::of(columns);
    let mut seen: HashMap<Flow, u32> = HashMap::with_capacity(64);
    let mut flows: Vec<(Flow, u8)> = Vec::with_capacity(64);
    let mut last = None;
    for row in 0..columns.len() {
        if columns.deny[row] != 0 && !zone.is_opaque() && shows_more_above(batch, header_len, row) {
            zone.set_opaque();
        }
        let (flow, direction) = Flow::of(columns, row);
        // Packets come in trains.
        let at = match last {
            Some((known, at)) if known == flow => at,
            _ => *seen.entry(flow).or_insert_with(|| {
                flows.push((flow, 0));
                flows.len() as u32 - 1
            }),
        };
        last = Some((flow, at));
        flows[at as usize].1 |= direction;
    }
    BlockFlows { zone, flows }
}

/// Whether the levels above show addresses or tags of a packet that `anonymized` denies.
fn shows_more_above(batch: &PacketBatch, header_len: &[u32], row: usize) -> bool {
    let headers = &batch.data(row)[..header_len[row] as usize];
    let meta = RowMeta {
        ts_ns: 0,
        wire_len: 0,
        weight: 1,
        deny: 0,
        src_class: 0,
        dst_class: 0,
        checksums: 0,
        src_as: 0,
        dst_as: 0,
    };
    let shown = describe(&meta, LinkType(batch.link), headers);
    shown.ip_version != 0
        || shown.ethertype == ETHERTYPE_ARP
        || shown.vlan != como_anonymize::NO_VLAN
        || shown.tunnel != 0
}
