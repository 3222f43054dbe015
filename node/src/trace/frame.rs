//! Signed frames: how header and footer lie in the file. Must never interpret what it carries.
//!
//! ```text
//! magic [8], payload length u32, payload, Ed25519 signature [64], checksum [8], frame length u32, magic [8]
//! ```
//! The length and the magic at the end let a reader find the footer from the end of the file. The
//! checksum tells a torn frame from a forged one.

use como_keys::digest::blake3;
use como_keys::signing::{Signature, SigningKey, VerifyingKey};

use super::codec::{Reader, put_u32};
use super::error::TraceError;

/// Largest payload of a frame in bytes: a footer with the table of a segment's blocks.
const MAX_FRAME_PAYLOAD_BYTES: usize = como_capnp::MAX_MESSAGE_BYTES;
/// Bytes of a frame besides its payload.
const FIXED_BYTES: usize = 8 + 4 + 64 + 8 + 4 + 8;
/// Bytes at the end that name the frame's length.
pub(super) const TAIL_BYTES: usize = 12;

/// One kind of frame: its magic and what its signature is for.
pub(super) struct FrameKind {
    pub magic: [u8; 8],
    pub payload_type: &'static str,
    pub name: &'static str,
}

/// A frame whose checksum held; its signature is not checked yet.
pub(super) struct Frame<'a> {
    pub payload: &'a [u8],
    pub bytes: usize,
    /// BLAKE3 of everything up to the signature's end.
    pub digest: [u8; 32],
    signature: Signature,
}

impl FrameKind {
    pub fn write(&self, payload: &[u8], key: &SigningKey) -> Vec<u8> {
        let mut out = Vec::with_capacity(payload.len() + FIXED_BYTES);
        out.extend_from_slice(&self.magic);
        put_u32(&mut out, payload.len() as u32);
        out.extend_from_slice(payload);
        out.extend_from_slice(&key.sign_dsse(self.payload_type, payload).0);
        let digest = blake3(&out);
        out.extend_from_slice(&digest[..8]);
        let total = out.len() + TAIL_BYTES;
        put_u32(&mut out, total as u32);
        out.extend_from_slice(&self.magic);
        out
    }

    /// Reads the frame at the start of `bytes`, which lie at `position` of the file.
    pub fn read<'a>(&self, bytes: &'a [u8], position: u64) -> Result<Frame<'a>, TraceError> {
        let damaged = |what| TraceError::damaged(position, what);
        let short = |_| damaged("a header or footer ends too early");
        let mut rest = Reader(bytes);
        if rest.bytes(8).map_err(short)? != self.magic {
            return Err(damaged("no header or footer starts here"));
        }
        let length = rest.u32().map_err(short)? as usize;
        if length > MAX_FRAME_PAYLOAD_BYTES {
            return Err(damaged("a header or footer is longer than any may be"));
        }
        let payload = rest.bytes(length).map_err(short)?;
        let signature = Signature(rest.array().map_err(short)?);
        let covered = bytes.len() - rest.0.len();
        let digest = blake3(&bytes[..covered]);
        let checksum = rest.bytes(8).map_err(short)?;
        let total = rest.u32().map_err(short)? as usize;
        let magic = rest.bytes(8).map_err(short)?;
        if checksum != &digest[..8] || total != length + FIXED_BYTES || magic != self.magic {
            return Err(damaged("the checksum of a header or footer is wrong"));
        }
        Ok(Frame {
            payload,
            bytes: total,
            digest,
            signature,
        })
    }

    /// Whether the frame at the start of `bytes` ends within them, as far as its length tells.
    pub fn is_whole(&self, bytes: &[u8]) -> bool {
        let length = bytes.get(8..12).and_then(|length| length.first_chunk());
        length.is_some_and(|length| u32::from_le_bytes(*length) as usize + FIXED_BYTES <= bytes.len())
    }

    /// Length of the frame that ends with `tail`, where one of this kind does.
    pub fn length_from_tail(&self, tail: &[u8; TAIL_BYTES]) -> Option<u64> {
        let length = u32::from_le_bytes(*tail.first_chunk()?) as usize;
        (tail[4..] == self.magic && (FIXED_BYTES..=FIXED_BYTES + MAX_FRAME_PAYLOAD_BYTES).contains(&length))
            .then_some(length as u64)
    }

    /// Checks the signature, unless somebody who is trusted did: `vouched` is the digest of the frame that he saw.
    pub fn verify(
        &self,
        frame: &Frame<'_>,
        key: &VerifyingKey,
        vouched: Option<&[u8; 32]>,
    ) -> Result<(), TraceError> {
        if vouched == Some(&frame.digest) {
            return Ok(());
        }
        key.verify_dsse(self.payload_type, frame.payload, &frame.signature)
            .map_err(|_| TraceError::Signature { what: self.name })
    }
}

/// Opens every segment.
pub(super) const HEADER: FrameKind = FrameKind {
    magic: *b"CoMoSEG\x01",
    payload_type: "application/vnd.como.segment-header+capnp;v=1",
    name: "the segment header",
};
/// Closes a segment.
pub(super) const FOOTER: FrameKind = FrameKind {
    magic: *b"CoMoEND\x01",
    payload_type: "application/vnd.como.segment-footer+capnp;v=1",
    name: "the segment footer",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_and_no_bit_may_flip() {
        let key = SigningKey::generate();
        let good = HEADER.write(b"payload", &key);
        let frame = HEADER.read(&good, 0).unwrap();
        assert_eq!((frame.payload, frame.bytes), (&b"payload"[..], good.len()));
        HEADER.verify(&frame, &key.verifying_key(), None).unwrap();
        assert!(FOOTER.read(&good, 0).is_err());
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(HEADER.read(&bad, 0).is_err(), "bit {bit}");
        }
        for cut in 0..good.len() {
            assert!(HEADER.read(&good[..cut], 0).is_err());
        }
    }

    #[test]
    fn another_key_does_not_verify() {
        let frame = HEADER.write(b"payload", &SigningKey::generate());
        let frame = HEADER.read(&frame, 0).unwrap();
        let other = SigningKey::generate().verifying_key();
        assert!(HEADER.verify(&frame, &other, None).is_err());
    }

    #[test]
    fn a_digest_vouches_for_its_own_frame_alone() {
        let [one, two] = [&b"one"[..], b"two"].map(|payload| HEADER.write(payload, &SigningKey::generate()));
        let [one, two] = [&one, &two].map(|frame| HEADER.read(frame, 0).unwrap());
        let other = SigningKey::generate().verifying_key();
        HEADER.verify(&one, &other, Some(&one.digest)).unwrap();
        assert!(HEADER.verify(&one, &other, Some(&two.digest)).is_err());
    }
}
