//! `como dataset ...` on a real dataset: sealed to a principal, signed by a node, and what is done to it.

use std::path::Path;
use std::process::{Command, Output};

use como_client::keys::Bundle;
use como_dataset::{Batch, ColumnKind, Completeness, DatasetWriter, Field, Gap, Header, Kind, Schema, Value};
use como_keys::signing::SigningKey;
use como_policies::{AccessLevel, Window};
use tempfile::TempDir;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_700_000_000 * SECOND;

struct Desk {
    dir: TempDir,
    node: SigningKey,
}

impl Desk {
    /// A principal with keys, and `d.como`: five seconds of two ports, with a gap.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (bundle, _) =
            Bundle::create(&dir.path().join("keys"), &"spiffe://c/uni/alice".parse().unwrap()).unwrap();
        let desk = Self {
            dir,
            node: SigningKey::generate(),
        };
        let recipient = bundle.dataset_identity().unwrap().recipient();
        let fields = vec![
            field("time", ColumnKind::TimeNs, ""),
            field("port", ColumnKind::U16, "key"),
            field("bytes", ColumnKind::U64, "sum"),
        ];
        let mut batch = Batch::new(&fields);
        for second in 0..5 {
            for (port, bytes) in [(443, 5000), (53, 100)] {
                let time = Value::TimeNs(START + second * SECOND);
                batch
                    .push_row(&[time, Value::U16(port), Value::U64(bytes)])
                    .unwrap();
            }
        }
        let mut writer = DatasetWriter::create(Vec::new(), &desk.header(fields), &[recipient]).unwrap();
        writer.write_table(&batch).unwrap();
        let gap = Gap {
            from_ns: START,
            to_ns: START + 7,
            cause: "kernel drop".into(),
            count: Some(3),
        };
        let end = Completeness {
            gaps: vec![gap],
            rows: 10,
            packets: 99,
            ..Default::default()
        };
        let (unsigned, mut bytes) = writer.finish(&end).unwrap();
        let signature = desk
            .node
            .sign_dsse(como_dataset::format::STATEMENT_TYPE, &unsigned.statement());
        como_dataset::attach_signature(&mut bytes, &signature).unwrap();
        std::fs::write(desk.path("d.como"), bytes).unwrap();
        desk
    }

    fn header(&self, fields: Vec<Field>) -> Header {
        Header {
            node: "spiffe://c/org/node".into(),
            node_key: self.node.verifying_key().key_id(),
            query_id: "q-1".into(),
            kind: Kind::Table,
            level: AccessLevel::Anonymized,
            window: Window::new(START, START + 5 * SECOND).unwrap(),
            filter: "tcp".into(),
            module: None,
            audience: "project".into(),
            mapping_epoch: 655,
            schema: Schema::Table(fields),
            gaps: Vec::new(),
            interrupted: Vec::new(),
            created_ns: START,
            policy_hash: "ab".into(),
        }
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.dir.path().join(file)
    }

    fn como(&self, args: &[&str]) -> Output {
        let keys = self.path("keys");
        let mut como = Command::new(env!("CARGO_BIN_EXE_como"));
        como.current_dir(self.dir.path())
            .env("COMO_KEYS", Path::new(&keys))
            .args(args)
            .output()
            .unwrap()
    }

    /// Runs a command that must succeed; gives what it printed.
    fn prints(&self, args: &[&str]) -> String {
        let output = self.como(args);
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

fn field(name: &str, kind: ColumnKind, merge: &str) -> Field {
    Field {
        name: name.into(),
        kind,
        unit: String::new(),
        description: String::new(),
        merge: merge.into(),
    }
}

#[test]
fn info_says_what_is_in_it_and_what_is_missing() {
    let desk = Desk::new();
    let text = desk.prints(&["dataset", "info", "d.como"]);
    for part in [
        "anonymized",
        "table: time, port, bytes",
        "99 packets, 10 rows",
        "no: 1 gaps",
        "kernel drop",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&desk.prints(&["dataset", "info", "d.como", "--json"])).unwrap();
    assert_eq!(json["content"]["packets"], 99);
    assert_eq!(json["gaps"][0]["count"], 3);
}

#[test]
fn verify_takes_the_node_s_key_and_no_other() {
    let desk = Desk::new();
    let hex = desk.node.verifying_key().hex();
    assert!(
        desk.prints(&["dataset", "verify", "d.como", "--node-key", &hex])
            .contains("signed by the node's key")
    );
    let other = SigningKey::generate().verifying_key().hex();
    assert_eq!(
        desk.como(&["dataset", "verify", "d.como", "--node-key", &other])
            .status
            .code(),
        Some(6)
    );
    let mut bytes = std::fs::read(desk.path("d.como")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(desk.path("bad.como"), bytes).unwrap();
    assert_eq!(
        desk.como(&["dataset", "verify", "bad.como", "--node-key", &hex])
            .status
            .code(),
        Some(6)
    );
}

#[test]
fn open_writes_other_formats_to_files_and_pipes() {
    let desk = Desk::new();
    let csv = desk.prints(&["dataset", "open", "d.como", "--to", "csv", "-o", "-"]);
    assert_eq!(csv.lines().count(), 11, "{csv}");
    assert!(csv.starts_with("time,port,bytes"), "{csv}");
    desk.prints(&["dataset", "open", "d.como", "--to", "parquet", "-o", "d.parquet"]);
    assert!(
        std::fs::read(desk.path("d.parquet"))
            .unwrap()
            .starts_with(b"PAR1")
    );
    let output = desk.como(&["dataset", "open", "d.como", "--to", "pcapng", "-o", "d.pcapng"]);
    assert_eq!(output.status.code(), Some(2), "rows are no packets");
    assert!(!desk.path("d.pcapng").exists() && !desk.path("d.pcapng.part").exists());
}

#[test]
fn merge_adds_up_datasets_and_intervals() {
    let desk = Desk::new();
    let merge = |args: &[&str]| {
        let args = [&["dataset", "merge", "d.como"], args, &["--to", "csv", "-o", "-"]].concat();
        desk.prints(&args)
    };
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let twice = lines(&merge(&["d.como"]));
    assert_eq!(twice.len(), 11, "{twice:?}");
    assert!(
        twice[1].ends_with(",53,200") && twice[2].ends_with(",443,10000"),
        "{twice:?}"
    );
    // 2023-11-14T22:13:20Z and four seconds more.
    let every = lines(&merge(&["d.como", "--every", "10s"]));
    assert_eq!(every.len(), 3, "{every:?}");
    assert!(
        every[1].contains("22:13:20") && every[1].ends_with(",53,1000"),
        "{every:?}"
    );
    assert!(every[2].ends_with(",443,50000"), "{every:?}");
    let halves = lines(&merge(&["--every", "3s"]));
    assert_eq!(
        halves.len(),
        1 + 2 * 3,
        "intervals begin at multiples since 1970: {halves:?}"
    );

    desk.prints(&["dataset", "merge", "d.como", "--to", "parquet", "-o", "m.parquet"]);
    assert!(
        std::fs::read(desk.path("m.parquet"))
            .unwrap()
            .starts_with(b"PAR1")
    );
    let output = desk.como(&["dataset", "merge", "d.como", "--to", "pcapng", "-o", "m.pcapng"]);
    assert_eq!(output.status.code(), Some(2), "rows are no packets");
    assert!(!desk.path("m.pcapng").exists());
}

#[test]
fn another_s_keys_open_nothing() {
    let desk = Desk::new();
    Bundle::create(&desk.path("others"), &"spiffe://c/uni/bob".parse().unwrap()).unwrap();
    let output = desk.como(&[
        "--keys", "others", "dataset", "open", "d.como", "--to", "csv", "-o", "-",
    ]);
    assert_eq!(output.status.code(), Some(9));
    assert!(output.stdout.is_empty());
}

#[test]
fn plot_draws_the_table() {
    let page = Desk::new().prints(&["dataset", "plot", "d.como", "--rows", "2"]);
    for part in [
        "… and 8 more rows",
        "bytes by port",
        "443  25.0k ██",
        "bytes over time",
    ] {
        assert!(page.contains(part), "{part} is missing in\n{page}");
    }
}
