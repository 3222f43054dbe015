//! The head of a dataset: everything before its chunks, as bytes and as a parsed [`Head`].
//!
//! Owns reading and writing prefix, header, stanzas, commitment and MAC; must never see a chunk.

use std::io::Read;

use capnp::message::Builder;
use como_capnp::dataset_capnp as schema;
use como_keys::{
    aead::DataKey,
    digest::sha256,
    sealing::{Identity, Recipient, WrappedKey},
    signing::KeyId,
};
use como_policies::AccessLevel;

use crate::{
    DatasetError, Field, Header, Kind, ModuleRef, Schema, codec,
    format::{
        COMMITMENT_BYTES, MAC_BYTES, MAGIC, MAX_CHUNK_MESSAGE_BYTES, MAX_FIELDS, MAX_HEADER_BYTES,
        MAX_RECIPIENTS, MAX_STANZAS_BYTES, PREFIX_BYTES, SUITE, VERSION, WRAP_INFO,
    },
    seal::{PayloadKeys, header_digest, salted_id},
};

/// The parsed head of a dataset. What it says is proven only by the node's signature, or to a
/// recipient that the data key was meant for this header by opening it.
#[derive(Clone, Debug)]
pub struct Head {
    /// What the dataset says about itself.
    pub header: Header,
    /// SHA-256 of the whole head; what the node signs.
    pub header_hash: [u8; 32],
    /// Length of the head: where the first chunk's length stands.
    pub bytes: u64,
    salt: [u8; 32],
    digest: [u8; 32],
    stanzas: Vec<Stanza>,
    authenticated: Vec<u8>,
    commitment: [u8; COMMITMENT_BYTES],
    mac: [u8; MAC_BYTES],
}

#[derive(Clone, Debug)]
struct Stanza {
    id: [u8; 16],
    key: WrappedKey,
}

impl Head {
    /// Reads the head from the start of a dataset; `from` stands at the first chunk afterwards.
    ///
    /// Every length is checked against its limit before anything is allocated.
    pub fn read(from: &mut impl Read) -> Result<Self, DatasetError> {
        let mut prefix = [0; PREFIX_BYTES];
        let got = read_up_to(from, &mut prefix)?;
        if got < MAGIC.len() || prefix[..4] != MAGIC {
            return Err(DatasetError::NotADataset);
        }
        if got < PREFIX_BYTES {
            return Err(DatasetError::Truncated { bytes: got as u64 });
        }
        check_number(&prefix[4..6], VERSION, |found, known| {
            DatasetError::UnknownVersion { found, known }
        })?;
        check_number(&prefix[6..8], SUITE, |found, known| DatasetError::UnknownSuite {
            found,
            known,
        })?;
        let header_bytes = claimed(&prefix[8..12], MAX_HEADER_BYTES, "header size in bytes")?;
        let stanzas_bytes = claimed(&prefix[12..16], MAX_STANZAS_BYTES, "recipients' size in bytes")?;

        let mut head = vec![0; PREFIX_BYTES + header_bytes + stanzas_bytes + COMMITMENT_BYTES + MAC_BYTES];
        head[..PREFIX_BYTES].copy_from_slice(&prefix);
        let got = read_up_to(from, &mut head[PREFIX_BYTES..])?;
        if PREFIX_BYTES + got < head.len() {
            return Err(DatasetError::Truncated {
                bytes: (PREFIX_BYTES + got) as u64,
            });
        }
        Self::parse(head, header_bytes)
    }

    fn parse(mut head: Vec<u8>, header_bytes: usize) -> Result<Self, DatasetError> {
        let header_hash = sha256(&head);
        let bytes = head.len() as u64;
        let mac_at = head.len() - MAC_BYTES;
        let mac = head[mac_at..].try_into().expect("cut at its length");
        head.truncate(mac_at);
        let commitment_at = mac_at - COMMITMENT_BYTES;
        let commitment = head[commitment_at..].try_into().expect("cut at its length");
        let (header_message, stanzas_message) = head[PREFIX_BYTES..commitment_at].split_at(header_bytes);
        let digest = header_digest(&head[..PREFIX_BYTES], header_message);
        let (header, salt) = parse_header(header_message)?;
        let stanzas = parse_stanzas(stanzas_message)?;
        Ok(Self {
            header,
            header_hash,
            bytes,
            salt,
            digest,
            stanzas,
            authenticated: head,
            commitment,
            mac,
        })
    }

