//! AS numbers: which autonomous system an address belongs to, by the longest prefix of a routing table that the operator
//! gives. Owns the table, and which systems are large enough to be named; must never be asked with anything but a real
//! address, which only capture has.
//!
//! To name the system of a pseudonym tells something of the real address: that it is one of those that the system
//! announces. A system of few addresses is therefore not named at all (`AsTable::of`).

mod mrt;
mod pfx2as;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Read;

use crate::dissect::{Dissection, LayerKind, be32};
use crate::fields::{FieldRule, NONE};

/// Prefixes of a routing table; the Internet had 1.3 million in 2026.
pub const MAX_PREFIXES: usize = 8_000_000;
/// Bytes of a table's file; a full RIB dump of a collector with all its peers has 1 to 2 GB.
pub const MAX_FILE_BYTES: u64 = 8 << 30;
/// Addresses that a system announces at least, to be named (IPv6: networks of /64): those of a /16.
pub const MIN_ADDRESSES: u64 = 65_536;
/// Leading bits of an address that the search begins with.
const INDEX_BITS: u32 = 20;

/// Rows of the field table.
pub(crate) const RULES: &[FieldRule] = &[FieldRule::new(
    "IP",
    "AS number of an address",
    [
        NONE,
        NONE,
        "of systems that announce enough addresses, where the operator gives a routing table; in a column of its own",
        "as at anonymized",
    ],
)];

/// Why a routing table is not read.
#[derive(Debug, thiserror::Error)]
pub enum AsTableError {
    /// Neither of the formats.
    #[error(
        "it is neither an MRT dump of a RIB (RFC 6396, TABLE_DUMP_V2) nor a CAIDA pfx2as table{0}\ntake a `rib.*` file of RouteViews or RIPE RIS, or a `routeviews-rv*.pfx2as` file"
    )]
    Format(&'static str),
    /// A record of an MRT file.
    #[error("record {record} of the MRT file: {problem}\nthe file is cut or damaged: fetch it again")]
    Mrt {
        /// Number of the record, from 1.
        record: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A line of a pfx2as table.
    #[error(
        "line {line} of the pfx2as table: {problem}\na line is a prefix, its length and its AS, with tabs between them"
    )]
    Line {
        /// Number of the line, from 1.
        line: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No prefix with an origin in it.
    #[error("it has no prefix with an AS\ntake the RIB of IPv4 or IPv6 unicast routes")]
    Empty,
    /// More than is taken.
    #[error("it has more than {MAX_PREFIXES} prefixes\ntake the table of one collector")]
    TooLarge,
    /// The file.
    #[error("it cannot be read: {0}\ncheck the path, who may read it, and the disk")]
    Io(#[from] std::io::Error),
}

/// Prefixes with the system that each belongs to, as they are read.
#[derive(Default)]
struct Origins {
    v4: BTreeMap<(u32, u8), u32>,
    v6: BTreeMap<(u128, u8), u32>,
}

impl Origins {
    fn check_size(&self) -> Result<(), AsTableError> {
        match self.v4.len() + self.v6.len() > MAX_PREFIXES {
            true => Err(AsTableError::TooLarge),
            false => Ok(()),
        }
    }
}

/// The AS numbers of all addresses. Read once, shared in an `Arc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsTable {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl AsTable {
    /// Reads an MRT RIB dump or a pfx2as table, told apart by how they begin. `min_addresses`: a system that announces
    /// fewer is never named.
    pub fn read(from: impl Read, min_addresses: u64) -> Result<Self, AsTableError> {
        let mut from = from.take(MAX_FILE_BYTES);
        let mut head = [0; mrt::HEADER_BYTES];
        let got = read_up_to(&mut from, &mut head)?;
        let head = &head[..got];
        let all = head.chain(from);
        let origins = match head {
            [0x1f, 0x8b, ..] => {
                return Err(AsTableError::Format(": it is compressed, unpack it with gunzip"));
            }
            [b'B', b'Z', b'h', ..] => {
                return Err(AsTableError::Format(": it is compressed, unpack it with bunzip2"));
            }
            head if mrt::begins(head) => mrt::read(all)?,
            head if pfx2as::begins(head) => pfx2as::read(all)?,
            _ => return Err(AsTableError::Format("")),
        };
        if origins
            .v4
            .values()
            .chain(origins.v6.values())
            .all(|system| *system == 0)
        {
            return Err(AsTableError::Empty);
        }
        Ok(Self::of(&origins, min_addresses))
    }

    /// Drops the names of systems that announce fewer than `min_addresses` addresses of a family.
    fn of(origins: &Origins, min_addresses: u64) -> Self {
        let v4 = origins
            .v4
            .iter()
            .map(|(&(start, len), &number)| (start, len, number));
        let v6 = origins
            .v6
            .iter()
            .map(|(&(start, len), &number)| (start, len, number));
        Self {
            v4: Ranges::new(v4, u128::from(min_addresses)),
            v6: Ranges::new(v6, u128::from(min_addresses) << 64),
        }
    }

    /// The system of an IPv4 address; 0: not known, or too small to be named.
    pub fn of_v4(&self, address: u32) -> u32 {
        self.v4.find(address)
    }

    /// The system of an IPv6 address; 0: not known, or too small to be named.
    pub fn of_v6(&self, address: u128) -> u32 {
        self.v6.find(address)
    }

    /// The systems of a packet's source and destination, those of its outermost IP or ARP header.
    pub fn of_packet(&self, data: &[u8], dissection: &Dissection) -> (u32, u32) {
        let v6 = |header: &[u8], at: usize| {
            header[at..]
                .first_chunk()
                .map_or(0, |bytes| self.of_v6(u128::from_be_bytes(*bytes)))
        };
        for layer in dissection.own() {
            let header = layer.of(data);
            match layer.kind {
                LayerKind::Ipv4 => return (self.of_v4(be32(header, 12)), self.of_v4(be32(header, 16))),
                LayerKind::Arp => return (self.of_v4(be32(header, 14)), self.of_v4(be32(header, 24))),
                LayerKind::Ipv6 => return (v6(header, 8), v6(header, 24)),
                _ => {}
            }
        }
        (0, 0)
    }

    /// How many stretches of addresses the table tells apart, IPv4 and IPv6.
    pub fn stretches(&self) -> (usize, usize) {
        (self.v4.starts.len(), self.v6.starts.len())
    }
}

