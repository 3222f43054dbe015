//! The bytes of a dataset: every constant, length, label and limit of the container, with its reason.
//!
//! Owns the layout; must never touch a key or a file.
//!
//! ```text
//! prefix      16  magic "CDS1", version u16, suite u16, header length u32, stanzas length u32
//! header          Cap'n Proto `Header`, in the clear
//! stanzas         Cap'n Proto `Stanzas`: the data key, wrapped to each recipient
//! commitment  32  HKDF output: the one key that opens this file (the AEAD alone does not commit)
//! MAC         32  HMAC-SHA256 of all of the above
//! chunk*          length u32 (of what follows), sealed chunk; the last one is `End`
//! marker       4  length 0: no further chunk
//! index       36  a chunk: its length u32, BLAKE3 of its sealed bytes
//! footer     112  chunk count u64, root (BLAKE3 of the index) 32, signature 64, magic "CDS1END\n"
//! ```
//! Numbers are little-endian. Everything before the signature is appended in order, so that a
//! dataset can be written to a pipe, and the signature comes from elsewhere: its writer holds no key.
//!
//! A sealed chunk is ChaCha20-Poly1305 in the STREAM construction (32-bit counter, last flag) of:
//! message length u32, stored length u32, the message (LZ4 block, or as it is where LZ4 does not
//! shrink it), zeros up to the padded size.
//!
//! **Padding.** LZ4 before sealing makes sizes depend on content, and whoever can send packets over
//! the link can probe that. So the sealed content is padded to a power of two, from 4 KiB to 1 MiB:
//! nine sizes, and writers fill chunks towards the same size. What stays visible is the number of
//! chunks, and so the order of the compressed size of the whole.
//!
//! **Recipients.** A stanza's id is salted by the dataset, so that two datasets do not show that they
//! have a recipient in common. It can still be tested against a public key that one already knows.

/// First bytes of a dataset.
pub const MAGIC: [u8; 4] = *b"CDS1";
/// Last bytes of a complete dataset.
pub const END_MAGIC: [u8; 8] = *b"CDS1END\n";
/// Version of the layout.
pub const VERSION: u16 = 1;
/// X-Wing, HKDF-SHA256, ChaCha20-Poly1305 for keys; ChaCha20-Poly1305 STREAM for chunks. The only suite.
pub const SUITE: u16 = 1;

/// Bytes of magic, version, suite and the two lengths.
pub const PREFIX_BYTES: usize = 16;
/// Bytes of the prefix that the header digest covers: magic, version, suite.
pub(crate) const DIGEST_PREFIX_BYTES: usize = 8;
/// Bytes of the key commitment.
pub const COMMITMENT_BYTES: usize = 32;
/// Bytes of the header MAC.
pub const MAC_BYTES: usize = 32;
/// Bytes of the length before each chunk.
pub const LENGTH_BYTES: usize = 4;
/// Bytes of an index entry.
pub const INDEX_ENTRY_BYTES: usize = 4 + 32;
/// Bytes of the footer.
pub const FOOTER_BYTES: usize = 8 + 32 + 64 + 8;
/// Bytes that the AEAD adds to a chunk.
pub const TAG_BYTES: usize = 16;
/// Bytes of the two lengths in front of a chunk's message.
pub(crate) const CHUNK_PREFIX_BYTES: usize = 8;

/// Largest padded chunk, in bytes.
pub const MAX_CHUNK_BYTES: usize = 1 << 20;
/// Smallest padded chunk, in bytes: a page.
pub const MIN_CHUNK_BYTES: usize = 4 << 10;
/// Largest message in a chunk, in bytes: fits even where LZ4 does not shrink it.
pub const MAX_CHUNK_MESSAGE_BYTES: usize = MAX_CHUNK_BYTES - (8 << 10);
/// Most chunks: a terabyte; keeps the index below 36 MiB and far from the 32-bit counter's end.
pub const MAX_CHUNKS: u64 = 1 << 20;
/// Largest header, in bytes.
pub const MAX_HEADER_BYTES: usize = 256 << 10;
/// Largest stanzas message, in bytes: a stanza takes about 1.3 kB.
pub const MAX_STANZAS_BYTES: usize = 128 << 10;
/// Most recipients.
pub const MAX_RECIPIENTS: usize = 64;
/// Most columns of a table.
pub const MAX_FIELDS: usize = 256;

/// What the signature is over, by DSSE: a [`crate::statement`].
pub const STATEMENT_TYPE: &str = "application/vnd.como.dataset.v1";

/// HPKE info of the stanzas. Version and suite are in the header digest, which is their AAD.
pub(crate) const WRAP_INFO: &[u8] = b"como/cds1/stanza/suite-1";
/// HKDF info of the payload keys, followed by the header digest.
pub(crate) const PAYLOAD_LABEL: &[u8] = b"como/cds1/payload";
/// Prefix of what is hashed to a salted recipient id.
pub(crate) const RECIPIENT_LABEL: &[u8] = b"como/cds1/recipient";
/// BLAKE3 context of the root, so that it can never be the hash of a chunk.
pub(crate) const ROOT_CONTEXT: &str = "como 2026 cds1 root over the chunk index";

/// The padded size of a chunk that holds `content` bytes.
pub(crate) fn padded_bytes(content: usize) -> usize {
    content.next_power_of_two().max(MIN_CHUNK_BYTES)
}

/// Whether a chunk of `sealed` bytes can exist.
pub(crate) fn is_sealed_length(sealed: usize) -> bool {
    sealed
        .checked_sub(TAG_BYTES)
        .is_some_and(|n| n.is_power_of_two() && (MIN_CHUNK_BYTES..=MAX_CHUNK_BYTES).contains(&n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_message_fits_the_largest_chunk_uncompressed() {
        assert_eq!(
            padded_bytes(CHUNK_PREFIX_BYTES + MAX_CHUNK_MESSAGE_BYTES),
            MAX_CHUNK_BYTES
        );
    }

    #[test]
    fn sizes_show_nine_values_at_most() {
        let sizes: std::collections::BTreeSet<_> = (0..=MAX_CHUNK_BYTES)
            .step_by(97)
            .chain([MAX_CHUNK_BYTES])
            .map(padded_bytes)
            .collect();
        assert_eq!(sizes.len(), 9);
        assert!(sizes.iter().all(|n| is_sealed_length(n + TAG_BYTES)));
        assert!(!is_sealed_length(0) && !is_sealed_length(TAG_BYTES) && !is_sealed_length(5000));
        assert!(!is_sealed_length(2 * MAX_CHUNK_BYTES + TAG_BYTES));
    }
}
