//! Capture files of every writing, whole, cut and corrupt; resuming at every packet; batches.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::MAX_PACKET_BYTES;

#[derive(Clone, Copy, Debug)]
enum Writing {
    PcapUs,
    PcapNsBig,
    PcapModified,
    Pcapng,
    PcapngBig,
}

const ALL: [Writing; 5] = [
    Writing::PcapUs,
    Writing::PcapNsBig,
    Writing::PcapModified,
    Writing::Pcapng,
    Writing::PcapngBig,
];

/// Time, wire length, data.
type Row = (u64, u32, Vec<u8>);

fn rows() -> Vec<Row> {
    let sized = |length: usize| (0..length).map(|n| n as u8).collect::<Vec<u8>>();
    vec![
        (1_700_000_000_000_001_000, 60, sized(60)),
        (1_700_000_000_000_002_000, 0, sized(0)),
        // Captured more than the wire says; then back in time; then the largest there is.
        (1_700_000_001_500_000_000, 10, sized(64)),
        (1_699_999_999_000_000_000, 1500, sized(96)),
        (
            1_700_000_002_000_000_000,
            MAX_PACKET_BYTES as u32,
            sized(MAX_PACKET_BYTES),
        ),
        (1_700_000_003_000_000_000, 61, sized(61)),
    ]
}

fn written(writing: Writing, rows: &[Row]) -> Vec<u8> {
    let big = matches!(writing, Writing::PcapNsBig | Writing::PcapngBig);
    let u32 = |v: u32| if big { v.to_be_bytes() } else { v.to_le_bytes() };
    let mut out = Vec::new();
    match writing {
        Writing::Pcapng | Writing::PcapngBig => {
            let u16 = |v: u16| if big { v.to_be_bytes() } else { v.to_le_bytes() };
            let block = |out: &mut Vec<u8>, kind: u32, body: &[u8]| {
                let length = u32((12 + body.len().next_multiple_of(4)) as u32);
                out.extend([u32(kind), length].concat());
                out.extend_from_slice(body);
                out.resize(out.len().next_multiple_of(4), 0);
                out.extend(length);
            };
            block(
                &mut out,
                0x0a0d_0d0a,
                &[&u32(0x1a2b_3c4d)[..], &u16(1), &u16(0), &[0xff; 8]].concat(),
            );
            // Interface 0: microseconds by default. Interface 1: nanoseconds, one second of offset.
            block(&mut out, 1, &[&u16(113)[..], &u16(0), &u32(0)].concat());
            let offset = if big {
                1u64.to_be_bytes()
            } else {
                1u64.to_le_bytes()
            };
            let options = [
                &u16(9)[..],
                &u16(1),
                &[9, 0, 0, 0],
                &u16(14),
                &u16(8),
                &offset,
                &[0; 4],
            ]
            .concat();
            block(&mut out, 1, &[&u16(1)[..], &u16(0), &u32(0), &options].concat());
            block(&mut out, 0x0bad, b"a custom block");
            for (ts, wire, data) in rows {
                let ts = ts - 1_000_000_000;
                let head = [
                    u32(1),
                    u32((ts >> 32) as u32),
                    u32(ts as u32),
                    u32(data.len() as u32),
                    u32(*wire),
                ]
                .concat();
                block(&mut out, 6, &[&head[..], data].concat());
            }
        }
        _ => {
            let (magic, unit) = match writing {
                Writing::PcapUs => (0xa1b2_c3d4, 1000),
                Writing::PcapNsBig => (0xa1b2_3c4d, 1),
                _ => (0xa1b2_cd34, 1000),
            };
            out.extend([u32(magic), [0; 4], [0; 4], [0; 4], u32(262_144), u32(1)].concat());
            for (ts, wire, data) in rows {
                let (s, fraction) = (ts / 1_000_000_000, ts % 1_000_000_000 / unit);
                out.extend(
                    [
                        u32(s as u32),
                        u32(fraction as u32),
                        u32(data.len() as u32),
                        u32(*wire),
                    ]
                    .concat(),
                );
                if matches!(writing, Writing::PcapModified) {
                    out.extend([0; 8]);
                }
                out.extend_from_slice(data);
            }
        }
    }
    out
}

/// All packets from `offset` on, the offset after each, and how it ends.
fn read_all(bytes: &[u8], offset: u64) -> (Vec<Row>, Vec<u64>, End) {
    let mut reader = Reader::new(Cursor::new(bytes)).unwrap();
    reader.resume_at(offset).unwrap();
    let (mut rows, mut offsets) = (Vec::new(), Vec::new());
    loop {
        match reader.peek().unwrap() {
            Record::Packet(packet, offset_after) => {
                rows.push((packet.ts_ns, packet.wire_len, packet.data.to_vec()));
                offsets.push(offset_after);
            }
            Record::Skipped => {}
            Record::End(end) => return (rows, offsets, end),
        }
        reader.advance();
    }
}

/// The same in batches.
fn read_batches(input: impl Read) -> (Vec<Row>, End) {
    let mut reader = Reader::new(input).unwrap();
    let (mut rows, mut batch) = (Vec::new(), Batch::default());
    loop {
        let progress = reader.read_batch(&mut batch).unwrap();
        rows.extend(
            batch
                .packets()
                .map(|packet| (packet.ts_ns, packet.wire_len, packet.data.to_vec())),
        );
        if let Progress::Ended(end) = progress {
            assert!(batch.is_empty());
            return (rows, end);
        }
    }
}

/// Gives a few bytes at a time, like a pipe.
struct Trickle<'a>(&'a [u8], usize);

