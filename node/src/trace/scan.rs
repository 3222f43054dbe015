//! Walking a segment without any key: recovery after a crash, resume points, verification. Must never
//! trust a length that a checksum does not cover, and never change the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use como_keys::digest::{Hasher, blake3};

use super::block::{BLOCK_HEADER_BYTES, BlockHeader};
use super::error::TraceError;
use super::footer::SegmentFooter;
use super::frame::{FOOTER, HEADER, TAIL_BYTES};
use super::header::{MAX_HEADER_BYTES, SegmentHeader};

/// Bytes of a header frame with three wrapped keys, and room; a longer one is read with a second call.
const USUAL_HEADER_BYTES: usize = 8 << 10;
/// Bytes of a footer frame, and room; the same.
const USUAL_FOOTER_BYTES: u64 = 1 << 10;
/// Bytes read at once while looking for the next block after damage.
const SEARCH_BYTES: usize = 1 << 20;

/// How the blocks of a segment end.
#[derive(Debug)]
pub enum ScanEnd {
    /// With a valid footer whose hash covers exactly the blocks found.
    Sealed(Box<SegmentFooter>),
    /// At the end of the file, without footer: open, or cut by a crash.
    Unsealed,
    /// With bytes that are neither a whole block nor a footer.
    Torn {
        /// Bytes after the last whole block.
        bytes: u64,
        /// What was wrong with them.
        what: TraceError,
    },
}

/// What a scan found: the longest valid prefix of the segment.
#[derive(Debug)]
pub struct ScanReport {
    /// The header.
    pub header: SegmentHeader,
    /// Bytes of the header frame.
    pub header_bytes: u64,
    /// The last whole block, if any.
    pub last: Option<BlockHeader>,
    /// Whole blocks in the prefix.
    pub blocks: u64,
    /// Packets in them.
    pub packets: u64,
    /// Where the prefix ends.
    pub end: u64,
    /// What follows it.
    pub tail: ScanEnd,
}

/// Checks header, every block and the footer of a segment, without any key.
pub fn scan(file: &File) -> Result<ScanReport, TraceError> {
    let length = file.metadata()?.len();
    let HeaderRead {
        header,
        bytes: header_bytes,
        ..
    } = read_header(file, None)?;
    let mut report = ScanReport {
        header,
        header_bytes,
        last: None,
        blocks: 0,
        packets: 0,
        end: header_bytes,
        tail: ScanEnd::Unsealed,
    };
    let mut hasher = Hasher::new();
    while report.end < length {
        match whole_block(file, report.end, report.blocks) {
            Ok((block, header_digest)) => {
                hasher.update(&header_digest);
                report.end += block.total_bytes();
                report.blocks += 1;
                report.packets += u64::from(block.packets);
                report.last = Some(block);
            }
            Err(TraceError::Io(error)) => return Err(error.into()),
            Err(block_error) => {
                report.tail = match footer_at(file, report.end, length, &report.header) {
                    Ok(Some((footer, _)))
                        if footer.blocks == report.blocks && footer.blocks_hash == hasher.finish() =>
                    {
                        ScanEnd::Sealed(Box::new(footer))
                    }
                    Ok(Some(_)) => {
                        let what = TraceError::damaged(report.end, "the footer is of other blocks");
                        ScanEnd::Torn {
                            bytes: length - report.end,
                            what,
                        }
                    }
                    Ok(None) => ScanEnd::Torn {
                        bytes: length - report.end,
                        what: block_error,
                    },
                    Err(TraceError::Io(error)) => return Err(error.into()),
                    Err(what) => ScanEnd::Torn {
                        bytes: length - report.end,
                        what,
                    },
                };
                break;
            }
        }
    }
    Ok(report)
}

/// A header as it was read.
pub(super) struct HeaderRead {
    pub header: SegmentHeader,
    /// Bytes of its frame.
    pub bytes: u64,
    /// Digest of its frame.
    pub digest: [u8; 32],
}

/// The header of a segment, its self-signature checked; `vouched`: the digest of the one that somebody checked already.
pub(super) fn read_header(file: &File, vouched: Option<&[u8; 32]>) -> Result<HeaderRead, TraceError> {
    let mut bytes = read_up_to(file, 0, USUAL_HEADER_BYTES)?;
    if !HEADER.is_whole(&bytes) {
        bytes = read_up_to(file, 0, MAX_HEADER_BYTES)?;
    }
    let (header, frame) = SegmentHeader::decode_vouched(&bytes, vouched)?;
    Ok(HeaderRead {
        header,
        bytes: frame.bytes as u64,
        digest: frame.digest,
    })
}

/// The footer frame at `position`, with its digest, if one starts there; it must end the file.
pub(super) fn footer_at(
    file: &File,
    position: u64,
    length: u64,
    header: &SegmentHeader,
) -> Result<Option<(SegmentFooter, [u8; 32])>, TraceError> {
    if !read_up_to(file, position, FOOTER.magic.len())?.starts_with(&FOOTER.magic) {
        return Ok(None);
    }
    let rest = (length - position).min(2 * como_capnp::MAX_MESSAGE_BYTES as u64);
    let bytes = read_up_to(file, position, rest as usize)?;
    footer_in(&bytes, position, length, header, None)
}

