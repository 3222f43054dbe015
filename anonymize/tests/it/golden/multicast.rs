//! Multicast listeners: MLD (RFC 2710, 3810) and IGMP (RFC 2236, 3376), whose groups and sources are addresses.

use super::{Golden, address6, body, frame, header};
use crate::frames::{
    DST6, HOP, INNER_DST6, INNER_SRC, INNER_SRC6, SRC, e4, e6, ipv4_with, ipv6_between, joined,
};

const CLASS: &str = "multicast listeners";
const GROUP: [u8; 4] = [239, 0xc3, 0x64, 0x17];
const GROUP6: [u8; 16] = [
    0xff, 5, 0, 0, 0x91, 0x82, 0x73, 0x64, 0x55, 0x46, 0x37, 0x28, 0x19, 0x1a, 0x2b, 0x3c,
];

pub fn frames() -> Vec<Golden> {
    let mld = |kind: u8, rest: &[u8]| {
        let message = joined(&[&[kind, 0, 0xca, 0xfe], rest]);
        let alert = joined(&[&[58, 0, 5, 2, 0, 0, 1, 0], &message]);
        e6(ipv6_between(DST6, INNER_DST6, 0, &alert))
    };
    let igmp = |message: &[u8]| e4(ipv4_with(2, &[148, 4, 0, 0], message));
    let solicited = joined(&[
        &[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff],
        &[0x9e, 0x8d, 0x7c],
    ]);
    let records6 = joined(&[&[0, 0, 0, 1], &[1, 0, 0, 1], &GROUP6, &INNER_SRC6]);
    let records = joined(&[&[0x22, 0, 0xca, 0xfe, 0, 0, 0, 1], &[1, 0, 0, 1], &GROUP, &HOP]);
    let query = joined(&[&[0x11, 100, 0xca, 0xfe], &GROUP, &[2, 125, 0, 1], &INNER_SRC]);
    vec![
        frame(
            CLASS,
            "listener report",
            mld(131, &joined(&[&[0; 4], &GROUP6])),
            address6(GROUP6),
        ),
        frame(
            CLASS,
            "listener done",
            mld(132, &joined(&[&[0; 4], &GROUP6])),
            address6(GROUP6),
        ),
        frame(
            CLASS,
            "report of a solicited-node group",
            mld(131, &joined(&[&[0; 4], &solicited])),
            vec![body([0x9e, 0x8d, 0x7c])],
        ),
        frame(
            CLASS,
            "listener report, version 2",
            mld(143, &records6),
            [address6(GROUP6), address6(INNER_SRC6)]
                .into_iter()
                .flatten()
                .collect(),
        ),
        frame(
            CLASS,
            "group report",
            igmp(&joined(&[&[0x16, 0, 0xca, 0xfe], &GROUP])),
            vec![header(GROUP), header(SRC), body([0xca, 0xfe])],
        ),
        frame(
            CLASS,
            "group report, version 3",
            igmp(&records),
            vec![header(GROUP), header(HOP)],
        ),
        frame(
            CLASS,
            "group query with sources",
            igmp(&query),
            vec![header(GROUP), header(INNER_SRC)],
        ),
    ]
}
