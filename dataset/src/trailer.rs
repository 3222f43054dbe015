//! The end of a dataset: index of chunks, root, signature.
//!
//! Owns the trailer's bytes and the statement that is signed; must never hold a signing key.

use std::io::{Read, Seek, SeekFrom, Write};

use como_keys::signing::{Signature, VerifyingKey};

use crate::{
    DatasetError, Head,
    format::{
        END_MAGIC, FOOTER_BYTES, INDEX_ENTRY_BYTES, LENGTH_BYTES, MAX_CHUNKS, STATEMENT_TYPE,
        is_sealed_length,
    },
    head::read_up_to,
    seal,
};

/// What a node signs for a dataset, as the payload of a DSSE envelope of type [`STATEMENT_TYPE`]:
/// the query (length u32, bytes), the hash of the head, the root, the number of chunks u64.
pub fn statement(query_id: &str, header_hash: &[u8; 32], root: &[u8; 32], chunk_count: u64) -> Vec<u8> {
    let mut statement = Vec::with_capacity(4 + query_id.len() + 32 + 32 + 8);
    statement.extend_from_slice(&(query_id.len() as u32).to_le_bytes());
    statement.extend_from_slice(query_id.as_bytes());
    statement.extend_from_slice(header_hash);
    statement.extend_from_slice(root);
    statement.extend_from_slice(&chunk_count.to_le_bytes());
    statement
}

/// Appends the node's signature: the last bytes of a dataset.
pub fn attach_signature(mut to: impl Write, signature: &Signature) -> Result<(), DatasetError> {
    to.write_all(&signature.0)?;
    to.write_all(&END_MAGIC)?;
    to.flush()?;
    Ok(())
}

/// Where one chunk stands, and what its sealed bytes hash to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Byte of the file at which the chunk's length stands.
    pub offset: u64,
    /// Sealed bytes, without the length.
    pub sealed_bytes: u32,
    /// BLAKE3 of the sealed bytes.
    pub hash: [u8; 32],
}

/// Index of a dataset being written: bytes as they will stand in the trailer.
#[derive(Default)]
pub(crate) struct IndexBuilder(Vec<u8>);

impl IndexBuilder {
    pub(crate) fn push(&mut self, sealed: &[u8]) {
        self.0.extend_from_slice(&(sealed.len() as u32).to_le_bytes());
        self.0.extend_from_slice(blake3::hash(sealed).as_bytes());
    }

    pub(crate) fn len(&self) -> u64 {
        (self.0.len() / INDEX_ENTRY_BYTES) as u64
    }

    /// Writes marker, index, count and root: all that precedes the signature.
    pub(crate) fn write(&self, to: &mut impl Write) -> Result<[u8; 32], DatasetError> {
        let root = seal::root(&self.0);
        to.write_all(&[0; LENGTH_BYTES])?;
        to.write_all(&self.0)?;
        to.write_all(&self.len().to_le_bytes())?;
        to.write_all(&root)?;
        Ok(root)
    }
}

/// A dataset's trailer, read from its end; agrees with itself and with the file's length.
#[derive(Clone, Debug)]
pub(crate) struct Trailer {
    pub entries: Vec<Entry>,
    pub root: [u8; 32],
    pub signature: Signature,
}