/// The same, of the bytes from `position` on.
fn footer_in(
    bytes: &[u8],
    position: u64,
    length: u64,
    header: &SegmentHeader,
    vouched: Option<&[u8; 32]>,
) -> Result<Option<(SegmentFooter, [u8; 32])>, TraceError> {
    if !bytes.starts_with(&FOOTER.magic) {
        return Ok(None);
    }
    if FOOTER.read(bytes, position)?.bytes as u64 != length - position {
        return Err(TraceError::damaged(position, "bytes follow the footer"));
    }
    let (footer, digest) = SegmentFooter::decode(bytes, position, &header.certificate.key, vouched)?;
    if footer.segment != header.segment {
        return Err(TraceError::damaged(position, "the footer is of another segment"));
    }
    Ok(Some((footer, digest)))
}

/// The footer that ends a file whose blocks begin at `blocks_start`, if one does: with its digest, and where it starts.
pub(super) fn find_footer(
    file: &File,
    length: u64,
    blocks_start: u64,
    header: &SegmentHeader,
    vouched: Option<&[u8; 32]>,
) -> Result<Option<(SegmentFooter, [u8; 32], u64)>, TraceError> {
    let start = length.saturating_sub(USUAL_FOOTER_BYTES).max(blocks_start);
    let end = read_range(file, start, length.saturating_sub(start) as usize)?;
    let position = end
        .last_chunk::<TAIL_BYTES>()
        .and_then(|tail| FOOTER.length_from_tail(tail))
        .and_then(|bytes| length.checked_sub(bytes));
    let Some(position) = position.filter(|position| *position >= blocks_start) else {
        return Ok(None);
    };
    let found = match position.checked_sub(start) {
        Some(at) => footer_in(&end[at as usize..], position, length, header, vouched)?,
        None => footer_at(file, position, length, header)?,
    };
    Ok(found.map(|(footer, digest)| (footer, digest, position)))
}

/// The header of the block at `position`, whose sections are not looked at.
pub(super) fn block_header_at(file: &File, position: u64) -> Result<BlockHeader, TraceError> {
    BlockHeader::decode(&read_up_to(file, position, BLOCK_HEADER_BYTES)?, position)
}

/// The first block header at or after `position`: where reading goes on after damage.
pub(super) fn next_block(file: &File, mut position: u64, end: u64) -> Result<Option<u64>, TraceError> {
    while position < end {
        let window = read_up_to(file, position, SEARCH_BYTES.min((end - position) as usize))?;
        let candidates = window.windows(super::block::MAGIC.len()).enumerate();
        for (at, _) in candidates.filter(|(_, bytes)| *bytes == super::block::MAGIC) {
            let found = position + at as u64;
            if block_header_at(file, found).is_ok() {
                return Ok(Some(found));
            }
        }
        if window.len() < SEARCH_BYTES {
            break;
        }
        position += (window.len() - super::block::MAGIC.len() + 1) as u64;
    }
    Ok(None)
}

/// Reads exactly a range; a file that ends before is damage, not an input error.
pub(super) fn read_range(file: &File, position: u64, length: usize) -> Result<Vec<u8>, TraceError> {
    let bytes = read_up_to(file, position, length)?;
    if bytes.len() < length {
        return Err(TraceError::damaged(position, "the file ends inside a block"));
    }
    Ok(bytes)
}

fn whole_block(file: &File, position: u64, number: u64) -> Result<(BlockHeader, [u8; 32]), TraceError> {
    let bytes = read_up_to(file, position, BLOCK_HEADER_BYTES)?;
    let header = BlockHeader::decode(&bytes, position)?;
    if u64::from(header.number) != number {
        return Err(TraceError::damaged(
            position,
            "a block is missing before this one",
        ));
    }
    let body = read_range(
        file,
        position + BLOCK_HEADER_BYTES as u64,
        header.body_bytes() as usize,
    )?;
    if blake3(&body) != header.body_hash {
        return Err(TraceError::damaged(
            position,
            "the sections of a block are changed or torn",
        ));
    }
    Ok((header, blake3(&bytes)))
}

fn read_up_to(file: &File, position: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let filled = read_into(file, position, length, &mut bytes, 0)?;
    bytes.truncate(filled);
    Ok(bytes)
}

/// Reads up to `length` bytes to `at` of a buffer, which grows where it must; gives how many there were.
pub(super) fn read_into(
    file: &File,
    position: u64,
    length: usize,
    buffer: &mut Vec<u8>,
    at: usize,
) -> io::Result<usize> {
    if buffer.len() < at + length {
        buffer.resize(at + length, 0);
    }
    let bytes = &mut buffer[at..at + length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut bytes[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
