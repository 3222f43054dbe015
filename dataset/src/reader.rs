//! Verifying a dataset without an identity, and reading it with one.
//!
//! Owns the order of checks: signature and root, then the key, then each chunk. Must never give out a
//! chunk that failed one, nor call a dataset complete whose end it has not seen.

use std::io::{Read, Seek, SeekFrom};

use como_keys::{
    sealing::Identity,
    signing::{KeyId, VerifyingKey},
};

use crate::{
    Chunk, Completeness, DatasetError, Head, Header, Kind,
    chunk::{self, Content},
    format::{LENGTH_BYTES, MAX_CHUNKS, is_sealed_length},
    head::read_up_to,
    seal::PayloadKeys,
    trailer::{Entry, Trailer},
};

/// What [`verify`] proved: the node's key signed this header and every byte that follows.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The header.
    pub header: Header,
    /// The node's key.
    pub signer: KeyId,
    /// SHA-256 of the head.
    pub header_hash: [u8; 32],
    /// Root over all ciphertext: names this very dataset.
    pub root: [u8; 32],
    /// Chunks, with the one that ends the dataset.
    pub chunk_count: u64,
    /// Sealed bytes of all chunks.
    pub sealed_bytes: u64,
    /// Number of recipients.
    pub recipients: usize,
}

/// Checks origin and integrity of a whole dataset with the node's public key. No identity is needed:
/// a mirror can do it.
pub fn verify(mut from: impl Read + Seek, node_key: &VerifyingKey) -> Result<Verified, DatasetError> {
    from.seek(SeekFrom::Start(0))?;
    let head = Head::read(&mut from)?;
    let trailer = Trailer::read(&mut from, &head)?;
    trailer.check_signature(&head, node_key)?;
    let mut sealed = Vec::new();
    from.seek(SeekFrom::Start(head.bytes))?;
    for (number, entry) in trailer.entries.iter().enumerate() {
        read_listed(&mut from, number as u64, entry, &mut sealed)?;
        trailer.check_chunk(number, &sealed)?;
    }
    Ok(Verified {
        signer: head.header.node_key,
        header_hash: head.header_hash,
        root: trailer.root,
        chunk_count: trailer.entries.len() as u64,
        sealed_bytes: trailer.entries.iter().map(|e| u64::from(e.sealed_bytes)).sum(),
        recipients: head.recipients(),
        header: head.header,
    })
}

/// A dataset opened with a recipient's identity: content in order, or chunk by chunk at random.
pub struct DatasetReader<R> {
    from: R,
    head: Head,
    keys: PayloadKeys,
    extent: Extent,
    next: u64,
    sealed: Vec<u8>,
}

/// What is known of the rest of the file.
enum Extent {
    /// All of it.
    Complete {
        trailer: Trailer,
        end: Completeness,
        origin_checked: bool,
    },
    /// Nothing: chunks are found one after the other, the next one here.
    Provisional { offset: u64, end: Option<Completeness> },
}

impl<R: Read + Seek> DatasetReader<R> {
    /// Opens a complete dataset. With the node's key the signature is checked now, and each chunk
    /// against it when it is read. Without, every chunk is authentic towards the data key, which
    /// all recipients share: that proves integrity, not origin.
    pub fn open(
        mut from: R,
        identity: &Identity,
        node_key: Option<&VerifyingKey>,
    ) -> Result<Self, DatasetError> {
        from.seek(SeekFrom::Start(0))?;
        let head = Head::read(&mut from)?;
        let trailer = Trailer::read(&mut from, &head)?;
        if let Some(node_key) = node_key {
            trailer.check_signature(&head, node_key)?;
        }
        let keys = head.unlock(identity)?;
        let mut sealed = Vec::new();
        let last = trailer.entries.len() - 1;
        let end = match open_listed(&mut from, &trailer, &keys, last, &mut sealed)? {
            Content::End(end) => end,
            Content::Data(_) => return Err(corrupt(last as u64, &trailer, "it should end the dataset")),
        };
        let extent = Extent::Complete {
            trailer,
            end,
            origin_checked: node_key.is_some(),
        };
        Ok(Self {
            from,
            head,
            keys,
            extent,
            next: 0,
            sealed,
        })
    }

