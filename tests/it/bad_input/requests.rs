//! Requests that are not requests, not authentic, or ask for what cannot be.

use como_client::keys::Bundle;
use como_client::profile;
use como_client::request::{Ask, ModuleRef, Parties, Query, Trace, sign};
use como_client::spiffe::SpiffeId;

use super::wire::post;
use crate::harness::{Deployment, Person};

const CAPNP: &str = "application/x-capnp";
const ANONYMIZED: u8 = 2;

/// A request as this person's `como` would sign it, now.
fn signed(person: &Person, ask: &Ask) -> Vec<u8> {
    signed_for(person, ask, person, None)
}

/// The same under `signer`'s key, perhaps for another node.
fn signed_for(person: &Person, ask: &Ask, signer: &Person, node: Option<&str>) -> Vec<u8> {
    let keys = |person: &Person| Bundle::open(&person.keys_dir).expect("keys");
    let joined = profile::find(&person.keys_dir, None).expect("a joined node");
    let node = node.map_or(joined.node, |node| node.parse::<SpiffeId>().expect("an id"));
    let asker = keys(person).name().expect("a name");
    let key = keys(signer).request_key().expect("a key");
    let parties = Parties {
        node: &node,
        asker: &asker,
    };
    let since_1970 = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock");
    sign(ask, parties, &key, since_1970.as_nanos() as u64)
}

fn window(from_ns: u64, to_ns: u64) -> Ask {
    Ask::Trace(Trace {
        level: ANONYMIZED,
        from_ns,
        to_ns,
        ..Trace::default()
    })
}

#[test]
fn what_is_no_request_is_refused_with_its_reason() {
    let mut site = Deployment::new().capture(200, 65);
    let ann = site.partner("ann", "anonymized", false);
    let bob = site.partner("bob", "anonymized", false);
    let start = site.generated().start_ns;
    let node = site.start();
    node.ingested();
    let port = site.port();
    let sends = |body: &[u8]| post(port, &ann, CAPNP, body.len(), body);
    let good = signed(&ann, &Ask::ListModules);

    // No Cap'n Proto message, or a part of one.
    sends(b"").is_problem(400, "body", "empty");
    sends(&[0xa5; 4096]).is_problem(400, "malformed", "");
    for at in [1, 7, 8, 9, good.len() / 2, good.len() - 1] {
        sends(&good[..at]).is_problem(400, "malformed", "");
    }
    // What claims to be enormous: four thousand million segments; one segment of 32 GiB.
    sends(&[[0xff; 4], [0xff; 4]].concat()).is_problem(400, "malformed", "");
    sends(&[[0, 0, 0, 0], [0xff; 4]].concat()).is_problem(400, "malformed", "");
    // A pointer that leads out of the message, and one that leads to itself for ever.
    for pointer in [
        [0xfc, 0xff, 0xff, 0x7f, 1, 0, 1, 0],
        [0xfc, 0xff, 0xff, 0xff, 0, 0, 1, 0],
    ] {
        let message = [&[0, 0, 0, 0, 1, 0, 0, 0][..], &pointer].concat();
        sends(&message).is_problem(400, "malformed", "");
    }
    // What is enormous, by its own word, is not even read.
    post(port, &ann, CAPNP, 1 << 30, b"").is_problem(413, "too-large", "bytes");
    post(port, &ann, "application/json", 2, b"{}").is_problem(415, "media-type", "application/x-capnp");

    // A good one is good once.
    assert_eq!(sends(&good).status, 200);
    sends(&good).is_problem(401, "not-authentic", "was sent before");
    // Nor does it work over somebody else's connection, under somebody else's key or for another node.
    let fresh = || signed(&ann, &Ask::ListModules);
    post(port, &bob, CAPNP, fresh().len(), &fresh()).is_problem(401, "not-authentic", "is not one of");
    sends(&signed_for(&ann, &Ask::ListModules, &bob, None)).is_problem(401, "not-authentic", "is not one of");
    let elsewhere = signed_for(
        &ann,
        &Ask::ListModules,
        &ann,
        Some("spiffe://test.example/other/node"),
    );
    sends(&elsewhere).is_problem(401, "not-authentic", "this is spiffe://");
    let mut flipped = fresh();
    let at = flipped.len() / 2;
    flipped[at] ^= 1;
    let refused = sends(&flipped);
    assert!([400, 401].contains(&refused.status), "{}", refused.body);

    // `como` refuses such windows itself; the node does not count on it.
    sends(&signed(&ann, &window(start + 9, start + 3))).is_problem(400, "bad-window", "");
    sends(&signed(&ann, &window(start, start))).is_problem(400, "bad-window", "");
    sends(&signed(&ann, &window(0, 1_000_000))).is_problem(404, "outside-trace", "the trace reaches over");
    let level = Ask::Trace(Trace {
        level: 9,
        from_ns: start,
        to_ns: start + 1_000_000,
        ..Trace::default()
    });
    sends(&signed(&ann, &level)).is_problem(400, "malformed", "9 is not an access level");
    let above = Ask::Trace(Trace {
        level: 3,
        from_ns: start,
        to_ns: start + 1_000_000,
        ..Trace::default()
    });
    sends(&signed(&ann, &above)).is_problem(403, "denied", "above your access level");
    let unknown = Ask::Query(Query {
        module: ModuleRef {
            name: "nothing".into(),
            hash: Vec::new(),
        },
        level: ANONYMIZED,
        from_ns: start,
        to_ns: start + 1_000_000,
        ..Query::default()
    });
    sends(&signed(&ann, &unknown)).is_problem(404, "no-such-module", "nothing");

    // Nor is it good again after a restart.
    node.stop();
    let node = site.start();
    sends(&good).is_problem(401, "not-authentic", "was sent before");

    // After all that the node still does its work, in the same processes.
    assert!(node.audited("died").is_empty());
    ann.trace(&["--all"], "still.como").ok();
    node.stop();
}
