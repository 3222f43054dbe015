//! The levels below packets: flow rows and counters of whole hours, with their thresholds, as partners get them.

use std::collections::{BTreeMap, BTreeSet};

use super::oracle::{Seen, look_at};
use super::{SECOND, seconds};
use crate::harness::{Cell, Deployment, Person, Table, guest, module_source, open_table};

const HOUR: u64 = 3600 * SECOND;
/// Sources that must share what a row shows; sources and destinations that a counter counts at least.
const K: usize = 10;

fn bytes(cell: &Cell) -> &[u8] {
    match cell {
        Cell::Bytes(bytes) => bytes,
        other => panic!("{other:?} is no address"),
    }
}

fn is_pseudonym(address: &[u8]) -> bool {
    address[..8] == [1, 0, 0, 0, 0, 0, 0, 0]
}

/// Rows of flows, without those that only count denied or suppressed packets.
fn flows(table: &Table) -> Vec<&Vec<Cell>> {
    let denied = place(table, "denied");
    table
        .rows
        .iter()
        .filter(|row| bytes(&row[denied]).is_empty())
        .collect()
}

fn place(table: &Table, name: &str) -> usize {
    table
        .names
        .iter()
        .position(|known| known == name)
        .expect("a column")
}

fn pseudonyms(table: &Table) -> BTreeSet<Vec<u8>> {
    let ends = [place(table, "src"), place(table, "dst")];
    let rows = flows(table);
    let all = rows
        .iter()
        .flat_map(|row| ends.map(|end| bytes(&row[end]).to_vec()));
    all.filter(|end| end.iter().any(|byte| *byte != 0)).collect()
}

fn coarse(person: &Person, more: &[&str], out: &str) -> Table {
    person
        .trace(&[&["--all", "--level", "coarse"][..], more].concat(), out)
        .ok();
    open_table(person, &person.path(out))
}

#[test]
fn flow_rows_hide_who_few_share() {
    let mut site = Deployment::new().capture(30_000, 41);
    let ann = site.partner("ann", "coarse", false);
    let bob = site.partner("bob", "coarse", false);
    let real = look_at(site.generated());
    let node = site.start();
    node.ingested();

    let table = coarse(&ann, &[], "flows.como");
    let rows = flows(&table);
    assert!(rows.len() > 200, "there is something left to see: {}", rows.len());
    let window = table.header.window;
    assert_eq!(
        (window.from_ns % HOUR, window.to_ns % HOUR),
        (0, 0),
        "whole hours"
    );
    assert!(
        table
            .column("time")
            .iter()
            .all(|time| time.number() % i128::from(HOUR) == 0)
    );

    // No address that was ever on the link, and none of another partner's.
    let mine = pseudonyms(&table);
    assert!(mine.iter().all(|end| is_pseudonym(end)));
    let theirs = pseudonyms(&coarse(&bob, &[], "flows.como"));
    assert!(
        mine.is_disjoint(&theirs),
        "each project has pseudonyms of its own"
    );
    assert_eq!(mine.len(), theirs.len());

    // All that a row shows beside its ends is shared by k sources.
    let (src, dst) = (place(&table, "src"), place(&table, "dst"));
    let mut shared: BTreeMap<String, BTreeSet<&[u8]>> = BTreeMap::new();
    for row in &rows {
        let rest: Vec<&Cell> = (0..row.len())
            .filter(|at| ![src, dst].contains(at))
            .map(|at| &row[at])
            .collect();
        shared
            .entry(format!("{rest:?}"))
            .or_default()
            .insert(bytes(&row[src]));
    }
    assert!(shared.values().all(|sources| sources.len() >= K));

    // Sizes are powers of two, and together not more than there was, nor less than half of it.
    let packets = table.column("packets");
    assert!(packets.iter().all(|count| count.number().count_ones() == 1));
    let total = table.sum("packets");
    assert!(
        total as usize <= real.len() && total as usize * 2 > real.len(),
        "{total} of {}",
        real.len()
    );

    // A filter selects rows; it can name a pseudonym, and no address tells whether it was there.
    let some = std::net::Ipv6Addr::from(<[u8; 16]>::try_from(bytes(&rows[0][src])).expect("an address"));
    let named = coarse(&ann, &["--filter", &format!("host {some}")], "named.como");
    assert!(!named.rows.is_empty() && named.rows.len() < rows.len());
    let host = real
        .iter()
        .find(|seen| seen.source.len() == 4)
        .expect("an IPv4 packet");
    let host = std::net::Ipv4Addr::from(<[u8; 4]>::try_from(&host.source[..]).expect("4 bytes"));
    assert!(
        coarse(&ann, &["--filter", &format!("host {host}")], "real.como")
            .rows
            .is_empty()
    );

    // Above the ceiling nothing is given.
    ann.trace(&["--all", "--level", "anonymized"], "no.como").exits(3);
    node.stop();
}

