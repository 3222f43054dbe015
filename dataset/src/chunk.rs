//! A chunk's content: columns to a Cap'n Proto message, LZ4, padding; and back.
//!
//! Owns what is inside a seal; must never see a key, nor trust a length before its limit is checked.

use capnp::{
    Error,
    message::{Builder, HeapAllocator},
};
use como_capnp::dataset_capnp as schema;

use crate::{
    Batch, ColumnData, Completeness, PacketBatch, Ragged, codec,
    format::{
        CHUNK_PREFIX_BYTES, MAX_CHUNK_BYTES, MAX_CHUNK_MESSAGE_BYTES, MIN_CHUNK_BYTES, TAG_BYTES,
        padded_bytes,
    },
};

/// What one chunk holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Chunk {
    /// Rows.
    Table(Batch),
    /// Packets.
    Packets(PacketBatch),
}

/// What a sealed chunk holds: content, or the end.
pub(crate) enum Content {
    Data(Chunk),
    End(Completeness),
}

/// Bytes of a message beside its values: segment table, root, lists' pointers and rounding.
pub(crate) const MESSAGE_OVERHEAD_BYTES: usize = 256;
/// The same for each column.
pub(crate) const COLUMN_OVERHEAD_BYTES: usize = 96;
/// Bytes of a packet beside its frame: time, wire length, offset.
pub(crate) const PACKET_OVERHEAD_BYTES: usize = 8 + 4 + 4;

/// `size` is what the message will take in bytes, about.
pub(crate) fn encode_table(batch: &Batch, size: usize) -> Vec<u8> {
    message(size, |chunk| {
        let mut table = chunk.init_table();
        table.set_rows(batch.rows() as u32);
        let mut columns = table.init_columns(batch.columns.len() as u32);
        for (i, column) in batch.columns.iter().enumerate() {
            build_column(columns.reborrow().get(i as u32), column);
        }
    })
}

/// `size` is what the message will take in bytes, about.
pub(crate) fn encode_packets(batch: &PacketBatch, size: usize) -> Vec<u8> {
    message(size, |chunk| {
        let mut packets = chunk.init_packets();
        codec::fill(packets.reborrow().init_ts_ns(batch.len() as u32), &batch.ts_ns);
        codec::fill(
            packets.reborrow().init_wire_len(batch.len() as u32),
            &batch.wire_len,
        );
        build_ragged(packets.init_frames(), &batch.frames);
    })
}

pub(crate) fn encode_end(end: &Completeness) -> Vec<u8> {
    message(MESSAGE_OVERHEAD_BYTES, |chunk| {
        let mut to = chunk.init_end();
        codec::build_gaps(to.reborrow().init_gaps(end.gaps.len() as u32), &end.gaps);
        codec::build_windows(
            to.reborrow().init_interrupted(end.interrupted.len() as u32),
            &end.interrupted,
        );
        codec::build_sampled(to.reborrow().init_sampled(end.sampled.len() as u32), &end.sampled);
        to.set_suppressed_rows(end.suppressed_rows);
        to.set_rows(end.rows);
        to.set_packets(end.packets);
    })
}

