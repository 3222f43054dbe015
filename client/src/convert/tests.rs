//! Every format, read back with a reader of its own.

use std::{io::Cursor, process::Command};

use ::parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::{Row, RowAccessor},
};
use como_dataset::{
    Completeness, DatasetWriter, Gap, Header, Kind, Value, attach_signature, format::STATEMENT_TYPE,
};
use como_keys::{sealing::Identity, signing::SigningKey};
use como_policies::{AccessLevel, Window};
use pcap_file::pcapng::{Block, PcapNgReader};

use super::*;

/// 2026-01-01T00:00:00Z.
const START_NS: u64 = 1_767_225_600_000_000_000;

fn header(schema: Schema) -> Header {
    Header {
        node: "spiffe://example.org/node/one".into(),
        node_key: SigningKey::from_bytes(&[7; 32]).verifying_key().key_id(),
        query_id: "q-7".into(),
        kind: schema.kind(),
        level: AccessLevel::Anonymized,
        window: Window::new(START_NS, START_NS + 60_000_000_000).unwrap(),
        filter: "udp".into(),
        module: None,
        audience: "project/alpha".into(),
        mapping_epoch: 681,
        schema,
        gaps: Vec::new(),
        interrupted: Vec::new(),
        created_ns: START_NS,
        policy_hash: String::new(),
    }
}

fn fields() -> Vec<Field> {
    let field = |kind: ColumnKind| Field {
        name: kind.name().into(),
        kind,
        unit: String::new(),
        description: String::new(),
        merge: String::new(),
    };
    ColumnKind::ALL.map(field).into()
}

fn rows() -> Batch {
    let mut batch = Batch::new(&fields());
    let mut v4 = [0; 16];
    v4[10..].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
    let mut v6 = [0; 16];
    (v6[0], v6[1], v6[15]) = (0x20, 0x01, 1);
    let row = |address, float, text, time| {
        [
            Value::U8(u8::MAX),
            Value::U16(u16::MAX),
            Value::U32(u32::MAX),
            Value::U64(u64::MAX),
            Value::I64(i64::MIN),
            Value::F64(float),
            Value::Bool(true),
            Value::Address(address),
            Value::Bytes(b"\x00\xff"),
            Value::Text(text),
            Value::TimeNs(time),
        ]
    };
    batch
        .push_row(&row(v4, 0.1, "a \"quoted\", é", START_NS + 7))
        .unwrap();
    batch.push_row(&row(v6, f64::NAN, "", u64::MAX)).unwrap();
    batch
}

