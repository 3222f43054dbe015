//! Keys of one dataset: derived from its data key, used for chunks, commitment and MAC.
//!
//! Owns the key schedule and the sealing of chunks; must never keep a key longer than its writer or
//! reader lives, nor seal two chunks at one position.

use aead_stream::{NewStream, StreamBE32, StreamPrimitive};
use chacha20poly1305::ChaCha20Poly1305;
use como_keys::{aead::DataKey, signing::KeyId};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::format::{
    COMMITMENT_BYTES, DIGEST_PREFIX_BYTES, MAC_BYTES, PAYLOAD_LABEL, RECIPIENT_LABEL, ROOT_CONTEXT,
};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 7; // 12 of the AEAD, less a 32-bit counter and the last flag
const MAC_KEY_BYTES: usize = 32;

/// What the data key of one dataset derives to.
pub(crate) struct PayloadKeys {
    stream: StreamBE32<ChaCha20Poly1305>,
    commitment: [u8; COMMITMENT_BYTES],
    mac_key: Zeroizing<[u8; MAC_KEY_BYTES]>,
}

impl PayloadKeys {
    /// The header digest in the derivation binds every chunk to its header: a chunk of another
    /// dataset does not open, even under the same data key.
    pub(crate) fn derive(data_key: &DataKey, salt: &[u8; 32], header_digest: &[u8; 32]) -> Self {
        let mut okm = Zeroizing::new([0; KEY_BYTES + NONCE_BYTES + COMMITMENT_BYTES + MAC_KEY_BYTES]);
        Hkdf::<Sha256>::new(Some(salt), data_key.expose())
            .expand_multi_info(&[PAYLOAD_LABEL, header_digest], okm.as_mut())
            .expect("103 bytes are within HKDF's limit of 8160");
        let (key, rest) = okm.split_at(KEY_BYTES);
        let (nonce, rest) = rest.split_at(NONCE_BYTES);
        let (commitment, mac_key) = rest.split_at(COMMITMENT_BYTES);
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().expect("split at its length");
        let key = Zeroizing::new(<[u8; KEY_BYTES]>::try_from(key).expect("split at its length"));
        Self {
            stream: StreamBE32::new((&*key).into(), (&nonce).into()),
            commitment: commitment.try_into().expect("split at its length"),
            mac_key: Zeroizing::new(mac_key.try_into().expect("the rest")),
        }
    }

    pub(crate) fn commitment(&self) -> &[u8; COMMITMENT_BYTES] {
        &self.commitment
    }

    /// MAC of the head up to and with the commitment.
    pub(crate) fn mac(&self, head: &[u8]) -> [u8; MAC_BYTES] {
        self.hmac(head).finalize().into_bytes().into()
    }

    /// Checks commitment and MAC, in constant time.
    pub(crate) fn check(&self, head: &[u8], commitment: &[u8; 32], mac: &[u8; 32]) -> bool {
        let committed = self
            .commitment
            .iter()
            .zip(commitment)
            .fold(0, |differs, (a, b)| differs | (a ^ b));
        self.hmac(head).verify_slice(mac).is_ok() && committed == 0
    }

    fn hmac(&self, head: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.mac_key.as_ref()).expect("any length will do");
        mac.update(head);
        mac
    }

    /// Seals a chunk in place. The caller never seals two chunks at one position.
    pub(crate) fn seal(&self, position: u32, last: bool, chunk: &mut Vec<u8>) {
        self.stream
            .encrypt_in_place(position, last, b"", chunk)
            .expect("a chunk is far below the AEAD's limit");
    }

    /// Opens a chunk in place; `false` where it is not the chunk of this position and dataset.
    #[must_use]
    pub(crate) fn open(&self, position: u32, last: bool, chunk: &mut Vec<u8>) -> bool {
        self.stream.decrypt_in_place(position, last, b"", chunk).is_ok()
    }
}

/// Digest that wraps and keys are bound to: magic, version, suite and the header.
pub(crate) fn header_digest(prefix: &[u8], header: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(&prefix[..DIGEST_PREFIX_BYTES])
        .chain_update(header)
        .finalize()
        .into()
}

/// A recipient's id in this dataset.
pub(crate) fn salted_id(salt: &[u8; 32], key: &KeyId) -> [u8; 16] {
    let hash = Sha256::new()
        .chain_update(RECIPIENT_LABEL)
        .chain_update(salt)
        .chain_update(key.0)
        .finalize();
    hash[..16].try_into().expect("SHA-256 has 32 bytes")
}

/// Root over the chunk index, and so over every byte of ciphertext.
pub(crate) fn root(index: &[u8]) -> [u8; 32] {
    blake3::derive_key(ROOT_CONTEXT, index)
}
