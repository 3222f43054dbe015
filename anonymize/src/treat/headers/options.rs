//! Level `headers`: options of IPv4, TCP and IPv6, and routing headers. What is whole is shown as it is, but for
//! cookies and signatures of TCP and device numbers in addresses; from the first broken option on, nothing is.

use super::super::Anonymizer;
use super::super::ipv6::{self, HOME_ADDRESS, PAD_N, ROUTING_TYPE_0, ROUTING_TYPE_2, SEGMENT_ROUTING};
use super::super::tcp::{END_OF_OPTIONS, NO_OPERATION};
use crate::dissect::be16;

/// TCP options that carry a cookie or a signature: MD5 (RFC 2385), AO (RFC 5925), Fast Open (RFC 7413).
const TCP_SECRETS: [u8; 3] = [19, 29, 34];
/// Options of experiments (RFC 6994), told apart by 16 bits.
const TCP_EXPERIMENTS: [u8; 2] = [253, 254];
/// Fast Open, before it had a number of its own.
const EXPERIMENT_FAST_OPEN: u16 = 0xf989;

impl Anonymizer {
    /// Hop-by-hop and destination options as they are, padding empty. After a broken option nothing is shown.
    pub(super) fn show_ipv6_options(&self, real: &[u8], out: &mut [u8]) {
        out[0..2].copy_from_slice(&real[0..2]);
        ipv6::whole_options(real, out, |option, room| match (option[0], option[1]) {
            (PAD_N, _) => room[0..2].copy_from_slice(&option[0..2]),
            (HOME_ADDRESS, 16) => {
                room[0..2].copy_from_slice(&option[0..2]);
                self.show_address(&option[2..], &mut room[2..]);
            }
            _ => room.copy_from_slice(option),
        });
    }

    /// The segments of known types; of others the fixed four bytes, as formats that shorten addresses exist.
    pub(super) fn show_routing(&self, real: &[u8], out: &mut [u8]) {
        out[0..4].copy_from_slice(&real[0..4]);
        let segments = match real[2] {
            ROUTING_TYPE_0 | ROUTING_TYPE_2 => usize::MAX,
            SEGMENT_ROUTING => {
                // Last entry, flags, tag.
                out[4..8].copy_from_slice(&real[4..8]);
                usize::from(real[4]) + 1
            }
            _ => return,
        };
        let end = real.len().min(8usize.saturating_add(segments.saturating_mul(16)));
        self.show_addresses(&real[8..end], &mut out[8..end]);
    }
}

/// Checksum and options apart, TCP is real.
pub(super) fn show_tcp(real: &[u8], out: &mut [u8]) {
    out[..16].copy_from_slice(&real[..16]);
    out[18..20].copy_from_slice(&real[18..20]);
    let (real, out) = (&real[20..], &mut out[20..]);
    whole_options(real, |option, at| {
        let is_secret = TCP_SECRETS.contains(&option[0])
            || TCP_EXPERIMENTS.contains(&option[0])
                && option.len() >= 4
                && be16(option, 2) == EXPERIMENT_FAST_OPEN;
        let room = &mut out[at..at + option.len()];
        if is_secret {
            room.fill(NO_OPERATION);
        } else {
            room.copy_from_slice(option);
        }
    });
}

/// Options as they are; from the end mark or the first broken one on, nothing.
pub(super) fn show_ipv4_options(real: &[u8], out: &mut [u8]) {
    whole_options(real, |option, at| {
        out[at..at + option.len()].copy_from_slice(option)
    });
}

/// Calls `show` with each whole option of IPv4 or TCP and its place, no-operations included.
fn whole_options(area: &[u8], mut show: impl FnMut(&[u8], usize)) {
    let mut at = 0;
    while let Some(&kind) = area.get(at) {
        let len = match kind {
            END_OF_OPTIONS => return,
            NO_OPERATION => 1,
            _ => area.get(at + 1).map_or(0, |len| usize::from(*len)),
        };
        let Some(option) = area
            .get(at..at + len)
            .filter(|_| len > usize::from(kind != NO_OPERATION))
        else {
            return;
        };
        show(option, at);
        at += len;
    }
}