fn packets() -> PacketBatch {
    let mut batch = PacketBatch::default();
    // A UDP packet of 1500 bytes on the wire, of which 42 were released.
    let mut frame = [0; 42];
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14..34].copy_from_slice(&[
        0x45, 0, 0x05, 0xce, 0, 0, 0, 0, 64, 17, 0x65, 0xb8, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    frame[34..42].copy_from_slice(&[0x30, 0x39, 0, 53, 0x05, 0xba, 0, 0]);
    batch.push(START_NS + 123_456_789, 1500, &frame);
    // A synthetic frame, longer than the packet was.
    batch.push(START_NS + 1_000_000_001, 40, &frame);
    batch
}

fn end() -> Completeness {
    let gap = Gap {
        from_ns: START_NS,
        to_ns: START_NS + 5,
        cause: "kernel drop".into(),
        count: Some(12),
    };
    Completeness {
        gaps: vec![gap],
        ..Default::default()
    }
}

fn identity() -> Identity {
    Identity::from_bytes(&[1; 32])
}

fn dataset(schema: Schema, chunks: u32) -> Vec<u8> {
    let header = header(schema);
    let mut writer = DatasetWriter::create(Vec::new(), &header, &[identity().recipient()]).unwrap();
    for _ in 0..chunks {
        match header.kind {
            Kind::Table => writer.write_table(&rows()).unwrap(),
            Kind::Packets => writer.write_packets(&packets()).unwrap(),
        }
        writer.flush().unwrap();
    }
    let (unsigned, mut file) = writer.finish(&end()).unwrap();
    let signature = SigningKey::from_bytes(&[7; 32]).sign_dsse(STATEMENT_TYPE, &unsigned.statement());
    attach_signature(&mut file, &signature).unwrap();
    file
}

fn to(format: Format, schema: Schema, chunks: u32) -> Result<(Vec<u8>, Converted), ConvertError> {
    let file = dataset(schema, chunks);
    let mut reader = DatasetReader::open(Cursor::new(file), &identity(), None).unwrap();
    let (mut out, mut told) = (Vec::new(), Vec::new());
    let converted = convert(&mut reader, format, &mut out, &mut |chunks| told.push(chunks))?;
    assert_eq!(
        told,
        (1..=u64::from(chunks)).collect::<Vec<_>>(),
        "progress, chunk by chunk"
    );
    Ok((out, converted))
}

const ETHERNET: Schema = Schema::Packets { link_type: 1 };

#[test]
fn csv_has_a_header_line_and_quotes_what_needs_it() {
    let (out, converted) = to(Format::Csv, Schema::Table(fields()), 1).unwrap();
    assert_eq!(converted.rows, 2);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "u8,u16,u32,u64,i64,f64,bool,address,bytes,text,time_ns\r\n\
         255,65535,4294967295,18446744073709551615,-9223372036854775808,0.1,true,192.0.2.1,00ff,\
         \"a \"\"quoted\"\", é\",2026-01-01T00:00:00.000000007Z\r\n\
         255,65535,4294967295,18446744073709551615,-9223372036854775808,NaN,true,2001::1,00ff,\"\",\
         2554-07-21T23:34:33.709551615Z\r\n"
    );
}

#[test]
fn jsonl_is_json_with_exact_integers_and_null_for_what_json_lacks() {
    let (out, _) = to(Format::Jsonl, Schema::Table(fields()), 1).unwrap();
    let lines: Vec<serde_json::Value> = String::from_utf8(out)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["u64"], u64::MAX);
    assert_eq!(lines[0]["i64"], i64::MIN);
    assert_eq!(lines[0]["text"], "a \"quoted\", é");
    assert_eq!(lines[0]["address"], "192.0.2.1");
    assert_eq!(lines[0]["time_ns"], "2026-01-01T00:00:00.000000007Z");
    assert_eq!(lines[0]["f64"], 0.1);
    assert!(lines[1]["f64"].is_null());
    assert_eq!(lines.len(), 2);
}

#[test]
fn packets_become_rows_of_time_lengths_and_frame() {
    let (out, _) = to(Format::Csv, ETHERNET, 2).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "time,wire_length,captured_length,frame");
    assert!(
        lines[1].starts_with("2026-01-01T00:00:00.123456789Z,1500,42,000000"),
        "{}",
        lines[1]
    );
    assert_eq!(lines.len(), 1 + 4);
}

#[test]
fn parquet_reads_back_with_types_and_comment() {
    let (out, converted) = to(Format::Parquet, Schema::Table(fields()), 3).unwrap();
    assert_eq!((converted.rows, converted.saturated_times), (6, 3));
    let reader = SerializedFileReader::new(bytes::Bytes::from(out)).unwrap();
    let metadata = reader.metadata().file_metadata();
    assert_eq!(metadata.num_rows(), 6);
    let comment = metadata.key_value_metadata().unwrap()[0].value.clone().unwrap();
    assert!(
        comment.contains("query q-7") && comment.contains("1 gap(s)"),
        "{comment}"
    );
    let rows: Vec<Row> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    let row = &rows[0];
    assert_eq!(row.get_ubyte(0).unwrap(), u8::MAX);
    assert_eq!(row.get_ushort(1).unwrap(), u16::MAX);
    assert_eq!(row.get_uint(2).unwrap(), u32::MAX);
    assert_eq!(row.get_ulong(3).unwrap(), u64::MAX);
    assert_eq!(row.get_long(4).unwrap(), i64::MIN);
    assert!((row.get_double(5).unwrap() - 0.1).abs() < f64::EPSILON);
    assert!(row.get_bool(6).unwrap());
    assert_eq!(row.get_string(7).unwrap(), "192.0.2.1");
    assert_eq!(row.get_bytes(8).unwrap().data(), b"\x00\xff");
    assert_eq!(row.get_string(9).unwrap(), "a \"quoted\", é");
    let raw = reader
        .metadata()
        .file_metadata()
        .schema_descr()
        .column(10)
        .logical_type_ref()
        .cloned();
    assert_eq!(
        raw,
        Some(::parquet::basic::LogicalType::timestamp(
            true,
            ::parquet::basic::TimeUnit::NANOS
        ))
    );
}