    /// Makes the head of a new dataset, with a key of its own wrapped to each recipient.
    pub(crate) fn create(
        header: &Header,
        recipients: &[Recipient],
    ) -> Result<(Vec<u8>, PayloadKeys), DatasetError> {
        check_recipients(recipients)?;
        check_header(header)?;
        // The salt and the data key are fresh: that is why position 0, 1, ... of the STREAM may be
        // used without looking back, and why there is no way to append to a dataset.
        let salt = como_keys::random::<32>();
        let data_key = DataKey::generate();
        let header_message = build_header(header, &salt);
        limit("header size in bytes", header_message.len(), MAX_HEADER_BYTES)?;

        let mut head = Vec::with_capacity(PREFIX_BYTES + header_message.len() + 2048 * recipients.len());
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&SUITE.to_le_bytes());
        let digest = header_digest(&head, &header_message);
        let stanzas = build_stanzas(recipients, &salt, &digest, &data_key);
        limit("recipients' size in bytes", stanzas.len(), MAX_STANZAS_BYTES)?;
        head.extend_from_slice(&(header_message.len() as u32).to_le_bytes());
        head.extend_from_slice(&(stanzas.len() as u32).to_le_bytes());
        head.extend_from_slice(&header_message);
        head.extend_from_slice(&stanzas);

        let keys = PayloadKeys::derive(&data_key, &salt, &digest);
        head.extend_from_slice(keys.commitment());
        let mac = keys.mac(&head);
        head.extend_from_slice(&mac);
        Ok((head, keys))
    }

    /// Unwraps the data key with a recipient's identity and checks commitment and MAC.
    pub(crate) fn unlock(&self, identity: &Identity) -> Result<PayloadKeys, DatasetError> {
        let id = salted_id(&self.salt, &identity.recipient().key_id());
        let stanza =
            self.stanzas
                .iter()
                .find(|stanza| stanza.id == id)
                .ok_or(DatasetError::NotARecipient {
                    recipients: self.stanzas.len(),
                })?;
        let data_key = identity
            .unwrap(WRAP_INFO, &self.digest, &stanza.key)
            .map_err(|_| DatasetError::header("the wrapped key does not belong to this header"))?;
        let keys = PayloadKeys::derive(&data_key, &self.salt, &self.digest);
        if !keys.check(&self.authenticated, &self.commitment, &self.mac) {
            return Err(DatasetError::header("its authentication code does not fit"));
        }
        Ok(keys)
    }

    /// Number of recipients.
    pub fn recipients(&self) -> usize {
        self.stanzas.len()
    }

    /// Whether the key of that id is a recipient. The node asks this before it signs.
    pub fn is_recipient(&self, key: &KeyId) -> bool {
        let id = salted_id(&self.salt, key);
        self.stanzas.iter().any(|stanza| stanza.id == id)
    }
}

fn check_number(bytes: &[u8], known: u16, error: fn(u16, u16) -> DatasetError) -> Result<(), DatasetError> {
    let found = u16::from_le_bytes(bytes.try_into().expect("two bytes"));
    if found == known {
        Ok(())
    } else {
        Err(error(found, known))
    }
}

fn claimed(bytes: &[u8], limit: usize, what: &'static str) -> Result<usize, DatasetError> {
    let claimed = u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    if claimed as usize > limit {
        return Err(DatasetError::TooLarge {
            what,
            claimed: claimed.into(),
            limit: limit as u64,
            by_file: true,
        });
    }
    Ok(claimed as usize)
}

fn limit(what: &'static str, claimed: usize, limit: usize) -> Result<(), DatasetError> {
    if claimed > limit {
        let (claimed, limit) = (claimed as u64, limit as u64);
        return Err(DatasetError::TooLarge {
            what,
            claimed,
            limit,
            by_file: false,
        });
    }
    Ok(())
}

/// Reads until `buffer` is full or the input ends.
pub(crate) fn read_up_to(from: &mut impl Read, buffer: &mut [u8]) -> Result<usize, DatasetError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(filled)
}

fn check_recipients(recipients: &[Recipient]) -> Result<(), DatasetError> {
    if recipients.is_empty() {
        return Err(DatasetError::schema(
            "it has no recipient, so nobody could open it",
        ));
    }
    limit("number of recipients", recipients.len(), MAX_RECIPIENTS)?;
    let mut ids: Vec<_> = recipients.iter().map(|r| r.key_id().0).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() != recipients.len() {
        return Err(DatasetError::schema("a recipient is named twice"));
    }
    Ok(())
}

