//! Column by column: each test reads only the columns it names and yields a bitmap. Touches no frame.

use super::ast::{Expr, Scope, Side, Test};
use crate::bitmap::Bitmap;
use crate::coarse::is_pseudonym;
use crate::columns::{Columns, NO_VLAN};
use crate::dissect::link::ETHERTYPE_ARP;
use crate::dissect::transport::{PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP};
use crate::row::NOT_FIRST_FRAGMENT;

impl Expr {
    pub(super) fn eval(&self, columns: &Columns) -> Bitmap {
        match self {
            Expr::Any => Bitmap::all(columns.len()),
            Expr::Test(test) => test.eval(columns),
            Expr::Not(inner) => {
                let mut rows = inner.eval(columns);
                rows.not();
                rows
            }
            Expr::And(parts) => {
                let mut rows = Bitmap::all(columns.len());
                for part in parts {
                    rows.and(&part.eval(columns));
                }
                rows
            }
            Expr::Or(parts) => {
                let mut rows = Bitmap::none(columns.len());
                for part in parts {
                    rows.or(&part.eval(columns));
                }
                rows
            }
        }
    }
}

impl Test {
    pub(super) fn eval(&self, columns: &Columns) -> Bitmap {
        match *self {
            Test::IpVersion(version) => Bitmap::of(&columns.ip_version, |found| *found == version),
            Test::Arp => Bitmap::of(&columns.ethertype, |found| *found == ETHERTYPE_ARP),
            Test::Protocol { version, number } => {
                let mut rows = Bitmap::of(&columns.protocol, |found| *found == number);
                rows.and(&match version {
                    Some(version) => Bitmap::of(&columns.ip_version, |found| *found == version),
                    None => Bitmap::of(&columns.ip_version, |found| *found != 0),
                });
                rows
            }
            Test::Address {
                scope,
                side,
                version,
                prefix,
                bits,
            } => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                let under = |address: &[u8; 16]| u128::from_be_bytes(*address) & mask == prefix;
                let mut rows = ends(side, &columns.src, &columns.dst, under);
                // A pseudonym of the level `coarse` is not of a family: no packet has such an address.
                if !(bits >= 64 && is_pseudonym(&prefix.to_be_bytes())) {
                    rows.and(&in_scope(scope, version, columns));
                }
                rows
            }
            Test::Mac { side, mac } => {
                let mut rows = ends(side, &columns.src_mac, &columns.dst_mac, |found| *found == mac);
                // Rows without an Ethernet header have zero for a MAC.
                rows.and(&Bitmap::of(&columns.ethertype, |found| *found != 0));
                rows
            }
            Test::Port {
                protocol,
                side,
                from,
                to,
            } => {
                let within = |port: &u16| (from..=to).contains(port);
                let mut rows = ends(side, &columns.src_port, &columns.dst_port, within);
                rows.and(&Bitmap::of(&columns.protocol, |found| match protocol {
                    Some(protocol) => *found == protocol,
                    None => matches!(*found, PROTOCOL_TCP | PROTOCOL_UDP | PROTOCOL_SCTP),
                }));
                // Only the first fragment has ports.
                rows.and(&Bitmap::of(&columns.fragment, |bits| {
                    bits & NOT_FIRST_FRAGMENT == 0
                }));
                rows
            }
            Test::Vlan(None) => Bitmap::of(&columns.vlan, |found| *found != NO_VLAN),
            Test::Vlan(Some(id)) => Bitmap::of(&columns.vlan, |found| *found == id),
            Test::Tunnel(kind) => Bitmap::of(&columns.tunnel, |found| *found == kind.as_u8()),
            Test::Length { compare, bytes } => {
                Bitmap::of(&columns.wire_len, |len| compare.holds(*len, bytes))
            }
            Test::TcpFlags { mask, compare, value } => {
                let flags = |flags: &u8| compare.holds(u32::from(flags & mask), value);
                let mut rows = Bitmap::of(&columns.tcp_flags, flags);
                rows.and(&Bitmap::of(&columns.protocol, |found| *found == PROTOCOL_TCP));
                rows.and(&Bitmap::of(&columns.fragment, |bits| {
                    bits & NOT_FIRST_FRAGMENT == 0
                }));
                rows
            }
        }
    }
}

fn ends<T>(side: Side, src: &[T], dst: &[T], holds: impl Fn(&T) -> bool) -> Bitmap {
    let mut rows = match side {
        Side::Dst => return Bitmap::of(dst, holds),
        _ => Bitmap::of(src, &holds),
    };
    match side {
        Side::Either => rows.or(&Bitmap::of(dst, holds)),
        Side::Both => rows.and(&Bitmap::of(dst, holds)),
        Side::Src | Side::Dst => {}
    }
    rows
}

/// An IPv4 address counts in IPv4 and ARP packets, never as an IPv6 address that looks like it.
fn in_scope(scope: Scope, version: u8, columns: &Columns) -> Bitmap {
    let mut rows = match scope {
        Scope::Arp => Bitmap::none(columns.len()),
        _ => Bitmap::of(&columns.ip_version, |found| *found == version),
    };
    if version == 4 && scope != Scope::Ip {
        rows.or(&Bitmap::of(&columns.ethertype, |found| *found == ETHERTYPE_ARP));
    }
    rows
}
