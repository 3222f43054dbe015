//! The segment header: who captured what, when, under which keys, after which segment. Must never be
//! re-serialised once signed.

use como_capnp::trace_capnp::segment_header;
use como_keys::aead::DataKey;
use como_keys::keyring::Section;
use como_keys::sealing::{Identity, SUITE_ID, WrappedKey};
use como_keys::signing::{Certificate, VerifyingKey};

use super::error::TraceError;
use super::frame::{Frame, HEADER};
use super::keys::{self, Retain, RunKey};
use super::{FORMAT_VERSION, ReadKeys, SegmentId, SourceId};

/// Longest header frame that a reader accepts, in bytes.
pub const MAX_HEADER_BYTES: usize = 64 << 10;

/// The segment before, and the hash of its footer frame: a chain that cannot be cut unseen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// Its id.
    pub segment: SegmentId,
    /// BLAKE3 of its footer frame.
    pub footer_hash: [u8; 32],
}

/// The header of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The segment's id.
    pub segment: SegmentId,
    /// SPIFFE id of the node.
    pub node: String,
    /// Days since the Unix epoch, packet time.
    pub sealing_epoch: u32,
    /// Of the pseudonyms in section A.
    pub mapping_epoch: u32,
    /// Where the packets came from.
    pub source: SourceId,
    /// The same for people: file name or interface.
    pub source_description: String,
    /// LINKTYPE_ of the first block.
    pub link: u32,
    /// Which sections the segment has.
    pub retain: Retain,
    /// Data keys of A, R and P, as far as retained, wrapped to the identities of the epoch.
    pub keys: Vec<WrappedKey>,
    /// The node's certificate for the run key that signs header and footer.
    pub certificate: Certificate,
    /// The segment before, within this capture run.
    pub predecessor: Option<Predecessor>,
    /// Wall time of its making, ns since the Unix epoch.
    pub created_ns: u64,
    /// Packet time of its start, ns since the Unix epoch, floored to 1 ms.
    pub first_ns: u64,
}

impl SegmentHeader {
    /// The signed frame, as it opens the file.
    pub fn encode(&self, run: &RunKey) -> Vec<u8> {
        let mut message = capnp::message::Builder::new_default();
        let mut out = message.init_root::<segment_header::Builder<'_>>();
        out.set_version(FORMAT_VERSION);
        out.set_segment(&self.segment.0);
        out.set_node(&self.node);
        out.set_sealing_epoch(self.sealing_epoch);
        out.set_mapping_epoch(self.mapping_epoch);
        out.set_source(&self.source.0);
        out.set_source_description(&self.source_description);
        out.set_link_type(self.link);
        out.set_retain(self.retain as u8);
        out.set_certificate(&self.certificate.to_bytes());
        out.set_created_ns(self.created_ns);
        out.set_first_ns(self.first_ns);
        if let Some(before) = &self.predecessor {
            out.set_predecessor(&before.segment.0);
            out.set_predecessor_footer_hash(&before.footer_hash);
        }
        let mut keys = out.init_keys(self.keys.len() as u32);
        for (index, key) in self.keys.iter().enumerate() {
            let mut slot = keys.reborrow().get(index as u32);
            slot.set_section(index as u8);
            slot.set_suite(SUITE_ID);
            slot.set_enc(&key.enc);
            slot.set_ciphertext(&key.ciphertext);
        }
        HEADER.write(&como_capnp::write_message(&message), &run.signing)
    }

