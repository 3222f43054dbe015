//! Encryption of numbered blocks: ChaCha20-Poly1305 (RFC 8439) under a random data key.
//!
//! Nonce (12 bytes): block number as 8 bytes big-endian, 3 zero bytes, then 1 for the last block and
//! 0 for any other. So a block opens only at its place, and a cut stream shows. **The caller must
//! never seal two blocks with the same key, number and last flag**: a data key belongs to one
//! section of one segment, or to one dataset. Must never choose numbers itself.

use crate::{KeyError, labels};
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use hkdf::Hkdf;
use sha2::Sha256;
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes that sealing adds to a block: the Poly1305 tag.
pub const TAG_BYTES: usize = 16;

/// A random key for one stream of blocks.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DataKey([u8; 32]);

impl DataKey {
    /// A random key.
    pub fn generate() -> Self {
        Self(crate::random())
    }

    /// A key from its bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(*bytes)
    }

    /// The bytes, to hand the key to a process that needs it.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// A key for one part of what this key protects (HKDF-SHA256, RFC 5869).
    pub fn derive(&self, label: &str, index: u32) -> DataKey {
        let mut out = [0u8; 32];
        Hkdf::<Sha256>::new(None, &self.0)
            .expand_multi_info(
                &[
                    labels::PREFIX.as_bytes(),
                    labels::DATA.as_bytes(),
                    label.as_bytes(),
                    &[0],
                    &index.to_be_bytes(),
                ],
                &mut out,
            )
            .expect("32 bytes are one hash");
        let key = DataKey(out);
        out.zeroize();
        key
    }

    /// The cipher under this key, ready for many blocks.
    pub fn cipher(&self) -> BlockCipher {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &self.0).expect("32 bytes are a ChaCha20 key");
        BlockCipher {
            key: LessSafeKey::new(key),
        }
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A keyed cipher. Its key lies in memory of AWS-LC, which wipes all that it frees.
pub struct BlockCipher {
    key: LessSafeKey,
}

impl BlockCipher {
    /// Encrypts `buf` in place and appends the tag. Allocates only if `buf` has no room for it.
    pub fn seal(&self, number: u64, last: bool, aad: &[u8], buf: &mut Vec<u8>) {
        let tag = self.seal_detached(number, last, aad, buf);
        buf.extend_from_slice(&tag);
    }

    /// Decrypts `buf` in place and cuts the tag off. On error `buf` is emptied.
    pub fn open(&self, number: u64, last: bool, aad: &[u8], buf: &mut Vec<u8>) -> Result<(), KeyError> {
        let opened = match buf.split_last_chunk_mut::<TAG_BYTES>() {
            Some((text, tag)) => {
                let tag = *tag;
                self.open_detached(number, last, aad, text, &tag)
            }
            None => Err(KeyError::DoesNotOpen { what: "a block" }),
        };
        match opened {
            Ok(()) => buf.truncate(buf.len() - TAG_BYTES),
            Err(_) => buf.clear(),
        }
        opened
    }

    /// Encrypts `text` in place and returns the tag, for callers that lay out their own buffers.
    pub fn seal_detached(&self, number: u64, last: bool, aad: &[u8], text: &mut [u8]) -> [u8; TAG_BYTES] {
        let sealed = self
            .key
            .seal_in_place_separate_tag(nonce(number, last), Aad::from(aad), text);
        let tag = sealed.expect("a block is far below the cipher's limit of 256 GiB");
        let mut bytes = [0u8; TAG_BYTES];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    /// Decrypts `text` in place if `tag` fits; on error `text` must not be used.
    pub fn open_detached(
        &self,
        number: u64,
        last: bool,
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), KeyError> {
        match self
            .key
            .open_in_place_separate_tag(nonce(number, last), Aad::from(aad), tag, text)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(KeyError::DoesNotOpen { what: "a block" }),
        }
    }
}

impl fmt::Debug for BlockCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

