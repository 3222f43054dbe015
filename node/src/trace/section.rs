//! One section of a block: LZ4, then ChaCha20-Poly1305 under the section's key. Must never be given the
//! same key and block number twice: the number is the nonce.
//!
//! Associated data: format version, segment id, block number, slot, plain length with the raw bit. A
//! section therefore opens nowhere but in its own place.

use std::ops::Range;

use como_keys::aead::{BlockCipher, TAG_BYTES};
use lz4_flex::block::CompressTable;

use super::block::{MAX_BLOCK_BYTES, RAW_BIT, Slot};
use super::codec::{put_u32, put_u64};
use super::error::TraceError;
use super::{FORMAT_VERSION, SegmentId};

/// LZ4 must gain at least one part in this many (3 %), else the section is stored as it is.
const LEAST_GAIN_PARTS: usize = 33;
/// Smaller sections are not worth compressing.
const LEAST_LZ4_BYTES: usize = 64;

/// Where a section belongs: segment, block, slot.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub segment: SegmentId,
    pub number: u32,
    pub slot: usize,
}

impl Place {
    fn associated_data(&self, plain: u32, extra: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(48 + extra.len());
        out.extend_from_slice(b"CoMo section");
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&self.segment.0);
        put_u64(&mut out, self.number.into());
        put_u32(&mut out, self.slot as u32);
        put_u32(&mut out, plain);
        out.extend_from_slice(extra);
        out
    }
}

/// Memory that sealing uses again from block to block; one for each thread that seals.
#[derive(Default)]
pub struct SealScratch {
    pub(super) plain: Vec<u8>,
    packed: Vec<u8>,
    small: Option<CompressTable>,
    large: Option<CompressTable>,
}

impl SealScratch {
    /// The bytes of `plain` to be sealed, compressed where it pays, and the plain length with the raw bit.
    fn compressed(&mut self) -> (&[u8], u32) {
        let Self {
            plain,
            packed,
            small,
            large,
        } = self;
        let length = plain.len() as u32;
        if plain.len() < LEAST_LZ4_BYTES {
            return (plain, length | RAW_BIT);
        }
        let room = lz4_flex::block::get_maximum_output_size(plain.len());
        if packed.len() < room {
            packed.resize(room, 0);
        }
        let table = if plain.len() < usize::from(u16::MAX) {
            small.get_or_insert_with(CompressTable::small)
        } else {
            large.get_or_insert_with(CompressTable::large)
        };
        match lz4_flex::block::compress_into_with_table(plain, packed, table) {
            Ok(size) if size + plain.len() / LEAST_GAIN_PARTS <= plain.len() => (&packed[..size], length),
            _ => (plain, length | RAW_BIT),
        }
    }
}

/// Seals the section in `scratch.plain` and appends it to `out`. The slot, with its lengths, goes to `extra`, which
/// gives further associated data.
pub(super) fn append(
    cipher: &BlockCipher,
    place: Place,
    scratch: &mut SealScratch,
    out: &mut Vec<u8>,
    extra: impl FnOnce(Slot) -> Vec<u8>,
) -> Slot {
    let start = out.len();
    let (bytes, plain) = scratch.compressed();
    out.extend_from_slice(bytes);
    let slot = Slot {
        sealed: (bytes.len() + TAG_BYTES) as u32,
        plain,
    };
    let associated = place.associated_data(plain, &extra(slot));
    let tag = cipher.seal_detached(place.number.into(), false, &associated, &mut out[start..]);
    out.extend_from_slice(&tag);
    slot
}

