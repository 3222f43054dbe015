//! A capture file as a source: resuming at every packet, and damage as gaps.

use std::fs::File;
use std::io::Write;

use como_savefile::{Packet, Resolution, Section, Writer};

use super::*;
use crate::trace::{GapCause, ResumePoint};

/// Time, wire length, data.
type Row = (u64, u32, Vec<u8>);

fn rows() -> Vec<Row> {
    let sized = |length: usize| (0..length).map(|n| n as u8).collect::<Vec<u8>>();
    vec![
        (1_700_000_000_000_001_000, 60, sized(60)),
        // Back in time; an empty one; a large one.
        (1_699_999_999_000_000_000, 1500, sized(96)),
        (1_700_000_000_000_002_000, 0, sized(0)),
        (1_700_000_002_000_000_000, 200_000, sized(200_000)),
        (1_700_000_003_000_000_000, 61, sized(61)),
    ]
}

fn pcap() -> Vec<u8> {
    fill(Writer::pcap(Vec::new(), 1, Resolution::Nanoseconds).unwrap())
}

fn pcapng() -> Vec<u8> {
    fill(Writer::pcapng(Vec::new(), &Section::default()).unwrap())
}

fn fill(mut writer: Writer<Vec<u8>>) -> Vec<u8> {
    for (ts_ns, wire_len, data) in rows() {
        let packet = Packet {
            ts_ns,
            wire_len,
            link: 1,
            data: &data,
        };
        writer.packet(&packet).unwrap();
    }
    writer.finish().unwrap()
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
fn both_formats_resume_at_each_packet() {
    for bytes in [pcap(), pcapng()] {
        let (found, offsets, gaps) = read_all(&bytes, ResumePoint::default());
        assert!(found == rows() && gaps.is_empty());
        for (index, offset) in offsets.into_iter().enumerate() {
            let resume = ResumePoint {
                offset,
                next_packet: index as u64 + 1,
            };
            assert!(
                read_all(&bytes, resume).0 == rows()[index + 1..],
                "after packet {index}"
            );
        }
    }
}

#[test]
fn damage_is_one_gap_and_all_before_it_is_kept() {
    for bytes in [pcap(), pcapng()] {
        let (found, _, gaps) = read_all(&bytes[..bytes.len() - 1], ResumePoint::default());
        assert_eq!((found.len(), &gaps[..]), (4, &[GapCause::SourceTruncated][..]));
    }
    let mut bytes = pcap();
    let length_of_the_second = 24 + 16 + 60 + 8;
    bytes[length_of_the_second..length_of_the_second + 4].copy_from_slice(&[0x7f; 4]);
    let (found, _, gaps) = read_all(&bytes, ResumePoint::default());
    assert_eq!((found.len(), &gaps[..]), (1, &[GapCause::SourceCorrupt][..]));
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
    let bytes = pcap();
    let beyond = ResumePoint {
        offset: bytes.len() as u64 + 1,
        next_packet: 9,
    };
    assert!(matches!(
        FileSource::new("x", file_of(&bytes), beyond, Pace::Fast),
        Err(SourceError::Shrunk { .. })
    ));
}
