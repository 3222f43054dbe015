//! Bins: collecting flows until an hour is over, then releasing its rows. Owns the threshold of k sources, the
//! rounding of sizes and the order of rows, which tells nothing of the order of packets.

use std::collections::{BTreeMap, HashMap};

use como_policies::AccessLevel;

use crate::columns::{NO_VLAN, PacketRow};
use crate::deny::DenyReason;
use crate::packet::LinkType;
use crate::row::IS_FRAGMENT;
use crate::treat::Anonymizer;
use crate::view::View;

use super::flow::{Flow, FlowKey, FlowKind, FlowSums};
use super::{BIN_NS, K, LATE_NS, MAX_FLOWS_PER_BIN, MAX_ROWS_PER_VIEW};

/// The bins of a stream that are not released yet.
#[derive(Default)]
pub struct Bins {
    open: BTreeMap<u64, Bin>,
    /// Latest packet time seen, ns.
    now_ns: u64,
    /// Start of the first bin that was not released yet.
    released_ns: u64,
    late_packets: u64,
}

/// One hour of flows.
#[derive(Clone, Debug, Default)]
pub struct Bin {
    /// Its start, ns since the Unix epoch; a multiple of [`BIN_NS`].
    pub start_ns: u64,
    flows: HashMap<FlowKey, FlowSums>,
    /// Flows beyond [`MAX_FLOWS_PER_BIN`], together.
    overflow: FlowSums,
}

impl Bins {
    /// Adds what [`super::gather`] found in a batch whose latest packet is of `last_ns`.
    pub fn add(&mut self, flows: HashMap<(u64, FlowKey), FlowSums>, last_ns: u64) {
        for ((start_ns, key), sums) in flows {
            if start_ns < self.released_ns {
                // Its bin is out: a second release would tell when this packet came.
                self.late_packets = self.late_packets.saturating_add(sums.packets);
                continue;
            }
            self.bin(start_ns).add(key, &sums);
        }
        self.now_ns = self.now_ns.max(last_ns);
    }

    fn bin(&mut self, start_ns: u64) -> &mut Bin {
        self.open.entry(start_ns).or_insert_with(|| Bin {
            start_ns,
            ..Bin::default()
        })
    }

    /// Packet time has reached `now_ns` without a packet.
    pub fn advance(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// The oldest bin that takes no more packets; to be asked again until there is none.
    pub fn pop_over(&mut self) -> Option<Bin> {
        let start_ns = *self.open.first_key_value()?.0;
        (start_ns.saturating_add(BIN_NS + LATE_NS) <= self.now_ns)
            .then(|| self.pop())
            .flatten()
    }

    /// The oldest bin, over or not: for the end of a stream.
    pub fn pop(&mut self) -> Option<Bin> {
        let (start_ns, bin) = self.open.pop_first()?;
        self.released_ns = start_ns.saturating_add(BIN_NS);
        Some(bin)
    }

    /// Packets that came after their bin was released, and count nowhere.
    pub fn late_packets(&self) -> u64 {
        self.late_packets
    }
}

impl Bin {
    fn add(&mut self, key: FlowKey, sums: &FlowSums) {
        if let Some(known) = self.flows.get_mut(&key) {
            known.add(sums);
        } else if self.flows.len() < MAX_FLOWS_PER_BIN {
            self.flows.insert(key, *sums);
        } else {
            self.overflow.add(sums);
        }
    }

    /// Its flows, in no order, and what did not find room.
    pub fn flows(&self) -> (impl Iterator<Item = Flow> + '_, FlowSums) {
        (self.flows.iter().map(|(key, sums)| (*key, *sums)), self.overflow)
    }

    /// The rows for an audience; without one the ends stay zero. Flows that fewer than [`K`] sources share are
    /// one row with the reason `suppressed`; denied packets are one row a reason.
    pub fn release(&self, audience: Option<&Anonymizer>) -> Vec<View> {
        let mut shown: Vec<Shown> = Vec::with_capacity(self.flows.len());
        let mut suppressed = FlowSums::default();
        let shared = self.sources_by_tuple();
        for (key, sums) in &self.flows {
            let tuple = Tuple::of(&key.kind, sums);
            if key.kind.deny == 0 && shared.get(&tuple).is_none_or(|sources| *sources < K) {
                suppressed.add(sums);
            } else {
                shown.push((
                    end(audience, &key.kind, key.src),
                    end(audience, &key.kind, key.dst),
                    tuple,
                ));
            }
        }
        shown.extend(counted(DenyReason::Suppressed, &suppressed));
        shown.extend(counted(DenyReason::TooManyFlows, &self.overflow));
        // By what the rows show, pseudonyms first: the order of arrival is gone.
        shown.sort_unstable();
        shown
            .chunks(MAX_ROWS_PER_VIEW)
            .map(|rows| self.view(rows))
            .collect()
    }