    /// Opens what is there of a dataset that is still being written or fetched. Chunks come out in
    /// order, each authentic towards the data key and at its place; nothing proves their origin, nor
    /// that there are no more, until the whole is opened.
    pub fn open_provisional(mut from: R, identity: &Identity) -> Result<Self, DatasetError> {
        from.seek(SeekFrom::Start(0))?;
        let head = Head::read(&mut from)?;
        let keys = head.unlock(identity)?;
        let extent = Extent::Provisional {
            offset: head.bytes,
            end: None,
        };
        Ok(Self {
            from,
            head,
            keys,
            extent,
            next: 0,
            sealed: Vec::new(),
        })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.head.header
    }

    /// The head, with its hash and number of recipients.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Whether the node's signature was checked when the dataset was opened.
    pub fn origin_checked(&self) -> bool {
        matches!(
            self.extent,
            Extent::Complete {
                origin_checked: true,
                ..
            }
        )
    }

    /// Whether the dataset was opened without its trailer.
    pub fn is_provisional(&self) -> bool {
        matches!(self.extent, Extent::Provisional { .. })
    }

    /// How complete the content is. `None` for a provisional dataset whose end was not reached.
    pub fn completeness(&self) -> Option<&Completeness> {
        match &self.extent {
            Extent::Complete { end, .. } => Some(end),
            Extent::Provisional { end, .. } => end.as_ref(),
        }
    }

    /// Number of chunks with content. `None` for a provisional dataset.
    pub fn chunk_count(&self) -> Option<u64> {
        match &self.extent {
            Extent::Complete { trailer, .. } => Some(trailer.entries.len() as u64 - 1),
            Extent::Provisional { .. } => None,
        }
    }

    /// Number of the chunk that [`next_chunk`](Self::next_chunk) gives: what to remember to resume.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The next chunk; `None` after the last. An error does not move on. A provisional dataset ends
    /// with [`DatasetError::Truncated`] where its bytes do.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, DatasetError> {
        let chunk = match &self.extent {
            Extent::Complete { trailer, .. } if self.next + 1 == trailer.entries.len() as u64 => {
                return Ok(None);
            }
            Extent::Complete { .. } => Some(self.chunk(self.next)?),
            Extent::Provisional { end: Some(_), .. } => None,
            Extent::Provisional { offset, .. } => self.next_provisional(*offset)?,
        };
        self.next += u64::from(chunk.is_some());
        Ok(chunk)
    }

    /// Goes on with chunk `number`, to resume where reading stopped.
    pub fn seek_chunk(&mut self, number: u64) -> Result<(), DatasetError> {
        let chunks = self.chunk_count().unwrap_or(0);
        if number > chunks {
            return Err(DatasetError::NoSuchChunk {
                chunk: number,
                chunks,
            });
        }
        self.next = number;
        Ok(())
    }

    /// Chunk `number`, from 0; only of a complete dataset. Does not change what comes next.
    pub fn chunk(&mut self, number: u64) -> Result<Chunk, DatasetError> {
        let chunks = self.chunk_count().unwrap_or(0);
        let Extent::Complete { trailer, .. } = &self.extent else {
            return Err(DatasetError::NoSuchChunk {
                chunk: number,
                chunks,
            });
        };
        if number >= chunks {
            return Err(DatasetError::NoSuchChunk {
                chunk: number,
                chunks,
            });
        }
        match open_listed(
            &mut self.from,
            trailer,
            &self.keys,
            number as usize,
            &mut self.sealed,
        )? {
            Content::Data(chunk) => {
                fits_schema(&chunk, self.header()).map_err(|what| corrupt(number, self.trailer(), what))?;
                Ok(chunk)
            }
            Content::End(_) => Err(corrupt(number, trailer, "it ends the dataset before its end")),
        }
    }

    fn trailer(&self) -> &Trailer {
        match &self.extent {
            Extent::Complete { trailer, .. } => trailer,
            Extent::Provisional { .. } => unreachable!("asked for complete datasets only"),
        }
    }

    fn next_provisional(&mut self, offset: u64) -> Result<Option<Chunk>, DatasetError> {
        let number = self.next;
        let bad = |what: &str| DatasetError::ChunkCorrupt {
            chunk: number,
            offset,
            what: what.into(),
        };
        if number >= MAX_CHUNKS {
            let what = "number of chunks";
            return Err(DatasetError::TooLarge {
                what,
                claimed: number + 1,
                limit: MAX_CHUNKS,
                by_file: true,
            });
        }
        self.from.seek(SeekFrom::Start(offset))?;
        let length = read_length(&mut self.from, offset)?;
        if !is_sealed_length(length as usize) {
            return Err(bad("its claimed size is one that no chunk has"));
        }
        read_sealed(&mut self.from, offset, length, &mut self.sealed)?;
        let after = offset + LENGTH_BYTES as u64 + u64::from(length);
        // What follows is only a hint which seal to expect: the seal decides.
        let following = read_length(&mut self.from, after);
        let last = matches!(following, Ok(0));
        if !self.keys.open(number as u32, last, &mut self.sealed) {
            // Cut right behind its last chunk, a dataset looks like this too.
            following?;
            return Err(bad("it does not open: altered, moved, or of another dataset"));
        }
        let content = decode(&self.sealed).map_err(|what| bad(&what))?;
        match content {
            Content::Data(chunk) if !last => {
                fits_schema(&chunk, self.header()).map_err(bad)?;
                self.extent = Extent::Provisional {
                    offset: after,
                    end: None,
                };
                Ok(Some(chunk))
            }
            Content::End(end) if last => {
                self.extent = Extent::Provisional {
                    offset: after,
                    end: Some(end),
                };
                Ok(None)
            }
            _ => Err(bad("its content is not what its place asks for")),
        }
    }
}

