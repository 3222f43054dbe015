//! What is written reads back the same: by our own reader, and by another implementation.

use std::time::Duration;

use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};
use proptest::prelude::*;

use super::*;
use crate::{End, Reader, Record};

/// Time, wire length, link type, data.
type Row = (u64, u32, u32, Vec<u8>);

fn packets(links: impl Strategy<Value = u32> + Clone) -> impl Strategy<Value = Vec<Row>> {
    let data = prop::collection::vec(any::<u8>(), 0..300);
    let row = (0..u64::from(u32::MAX) * 1_000_000_000, 0..3000u32, links, data)
        .prop_map(|(ts_ns, more, link, data)| (ts_ns, data.len() as u32 + more, link, data));
    prop::collection::vec(row, 0..20)
}

fn write(mut writer: Writer<Vec<u8>>, rows: &[Row]) -> Vec<u8> {
    for (ts_ns, wire_len, link, data) in rows {
        let packet = Packet {
            ts_ns: *ts_ns,
            wire_len: *wire_len,
            link: *link,
            data,
        };
        writer.packet(&packet).unwrap();
    }
    writer.finish().unwrap()
}

fn read(bytes: &[u8]) -> Vec<Row> {
    let mut reader = Reader::new(bytes).unwrap();
    let mut rows = Vec::new();
    loop {
        match reader.peek().unwrap() {
            Record::Packet(p, _) => rows.push((p.ts_ns, p.wire_len, p.link, p.data.to_vec())),
            Record::Skipped => {}
            Record::End(end) => {
                assert_eq!(end, End::Clean);
                return rows;
            }
        }
        reader.advance();
    }
}

fn section() -> Section<'static> {
    Section {
        application: "test",
        comment: "made of nothing",
    }
}

/// Records that were encoded elsewhere, in two pieces and with interface 0, are those of a writer.
#[test]
fn records_of_an_encoder_find_their_interface() {
    let rows: Vec<Row> = (0..6u32)
        .map(|n| {
            (
                u64::from(n) << 33,
                9,
                [1, 101, 113][n as usize % 3],
                vec![n as u8; n as usize],
            )
        })
        .collect();
    let encode = |encoder: Encoder, (ts_ns, wire_len, _, data): &Row| {
        let (head, rest) = data.split_at(data.len() / 2);
        let mut out = Vec::new();
        encoder
            .record(&mut out, 0, *ts_ns, *wire_len, [head, rest])
            .unwrap();
        out
    };
    let mut writer = Writer::pcapng(Vec::new(), &section()).unwrap();
    for row in &rows {
        // Twice at once: every record of a batch is changed.
        let mut records = encode(Encoder::Pcapng, row).repeat(2);
        writer.records(row.2, &mut records).unwrap();
    }
    let twice: Vec<Row> = rows.iter().flat_map(|row| [row.clone(), row.clone()]).collect();
    let one_by_one = write(Writer::pcapng(Vec::new(), &section()).unwrap(), &twice);
    assert_eq!(writer.finish().unwrap(), one_by_one);
    let resolution = Resolution::Nanoseconds;
    let mut writer = Writer::pcap(Vec::new(), 1, resolution).unwrap();
    writer
        .records(1, &mut encode(Encoder::Pcap(resolution), &rows[3]))
        .unwrap();
    assert!(
        writer
            .records(101, &mut encode(Encoder::Pcap(resolution), &rows[4]))
            .is_err()
    );
    let alone = write(
        Writer::pcap(Vec::new(), 1, resolution).unwrap(),
        &[(rows[3].0, 9, 1, rows[3].3.clone())],
    );
    assert_eq!(writer.finish().unwrap(), alone);
}

proptest! {
    #[test]
    fn pcap_reads_back(rows in packets(Just(113))) {
        let bytes = write(Writer::pcap(Vec::new(), 113, Resolution::Nanoseconds).unwrap(), &rows);
        prop_assert_eq!(&read(&bytes), &rows);
        let mut other = PcapReader::new(&bytes[..]).unwrap();
        for (ts_ns, wire_len, _, data) in &rows {
            let packet = other.next_packet().unwrap().unwrap();
            prop_assert_eq!(packet.timestamp, Duration::from_nanos(*ts_ns));
            prop_assert_eq!((packet.orig_len, &packet.data[..]), (*wire_len, &data[..]));
        }
        prop_assert!(other.next_packet().is_none());
        // In microseconds the same but for the last three digits.
        let bytes = write(Writer::pcap(Vec::new(), 113, Resolution::Microseconds).unwrap(), &rows);
        let cut: Vec<Row> = rows.into_iter().map(|(ts, wire, link, data)| (ts - ts % 1000, wire, link, data)).collect();
        prop_assert_eq!(read(&bytes), cut);
    }

    #[test]
    fn pcapng_reads_back_with_an_interface_for_each_link_type(rows in packets(0..4u32)) {
        let bytes = write(Writer::pcapng(Vec::new(), &section()).unwrap(), &rows);
        prop_assert_eq!(&read(&bytes), &rows);
        let mut other = PcapNgReader::new(&bytes[..]).unwrap();
        let (mut links, mut found) = (Vec::new(), 0);
        while let Some(block) = other.next_block() {
            match block.unwrap() {
                Block::InterfaceDescription(interface) => links.push(u32::from(interface.linktype)),
                Block::EnhancedPacket(packet) => {
                    let (_, wire_len, link, data) = &rows[found];
                    prop_assert_eq!(links[packet.interface_id as usize], *link);
                    prop_assert_eq!((packet.original_len, &packet.data[..]), (*wire_len, &data[..]));
                    found += 1;
                }
                other => prop_assert!(false, "{other:?} was not asked for"),
            }
        }
        prop_assert_eq!(found, rows.len());
        links.sort_unstable();
        prop_assert!(links.windows(2).all(|pair| pair[0] < pair[1]));
    }
}

#[test]
fn what_does_not_fit_is_refused_with_the_way_out() {
    let packet = |link, ts_ns| Packet {
        ts_ns,
        wire_len: 0,
        link,
        data: &[],
    };
    let mut pcap = Writer::pcap(Vec::new(), 1, Resolution::Nanoseconds).unwrap();
    let error = pcap.packet(&packet(101, 0)).unwrap_err().to_string();
    assert!(error.contains("type 101") && error.contains("pcapng"), "{error}");
    assert!(matches!(pcap.packet(&packet(1, u64::MAX)), Err(WriteError::Time)));
    let mut pcapng = Writer::pcapng(Vec::new(), &section()).unwrap();
    assert!(matches!(
        pcapng.packet(&packet(1 << 16, 0)),
        Err(WriteError::LinkType { .. })
    ));
}

#[test]
fn lengths_are_ones_that_readers_take_and_texts_are_cut_at_their_limit() {
    let comment = "é".repeat(40_000);
    let section = Section {
        application: "",
        comment: &comment,
    };
    let rows = [(0, 1, 1, vec![0; 60])];
    let bytes = write(Writer::pcapng(Vec::new(), &section).unwrap(), &rows);
    assert_eq!(read(&bytes)[0].1, 60);
    assert!(bytes.len() > 65_000 && bytes.len() < 66_000);
    assert!(PcapNgReader::new(&bytes[..]).is_ok());
}