impl Header {
    /// The header as a message, for the process that will write the dataset. Its salt is not in it.
    pub fn to_message(&self) -> Vec<u8> {
        build_header(self, &[0; 32])
    }

    /// Reads [`Self::to_message`].
    pub fn from_message(bytes: &[u8]) -> Result<Self, DatasetError> {
        let (header, _) = parse_header(bytes)?;
        check_header(&header)?;
        Ok(header)
    }
}

fn check_header(header: &Header) -> Result<(), DatasetError> {
    if header.kind != header.schema.kind() {
        return Err(DatasetError::schema("kind and schema do not agree"));
    }
    let fields = header.schema.fields();
    limit("number of columns", fields.len(), MAX_FIELDS)?;
    if header.kind == Kind::Table && fields.is_empty() {
        return Err(DatasetError::schema("a table needs a column"));
    }
    let mut names: Vec<_> = fields.iter().map(|f| f.name.as_str()).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) || names.first() == Some(&"") {
        return Err(DatasetError::schema(
            "names of columns must be unique and not empty",
        ));
    }
    Ok(())
}

fn build_header(header: &Header, salt: &[u8; 32]) -> Vec<u8> {
    let mut message = Builder::new_default();
    let mut out = message.init_root::<schema::header::Builder<'_>>();
    out.set_node(header.node.as_str());
    out.set_node_key(&header.node_key.0);
    out.set_query_id(header.query_id.as_str());
    out.set_kind(match header.kind {
        Kind::Table => schema::Kind::Table,
        Kind::Packets => schema::Kind::Packets,
    });
    out.set_level(header.level.as_u8());
    codec::build_window(out.reborrow().init_window(), &header.window);
    out.set_filter(header.filter.as_str());
    if let Some(module) = &header.module {
        let mut to = out.reborrow().init_module();
        to.set_name(module.name.as_str());
        to.set_release(module.release);
        to.set_hash(module.hash_hex.as_str());
        to.set_interval_ns(module.interval_ns);
        let mut args = to.init_arguments(module.args.len() as u32);
        for (i, (name, value)) in module.args.iter().enumerate() {
            let mut arg = args.reborrow().get(i as u32);
            arg.set_name(name.as_str());
            arg.set_value(*value);
        }
    }
    out.set_audience(header.audience.as_str());
    out.set_mapping_epoch(header.mapping_epoch);
    match &header.schema {
        Schema::Packets { link_type } => out.set_link_type(*link_type),
        Schema::Table(fields) => {
            let mut list = out.reborrow().init_fields(fields.len() as u32);
            for (i, field) in fields.iter().enumerate() {
                let mut to = list.reborrow().get(i as u32);
                to.set_name(field.name.as_str());
                to.set_kind(codec::kind_to_schema(field.kind));
                to.set_unit(field.unit.as_str());
                to.set_description(field.description.as_str());
                to.set_merge(field.merge.as_str());
            }
        }
    }
    codec::build_gaps(out.reborrow().init_gaps(header.gaps.len() as u32), &header.gaps);
    codec::build_windows(
        out.reborrow().init_interrupted(header.interrupted.len() as u32),
        &header.interrupted,
    );
    out.set_created_ns(header.created_ns);
    out.set_policy_hash(header.policy_hash.as_str());
    out.set_salt(salt);
    out.set_chunk_bytes(MAX_CHUNK_MESSAGE_BYTES as u32);
    como_capnp::write_message(&message)
}

fn parse_header(bytes: &[u8]) -> Result<(Header, [u8; 32]), DatasetError> {
    let malformed = |e: capnp::Error| DatasetError::header(format!("it does not parse ({e})"));
    let message = como_capnp::read_message(bytes).map_err(malformed)?;
    let from = message
        .get_root::<schema::header::Reader<'_>>()
        .map_err(malformed)?;
    decode_header(from).map_err(malformed)
}

