//! The golden leak set: for each class of leak frames with planted secrets, and for each secret the lowest level that
//! may see it. Owns the checks; the frames are data, class by class, in the files beside this one.

mod applications;
mod errors;
mod link;
mod multicast;
mod neighbours;
mod network;
mod transport;
mod tunnels;

use std::collections::BTreeMap;

use como_anonymize::{Column, Columns, DenyReason, LinkType, RawPacket, View, build};
use como_policies::AccessLevel;
use como_policies::AccessLevel::{Anonymized, Headers, Payload};

use crate::oracle::{KEYS, contains};

/// Every class of leak, and no frame without one. A class may gain frames, and never lose its last two.
const CLASSES: [&str; 49] = [
    "IPv4 addresses",
    "IPv6 addresses",
    "EUI-64 interface ids",
    "solicited-node and group MACs",
    "embedded IPv4",
    "IP identification, TTL, flow label",
    "IPv4 options",
    "IPv6 routing and destination options",
    "fragments",
    "stale IPv4, TCP, UDP checksums",
    "stale ICMPv6 checksum",
    "ICMP quotes: 3, 5, 11",
    "ICMP quotes: 4, 12",
    "ICMP redirect gateway",
    "ICMP router advertisement",
    "ICMP timestamp and mask",
    "ICMP extension objects",
    "ICMP echo",
    "ICMPv6 errors",
    "ND solicitation and advertisement",
    "ND router advertisement",
    "ND redirect",
    "multicast listeners",
    "ARP",
    "MACs",
    "VLAN and QinQ",
    "LLDP and its like",
    "unknown ethertype",
    "LLC and SNAP",
    "truncated",
    "IP version",
    "padding",
    "TCP numbers",
    "TCP options",
    "payload",
    "IPsec",
    "IPIP",
    "6in4",
    "4in6",
    "GRE",
    "VXLAN",
    "GENEVE",
    "GTP-U",
    "MPLS",
    "PPPoE",
    "L2TP",
    "Teredo",
    "names and addresses in applications",
    "routing protocols and SCTP",
];
const MIN_FRAMES: usize = 130;
const MIN_SECRETS: usize = 420;

/// A frame of the set.
pub struct Golden {
    pub class: &'static str,
    pub name: &'static str,
    pub link: LinkType,
    pub frame: Vec<u8>,
    pub secrets: Vec<Secret>,
    /// Why there is no frame at `anonymized`, if so.
    pub deny: Option<DenyReason>,
}

/// Bytes that are planted in a frame.
pub struct Secret {
    pub bytes: Vec<u8>,
    /// The lowest level that may see them. There they must be seen: a view of nothing is not a treatment.
    pub lowest: AccessLevel,
    /// Where they stand, for what is too short to be searched for: it must not stand there any more.
    pub at: Option<usize>,
}

fn frame(class: &'static str, name: &'static str, frame: Vec<u8>, secrets: Vec<Secret>) -> Golden {
    Golden {
        class,
        name,
        link: LinkType::ETHERNET,
        frame,
        secrets,
        deny: None,
    }
}

impl Golden {
    fn denied(self, reason: DenyReason) -> Self {
        Golden {
            deny: Some(reason),
            ..self
        }
    }

    pub fn packet(&self) -> RawPacket<'_> {
        RawPacket {
            ts_ns: 1_234_567_891,
            wire_len: self.frame.len() as u32,
            link: self.link,
            data: &self.frame,
        }
    }
}

fn secret(lowest: AccessLevel, bytes: impl AsRef<[u8]>) -> Secret {
    Secret {
        bytes: bytes.as_ref().to_vec(),
        lowest,
        at: None,
    }
}

/// Real headers show it, nothing below.
fn header(bytes: impl AsRef<[u8]>) -> Secret {
    secret(Headers, bytes)
}

/// The same for a field at a place.
fn header_at(at: usize, bytes: impl AsRef<[u8]>) -> Secret {
    Secret {
        at: Some(at),
        ..header(bytes)
    }
}

/// Nobody below `payload`.
fn body(bytes: impl AsRef<[u8]>) -> Secret {
    secret(Payload, bytes)
}

/// Both halves of an IPv6 address that no MAC is in.
fn address6(address: [u8; 16]) -> Vec<Secret> {
    vec![header(&address[..8]), header(&address[8..])]
}

/// An address with an EUI-64 interface id: the network, and the NIC part.
fn eui64(address: [u8; 16]) -> Vec<Secret> {
    vec![header(&address[..8]), body(&address[8..]), body(&address[13..])]
}

/// A MAC that real headers show the vendor of.
fn mac(mac: [u8; 6]) -> Vec<Secret> {
    vec![header(&mac[..3]), body(&mac[3..]), body(mac)]
}