/// Seals a section piece by piece, uncompressed, and appends it to `out`: each piece of `piece_bytes` opens alone. The
/// cipher must be that of one such section of one segment: numbers of pieces are the nonces.
pub(super) fn append_pieces(
    cipher: &BlockCipher,
    place: Place,
    plain: &[u8],
    piece_bytes: usize,
    out: &mut Vec<u8>,
) -> Slot {
    let before = out.len();
    let length = plain.len() as u32 | RAW_BIT;
    for (number, piece) in plain.chunks(piece_bytes).enumerate() {
        let start = out.len();
        out.extend_from_slice(piece);
        let associated = place.associated_data(length, &piece_data(number));
        let tag = cipher.seal_detached(number as u64, false, &associated, &mut out[start..]);
        out.extend_from_slice(&tag);
    }
    Slot {
        sealed: (out.len() - before) as u32,
        plain: length,
    }
}

/// Where a piece of a section that [`append_pieces`] sealed lies within it, sealed.
pub(super) fn piece_range(slot: Slot, piece_bytes: usize, number: usize) -> Result<Range<u64>, TraceError> {
    let plain = raw_bytes(slot)?;
    let pieces = plain.div_ceil(piece_bytes);
    if plain > MAX_BLOCK_BYTES || slot.sealed as usize != plain + pieces * TAG_BYTES || number >= pieces {
        return Err(LENGTH);
    }
    let start = number * (piece_bytes + TAG_BYTES);
    let length = piece_bytes.min(plain - number * piece_bytes) + TAG_BYTES;
    Ok(start as u64..(start + length) as u64)
}

/// Opens a piece.
pub(super) fn open_piece(
    cipher: &BlockCipher,
    place: Place,
    slot: Slot,
    number: usize,
    sealed: &mut Vec<u8>,
) -> Result<(), TraceError> {
    let associated = place.associated_data(slot.plain, &piece_data(number));
    cipher
        .open(number as u64, false, &associated, sealed)
        .map_err(|_| CHANGED)
}

fn piece_data(number: usize) -> [u8; 4] {
    (number as u32).to_le_bytes()
}

/// Seals a section of its own, outside of a block. `extra` is further associated data.
#[cfg(test)]
pub(super) fn seal(cipher: &BlockCipher, place: Place, plain: Vec<u8>, extra: &[u8]) -> (Vec<u8>, Slot) {
    let mut scratch = SealScratch {
        plain,
        ..SealScratch::default()
    };
    let mut out = Vec::new();
    let slot = append(cipher, place, &mut scratch, &mut out, |_| extra.to_vec());
    (out, slot)
}

const LENGTH: TraceError = TraceError::Damaged {
    position: 0,
    what: "a section's length does not fit its contents",
};
const CHANGED: TraceError = TraceError::Damaged {
    position: 0,
    what: "a section does not open: changed bytes, or a key of another segment",
};

/// Opens a section in place; gives the bytes of its text, which [`unpack`] takes where [`plain_bytes`] tells a length.
/// `extra` is further associated data.
pub(super) fn open(
    cipher: &BlockCipher,
    place: Place,
    slot: Slot,
    sealed: &mut [u8],
    extra: &[u8],
) -> Result<usize, TraceError> {
    let plain_bytes = (slot.plain & !RAW_BIT) as usize;
    if plain_bytes > MAX_BLOCK_BYTES {
        return Err(LENGTH);
    }
    let (text, tag) = sealed.split_last_chunk_mut::<TAG_BYTES>().ok_or(CHANGED)?;
    let associated = place.associated_data(slot.plain, extra);
    cipher
        .open_detached(place.number.into(), false, &associated, text, tag)
        .map_err(|_| CHANGED)?;
    if slot.plain & RAW_BIT != 0 && text.len() != plain_bytes {
        return Err(LENGTH);
    }
    Ok(text.len())
}

/// How long a section is when it is unpacked; `None`: it was stored as it is.
pub(super) fn plain_bytes(slot: Slot) -> Option<usize> {
    (slot.plain & RAW_BIT == 0).then_some(slot.plain as usize)
}

/// How long a section is that was stored as it is; refused where it was compressed.
pub(super) fn raw_bytes(slot: Slot) -> Result<usize, TraceError> {
    match slot.plain & RAW_BIT {
        0 => Err(LENGTH),
        _ => Ok((slot.plain & !RAW_BIT) as usize),
    }
}

