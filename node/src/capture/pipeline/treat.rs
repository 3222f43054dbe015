//! Dissection and anonymization of a batch, safe against packets that make them panic. Such a packet is
//! kept undissected: all of it in section P, nothing in A but length, time and the reason.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

use como_anonymize::{
    Anonymizer, AsTable, Dissection, LinkType, Outcome, RawPacket, RowBuffer, RowMeta, View,
    describe_dissected,
};
use como_policies::AccessLevel;

use crate::trace::{FrameTemplates, PacketBatch};

/// A batch as section A sees it.
pub(super) struct Treated {
    pub view: Box<View>,
    /// Its frames as they are stored.
    pub templates: FrameTemplates,
    /// Bytes of each packet that are header: section R.
    pub header_len: Vec<u32>,
    pub denied: u64,
    pub undissected: u64,
}

impl Treated {
    /// Nothing yet; the memory of one batch serves the next.
    pub fn new() -> Self {
        Self {
            view: Box::new(View::new(AccessLevel::Anonymized, LinkType(0))),
            templates: FrameTemplates::default(),
            header_len: Vec::new(),
            denied: 0,
            undissected: 0,
        }
    }

    fn restart(&mut self, batch: &PacketBatch) {
        self.view.clear();
        self.view.link = LinkType(batch.link);
        self.view.columns.reserve(batch.len());
        self.templates.clear();
        self.header_len.clear();
        (self.denied, self.undissected) = (0, 0);
    }

    /// Gives the view away; the next one uses the memory of `spare`.
    pub fn take_view(&mut self, spare: Option<Box<View>>) -> Box<View> {
        let spare = spare.unwrap_or_else(|| Box::new(View::new(self.view.level, self.view.link)));
        mem::replace(&mut self.view, spare)
    }
}

/// Treats every packet into `treated`; the one numbered `undissected` is not looked at.
pub(super) fn treat(
    batch: &PacketBatch,
    anonymizer: &Anonymizer,
    networks: Option<&AsTable>,
    undissected: Option<u64>,
    treated: &mut Treated,
) {
    treat_with(batch, undissected, treated, |packet, dissection, frame| {
        treat_packet(packet, anonymizer, networks, dissection, frame)
    });
}

fn treat_with(
    batch: &PacketBatch,
    undissected: Option<u64>,
    treated: &mut Treated,
    treat_packet: impl Fn(&RawPacket<'_>, &mut Dissection, &mut Vec<u8>) -> (RowMeta, usize),
) {
    treated.restart(batch);
    let mut dissection = Dissection::new();
    let mut frame = Vec::with_capacity(256);
    let mut rows = RowBuffer::default();
    for (row, packet) in batch.packets().enumerate() {
        frame.clear();
        let set_aside = undissected == Some(batch.first_packet + row as u64);
        let result = if set_aside {
            None
        } else {
            let treat = || treat_packet(&packet, &mut dissection, &mut frame);
            catch_unwind(AssertUnwindSafe(treat)).ok()
        };
        let (meta, header_len) = result.unwrap_or_else(|| {
            frame.clear();
            treated.undissected += 1;
            (undissected_meta(&packet), 0)
        });
        treated.denied += u64::from(meta.deny != 0);
        dissection.follow(packet.link, &frame);
        let row = describe_dissected(&meta, &frame, &dissection);
        treated.templates.push(packet.link, &frame, &dissection, &row);
        // A frame is never longer than its packet, a batch far below the 4 GiB that a view can hold.
        let pushed = treated.view.frames.push(&frame);
        debug_assert!(pushed);
        treated.header_len.push(header_len as u32);
        rows.push(row, &mut treated.view.columns);
    }
    rows.flush(&mut treated.view.columns);
}

fn treat_packet(
    packet: &RawPacket<'_>,
    anonymizer: &Anonymizer,
    networks: Option<&AsTable>,
    dissection: &mut Dissection,
    frame: &mut Vec<u8>,
) -> (RowMeta, usize) {
    #[cfg(debug_assertions)]
    super::fault::strike(packet.data);
    dissection.read(packet.link, packet.data);
    let mut meta = RowMeta::of_packet(packet, dissection);
    meta.ts_ns = floored(packet.ts_ns);
    if let Outcome::Denied(reason) = anonymizer.anonymize_dissected(packet.data, dissection, frame) {
        meta.deny = reason.as_u8();
    } else if let Some(networks) = networks {
        (meta.src_as, meta.dst_as) = networks.of_packet(packet.data, dissection);
    }
    (meta, dissection.header_len.min(packet.data.len()))
}

fn undissected_meta(packet: &RawPacket<'_>) -> RowMeta {
    RowMeta {
        ts_ns: floored(packet.ts_ns),
        ..RowMeta::set_aside(packet)
    }
}

fn floored(ts_ns: u64) -> u64 {
    AccessLevel::Anonymized.floor_ns(ts_ns)
}

#[cfg(test)]
mod tests {
    use como_anonymize::DenyReason;
    use como_keys::mapping::MappingKey;

    use super::*;

    fn batch() -> PacketBatch {
        let mut batch = PacketBatch::new(1, 10, 1024);
        for n in 0..5u8 {
            batch.push(1_500_000 * u64::from(n), 60, &[n; 60]);
        }
        batch
    }

    #[test]
    fn a_packet_that_panics_is_kept_undissected() {
        let mut treated = Treated::new();
        treat_with(&batch(), None, &mut treated, |packet, _, _| {
            assert_ne!(packet.data[0], 3, "a defect in dissection");
            (undissected_meta(packet), 7)
        });
        assert_eq!(treated.header_len, [7, 7, 7, 0, 7]);
        assert_eq!((treated.view.len(), treated.undissected), (5, 1));
    }

    #[test]
    fn a_packet_that_is_set_aside_is_not_looked_at() {
        let anonymizer = Anonymizer::new(&MappingKey::generate());
        let mut treated = Treated::new();
        treat(&batch(), &anonymizer, None, None, &mut treated);
        assert_eq!(treated.undissected, 0);
        treat(&batch(), &anonymizer, None, Some(12), &mut treated);
        assert_eq!(treated.undissected, 1);
        assert_eq!(treated.header_len[2], 0);
        assert_eq!(treated.view.columns.deny[2], DenyReason::Undissected.as_u8());
        assert_eq!(
            treated.view.columns.ts_ns,
            [0, 1_000_000, 3_000_000, 4_000_000, 6_000_000]
        );
    }

    #[test]
    fn packets_have_the_systems_of_their_real_addresses_unless_they_are_denied() {
        let anonymizer = Anonymizer::new(&MappingKey::generate());
        let table = AsTable::read(&b"10.0.0.0\t8\t64500\n93.0.0.0\t8\t64501\n"[..], 1).unwrap();
        let mut batch = PacketBatch::new(1, 0, 1024);
        let packet = crate::trace::sample::udp(7);
        batch.push(0, packet.len() as u32, &packet);
        batch.push(0, 60, &packet[..20]);
        let mut treated = Treated::new();
        for (networks, expected) in [(Some(&table), [64_500, 64_501]), (None, [0, 0])] {
            treat(&batch, &anonymizer, networks, None, &mut treated);
            let columns = &treated.view.columns;
            assert_ne!(columns.deny[1], 0);
            assert_eq!(
                (&columns.src_as[..], &columns.dst_as[..]),
                (&[expected[0], 0][..], &[expected[1], 0][..])
            );
        }
    }
}
