//! Throughput of sealing and opening blocks, and the cost of wrapping a data key.
//! `cargo bench -p como-keys`. The RustCrypto rows show why blocks go through AWS-LC.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use como_keys::aead::{DataKey, TAG_BYTES};
use como_keys::sealing::Identity;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};

const BLOCK_BYTES: [usize; 3] = [4 << 10, 64 << 10, 256 << 10];

fn main() {
    divan::main();
}

#[divan::bench(args = BLOCK_BYTES)]
fn seal(bencher: Bencher<'_, '_>, bytes: usize) {
    let cipher = DataKey::generate().cipher();
    let mut block = Vec::with_capacity(bytes + TAG_BYTES);
    block.resize(bytes, 7);
    let mut number = 0;
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        block.truncate(bytes);
        cipher.seal(number, false, b"block header", black_box(&mut block));
        number += 1;
    });
}

#[divan::bench(args = BLOCK_BYTES)]
fn open(bencher: Bencher<'_, '_>, bytes: usize) {
    let cipher = DataKey::generate().cipher();
    let mut sealed = vec![7; bytes];
    cipher.seal(0, false, b"block header", &mut sealed);
    let mut block = sealed.clone();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        block.clone_from(&sealed);
        cipher
            .open(0, false, b"block header", black_box(&mut block))
            .unwrap();
    });
}

#[divan::bench(args = BLOCK_BYTES)]
fn seal_rustcrypto(bencher: Bencher<'_, '_>, bytes: usize) {
    let cipher = ChaCha20Poly1305::new(&como_keys::random().into());
    let mut block = vec![7u8; bytes];
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        let text: &mut [u8] = black_box(&mut block);
        cipher
            .encrypt_inout_detached(&Nonce::default(), b"block header", text.into())
            .unwrap()
    });
}

#[divan::bench]
fn wrap(bencher: Bencher<'_, '_>) {
    let recipient = Identity::generate().recipient();
    let key = DataKey::generate();
    bencher.bench(|| recipient.wrap(b"bench", b"segment", black_box(&key)));
}

#[divan::bench]
fn unwrap(bencher: Bencher<'_, '_>) {
    let identity = Identity::generate();
    let wrapped = identity
        .recipient()
        .wrap(b"bench", b"segment", &DataKey::generate());
    bencher.bench(|| {
        identity
            .unwrap(b"bench", b"segment", black_box(&wrapped))
            .unwrap()
    });
}
