//! Internet checksums (RFC 1071) and SCTP's: writing them over released bytes, judging them on captured bytes. A captured
//! checksum is never released: with it, a known network and a known peer leave one candidate for an address.

use crate::crc32c::Crc32c;
use crate::dissect::tunnel::GRE_CHECKSUM;
use crate::dissect::{Dissection, Layer, LayerKind, be16};
use crate::fields::{FieldRule, NONE};
use crate::treat::ipv4::{END_OF_OPTIONS, LOOSE_SOURCE_ROUTE, NO_OPERATION, STRICT_SOURCE_ROUTE};
use crate::treat::ipv6::{HOME_ADDRESS, PAD_1, ROUTING_TYPE_0, ROUTING_TYPE_2, SEGMENT_ROUTING};

/// Checksums of every layer.
pub(crate) const RULES: &[FieldRule] = &[FieldRule::new(
    "every layer",
    "checksum",
    [
        NONE,
        NONE,
        "recomputed over released bytes; verdict",
        "recomputed over released bytes; verdict",
    ],
)];

/// The common header of SCTP; a quote may hold less of it, without the checksum.
const SCTP_HEADER_LEN: u32 = 12;

/// What became of a captured checksum. Two bits; stored in the `checksums` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// The layer is absent or carries no checksum.
    None = 0,
    /// Verified.
    Good = 1,
    /// Verifiably wrong.
    Bad = 2,
    /// Not all covered bytes were captured, or the packet is a fragment.
    Unverifiable = 3,
}

/// Writes every checksum of a released frame, quoted headers included, as those of a packet of the stated
/// lengths whose unreleased bytes are all zero. A UDP checksum of zero (none) stays.
pub fn fix_checksums(frame: &mut [u8], layers: &[Layer]) {
    if fix_plain(frame, layers).is_none() {
        fix_every_layer(frame, layers);
    }
}

