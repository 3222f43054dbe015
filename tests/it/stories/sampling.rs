//! Live modules that are shown one packet in so many: their sums are of all packets, the trace has all of them, and a
//! dataset says which of its rows are estimates.

use super::interrupted::{packets_until, window};
use super::oracle::look_at;
use super::records::{later, replay_for};
use super::{SECOND, seconds};
use crate::harness::{Deployment, open_table, wait_for};

/// One packet in so many is shown.
const ONE_IN: u32 = 8;

#[test]
fn a_dataset_says_which_rows_are_estimates_of_samples_and_the_trace_is_asked_first() {
    let traffic = later(24_000, 24.0);
    let mut site = Deployment::new().capture(500, 24).config_extra(&format!(
        "[trace]\nretain = \"payload\"\nsegment_bytes = \"1 MiB\"\nring_bytes = \"4 MiB\"\n[modules]\nsample = {ONE_IN}"
    ));
    let dev = site.developer("dev", "anonymized");
    let ops = site.partner("ops", "anonymized", true);
    let node = replay_for(&mut site, &traffic, |_| {
        dev.submit("traffic").ok();
        ops.como(&["module", "start", "traffic"]).ok();
    });
    packets_until(&node, traffic.start_ns + 9 * SECOND);
    assert_eq!(node.status()["capture"]["sampled"], ONE_IN);
    node.ingested();
    let real = |from: u64, to: u64| {
        let seen = look_at(&traffic);
        let inside = seen.iter().filter(|seen| (from..to).contains(&seen.ts_ns));
        inside.count() as i128
    };

    // The trace of the first seconds is gone: all there is of them are sums of samples.
    let (first, end) = (traffic.start_ns + 2 * SECOND, traffic.start_ns + 8 * SECOND);
    wait_for("the trace is gone there", || {
        (node.catalog()["coverage"]["from_ns"].as_u64() > Some(end)).then_some(())
    });
    let asked = window(first, end);
    let asked = asked.each_ref().map(String::as_str);
    let told = ops.query("traffic", &asked, "samples.como").ok().json();
    assert_eq!(told["reused"], true);
    let samples = open_table(&ops, &ops.path("samples.como"));
    let estimated = samples.sum("packets");
    // A view is off by less than one weight, and there are two or three views a second, some cut by an interval.
    let most = i128::from(ONE_IN) * 6 * 4;
    let real_packets = real(first, end);
    assert!(
        (estimated - real_packets).abs() <= most && real_packets > 20 * most,
        "{estimated} estimated, {real_packets} real"
    );
    assert_eq!(estimated % i128::from(ONE_IN), 0, "sums of weights");
    let [stretch] = &samples.end.sampled[..] else {
        panic!("{:?}", samples.end.sampled)
    };
    assert_eq!(
        (stretch.window.from_ns, stretch.window.to_ns, stretch.one_in),
        (first, end, ONE_IN)
    );
    assert!(samples.end.is_complete(), "nothing is missing");
    let shown = ops.como(&["dataset", "info", "samples.como"]).ok().stdout;
    assert!(
        shown.contains(&format!("one packet in {ONE_IN} was looked at")),
        "{shown}"
    );
    let shown = ops
        .como(&["--json", "dataset", "info", "samples.como"])
        .ok()
        .json();
    assert_eq!(shown["content"]["sampled"][0]["one_in"], ONE_IN, "{shown}");
    let noted = ops.como(&[
        "dataset",
        "open",
        "samples.como",
        "--to",
        "csv",
        "-o",
        "samples.csv",
    ]);
    assert!(
        noted.stderr.contains("some rows are estimates"),
        "{}",
        noted.stderr
    );
    // Combined intervals are no better than their worst.
    let every = [&asked[..], &["--every", "2s"]].concat();
    ops.query("traffic", &every, "combined.como").ok();
    let combined = open_table(&ops, &ops.path("combined.como"));
    assert_eq!(combined.sum("packets"), estimated);
    assert_eq!(combined.end.sampled, samples.end.sampled);

    // Where the trace is there, it answers: exactly.
    let coverage = node.catalog()["coverage"].clone();
    let bound = |key: &str| coverage[key].as_u64().expect("a time") / SECOND * SECOND;
    let (from, to) = (bound("from_ns") + SECOND, bound("to_ns"));
    assert!(from < to, "some seconds are left: {coverage}");
    let asked = ["--from", &seconds(from), "--to", &seconds(to)];
    let told = ops.query("traffic", &asked, "exact.como").ok().json();
    assert_eq!(told["reused"], false);
    let exact = open_table(&ops, &ops.path("exact.como"));
    assert_eq!(exact.sum("packets"), real(from, to));
    assert!(exact.end.sampled.is_empty());
    node.stop();
}
