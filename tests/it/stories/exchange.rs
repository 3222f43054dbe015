//! Consortium members exchange data: everybody gets datasets of their own, with pseudonyms of their project.

use std::collections::BTreeMap;

use super::oracle::{common_prefix, look, look_at};
use crate::harness::{Deployment, Packets, open, open_packets};

/// Bits of an IPv6 address whose prefixes are kept: the interface id is permuted as a whole.
const IPV6_PREFIX_BITS: usize = 64;

/// Real address to pseudonym. Fails where one real address has two pseudonyms or the other way round.
fn pseudonyms(real: &[super::oracle::Seen], packets: &Packets) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (mut forth, mut back) = (BTreeMap::new(), BTreeMap::new());
    let frames = packets.frames.iter().zip(&packets.ts_ns);
    for (real, (frame, ts_ns)) in real.iter().zip(frames) {
        let seen = look(*ts_ns, frame);
        assert_eq!(
            (seen.ethertype, seen.protocol),
            (real.ethertype, real.protocol),
            "packets keep their order"
        );
        for (real, pseudonym) in [(&real.source, seen.source), (&real.destination, seen.destination)] {
            if real.is_empty() {
                continue;
            }
            let known = forth.entry(real.clone()).or_insert_with(|| pseudonym.clone());
            assert_eq!(*known, pseudonym, "one address has one pseudonym");
            assert_eq!(
                back.entry(pseudonym).or_insert_with(|| real.clone()),
                real,
                "one pseudonym is one address"
            );
        }
    }
    forth
}

fn assert_prefixes_are_kept(one: &BTreeMap<Vec<u8>, Vec<u8>>) {
    for (real_a, a) in one {
        for (real_b, b) in one {
            if real_a.len() == real_b.len() {
                let kept = real_a.len().min(IPV6_PREFIX_BITS / 8);
                assert_eq!(
                    common_prefix(&real_a[..kept], &real_b[..kept]),
                    common_prefix(&a[..kept], &b[..kept]),
                    "{real_a:?} and {real_b:?}"
                );
            }
        }
    }
}

#[test]
fn partners_get_datasets_of_their_own_with_pseudonyms_of_their_project() {
    let mut site = Deployment::new().capture(3_000, 3);
    let ann = site.partner_of("ann", "university", "study", "anonymized", false);
    let bob = site.partner_of("bob", "institute", "other", "anonymized", false);
    let cid = site.partner_of("cid", "laboratory", "study", "anonymized", false);
    let real = look_at(site.generated());
    let node = site.start();
    node.ingested();

    let mut opened = Vec::new();
    for person in [&ann, &bob, &cid] {
        person.trace(&["--all"], "all.como").ok();
        let packets = open_packets(person, &person.path("all.como"));
        assert_eq!(packets.frames.len(), real.len());
        assert_eq!(
            packets.header.audience,
            if person.name == "bob" { "other" } else { "study" }
        );
        let lengths = real.iter().map(|seen| seen.wire_len as u32);
        assert!(
            packets.wire_len.iter().copied().eq(lengths),
            "no packet is missing or moved"
        );
        opened.push(packets);
    }

    // Each dataset opens for its owner only, whoever gets hold of the file; anybody may check its origin.
    for (owner, thief) in [(&ann, &bob), (&bob, &ann), (&ann, &cid)] {
        let file = owner.path("all.como");
        assert!(
            open(thief, &file).is_err(),
            "{} opened {}'s",
            thief.name,
            owner.name
        );
        let file = file.to_str().expect("UTF-8");
        let refused = thief.como(&["dataset", "open", file, "--to", "pcapng", "-o", "stolen.pcapng"]);
        assert_ne!(refused.code, 0, "{}", refused.stdout);
        assert!(!thief.path("stolen.pcapng").exists());
        thief.como(&["dataset", "verify", file]).ok();
    }

    // Projects: the same packets under other names. One project: under the same.
    let [a, b, c] = [0, 1, 2].map(|at| pseudonyms(&real, &opened[at]));
    assert_eq!(opened[0].ts_ns, opened[1].ts_ns);
    assert_eq!(a, c, "a project shares its pseudonyms");
    assert_eq!(opened[0].frames, opened[2].frames);
    for (real, pseudonym) in &a {
        let [one, other] = [pseudonym, &b[real]].map(|p| common_prefix(real, p) == real.len() as u32 * 8);
        assert!(!one || !other, "{real:?} stands in the clear");
    }
    let alike = a
        .iter()
        .filter(|(real, pseudonym)| b[*real] == **pseudonym)
        .count();
    assert!(
        alike * 20 < a.len(),
        "{alike} of {} pseudonyms are the same in two projects",
        a.len()
    );
    assert_prefixes_are_kept(&a);
    assert_prefixes_are_kept(&b);
    node.stop();
}
