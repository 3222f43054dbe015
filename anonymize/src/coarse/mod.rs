//! The level `coarse`: flow rows in bins of an hour, made from views at `anonymized`. A row stands for one flow
//! of one bin: both ends as 64-bit keyed pseudonyms that keep no prefix, ports as service classes, sizes as
//! powers of two, and only if enough sources share everything else that the row shows (z-anonymity). Must never
//! see a real packet: whatever `coarse` shows can be computed from what `anonymized` shows.

mod bin;
mod flow;
mod pseudonym;

pub use bin::{Bin, Bins};
pub use flow::{Flow, FlowKey, FlowSums, HIGH_PORT, gather};
pub use pseudonym::{PSEUDONYM_PREFIX, is_pseudonym};

use como_policies::AccessLevel;

use crate::columns::Column;

/// Length of a bin, ns: the time grain of the levels `coarse` and `aggregate`.
pub const BIN_NS: u64 = AccessLevel::Coarse.grain_ns();
/// k: a row is released where at least so many sources share all that it shows beside the two pseudonyms;
/// a counter where it counts at least so many sources and destinations.
pub const K: usize = 10;
/// How long after its end a bin still takes packets that come late, ns of packet time.
pub const LATE_NS: u64 = 5_000_000_000;
/// Flows that one bin tells apart: about 100 MiB. What comes beyond is counted in one row.
pub const MAX_FLOWS_PER_BIN: usize = 1 << 20;
/// Rows of one released view: what a feed's batch may hold.
pub const MAX_ROWS_PER_VIEW: usize = 1 << 16;

/// Columns of a view at `anonymized` that coarse rows are made from.
pub const SOURCE_COLUMNS: &[Column] = &[
    Column::TsNs,
    Column::WireLen,
    Column::Weight,
    Column::Deny,
    Column::Ethertype,
    Column::Vlan,
    Column::IpVersion,
    Column::Protocol,
    Column::Src,
    Column::Dst,
    Column::SrcClass,
    Column::DstClass,
    Column::SrcPort,
    Column::DstPort,
    Column::TcpFlags,
    Column::IcmpType,
    Column::IcmpCode,
    Column::Fragment,
    Column::ArpOp,
];

#[cfg(test)]
mod tests;