fn nonce(number: u64, last: bool) -> Nonce {
    let mut nonce = [0u8; 12];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(last);
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chacha20poly1305::ChaCha20Poly1305;
    use chacha20poly1305::aead::{Aead, KeyInit, Payload};
    use proptest::prelude::*;

    fn sealed(key: &DataKey, number: u64, last: bool, aad: &[u8], text: &[u8]) -> Vec<u8> {
        let mut buf = text.to_vec();
        key.cipher().seal(number, last, aad, &mut buf);
        buf
    }

    fn opens(key: &DataKey, number: u64, last: bool, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let mut buf = sealed.to_vec();
        key.cipher().open(number, last, aad, &mut buf).ok().map(|()| buf)
    }

    /// RFC 8439, 2.8.2, with our nonce: the layout is part of the format.
    #[test]
    fn the_layout_is_the_documented_one() {
        let key = DataKey::from_bytes(&std::array::from_fn(|i| 0x80 + i as u8));
        assert_eq!(
            hex::encode(sealed(&key, 0x0102_0304_0506_0708, true, b"aad", b"text")),
            hex::encode(
                ChaCha20Poly1305::new(key.expose().into())
                    .encrypt(
                        &[1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1].into(),
                        Payload {
                            msg: b"text",
                            aad: b"aad"
                        }
                    )
                    .unwrap()
            )
        );
    }

    #[test]
    fn sealing_into_room_does_not_allocate() {
        let cipher = DataKey::generate().cipher();
        let mut buf = Vec::with_capacity(100 + TAG_BYTES);
        buf.resize(100, 1);
        let place = buf.as_ptr();
        cipher.seal(0, false, b"", &mut buf);
        assert_eq!((buf.as_ptr(), buf.len()), (place, 100 + TAG_BYTES));
    }

    #[test]
    fn a_refused_block_leaves_no_bytes() {
        let key = DataKey::generate();
        for bad in [&[][..], &[1; TAG_BYTES - 1], &[1; TAG_BYTES], &[1; 100]] {
            let mut buf = bad.to_vec();
            assert!(key.cipher().open(0, false, b"", &mut buf).is_err());
            assert!(buf.is_empty());
        }
    }

    #[test]
    fn derived_keys_differ_by_label_and_index() {
        let key = DataKey::generate();
        let derived = [
            key.clone(),
            key.derive("a", 0),
            key.derive("a", 1),
            key.derive("b", 0),
            DataKey::generate().derive("a", 0),
        ];
        let distinct: std::collections::BTreeSet<_> = derived.iter().map(|key| *key.expose()).collect();
        assert_eq!(distinct.len(), derived.len());
        assert_eq!(key.derive("a", 1).expose(), derived[2].expose());
    }

    #[test]
    fn debug_is_redacted() {
        let key = DataKey::generate();
        assert_eq!(format!("{key:?} {:?}", key.cipher()), "[redacted] [redacted]");
    }

    proptest! {
        #[test]
        fn a_block_opens_at_its_place_only(
            text in proptest::collection::vec(any::<u8>(), 0..300),
            aad in proptest::collection::vec(any::<u8>(), 0..20),
            number in any::<u64>(),
            other in any::<u64>(),
            last in any::<bool>(),
        ) {
            let key = DataKey::generate();
            let block = sealed(&key, number, last, &aad, &text);
            prop_assert_eq!(opens(&key, number, last, &aad, &block), Some(text));
            prop_assert!(opens(&key, number, !last, &aad, &block).is_none());
            prop_assert!(number == other || opens(&key, other, last, &aad, &block).is_none());
            prop_assert!(opens(&key, number, last, &[&aad[..], b"x"].concat(), &block).is_none());
            prop_assert!(opens(&DataKey::generate(), number, last, &aad, &block).is_none());
        }

        #[test]
        fn any_flipped_bit_or_cut_fails(
            text in proptest::collection::vec(any::<u8>(), 0..200),
            at in any::<proptest::sample::Index>(),
            bit in 0..8u8,
        ) {
            let key = DataKey::generate();
            let block = sealed(&key, 1, false, b"", &text);
            let mut bad = block.clone();
            bad[at.index(block.len())] ^= 1 << bit;
            prop_assert!(opens(&key, 1, false, b"", &bad).is_none());
            prop_assert!(opens(&key, 1, false, b"", &block[..at.index(block.len())]).is_none());
        }

        #[test]
        fn an_independent_implementation_agrees(
            text in proptest::collection::vec(any::<u8>(), 0..5000),
            aad in proptest::collection::vec(any::<u8>(), 0..100),
            number in any::<u64>(),
            last in any::<bool>(),
        ) {
            let key = DataKey::generate();
            let mut nonce = [0u8; 12];
            nonce[..8].copy_from_slice(&number.to_be_bytes());
            nonce[11] = u8::from(last);
            let peer = ChaCha20Poly1305::new(key.expose().into())
                .encrypt(&nonce.into(), Payload { msg: &text, aad: &aad })
                .unwrap();
            prop_assert_eq!(sealed(&key, number, last, &aad, &text), peer);
        }
    }
}