fn message(size: usize, build: impl FnOnce(schema::chunk::Builder<'_>)) -> Vec<u8> {
    // One segment where the guess is right: no far pointers, one copy.
    let mut message = Builder::new(HeapAllocator::new().first_segment_words(size.div_ceil(8) as u32));
    build(message.init_root());
    como_capnp::write_message(&message)
}

fn build_column(mut to: schema::column::Builder<'_>, column: &ColumnData) {
    let rows = column.len() as u32;
    match column {
        ColumnData::U8(v) => to.set_u8(v),
        ColumnData::U16(v) => codec::fill(to.init_u16(rows), v),
        ColumnData::U32(v) => codec::fill(to.init_u32(rows), v),
        ColumnData::U64(v) => codec::fill(to.init_u64(rows), v),
        ColumnData::I64(v) => codec::fill(to.init_i64(rows), v),
        ColumnData::F64(v) => codec::fill(to.init_f64(rows), v),
        ColumnData::Bool(v) => {
            for (byte, &value) in to.init_bool(rows).iter_mut().zip(v) {
                *byte = value.into();
            }
        }
        ColumnData::Address(v) => to.set_address(v.as_flattened()),
        ColumnData::Bytes(v) => build_ragged(to.init_bytes(), v),
        ColumnData::Text(v) => build_ragged(to.init_text(), v),
        ColumnData::TimeNs(v) => codec::fill(to.init_time_ns(rows), v),
    }
}

fn build_ragged(mut to: schema::ragged::Builder<'_>, from: &Ragged) {
    codec::fill(
        to.reborrow().init_offsets(from.offsets.len() as u32),
        &from.offsets,
    );
    to.set_bytes(&from.bytes);
}

/// Rows as one message, outside of a dataset: what the node's record files seal.
pub fn encode_rows(batch: &Batch) -> Vec<u8> {
    encode_table(batch, MESSAGE_OVERHEAD_BYTES)
}

/// Reads [`encode_rows`].
pub fn decode_rows(message: &[u8]) -> Result<Batch, crate::DatasetError> {
    match decode(message) {
        Ok(Content::Data(Chunk::Table(batch))) => Ok(batch),
        Ok(_) => Err(crate::DatasetError::schema("the message holds no rows")),
        Err(error) => Err(crate::DatasetError::schema(error.to_string())),
    }
}

/// Parses a message. Columns come out of one length and sound; whether they fit the schema is for the
/// reader to check.
pub(crate) fn decode(message: &[u8]) -> Result<Content, Error> {
    use schema::chunk::Which;
    let message = como_capnp::read_message(message)?;
    match message.get_root::<schema::chunk::Reader<'_>>()?.which()? {
        Which::Table(table) => Ok(Content::Data(Chunk::Table(decode_table(table?)?))),
        Which::Packets(packets) => Ok(Content::Data(Chunk::Packets(decode_packets(packets?)?))),
        Which::End(end) => {
            let end = end?;
            Ok(Content::End(Completeness {
                gaps: codec::gaps(end.get_gaps()?)?,
                interrupted: codec::windows(end.get_interrupted()?)?,
                sampled: codec::sampled(end.get_sampled()?)?,
                suppressed_rows: end.get_suppressed_rows(),
                rows: end.get_rows(),
                packets: end.get_packets(),
            }))
        }
    }
}

fn decode_table(table: schema::table_chunk::Reader<'_>) -> Result<Batch, Error> {
    let rows = table.get_rows() as usize;
    let columns = table
        .get_columns()?
        .iter()
        .map(|c| decode_column(c, rows))
        .collect::<Result<Vec<_>, Error>>()?;
    if columns
        .iter()
        .any(|column| column.len() != rows || !column.is_sound())
    {
        return Err(Error::failed(
            "columns of different lengths, or strings that are not sound".into(),
        ));
    }
    Ok(Batch { columns })
}

fn decode_column(column: schema::column::Reader<'_>, rows: usize) -> Result<ColumnData, Error> {
    use schema::column::Which;
    Ok(match column.which()? {
        Which::U8(v) => ColumnData::U8(v?.to_vec()),
        Which::U16(v) => ColumnData::U16(codec::list(v?)?),
        Which::U32(v) => ColumnData::U32(codec::list(v?)?),
        Which::U64(v) => ColumnData::U64(codec::list(v?)?),
        Which::I64(v) => ColumnData::I64(codec::list(v?)?),
        Which::F64(v) => ColumnData::F64(codec::list(v?)?),
        Which::Bool(v) => {
            let bytes = v?;
            if bytes.iter().any(|&b| b > 1) {
                return Err(Error::failed("a truth value above 1".into()));
            }
            ColumnData::Bool(bytes.iter().map(|&b| b == 1).collect())
        }
        Which::Address(v) => {
            let (addresses, rest) = v?.as_chunks::<16>();
            if !rest.is_empty() || addresses.len() != rows {
                return Err(Error::failed("addresses are not 16 bytes each".into()));
            }
            ColumnData::Address(addresses.to_vec())
        }
        Which::Bytes(v) => ColumnData::Bytes(decode_ragged(v?)?),
        Which::Text(v) => ColumnData::Text(decode_ragged(v?)?),
        Which::TimeNs(v) => ColumnData::TimeNs(codec::list(v?)?),
    })
}

fn decode_ragged(from: schema::ragged::Reader<'_>) -> Result<Ragged, Error> {
    Ok(Ragged {
        offsets: codec::list(from.get_offsets()?)?,
        bytes: from.get_bytes()?.to_vec(),
    })
}

fn decode_packets(from: schema::packet_chunk::Reader<'_>) -> Result<PacketBatch, Error> {
    let batch = PacketBatch {
        ts_ns: codec::list(from.get_ts_ns()?)?,
        wire_len: codec::list(from.get_wire_len()?)?,
        frames: decode_ragged(from.get_frames()?)?,
    };
    if !batch.is_sound() {
        return Err(Error::failed(
            "packet columns of different lengths, or frames that are not sound".into(),
        ));
    }
    Ok(batch)
}

