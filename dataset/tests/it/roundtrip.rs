//! What is written is read back, in order, at random, resumed and unfinished.

use std::io::Cursor;

use como_dataset::{
    Batch, Chunk, ColumnData, ColumnKind, DatasetError, DatasetReader, DatasetWriter, Field, Head, Header,
    Kind, PacketBatch, Ragged, Schema,
    format::{MAX_CHUNK_BYTES, MAX_CHUNK_MESSAGE_BYTES},
};
use proptest::prelude::*;

use crate::make::*;

fn open(file: &[u8]) -> DatasetReader<Cursor<&[u8]>> {
    DatasetReader::open(Cursor::new(file), &partner(), Some(&node().verifying_key())).unwrap()
}

#[test]
fn a_table_comes_back_with_header_and_completeness() {
    let file = table_file();
    let mut reader = open(&file);
    assert_eq!(*reader.header(), table_header());
    assert_eq!(reader.completeness(), Some(&end()));
    assert!(!reader.completeness().unwrap().is_complete());
    assert!(reader.origin_checked() && !reader.is_provisional());
    assert_eq!(reader.chunk_count(), Some(3));
    for part in 1..4 {
        assert_eq!(reader.next_chunk().unwrap(), Some(Chunk::Table(rows(part * 10))));
    }
    assert_eq!(reader.next_chunk().unwrap(), None);
    assert_eq!(reader.next_chunk().unwrap(), None);
}

#[test]
fn every_recipient_opens_it_and_nobody_else() {
    let file = packets_file();
    let expected = vec![Chunk::Packets(packets(20)); 3];
    for identity in [partner(), colleague()] {
        assert_eq!(read_all(&file, &identity, None).unwrap(), expected);
    }
    assert!(matches!(
        read_all(&file, &stranger(), None),
        Err(DatasetError::NotARecipient { recipients: 2 })
    ));
}

#[test]
fn verifying_needs_no_identity() {
    let file = table_file();
    let verified = verified(&file).unwrap();
    assert_eq!(verified.header, table_header());
    assert_eq!((verified.chunk_count, verified.recipients), (4, 2));
    assert_eq!(verified.signer, node().verifying_key().key_id());
}

#[test]
fn whoever_signs_sees_header_and_recipients_first() {
    let writer = DatasetWriter::create(Vec::new(), &table_header(), &recipients()).unwrap();
    let early = writer.head().1.to_owned();
    let (unsigned, _) = writer.finish(&end()).unwrap();
    let head = Head::read(&mut unsigned.head.as_slice()).unwrap();
    assert_eq!(head.header, table_header());
    assert_eq!(head.header_hash, unsigned.header_hash);
    assert_eq!(early, unsigned.header_hash);
    assert_eq!(head.recipients(), 2);
    assert!(head.is_recipient(&partner().recipient().key_id()));
    assert!(!head.is_recipient(&stranger().recipient().key_id()));
}

#[test]
fn two_datasets_do_not_show_that_they_share_a_recipient_or_content() {
    let (one, two) = (table_file(), table_file());
    let windows: std::collections::HashSet<&[u8]> = one[one.len() - 2000..]
        .windows(16)
        .filter(|w| w.iter().any(|&b| b != 0))
        .collect();
    let head = Head::read(&mut one.as_slice()).unwrap().bytes as usize;
    assert_ne!(one[..head], two[..head]);
    // No 16 bytes of sealed content, hash or signature repeat; ids of stanzas are 16 bytes too.
    let shared = two[head..].windows(16).filter(|w| windows.contains(w)).count();
    assert_eq!(shared, 0);
}

