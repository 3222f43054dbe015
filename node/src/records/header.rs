//! Header of a record file: what its rows were computed by.

use std::io::Read;

use como_capnp::record_capnp as schema;
use como_keys::aead::DataKey;
use como_keys::digest::sha256;
use como_keys::sealing::{Identity, Recipient, WrappedKey};
use como_policies::AccessLevel;

use super::{MAGIC, MAX_HEADER_BYTES, RecordError, VERSION, WRAP_INFO};
use crate::wire::{array, text};

/// What a record file's rows were computed by, and its wrapped key.
#[derive(Clone, Debug)]
pub struct Header {
    /// [`metric`] of the fields below.
    pub metric: [u8; 32],
    /// The module's name.
    pub name: String,
    /// Its release.
    pub release: u64,
    /// Hash of its code.
    pub wasm_sha256: [u8; 32],
    /// Its arguments, by name.
    pub arguments: Vec<(String, i64)>,
    /// For whom pseudonyms were made; empty where the module asks for none.
    pub audience: String,
    /// The level that the module read at.
    pub level: AccessLevel,
    /// The level that a reader of the rows needs.
    pub output_level: AccessLevel,
    /// Length of an interval, ns.
    pub interval_ns: u64,
    /// Day of packet time whose record identity wraps the key.
    pub sealing_epoch: u32,
    /// The data key, wrapped.
    pub key: WrappedKey,
    /// Which run of the module wrote it.
    pub instance: u64,
}

/// Names a metric: two runs with equal names compute the same rows from the same packets.
pub fn metric(
    wasm_sha256: &[u8; 32],
    filter: &str,
    arguments: &[(String, i64)],
    audience: &str,
    level: AccessLevel,
    interval_ns: u64,
) -> [u8; 32] {
    let mut bytes = b"como/metric/1".to_vec();
    let mut put = |field: &[u8]| {
        bytes.extend_from_slice(&(field.len() as u64).to_le_bytes());
        bytes.extend_from_slice(field);
    };
    put(wasm_sha256);
    put(filter.as_bytes());
    put(audience.as_bytes());
    put(&[level.as_u8()]);
    put(&interval_ns.to_le_bytes());
    let mut sorted: Vec<_> = arguments.iter().collect();
    sorted.sort();
    for (name, value) in sorted {
        put(name.as_bytes());
        put(&value.to_le_bytes());
    }
    sha256(&bytes)
}

impl Header {
    /// A fresh data key, wrapped to the record identity; the key is for the writer only.
    pub fn wrap_key(metric: &[u8; 32], recipient: &Recipient) -> (DataKey, WrappedKey) {
        let key = DataKey::generate();
        let wrapped = recipient.wrap(WRAP_INFO, metric, &key);
        (key, wrapped)
    }

    /// Opens the data key with the record identity.
    pub fn unwrap_key(&self, identity: &Identity) -> Result<DataKey, como_keys::KeyError> {
        identity.unwrap(WRAP_INFO, &self.metric, &self.key)
    }

    /// The header as a message.
    pub fn to_message(&self) -> Vec<u8> {
        let mut message = capnp::message::Builder::new_default();
        let mut to: schema::record_header::Builder<'_> = message.init_root();
        to.set_version(VERSION);
        to.set_metric(&self.metric);
        to.set_name(&self.name);
        to.set_release(self.release);
        to.set_wasm_sha256(&self.wasm_sha256);
        let mut list = to.reborrow().init_arguments(self.arguments.len() as u32);
        for (i, (name, value)) in self.arguments.iter().enumerate() {
            let mut argument = list.reborrow().get(i as u32);
            argument.set_name(name);
            argument.set_value(*value);
        }
        to.set_audience(&self.audience);
        to.set_level(self.level.as_u8());
        to.set_output_level(self.output_level.as_u8());
        to.set_interval_ns(self.interval_ns);
        to.set_sealing_epoch(self.sealing_epoch);
        to.set_key_enc(&self.key.enc);
        to.set_key_ciphertext(&self.key.ciphertext);
        to.set_instance(self.instance);
        como_capnp::write_message(&message)
    }

    /// Reads a header message.
    pub fn from_message(bytes: &[u8]) -> Result<Self, RecordError> {
        Self::parse(bytes).map_err(|e| RecordError::NotRecords(e.to_string()))
    }