/// Reads, checks and opens chunk `number`.
fn open_listed(
    from: &mut (impl Read + Seek),
    trailer: &Trailer,
    keys: &PayloadKeys,
    number: usize,
    sealed: &mut Vec<u8>,
) -> Result<Content, DatasetError> {
    let entry = &trailer.entries[number];
    let last = number + 1 == trailer.entries.len();
    from.seek(SeekFrom::Start(entry.offset))?;
    read_listed(from, number as u64, entry, sealed)?;
    trailer.check_chunk(number, sealed)?;
    if !keys.open(number as u32, last, sealed) {
        let what = "it does not open: altered, moved, or of another dataset";
        return Err(corrupt(number as u64, trailer, what));
    }
    decode(sealed).map_err(|what| corrupt(number as u64, trailer, what))
}

/// Reads a chunk that the index lists, from its length on.
fn read_listed(
    from: &mut impl Read,
    number: u64,
    entry: &Entry,
    sealed: &mut Vec<u8>,
) -> Result<(), DatasetError> {
    if read_length(from, entry.offset)? != entry.sealed_bytes {
        return Err(DatasetError::ChunkCorrupt {
            chunk: number,
            offset: entry.offset,
            what: "its length is not the one in the index".into(),
        });
    }
    read_sealed(from, entry.offset, entry.sealed_bytes, sealed)
}

fn read_length(from: &mut impl Read, offset: u64) -> Result<u32, DatasetError> {
    let mut length = [0; LENGTH_BYTES];
    match read_up_to(from, &mut length)? {
        LENGTH_BYTES => Ok(u32::from_le_bytes(length)),
        got => Err(DatasetError::Truncated {
            bytes: offset + got as u64,
        }),
    }
}

/// `length` was checked: at most the largest chunk.
fn read_sealed(
    from: &mut impl Read,
    offset: u64,
    length: u32,
    sealed: &mut Vec<u8>,
) -> Result<(), DatasetError> {
    sealed.clear();
    sealed.resize(length as usize, 0);
    let got = read_up_to(from, sealed)?;
    if got < sealed.len() {
        return Err(DatasetError::Truncated {
            bytes: offset + (LENGTH_BYTES + got) as u64,
        });
    }
    Ok(())
}

fn decode(opened: &[u8]) -> Result<Content, String> {
    let message = chunk::unpack(opened).map_err(str::to_owned)?;
    chunk::decode(&message).map_err(|e| format!("its message does not parse ({e})"))
}

fn fits_schema(chunk: &Chunk, header: &Header) -> Result<(), &'static str> {
    let fits = match chunk {
        Chunk::Table(batch) => header.kind == Kind::Table && batch.check(header.schema.fields()).is_ok(),
        Chunk::Packets(_) => header.kind == Kind::Packets,
    };
    if fits {
        Ok(())
    } else {
        Err("its content does not fit the header's schema")
    }
}

fn corrupt(chunk: u64, trailer: &Trailer, what: impl Into<String>) -> DatasetError {
    let offset = trailer.entries[chunk as usize].offset;
    DatasetError::ChunkCorrupt {
        chunk,
        offset,
        what: what.into(),
    }
}