fn read_up_to(from: &mut impl Read, to: &mut [u8]) -> std::io::Result<usize> {
    let mut got = 0;
    while got < to.len() {
        match from.read(&mut to[got..])? {
            0 => break,
            more => got += more,
        }
    }
    Ok(got)
}

/// An address as a number.
trait Address: Copy + Ord {
    const BITS: u32;
    fn number(self) -> u128;
    fn of(number: u128) -> Self;
}

impl Address for u32 {
    const BITS: u32 = 32;
    fn number(self) -> u128 {
        self.into()
    }
    fn of(number: u128) -> Self {
        number as u32
    }
}

impl Address for u128 {
    const BITS: u32 = 128;
    fn number(self) -> u128 {
        self
    }
    fn of(number: u128) -> Self {
        number
    }
}

/// All addresses of a family, cut into stretches of one system each: longest prefix match, done beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ranges<A> {
    /// Where each stretch begins, ascending; the first at zero.
    starts: Vec<A>,
    /// Its system, 0 for none.
    systems: Vec<u32>,
    /// Of each value of the leading bits, the stretch that holds its first address.
    index: Vec<u32>,
}

impl<A: Address> Ranges<A> {
    /// `prefixes` ascend by first address, shorter ones before longer ones of the same; bits behind their length are zero.
    fn new(prefixes: impl Iterator<Item = (A, u8, u32)>, min_addresses: u128) -> Self {
        let mut ranges = Self {
            starts: vec![A::of(0)],
            systems: vec![0],
            index: Vec::new(),
        };
        // The prefixes that hold the present address, the longest last: their last address and their system.
        let mut open: Vec<(u128, u32)> = Vec::new();
        for (start, len, system) in prefixes {
            let start = start.number();
            ranges.close(&mut open, Some(start));
            let below = A::BITS - u32::from(len);
            let last = start | 1u128.checked_shl(below).unwrap_or(0).wrapping_sub(1);
            ranges.begin(start, system);
            open.push((last, system));
        }
        ranges.close(&mut open, None);
        ranges.name_large_ones(min_addresses);
        ranges.merge();
        ranges.index = ranges.make_index();
        ranges
    }

    /// Ends the open prefixes that end before `before`: what holds them goes on behind.
    fn close(&mut self, open: &mut Vec<(u128, u32)>, before: Option<u128>) {
        while let Some((last, _)) = open.pop_if(|(last, _)| before.is_none_or(|before| *last < before)) {
            let outer = open.last().map_or(0, |(_, system)| *system);
            let after = last.wrapping_add(1);
            // Behind the last address of all there is none.
            if after != 0 && after >> (A::BITS - 1) <= 1 {
                self.begin(after, outer);
            }
        }
    }

    fn begin(&mut self, start: u128, system: u32) {
        if self.starts.last().is_some_and(|last| last.number() == start) {
            // A longer prefix, or what follows one, begins where the last stretch does.
            if let Some(last) = self.systems.last_mut() {
                *last = system;
            }
            return;
        }
        self.starts.push(A::of(start));
        self.systems.push(system);
    }

    fn name_large_ones(&mut self, min_addresses: u128) {
        let mut sizes: BTreeMap<u32, u128> = BTreeMap::new();
        let end = 1u128.checked_shl(A::BITS).map_or(u128::MAX, |end| end);
        let ends = self.starts[1..].iter().map(|start| start.number()).chain([end]);
        for ((start, end), system) in self.starts.iter().zip(ends).zip(&self.systems) {
            let size = sizes.entry(*system).or_default();
            *size = size.saturating_add(end - start.number());
        }
        for system in &mut self.systems {
            if sizes.get(system).is_none_or(|size| *size < min_addresses) {
                *system = 0;
            }
        }
    }

    /// Neighbours of one system become one stretch.
    fn merge(&mut self) {
        let mut kept = 0;
        for at in 1..self.starts.len() {
            if self.systems[at] != self.systems[kept] {
                kept += 1;
                self.starts[kept] = self.starts[at];
                self.systems[kept] = self.systems[at];
            }
        }
        self.starts.truncate(kept + 1);
        self.systems.truncate(kept + 1);
    }

    fn make_index(&self) -> Vec<u32> {
        let mut at = 0;
        let first = |leading: u128| leading << (A::BITS - INDEX_BITS);
        let stretch = |leading: u128| {
            while self
                .starts
                .get(at + 1)
                .is_some_and(|next| next.number() <= first(leading))
            {
                at += 1;
            }
            at as u32
        };
        (0..1u128 << INDEX_BITS).map(stretch).collect()
    }

    fn find(&self, address: A) -> u32 {
        let leading = (address.number() >> (A::BITS - INDEX_BITS)) as usize;
        let from = self.index.get(leading).map_or(0, |at| *at as usize);
        let to = self
            .index
            .get(leading + 1)
            .map_or(self.starts.len(), |at| *at as usize + 1);
        let later = self.starts[from..to].partition_point(|start| *start <= address);
        // The first of them begins at or before every address with these leading bits.
        self.systems[from + later.saturating_sub(1)]
    }
}
