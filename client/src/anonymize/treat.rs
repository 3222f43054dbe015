//! One batch of packets at one level. Runs on many threads at once: must never keep anything from one batch, or
//! packet, to the next that would change what becomes of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};

use como_anonymize::coarse::{self, FlowKey, FlowSums};
use como_anonymize::{Anonymizer, DenyReason, Dissection, LinkType, Outcome, RawPacket, View};
use como_policies::AccessLevel;
use como_savefile::{Batch, Encoder, Format, Interfaces, Packet, WriteError};

/// What is done with every packet. Has no `Debug`: it holds keys.
pub struct Treatment {
    level: AccessLevel,
    anonymizer: Option<Anonymizer>,
}

/// A batch on its way. Its buffers are used again and again.
pub(super) struct Work {
    /// As read.
    pub batch: Batch,
    /// Link types whose first packet is in this batch, in order.
    pub new_links: Vec<u32>,
    /// All link types so far.
    pub interfaces: Interfaces,
    /// Offset in the input after the batch.
    pub offset_after: u64,
    /// Packets as written, in order.
    pub encoded: Vec<u8>,
    /// Flows of the batch, for tables.
    pub flows: Flows,
    /// What became of the packets.
    pub counts: Counts,
    /// Why the batch cannot be written.
    pub error: Option<WriteError>,
}

/// Flows by bin and key, and the latest packet time, ns.
#[derive(Default)]
pub(super) struct Flows {
    pub by_key: HashMap<(u64, FlowKey), FlowSums>,
    pub last_ns: u64,
}

/// What became of packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub packets_in: u64,
    pub packets_out: u64,
    pub captured_in: u64,
    pub captured_out: u64,
    pub denied: BTreeMap<DenyReason, u64>,
    pub links: BTreeMap<u32, u64>,
}

impl Work {
    pub fn new(format: Option<Format>) -> Self {
        Self {
            batch: Batch::default(),
            new_links: Vec::new(),
            interfaces: Interfaces::new(format.unwrap_or(Format::Pcapng)),
            offset_after: 0,
            encoded: Vec::new(),
            flows: Flows::default(),
            counts: Counts::default(),
            error: None,
        }
    }

    /// Ready for other packets; buffers stay.
    pub fn clear(&mut self) {
        self.new_links.clear();
        self.encoded.clear();
        self.flows = Flows::default();
        self.counts = Counts::default();
    }
}

impl Treatment {
    /// `anonymizer` is needed at every level below `payload`.
    pub fn new(level: AccessLevel, anonymizer: Option<Anonymizer>) -> Self {
        Self { level, anonymizer }
    }

    /// The level.
    pub fn level(&self) -> AccessLevel {
        self.level
    }

    /// The key of pseudonyms, where the level has some.
    pub(super) fn anonymizer(&self) -> Option<&Anonymizer> {
        self.anonymizer.as_ref()
    }

    /// Packets to packets.
    pub(super) fn frames(&self, work: &mut Work, encoder: Encoder) {
        let Work {
            batch,
            interfaces,
            encoded,
            counts,
            error,
            ..
        } = work;
        encoded.clear();
        let mut dissection = Dissection::new();
        let mut interface = None;
        counts.take(batch);
        for packet in batch.packets() {
            let start = encoder.open(encoded);
            let before = encoded.len();
            // A packet that makes dissection panic is one packet lost, not the capture.
            let shown = catch_unwind(AssertUnwindSafe(|| self.show(&packet, &mut dissection, encoded)));
            if let Err(reason) = shown.unwrap_or(Err(DenyReason::Undissected)) {
                encoded.truncate(start);
                *counts.denied.entry(reason).or_default() += 1;
                continue;
            }
            counts.packets_out += 1;
            counts.captured_out += (encoded.len() - before) as u64;
            // Packets of one link type follow each other.
            let index = match interface {
                Some((link, index)) if link == packet.link => Ok(index),
                _ => interfaces.of(packet.link).map(|interface| interface.index),
            };
            let written = index.and_then(|index| {
                interface = Some((packet.link, index));
                let ts_ns = self.level.floor_ns(packet.ts_ns);
                encoder.close(encoded, start, index, ts_ns, packet.wire_len)
            });
            if let Err(reason) = written {
                *error = Some(reason);
                return;
            }
        }
    }