/// The same for what nearly all packets are, TCP or UDP in IPv4 without options in Ethernet, in a third of the steps.
/// `None`: something else, or cut; nothing is done.
fn fix_plain(frame: &mut [u8], layers: &[Layer]) -> Option<()> {
    let transport = plain_transport(layers)?;
    let (before, segment) = frame.split_at_mut_checked(transport.offset as usize)?;
    let header = before.last_chunk_mut::<20>()?;
    let rest = be16(header, 2).saturating_sub(20);
    let (field, protocol, length) = match transport.kind {
        LayerKind::Tcp if segment.len() >= 20 => (16, 6, rest),
        // RFC 2675: one that states no length ends where its packet does.
        LayerKind::Udp if segment.len() >= 8 => match be16(segment, 4) {
            0 => (6, 17, rest),
            stated => (6, 17, stated),
        },
        _ => return None,
    };
    header[10..12].copy_from_slice(&[0; 2]);
    let addresses = Sum::default().bytes(&header[12..]);
    let sum = addresses.bytes(&header[..12]);
    header[10..12].copy_from_slice(&sum.checksum().to_be_bytes());
    if transport.kind == LayerKind::Udp && segment[6..8] == [0, 0] {
        return Some(());
    }
    segment[field..field + 2].copy_from_slice(&[0; 2]);
    let sum = addresses.double_word(protocol).double_word(length.into());
    let checksum = match sum.bytes(segment).checksum() {
        0 if transport.kind == LayerKind::Udp => 0xffff,
        checksum => checksum,
    };
    segment[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
    Some(())
}

/// The layer above IPv4 without options in Ethernet, where these are all the layers.
fn plain_transport(layers: &[Layer]) -> Option<&Layer> {
    let [link, ip, transport] = layers else {
        return None;
    };
    let is_plain =
        link.kind == LayerKind::Ethernet && ip.kind == LayerKind::Ipv4 && transport.offset == ip.offset + 20;
    is_plain.then_some(transport)
}

fn fix_every_layer(frame: &mut [u8], layers: &[Layer]) {
    // Innermost first: an ICMP checksum covers the headers that it quotes.
    for (at, layer) in layers.iter().enumerate().rev() {
        let from = layer.offset as usize;
        if frame.len() < from + layer.len.min(8) as usize {
            continue;
        }
        let field = match layer.kind {
            LayerKind::Sctp if layer.len >= SCTP_HEADER_LEN => {
                write_crc(frame, layers, at);
                continue;
            }
            LayerKind::Gre if be16(frame, from) & GRE_CHECKSUM != 0 => from + 4,
            LayerKind::Ipv4 => from + 10,
            LayerKind::Icmp | LayerKind::Icmp6 | LayerKind::Igmp => from + 2,
            LayerKind::Tcp => from + 16,
            LayerKind::Udp if frame[from + 6..from + 8] != [0, 0] => from + 6,
            _ => continue,
        };
        frame[field..field + 2].copy_from_slice(&[0; 2]);
        let end = match layer.kind {
            LayerKind::Ipv4 => from + layer.len as usize,
            _ => frame.len(),
        };
        let mut checksum = pseudo_header(frame, layers, at)
            .bytes(&frame[from..end])
            .checksum();
        if layer.kind == LayerKind::Udp && checksum == 0 {
            checksum = 0xffff;
        }
        frame[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// SCTP's checksum is no Internet checksum: the number of zeros behind the released bytes changes it.
fn write_crc(frame: &mut [u8], layers: &[Layer], at: usize) {
    let from = layers[at].offset as usize;
    frame[from + 8..from + 12].fill(0);
    let released = &frame[from..];
    let stated = carrier(layers, at).map_or(0, |ip| upper_length(frame, ip, from));
    let crc = Crc32c::new()
        .bytes(released)
        .zeros(stated.saturating_sub(released.len()));
    frame[from + 8..from + 12].copy_from_slice(&crc.field());
}

/// The verdict on the packet's own checksums (not on those of quoted or tunnelled packets), as stored in the `checksums` column.
pub fn judge(data: &[u8], dissection: &Dissection) -> u8 {
    let layers = dissection.own();
    judge_plain(data, layers).unwrap_or_else(|| judge_every_layer(data, layers))
}

/// The same for what nearly all packets are, as in [`fix_plain`]. `None`: something else, or a fragment.
fn judge_plain(data: &[u8], layers: &[Layer]) -> Option<u8> {
    let transport = plain_transport(layers)?;
    let (before, segment) = data.split_at_checked(transport.offset as usize)?;
    let header = before.last_chunk::<20>()?;
    if be16(header, 6) & 0x3fff != 0 {
        return None;
    }
    let rest = usize::from(be16(header, 2)).saturating_sub(20);
    let (protocol, length) = match transport.kind {
        LayerKind::Tcp => (6, rest),
        LayerKind::Udp if segment.len() >= 8 => match be16(segment, 4) {
            0 => (17, rest),
            stated => (17, stated.into()),
        },
        _ => return None,
    };
    let addresses = Sum::default().bytes(&header[12..]);
    let of_ip = verdict(addresses.bytes(&header[..12]));
    let of_transport = match segment.get(..length.min(rest)) {
        _ if protocol == 17 && segment[6..8] == [0, 0] => Verdict::None,
        Some(covered) => verdict(
            addresses
                .double_word(protocol)
                .double_word(length as u32)
                .bytes(covered),
        ),
        None => Verdict::Unverifiable,
    };
    Some(of_ip as u8 | (of_transport as u8) << 2)
}

fn judge_every_layer(data: &[u8], layers: &[Layer]) -> u8 {
    let own = |kinds: &[LayerKind]| layers.iter().position(|layer| kinds.contains(&layer.kind));
    let mut verdicts = 0;
    if let Some(at) = own(&[LayerKind::Ipv4]) {
        verdicts |= verdict(Sum::default().bytes(layers[at].of(data))) as u8;
    }
    let transport = [
        LayerKind::Tcp,
        LayerKind::Udp,
        LayerKind::Sctp,
        LayerKind::Icmp,
        LayerKind::Icmp6,
        LayerKind::Igmp,
    ];
    if let Some(at) = own(&transport) {
        verdicts |= (judge_transport(data, layers, at) as u8) << 2;
    }
    verdicts
}

fn judge_transport(data: &[u8], layers: &[Layer], at: usize) -> Verdict {
    let from = layers[at].offset as usize;
    let Some(ip) = carrier(layers, at) else {
        return Verdict::Unverifiable;
    };
    let is_udp = layers[at].kind == LayerKind::Udp;
    if is_udp && data[from + 6..from + 8] == [0, 0] {
        return Verdict::None;
    }
    // A fragment's checksum covers other packets.
    let is_fragment = match ip.kind {
        LayerKind::Ipv4 => be16(ip.of(data), 6) & 0x3fff != 0,
        _ => layers.iter().any(|layer| layer.kind == LayerKind::Fragment),
    };
    let is_partial = is_fragment || final_destination(data, layers, at, ip).is_none();
    let mut covered = upper_length(data, ip, from);
    if is_udp {
        covered = covered.min(udp_length(data, ip, from));
    }
    match data.get(from..from + covered) {
        Some(bytes) if !is_partial && layers[at].kind == LayerKind::Sctp => judge_crc(bytes),
        Some(bytes) if !is_partial => verdict(pseudo_header(data, layers, at).bytes(bytes)),
        _ => Verdict::Unverifiable,
    }
}

fn judge_crc(message: &[u8]) -> Verdict {
    let Some((header, chunks)) = message.split_first_chunk::<12>() else {
        return Verdict::Unverifiable;
    };
    let crc = Crc32c::new().bytes(&header[..8]).zeros(4).bytes(chunks);
    if crc.field() == header[8..12] {
        Verdict::Good
    } else {
        Verdict::Bad
    }
}

fn verdict(sum: Sum) -> Verdict {
    if sum.checksum() == 0 {
        Verdict::Good
    } else {
        Verdict::Bad
    }
}

/// The sum of the pseudo header of layer `at`; nothing for those that have none.
fn pseudo_header(data: &[u8], layers: &[Layer], at: usize) -> Sum {
    let protocol = match layers[at].kind {
        LayerKind::Tcp => 6,
        LayerKind::Udp => 17,
        LayerKind::Icmp6 => 58,
        _ => return Sum::default(),
    };
    let Some(ip) = carrier(layers, at) else {
        return Sum::default();
    };
    let header = ip.of(data);
    let source = match ip.kind {
        LayerKind::Ipv4 => &header[12..16],
        _ => home_address(data, layers, at, ip).unwrap_or(&header[8..24]),
    };
    let destination = final_destination(data, layers, at, ip).unwrap_or_default();
    let from = layers[at].offset as usize;
    let length = match layers[at].kind {
        LayerKind::Udp => udp_length(data, ip, from),
        _ => upper_length(data, ip, from),
    };
    Sum::default()
        .bytes(source)
        .bytes(destination)
        .double_word(protocol)
        .double_word(length as u32)
}

/// Where the packet goes in the end (RFC 1122 section 3.2.1.8, RFC 8200 section 8.1); `None` where a routing header
/// is not understood. Its type, counters and addresses stand in released headers too.
fn final_destination<'a>(data: &'a [u8], layers: &[Layer], at: usize, ip: &Layer) -> Option<&'a [u8]> {
    let header = ip.of(data);
    if ip.kind == LayerKind::Ipv4 {
        return Some(source_route(&header[20..]).unwrap_or(&header[16..20]));
    }
    let routing = layers[..at]
        .iter()
        .rev()
        .take_while(|layer| layer.offset > ip.offset)
        .find(|layer| layer.kind == LayerKind::Routing)
        .map(|layer| layer.of(data))
        .filter(|routing| routing[3] > 0);
    match routing {
        None => Some(&header[24..40]),
        Some(routing) if matches!(routing[2], ROUTING_TYPE_0 | ROUTING_TYPE_2) => {
            routing[8..].chunks_exact(16).last()
        }
        Some(routing) if routing[2] == SEGMENT_ROUTING => routing.get(8..24),
        Some(_) => None,
    }
}

/// The home address of a mobile node, which stands for its source address (RFC 6275 section 6.3).
fn home_address<'a>(data: &'a [u8], layers: &[Layer], at: usize, ip: &Layer) -> Option<&'a [u8]> {
    let extensions = layers[..at]
        .iter()
        .rev()
        .take_while(|layer| layer.offset > ip.offset);
    let options = extensions
        .filter(|layer| layer.kind == LayerKind::DestinationOptions)
        .map(|layer| layer.of(data).get(2..).unwrap_or_default());
    options.filter_map(home_address_option).next()
}

