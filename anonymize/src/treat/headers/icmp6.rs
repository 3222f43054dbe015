//! Level `headers`: ICMPv6 messages and IGMP, whose bodies are addresses and options. Options that quote packets, or
//! that nobody here knows, are left out.

use super::super::Anonymizer;
use super::super::icmp6::ROUTER_ADVERTISEMENT;
use super::super::neighbour;
use crate::dissect::be16;
use crate::dissect::icmp::neighbour_discovery_fixed_len;
use crate::dissect::multicast::{IGMP_REPORT_V3, MLD_QUERY_V2_LEN, MLD_REPORT_V2, group_record_len};

impl Anonymizer {
    pub(super) fn show_icmp6(&self, real: &[u8], out: &mut [u8]) -> usize {
        out[..8].copy_from_slice(&real[..8]);
        let Some(fixed_len) = neighbour_discovery_fixed_len(real[0]) else {
            if real[0] == MLD_REPORT_V2 {
                self.show_group_records(real, out, 16);
            } else if real.len() > 8 {
                // Listener messages have a group here, all others end before.
                out.copy_from_slice(real);
                self.show_addresses(&real[8..24], &mut out[8..24]);
                if real.len() > MLD_QUERY_V2_LEN {
                    self.show_addresses(&real[MLD_QUERY_V2_LEN..], &mut out[MLD_QUERY_V2_LEN..]);
                }
            }
            return real.len();
        };
        if real[0] == ROUTER_ADVERTISEMENT {
            out[8..fixed_len].copy_from_slice(&real[8..fixed_len]);
        } else {
            self.show_addresses(&real[8..fixed_len], &mut out[8..fixed_len]);
        }
        fixed_len
            + neighbour::write_options(&real[fixed_len..], &mut out[fixed_len..], |kind, option, room| {
                self.show_neighbour_option(kind, option, room)
            })
    }

    /// IGMP: numbers and addresses alone.
    pub(super) fn show_igmp(&self, real: &[u8], out: &mut [u8]) {
        if real[0] == IGMP_REPORT_V3 {
            out[..8].copy_from_slice(&real[..8]);
            self.show_group_records(real, out, 4);
        } else {
            out.copy_from_slice(real);
        }
    }

    /// Group records behind 8 bytes, without their auxiliary data, of which no use is defined.
    fn show_group_records(&self, real: &[u8], out: &mut [u8], address_len: usize) {
        let mut at = 8;
        while let Some(record) = real.get(at..).filter(|rest| rest.len() >= 4) {
            let end = at + group_record_len(record, address_len);
            let addresses = at + 4..at + 4 + address_len * (1 + usize::from(be16(record, 2)));
            let (Some(real), Some(_)) = (real.get(addresses.clone()), out.get(at..end)) else {
                return;
            };
            out[at..at + 4].copy_from_slice(&record[..4]);
            if address_len == 16 {
                self.show_addresses(real, &mut out[addresses]);
            } else {
                out[addresses].copy_from_slice(real);
            }
            at = end;
        }
    }

    /// Options that say something of the network. The others are left out: a redirect quotes a packet, payload
    /// and all, and what is not known may do so too.
    pub(super) fn show_neighbour_option(&self, kind: u8, option: &[u8], room: &mut [u8]) -> bool {
        room.copy_from_slice(option);
        match (kind, option.len()) {
            (neighbour::SOURCE_LINK_ADDRESS | neighbour::TARGET_LINK_ADDRESS, 8) => {
                self.show_mac(&option[2..8], &mut room[2..8]);
            }
            (neighbour::PREFIX_INFORMATION, 32) => self.show_address(&option[16..32], &mut room[16..32]),
            (neighbour::RECURSIVE_DNS_SERVER, 24..) => self.show_addresses(&option[8..], &mut room[8..]),
            (neighbour::MTU, 8) | (neighbour::DNS_SEARCH_LIST, 16..) => {}
            _ => {
                room.fill(0);
                return false;
            }
        }
        true
    }
}
