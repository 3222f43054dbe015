//! Live modules that are shown one packet in so many: their sums are of all packets, and the trace has all of them.

use como_tests::generate::Traffic;

use super::{SECOND, seconds};
use crate::harness::{Deployment, open_table};

/// One packet in so many is shown.
const ONE_IN: u64 = 8;

#[test]
fn weighted_sums_of_a_sampled_module_are_those_of_all_packets() {
    let first = Traffic::default();
    let traffic = Traffic {
        packets: 12_000,
        seed: 23,
        start_ns: first.start_ns + 120 * SECOND,
        duration_s: 16.0,
        ..first
    };
    let mut site = Deployment::new().capture(500, 24);
    let dev = site.developer("dev", "anonymized");
    let ops = site.partner("ops", "anonymized", true);
    let node = site.start();
    node.ingested();
    dev.submit("traffic").ok();
    ops.como(&["module", "start", "traffic"]).ok();
    node.stop();
    let file = site.write_capture("replay.pcap", &traffic);
    site.reconfigure(&format!(
        "[source]\npath = {file:?}\npaced = true\n[modules]\nsample = {ONE_IN}"
    ));
    let node = site.start();
    node.ingested();
    assert_eq!(node.status()["capture"]["sampled"], ONE_IN);
    assert_eq!(
        node.catalog()["packets"],
        500 + traffic.packets as u64,
        "the trace is not sampled"
    );

    // Late enough that the module was there on any machine.
    let (from, to) = (traffic.start_ns + 8 * SECOND, traffic.start_ns + 15 * SECOND);
    let window = ["--from", &seconds(from), "--to", &seconds(to)];
    let explain = [&["--json", "query", "traffic", "--explain"][..], &window].concat();
    node.until("records reach there", |_| {
        ops.como(&explain).ok().json()["estimate"]["from_records"] == true
    });
    assert_eq!(
        ops.query("traffic", &window, "live.como").ok().json()["reused"],
        true
    );
    let fresh = [&window[..], &["--fresh"]].concat();
    ops.query("traffic", &fresh, "past.como").ok();
    let [live, past] = ["live", "past"].map(|name| open_table(&ops, &ops.path(&format!("{name}.como"))));
    let [estimated, real] = [&live, &past].map(|table| table.sum("packets"));
    assert!(
        live.rows != past.rows && estimated % i128::from(ONE_IN) == 0,
        "{estimated} of samples"
    );
    // A view is off by less than one weight, and there are two or three views a second, some cut by an interval.
    let most = i128::from(ONE_IN) * 7 * 4;
    assert!(
        (estimated - real).abs() <= most,
        "{estimated} estimated, {real} real"
    );
    assert!(real > 20 * most, "enough packets to tell: {real}");
    node.stop();
}
