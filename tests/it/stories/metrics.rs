//! What the operator's monitoring reads: on this machine only, in a form that Prometheus takes, without a name of anybody.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use como_tests::site::free_port;

use crate::harness::{Deployment, Guest, wait_for};

/// Status line, head and body of an answer.
fn get(port: u16, path: &str, host: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_ascii_lowercase(), body.to_owned())
}

/// Samples by name and labels, by the grammar of the text format 0.0.4: every sample has the help and the type of its
/// family before it, and none stands twice.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let (mut helped, mut typed) = (String::new(), String::new());
    for line in text.lines() {
        let family = |rest: &str| rest.split(' ').next().expect("a name").to_owned();
        if let Some(rest) = line.strip_prefix("# HELP ") {
            helped = family(rest);
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            typed = family(rest);
            assert!(rest.ends_with(" counter") || rest.ends_with(" gauge"), "{line}");
            assert_eq!(rest.ends_with(" counter"), typed.ends_with("_total"), "{line}");
            continue;
        }
        let (name, value) = line.rsplit_once(' ').expect("a value");
        let bare = name.split('{').next().expect("a name");
        assert_eq!((bare, bare), (helped.as_str(), typed.as_str()), "{line}");
        assert_eq!(name.contains('{'), name.ends_with('}'), "{line}");
        let value: f64 = value.parse().expect("a number");
        assert!(
            samples.insert(name.to_owned(), value).is_none(),
            "{name} stands twice"
        );
    }
    assert!(text.ends_with('\n'));
    samples
}

/// Whether promtool takes it; told where it is not installed.
fn promtool_takes(text: &str) {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut checking) = started else {
        eprintln!(
            "promtool is not installed (Debian package prometheus): checked by the test's own parser only"
        );
        return;
    };
    let mut stdin = checking.stdin.take().expect("piped");
    stdin.write_all(text.as_bytes()).expect("taken");
    drop(stdin);
    let ended = checking.wait_with_output().expect("promtool ends");
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{told}\n{text}");
}

#[test]
fn the_operator_s_monitoring_gets_what_is_counted_and_nobody_s_name() {
    let port = free_port().unwrap_or_else(|why| panic!("{why}"));
    let mut site = Deployment::new()
        .capture(3_000, 39)
        .config_extra(&format!("[metrics]\nlisten = \"127.0.0.1:{port}\""));
    let dora = site.developer("dora", "anonymized");
    let ann = site.partner_of("ann", "planted-org", "planted-project", "anonymized", true);
    let node = site.start();
    node.ingested();
    dora.submit("traffic").ok();
    dora.submit("topaddr").ok();
    let trapper = Guest {
        name: "trapper",
        update: "unreachable",
        ..Guest::default()
    };
    dora.submit_file(&trapper.signed_by(&dora)).ok();
    ann.query("trapper", &["--all"], "never.como").exits(8);
    ann.query("topaddr", &["--all"], "top.como").ok();
    ann.como(&["module", "start", "topaddr"]).ok();

    // Storage reports from time to time, and the last time of all that it has.
    node.until("storage told of its blocks", |status| {
        status["storage"]["blocks"]
            .as_u64()
            .is_some_and(|blocks| blocks > 0)
    });
    let (head, text) = get(port, "/metrics", "127.0.0.1");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    promtool_takes(&text);
    let samples = parse(&text);
    let of = |name: &str| {
        samples
            .get(name)
            .copied()
            .unwrap_or_else(|| panic!("no {name} in\n{text}"))
    };
    assert_eq!(of("como_capture_packets_total"), 3_000.0);
    assert!(of("como_storage_blocks_total") > 0.0);
    assert_eq!(of("como_capture_lost_packets_total{cause=\"kernel-drop\"}"), 0.0);
    assert_eq!(of("como_processes{role=\"storage\"}"), 1.0);
    assert!(of("como_disk_free_bytes") > 0.0 && of("como_trace_segments") >= 1.0);
    let module = |metric: &str, name: &str, rest: &str| {
        let start = format!("como_module_{metric}{{module=\"{name}\",");
        let found = samples
            .iter()
            .find(|(key, _)| key.starts_with(&start) && key.contains(rest));
        *found.unwrap_or_else(|| panic!("no {start}{rest} in\n{text}")).1
    };
    assert_eq!(module("packets_total", "topaddr", "on-demand"), 3_000.0);
    assert!(module("fuel_total", "topaddr", "on-demand") > 3_000.0);
    assert!(module("seconds_total", "topaddr", "on-demand") > 0.0);
    assert_eq!(module("queries_total", "topaddr", ""), 1.0);
    assert_eq!(module("instances", "topaddr", ""), 1.0);
    assert_eq!(module("faults_total", "trapper", ""), 1.0);
    assert_eq!(module("packets_total", "traffic", "live"), 0.0);
    for planted in ["ann", "dora", "planted", "test.example", "observer"] {
        assert!(!text.contains(planted), "{planted} is in the metrics");
    }

    // Memory is known once the instance was heard of.
    wait_for("memory is told", || {
        let (_, text) = get(port, "/metrics", "localhost:9464");
        let told = parse(&text);
        let memory = told
            .iter()
            .find(|(key, _)| key.starts_with("como_module_memory_bytes{module=\"topaddr\""));
        memory.is_some_and(|(_, bytes)| *bytes > 0.0).then_some(())
    });

    // No other path, no page of a browser that was led here, and nothing for partners.
    for (path, host, code) in [
        ("/", "127.0.0.1", 404),
        ("/metrics", "rebound.example", 403),
        ("/v1/status", "127.0.0.1", 404),
    ] {
        let (head, _) = get(port, path, host);
        assert!(
            head.starts_with(&format!("http/1.1 {code}")),
            "{path} {host}: {head}"
        );
    }
    let who = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).expect("a table");
    let listens = format!("0100007F:{port:04X} 00000000:0000 0A");
    assert!(
        who(node.role("query").expect("it runs")).contains(&listens),
        "on loopback only"
    );
    node.stop();

    // Off where it is not asked for.
    let mut site = Deployment::new().capture(100, 40);
    let node = site.start();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    node.stop();
}
