//! Micro benchmarks of the hot path. Timing lives here, never in tests.

use como_anonymize::{Anonymizer, CryptoPan4, Filter, LinkType, RawPacket, build, dissect, rekey};
use como_keys::mapping::MappingKey;
use como_policies::AccessLevel;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

const ADDRESSES: usize = 1024;
const PACKETS: usize = 1024;

fn main() {
    divan::main();
}

/// TCP over IPv4 with a timestamp option, or UDP over IPv6, distinct flows.
fn packets(version: u8) -> Vec<Vec<u8>> {
    (0..PACKETS as u32)
        .map(|n| packet(version, n.wrapping_mul(2_654_435_761)))
        .collect()
}

fn packet(version: u8, n: u32) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let seed = n.to_be_bytes();
    if version == 4 {
        frame.extend([8, 0, 0x45, 0, 0, 92, seed[0], seed[1], 0x40, 0, 57, 6, 0, 0]);
        frame.extend(seed);
        frame.extend([198, 51, 100, seed[3]]);
        frame.extend([seed[0], seed[1], 1, 0xbb]);
        frame.extend([1, 2, 3, 4, 5, 6, 7, 8, 0x80, 0x10, 1, 0, 0, 0, 0, 0, 1, 1, 8, 10]);
        frame.extend([9; 48]);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 48, 17, 57, 0x20, 1, 0x0d, 0xb8]);
        frame.extend([seed, seed, seed, [0x20, 1, 0x0d, 0xb9], seed, seed, seed].concat());
        frame.extend([seed[0], seed[1], 0, 53, 0, 48, 1, 1]);
        frame.extend([9; 40]);
    }
    frame
}

fn anonymizer() -> Anonymizer {
    Anonymizer::new(&MappingKey::from_bytes(&[5; 32]))
}

#[divan::bench]
fn cryptopan_ipv4_many(bencher: Bencher<'_, '_>) {
    let map = CryptoPan4::new(&[7; 32]);
    let mut addresses: Vec<u32> = (0..ADDRESSES as u32)
        .map(|n| n.wrapping_mul(2_654_435_761))
        .collect();
    bencher
        .counter(ItemsCount::new(ADDRESSES))
        .bench_local(|| map.map_all(black_box(&mut addresses)));
}

#[divan::bench]
fn cryptopan_ipv4_pairs(bencher: Bencher<'_, '_>) {
    let map = CryptoPan4::new(&[7; 32]);
    bencher.counter(ItemsCount::new(ADDRESSES)).bench_local(|| {
        for n in (0..ADDRESSES as u32).step_by(2) {
            black_box(map.map_few([n, n + 1].map(|n| n.wrapping_mul(2_654_435_761))));
        }
    });
}

#[divan::bench]
fn ipv6_many(bencher: Bencher<'_, '_>) {
    let anonymizer = anonymizer();
    let mut addresses: Vec<u128> = (0..ADDRESSES as u64)
        .map(|n| u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 37)
        .collect();
    bencher
        .counter(ItemsCount::new(ADDRESSES))
        .bench_local(|| anonymizer.map_all_v6(black_box(&mut addresses)));
}

#[divan::bench(args = [4, 6])]
fn dissect_only(bencher: Bencher<'_, '_>, version: u8) {
    let packets = packets(version);
    bencher.counter(ItemsCount::new(PACKETS)).bench_local(|| {
        for packet in &packets {
            black_box(dissect(LinkType::ETHERNET, packet).header_len);
        }
    });
}

#[divan::bench(args = [4, 6])]
fn dissect_and_anonymize(bencher: Bencher<'_, '_>, version: u8) {
    let (packets, anonymizer) = (packets(version), anonymizer());
    let mut out = Vec::with_capacity(1 << 18);
    bencher.counter(ItemsCount::new(PACKETS)).bench_local(|| {
        out.clear();
        for packet in &packets {
            black_box(anonymizer.anonymize(LinkType::ETHERNET, packet, &mut out));
        }
    });
}

fn view_of(packets: &[Vec<u8>], anonymizer: &Anonymizer) -> como_anonymize::View {
    let raw = packets.iter().map(|data| RawPacket {
        ts_ns: 0,
        wire_len: 90,
        link: LinkType::ETHERNET,
        data,
    });
    build(AccessLevel::Anonymized, LinkType::ETHERNET, raw, Some(anonymizer))
}

#[divan::bench]
fn build_view(bencher: Bencher<'_, '_>) {
    let (packets, anonymizer) = (packets(4), anonymizer());
    bencher
        .counter(ItemsCount::new(PACKETS))
        .bench_local(|| view_of(&packets, &anonymizer));
}

#[divan::bench]
fn rekey_view(bencher: Bencher<'_, '_>) {
    let anonymizer = anonymizer();
    let view = view_of(&packets(4), &anonymizer);
    bencher
        .counter(ItemsCount::new(PACKETS))
        .bench_local(|| rekey(&view, &anonymizer));
}

#[divan::bench]
fn evaluate_filter(bencher: Bencher<'_, '_>) {
    let view = view_of(&packets(4), &anonymizer());
    let filter = Filter::parse("tcp and net 10.0.0.0/8 and port 443").unwrap();
    bencher
        .counter(ItemsCount::new(PACKETS))
        .bench_local(|| filter.eval(&view.columns));
}
