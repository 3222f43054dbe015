//! Bytes of frames a second through writing, verifying and opening a dataset of packets, one core.
//!
//! `cargo bench -p como-dataset`

use std::io::Cursor;

use como_dataset::{
    Completeness, DatasetReader, DatasetWriter, Header, Kind, PacketBatch, Schema, attach_signature,
    format::STATEMENT_TYPE, verify,
};
use como_keys::{sealing::Identity, signing::SigningKey};
use como_policies::{AccessLevel, Window};
use divan::{Bencher, counter::BytesCount};

const PACKETS: usize = 100_000;

fn main() {
    divan::main();
}

fn header(node: &SigningKey) -> Header {
    Header {
        node: "spiffe://example.org/node/one".into(),
        node_key: node.verifying_key().key_id(),
        query_id: "bench".into(),
        kind: Kind::Packets,
        level: AccessLevel::Anonymized,
        window: Window::new(0, 1_000_000_000).expect("not empty"),
        filter: String::new(),
        module: None,
        audience: "bench".into(),
        mapping_epoch: 0,
        schema: Schema::Packets { link_type: 1 },
        gaps: Vec::new(),
        interrupted: Vec::new(),
        created_ns: 0,
        policy_hash: String::new(),
    }
}

/// Headers-only frames of 54 bytes: half constant, half as good as random, like anonymized ones.
fn packets() -> PacketBatch {
    let mut batch = PacketBatch::default();
    let mut state = 1u64;
    for i in 0..PACKETS as u64 {
        let mut frame = [0x45; 54];
        for bytes in frame[26..].chunks_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.copy_from_slice(&state.to_be_bytes()[..bytes.len()]);
        }
        batch.push(i * 1_000_000, 1500, &frame);
    }
    batch
}

fn content_bytes(batch: &PacketBatch) -> BytesCount {
    BytesCount::new(batch.frames.bytes.len() + 16 * batch.len())
}

fn write_file(node: &SigningKey, identity: &Identity, batch: &PacketBatch) -> Vec<u8> {
    let mut writer =
        DatasetWriter::create(Vec::new(), &header(node), &[identity.recipient()]).expect("a good header");
    writer.write_packets(batch).expect("good packets");
    let (unsigned, mut file) = writer
        .finish(&Completeness::default())
        .expect("memory does not fail");
    attach_signature(&mut file, &node.sign_dsse(STATEMENT_TYPE, &unsigned.statement())).expect("memory");
    file
}

#[divan::bench]
fn write(bencher: Bencher<'_, '_>) {
    let (node, identity, batch) = (SigningKey::generate(), Identity::generate(), packets());
    bencher
        .counter(content_bytes(&batch))
        .bench(|| write_file(&node, &identity, &batch));
}

#[divan::bench]
fn verify_without_identity(bencher: Bencher<'_, '_>) {
    let (node, identity, batch) = (SigningKey::generate(), Identity::generate(), packets());
    let file = write_file(&node, &identity, &batch);
    bencher
        .counter(BytesCount::new(file.len()))
        .bench(|| verify(Cursor::new(&file), &node.verifying_key()).expect("a good file"));
}

#[divan::bench]
fn open_and_read_all(bencher: Bencher<'_, '_>) {
    let (node, identity, batch) = (SigningKey::generate(), Identity::generate(), packets());
    let file = write_file(&node, &identity, &batch);
    bencher.counter(content_bytes(&batch)).bench(|| {
        let key = node.verifying_key();
        let mut reader = DatasetReader::open(Cursor::new(&file), &identity, Some(&key)).expect("a good file");
        let mut chunks = 0;
        while let Some(chunk) = reader.next_chunk().expect("a good file") {
            divan::black_box(&chunk);
            chunks += 1;
        }
        chunks
    });
}