/// Every frame of the set.
pub fn golden() -> Vec<Golden> {
    [
        network::frames(),
        errors::frames(),
        neighbours::frames(),
        multicast::frames(),
        link::frames(),
        transport::frames(),
        tunnels::frames(),
        applications::frames(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// All that a view holds of its one packet: the frame, and every column.
fn held(view: &View) -> (Vec<u8>, Vec<u8>) {
    let frame = view.frames.get(0).unwrap_or_default().to_vec();
    let mut columns = Vec::new();
    for &column in Column::ALL.iter().filter(|column| **column != Column::TsNs) {
        view.columns.write_le(column, 0, 1, &mut columns);
        // So that no secret is found across two columns.
        columns.extend([0xf1, 0x5e]);
    }
    (frame, columns)
}

fn is_seen(secret: &Secret, (frame, columns): &(Vec<u8>, Vec<u8>)) -> bool {
    match secret.at {
        Some(at) => frame.get(at..at + secret.bytes.len()) == Some(&secret.bytes),
        // In a column a number is little-endian, and chance has a hand in few bytes.
        None => contains(frame, &secret.bytes) || secret.bytes.len() >= 4 && contains(columns, &secret.bytes),
    }
}

#[test]
fn no_planted_secret_is_seen_below_its_level() {
    let mut leaks = Vec::new();
    for golden in golden() {
        for level in AccessLevel::ALL {
            let views = KEYS.each_ref().map(|key| {
                let view = build(level, golden.link, [golden.packet()], Some(key));
                assert_eq!(view.len(), 1, "{}", golden.name);
                held(&view)
            });
            for secret in &golden.secrets {
                assert!(
                    contains(&golden.frame, &secret.bytes),
                    "{}: not planted",
                    golden.name
                );
                let seen = views.iter().filter(|view| is_seen(secret, view)).count();
                // Under one key chance may play; under three it is a leak.
                let expected = level >= secret.lowest;
                if (seen == KEYS.len()) != expected {
                    let what = if expected { "is not seen" } else { "LEAKS" };
                    leaks.push(format!(
                        "{}: {:02x?} {what} at {level}",
                        golden.name, secret.bytes
                    ));
                }
            }
        }
    }
    assert!(leaks.is_empty(), "{}\n{}", leaks.len(), leaks.join("\n"));
}

#[test]
fn every_frame_is_shown_or_denied_as_it_should_be() {
    for golden in golden() {
        let view = build(Anonymized, golden.link, [golden.packet()], Some(&KEYS[0]));
        let deny = golden.deny.map_or(0, DenyReason::as_u8);
        assert_eq!(view.columns.deny[0], deny, "{}", golden.name);
        assert_eq!(view.frames.bytes.is_empty(), deny != 0, "{}", golden.name);
        let headers = build(Headers, golden.link, [golden.packet()], Some(&KEYS[0]));
        assert_eq!(
            headers.columns.deny[0], deny,
            "{}: the reason is the same",
            golden.name
        );
        assert!(
            headers.frames.bytes.len() <= golden.frame.len(),
            "{}",
            golden.name
        );
        let payload = build(Payload, golden.link, [golden.packet()], None);
        assert_eq!(payload.frames.bytes, golden.frame, "{}", golden.name);
    }
}

#[test]
fn headers_are_to_the_microsecond_and_anonymized_to_the_millisecond() {
    let all = golden();
    let ts_ns = |level| {
        let view = build(level, all[0].link, [all[0].packet()], Some(&KEYS[0]));
        let Columns { ts_ns, .. } = view.columns;
        ts_ns[0]
    };
    assert_eq!(ts_ns(Payload), 1_234_567_891);
    assert_eq!(ts_ns(Headers), 1_234_567_000);
    assert_eq!(ts_ns(Anonymized), 1_234_000_000);
}

#[test]
fn the_set_does_not_shrink() {
    let mut of_class: BTreeMap<&str, usize> = CLASSES.iter().map(|class| (*class, 0)).collect();
    let mut names = std::collections::BTreeSet::new();
    let (mut frames, mut secrets) = (0, 0);
    for golden in golden() {
        *of_class
            .get_mut(golden.class)
            .unwrap_or_else(|| panic!("{} is no class", golden.class)) += 1;
        assert!(names.insert(golden.name), "two frames are called {}", golden.name);
        assert!(!golden.secrets.is_empty(), "{} has no secret", golden.name);
        frames += 1;
        secrets += golden.secrets.len();
    }
    for (class, count) in of_class {
        assert!(count >= 2, "{class}: {count} frames");
    }
    assert!(
        frames >= MIN_FRAMES && secrets >= MIN_SECRETS,
        "{frames} frames, {secrets} secrets"
    );
}
