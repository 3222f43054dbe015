//! `como anonymize` as people run it: keys, files, pipes, reports.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use como_savefile::{Batch, Packet, Progress, Reader, Resolution, Writer};
use serde_json::Value;

/// Packets of the capture: several batches.
const PACKETS: u64 = 10_000;

fn como(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_como"));
    command.current_dir(folder).args(args);
    command
}

fn run(folder: &Path, args: &[&str]) -> Output {
    como(folder, args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with a key and a capture of IPv4 packets over Ethernet.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = run(folder.path(), &["keygen", "--anonymization", "own.key"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let mut writer = Writer::pcap(Vec::new(), 1, Resolution::Nanoseconds).unwrap();
    for n in 0..PACKETS {
        let mut data = vec![2; 12];
        data.extend([8, 0, 0x45, 0, 0, 40, 0, 1, 0, 0, 64, 17, 0, 0]);
        data.extend([93, 184, (n >> 8) as u8, n as u8, 192, 0, 2, 7]);
        data.extend([0x9c, 0x40, 0, 53, 0, 20, 0, 0]);
        data.extend(*b"secret words");
        let packet = Packet {
            ts_ns: 1_772_442_000_000_000_000 + n * 1_000_000,
            wire_len: data.len() as u32,
            link: 1,
            data: &data,
        };
        writer.packet(&packet).unwrap();
    }
    fs::write(folder.path().join("in.pcap"), writer.finish().unwrap()).unwrap();
    folder
}

fn packets(bytes: &[u8]) -> u64 {
    let mut reader = Reader::new(bytes).unwrap();
    let (mut count, mut batch) = (0, Batch::default());
    while reader.read_batch(&mut batch).unwrap() == Progress::More {
        count += batch.len() as u64;
    }
    count
}

const ANONYMIZED: [&str; 5] = ["anonymize", "--level", "anonymized", "--key-file", "own.key"];

#[test]
fn a_key_file_is_0600_and_one_key_makes_one_set_of_pseudonyms() {
    let folder = folder();
    let mode = fs::metadata(folder.path().join("own.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    for out in ["a.pcap", "b.pcap"] {
        let output = run(folder.path(), &[&ANONYMIZED[..], &["in.pcap", out]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("10 000 packets in, 10 000 out"),
            "{}",
            stderr(&output)
        );
    }
    let read = |name| fs::read(folder.path().join(name)).unwrap();
    assert!(read("a.pcap") == read("b.pcap"));
    run(folder.path(), &["keygen", "--anonymization", "other.key"]);
    run(
        folder.path(),
        &[
            "anonymize",
            "--level",
            "anonymized",
            "--key-file",
            "other.key",
            "in.pcap",
            "c.pcap",
        ],
    );
    assert!(read("a.pcap") != read("c.pcap"));
    // Nothing beside what was asked for.
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 6);
}

#[test]
fn a_pipe_gives_what_a_file_gives() {
    let folder = folder();
    run(
        folder.path(),
        &[&ANONYMIZED[..], &["in.pcap", "out.pcap"]].concat(),
    );
    let input = fs::read(folder.path().join("in.pcap")).unwrap();
    let mut child = como(folder.path(), &[&ANONYMIZED[..], &["-", "-"]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeding = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    assert!(output.status.success());
    assert!(output.stdout == fs::read(folder.path().join("out.pcap")).unwrap());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = folder();
    let mut child = como(
        folder.path(),
        &["anonymize", "--level", "payload", "in.pcap", "-"],
    )
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_file_is_replaced_only_by_force_and_only_as_a_whole() {
    let folder = folder();
    let path = folder.path().join("out.pcap");
    fs::write(&path, "precious").unwrap();
    let refused = run(
        folder.path(),
        &[&ANONYMIZED[..], &["in.pcap", "out.pcap"]].concat(),
    );
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("--force"), "{}", stderr(&refused));
    // What fails on the way leaves the old file, and no part of a new one.
    fs::write(folder.path().join("bad.pcap"), "no capture at all, of any kind").unwrap();
    let failed = run(
        folder.path(),
        &[
            "anonymize",
            "--level",
            "payload",
            "--force",
            "bad.pcap",
            "out.pcap",
        ],
    );
    assert_eq!(failed.status.code(), Some(4));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 4);
    let forced = run(
        folder.path(),
        &[&ANONYMIZED[..], &["--force", "in.pcap", "out.pcap"]].concat(),
    );
    assert!(forced.status.success(), "{}", stderr(&forced));
    assert_eq!(packets(&fs::read(&path).unwrap()), PACKETS);
}

#[test]
fn a_damaged_capture_is_written_up_to_the_damage_and_ends_with_4() {
    let folder = folder();
    let whole = fs::read(folder.path().join("in.pcap")).unwrap();
    fs::write(folder.path().join("cut.pcap"), &whole[..whole.len() - 1]).unwrap();
    let args = ["cut.pcap", "out.pcapng", "--report", "report.json"];
    let output = run(folder.path(), &[&ANONYMIZED[..], &args].concat());
    assert_eq!(output.status.code(), Some(4));
    assert!(
        stderr(&output).contains("ends inside a record"),
        "{}",
        stderr(&output)
    );
    let out = fs::read(folder.path().join("out.pcapng")).unwrap();
    assert_eq!(packets(&out), PACKETS - 1);
    assert!(!out.windows(6).any(|window| window == b"secret"));
    let report: Value =
        serde_json::from_slice(&fs::read(folder.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(report["input"]["end"], "truncated");
    assert_eq!(report["input"]["packets"], PACKETS - 1);
    assert_eq!(report["output"]["format"], "pcapng");
    assert_eq!(report["output"]["bytes"], out.len());
}

/// What other tools mean by a flag differs between them and between their versions: one takes a file of keys where the
/// next takes a filter, or a key itself. Here each of them is refused, and nothing is written.
#[test]
fn p14_a_flag_that_is_not_ours_is_refused_and_none_is_guessed() {
    let folder = folder();
    for foreign in [
        &["-f", "own.key"][..],
        &["-F", "own.key"],
        &["-c", "0123456789abcdef0123456789abcdef"],
        &["-k", "own.key"],
        &["-K", "0123456789abcdef0123456789abcdef"],
        &["-s", "-d"],
        &["--key", "own.key"],
        &["--cryptopan-key", "own.key"],
        &["--filter", "tcp"],
        &["--leve", "payload"],
        &["--seed=7"],
    ] {
        let output = run(
            folder.path(),
            &[&ANONYMIZED[..], foreign, &["in.pcap", "out.pcap"]].concat(),
        );
        let (code, told) = (output.status.code(), stderr(&output));
        assert_eq!(code, Some(2), "{foreign:?}: {told}");
        assert!(told.contains("unexpected argument"), "{foreign:?}: {told}");
        assert!(!folder.path().join("out.pcap").exists(), "{foreign:?}");
    }
    // A key of one kind is not taken for one of the other.
    fs::write(folder.path().join("other.key"), "42".repeat(32)).unwrap();
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(folder.path().join("other.key"), mode).unwrap();
    for swapped in [
        &["--key-file", "other.key"][..],
        &["--key-file", "own.key", "--cryptopan-key-file", "own.key"],
    ] {
        let words = [
            &["anonymize", "--level", "anonymized"],
            swapped,
            &["in.pcap", "out.pcap"],
        ]
        .concat();
        let output = run(folder.path(), &words);
        assert_eq!(output.status.code(), Some(9), "{swapped:?}: {}", stderr(&output));
        assert!(!folder.path().join("out.pcap").exists(), "{swapped:?}");
    }
}
