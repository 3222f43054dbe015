//! Writing a dataset, front to back, to anything that takes bytes.
//!
//! Owns filling and sealing of chunks. Must never hold a private key: what is to be signed comes out
//! of [`DatasetWriter::finish`], and the signature goes on with [`crate::attach_signature`].

use std::io::Write;

use como_keys::sealing::Recipient;

use crate::{
    Batch, ColumnData, Completeness, DatasetError, Field, Head, Header, Kind, PacketBatch, Ragged,
    chunk::{self, COLUMN_OVERHEAD_BYTES, MESSAGE_OVERHEAD_BYTES, PACKET_OVERHEAD_BYTES},
    format::{MAX_CHUNK_BYTES, MAX_CHUNK_MESSAGE_BYTES, MAX_CHUNKS},
    seal::PayloadKeys,
    trailer::{IndexBuilder, statement},
};

/// Message bytes of the first chunk, before the writer knows how well the content compresses.
const FIRST_FILL_BYTES: usize = 512 << 10;

/// Writes one dataset. Rows and packets gather until a chunk is full; [`flush`](Self::flush) seals
/// what has gathered, for a receiver that waits.
pub struct DatasetWriter<W: Write> {
    to: W,
    head: Vec<u8>,
    header_hash: [u8; 32],
    query_id: String,
    kind: Kind,
    fields: Vec<Field>,
    keys: PayloadKeys,
    index: IndexBuilder,
    table: Batch,
    packets: PacketBatch,
    pending_bytes: usize,
    fill_bytes: usize,
}

/// A dataset that lacks only its signature: what the node looks at before it signs.
#[derive(Clone, Debug)]
pub struct Unsigned {
    /// The head, as written: [`Head::read`] shows header and recipients to whoever signs.
    pub head: Vec<u8>,
    /// The query, as in the header.
    pub query_id: String,
    /// SHA-256 of the head.
    pub header_hash: [u8; 32],
    /// Root over all ciphertext.
    pub root: [u8; 32],
    /// Chunks, with the one that ends the dataset.
    pub chunk_count: u64,
}

impl Unsigned {
    /// What is to be signed, with type [`crate::format::STATEMENT_TYPE`].
    pub fn statement(&self) -> Vec<u8> {
        statement(&self.query_id, &self.header_hash, &self.root, self.chunk_count)
    }
}

impl<W: Write> DatasetWriter<W> {
    /// Begins a dataset: makes its key, wraps it to each recipient, writes the head.
    pub fn create(mut to: W, header: &Header, recipients: &[Recipient]) -> Result<Self, DatasetError> {
        let (head, keys) = Head::create(header, recipients)?;
        to.write_all(&head)?;
        Ok(Self {
            header_hash: como_keys::digest::sha256(&head),
            to,
            head,
            query_id: header.query_id.clone(),
            kind: header.kind,
            table: Batch::new(header.schema.fields()),
            fields: header.schema.fields().to_vec(),
            keys,
            index: IndexBuilder::default(),
            packets: PacketBatch::default(),
            pending_bytes: 0,
            fill_bytes: FIRST_FILL_BYTES,
        })
    }

    /// Bytes and hash of the head, for whoever decides early whether to sign.
    pub fn head(&self) -> (&[u8], &[u8; 32]) {
        (&self.head, &self.header_hash)
    }

    /// Adds rows.
    pub fn write_table(&mut self, batch: &Batch) -> Result<(), DatasetError> {
        self.expect(Kind::Table)?;
        batch.check(&self.fields)?;
        let fixed: usize = self.fields.iter().map(|f| f.kind.fixed_bytes()).sum();
        let overhead = MESSAGE_OVERHEAD_BYTES + COLUMN_OVERHEAD_BYTES * self.fields.len();
        let strings: Vec<&Ragged> = batch
            .columns
            .iter()
            .filter_map(|column| match column {
                ColumnData::Bytes(v) | ColumnData::Text(v) => Some(v),
                _ => None,
            })
            .collect();
        let row_bytes = |row| fixed + strings.iter().map(|v| v.get(row).len()).sum::<usize>();
        // All or nothing: a batch with a row that cannot be written is refused before any is taken.
        let largest = (0..batch.rows()).map(row_bytes).max().unwrap_or(0);
        fits("row size in bytes", largest, overhead)?;
        let mut from = 0;
        for row in 0..batch.rows() {
            let bytes = row_bytes(row);
            if overhead + self.pending_bytes + bytes > self.fill_bytes {
                self.table.extend(batch, from..row);
                from = row;
                self.flush()?;
            }
            self.pending_bytes += bytes;
        }
        self.table.extend(batch, from..batch.rows());
        Ok(())
    }