    fn parse(bytes: &[u8]) -> capnp::Result<Self> {
        let message = como_capnp::read_message(bytes)?;
        let from: schema::record_header::Reader<'_> = message.get_root()?;
        if from.get_version() != VERSION {
            return Err(capnp::Error::failed(format!("version {}", from.get_version())));
        }
        let level = |n: u8| AccessLevel::from_u8(n).ok_or_else(|| capnp::Error::failed(format!("level {n}")));
        let arguments = from.get_arguments()?;
        Ok(Self {
            metric: array(from.get_metric()?)?,
            name: text(from.get_name())?,
            release: from.get_release(),
            wasm_sha256: array(from.get_wasm_sha256()?)?,
            arguments: arguments
                .iter()
                .map(|a| Ok((text(a.get_name())?, a.get_value())))
                .collect::<capnp::Result<_>>()?,
            audience: text(from.get_audience())?,
            level: level(from.get_level())?,
            output_level: level(from.get_output_level())?,
            interval_ns: from.get_interval_ns(),
            sealing_epoch: from.get_sealing_epoch(),
            key: WrappedKey {
                enc: from.get_key_enc()?.to_vec(),
                ciphertext: from.get_key_ciphertext()?.to_vec(),
            },
            instance: from.get_instance(),
        })
    }

    /// First bytes of the file: magic, length, header message.
    pub fn to_file_start(&self) -> Vec<u8> {
        file_start(&self.to_message())
    }

    /// Reads a file's start; the bytes it takes come out too.
    pub fn read(from: &mut impl Read) -> Result<(Self, u64), RecordError> {
        let mut start = [0; 12];
        from.read_exact(&mut start)?;
        let length = u32::from_le_bytes([start[8], start[9], start[10], start[11]]) as usize;
        if start[..8] != MAGIC || length > MAX_HEADER_BYTES {
            return Err(RecordError::NotRecords("wrong magic".into()));
        }
        let mut message = vec![0; length];
        from.read_exact(&mut message)?;
        Ok((Self::from_message(&message)?, 12 + length as u64))
    }
}

/// Magic, length and header message: how storage begins a record file.
pub fn file_start(message: &[u8]) -> Vec<u8> {
    [&MAGIC[..], &(message.len() as u32).to_le_bytes(), message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let identity = Identity::generate();
        let arguments = vec![("k".to_owned(), 10)];
        let metric = metric(
            &[1; 32],
            "tcp",
            &arguments,
            "p",
            AccessLevel::Anonymized,
            1_000_000_000,
        );
        let (_, key) = Header::wrap_key(&metric, &identity.recipient());
        Header {
            metric,
            name: "topports".into(),
            release: 3,
            wasm_sha256: [1; 32],
            arguments,
            audience: "p".into(),
            level: AccessLevel::Anonymized,
            output_level: AccessLevel::Anonymized,
            interval_ns: 1_000_000_000,
            sealing_epoch: 19_000,
            key,
            instance: 7,
        }
    }

    #[test]
    fn a_header_reads_back() {
        let header = header();
        let bytes = header.to_file_start();
        let (read, taken) = Header::read(&mut bytes.as_slice()).unwrap();
        assert_eq!(taken, bytes.len() as u64);
        assert_eq!(format!("{read:?}"), format!("{header:?}"));
    }

    #[test]
    fn another_argument_audience_or_level_is_another_metric() {
        let base =
            |args: &[(String, i64)], audience: &str, level| metric(&[1; 32], "tcp", args, audience, level, 1);
        let k = |v| vec![("k".to_owned(), v)];
        let one = base(&k(10), "p", AccessLevel::Anonymized);
        assert_ne!(one, base(&k(11), "p", AccessLevel::Anonymized));
        assert_ne!(one, base(&k(10), "q", AccessLevel::Anonymized));
        assert_ne!(one, base(&k(10), "p", AccessLevel::Headers));
        assert_ne!(one, base(&[], "p", AccessLevel::Anonymized));
    }

    #[test]
    fn rubbish_is_not_a_record_file() {
        for bytes in [
            &b""[..],
            b"COMOREC1",
            b"COMOREC2\0\0\0\0",
            b"COMOREC1\xff\xff\xff\xff",
        ] {
            assert!(Header::read(&mut &bytes[..]).is_err());
        }
    }
}