#[test]
fn chunks_open_at_random_and_reading_resumes() {
    let file = table_file();
    let mut reader = open(&file);
    for number in [2, 0, 1, 1] {
        assert_eq!(
            reader.chunk(number).unwrap(),
            Chunk::Table(rows((number + 1) * 10))
        );
    }
    assert_eq!(reader.position(), 0, "random access does not move the sequence");
    reader.next_chunk().unwrap();
    let position = reader.position();
    drop(reader);
    let mut resumed = open(&file);
    resumed.seek_chunk(position).unwrap();
    assert_eq!(resumed.next_chunk().unwrap(), Some(Chunk::Table(rows(20))));
    resumed.seek_chunk(3).unwrap();
    assert_eq!(resumed.next_chunk().unwrap(), None);
    assert!(
        matches!(
            resumed.chunk(3),
            Err(DatasetError::NoSuchChunk { chunk: 3, chunks: 3 })
        ),
        "the end is no content"
    );
    assert!(matches!(
        resumed.seek_chunk(4),
        Err(DatasetError::NoSuchChunk { .. })
    ));
}

#[test]
fn an_unfinished_dataset_gives_provisional_chunks_and_never_passes_for_complete() {
    let file = table_file();
    let reader = open(&file);
    let head = reader.head().bytes as usize;
    // Cut inside the third chunk: two come out, then the cut is reported.
    let cut = head + 2 * (4 + 4096 + 16) + 100;
    assert!(matches!(
        read_all(&file[..cut], &partner(), None),
        Err(DatasetError::Truncated { .. })
    ));
    let mut provisional = DatasetReader::open_provisional(Cursor::new(&file[..cut]), &partner()).unwrap();
    assert!(provisional.is_provisional() && !provisional.origin_checked());
    assert_eq!(provisional.next_chunk().unwrap(), Some(Chunk::Table(rows(10))));
    assert_eq!(provisional.next_chunk().unwrap(), Some(Chunk::Table(rows(20))));
    assert!(
        matches!(provisional.next_chunk(), Err(DatasetError::Truncated { bytes }) if bytes == cut as u64)
    );
    assert_eq!(provisional.completeness(), None);
    // Unsigned but else whole: the end is seen, and still nothing proves where it is from.
    let mut whole =
        DatasetReader::open_provisional(Cursor::new(&file[..file.len() - 72]), &partner()).unwrap();
    while whole.next_chunk().unwrap().is_some() {}
    assert_eq!(whole.completeness(), Some(&end()));
    assert!(whole.is_provisional());
}

#[test]
fn an_empty_dataset_is_a_dataset() {
    let writer = DatasetWriter::create(Vec::new(), &packets_header(), &recipients()).unwrap();
    let file = signed(writer, &node());
    assert!(verified(&file).is_ok());
    assert_eq!(open(&file).chunk_count(), Some(0));
    assert_eq!(open(&file).next_chunk().unwrap(), None);
}

#[test]
fn much_content_is_split_into_chunks_of_one_size_within_the_limit() {
    let mut writer = DatasetWriter::create(Vec::new(), &packets_header(), &recipients()).unwrap();
    let batch = packets(5000);
    for _ in 0..20 {
        writer.write_packets(&batch).unwrap();
    }
    let file = signed(writer, &node());
    verified(&file).unwrap();
    let chunks = read_all(&file, &partner(), None).unwrap();
    let total: usize = chunks
        .iter()
        .map(|c| if let Chunk::Packets(p) = c { p.len() } else { 0 })
        .sum();
    assert_eq!(total, 100_000);
    assert!(chunks.len() > 3);
    let sizes = chunk_sizes(&file);
    assert!(sizes.iter().all(|&n| n <= MAX_CHUNK_BYTES + 16));
    let steady = sizes.iter().filter(|&&n| n == sizes[1]).count();
    assert!(
        steady * 4 >= sizes.len() * 3,
        "most chunks are of one size: {sizes:?}"
    );
}