    /// Reads the header at the start of a segment, and how many bytes it takes. Its signature must be by
    /// the key in its certificate; whether the node issued that certificate, [`SegmentHeader::verify`] says.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), TraceError> {
        Self::decode_vouched(bytes, None).map(|(header, frame)| (header, frame.bytes))
    }

    /// The same, with the frame; `vouched`: the digest of the header that somebody checked already.
    pub(super) fn decode_vouched<'a>(
        bytes: &'a [u8],
        vouched: Option<&[u8; 32]>,
    ) -> Result<(Self, Frame<'a>), TraceError> {
        let frame = HEADER.read(bytes, 0)?;
        let header = Self::from_message(frame.payload)?;
        HEADER.verify(&frame, &header.certificate.key, vouched)?;
        Ok((header, frame))
    }

    /// The certificate must be the node's, for a capture run, and valid when the segment was made.
    pub fn verify(&self, node: &VerifyingKey) -> Result<(), TraceError> {
        if self.certificate.role != RunKey::ROLE {
            return Err(TraceError::Signature {
                what: "the certificate of the capture run",
            });
        }
        Ok(self.certificate.verify(node, self.created_ns)?)
    }

    /// Opens the data key of one section. For the supervisor, which alone holds identities.
    pub fn unwrap_key(&self, section: Section, identity: &Identity) -> Result<DataKey, TraceError> {
        let Some(wrapped) = self.keys.get(section as usize) else {
            let section = ["A", "R", "P"][section as usize];
            return Err(TraceError::NotRetained {
                section,
                segment: self.segment.to_string(),
            });
        };
        keys::unwrap(identity, self.segment, self.sealing_epoch, section, wrapped)
    }

    /// Opens the data keys of all retained sections whose identity is given.
    pub fn unwrap_keys<'a>(
        &self,
        identity: impl Fn(Section) -> Option<&'a Identity>,
    ) -> Result<ReadKeys, TraceError> {
        let open = |section| match identity(section) {
            Some(identity) if self.retain.keeps(section) => self.unwrap_key(section, identity).map(Some),
            _ => Ok(None),
        };
        Ok(ReadKeys {
            a: open(Section::A)?,
            r: open(Section::R)?,
            p: open(Section::P)?,
        })
    }

    pub(super) fn from_message(payload: &[u8]) -> Result<Self, TraceError> {
        let bad = || TraceError::damaged(0, "the segment header does not parse");
        let message = como_capnp::read_message(payload).map_err(|_| bad())?;
        let header = message
            .get_root::<segment_header::Reader<'_>>()
            .map_err(|_| bad())?;
        if header.get_version() != FORMAT_VERSION {
            return Err(TraceError::Version {
                found: header.get_version(),
                known: FORMAT_VERSION,
            });
        }
        let read = || -> Result<Option<Self>, capnp::Error> {
            let keys = header.get_keys()?;
            let retain = Retain::from_u8(header.get_retain());
            let wanted = keys
                .iter()
                .enumerate()
                .all(|(i, k)| usize::from(k.get_section()) == i && k.get_suite() == SUITE_ID);
            let (Some(retain), true) = (retain, wanted && keys.len() == u32::from(header.get_retain()) + 1)
            else {
                return Ok(None);
            };
            let wrapped = |key: como_capnp::trace_capnp::wrapped_key::Reader<'_>| {
                Ok(WrappedKey {
                    enc: key.get_enc()?.to_vec(),
                    ciphertext: key.get_ciphertext()?.to_vec(),
                })
            };
            let keys = keys.iter().map(wrapped).collect::<Result<_, capnp::Error>>()?;
            let text = |text: capnp::text::Reader<'_>| Ok::<_, capnp::Error>(text.to_str()?.to_owned());
            let hash = header.get_predecessor_footer_hash()?;
            let predecessor = match (
                SegmentId::from_slice(header.get_predecessor()?),
                <[u8; 32]>::try_from(hash),
            ) {
                (Some(segment), Ok(footer_hash)) => Some(Predecessor { segment, footer_hash }),
                _ if header.get_predecessor()?.is_empty() => None,
                _ => return Ok(None),
            };
            let ids = (
                SegmentId::from_slice(header.get_segment()?),
                SourceId::from_slice(header.get_source()?),
            );
            let certificate = Certificate::from_bytes(header.get_certificate()?);
            let ((Some(segment), Some(source)), Ok(certificate)) = (ids, certificate) else {
                return Ok(None);
            };
            Ok(Some(Self {
                segment,
                node: text(header.get_node()?)?,
                sealing_epoch: header.get_sealing_epoch(),
                mapping_epoch: header.get_mapping_epoch(),
                source,
                source_description: text(header.get_source_description()?)?,
                link: header.get_link_type(),
                retain,
                keys,
                certificate,
                predecessor,
                created_ns: header.get_created_ns(),
                first_ns: header.get_first_ns(),
            }))
        };
        read().map_err(|_| bad())?.ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use como_keys::signing::SigningKey;

    use super::*;

    #[test]
    fn another_version_is_named_before_anything_else_of_it_is_read() {
        let mut message = capnp::message::Builder::new_default();
        message.init_root::<segment_header::Builder<'_>>().set_version(1);
        let frame = HEADER.write(&como_capnp::write_message(&message), &SigningKey::generate());
        let error = SegmentHeader::decode(&frame).unwrap_err().to_string();
        assert_eq!(
            error,
            "segment format version 1 is not known (this program reads version 3)\nread it with the release that wrote it"
        );
    }
}