fn home_address_option(mut options: &[u8]) -> Option<&[u8]> {
    loop {
        let (kind, rest) = options.split_first()?;
        if *kind == PAD_1 {
            options = rest;
            continue;
        }
        let (len, rest) = rest.split_first()?;
        let value = rest.get(..usize::from(*len))?;
        if *kind == HOME_ADDRESS && value.len() == 16 {
            return Some(value);
        }
        options = &rest[value.len()..];
    }
}

/// The last address of a source route (RFC 791) that is not at its end.
fn source_route(options: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    while let Some(&kind) = options.get(at) {
        let len = match kind {
            END_OF_OPTIONS => return None,
            NO_OPERATION => 1,
            _ => usize::from(*options.get(at + 1)?),
        };
        let option = options.get(at..at + len)?;
        match kind {
            NO_OPERATION => {}
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE if len >= 7 && usize::from(option[2]) <= len => {
                return option[3..].chunks_exact(4).last();
            }
            _ if len < 2 => return None,
            _ => {}
        }
        at += len;
    }
    None
}

/// The IP header that carries layer `at`.
fn carrier(layers: &[Layer], at: usize) -> Option<&Layer> {
    layers[..at]
        .iter()
        .rev()
        .find(|layer| matches!(layer.kind, LayerKind::Ipv4 | LayerKind::Ipv6))
}

