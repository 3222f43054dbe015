//! The standard modules against independent oracles: compiled guests in the sandbox, on captures at the module's own
//! level, under an audience's pseudonyms; beside them a reading of the same packets by plain offsets or by tshark, and
//! for each module what it must say, computed from that reading without the kit.
//!
//! Generated captures always run; those of the shared folder, and tshark, where they are there.

pub mod captures;
mod counts;
mod detectors;
mod dns;
mod files;
mod others;
mod pattern;
mod prefixes;
pub mod run;
mod seen;
pub mod shown;
pub mod systems;
mod tshark;

use run::{Check, check};
use shown::Shown;

/// Modules that read packets at `anonymized`, and what each must say.
const CHECKS: [(&str, Check); 12] = [
    ("traffic", counts::traffic),
    ("protocol", counts::protocol),
    ("packet-sizes", counts::packet_sizes),
    ("topports", counts::topports),
    ("flowcount", counts::flowcount),
    ("flow", counts::flow),
    ("topaddr", counts::topaddr),
    ("topas", counts::topas),
    ("superaddr", detectors::superaddr),
    ("scanner-detector", detectors::scanner_detector),
    ("syn-flood", detectors::syn_flood),
    ("autofocus", prefixes::autofocus),
];

/// Arguments beside the defaults that are tried.
const ARGUMENTS: [(&str, &[(&str, i64)]); 7] = [
    ("packet-sizes", &[("bin", 100)]),
    ("topports", &[("k", 100)]),
    ("topaddr", &[("k", 100)]),
    ("superaddr", &[("k", 30), ("fan_in", 1)]),
    ("scanner-detector", &[("targets", 10), ("answered_percent", 100)]),
    ("syn-flood", &[("syns", 10), ("ended_percent", 100)]),
    ("autofocus", &[("percent", 1)]),
];

fn all_modules(shown: &Shown) {
    for (name, expected) in CHECKS {
        check(name, &[], shown, expected);
        for (_, args) in ARGUMENTS.iter().filter(|(module, _)| *module == name) {
            check(name, args, shown, expected);
        }
    }
}

#[test]
fn modules_say_of_a_generated_capture_what_plain_reading_says() {
    let capture = captures::eventful();
    all_modules(&Shown::anonymized(&capture));
}

/// More addresses than have a place: what is told then is within the sketch's guarantees.
#[test]
fn topaddr_keeps_its_guarantees_when_its_table_is_full() {
    let shown = Shown::anonymized(&captures::crowded());
    for k in [2, 10, 100] {
        check("topaddr", &[("k", k)], &shown, counts::topaddr);
    }
}

/// Pseudonyms of IPv4 addresses keep prefixes, so that the report over them is that over real addresses, renamed.
#[test]
fn autofocus_finds_the_same_prefixes_behind_pseudonyms() {
    let capture = captures::eventful().without_denied();
    let shape = |shown: &Shown| -> Vec<Vec<u64>> {
        let rows = run::rows("autofocus", &[], shown);
        let mut shape: Vec<Vec<u64>> = rows
            .iter()
            .flat_map(|(start_ns, rows)| rows.iter().map(|row| (*start_ns, row)))
            .filter(|(_, row)| row[1].number() == 4)
            .map(|(start_ns, row)| {
                [0, 3, 4, 5]
                    .map(|i: usize| row[i].number())
                    .into_iter()
                    .chain([start_ns])
                    .collect()
            })
            .collect();
        shape.sort();
        shape
    };
    let anonymized = shape(&Shown::anonymized(&capture));
    assert!(anonymized.len() > 20, "{} IPv4 prefixes", anonymized.len());
    assert_eq!(anonymized, shape(&Shown::payload(&capture)));
}

#[test]
fn dns_and_pattern_search_say_of_payload_what_plain_reading_says() {
    let capture = captures::eventful();
    let shown = Shown::payload(&capture);
    check("dns", &[], &shown, dns::expected);
    for (pattern, length, hits) in [
        (captures::SHARED_PATTERN, 8, true),
        (captures::RARE_PATTERN, 8, false),
        (captures::SHARED_PATTERN, 4, true),
        (*b"    GET ", 4, true),
    ] {
        let number = i64::from_be_bytes(pattern);
        let args = [("pattern", number), ("length", length)];
        check("pattern-search", &args, &shown, pattern::expected);
        let rows = run::rows("pattern-search", &args, &shown);
        let found: u64 = rows
            .iter()
            .flat_map(|(_, rows)| rows)
            .map(|row| row[1].number())
            .sum();
        assert_eq!(found > 0, hits, "{pattern:?}");
    }
}

#[test]
fn modules_say_of_real_captures_what_tshark_says() {
    for capture in files::real() {
        all_modules(&Shown::anonymized(&capture));
        check("dns", &[], &Shown::payload(&capture), dns::expected);
    }
}

#[test]
fn pattern_search_finds_in_real_captures_what_tshark_finds() {
    for (capture, pattern, length) in files::with_pattern() {
        let shown = Shown::payload(&capture);
        let args = [("pattern", pattern), ("length", length)];
        check("pattern-search", &args, &shown, pattern::expected);
    }
}
