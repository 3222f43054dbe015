//! RIB dumps of route collectors: MRT files of type TABLE_DUMP_V2 (RFC 6396, section 4.3; with path identifiers RFC 8050).
//! Owns the binary format, of which only prefixes and the origins of AS paths are read; believes no length in it.

use std::collections::BTreeMap;
use std::io::Read;

use super::{AsTableError, Origins, read_up_to};

/// The common header: timestamp, type, subtype, length (RFC 6396, section 2).
pub(super) const HEADER_BYTES: usize = 12;
/// Longest record: a prefix with the attributes of a thousand peers has some 100 KB.
const MAX_RECORD_BYTES: usize = 16 << 20;

const TABLE_DUMP_V2: u16 = 13;
const RIB_IPV4_UNICAST: u16 = 2;
const RIB_IPV6_UNICAST: u16 = 4;
const RIB_IPV4_UNICAST_ADDPATH: u16 = 8;
const RIB_IPV6_UNICAST_ADDPATH: u16 = 10;

/// Path attribute AS_PATH (RFC 4271, section 5.1.2), and the flag of a length of two bytes.
const AS_PATH: u8 = 2;
const EXTENDED_LENGTH: u8 = 0x10;
const AS_SET: u8 = 1;
const AS_SEQUENCE: u8 = 2;

/// Whether a file begins as an MRT file of this type.
pub(super) fn begins(head: &[u8]) -> bool {
    head.len() == HEADER_BYTES && u16::from_be_bytes([head[4], head[5]]) == TABLE_DUMP_V2
}

pub(super) fn read(mut from: impl Read) -> Result<Origins, AsTableError> {
    let mut from = std::io::BufReader::with_capacity(1 << 16, &mut from);
    let mut origins = Origins::default();
    let mut body = Vec::new();
    for record in 1.. {
        let wrong = |problem| AsTableError::Mrt { record, problem };
        let mut header = [0; HEADER_BYTES];
        match read_up_to(&mut from, &mut header)? {
            0 => break,
            HEADER_BYTES => {}
            _ => return Err(wrong("it is cut in its header")),
        }
        let half = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let length = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
        if length > MAX_RECORD_BYTES {
            return Err(wrong("it is longer than any may be"));
        }
        body.resize(length, 0);
        if read_up_to(&mut from, &mut body)? < length {
            return Err(wrong("it is cut"));
        }
        if half(4) == TABLE_DUMP_V2 {
            add(half(6), &body, &mut origins).ok_or_else(|| wrong("it contradicts itself"))?;
            origins.check_size()?;
        }
    }
    Ok(origins)
}

/// Adds what a record says; `None`: it contradicts itself. Peers, multicast and other families say nothing of interest.
fn add(subtype: u16, body: &[u8], origins: &mut Origins) -> Option<()> {
    let (bits, with_path_id) = match subtype {
        RIB_IPV4_UNICAST => (32, false),
        RIB_IPV6_UNICAST => (128, false),
        RIB_IPV4_UNICAST_ADDPATH => (32, true),
        RIB_IPV6_UNICAST_ADDPATH => (128, true),
        _ => return Some(()),
    };
    let mut body = Bytes(body);
    body.take(4)?; // sequence number
    let len = body.u8()?;
    if len > bits {
        return None;
    }
    let mut prefix = [0; 16];
    let given = body.take(usize::from(len).div_ceil(8))?;
    prefix[..given.len()].copy_from_slice(given);
    let prefix = u128::from_be_bytes(prefix) & u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
    let origin = origin_of_most(&mut body, with_path_id)?;
    // A default route says nothing of who an address belongs to; a prefix without an origin hides what it lies in.
    let origin = origin.unwrap_or(0);
    match bits {
        _ if len == 0 => {}
        32 => drop(origins.v4.insert(((prefix >> 96) as u32, len), origin)),
        _ => drop(origins.v6.insert((prefix, len), origin)),
    }
    Some(())
}

/// The origin that most peers see; of equally many the smaller number. `Some(None)`: nobody sees one.
fn origin_of_most(body: &mut Bytes<'_>, with_path_id: bool) -> Option<Option<u32>> {
    let mut seen: BTreeMap<u32, u32> = BTreeMap::new();
    for _ in 0..body.u16()? {
        body.take(2 + 4)?; // peer, time of origination
        if with_path_id {
            body.take(4)?;
        }
        let length = body.u16()?;
        if let Some(origin) = origin_of(Bytes(body.take(length.into())?))? {
            *seen.entry(origin).or_default() += 1;
        }
    }
    let most = seen
        .into_iter()
        .max_by_key(|(origin, peers)| (*peers, std::cmp::Reverse(*origin)));
    Some(most.map(|(origin, _)| origin))
}

/// The last system of the AS path. A set of several names nobody.
fn origin_of(mut attributes: Bytes<'_>) -> Option<Option<u32>> {
    let mut origin = None;
    while !attributes.0.is_empty() {
        let (flags, kind) = (attributes.u8()?, attributes.u8()?);
        let length = match flags & EXTENDED_LENGTH {
            0 => attributes.u8()?.into(),
            _ => usize::from(attributes.u16()?),
        };
        let mut value = Bytes(attributes.take(length)?);
        if kind != AS_PATH {
            continue;
        }
        while !value.0.is_empty() {
            let (segment, count) = (value.u8()?, value.u8()?);
            // Always four bytes each in this type of dump (RFC 6396, section 4.3.4).
            let systems = value.take(4 * usize::from(count))?.as_chunks::<4>().0;
            origin = match (segment, systems) {
                (AS_SEQUENCE, [.., last]) | (AS_SET, [last]) => Some(u32::from_be_bytes(*last)),
                (AS_SET, _) => None,
                _ => origin, // of a confederation: inside of the system before
            };
        }
    }
    Some(origin.filter(|origin| *origin != 0))
}

/// What is left of a record.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}
