//! Values as text: times, addresses, bytes, and how complete a dataset is.
//!
//! Owns their spelling, the same in every text format; must never add or drop a digit.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv6Addr},
};

use como_dataset::{Completeness, Header};
use jiff::Timestamp;

/// Gaps that a comment lists; the rest are counted.
const LISTED_GAPS: usize = 16;
/// Longest comment, in bytes: an option of pcapng has 16 bits of length.
const MAX_COMMENT_BYTES: usize = 8 << 10;

/// RFC 3339 in UTC with nanoseconds.
pub(super) fn push_time(to: &mut String, ns: u64) {
    let time = Timestamp::from_nanosecond(ns.into()).expect("64 bits of ns end in 2554, within the calendar");
    write!(to, "{time:.9}").expect("a string takes all");
}

/// IPv4 in dotted form where the address is a mapped one, else RFC 5952.
pub(super) fn address(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}

pub(super) fn push_hex(to: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        to.push(DIGITS[usize::from(byte >> 4)].into());
        to.push(DIGITS[usize::from(byte & 15)].into());
    }
}

/// What a person should know of the dataset when only the converted file is at hand.
pub(super) fn comment(header: &Header, end: Option<&Completeness>) -> String {
    let mut text = format!(
        "CoMo dataset of node {}, query {}\nlevel: {}\n",
        header.node, header.query_id, header.level
    );
    text.push_str("window: ");
    push_time(&mut text, header.window.from_ns);
    text.push_str(" to ");
    push_time(&mut text, header.window.to_ns);
    if !header.filter.is_empty() {
        let _ = write!(text, "\nfilter: {}", header.filter);
    }
    let _ = write!(
        text,
        "\npseudonyms: audience {}, epoch {}",
        header.audience, header.mapping_epoch
    );
    text.push_str("\ncompleteness: ");
    match end {
        None => text.push_str("unknown, the dataset was read before its end"),
        Some(end) if end.is_complete() => text.push_str("complete, no gap"),
        Some(end) => push_gaps(&mut text, end),
    }
    end.iter().for_each(|end| push_sampled(&mut text, end));
    truncate(&mut text);
    text
}

fn push_gaps(text: &mut String, end: &Completeness) {
    let _ = write!(
        text,
        "{} gap(s), {} interrupted interval(s), {} suppressed row(s)",
        end.gaps.len(),
        end.interrupted.len(),
        end.suppressed_rows
    );
    for gap in end.gaps.iter().take(LISTED_GAPS) {
        text.push_str("\ngap: ");
        push_time(text, gap.from_ns);
        text.push_str(" to ");
        push_time(text, gap.to_ns);
        let lost = gap
            .count
            .map_or_else(|| "unknown number".into(), |n| n.to_string());
        let _ = write!(text, ", {}, {lost} of packets", gap.cause);
    }
    if end.gaps.len() > LISTED_GAPS {
        let _ = write!(text, "\nand {} gaps more", end.gaps.len() - LISTED_GAPS);
    }
}

fn push_sampled(text: &mut String, end: &Completeness) {
    for stretch in end.sampled.iter().take(LISTED_GAPS) {
        text.push_str("\nestimated: ");
        push_time(text, stretch.window.from_ns);
        text.push_str(" to ");
        push_time(text, stretch.window.to_ns);
        let _ = write!(text, ", one packet in {} was looked at", stretch.one_in);
    }
    if end.sampled.len() > LISTED_GAPS {
        let _ = write!(
            text,
            "\nand {} estimated stretches more",
            end.sampled.len() - LISTED_GAPS
        );
    }
}

fn truncate(text: &mut String) {
    if text.len() > MAX_COMMENT_BYTES {
        let mut end = MAX_COMMENT_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
}
