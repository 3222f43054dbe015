//! A capture at a module's level: the view, and the independent reading with the same pseudonyms in it. Owns the check
//! that pseudonyms are a one-to-one naming of what the reader saw, and that everything else is what it saw.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::LazyLock;

use como_anonymize::{Anonymizer, AsTable, RawPacket, View, build, dissect, rekey};
use como_keys::mapping::MappingKey;
use como_policies::AccessLevel;

use super::captures::Capture;
use super::seen::Seen;
use super::systems::{self, system_of};

/// The node's keys and those of an audience.
static KEYS: LazyLock<[Anonymizer; 2]> =
    LazyLock::new(|| [0x51, 0x52].map(|seed| Anonymizer::new(&MappingKey::from_bytes(&[seed; 32]))));
static SYSTEMS: LazyLock<AsTable> =
    LazyLock::new(|| AsTable::read(systems::pfx2as().as_bytes(), 1).expect("a table"));
const MILLISECOND_NS: u64 = 1_000_000;

/// A view, and what the reader says of its packets, by the same names.
pub struct Shown {
    pub name: String,
    pub view: View,
    pub seen: Vec<Seen>,
}

impl Shown {
    /// As an audience of the node sees the capture at `anonymized`, every fifth packet as if sampling had thinned it.
    pub fn anonymized(capture: &Capture) -> Self {
        let node = view(capture, AccessLevel::Anonymized);
        let mut shown = Self {
            name: capture.name.clone(),
            view: rekey(&node, &KEYS[1]),
            seen: capture.seen.clone(),
        };
        for seen in &mut shown.seen {
            seen.ts_ns -= seen.ts_ns % MILLISECOND_NS;
            if seen.is_ip() {
                (seen.src_as, seen.dst_as) = (system_of(seen.src), system_of(seen.dst));
            }
        }
        shown.sample();
        shown.compare();
        shown.rename();
        shown
    }

    /// As captured.
    pub fn payload(capture: &Capture) -> Self {
        let mut shown = Self {
            name: capture.name.clone(),
            view: view(capture, AccessLevel::Payload),
            seen: capture.seen.clone(),
        };
        shown.sample();
        shown
    }

    fn sample(&mut self) {
        for (i, (seen, weight)) in self
            .seen
            .iter_mut()
            .zip(&mut self.view.columns.weight)
            .enumerate()
        {
            seen.weight = if i.is_multiple_of(5) { 3 } else { 1 };
            *weight = seen.weight;
        }
    }

    /// What is no pseudonym.
    fn compare(&self) {
        assert_eq!(self.view.len(), self.seen.len(), "{}", self.name);
        for (i, seen) in self.seen.iter().enumerate() {
            let row = self.view.columns.row(i).expect("a row");
            let at = || format!("{}, packet {}: {seen:?}\n{row:?}", self.name, i + 1);
            assert_eq!((row.ts_ns, row.wire_len), (seen.ts_ns, seen.wire_len), "{}", at());
            assert_eq!(row.deny != 0, seen.denied, "{}", at());
            if seen.denied {
                let nothing = (0, 0, 0, [0; 16], [0; 16], 0, 0);
                let shown = (
                    row.ethertype,
                    row.ip_version,
                    row.protocol,
                    row.src,
                    row.dst,
                    row.src_port,
                    row.dst_port,
                );
                assert_eq!(shown, nothing, "{}", at());
                continue;
            }
            if seen.version == 0 {
                assert_eq!((row.ip_version, row.ethertype), (0, seen.ethertype), "{}", at());
                continue;
            }
            let shown = (row.ip_version, row.protocol, row.tcp_flags, row.fragment & 2 != 0);
            let expected = (seen.version, seen.protocol, seen.flags, seen.later_fragment);
            assert_eq!(shown, expected, "{}", at());
            assert_eq!((row.src_as, row.dst_as), (seen.src_as, seen.dst_as), "{}", at());
        }
    }

    /// Addresses and ports of the reading become those of the view, one for one.
    fn rename(&mut self) {
        let mut addresses = Naming::default();
        let mut ports = Naming::default();
        let columns = &self.view.columns;
        for (i, seen) in self.seen.iter_mut().enumerate() {
            if !seen.is_ip() {
                continue;
            }
            seen.src = addresses.name(seen.src, columns.src[i]);
            seen.dst = addresses.name(seen.dst, columns.dst[i]);
            seen.src_port = ports.name(seen.src_port, columns.src_port[i]);
            seen.dst_port = ports.name(seen.dst_port, columns.dst_port[i]);
        }
    }
}

fn view(capture: &Capture, level: AccessLevel) -> View {
    let packets = capture.packets.iter().map(|p| RawPacket {
        ts_ns: p.ts_ns,
        wire_len: p.wire_len,
        link: capture.link,
        data: &p.data,
    });
    let mut view = build(level, capture.link, packets, Some(&KEYS[0]));
    // As capture looks up what it shows.
    for (row, packet) in capture.packets.iter().enumerate() {
        if view.columns.deny[row] == 0 {
            let systems = SYSTEMS.of_packet(&packet.data, &dissect(capture.link, &packet.data));
            (view.columns.src_as[row], view.columns.dst_as[row]) = systems;
        }
    }
    view
}

/// Real values and their pseudonyms.
#[derive(Default)]
struct Naming<T> {
    names: BTreeMap<T, T>,
    owners: BTreeMap<T, T>,
}

impl<T: Ord + Copy + Debug> Naming<T> {
    fn name(&mut self, real: T, pseudonym: T) -> T {
        assert_eq!(
            *self.names.entry(real).or_insert(pseudonym),
            pseudonym,
            "{real:?} has two names"
        );
        assert_eq!(
            *self.owners.entry(pseudonym).or_insert(real),
            real,
            "{pseudonym:?} names two"
        );
        pseudonym
    }
}