    /// Appends what the level shows of a packet.
    fn show(
        &self,
        packet: &Packet<'_>,
        dissection: &mut Dissection,
        out: &mut Vec<u8>,
    ) -> Result<(), DenyReason> {
        if self.level == AccessLevel::Payload {
            out.extend_from_slice(packet.data);
            return Ok(());
        }
        let before = out.len();
        dissection.read(LinkType(packet.link), packet.data);
        match (self.level, &self.anonymizer) {
            (AccessLevel::Headers, Some(anonymizer)) => {
                anonymizer.show_headers(packet.data, dissection, out);
                // Shown up to the last valid header, if there is any.
                match (out.len() == before, dissection.deny) {
                    (true, reason) => Err(reason.unwrap_or(DenyReason::Malformed)),
                    (false, _) => Ok(()),
                }
            }
            (AccessLevel::Anonymized, Some(anonymizer)) => {
                match anonymizer.anonymize_dissected(packet.data, dissection, out) {
                    Outcome::Framed { .. } => Ok(()),
                    Outcome::Denied(reason) => Err(reason),
                }
            }
            _ => Err(DenyReason::Undissected),
        }
    }

    /// Packets to flows: what tables are made of.
    pub(super) fn flows(&self, work: &mut Work) {
        let Work {
            batch, flows, counts, ..
        } = work;
        counts.take(batch);
        let links: BTreeSet<u32> = batch.packets().map(|packet| packet.link).collect();
        for link in links {
            let mut view = View::new(AccessLevel::Anonymized, LinkType(link));
            for packet in batch.packets().filter(|packet| packet.link == link) {
                let raw = RawPacket {
                    ts_ns: packet.ts_ns,
                    wire_len: packet.wire_len,
                    link: LinkType(link),
                    data: packet.data,
                };
                let pushed = catch_unwind(AssertUnwindSafe(|| {
                    view.push_packet(&raw, self.anonymizer.as_ref());
                }));
                if pushed.is_err() {
                    *counts.denied.entry(DenyReason::Undissected).or_default() += 1;
                }
            }
            for reason in view
                .columns
                .deny
                .iter()
                .filter_map(|&code| DenyReason::from_u8(code))
            {
                *counts.denied.entry(reason).or_default() += 1;
            }
            for (key, sums) in coarse::gather(&view.columns) {
                flows.by_key.entry(key).or_default().add(&sums);
            }
            let last_ns = view.columns.ts_ns.iter().copied().max().unwrap_or(0);
            flows.last_ns = flows.last_ns.max(last_ns);
        }
    }
}

impl Counts {
    /// The packets of a batch as they came. Those of one link type follow each other.
    fn take(&mut self, batch: &Batch) {
        self.packets_in += batch.len() as u64;
        let mut run = (0, 0);
        for packet in batch.packets() {
            self.captured_in += packet.data.len() as u64;
            if packet.link != run.0 {
                self.add_link(run);
                run = (packet.link, 0);
            }
            run.1 += 1;
        }
        self.add_link(run);
    }

    fn add_link(&mut self, (link, count): (u32, u64)) {
        if count > 0 {
            *self.links.entry(link).or_default() += count;
        }
    }

    /// Adds what became of others.
    pub fn add(&mut self, other: &Self) {
        self.packets_in += other.packets_in;
        self.packets_out += other.packets_out;
        self.captured_in += other.captured_in;
        self.captured_out += other.captured_out;
        for (reason, count) in &other.denied {
            *self.denied.entry(*reason).or_default() += count;
        }
        for (link, count) in &other.links {
            *self.links.entry(*link).or_default() += count;
        }
    }
}
