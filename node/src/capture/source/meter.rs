//! What a source tells beside its packets: how far it is, and what the operator should know. Written by the
//! thread that reads, read by the one that reports. Must never hold anything of a packet but counts.

use std::fs;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use crate::allowance;

/// Frames may be this much longer than the interface's MTU: Ethernet header, two VLAN tags, frame check sequence.
const LINK_BYTES: u32 = 14 + 2 * 4 + 4;

/// Counters of one source.
#[derive(Debug, Default)]
pub struct Meter {
    /// Bytes of a file that were read.
    pub offset: AtomicU64,
    /// Packets whose time is before that of the packet in front of them.
    pub out_of_order: AtomicU64,
    /// Packets longer than any that the link carries: the interface merged them.
    pub merged: AtomicU64,
    /// How full the kernel's ring is, per mille.
    pub ring_fill: AtomicU16,
    /// Bytes of the kernel's ring that were asked for, and that were given where that is less.
    ring: Option<(u64, u64)>,
    ring_bytes: u64,
    interface: String,
}

impl Meter {
    /// Of an interface whose ring was asked to have so many bytes. Call it right after the ring was made.
    pub(super) fn of_interface(interface: &str, asked_bytes: u64) -> Self {
        let given = ring_bytes();
        tracing::info!(interface, asked_bytes, given_bytes = given, "the kernel's ring");
        Self {
            ring: given
                .filter(|given| *given < asked_bytes)
                .map(|given| (asked_bytes, given)),
            ring_bytes: given.unwrap_or(asked_bytes),
            interface: interface.to_owned(),
            ..Self::default()
        }
    }

    /// So many bytes of the ring are taken.
    pub(super) fn hold(&self, bytes: u64) {
        self.ring_fill
            .store(allowance::fill(bytes, self.ring_bytes), Ordering::Relaxed);
    }

    /// What the operator should know, and what to do about it; empty: nothing.
    pub fn warning(&self) -> String {
        let interface = &self.interface;
        if self.merged.load(Ordering::Relaxed) > 0 {
            return format!(
                "{interface} merges packets before they are captured (GRO, LRO or TSO): lengths and counts are not \
                 those of the link; run: ethtool -K {interface} gro off lro off tso off gso off"
            );
        }
        match self.ring {
            Some((asked, given)) => format!(
                "the ring of {interface} has {given} bytes instead of {asked}: bursts may be lost; lower \
                 buffer_bytes, or free memory"
            ),
            None => String::new(),
        }
    }
}

/// Counts what comes out of a source, packet by packet.
#[derive(Debug)]
pub(super) struct Watch {
    last_ns: u64,
    longest: u32,
    out_of_order: u64,
    merged: u64,
}

impl Watch {
    /// Of packets that are at most so long on the wire.
    pub fn new(longest: u32) -> Self {
        Self {
            last_ns: 0,
            longest,
            out_of_order: 0,
            merged: 0,
        }
    }

    /// The next packet.
    pub fn see(&mut self, ts_ns: u64, wire_len: u32) {
        self.out_of_order += u64::from(ts_ns < self.last_ns);
        self.merged += u64::from(wire_len > self.longest);
        self.last_ns = ts_ns;
    }

    /// Hands the counts over.
    pub fn tell(&self, meter: &Meter) {
        meter.out_of_order.store(self.out_of_order, Ordering::Relaxed);
        meter.merged.store(self.merged, Ordering::Relaxed);
    }
}

/// The longest frame of an Ethernet interface, bytes; one whose MTU nobody knows carries anything.
pub(super) fn longest_frame(interface: &str) -> u32 {
    let mtu = fs::read_to_string(format!("/sys/class/net/{interface}/mtu"));
    let mtu = mtu.ok().and_then(|mtu| mtu.trim().parse::<u32>().ok());
    mtu.map_or(u32::MAX, |mtu| mtu.saturating_add(LINK_BYTES))
}

/// Bytes of the rings that this process has mapped: packet sockets are the only sockets that can be. libpcap
/// makes a smaller one without a word where the kernel refuses.
fn ring_bytes() -> Option<u64> {
    of_maps(&fs::read_to_string("/proc/self/maps").ok()?)
}

/// The same, of the text of proc_pid_maps(5).
fn of_maps(maps: &str) -> Option<u64> {
    let length = |line: &str| {
        let (from, to) = line.split_ascii_whitespace().next()?.split_once('-')?;
        u64::from_str_radix(to, 16)
            .ok()?
            .checked_sub(u64::from_str_radix(from, 16).ok()?)
    };
    let rings = maps.lines().filter(|line| line.contains(" socket:["));
    rings.filter_map(length).reduce(|one, other| one + other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_read_from_the_table_of_mappings() {
        let maps = "55d0c0a00000-55d0c0a21000 rw-p 00000000 00:00 0   [heap]\n\
                    7f1000000000-7f1004000000 rw-s 00000000 00:08 4711  socket:[4711]\n";
        assert_eq!(of_maps(maps), Some(64 << 20));
        assert_eq!(
            of_maps("55d0c0a00000-55d0c0a21000 rw-p 00000000 00:00 0 [heap]\n"),
            None
        );
        assert_eq!(of_maps("no socket:[1]\n"), None);
    }

    #[test]
    fn merged_and_disordered_packets_are_counted_and_told() {
        let mut watch = Watch::new(1500 + LINK_BYTES);
        for (ts_ns, wire_len) in [(5, 60), (4, 1526), (9, 2900), (9, 40)] {
            watch.see(ts_ns, wire_len);
        }
        let meter = Meter {
            interface: "eth7".to_owned(),
            ..Meter::default()
        };
        assert_eq!(meter.warning(), "");
        watch.tell(&meter);
        assert_eq!(meter.out_of_order.load(Ordering::Relaxed), 1);
        assert_eq!(meter.merged.load(Ordering::Relaxed), 1);
        assert!(meter.warning().contains("ethtool -K eth7 gro off"));
        let small = Meter {
            ring: Some((100, 7)),
            ..Meter::default()
        };
        assert!(small.warning().contains("7 bytes instead of 100"));
    }

    #[test]
    fn loopback_has_an_mtu_and_nothing_has_none() {
        assert!(longest_frame("lo") > 1500);
        assert_eq!(longest_frame("no-such-interface"), u32::MAX);
    }
}