/// Sealed sizes of the chunks with content.
fn chunk_sizes(file: &[u8]) -> Vec<usize> {
    let mut at = Head::read(&mut &file[..]).unwrap().bytes as usize;
    let mut sizes = Vec::new();
    loop {
        let length = u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        if length == 0 {
            sizes.pop();
            return sizes;
        }
        sizes.push(length);
        at += 4 + length;
    }
}

#[test]
fn the_largest_packet_fits_and_one_that_does_not_is_refused_before_anything_is_taken() {
    let mut writer = DatasetWriter::create(Vec::new(), &packets_header(), &recipients()).unwrap();
    let mut largest = PacketBatch::default();
    largest.push(1, 262_144, &vec![0x5a; 262_144]);
    writer.write_packets(&largest).unwrap();
    let mut mixed = packets(1);
    mixed.push(2, u32::MAX, &vec![0; MAX_CHUNK_MESSAGE_BYTES]);
    assert!(matches!(
        writer.write_packets(&mixed),
        Err(DatasetError::TooLarge { by_file: false, .. })
    ));
    let file = signed(writer, &node());
    assert_eq!(
        read_all(&file, &partner(), None).unwrap(),
        vec![Chunk::Packets(largest)]
    );
}

#[test]
fn a_caller_that_breaks_the_schema_is_told() {
    let create = |header: &Header| DatasetWriter::create(Vec::new(), header, &recipients());
    let schema = |r: Result<(), DatasetError>| matches!(r, Err(DatasetError::SchemaMismatch { .. }));
    let mut writer = create(&table_header()).unwrap();
    assert!(schema(writer.write_packets(&packets(1))));
    assert!(schema(writer.write_table(&Batch::default())));
    let mut uneven = rows(2);
    uneven.columns[1] = ColumnData::U8(vec![1]);
    assert!(schema(writer.write_table(&uneven)));
    let mut wrong = rows(1);
    wrong.columns[1] = ColumnData::U16(vec![1]);
    assert!(schema(writer.write_table(&wrong)));

    assert!(schema(
        create(&Header {
            kind: Kind::Packets,
            ..table_header()
        })
        .map(drop)
    ));
    let mut twice = fields();
    twice[1].name = twice[0].name.clone();
    assert!(schema(
        create(&Header {
            schema: Schema::Table(twice),
            ..table_header()
        })
        .map(drop)
    ));
    assert!(schema(
        DatasetWriter::create(Vec::new(), &table_header(), &[]).map(drop)
    ));
    let same = [partner().recipient(), partner().recipient()];
    assert!(schema(
        DatasetWriter::create(Vec::new(), &table_header(), &same).map(drop)
    ));
    let huge = Header {
        filter: "x".repeat(300_000),
        ..table_header()
    };
    assert!(matches!(
        create(&huge),
        Err(DatasetError::TooLarge { by_file: false, .. })
    ));
}

fn column(kind: ColumnKind, rows: usize) -> BoxedStrategy<ColumnData> {
    use proptest::collection::vec;
    let ragged = |strings: Vec<Vec<u8>>| {
        let mut ragged = Ragged::default();
        strings.iter().for_each(|s| ragged.push(s));
        ragged
    };
    match kind {
        ColumnKind::U8 => vec(any::<u8>(), rows).prop_map(ColumnData::U8).boxed(),
        ColumnKind::U16 => vec(any::<u16>(), rows).prop_map(ColumnData::U16).boxed(),
        ColumnKind::U32 => vec(any::<u32>(), rows).prop_map(ColumnData::U32).boxed(),
        ColumnKind::U64 => vec(any::<u64>(), rows).prop_map(ColumnData::U64).boxed(),
        ColumnKind::I64 => vec(any::<i64>(), rows).prop_map(ColumnData::I64).boxed(),
        ColumnKind::F64 => vec(-1e300..1e300f64, rows).prop_map(ColumnData::F64).boxed(),
        ColumnKind::Bool => vec(any::<bool>(), rows).prop_map(ColumnData::Bool).boxed(),
        ColumnKind::Address => vec(any::<[u8; 16]>(), rows).prop_map(ColumnData::Address).boxed(),
        ColumnKind::Bytes => vec(vec(any::<u8>(), 0..40), rows)
            .prop_map(move |v| ColumnData::Bytes(ragged(v)))
            .boxed(),
        ColumnKind::Text => vec("\\PC{0,12}", rows)
            .prop_map(move |v| ColumnData::Text(ragged(v.into_iter().map(String::into_bytes).collect())))
            .boxed(),
        ColumnKind::TimeNs => vec(any::<u64>(), rows).prop_map(ColumnData::TimeNs).boxed(),
    }
}

