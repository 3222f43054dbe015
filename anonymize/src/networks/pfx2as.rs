//! CAIDA's prefix-to-AS tables (routeviews-rv2, routeviews-rv6): a line per prefix, `PREFIX<TAB>LENGTH<TAB>ORIGIN`. Owns the
//! text format; must never guess: an origin that is a set names nobody.

use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;

use super::{AsTableError, Origins};

/// Longest line: an IPv6 prefix and some dozens of origins.
const MAX_LINE_BYTES: u64 = 4096;

/// Whether a file begins as such a table: with an address.
pub(super) fn begins(head: &[u8]) -> bool {
    !head.is_empty()
        && head[0].is_ascii_hexdigit()
        && head
            .iter()
            .all(|b| b.is_ascii_hexdigit() || matches!(b, b'.' | b':' | b'\t' | b'\n' | b'\r' | b'_' | b','))
}

pub(super) fn read(from: impl Read) -> Result<Origins, AsTableError> {
    let mut from = BufReader::with_capacity(1 << 16, from);
    let mut origins = Origins::default();
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        from.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut text)?;
        if text.is_empty() {
            break;
        }
        let wrong = |problem| AsTableError::Line { line, problem };
        let text = std::str::from_utf8(&text).map_err(|_| wrong("it is no text"))?;
        let text = text.trim_end_matches(['\n', '\r']);
        if !text.is_empty() {
            add(text, &mut origins).map_err(wrong)?;
            origins.check_size()?;
        }
    }
    Ok(origins)
}

fn add(line: &str, origins: &mut Origins) -> Result<(), &'static str> {
    let mut fields = line.split('\t');
    let (Some(address), Some(len), Some(origin), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err("it has not three fields");
    };
    let address: IpAddr = address.parse().map_err(|_| "the prefix is no address")?;
    let len: u8 = len.parse().map_err(|_| "the length is no number")?;
    let origin = origin_of(origin)?;
    match address {
        IpAddr::V4(v4) if len <= 32 => {
            let bits = u32::from(v4) & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            insert(&mut origins.v4, (bits, len), origin);
        }
        IpAddr::V6(v6) if len <= 128 => {
            let bits = u128::from(v6) & u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
            insert(&mut origins.v6, (bits, len), origin);
        }
        _ => return Err("the prefix is longer than an address"),
    }
    Ok(())
}

/// A default route says nothing of who an address belongs to.
fn insert<A: Ord>(map: &mut std::collections::BTreeMap<(A, u8), u32>, prefix: (A, u8), origin: u32) {
    if prefix.1 > 0 {
        map.insert(prefix, origin);
    }
}

/// `A_B`: announced by several, of which the first is the one seen most; `A,B`: by a set, which names nobody (0).
fn origin_of(text: &str) -> Result<u32, &'static str> {
    let number = |text: &str| text.parse::<u32>().map_err(|_| "the AS is no number");
    for part in text.split(['_', ',']) {
        number(part)?;
    }
    let first = text.split('_').next().unwrap_or_default();
    match first.contains(',') {
        true => Ok(0),
        false => number(first),
    }
}
