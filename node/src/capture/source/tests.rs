//! Capture files of every writing, whole, cut and corrupt, and resuming at every packet.

use std::fs::File;
use std::io::Write;

use super::*;
use crate::trace::{GapCause, MAX_CAPTURE_BYTES, ResumePoint};

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
            MAX_CAPTURE_BYTES as u32,
            sized(MAX_CAPTURE_BYTES),
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

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// All packets, the offset after each, and the causes of gaps.
fn read_all(bytes: &[u8], resume: ResumePoint) -> (Vec<Row>, Vec<u64>, Vec<GapCause>) {
    let mut source = FileSource::new("test", file_of(bytes), resume, Pace::Fast).unwrap();
    let (mut rows, mut offsets, mut gaps) = (Vec::new(), Vec::new(), Vec::new());
    while source
        .read(&mut |event| match event {
            Event::Packet(p) => {
                assert_eq!(p.link, 1);
                rows.push((p.ts_ns, p.wire_len, p.data.to_vec()));
                offsets.push(p.offset_after);
            }
            Event::Gap(gap) => gaps.push(gap.cause),
        })
        .unwrap()
        != Progress::End
    {}
    (rows, offsets, gaps)
}

#[test]
fn every_writing_reads_the_same_packets_and_resumes_at_each() {
    for writing in ALL {
        let bytes = written(writing, &rows());
        let (found, offsets, gaps) = read_all(&bytes, ResumePoint::default());
        assert!(found == rows() && gaps.is_empty(), "{writing:?}");
        for (index, offset) in offsets.into_iter().enumerate() {
            let resume = ResumePoint {
                offset,
                next_packet: index as u64 + 1,
            };
            assert!(
                read_all(&bytes, resume).0 == rows()[index + 1..],
                "{writing:?} after packet {index}"
            );
        }
    }
}

#[test]
fn a_file_cut_anywhere_keeps_all_before_and_says_so() {
    let rows = &rows()[..3];
    for writing in ALL {
        let bytes = written(writing, rows);
        let (_, offsets, _) = read_all(&bytes, ResumePoint::default());
        let first = offsets[0] as usize;
        for cut in first..bytes.len() {
            let (found, _, gaps) = read_all(&bytes[..cut], ResumePoint::default());
            let whole = offsets.iter().filter(|&&offset| offset <= cut as u64).count();
            assert_eq!(found.len(), whole, "{writing:?} cut at {cut}");
            let clean = offsets.contains(&(cut as u64));
            assert_eq!(gaps.is_empty(), clean, "{writing:?} cut at {cut}");
        }
    }
}

#[test]
fn a_corrupt_length_ends_the_file_with_a_gap() {
    for (writing, at) in [
        (Writing::PcapUs, 24 + 16 + 60 + 8),
        (Writing::PcapNsBig, 24 + 16 + 60 + 8),
    ] {
        let mut bytes = written(writing, &rows());
        bytes[at..at + 4].copy_from_slice(&[0x7f; 4]);
        let (found, _, gaps) = read_all(&bytes, ResumePoint::default());
        assert_eq!((found.len(), &gaps[..]), (1, &[GapCause::SourceCorrupt][..]));
    }
}

#[test]
fn what_is_no_capture_is_refused_with_the_reason() {
    for bytes in [
        &b""[..],
        b"hello, world: no capture at all",
        &[0xd4, 0xc3, 0xb2, 0xa1],
    ] {
        let error = FileSource::new("x.pcap", file_of(bytes), ResumePoint::default(), Pace::Fast)
            .err()
            .unwrap();
        assert!(error.to_string().contains("x.pcap") && error.to_string().lines().count() == 2);
    }
    let bytes = written(Writing::PcapUs, &rows());
    let beyond = ResumePoint {
        offset: bytes.len() as u64 + 1,
        next_packet: 9,
    };
    assert!(matches!(
        FileSource::new("x", file_of(&bytes), beyond, Pace::Fast),
        Err(SourceError::Shrunk { .. })
    ));
}

#[test]
fn flipped_bytes_never_panic() {
    for writing in ALL {
        let good = written(writing, &rows()[..3]);
        for at in 24..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            let mut source = match FileSource::new("x", file_of(&bad), ResumePoint::default(), Pace::Fast) {
                Ok(source) => source,
                Err(_) => continue,
            };
            while source.read(&mut |_| ()).unwrap() != Progress::End {}
        }
    }
}