/// Bytes of the IP packet from `from` on, as its header states them.
fn upper_length(data: &[u8], ip: &Layer, from: usize) -> usize {
    let header = ip.of(data);
    let total = match ip.kind {
        LayerKind::Ipv4 => usize::from(be16(header, 2)),
        _ => 40 + usize::from(be16(header, 4)),
    };
    (ip.offset as usize + total).saturating_sub(from)
}

/// Length by the UDP header at `from`; one that states none (RFC 2675) ends where its packet does.
fn udp_length(data: &[u8], ip: &Layer, from: usize) -> usize {
    match be16(data, from + 4) {
        0 => upper_length(data, ip, from),
        stated => stated.into(),
    }
}

/// A running one's-complement sum: below 2^33 for each stretch that was added.
#[derive(Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes that start at an even offset of the covered area.
    #[inline]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        // 32-bit words into 64-bit lanes: no carry can be lost below 2^32 words, and the sum of 32-bit words is
        // congruent to that of 16-bit ones modulo 2^16 - 1. The sum does not care in which order its bytes lie,
        // as long as the result is put back into that order (RFC 1071 section 2 B): no word need be turned.
        let (words, rest) = bytes.as_chunks::<4>();
        let sum: u64 = words
            .iter()
            .map(|word| u64::from(u32::from_ne_bytes(*word)))
            .sum();
        self.0 += fold32(sum) + last(rest);
        self
    }

    /// Adds a 32-bit word.
    fn double_word(mut self, word: u32) -> Self {
        self.0 += u64::from(word.to_be());
        self
    }

    /// The checksum field's value for what was added.
    pub fn checksum(self) -> u16 {
        let mut sum = fold32(self.0);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        u16::from_be(!(sum as u16))
    }
}

/// Up to three bytes, filled up with zeros.
fn last(bytes: &[u8]) -> u64 {
    let word = match *bytes {
        [a, b, c] => [a, b, c, 0],
        [a, b] => [a, b, 0, 0],
        [a] => [a, 0, 0, 0],
        _ => return 0,
    };
    u64::from(u32::from_ne_bytes(word))
}

/// Brings a sum below 2^33 without changing it modulo 2^16 - 1.
fn fold32(sum: u64) -> u64 {
    (sum & 0xffff_ffff) + (sum >> 32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dissect::dissect;
    use crate::sample::samples;

    fn slow(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    proptest! {
        /// Whatever the packet: the short way and the long one say the same.
        #[test]
        fn plain_packets_get_the_verdicts_of_all_others(
            pick in 0usize..1000,
            changes in prop::collection::vec((0usize..80, any::<u8>()), 0..6),
            cut in prop::option::of(0usize..120),
        ) {
            let all = samples();
            let (link, packet) = &all[pick % all.len()];
            let mut packet = packet.clone();
            for (at, value) in changes {
                if let Some(byte) = packet.get_mut(at) {
                    *byte = value;
                }
            }
            packet.truncate(cut.unwrap_or(usize::MAX));
            let found = dissect(*link, &packet);
            if let Some(verdicts) = judge_plain(&packet, found.own()) {
                prop_assert_eq!(verdicts, judge_every_layer(&packet, found.own()));
            }
        }

        /// Whatever the frame: the short way and the long one write the same.
        #[test]
        fn plain_frames_get_the_checksums_of_all_others(
            pick in 0usize..1000,
            changes in prop::collection::vec((0usize..80, any::<u8>()), 0..6),
            cut in prop::option::of(0usize..120),
        ) {
            let all = samples();
            let (link, packet) = &all[pick % all.len()];
            let layers = dissect(*link, packet);
            let mut frame = packet.get(..layers.header_len).unwrap_or_default().to_vec();
            for (at, value) in changes {
                if let Some(byte) = frame.get_mut(at) {
                    *byte = value;
                }
            }
            frame.truncate(cut.unwrap_or(usize::MAX));
            let mut slowly = frame.clone();
            if fix_plain(&mut frame, layers.layers()).is_some() {
                fix_every_layer(&mut slowly, layers.layers());
            }
            prop_assert_eq!(frame, slowly);
        }
    }

    #[test]
    fn agrees_with_the_definition_at_every_length() {
        let bytes: Vec<u8> = (0..2000u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        for len in 0..bytes.len() {
            assert_eq!(
                Sum::default().bytes(&bytes[..len]).checksum(),
                slow(&bytes[..len]),
                "{len}"
            );
        }
        assert_eq!(Sum::default().bytes(&[0xff; 262_144]).checksum(), 0);
    }
}
