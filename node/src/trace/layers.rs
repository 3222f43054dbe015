//! Sections R and P: each captured packet cut in two at the end of its headers. R and P together, with
//! the time of A, give every packet back byte for byte.

use super::PacketBatch;
use super::codec::{Reader, put_column};
use super::error::TraceError;
use super::groups::NS_PER_MS;

const NS_PER_US: u64 = 1000;

/// Appends section R: header lengths, microseconds within the millisecond, header bytes.
pub(super) fn encode_headers(batch: &PacketBatch, header_len: &[u32], out: &mut Vec<u8>) {
    let finer = |ts: &u64| (ts % NS_PER_MS / NS_PER_US) as u16;
    let finer: Vec<u16> = batch.ts_ns.iter().map(finer).collect();
    encode(out, header_len, &finer, |row, length| &batch.data(row)[..length]);
}

/// Appends section P: lengths of the rest, nanoseconds within the microsecond, the rest.
pub(super) fn encode_rest(batch: &PacketBatch, header_len: &[u32], out: &mut Vec<u8>) {
    let rest_len: Vec<u32> = (0..batch.len())
        .map(|row| batch.data(row).len() as u32 - header_len[row])
        .collect();
    let finer: Vec<u16> = batch.ts_ns.iter().map(|ts| (ts % NS_PER_US) as u16).collect();
    encode(out, &rest_len, &finer, |row, length| {
        let data = batch.data(row);
        &data[data.len() - length..]
    });
}

fn encode<'a>(out: &mut Vec<u8>, lengths: &[u32], finer: &[u16], piece: impl Fn(usize, usize) -> &'a [u8]) {
    put_column(out, lengths);
    put_column(out, finer);
    out.reserve(lengths.iter().map(|&length| length as usize).sum());
    for (row, &length) in lengths.iter().enumerate() {
        out.extend_from_slice(piece(row, length as usize));
    }
}

/// An opened section R or P.
pub(super) struct Layer<'a> {
    /// Where each packet's piece ends in `bytes`; it begins where the one before ends.
    ends: Vec<u32>,
    /// Time below the grain of the section before: microseconds (R) or nanoseconds (P).
    pub finer: Vec<u16>,
    bytes: &'a [u8],
}

impl<'a> Layer<'a> {
    pub fn decode(plain: &'a [u8], rows: usize) -> Result<Self, TraceError> {
        let mut input = Reader(plain);
        let mut ends: Vec<u32> = input.column(rows)?;
        let finer: Vec<u16> = input.column(rows)?;
        let mut total = 0u32;
        for end in &mut ends {
            total = total.checked_add(*end).ok_or(NO_SUM)?;
            *end = total;
        }
        if total as usize != input.0.len() || finer.iter().any(|&f| f >= 1000) {
            return Err(NO_SUM);
        }
        Ok(Self {
            ends,
            finer,
            bytes: input.0,
        })
    }

    /// One packet's piece.
    pub fn piece(&self, row: usize) -> &'a [u8] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..self.ends[row] as usize]
    }
}

const NO_SUM: TraceError = TraceError::Damaged {
    position: 0,
    what: "the packets of a section do not add up",
};
