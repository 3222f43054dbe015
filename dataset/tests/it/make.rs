//! Datasets to test with.

use std::io::Cursor;

use como_dataset::{
    Batch, ColumnKind, Completeness, DatasetError, DatasetReader, DatasetWriter, Field, Gap, Header, Kind,
    ModuleRef, PacketBatch, Sampled, Schema, Value, attach_signature, format::STATEMENT_TYPE, verify,
};
use como_keys::{
    sealing::{Identity, Recipient},
    signing::{SigningKey, VerifyingKey},
};
use como_policies::{AccessLevel, Window};

/// 2026-01-01T00:00:00Z.
pub const START_NS: u64 = 1_767_225_600_000_000_000;

pub fn node() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub fn partner() -> Identity {
    Identity::from_bytes(&[1; 32])
}

pub fn colleague() -> Identity {
    Identity::from_bytes(&[2; 32])
}

pub fn stranger() -> Identity {
    Identity::from_bytes(&[3; 32])
}

pub fn recipients() -> Vec<Recipient> {
    vec![partner().recipient(), colleague().recipient()]
}

/// One column of each kind, after the time.
pub fn fields() -> Vec<Field> {
    let field = |kind: ColumnKind, name: &str| Field {
        name: name.into(),
        kind,
        unit: String::new(),
        description: format!("a column of {}", kind.name()),
        merge: "sum".into(),
    };
    let kinds = ColumnKind::ALL.map(|kind| field(kind, &format!("a_{}", kind.name())));
    std::iter::once(field(ColumnKind::TimeNs, "time"))
        .chain(kinds)
        .collect()
}

pub fn table_header() -> Header {
    Header {
        node: "spiffe://example.org/node/one".into(),
        node_key: node().verifying_key().key_id(),
        query_id: "q-1".into(),
        kind: Kind::Table,
        level: AccessLevel::Anonymized,
        window: Window::new(START_NS, START_NS + 60_000_000_000).unwrap(),
        filter: "tcp and port 443".into(),
        module: Some(ModuleRef {
            name: "traffic".into(),
            release: 3,
            hash_hex: "ab".repeat(32),
            args: vec![("top".into(), -5)],
            interval_ns: 0,
        }),
        audience: "project/alpha".into(),
        mapping_epoch: 681,
        schema: Schema::Table(fields()),
        gaps: vec![gap(None)],
        interrupted: vec![Window::new(START_NS, START_NS + 1).unwrap()],
        created_ns: START_NS + 61_000_000_000,
        policy_hash: "cd".repeat(32),
    }
}

pub fn packets_header() -> Header {
    Header {
        query_id: "q-2".into(),
        kind: Kind::Packets,
        module: None,
        schema: Schema::Packets { link_type: 1 },
        ..table_header()
    }
}

pub fn gap(count: Option<u64>) -> Gap {
    Gap {
        from_ns: START_NS,
        to_ns: START_NS + 5,
        cause: "kernel drop".into(),
        count,
    }
}

pub fn end() -> Completeness {
    Completeness {
        gaps: vec![gap(None), gap(Some(12))],
        interrupted: vec![Window::new(START_NS, START_NS + 1_000_000_000).unwrap()],
        sampled: vec![Sampled {
            window: Window::new(START_NS, START_NS + 2_000_000_000).unwrap(),
            one_in: 8,
        }],
        suppressed_rows: 2,
        packets: 100,
        rows: 9,
    }
}

pub fn rows(count: u64) -> Batch {
    let mut batch = Batch::new(&fields());
    for i in 0..count {
        let bytes = vec![i as u8; i as usize % 7];
        let text = format!("row {i} é");
        let mut address = [0; 16];
        address[10..].copy_from_slice(&[0xff, 0xff, 10, 0, (i >> 8) as u8, i as u8]);
        batch
            .push_row(&[
                Value::TimeNs(START_NS + i),
                Value::U8(i as u8),
                Value::U16(i as u16),
                Value::U32(i as u32),
                Value::U64(i),
                Value::I64(-(i as i64)),
                Value::F64(i as f64 / 3.0),
                Value::Bool(i % 2 == 1),
                Value::Address(address),
                Value::Bytes(&bytes),
                Value::Text(&text),
                Value::TimeNs(START_NS * 2 + i),
            ])
            .unwrap();
    }
    batch
}

pub fn packets(count: u64) -> PacketBatch {
    let mut batch = PacketBatch::default();
    for i in 0..count {
        let frame: Vec<u8> = (0..60 + i % 40).map(|b| (b * 7 + i) as u8).collect();
        batch.push(START_NS + i * 1_000_003, 60 + (i % 1400) as u32, &frame);
    }
    batch
}

/// Appends the signature of `key` to what a writer has finished.
pub fn signed(writer: DatasetWriter<Vec<u8>>, key: &SigningKey) -> Vec<u8> {
    let (unsigned, mut file) = writer.finish(&end()).unwrap();
    attach_signature(&mut file, &key.sign_dsse(STATEMENT_TYPE, &unsigned.statement())).unwrap();
    file
}

/// A table of several chunks.
pub fn table_file() -> Vec<u8> {
    let mut writer = DatasetWriter::create(Vec::new(), &table_header(), &recipients()).unwrap();
    for part in 1..4 {
        writer.write_table(&rows(part * 10)).unwrap();
        writer.flush().unwrap();
    }
    signed(writer, &node())
}

/// Packets in several chunks.
pub fn packets_file() -> Vec<u8> {
    let mut writer = DatasetWriter::create(Vec::new(), &packets_header(), &recipients()).unwrap();
    for _ in 0..3 {
        writer.write_packets(&packets(20)).unwrap();
        writer.flush().unwrap();
    }
    signed(writer, &node())
}

/// What a reader makes of a file: everything, or the first error.
pub fn read_all(
    file: &[u8],
    identity: &Identity,
    node_key: Option<&VerifyingKey>,
) -> Result<Vec<como_dataset::Chunk>, DatasetError> {
    let mut reader = DatasetReader::open(Cursor::new(file), identity, node_key)?;
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        chunks.push(chunk);
    }
    Ok(chunks)
}

pub fn verified(file: &[u8]) -> Result<como_dataset::Verified, DatasetError> {
    verify(Cursor::new(file), &node().verifying_key())
}
