//! Developers and partners: folders of keys, and `como` run with them. Opens datasets as their owners do.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use como_client::keys::Bundle;
use como_dataset::{Batch, Chunk, Completeness, DatasetError, DatasetReader, Header, Ragged, Schema, Value};
use como_tests::site;
use serde_json::Value as Json;

use super::{CONSORTIUM, guest, module_source, program};

/// Somebody with keys.
#[derive(Clone, Debug)]
pub struct Person {
    /// Last part of the SPIFFE id, and the entry in the node's registry.
    pub name: String,
    /// What `como --keys` takes.
    pub keys_dir: PathBuf,
    /// Where this person's files go.
    pub folder: PathBuf,
}

/// How a run of `como` ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; -1 for a signal.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
    /// The arguments, for messages.
    pub args: Vec<String>,
}

impl Person {
    pub(super) fn create(folder: &Path, organisation: &str, name: &str) -> Self {
        let own = folder.join(format!("people-{name}"));
        std::fs::create_dir(&own).expect("a folder per person");
        let person = Self {
            name: name.to_owned(),
            keys_dir: own.join("keys"),
            folder: own,
        };
        let id = format!("spiffe://{CONSORTIUM}/{organisation}/{name}");
        site::keygen(&id, &person.keys_dir).unwrap_or_else(|why| panic!("{why}"));
        person
    }

    /// New keys under the same SPIFFE id, in a folder of their own.
    pub(super) fn renew(folder: &Path, person: &Self, round: u32) -> Self {
        let own = folder.join(format!("people-{}-{round}", person.name));
        std::fs::create_dir(&own).expect("a folder per person");
        let renewed = Self {
            name: person.name.clone(),
            keys_dir: own.join("keys"),
            folder: own,
        };
        let card = Bundle::open(&person.keys_dir).and_then(|keys| keys.card());
        let id = card.expect("a card").name;
        site::keygen(&id.to_string(), &renewed.keys_dir).unwrap_or_else(|why| panic!("{why}"));
        renewed
    }

    /// A file of this person's.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Runs `como` in this person's folder, with its keys.
    pub fn como(&self, args: &[&str]) -> Output {
        let ended = self.command(args).output().expect("como starts");
        Output {
            code: ended.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&ended.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        }
    }

    /// The same, not run yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program("como"));
        command
            .arg("--keys")
            .arg(&self.keys_dir)
            .args(args)
            .current_dir(&self.folder)
            .env_remove("COMO_NODE")
            .stdin(Stdio::null());
        command
    }

    /// `como --json query MODULE ARGS -o OUT`.
    pub fn query(&self, module: &str, args: &[&str], out: &str) -> Output {
        let args = [&["--json", "query", module][..], args, &["-o", out]].concat();
        self.como(&args)
    }

    /// `como --json trace ARGS -o OUT`.
    pub fn trace(&self, args: &[&str], out: &str) -> Output {
        let args = [&["--json", "trace"][..], args, &["-o", out]].concat();
        self.como(&args)
    }

    /// Signs a standard module under this person's developer key; gives the `.cmod` file.
    pub fn sign(&self, module: &str) -> PathBuf {
        self.sign_folder(module, &module_source(module))
    }

    /// The same with the manifest of another folder.
    pub fn sign_folder(&self, module: &str, source: &Path) -> PathBuf {
        let out = self.path(&format!("{module}.cmod"));
        let wasm = guest(module);
        let words = [source, &wasm, &out].map(|path| path.to_str().expect("UTF-8").to_owned());
        let args = ["module", "sign", &words[0], "--wasm", &words[1], "-o", &words[2]];
        self.como(&args).ok();
        out
    }

    /// Signs a standard module and submits it.
    pub fn submit(&self, module: &str) -> Output {
        self.submit_file(&self.sign(module))
    }

    /// Submits a `.cmod` file.
    pub fn submit_file(&self, file: &Path) -> Output {
        self.como(&["--json", "module", "submit", file.to_str().expect("UTF-8")])
    }
}

impl Output {
    /// It must have succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// It must have ended with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            code,
            "como {}\n{}{}",
            self.args.join(" "),
            self.stdout,
            self.stderr
        );
        self
    }

    /// What it printed, as JSON.
    #[track_caller]
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| {
            panic!(
                "{e}: como {}\n{}{}",
                self.args.join(" "),
                self.stdout,
                self.stderr
            )
        })
    }

    /// It must have been refused with this exit code and these words, and with a second line that says what to do.
    #[track_caller]
    pub fn refused(self, code: i32, words: &str) -> Self {
        let refused = self.exits(code);
        let error = refused.error();
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        assert!(
            text("error").contains(words),
            "`{words}` is not in {error}, of como {}",
            refused.args.join(" ")
        );
        assert!(!text("fix").is_empty(), "{error} does not say what to do");
        refused
    }

    /// What it complained about, as JSON (with `--json`).
    #[track_caller]
    pub fn error(&self) -> Json {
        serde_json::from_str(self.stderr.lines().last().unwrap_or_default())
            .unwrap_or_else(|e| panic!("{e}: como {}\n{}", self.args.join(" "), self.stderr))
    }
}