fn table() -> impl Strategy<Value = (Vec<Field>, Batch)> {
    (
        proptest::collection::vec(0..ColumnKind::ALL.len(), 1..8),
        0..200usize,
    )
        .prop_flat_map(|(kinds, rows)| {
            let kinds: Vec<_> = kinds.into_iter().map(|k| ColumnKind::ALL[k]).collect();
            let fields = kinds.iter().enumerate().map(|(i, &kind)| Field {
                name: format!("c{i}"),
                kind,
                unit: String::new(),
                description: String::new(),
                merge: String::new(),
            });
            let columns = kinds.iter().map(|&kind| column(kind, rows)).collect::<Vec<_>>();
            (
                Just(fields.collect()),
                columns.prop_map(|columns| Batch { columns }),
            )
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_table_comes_back((fields, batch) in table(), flush in any::<bool>()) {
        let header = Header { schema: Schema::Table(fields), ..table_header() };
        let mut writer = DatasetWriter::create(Vec::new(), &header, &recipients()).unwrap();
        writer.write_table(&batch).unwrap();
        if flush { writer.flush().unwrap(); }
        writer.write_table(&batch).unwrap();
        let file = signed(writer, &node());
        verified(&file).unwrap();
        let chunks = read_all(&file, &partner(), Some(&node().verifying_key())).unwrap();
        let mut rows = Vec::new();
        for chunk in &chunks {
            let Chunk::Table(batch) = chunk else { panic!("packets in a table") };
            for row in 0..batch.rows() {
                rows.push(format!("{:?}", batch.columns.iter().map(|c| c.value(row)).collect::<Vec<_>>()));
            }
        }
        let expected: Vec<_> = (0..batch.rows())
            .map(|row| format!("{:?}", batch.columns.iter().map(|c| c.value(row)).collect::<Vec<_>>()))
            .collect();
        prop_assert_eq!(rows, [expected.clone(), expected].concat());
    }

    #[test]
    fn any_packets_come_back(frames in proptest::collection::vec(
        (any::<u64>(), any::<u32>(), proptest::collection::vec(any::<u8>(), 0..3000)), 0..150))
    {
        let mut batch = PacketBatch::default();
        for (ts, wire, frame) in &frames {
            batch.push(*ts, *wire, frame);
        }
        let mut writer = DatasetWriter::create(Vec::new(), &packets_header(), &recipients()).unwrap();
        for _ in 0..4 {
            writer.write_packets(&batch).unwrap();
        }
        let file = signed(writer, &node());
        let mut back = PacketBatch::default();
        for chunk in read_all(&file, &colleague(), None).unwrap() {
            let Chunk::Packets(packets) = chunk else { panic!("rows in packets") };
            for i in 0..packets.len() {
                back.push(packets.ts_ns[i], packets.wire_len[i], packets.frames.get(i));
            }
        }
        prop_assert_eq!(back.len(), 4 * batch.len());
        for part in 0..4 {
            for i in 0..batch.len() {
                let j = part * batch.len() + i;
                prop_assert_eq!(back.frames.get(j), batch.frames.get(i));
                prop_assert_eq!((back.ts_ns[j], back.wire_len[j]), (batch.ts_ns[i], batch.wire_len[i]));
            }
        }
    }
}