/// Packets, sources and destinations of a protocol.
fn counted(real: &[Seen], is_in: impl Fn(&Seen) -> bool) -> [usize; 3] {
    let all: Vec<&Seen> = real.iter().filter(|seen| is_in(seen)).collect();
    let hosts = |of: fn(&Seen) -> &Vec<u8>| all.iter().map(|seen| of(seen)).collect::<BTreeSet<_>>().len();
    [
        all.len(),
        hosts(|seen| &seen.source),
        hosts(|seen| &seen.destination),
    ]
}

#[test]
fn counters_count_what_a_naive_count_gives_and_nothing_of_few() {
    let mut site = Deployment::new().capture(20_000, 42);
    let ann = site.partner("ann", "aggregate", false);
    let real = look_at(site.generated());
    let node = site.start();
    node.ingested();

    ann.trace(&["--all", "--level", "aggregate"], "counters.como")
        .ok();
    let table = open_table(&ann, &ann.path("counters.como"));
    let at = |name: &str| place(&table, name);
    let row_of = |dimension: &str, value: &str| {
        let is_it = |row: &&Vec<Cell>| {
            bytes(&row[at("dimension")]) == dimension.as_bytes()
                && bytes(&row[at("value")]) == value.as_bytes()
        };
        let row = table.rows.iter().find(is_it)?;
        Some(["packets", "sources", "destinations"].map(|name| row[at(name)].number() as usize))
    };
    for protocol in [6u8, 17, 1, 58] {
        let expected = counted(&real, |seen| seen.protocol == protocol);
        let is_large = expected[1] >= K && expected[2] >= K;
        let told = row_of("protocol", &protocol.to_string());
        assert_eq!(told, is_large.then_some(expected), "protocol {protocol}");
    }
    for port in [22u16, 25, 53, 80, 443, 993] {
        let of_port = |seen: &Seen| seen.ports.is_some_and(|(from, to)| from == port || to == port);
        let expected = counted(&real, of_port);
        let is_large = expected[1] >= K && expected[2] >= K;
        assert_eq!(
            row_of("service", &port.to_string()),
            is_large.then_some(expected),
            "port {port}"
        );
    }
    let hosts = table
        .column("sources")
        .into_iter()
        .zip(table.column("destinations"));
    assert!(hosts.clone().count() > 5);
    assert!(
        hosts
            .into_iter()
            .all(|(s, d)| s.number() >= K as i128 && d.number() >= K as i128)
    );

    // Everybody gets the same: there is no filter to subtract with, and windows are whole hours.
    let refused = ann
        .trace(&["--all", "--level", "aggregate", "--filter", "tcp"], "no.como")
        .exits(7);
    assert!(
        refused.stderr.contains("there is no filter"),
        "{}",
        refused.stderr
    );
    let start = site.generated().start_ns;
    let window = [
        "--from",
        &seconds(start + SECOND),
        "--to",
        &seconds(start + 2 * SECOND),
    ];
    ann.trace(&[&window[..], &["--level", "aggregate"]].concat(), "part.como")
        .ok();
    assert_eq!(open_table(&ann, &ann.path("part.como")).rows, table.rows);
    ann.trace(&["--all", "--level", "coarse"], "no.como").exits(3);
    node.stop();
}

/// Signs the standard module `traffic` for another level and interval.
fn traffic_at(developer: &Person, level: &str, interval_ms: u64) -> std::path::PathBuf {
    let folder = developer.path("hourly");
    std::fs::create_dir_all(&folder).expect("a folder");
    let source = std::fs::read_to_string(module_source("traffic").join("module.toml")).expect("its source");
    let source = source
        .replace("\"anonymized\"", &format!("{level:?}"))
        .replace("interval_ms = 1000", &format!("interval_ms = {interval_ms}"));
    std::fs::write(folder.join("module.toml"), source).expect("written");
    let out = developer.path("hourly.cmod");
    let words = [&folder, &guest("traffic"), &out].map(|path| path.to_str().expect("UTF-8").to_owned());
    developer.como(&[
        "--json", "module", "sign", &words[0], "--wasm", &words[1], "-o", &words[2],
    ]);
    out
}

#[test]
fn a_module_reads_flow_rows_by_the_hour() {
    let mut site = Deployment::new().capture(10_000, 43);
    let dev = site.developer("dev", "coarse");
    let ann = site.partner("ann", "coarse", false);
    let node = site.start();
    node.ingested();

    // An hour is the finest interval there is.
    let hasty = traffic_at(&dev, "coarse", 1000);
    assert!(!hasty.exists(), "not even signed");
    let module = traffic_at(&dev, "coarse", 3_600_000);
    dev.como(&["--json", "module", "submit", module.to_str().expect("UTF-8")])
        .ok();
    ann.query("traffic", &["--all", "--level", "coarse"], "hours.como")
        .ok();
    let hours = open_table(&ann, &ann.path("hours.como"));
    let flows = coarse(&ann, &[], "flows.como");
    assert_eq!(hours.sum("packets"), flows.sum("packets"));
    assert!(hours.sum("packets") > 0);
    node.stop();
}