#[test]
fn an_empty_dataset_converts_to_every_format() {
    for format in Format::ALL {
        let (out, converted) = to(format, ETHERNET, 0).unwrap();
        assert_eq!(converted, Converted::default());
        assert_eq!(
            out.is_empty(),
            format == Format::Jsonl,
            "{format}: {} bytes",
            out.len()
        );
    }
}

#[test]
fn pcapng_keeps_times_lengths_link_type_and_comment() {
    let (out, converted) = to(Format::Pcapng, ETHERNET, 2).unwrap();
    assert_eq!(converted.rows, 4);
    let mut reader = PcapNgReader::new(out.as_slice()).unwrap();
    let comment = format!("{:?}", reader.section().options);
    for part in [
        "node spiffe://example.org/node/one",
        "level: anonymized",
        "window: 2026-01-01T00:00:00",
        "12 of packets",
    ] {
        assert!(comment.contains(part), "`{part}` in {comment}");
    }
    let mut seen = Vec::new();
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            Block::InterfaceDescription(interface) => assert_eq!(u32::from(interface.linktype), 1),
            Block::EnhancedPacket(p) => {
                seen.push((p.timestamp.as_nanos() as u64, p.original_len, p.data.len()))
            }
            other => panic!("{other:?}"),
        }
    }
    let expected = [
        (START_NS + 123_456_789, 1500, 42),
        (START_NS + 1_000_000_001, 42, 42),
    ];
    assert_eq!(seen, [expected, expected].concat());
}

#[test]
fn an_independent_dissector_reads_the_pcapng() {
    let (out, _) = to(Format::Pcapng, ETHERNET, 1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("packets.pcapng");
    std::fs::write(&path, out).unwrap();
    let fields = [
        "frame.time_epoch",
        "frame.len",
        "frame.cap_len",
        "ip.src",
        "udp.dstport",
    ];
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(&path).args(["-T", "fields"]);
    fields.iter().for_each(|field| {
        tshark.args(["-e", field]);
    });
    let Ok(output) = tshark.output() else {
        eprintln!("skipped: tshark is not installed (Debian package tshark)");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let first = text.lines().next().unwrap_or_default();
    assert_eq!(
        first,
        "1767225600.123456789\t1500\t42\t10.0.0.1\t53",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let Ok(output) = Command::new("capinfos").arg("-Mcltk").arg(&path).output() else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("pcapng"), "{text}");
}

#[test]
fn what_cannot_be_converted_says_what_to_do() {
    let error = to(Format::Pcapng, Schema::Table(fields()), 1).unwrap_err();
    assert!(matches!(error, ConvertError::NotPackets));
    let link = to(Format::Pcapng, Schema::Packets { link_type: 70_000 }, 1).unwrap_err();
    for error in [error, link, "arrow".parse::<Format>().unwrap_err()] {
        assert_eq!(error.to_string().lines().count(), 2, "{error}");
    }
}

#[test]
fn a_full_disk_is_an_error_not_a_short_file() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for format in Format::ALL {
        let file = dataset(ETHERNET, 1);
        let mut reader = DatasetReader::open(Cursor::new(file), &identity(), None).unwrap();
        assert!(
            convert(&mut reader, format, Full, &mut |_| {}).is_err(),
            "{format}"
        );
    }
}