/// Compresses and pads a message, ready to be sealed. Gives the bytes before padding too, which is
/// what a writer steers by.
pub(crate) fn pack(message: &[u8]) -> (Vec<u8>, usize) {
    debug_assert!(message.len() <= MAX_CHUNK_MESSAGE_BYTES);
    let mut chunk = Vec::with_capacity(MAX_CHUNK_BYTES + TAG_BYTES);
    chunk.resize(
        CHUNK_PREFIX_BYTES + lz4_flex::block::get_maximum_output_size(message.len()),
        0,
    );
    let stored = match lz4_flex::block::compress_into(message, &mut chunk[CHUNK_PREFIX_BYTES..]) {
        Ok(stored) if stored < message.len() => stored,
        // Not smaller (or no room, which cannot be): as it is.
        _ => {
            chunk[CHUNK_PREFIX_BYTES..][..message.len()].copy_from_slice(message);
            message.len()
        }
    };
    chunk[..4].copy_from_slice(&(message.len() as u32).to_le_bytes());
    chunk[4..8].copy_from_slice(&(stored as u32).to_le_bytes());
    let content = CHUNK_PREFIX_BYTES + stored;
    chunk.truncate(content);
    chunk.resize(padded_bytes(content), 0);
    (chunk, content)
}

/// Undoes [`pack`]. The only lengths believed are those within their limits.
pub(crate) fn unpack(chunk: &[u8]) -> Result<Vec<u8>, &'static str> {
    if chunk.len() < MIN_CHUNK_BYTES {
        return Err("it is smaller than any chunk");
    }
    let length = |at: usize| u32::from_le_bytes(chunk[at..at + 4].try_into().expect("four bytes")) as usize;
    let (message_bytes, stored_bytes) = (length(0), length(4));
    if message_bytes > MAX_CHUNK_MESSAGE_BYTES || stored_bytes > message_bytes {
        return Err("it claims a length above the limit");
    }
    let content = CHUNK_PREFIX_BYTES + stored_bytes;
    if padded_bytes(content) != chunk.len() || chunk[content..].iter().any(|&b| b != 0) {
        return Err("its padding is not as the format has it");
    }
    let stored = &chunk[CHUNK_PREFIX_BYTES..content];
    if stored_bytes == message_bytes {
        return Ok(stored.to_vec());
    }
    // Zeroed, and decompressed within bounds: an LZ4 block cannot show memory or grow past its claim.
    let mut message = vec![0; message_bytes];
    match lz4_flex::block::decompress_into(stored, &mut message) {
        Ok(n) if n == message_bytes => Ok(message),
        _ => Err("its LZ4 block is malformed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lz4_does_not_shrink_is_stored_as_it_is_and_fits() {
        let noise: Vec<u8> = (0..MAX_CHUNK_MESSAGE_BYTES)
            .scan(1u64, |s, _| {
                *s = s.wrapping_mul(6364136223846793005).wrapping_add(1);
                Some((*s >> 56) as u8)
            })
            .collect();
        let (chunk, _) = pack(&noise);
        assert_eq!(chunk.len(), MAX_CHUNK_BYTES);
        assert_eq!(unpack(&chunk).unwrap(), noise);
    }

    #[test]
    fn empty_and_compressible_messages_come_back() {
        for message in [vec![], vec![7; 10], vec![0; MAX_CHUNK_MESSAGE_BYTES]] {
            assert_eq!(unpack(&pack(&message).0).unwrap(), message);
        }
    }

    #[test]
    fn claimed_lengths_are_capped_and_padding_is_canonical() {
        let good = pack(&[5; 100_000]).0;
        let altered = |at: usize, bytes: &[u8]| {
            let mut chunk = good.clone();
            chunk[at..at + bytes.len()].copy_from_slice(bytes);
            unpack(&chunk)
        };
        assert!(altered(0, &u32::MAX.to_le_bytes()).is_err(), "message length");
        assert!(
            altered(0, &100_001u32.to_le_bytes()).is_err(),
            "message length by one"
        );
        assert!(
            altered(0, &99_999u32.to_le_bytes()).is_err(),
            "message length less one"
        );
        assert!(altered(4, &u32::MAX.to_le_bytes()).is_err(), "stored length");
        assert!(altered(good.len() - 1, &[1]).is_err(), "padding");
        let mut longer = good.clone();
        longer.resize(2 * good.len(), 0);
        assert!(unpack(&longer).is_err(), "more padding");
        assert!(unpack(&good[..100]).is_err(), "short");
    }
}
