//! What every released frame obeys, on the golden set: default deny, re-keying, stripping and restoring, checksums.

use como_anonymize::columns::Column;
use como_anonymize::{
    Anonymizer, DenyReason, LinkType, Outcome, RawPacket, RowMeta, build, describe, dissect, rekey,
    rekey_addresses_and_ports, restore, strip,
};
use como_policies::AccessLevel::Anonymized;

use crate::frames::{ethernet, ipv4, tcp};
use crate::golden::{Golden, golden};
use crate::oracle::KEYS;

fn node() -> &'static Anonymizer {
    &KEYS[0]
}

/// The golden frames that have a frame at `anonymized`, and that frame.
fn released() -> Vec<(Golden, Vec<u8>)> {
    let framed = golden().into_iter().filter(|golden| golden.deny.is_none());
    framed
        .map(|golden| {
            let mut out = Vec::new();
            let outcome = node().anonymize(golden.link, &golden.frame, &mut out);
            assert_eq!(outcome, Outcome::Framed { len: out.len() }, "{}", golden.name);
            assert!(out.len() <= golden.frame.len(), "{}", golden.name);
            (golden, out)
        })
        .collect()
}

#[test]
fn what_is_not_on_the_allow_list_is_denied() {
    let whole = ethernet(0x0800, &ipv4(6, &tcp(&[], b"")));
    let mut version_5 = whole.clone();
    version_5[14] = 0x55;
    for (frame, reason) in [
        (ethernet(0x88cc, b"lldp"), DenyReason::UnknownEthertype),
        (ethernet(0x88f7, b"precision time"), DenyReason::UnknownEthertype),
        (ethernet(0x0026, b"\x42\x42\x03stp"), DenyReason::Llc),
        (version_5, DenyReason::BadIpVersion),
        (whole[..40].to_vec(), DenyReason::Truncated),
        (
            ethernet(0x0806, &[0, 6, 8, 0, 6, 4, 0, 1, 0, 0, 0, 0]),
            DenyReason::UnsupportedArp,
        ),
        (ethernet(0x0800, &ipv4(6, b"short")), DenyReason::Malformed),
        (Vec::new(), DenyReason::Truncated),
    ] {
        let mut out = Vec::new();
        assert_eq!(
            node().anonymize(LinkType::ETHERNET, &frame, &mut out),
            Outcome::Denied(reason)
        );
        assert!(out.is_empty());
    }
    for (link, reason) in [
        (LinkType::IEEE802_11, DenyReason::Wireless),
        (LinkType(147), DenyReason::UnknownLinkType),
    ] {
        assert_eq!(
            node().anonymize(link, &whole, &mut Vec::new()),
            Outcome::Denied(reason)
        );
    }
}

#[test]
fn rekeying_changes_pseudonyms_and_nothing_else() {
    let mut with_addresses = 0;
    for (golden, _) in released() {
        let name = golden.name;
        let node = build(Anonymized, golden.link, [golden.packet()], Some(node()));
        let partner = rekey(&node, &KEYS[1]);
        assert_eq!(partner.columns.deny, [0], "{name}");
        let mut columns = node.columns.clone();
        rekey_addresses_and_ports(&mut columns, &KEYS[1]);
        for column in [Column::Src, Column::Dst, Column::SrcPort, Column::DstPort] {
            let values = [&columns, &partner.columns].map(|columns| {
                let mut bytes = Vec::new();
                columns.write_le(column, 0, 1, &mut bytes);
                bytes
            });
            assert_eq!(values[0], values[1], "{name}: {} alone", column.name());
        }
        assert_eq!(
            node.frames.offsets, partner.frames.offsets,
            "{name}: the layout is kept"
        );
        for column in Column::ALL
            .iter()
            .filter(|column| !column.is_pseudonymous_at(Anonymized))
        {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            node.columns.write_le(*column, 0, 1, &mut ours);
            partner.columns.write_le(*column, 0, 1, &mut theirs);
            assert_eq!(ours, theirs, "{name}: {}", column.name());
        }
        // Discovery and the like have no address.
        if node.columns.src != [[0; 16]] {
            let direct = build(Anonymized, golden.link, [golden.packet()], Some(&KEYS[1]));
            assert_ne!(
                direct.columns.src, partner.columns.src,
                "{name}: the audience never sees the node's inner key"
            );
            with_addresses += 1;
        }
    }
    assert!(with_addresses > 100);
}

#[test]
fn stripping_and_restoring_gives_the_frame_back() {
    for (golden, out) in released() {
        let meta = RowMeta {
            ts_ns: 0,
            wire_len: 0,
            weight: 1,
            deny: 0,
            src_class: 0,
            dst_class: 0,
            checksums: 0,
            src_as: 0,
            dst_as: 0,
        };
        let row = describe(&meta, golden.link, &out);
        let mut stripped = out.clone();
        let found = dissect(golden.link, &stripped);
        strip(&found, &mut stripped);
        assert_eq!(
            dissect(golden.link, &stripped).layers(),
            found.layers(),
            "stripping moves no header"
        );
        assert_ne!(stripped, out, "{}", golden.name);
        restore(&found, &mut stripped, &row);
        assert_eq!(stripped, out, "{}", golden.name);
    }
}

#[test]
fn checksums_are_those_of_a_payload_of_zeros() {
    for (golden, mut out) in released() {
        let found = dissect(golden.link, &golden.frame);
        let quotes = found.layers().iter().any(|layer| layer.quote_depth > 0);
        out.resize(golden.frame.len().max(out.len()), 0);
        let packet = RawPacket {
            ts_ns: 0,
            wire_len: 0,
            link: golden.link,
            data: &out,
        };
        let verdicts = RowMeta::of_packet(&packet, &dissect(golden.link, &out)).checksums;
        assert!(
            ![verdicts & 3, verdicts >> 2].contains(&2) || quotes,
            "{}: {verdicts:04b}",
            golden.name
        );
    }
}