fn decode_header(from: schema::header::Reader<'_>) -> Result<(Header, [u8; 32]), capnp::Error> {
    let text = codec::text;
    let failed = |what: &str| capnp::Error::failed(what.to_owned());
    let kind = match from.get_kind()? {
        schema::Kind::Table => Kind::Table,
        schema::Kind::Packets => Kind::Packets,
    };
    let schema = match kind {
        Kind::Packets => Schema::Packets {
            link_type: from.get_link_type(),
        },
        Kind::Table => Schema::Table(decode_fields(from.get_fields()?)?),
    };
    let module = if from.has_module() {
        Some(decode_module(from.get_module()?)?)
    } else {
        None
    };
    let header = Header {
        node: text(from.get_node()?)?,
        node_key: KeyId(
            from.get_node_key()?
                .try_into()
                .map_err(|_| failed("key id is not 16 bytes"))?,
        ),
        query_id: text(from.get_query_id()?)?,
        kind,
        level: AccessLevel::from_u8(from.get_level()).ok_or_else(|| failed("unknown access level"))?,
        window: codec::window(from.get_window()?)?,
        filter: text(from.get_filter()?)?,
        module,
        audience: text(from.get_audience()?)?,
        mapping_epoch: from.get_mapping_epoch(),
        schema,
        gaps: codec::gaps(from.get_gaps()?)?,
        interrupted: codec::windows(from.get_interrupted()?)?,
        created_ns: from.get_created_ns(),
        policy_hash: text(from.get_policy_hash()?)?,
    };
    let salt = from
        .get_salt()?
        .try_into()
        .map_err(|_| failed("salt is not 32 bytes"))?;
    Ok((header, salt))
}

fn decode_fields(
    list: capnp::struct_list::Reader<'_, schema::field::Owned>,
) -> Result<Vec<Field>, capnp::Error> {
    if list.is_empty() || list.len() as usize > MAX_FIELDS {
        return Err(capnp::Error::failed(format!("{} columns", list.len())));
    }
    list.iter()
        .map(|field| {
            Ok(Field {
                name: codec::text(field.get_name()?)?,
                kind: codec::kind_from_schema(field.get_kind()?),
                unit: codec::text(field.get_unit()?)?,
                description: codec::text(field.get_description()?)?,
                merge: codec::text(field.get_merge()?)?,
            })
        })
        .collect()
}

fn decode_module(from: schema::module::Reader<'_>) -> Result<ModuleRef, capnp::Error> {
    let args = from
        .get_arguments()?
        .iter()
        .map(|arg| Ok((codec::text(arg.get_name()?)?, arg.get_value())))
        .collect::<Result<_, capnp::Error>>()?;
    Ok(ModuleRef {
        name: codec::text(from.get_name()?)?,
        release: from.get_release(),
        hash_hex: codec::text(from.get_hash()?)?,
        args,
        interval_ns: from.get_interval_ns(),
    })
}

/// Stanzas stand in the order of their salted ids: the order in which recipients were given shows nothing.
fn build_stanzas(recipients: &[Recipient], salt: &[u8; 32], digest: &[u8; 32], key: &DataKey) -> Vec<u8> {
    let mut sorted: Vec<_> = recipients
        .iter()
        .map(|r| (salted_id(salt, &r.key_id()), r))
        .collect();
    sorted.sort_unstable_by_key(|(id, _)| *id);
    let mut message = Builder::new_default();
    let mut list = message
        .init_root::<schema::stanzas::Builder<'_>>()
        .init_stanzas(sorted.len() as u32);
    for (i, (id, recipient)) in sorted.iter().enumerate() {
        let wrapped = recipient.wrap(WRAP_INFO, digest, key);
        let mut stanza = list.reborrow().get(i as u32);
        stanza.set_id(id);
        stanza.set_enc(&wrapped.enc);
        stanza.set_ciphertext(&wrapped.ciphertext);
    }
    como_capnp::write_message(&message)
}

fn parse_stanzas(bytes: &[u8]) -> Result<Vec<Stanza>, DatasetError> {
    let malformed = |e: capnp::Error| DatasetError::header(format!("its recipients do not parse ({e})"));
    let message = como_capnp::read_message(bytes).map_err(malformed)?;
    let decode = || {
        let list = message.get_root::<schema::stanzas::Reader<'_>>()?.get_stanzas()?;
        if list.is_empty() || list.len() as usize > MAX_RECIPIENTS {
            return Err(capnp::Error::failed(format!("{} recipients", list.len())));
        }
        list.iter()
            .map(|stanza| {
                let id = stanza.get_id()?;
                Ok(Stanza {
                    id: id
                        .try_into()
                        .map_err(|_| capnp::Error::failed("id is not 16 bytes".into()))?,
                    key: WrappedKey {
                        enc: stanza.get_enc()?.to_vec(),
                        ciphertext: stanza.get_ciphertext()?.to_vec(),
                    },
                })
            })
            .collect()
    };
    decode().map_err(malformed)
}