impl Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(out.len());
        self.0.read(&mut out[..count])
    }
}

#[test]
fn every_writing_reads_the_same_packets_and_resumes_at_each() {
    for writing in ALL {
        let bytes = written(writing, &rows());
        let (found, offsets, end) = read_all(&bytes, 0);
        assert!(found == rows() && end == End::Clean, "{writing:?}");
        for (index, offset) in offsets.into_iter().enumerate() {
            assert!(
                read_all(&bytes, offset).0 == rows()[index + 1..],
                "{writing:?} after packet {index}"
            );
        }
    }
}

#[test]
fn batches_hold_the_same_packets_however_the_bytes_come() {
    for writing in ALL {
        // More than a buffer holds.
        let many: Vec<Row> = (0..12).flat_map(|_| rows()).collect();
        let bytes = written(writing, &many);
        for at_once in [usize::MAX, 65_536, 1000] {
            let (found, end) = read_batches(Trickle(&bytes, at_once));
            assert!(found == many && end == End::Clean, "{writing:?} {at_once}");
        }
    }
}

#[test]
fn a_packet_that_was_peeked_stands_at_the_head_of_the_batch() {
    let rows = &rows()[..4];
    let bytes = written(Writing::PcapUs, rows);
    let mut reader = Reader::new(&bytes[..]).unwrap();
    assert!(matches!(reader.peek().unwrap(), Record::Packet(..)));
    let mut batch = Batch::default();
    reader.read_batch(&mut batch).unwrap();
    assert_eq!(batch.len(), rows.len());
}

#[test]
fn looking_twice_changes_nothing() {
    let bytes = written(Writing::Pcapng, &rows());
    let mut reader = Reader::new(&bytes[..]).unwrap();
    let mut packets = 0;
    while !matches!(reader.peek().unwrap(), Record::End(_)) {
        let offset = reader.offset();
        packets += usize::from(matches!(reader.peek().unwrap(), Record::Packet(..)));
        assert_eq!(reader.offset(), offset);
        reader.advance();
    }
    reader.advance();
    assert!(matches!(reader.peek().unwrap(), Record::End(End::Clean)));
    assert_eq!(packets, rows().len());
}

#[test]
fn a_file_cut_anywhere_keeps_all_before_and_says_so() {
    let rows = &rows()[..3];
    for writing in ALL {
        let bytes = written(writing, rows);
        let (_, offsets, _) = read_all(&bytes, 0);
        for cut in offsets[0] as usize..bytes.len() {
            let (found, _, end) = read_all(&bytes[..cut], 0);
            let whole = offsets.iter().filter(|&&offset| offset <= cut as u64).count();
            assert_eq!(found.len(), whole, "{writing:?} cut at {cut}");
            let clean = offsets.contains(&(cut as u64));
            assert_eq!(end == End::Clean, clean, "{writing:?} cut at {cut}");
            assert_eq!(
                read_batches(&bytes[..cut]),
                (found, end),
                "{writing:?} cut at {cut}"
            );
        }
    }
}

#[test]
fn a_corrupt_length_ends_the_file() {
    for writing in [Writing::PcapUs, Writing::PcapNsBig] {
        let mut bytes = written(writing, &rows());
        let at = 24 + 16 + 60 + 8;
        bytes[at..at + 4].copy_from_slice(&[0x7f; 4]);
        let (found, _, end) = read_all(&bytes, 0);
        assert_eq!((found.len(), end), (1, End::Corrupt));
        assert_eq!(read_batches(&bytes[..]), (found, End::Corrupt));
    }
}

#[test]
fn what_is_no_capture_is_refused_with_the_reason() {
    for bytes in [
        &b""[..],
        b"hello, world: no capture at all",
        &[0xd4, 0xc3, 0xb2, 0xa1],
    ] {
        let error = Reader::new(bytes).err().unwrap();
        assert_eq!(error.to_string().lines().count(), 2);
    }
}

#[test]
fn flipped_bits_spoil_nothing_before_them_and_never_panic() {
    for writing in ALL {
        let good = written(writing, &rows()[..3]);
        let (before, offsets, _) = read_all(&good, 0);
        for bit in 24 * 8..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if Reader::new(&bad[..]).is_err() {
                continue;
            }
            let (found, _, end) = read_all(&bad, 0);
            let whole = offsets.iter().filter(|&&offset| offset <= bit as u64 / 8).count();
            // In pcapng the interfaces come first: a flip in one speaks for all its packets.
            if bit / 8 >= offsets[0] as usize || !matches!(writing, Writing::Pcapng | Writing::PcapngBig) {
                assert!(
                    found.len() >= whole && found[..whole] == before[..whole],
                    "{writing:?} {bit}"
                );
            }
            assert_eq!(read_batches(&bad[..]), (found, end), "{writing:?} {bit}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        writing in prop::sample::select(&ALL[..]),
        tail in prop::collection::vec(any::<u8>(), 0..2000),
        kept in 0..400usize,
    ) {
        let mut bytes = written(writing, &rows()[..1]);
        bytes.truncate(kept.max(28));
        bytes.extend(tail);
        if Reader::new(&bytes[..]).is_ok() {
            let (found, offsets, end) = read_all(&bytes, 0);
            prop_assert!(offsets.is_sorted() && offsets.last().is_none_or(|&last| last <= bytes.len() as u64));
            prop_assert!(found.iter().all(|(_, _, data)| data.len() <= MAX_PACKET_BYTES));
            prop_assert_eq!(read_batches(Trickle(&bytes, 100)), (found, end));
        }
    }
}