    /// How many sources show each tuple. Sources are told apart before pseudonyms are cut to 64 bits.
    fn sources_by_tuple(&self) -> HashMap<Tuple, usize> {
        let mut pairs: Vec<(Tuple, [u8; 16])> = self
            .flows
            .iter()
            .map(|(key, sums)| (Tuple::of(&key.kind, sums), key.src))
            .collect();
        pairs.sort_unstable();
        pairs.dedup();
        let mut sources: HashMap<Tuple, usize> = HashMap::new();
        for (tuple, _) in pairs {
            *sources.entry(tuple).or_default() += 1;
        }
        sources
    }

    fn view(&self, rows: &[Shown]) -> View {
        let mut view = View::new(AccessLevel::Coarse, LinkType::ETHERNET);
        for row in rows {
            let pushed = view.push(&self.row(row), &[]);
            debug_assert!(pushed, "empty frames never fill a view");
        }
        view
    }

    fn row(&self, (src, dst, tuple): &Shown) -> PacketRow {
        let kind = &tuple.kind;
        PacketRow {
            ts_ns: self.start_ns,
            wire_len: 1 << tuple.mean_len_log2,
            weight: 1 << tuple.packets_log2,
            deny: kind.deny,
            ethertype: kind.ethertype,
            vlan: if kind.is_tagged { 0 } else { NO_VLAN },
            ip_version: kind.ip_version,
            protocol: kind.protocol,
            src: *src,
            dst: *dst,
            src_class: kind.src_class,
            dst_class: kind.dst_class,
            src_port: kind.src_port,
            dst_port: kind.dst_port,
            tcp_flags: tuple.tcp_flags,
            icmp_type: kind.icmp_type,
            icmp_code: kind.icmp_code,
            arp_op: kind.arp_op,
            fragment: if tuple.is_fragmented { IS_FRAGMENT } else { 0 },
            ..PacketRow::default()
        }
    }
}

/// Pseudonyms of both ends, and the rest of a row.
type Shown = ([u8; 16], [u8; 16], Tuple);

/// One end for an audience; zero where there is no audience or the packets have no address.
fn end(audience: Option<&Anonymizer>, kind: &FlowKind, address: [u8; 16]) -> [u8; 16] {
    match audience {
        Some(audience) if kind.deny == 0 => audience.coarse_pseudonym(kind.ip_version, address),
        _ => [0; 16],
    }
}

/// One row for packets of which only the reason is told.
fn counted(reason: DenyReason, sums: &FlowSums) -> Option<Shown> {
    let kind = FlowKind {
        deny: reason.as_u8(),
        ..FlowKind::default()
    };
    let sizes = FlowSums {
        packets: sums.packets,
        bytes: sums.bytes,
        ..FlowSums::default()
    };
    (sums.packets > 0).then(|| ([0; 16], [0; 16], Tuple::of(&kind, &sizes)))
}

/// All that a row shows beside its ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Tuple {
    kind: FlowKind,
    packets_log2: u8,
    mean_len_log2: u8,
    tcp_flags: u8,
    is_fragmented: bool,
}

impl Tuple {
    fn of(kind: &FlowKind, sums: &FlowSums) -> Self {
        let packets = sums.packets.max(1);
        Tuple {
            kind: *kind,
            packets_log2: log2(packets),
            mean_len_log2: log2((sums.bytes / packets).max(1)),
            tcp_flags: sums.tcp_flags,
            is_fragmented: sums.is_fragmented,
        }
    }
}

/// The power of two that is shown, as a 32-bit column can hold it. `value` is not 0.
fn log2(value: u64) -> u8 {
    value.ilog2().min(31) as u8
}
