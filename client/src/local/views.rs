//! A capture file as the views of a level: what a node's modules see of a link. Holds one batch at a time; at `coarse`
//! the flows of the hours that are not over.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use como_anonymize::coarse::{self, BIN_NS, Bins};
use como_anonymize::{Anonymizer, AsTable, DenyReason, LinkType, RawPacket, View, dissect};
use como_policies::AccessLevel;
use como_savefile::{Batch, End, Packet, Progress, Reader};

use crate::error::{ClientError, Result};

/// What was met in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Packets read.
    pub packets: u64,
    /// Of these, packets of which the level tells no more than length and reason.
    pub denied: BTreeMap<DenyReason, u64>,
    /// End of the time that the views cover, ns since the epoch, exclusive.
    pub end_ns: u64,
    /// How the file ended.
    pub end: End,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            packets: 0,
            denied: BTreeMap::new(),
            end_ns: 0,
            end: End::Clean,
        }
    }
}

/// What packets are seen with, beside the level.
#[derive(Clone, Copy, Default)]
pub struct Sight<'a> {
    /// Makes pseudonyms; needed at every level below `payload`.
    pub anonymizer: Option<&'a Anonymizer>,
    /// Tells AS numbers, where there is a routing table.
    pub networks: Option<&'a AsTable>,
}

/// Hands every view of the capture to `take`, in order, until it breaks off.
pub fn each<R: Read>(
    mut input: Reader<R>,
    level: AccessLevel,
    sight: Sight<'_>,
    take: &mut dyn FnMut(View) -> ControlFlow<()>,
) -> Result<Seen> {
    let mut views = Views {
        level,
        sight,
        bins: (level == AccessLevel::Coarse).then(Bins::default),
        seen: Seen::default(),
    };
    let mut batch = Batch::default();
    loop {
        let read = input.read_batch(&mut batch);
        let progress = read.map_err(|error| ClientError::read(std::path::Path::new("the capture"), error))?;
        if views.batch(&batch, take).is_break() {
            return Ok(views.seen);
        }
        if let Progress::Ended(end) = progress {
            views.seen.end = end;
            let _ = views.rest(take);
            return Ok(views.seen);
        }
    }
}

struct Views<'a> {
    level: AccessLevel,
    sight: Sight<'a>,
    /// At `coarse`.
    bins: Option<Bins>,
    seen: Seen,
}

impl Views<'_> {
    /// A view has one link type: packets of another one begin the next view, so that the order stays.
    fn batch(&mut self, batch: &Batch, take: &mut dyn FnMut(View) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut packets = batch.packets().peekable();
        while let Some(link) = packets.peek().map(|packet| packet.link) {
            let run = std::iter::from_fn(|| packets.next_if(|packet| packet.link == link));
            let view = self.view(LinkType(link), run);
            self.hand_on(view, take)?;
        }
        ControlFlow::Continue(())
    }

    fn view<'p>(&mut self, link: LinkType, packets: impl Iterator<Item = Packet<'p>>) -> View {
        // Coarse rows are made of what `anonymized` shows.
        let mut view = View::new(self.level.max(AccessLevel::Anonymized), link);
        for packet in packets {
            self.seen.packets += 1;
            let raw = RawPacket {
                ts_ns: packet.ts_ns,
                wire_len: packet.wire_len,
                link,
                data: packet.data,
            };
            // A packet that makes dissection panic is one packet lost, not the capture.
            let pushed = catch_unwind(AssertUnwindSafe(|| self.push(&mut view, &raw)));
            if pushed.is_err() {
                *self.seen.denied.entry(DenyReason::Undissected).or_default() += 1;
            }
        }
        for reason in view
            .columns
            .deny
            .iter()
            .filter_map(|&code| DenyReason::from_u8(code))
        {
            *self.seen.denied.entry(reason).or_default() += 1;
        }
        view
    }

    /// As capture does it.
    fn push(&self, view: &mut View, raw: &RawPacket<'_>) {
        view.push_packet(raw, self.sight.anonymizer);
        if let (Some(networks), Some(0)) = (self.sight.networks, view.columns.deny.last()) {
            let (src_as, dst_as) = networks.of_packet(raw.data, &dissect(raw.link, raw.data));
            for (column, number) in [
                (&mut view.columns.src_as, src_as),
                (&mut view.columns.dst_as, dst_as),
            ] {
                column.pop();
                column.push(number);
            }
        }
    }

    fn hand_on(&mut self, view: View, take: &mut dyn FnMut(View) -> ControlFlow<()>) -> ControlFlow<()> {
        let Some(last_ns) = view.columns.ts_ns.iter().copied().max() else {
            return ControlFlow::Continue(());
        };
        let Some(bins) = &mut self.bins else {
            self.seen.end_ns = self.seen.end_ns.max(last_ns.saturating_add(1));
            return take(view);
        };
        bins.add(coarse::gather(&view.columns), last_ns);
        while let Some(bin) = self.bins.as_mut().and_then(Bins::pop_over) {
            self.release(&bin, take)?;
        }
        ControlFlow::Continue(())
    }

    /// The hours that were not over when the file was.
    fn rest(&mut self, take: &mut dyn FnMut(View) -> ControlFlow<()>) -> ControlFlow<()> {
        while let Some(bin) = self.bins.as_mut().and_then(Bins::pop) {
            self.release(&bin, take)?;
        }
        ControlFlow::Continue(())
    }

    fn release(
        &mut self,
        bin: &coarse::Bin,
        take: &mut dyn FnMut(View) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.seen.end_ns = bin.start_ns.saturating_add(BIN_NS);
        bin.release(self.sight.anonymizer).into_iter().try_for_each(take)
    }
}
