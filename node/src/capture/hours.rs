//! Live flow rows: gathers the views of blocks by the hour for the consumers at `coarse`. An hour of which a
//! block was missed is not released here: its rows would differ from those of the stored trace, and the
//! difference would tell when a flow had its packets. Must never see a packet, only views at `anonymized`.

use std::collections::BTreeSet;

use como_anonymize::coarse::{self, BIN_NS, Bin, Bins};

use super::pipeline::LiveBlock;

/// The hours that consumers wait for.
#[derive(Default)]
pub(super) struct LiveHours {
    bins: Bins,
    /// Hours that were not seen whole, by their start.
    missed: BTreeSet<u64>,
    began: bool,
}

/// An hour that is over.
pub(super) struct Hour {
    /// Its flows.
    pub bin: Bin,
    /// Whether every block of it was seen.
    pub is_whole: bool,
}

impl LiveHours {
    /// Takes the next block.
    pub fn take(&mut self, block: &LiveBlock) {
        let times = &block.view.columns.ts_ns;
        let (Some(first_ns), Some(last_ns)) = (times.iter().min(), times.iter().max()) else {
            return;
        };
        if !std::mem::replace(&mut self.began, true) {
            // What came before this block, nobody here has seen.
            self.missed.insert(start_of(*first_ns));
        }
        if let Some(shed) = &block.shed_before {
            let oldest_ns = shed.to_ns.saturating_sub(MAX_MISSED_HOURS * BIN_NS);
            let hours = start_of(shed.from_ns.max(oldest_ns))..=shed.to_ns;
            self.missed.extend(hours.step_by(BIN_NS as usize));
        }
        self.bins.add(coarse::gather(&block.view.columns), *last_ns);
    }

    /// Packet time reached `now_ns` without a packet.
    pub fn advance(&mut self, now_ns: u64) {
        self.bins.advance(now_ns);
    }

    /// The next hour that is over.
    pub fn pop_over(&mut self) -> Option<Hour> {
        let bin = self.bins.pop_over()?;
        let is_whole = !self.missed.contains(&bin.start_ns);
        self.missed = self.missed.split_off(&bin.start_ns.saturating_add(BIN_NS));
        Some(Hour { bin, is_whole })
    }
}

/// Hours that one loss marks as missed, at most the last of them: a month, in which all older ones are released.
const MAX_MISSED_HOURS: u64 = 24 * 31;

fn start_of(ts_ns: u64) -> u64 {
    ts_ns - ts_ns % BIN_NS
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use como_anonymize::{LinkType, PacketRow, View};
    use como_policies::AccessLevel;

    use como_anonymize::Anonymizer;
    use como_keys::mapping::MappingKey;

    use super::*;
    use crate::spares::Lent;
    use crate::trace::{Gap, GapCause, PacketBatch, SourceId};

    fn block(times_ns: &[u64], shed_before: Option<(u64, u64)>) -> LiveBlock {
        let mut view = View::new(AccessLevel::Anonymized, LinkType::ETHERNET);
        for ts_ns in times_ns {
            let row = PacketRow {
                ts_ns: *ts_ns,
                wire_len: 100,
                weight: 1,
                ..PacketRow::default()
            };
            assert!(view.push(&row, &[]));
        }
        LiveBlock {
            sequence: 0,
            source: SourceId([0; 16]),
            view: Lent::own(Box::new(view)),
            batch: Lent::own(PacketBatch::new(1, 0, 0)),
            anonymizer: Arc::new(Anonymizer::new(&MappingKey::from_bytes(&[7; 32]))),
            shed_before: shed_before.map(|(from_ns, to_ns)| Gap {
                from_ns,
                to_ns,
                cause: GapCause::Shed,
                packets: Some(1),
            }),
        }
    }

    fn over(hours: &mut LiveHours) -> Vec<(u64, bool)> {
        std::iter::from_fn(|| hours.pop_over())
            .map(|hour| (hour.bin.start_ns / BIN_NS, hour.is_whole))
            .collect()
    }

    #[test]
    fn only_hours_that_were_seen_whole_are_released() {
        let mut hours = LiveHours::default();
        hours.take(&block(&[BIN_NS / 2], None));
        hours.take(&block(&[BIN_NS + 1], None));
        hours.take(&block(&[2 * BIN_NS + 1], Some((2 * BIN_NS, 2 * BIN_NS))));
        hours.take(&block(&[3 * BIN_NS + 1, 4 * BIN_NS + 1], None));
        assert_eq!(over(&mut hours), [(0, false), (1, true), (2, false)]);
        hours.advance(4 * BIN_NS + coarse::LATE_NS);
        assert_eq!(over(&mut hours), [(3, true)], "an idle link goes on by the clock");
    }

    #[test]
    fn a_loss_over_an_edge_spoils_both_hours() {
        let mut hours = LiveHours::default();
        hours.take(&block(&[1], None));
        hours.take(&block(&[2 * BIN_NS + 1], Some((BIN_NS + 5, 2 * BIN_NS))));
        hours.take(&block(&[4 * BIN_NS], None));
        assert_eq!(
            over(&mut hours),
            [(0, false), (2, false)],
            "of hour 1 nothing came"
        );
    }
}