/// An opened table.
#[derive(Clone, Debug)]
pub struct Table {
    /// What the dataset says of itself.
    pub header: Header,
    /// How complete it is.
    pub end: Completeness,
    /// Names of the columns.
    pub names: Vec<String>,
    /// Its rows.
    pub rows: Vec<Vec<Cell>>,
}

/// A value of a row, owned.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Any whole number, a truth or a time.
    Number(i128),
    /// A number with a fraction.
    Fraction(f64),
    /// An address, bytes or a text.
    Bytes(Vec<u8>),
}

impl Cell {
    /// The number. Fails the test where it is none.
    #[track_caller]
    pub fn number(&self) -> i128 {
        match self {
            Self::Number(number) => *number,
            other => panic!("{other:?} is no number"),
        }
    }
}

impl Table {
    /// A column's values.
    #[track_caller]
    pub fn column(&self, name: &str) -> Vec<&Cell> {
        let at = self
            .names
            .iter()
            .position(|own| own == name)
            .unwrap_or_else(|| panic!("no column {name} in {:?}", self.names));
        self.rows.iter().map(|row| &row[at]).collect()
    }

    /// Sum of a column.
    #[track_caller]
    pub fn sum(&self, name: &str) -> i128 {
        self.column(name).into_iter().map(Cell::number).sum()
    }
}

/// Opened packets.
#[derive(Clone, Debug)]
pub struct Packets {
    /// What the dataset says of itself.
    pub header: Header,
    /// How complete it is.
    pub end: Completeness,
    /// Times, ns.
    pub ts_ns: Vec<u64>,
    /// Lengths on the wire.
    pub wire_len: Vec<u32>,
    /// What is released of each.
    pub frames: Vec<Vec<u8>>,
}

/// Opens a table dataset as its owner, checked against the node that the owner joined.
#[track_caller]
pub fn open_table(owner: &Person, file: &Path) -> Table {
    let mut reader = open(owner, file).expect("the owner opens it");
    let header = reader.header().clone();
    let Schema::Table(fields) = &header.schema else {
        panic!("{} holds packets", file.display())
    };
    let names = fields.iter().map(|field| field.name.clone()).collect();
    let mut rows = Vec::new();
    while let Some(chunk) = reader.next_chunk().expect("a sound chunk") {
        let Chunk::Table(batch) = chunk else {
            panic!("packets in a table")
        };
        rows.extend(cells(&batch));
    }
    let end = reader.completeness().expect("complete").clone();
    Table {
        header,
        end,
        names,
        rows,
    }
}

/// Opens a packet dataset as its owner, checked against the node that the owner joined.
#[track_caller]
pub fn open_packets(owner: &Person, file: &Path) -> Packets {
    let mut reader = open(owner, file).expect("the owner opens it");
    let mut packets = Packets {
        header: reader.header().clone(),
        end: reader.completeness().expect("complete").clone(),
        ts_ns: Vec::new(),
        wire_len: Vec::new(),
        frames: Vec::new(),
    };
    while let Some(chunk) = reader.next_chunk().expect("a sound chunk") {
        let Chunk::Packets(batch) = chunk else {
            panic!("rows among packets")
        };
        packets.frames.extend(strings(&batch.frames));
        packets.ts_ns.extend(batch.ts_ns);
        packets.wire_len.extend(batch.wire_len);
    }
    packets
}

/// Opens a dataset with somebody's identity and the key of the node that this person joined.
pub fn open(owner: &Person, file: &Path) -> Result<DatasetReader<File>, DatasetError> {
    let bundle = Bundle::open(&owner.keys_dir).expect("keys");
    let identity = bundle.dataset_identity().expect("a dataset identity");
    let profile = como_client::profile::find(&owner.keys_dir, None).expect("a joined node");
    let file = File::open(file).expect("the dataset is there");
    DatasetReader::open(file, &identity, Some(&profile.node_key))
}

fn strings(ragged: &Ragged) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..ragged.len()).map(|at| ragged.get(at).to_vec())
}

fn cells(batch: &Batch) -> impl Iterator<Item = Vec<Cell>> + '_ {
    (0..batch.rows()).map(|row| {
        batch
            .columns
            .iter()
            .map(|column| cell(column.value(row)))
            .collect()
    })
}

fn cell(value: Value<'_>) -> Cell {
    match value {
        Value::U8(v) => Cell::Number(v.into()),
        Value::U16(v) => Cell::Number(v.into()),
        Value::U32(v) => Cell::Number(v.into()),
        Value::U64(v) | Value::TimeNs(v) => Cell::Number(v.into()),
        Value::I64(v) => Cell::Number(v.into()),
        Value::Bool(v) => Cell::Number(v.into()),
        Value::F64(v) => Cell::Fraction(v),
        Value::Address(v) => Cell::Bytes(v.to_vec()),
        Value::Bytes(v) => Cell::Bytes(v.to_vec()),
        Value::Text(v) => Cell::Bytes(v.as_bytes().to_vec()),
    }
}