impl Trailer {
    /// Reads the trailer of a dataset with that head.
    ///
    /// Allocates in proportion to the file, and only after the claimed count fits the file's length.
    pub(crate) fn read(from: &mut (impl Read + Seek), head: &Head) -> Result<Self, DatasetError> {
        let file_bytes = from.seek(SeekFrom::End(0))?;
        let smallest = head.bytes + (LENGTH_BYTES + FOOTER_BYTES) as u64;
        let truncated = DatasetError::Truncated { bytes: file_bytes };
        if file_bytes < smallest {
            return Err(truncated);
        }
        let mut footer = [0; FOOTER_BYTES];
        from.seek(SeekFrom::Start(file_bytes - FOOTER_BYTES as u64))?;
        if read_up_to(from, &mut footer)? < FOOTER_BYTES || footer[104..] != END_MAGIC {
            return Err(truncated);
        }
        let count = u64::from_le_bytes(footer[..8].try_into().expect("eight bytes"));
        if count > MAX_CHUNKS {
            let what = "number of chunks";
            return Err(DatasetError::TooLarge {
                what,
                claimed: count,
                limit: MAX_CHUNKS,
                by_file: true,
            });
        }
        let index_bytes = count * INDEX_ENTRY_BYTES as u64;
        if count == 0 || index_bytes > file_bytes - smallest {
            return Err(DatasetError::trailer(
                "its number of chunks does not fit the file's length",
            ));
        }
        let index_at = file_bytes - FOOTER_BYTES as u64 - index_bytes;
        let mut marked = vec![0; LENGTH_BYTES + index_bytes as usize];
        from.seek(SeekFrom::Start(index_at - LENGTH_BYTES as u64))?;
        if read_up_to(from, &mut marked)? < marked.len() {
            return Err(truncated);
        }
        let (marker, index) = marked.split_at(LENGTH_BYTES);
        let root = footer[8..40].try_into().expect("cut at its length");
        if marker != [0; LENGTH_BYTES] {
            return Err(DatasetError::trailer("no end marker stands before the index"));
        }
        if seal::root(index) != root {
            return Err(DatasetError::trailer("the root is not that of the index"));
        }
        let entries = entries(index, head.bytes)?;
        let end = entries.last().map_or(head.bytes, Entry::end);
        if end != index_at - LENGTH_BYTES as u64 {
            return Err(DatasetError::trailer("the chunks it lists do not fill the file"));
        }
        Ok(Self {
            entries,
            root,
            signature: Signature(footer[40..104].try_into().expect("cut at its length")),
        })
    }

    /// Checks that the node signed this head and this root.
    pub(crate) fn check_signature(&self, head: &Head, node_key: &VerifyingKey) -> Result<(), DatasetError> {
        let (named, given) = (head.header.node_key, node_key.key_id());
        if named != given {
            return Err(DatasetError::WrongSigner {
                named: hex(&named.0),
                given: hex(&given.0),
            });
        }
        let statement = statement(
            &head.header.query_id,
            &head.header_hash,
            &self.root,
            self.entries.len() as u64,
        );
        node_key
            .verify_dsse(STATEMENT_TYPE, &statement, &self.signature)
            .map_err(|_| DatasetError::BadSignature)
    }

    /// Checks sealed bytes against the entry of chunk `number`.
    pub(crate) fn check_chunk(&self, number: usize, sealed: &[u8]) -> Result<(), DatasetError> {
        let entry = self.entries[number];
        let hash = *blake3::hash(sealed).as_bytes();
        if hash == entry.hash {
            return Ok(());
        }
        let (chunk, offset) = (number as u64, entry.offset);
        Err(match self.entries.iter().position(|other| other.hash == hash) {
            Some(belongs) => DatasetError::Reordered {
                chunk,
                offset,
                belongs: belongs as u64,
            },
            None => DatasetError::ChunkCorrupt {
                chunk,
                offset,
                what: "its hash is not the signed one".into(),
            },
        })
    }
}

impl Entry {
    /// Byte after the chunk.
    pub(crate) fn end(&self) -> u64 {
        self.offset + LENGTH_BYTES as u64 + u64::from(self.sealed_bytes)
    }
}

fn entries(index: &[u8], mut offset: u64) -> Result<Vec<Entry>, DatasetError> {
    let (entries, _) = index.as_chunks::<INDEX_ENTRY_BYTES>();
    entries
        .iter()
        .map(|bytes| {
            let sealed_bytes = u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"));
            if !is_sealed_length(sealed_bytes as usize) {
                return Err(DatasetError::trailer(
                    "it lists a chunk of a size that no chunk has",
                ));
            }
            let entry = Entry {
                offset,
                sealed_bytes,
                hash: bytes[4..].try_into().expect("the rest"),
            };
            offset = entry.end();
            Ok(entry)
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