    /// Adds packets.
    pub fn write_packets(&mut self, batch: &PacketBatch) -> Result<(), DatasetError> {
        self.expect(Kind::Packets)?;
        if !batch.is_sound() {
            return Err(DatasetError::schema(
                "packet columns are not of one length, or frames not sound",
            ));
        }
        let packet_bytes = |packet| PACKET_OVERHEAD_BYTES + batch.frames.get(packet).len();
        let largest = (0..batch.len()).map(packet_bytes).max().unwrap_or(0);
        fits("packet size in bytes", largest, MESSAGE_OVERHEAD_BYTES)?;
        let mut from = 0;
        for packet in 0..batch.len() {
            let bytes = packet_bytes(packet);
            if MESSAGE_OVERHEAD_BYTES + self.pending_bytes + bytes > self.fill_bytes {
                self.packets.extend(batch, from..packet);
                from = packet;
                self.flush()?;
            }
            self.pending_bytes += bytes;
        }
        self.packets.extend(batch, from..batch.len());
        Ok(())
    }

    /// Seals what has gathered as a chunk of its own, where there is something.
    pub fn flush(&mut self) -> Result<(), DatasetError> {
        if self.pending_bytes == 0 {
            return Ok(());
        }
        let size = MESSAGE_OVERHEAD_BYTES + COLUMN_OVERHEAD_BYTES * self.fields.len() + self.pending_bytes;
        let message = match self.kind {
            Kind::Table => chunk::encode_table(
                &std::mem::replace(&mut self.table, Batch::new(&self.fields)),
                size,
            ),
            Kind::Packets => chunk::encode_packets(&std::mem::take(&mut self.packets), size),
        };
        self.pending_bytes = 0;
        let content = self.write_chunk(&message, false)?;
        self.fill_bytes = next_fill(message.len(), content).max(FIRST_FILL_BYTES / 8);
        self.to.flush()?;
        Ok(())
    }

    /// Seals the rest and how complete it all is, and writes the trailer but for the signature, which
    /// [`crate::attach_signature`] appends to the returned writer.
    pub fn finish(mut self, end: &Completeness) -> Result<(Unsigned, W), DatasetError> {
        self.flush()?;
        let message = chunk::encode_end(end);
        self.write_chunk(&message, true)?;
        let root = self.index.write(&mut self.to)?;
        self.to.flush()?;
        let unsigned = Unsigned {
            head: self.head,
            query_id: self.query_id,
            header_hash: self.header_hash,
            root,
            chunk_count: self.index.len(),
        };
        Ok((unsigned, self.to))
    }

    fn expect(&self, kind: Kind) -> Result<(), DatasetError> {
        if self.kind == kind {
            return Ok(());
        }
        Err(DatasetError::schema(
            "rows in a dataset of packets, or packets in one of rows",
        ))
    }

    /// Gives the bytes of the chunk before padding.
    fn write_chunk(&mut self, message: &[u8], last: bool) -> Result<usize, DatasetError> {
        fits("chunk message size in bytes", message.len(), 0)?;
        let number = self.index.len();
        // One place is kept for the end.
        if number + u64::from(!last) >= MAX_CHUNKS {
            let what = "number of chunks";
            return Err(DatasetError::TooLarge {
                what,
                claimed: number + 1,
                limit: MAX_CHUNKS,
                by_file: false,
            });
        }
        let (mut sealed, content) = chunk::pack(message);
        self.keys.seal(number as u32, last, &mut sealed);
        self.to.write_all(&(sealed.len() as u32).to_le_bytes())?;
        self.to.write_all(&sealed)?;
        self.index.push(&sealed);
        Ok(content)
    }
}

fn fits(what: &'static str, bytes: usize, overhead: usize) -> Result<(), DatasetError> {
    if bytes + overhead <= MAX_CHUNK_MESSAGE_BYTES {
        return Ok(());
    }
    let limit = (MAX_CHUNK_MESSAGE_BYTES - overhead) as u64;
    Err(DatasetError::TooLarge {
        what,
        claimed: bytes as u64,
        limit,
        by_file: false,
    })
}

/// How much to gather for the next chunk, from how the last one compressed: as much as fills the
/// largest padded size that a full message reaches, less a sixteenth for content that compresses worse.
/// So padding costs little, and nearly all chunks of a dataset are of one size.
fn next_fill(message: usize, content: usize) -> usize {
    let (message, content) = (message.max(1) as u64, content.max(1) as u64);
    let full = (MAX_CHUNK_MESSAGE_BYTES as u64 * content / message).clamp(1, MAX_CHUNK_BYTES as u64);
    let target = (1u64 << full.ilog2()) * 15 / 16;
    (target * message / content).min(MAX_CHUNK_MESSAGE_BYTES as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_filled_towards_a_power_of_two() {
        let most = MAX_CHUNK_MESSAGE_BYTES;
        assert_eq!(
            next_fill(512 << 10, 512 << 10),
            (1 << 19) * 15 / 16,
            "incompressible: half a megabyte"
        );
        let fill = next_fill(1000, 350);
        assert_eq!(
            fill * 350 / 1000 / 1024,
            239,
            "35 %: a quarter of a megabyte, nearly full"
        );
        assert!(next_fill(most, 5000) <= most);
        assert!(next_fill(1, 4096) > 0, "a tiny chunk does not stop the next");
    }
}
