//! One section of a block: LZ4, then ChaCha20-Poly1305 under the section's key. Must never be given the
//! same key and block number twice: the number is the nonce.
//!
//! Associated data: format version, segment id, block number, slot, plain length with the raw bit. A
//! section therefore opens nowhere but in its own place.

use como_keys::aead::BlockCipher;

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

/// Compresses where it pays. Returns the bytes to seal and the plain length with the raw bit.
pub(super) fn compress(plain: Vec<u8>) -> (Vec<u8>, u32) {
    let length = plain.len() as u32;
    if plain.len() < LEAST_LZ4_BYTES {
        return (plain, length | RAW_BIT);
    }
    let mut packed = vec![0; lz4_flex::block::get_maximum_output_size(plain.len())];
    match lz4_flex::block::compress_into(&plain, &mut packed) {
        Ok(size) if size + plain.len() / LEAST_GAIN_PARTS <= plain.len() => {
            packed.truncate(size);
            (packed, length)
        }
        _ => (plain, length | RAW_BIT),
    }
}

/// Seals a section. `extra` is further associated data.
pub(super) fn seal(cipher: &BlockCipher, place: Place, plain: Vec<u8>, extra: &[u8]) -> (Vec<u8>, Slot) {
    let (mut bytes, length) = compress(plain);
    cipher.seal(
        place.number.into(),
        false,
        &place.associated_data(length, extra),
        &mut bytes,
    );
    let slot = Slot {
        sealed: bytes.len() as u32,
        plain: length,
    };
    (bytes, slot)
}

/// Seals the section whose associated data holds the block header, which holds the section's own lengths.
pub(super) fn seal_with_header(
    cipher: &BlockCipher,
    place: Place,
    plain: Vec<u8>,
    header: impl FnOnce(Slot) -> Vec<u8>,
) -> (Vec<u8>, Slot) {
    let (mut bytes, length) = compress(plain);
    let slot = Slot {
        sealed: (bytes.len() + como_keys::aead::TAG_BYTES) as u32,
        plain: length,
    };
    let extra = header(slot);
    cipher.seal(
        place.number.into(),
        false,
        &place.associated_data(length, &extra),
        &mut bytes,
    );
    (bytes, slot)
}

/// Opens a section. The result has exactly the plain length of the slot.
pub(super) fn open(
    cipher: &BlockCipher,
    place: Place,
    slot: Slot,
    mut bytes: Vec<u8>,
    extra: &[u8],
) -> Result<Vec<u8>, TraceError> {
    const CHANGED: &str = "a section does not open: changed bytes, or a key of another segment";
    const LENGTH: &str = "a section's length does not fit its contents";
    let plain_bytes = (slot.plain & !RAW_BIT) as usize;
    if plain_bytes > MAX_BLOCK_BYTES {
        return Err(TraceError::damaged(0, LENGTH));
    }
    cipher
        .open(
            place.number.into(),
            false,
            &place.associated_data(slot.plain, extra),
            &mut bytes,
        )
        .map_err(|_| TraceError::damaged(0, CHANGED))?;
    if slot.plain & RAW_BIT != 0 {
        return if bytes.len() == plain_bytes {
            Ok(bytes)
        } else {
            Err(TraceError::damaged(0, LENGTH))
        };
    }
    let mut plain = vec![0; plain_bytes];
    match lz4_flex::block::decompress_into(&bytes, &mut plain) {
        Ok(size) if size == plain_bytes => Ok(plain),
        _ => Err(TraceError::damaged(0, LENGTH)),
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

    proptest! {
        #[test]
        fn a_section_comes_back_and_no_bit_may_flip(plain in prop::collection::vec(0u8..4, 0..300), bit: prop::sample::Index) {
            let cipher = DataKey::generate().cipher();
            let (bytes, slot) = seal(&cipher, place(3, 2), plain.clone(), b"x");
            prop_assert_eq!(open(&cipher, place(3, 2), slot, bytes.clone(), b"x").unwrap(), plain);
            let mut bad = bytes.clone();
            let bit = bit.index(bad.len() * 8);
            bad[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(open(&cipher, place(3, 2), slot, bad, b"x").is_err());
            for (place, extra) in [(place(4, 2), b"x"), (place(3, 1), b"x"), (place(3, 2), b"y")] {
                prop_assert!(open(&cipher, place, slot, bytes.clone(), extra).is_err());
            }
        }
    }

    #[test]
    fn noise_is_stored_raw_and_zeros_shrink() {
        let noise: Vec<u8> = (0..40).flat_map(|_| como_keys::random::<32>()).collect();
        assert_ne!(compress(noise).1 & RAW_BIT, 0);
        let (packed, length) = compress(vec![0; 5000]);
        assert!(packed.len() < 200 && length == 5000);
    }
}