/// Undoes the compression; the result has exactly the length of `plain`.
pub(super) fn unpack(packed: &[u8], plain: &mut [u8]) -> Result<(), TraceError> {
    match lz4_flex::block::decompress_into(packed, plain) {
        Ok(size) if size == plain.len() => Ok(()),
        _ => Err(LENGTH),
    }
}

#[cfg(test)]
mod tests {
    use como_keys::aead::DataKey;
    use proptest::prelude::*;

    use super::*;

    fn place(number: u32, slot: usize) -> Place {
        Place {
            segment: SegmentId([1; 16]),
            number,
            slot,
        }
    }

    fn opened(
        cipher: &BlockCipher,
        place: Place,
        slot: Slot,
        sealed: &[u8],
        extra: &[u8],
    ) -> Result<Vec<u8>, TraceError> {
        let mut bytes = sealed.to_vec();
        let text = open(cipher, place, slot, &mut bytes, extra)?;
        bytes.truncate(text);
        match plain_bytes(slot) {
            None => Ok(bytes),
            Some(length) => {
                let mut plain = vec![0; length];
                unpack(&bytes, &mut plain).map(|()| plain)
            }
        }
    }

    proptest! {
        #[test]
        fn a_section_comes_back_and_no_bit_may_flip(plain in prop::collection::vec(0u8..4, 0..300), bit: prop::sample::Index) {
            let cipher = DataKey::generate().cipher();
            let (bytes, slot) = seal(&cipher, place(3, 2), plain.clone(), b"x");
            prop_assert_eq!(opened(&cipher, place(3, 2), slot, &bytes, b"x").unwrap(), plain);
            let mut bad = bytes.clone();
            let bit = bit.index(bad.len() * 8);
            bad[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(opened(&cipher, place(3, 2), slot, &bad, b"x").is_err());
            for (place, extra) in [(place(4, 2), b"x"), (place(3, 1), b"x"), (place(3, 2), b"y")] {
                prop_assert!(opened(&cipher, place, slot, &bytes, extra).is_err());
            }
        }
    }

    proptest! {
        #[test]
        fn each_piece_opens_alone_in_its_place_and_no_bit_may_flip(plain in prop::collection::vec(any::<u8>(), 1..300), bit: prop::sample::Index) {
            const PIECE: usize = 32;
            let cipher = DataKey::generate().cipher();
            let mut out = Vec::new();
            let slot = append_pieces(&cipher, place(3, 7), &plain, PIECE, &mut out);
            let piece = |number| out[{
                let range = piece_range(slot, PIECE, number).unwrap();
                range.start as usize..range.end as usize
            }].to_vec();
            for (number, expected) in plain.chunks(PIECE).enumerate() {
                let mut bytes = piece(number);
                open_piece(&cipher, place(3, 7), slot, number, &mut bytes).unwrap();
                prop_assert_eq!(&bytes, expected);
                let mut bad = piece(number);
                let bit = bit.index(bad.len() * 8);
                bad[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(open_piece(&cipher, place(3, 7), slot, number, &mut bad).is_err());
                for (place, other) in [(place(3, 7), number + 1), (place(4, 7), number), (place(3, 6), number)] {
                    prop_assert!(open_piece(&cipher, place, slot, other, &mut piece(number)).is_err());
                }
            }
            prop_assert!(piece_range(slot, PIECE, plain.len().div_ceil(PIECE)).is_err());
        }
    }

    #[test]
    fn noise_is_stored_raw_and_zeros_shrink() {
        let noise: Vec<u8> = (0..40).flat_map(|_| como_keys::random::<32>()).collect();
        let mut scratch = SealScratch {
            plain: noise,
            ..SealScratch::default()
        };
        assert_ne!(scratch.compressed().1 & RAW_BIT, 0);
        for length in [5000, 100_000, 5000] {
            scratch.plain = vec![0; length];
            let (packed, plain) = scratch.compressed();
            assert!(packed.len() < length / 20 && plain as usize == length);
        }
    }
}
