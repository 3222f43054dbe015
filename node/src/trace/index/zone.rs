//! What the packets of one block have in common: a line of the zone map. Must never hold an address or a port.

use como_anonymize::filter::{Fact, Filter};
use como_anonymize::{Columns, NO_VLAN};

use crate::trace::TraceError;
use crate::trace::codec::{Reader, put_column};

/// A packet is tagged.
const VLAN: u8 = 1;
/// A packet has headers that its anonymized view does not show: the dictionary does not know it as the levels
/// above see it.
const OPAQUE: u8 = 2;
/// Flows of the block are not in the dictionary but in a filter of its own.
const OVERFLOW: u8 = 4;

/// One block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::trace) struct Zone {
    /// Shortest and longest packet on the wire, bytes; the other way round in a block without packets.
    lengths: (u32, u32),
    /// Bit n: a packet is in a tunnel of kind n.
    tunnels: u32,
    flags: u8,
}

impl Default for Zone {
    fn default() -> Self {
        Self {
            lengths: (u32::MAX, 0),
            tunnels: 0,
            flags: 0,
        }
    }
}

impl Zone {
    /// Of the packets in a block.
    pub fn of(columns: &Columns) -> Self {
        let (shortest, longest) = columns
            .wire_len
            .iter()
            .fold((u32::MAX, 0), |(low, high), &len| (low.min(len), high.max(len)));
        let tunnels = columns
            .tunnel
            .iter()
            .fold(0, |kinds, &kind| kinds | 1 << (kind & 31));
        let tagged = columns.vlan.iter().any(|&vlan| vlan != NO_VLAN);
        Self {
            lengths: (shortest, longest),
            tunnels,
            flags: if tagged { VLAN } else { 0 },
        }
    }

    pub fn set_opaque(&mut self) {
        self.flags |= OPAQUE;
    }

    pub fn is_opaque(&self) -> bool {
        self.flags & OPAQUE != 0
    }

    pub fn set_overflow(&mut self) {
        self.flags |= OVERFLOW;
    }

    pub fn has_overflow(&self) -> bool {
        self.flags & OVERFLOW != 0
    }

    /// Whether a packet of the block may pass.
    pub fn may_pass(&self, filter: &Filter) -> bool {
        filter.may_pass(&|fact| match fact {
            Fact::Length(from, to) => from <= self.lengths.1 && to >= self.lengths.0,
            Fact::Tunnel(kind) => self.is_opaque() || self.tunnels >> (kind & 31) & 1 == 1,
            Fact::Vlan => self.is_opaque() || self.flags & VLAN != 0,
            _ => true,
        })
    }
}

/// Appends the lines of a part, column by column.
pub(super) fn encode(zones: &[Zone], out: &mut Vec<u8>) {
    let column = |of: fn(&Zone) -> u32| zones.iter().map(of).collect::<Vec<_>>();
    put_column(out, &column(|zone| zone.lengths.0));
    put_column(out, &column(|zone| zone.lengths.1));
    put_column(out, &column(|zone| zone.tunnels));
    put_column(out, &column(|zone| zone.flags.into()));
}

/// Reads `count` lines.
pub(super) fn decode(input: &mut Reader<'_>, count: usize) -> Result<Vec<Zone>, TraceError> {
    let shortest: Vec<u32> = input.column(count)?;
    let longest: Vec<u32> = input.column(count)?;
    let tunnels: Vec<u32> = input.column(count)?;
    let flags: Vec<u8> = input.column(count)?;
    let line = |at: usize| Zone {
        lengths: (shortest[at], longest[at]),
        tunnels: tunnels[at],
        flags: flags[at],
    };
    Ok((0..count).map(line).collect())
}
