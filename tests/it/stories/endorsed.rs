//! Modules that read payload and put out less: nobody gets a row before the operator endorsed them, and then only for the
//! arguments that were endorsed.

use std::collections::{BTreeMap, BTreeSet};

use super::oracle::{Seen, look};
use crate::harness::{Deployment, open_table};

const UDP: u8 = 17;
/// The default pattern of `pattern-search`, and its number.
const PATTERN: &[u8] = b"GET ";
const NUMBER: &str = "1195725856";
/// What somebody asks who may see `aggregate` only.
const LOW: [&str; 3] = ["--all", "--level", "aggregate"];
/// Sources, and destinations, below which it tells nothing.
const GROUP_MIN: usize = 10;

fn endorse(site: &Deployment, folder: &str, hash: &str, level: &str, ranges: &[&str]) {
    let words = ["endorse", hash, "--output-level", level, "--node", folder];
    let ranges = ranges.iter().flat_map(|range| ["--range", range]);
    let name = ["--name", &hash[..8]];
    let words: Vec<&str> = words.into_iter().chain(name).chain(ranges).collect();
    let done = site.admin(&words);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn payload_is_read_for_those_who_may_not_see_it_only_as_the_operator_endorsed() {
    let mut site = Deployment::new().capture(6_000, 17).retain("payload");
    let folder = site.node_folder().display().to_string();
    let ann = site.partner("ann", "anonymized", false);
    let low = site.partner("low", "aggregate", false);
    let dev = site.developer("dev", "payload");
    let packets: Vec<_> = site.generated().generate().collect();
    let seen: Vec<Seen> = packets.iter().map(|p| look(p.ts_ns, &p.data)).collect();
    let node = site.start();
    node.ingested();
    let hash = |module: &str| {
        let submitted = dev.submit(module).ok().json();
        submitted["hash"].as_str().expect("a hash").to_owned()
    };
    let (dns, search) = (hash("dns"), hash("pattern-search"));

    let not_endorsed = "the operator has not endorsed it";
    let refused = ann.query("dns", &["--all"], "early.como").exits(3);
    assert!(refused.stderr.contains(not_endorsed), "{}", refused.stderr);
    low.query("pattern-search", &LOW, "early.como").exits(3);

    // Statistics of messages, without a name.
    endorse(&site, &folder, &dns, "anonymized", &[]);
    node.until("the endorsement is known", |_| {
        ann.query("dns", &["--all"], "dns.como").code == 0
    });
    let table = open_table(&ann, &ann.path("dns.como"));
    let mut expected: BTreeMap<i128, i128> = BTreeMap::new();
    for (packet, seen) in packets.iter().zip(&seen) {
        if seen.protocol == UDP && seen.ports.is_some_and(|(from, to)| from == 53 || to == 53) {
            // The flags are behind the id, and their first bit tells a response.
            let flags = packet.data[seen.header_len.expect("UDP") + 2];
            *expected.entry(i128::from(flags >> 7)).or_default() += 1;
        }
    }
    let mut found: BTreeMap<i128, i128> = BTreeMap::new();
    for (kind, messages) in table.column("kind").iter().zip(table.column("messages")) {
        *found.entry(kind.number()).or_default() += messages.number();
    }
    assert_eq!(found, expected);

    // One pattern, and no other: else an asker could search payload bit by bit.
    let ranges = [format!("pattern={NUMBER}..{NUMBER}"), "length=4..4".to_owned()];
    let ranges = ranges.each_ref().map(String::as_str);
    endorse(&site, &folder, &search, "aggregate", &ranges);
    node.until("the endorsement is known", |_| {
        low.query("pattern-search", &LOW, "search.como").code == 0
    });
    let other = format!("pattern={}", 0x5041_5353);
    for arg in [other.as_str(), "length=5"] {
        let args = [&LOW[..], &["--arg", arg]].concat();
        low.query("pattern-search", &args, "other.como").exits(3);
    }
    let table = open_table(&low, &low.path("search.como"));
    let (mut hits, mut ends) = (0, [BTreeSet::new(), BTreeSet::new()]);
    for (packet, seen) in packets.iter().zip(&seen) {
        let payload = seen.header_len.map_or(&[][..], |from| &packet.data[from..]);
        if payload.windows(PATTERN.len()).any(|window| window == PATTERN) {
            hits += 1;
            ends[0].insert(&seen.source);
            ends[1].insert(&seen.destination);
        }
    }
    assert!(
        ends.iter().all(|end| end.len() >= GROUP_MIN),
        "the capture has enough of them"
    );
    let searched = seen.iter().filter(|seen| seen.ports.is_some()).count();
    assert_eq!(
        (table.sum("searched"), table.sum("packets")),
        (searched as i128, hits)
    );
    node.stop();
}
