//! AS numbers: told by capture, from the operator's routing table and the real addresses, at every level of packets, live
//! and from the past; and never of a system that is too small.

use std::collections::BTreeMap;
use std::path::PathBuf;

use como_client::keys::Bundle;
use como_modules::{Manifest, SignedModule};
use como_tests::generate::Traffic;

use super::oracle::{Seen, look_at};
use super::{SECOND, seconds};
use crate::harness::{Deployment, Person, guest, module_source, open_table};

const LEVELS: [&str; 3] = ["anonymized", "headers", "payload"];
/// Expiry of a signature, wall time that no test reaches, ns.
const FAR_AHEAD_NS: u64 = 4_000_000_000_000_000_000;
/// Systems of the table below, and the one that is too small to be named.
const INSIDE: i128 = 64_500;
const OUTSIDE: i128 = 64_501;
const SMALL: i128 = 64_502;
const SIX: i128 = 64_503;
/// The number under which an answer tells all pairs that it does not name.
const OTHERS: i128 = 4_294_967_295;

/// The address of a packet whose /24 becomes a system of its own.
fn table(small: &[u8]) -> String {
    format!(
        "192.168.0.0\t16\t{INSIDE}\n0.0.0.0\t1\t{OUTSIDE}\n128.0.0.0\t2\t{OUTSIDE}\n{}.{}.{}.0\t24\t{SMALL}\n\
         2000::\t3\t{SIX}\n",
        small[0], small[1], small[2]
    )
}

/// What the table says, read by hand.
fn system_of(address: &[u8], small: &[u8]) -> i128 {
    match address {
        [a, b, c, _] if [*a, *b, *c] == small[..3] => 0, // too small to be named
        [192, 168, ..] => INSIDE,
        [0..=191, ..] if address.len() == 4 => OUTSIDE,
        [first, ..] if address.len() == 16 && first >> 5 == 1 => SIX,
        _ => 0,
    }
}

/// `topas` that reads at a level: the same code but for a section without meaning, so that it is another module.
fn signed(dev: &Person, level: &str) -> (String, PathBuf) {
    let name = format!("topas-{level}");
    let toml = std::fs::read_to_string(module_source("topas").join("module.toml")).expect("module.toml");
    let toml = toml
        .replace("name = \"topas\"", &format!("name = {name:?}"))
        .replace("level = \"anonymized\"", &format!("level = {level:?}"));
    let bundle = Bundle::open(&dev.keys_dir).expect("keys");
    let developer = bundle.name().expect("a name");
    let manifest = Manifest::from_toml(&toml, developer.as_str(), FAR_AHEAD_NS).expect("a manifest");
    let mut code = std::fs::read(guest("topas")).expect("the guest");
    code.extend([0, 2, 1, level.as_bytes()[0]]); // a custom section: its length, that of its name, its name
    let signed =
        SignedModule::sign(&manifest, &code, &bundle.developer_key().expect("a key")).expect("signed");
    let file = dev.path(&format!("{name}.cmod"));
    std::fs::write(&file, signed).expect("a file");
    (name, file)
}

fn expected(real: &[Seen], small: &[u8]) -> BTreeMap<(i128, i128), (i128, i128)> {
    let mut found: BTreeMap<_, (i128, i128)> = BTreeMap::new();
    for seen in real.iter().filter(|seen| !seen.source.is_empty()) {
        let pair = (
            system_of(&seen.source, small),
            system_of(&seen.destination, small),
        );
        let sum = found.entry(pair).or_default();
        *sum = (sum.0 + 1, sum.1 + i128::from(seen.wire_len));
    }
    found
}

#[test]
fn as_numbers_are_told_at_every_level_of_packets_live_and_from_the_past() {
    let first = Traffic::default();
    let traffic = Traffic {
        packets: 6_000,
        seed: 31,
        start_ns: first.start_ns + 120 * SECOND,
        duration_s: 14.0,
        ..first
    };
    let all = look_at(&traffic);
    let remote = |seen: &&Seen| seen.destination.len() == 4 && seen.destination[0] != 192;
    let small = all
        .iter()
        .find(remote)
        .expect("a packet to the outside")
        .destination
        .clone();

    let site = Deployment::new().capture(500, 20).retain("payload");
    let file = site.path("routes.pfx2as");
    std::fs::write(&file, table(&small)).expect("a file");
    let mut site = site.config_extra(&format!(
        "[networks]\nas_table = {file:?}\nas_min_addresses = 257"
    ));
    let dev = site.developer("dev", "payload");
    let ops = site.partner("ops", "payload", true);
    let node = site.start();
    node.ingested();
    let modules = LEVELS.map(|level| {
        let (name, file) = signed(&dev, level);
        dev.submit_file(&file).ok();
        // How many pairs an answer has is no matter of what is recorded: one run serves both.
        let started = ["3", "7"].map(|k| {
            let k = format!("k={k}");
            let start = ["--json", "module", "start", &name, "--arg", &k];
            ops.como(&start).ok().json()["instance"].clone()
        });
        assert_eq!(started[0], started[1]);
        name
    });
    node.stop();
    let file = site.write_capture("replay.pcap", &traffic);
    site.reconfigure(&format!("[source]\npath = {file:?}\npaced = true"));
    let node = site.start();
    node.ingested();

    let (from, to) = (traffic.start_ns + 2 * SECOND, traffic.start_ns + 12 * SECOND);
    let (from, to) = (from - from % (10 * SECOND) + 10 * SECOND, to);
    let inside: Vec<Seen> = all
        .into_iter()
        .filter(|seen| (from..to).contains(&seen.ts_ns))
        .collect();
    let expected = expected(&inside, &small);
    assert!(
        expected.len() >= 4 && expected.keys().any(|(_, to)| *to == 0),
        "{expected:?}"
    );
    let window = ["--from", &seconds(from), "--to", &seconds(to), "--arg", "k=100"];
    for (module, level) in modules.iter().zip(LEVELS) {
        let at = [&window[..], &["--level", level]].concat();
        let live = [
            &["--json", "query", module, "--explain", "--level", level][..],
            &window[..4],
        ]
        .concat();
        node.until("records reach there", |_| {
            ops.como(&live).ok().json()["estimate"]["from_records"] == true
        });
        for (kind, args) in [("live", at.clone()), ("past", [&at[..], &["--fresh"]].concat())] {
            let out = format!("{module}-{kind}.como");
            let answer = ops.query(module, &args, &out).ok().json();
            assert_eq!(answer["reused"], kind == "live", "{module}");
            let table = open_table(&ops, &ops.path(&out));
            let column = |name: &str| table.column(name).into_iter().map(|cell| cell.number());
            let mut found: BTreeMap<(i128, i128), (i128, i128)> = BTreeMap::new();
            let pairs = column("src_as").zip(column("dst_as"));
            for (pair, (packets, bytes)) in pairs.zip(column("packets").zip(column("bytes"))) {
                assert!(
                    pair != (OTHERS, OTHERS),
                    "there are fewer pairs than are asked for"
                );
                let sum = found.entry(pair).or_default();
                *sum = (sum.0 + packets, sum.1 + bytes);
            }
            assert_eq!(found, expected, "{module}, {kind}");
        }
    }
    node.stop();
}
