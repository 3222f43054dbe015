//! What a filter can rule out before it sees packets: over flows, and over collections of packets of which little
//! is known. Owns the promise that nothing is ruled out that a packet could pass; which packets do pass, only
//! evaluating the filter on the view says.

use super::Filter;
use super::ast::{Compare, Expr, Test};
use crate::bitmap::Bitmap;
use crate::coarse::is_pseudonym;
use crate::columns::Columns;

/// Something that a collection of packets can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// An IPv4 (4) or IPv6 (6) packet.
    IpVersion(u8),
    /// An ARP packet.
    Arp,
    /// A packet of this IP protocol.
    Protocol(u8),
    /// An address under a prefix, on either end; `bits` counts in the 128-bit form of columns.
    Address {
        /// The prefix, zero below its bits.
        prefix: u128,
        /// 0 to 128.
        bits: u8,
    },
    /// A packet with these two addresses, which differ, on its ends.
    Pair([u8; 16], [u8; 16]),
    /// The same, with this port on either end.
    PairPort([u8; 16], [u8; 16], u16),
    /// A packet in a tunnel of the kind with this code.
    Tunnel(u8),
    /// A tagged packet.
    Vlan,
    /// A packet of a length on the wire, both ends included.
    Length(u32, u32),
}

impl Filter {
    /// The flows that may have packets which pass. One row is one direction of a flow: `ts_ns` (any value),
    /// `ethertype`, `ip_version`, `protocol`, `fragment`, `src`, `dst`, `src_port` and `dst_port` are read, all of
    /// them as every packet of the flow has them; other columns may be empty.
    pub fn flows_that_may_pass(&self, flows: &Columns) -> Bitmap {
        bounds(&self.0, flows).upper
    }

    /// Whether any packet of a collection may pass; `may` says whether the collection may have what is asked for.
    pub fn may_pass(&self, may: &dyn Fn(Fact) -> bool) -> bool {
        any(&self.0, may)
    }
}

/// Rows that may pass, and rows that surely do.
struct Bounds {
    upper: Bitmap,
    lower: Bitmap,
}

fn bounds(expr: &Expr, flows: &Columns) -> Bounds {
    let rows = flows.len();
    match expr {
        Expr::Any => exactly(Bitmap::all(rows)),
        Expr::Test(test) if is_of_flow(test) => exactly(test.eval(flows)),
        Expr::Test(_) => Bounds {
            upper: Bitmap::all(rows),
            lower: Bitmap::none(rows),
        },
        Expr::Not(inner) => {
            let Bounds { mut upper, mut lower } = bounds(inner, flows);
            upper.not();
            lower.not();
            Bounds {
                upper: lower,
                lower: upper,
            }
        }
        Expr::And(parts) => parts.iter().fold(exactly(Bitmap::all(rows)), |mut all, part| {
            let part = bounds(part, flows);
            all.upper.and(&part.upper);
            all.lower.and(&part.lower);
            all
        }),
        Expr::Or(parts) => parts.iter().fold(exactly(Bitmap::none(rows)), |mut some, part| {
            let part = bounds(part, flows);
            some.upper.or(&part.upper);
            some.lower.or(&part.lower);
            some
        }),
    }
}

fn exactly(rows: Bitmap) -> Bounds {
    Bounds {
        upper: rows.clone(),
        lower: rows,
    }
}

/// Whether all packets of one direction of a flow answer a test alike.
fn is_of_flow(test: &Test) -> bool {
    match test {
        Test::IpVersion(_) | Test::Arp | Test::Protocol { .. } | Test::Port { .. } => true,
        Test::Address { prefix, bits, .. } => !is_coarse(*prefix, *bits),
        Test::Mac { .. } | Test::Vlan(_) | Test::Tunnel(_) | Test::Length { .. } | Test::TcpFlags { .. } => {
            false
        }
    }
}

/// A pseudonym of the level `coarse` is no packet's address.
pub(super) fn is_coarse(prefix: u128, bits: u8) -> bool {
    bits >= 64 && is_pseudonym(&prefix.to_be_bytes())
}

fn any(expr: &Expr, may: &dyn Fn(Fact) -> bool) -> bool {
    match expr {
        Expr::Any => true,
        Expr::Test(test) => one(test, may),
        // That a collection may have something does not say that it has nothing else.
        Expr::Not(_) => true,
        // Two hosts together are rarer than each of them.
        Expr::And(parts) => pairs(parts, may) && parts.iter().all(|part| any(part, may)),
        Expr::Or(parts) => parts.iter().any(|part| any(part, may)),
    }
}

fn one(test: &Test, may: &dyn Fn(Fact) -> bool) -> bool {
    match *test {
        Test::IpVersion(version) => may(Fact::IpVersion(version)),
        Test::Arp => may(Fact::Arp),
        Test::Protocol { number, .. } => may(Fact::Protocol(number)),
        Test::Address { prefix, bits, .. } => is_coarse(prefix, bits) || may(Fact::Address { prefix, bits }),
        Test::Port {
            protocol: Some(protocol),
            ..
        } => may(Fact::Protocol(protocol)),
        Test::Tunnel(kind) => may(Fact::Tunnel(kind.as_u8())),
        Test::Vlan(_) => may(Fact::Vlan),
        Test::Length { compare, bytes } => {
            lengths(compare, bytes).is_some_and(|(from, to)| may(Fact::Length(from, to)))
        }
        Test::TcpFlags { .. } => may(Fact::Protocol(crate::dissect::transport::PROTOCOL_TCP)),
        Test::Port { protocol: None, .. } | Test::Mac { .. } => true,
    }
}

/// The lengths that pass, as one range that holds them all; `None`: no length does.
fn lengths(compare: Compare, bytes: u32) -> Option<(u32, u32)> {
    match compare {
        Compare::Equal => Some((bytes, bytes)),
        Compare::NotEqual => Some((0, u32::MAX)),
        Compare::Less => Some((0, bytes.checked_sub(1)?)),
        Compare::LessOrEqual => Some((0, bytes)),
        Compare::Greater => Some((bytes.checked_add(1)?, u32::MAX)),
        Compare::GreaterOrEqual => Some((bytes, u32::MAX)),
    }
}

/// Two hosts that one packet must have are its two ends, and a port that it must have too is the port of one of them.
fn pairs(parts: &[Expr], may: &dyn Fn(Fact) -> bool) -> bool {
    let hosts = || {
        parts.iter().filter_map(|part| match part {
            Expr::Test(Test::Address {
                prefix, bits: 128, ..
            }) if !is_coarse(*prefix, 128) => Some(*prefix),
            _ => None,
        })
    };
    let Some(first) = hosts().next() else { return true };
    match hosts().find(|other| *other != first) {
        Some(other) => {
            let (a, b) = (first.to_be_bytes(), other.to_be_bytes());
            may(Fact::Pair(a, b)) && ports(parts).all(|port| may(Fact::PairPort(a, b, port)))
        }
        None => true,
    }
}

/// Single ports that one packet must have, on whichever end.
fn ports(parts: &[Expr]) -> impl Iterator<Item = u16> {
    parts.iter().filter_map(|part| match part {
        Expr::Test(Test::Port { from, to, .. }) if from == to => Some(*from),
        _ => None,
    })
}
