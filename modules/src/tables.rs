//! The tables that the host itself computes, without a guest: flow rows at `coarse`, counters at `aggregate`.
//! Owns their columns; must never release a row that `como_anonymize` did not release.

use como_anonymize::aggregate::{Counter, Dimension};
use como_anonymize::class::AddressClass;
use como_anonymize::coarse::HIGH_PORT;
use como_anonymize::columns::NO_VLAN;
use como_anonymize::{DenyReason, View};
use como_dataset::{Batch, ColumnData, ColumnKind, Field, Ragged};
use como_policies::AccessLevel;

/// Columns of the host's table at a level, after the time of the bin; `None`: the level has packets.
pub fn fields(level: AccessLevel) -> Option<Vec<Field>> {
    match level {
        AccessLevel::Coarse => Some(FLOW_COLUMNS.iter().map(field).collect()),
        AccessLevel::Aggregate => Some(COUNTER_COLUMNS.iter().map(field).collect()),
        _ => None,
    }
}

type Column = (&'static str, ColumnKind, &'static str, &'static str, &'static str);

const FLOW_COLUMNS: [Column; 16] = [
    (
        "src",
        ColumnKind::Address,
        "",
        "pseudonym of the source, in 100::/64",
        "",
    ),
    ("dst", ColumnKind::Address, "", "pseudonym of the destination", ""),
    (
        "ip_version",
        ColumnKind::U8,
        "",
        "4, 6, or 0 where the packets are not IP",
        "",
    ),
    ("protocol", ColumnKind::U8, "", "IP protocol", ""),
    (
        "src_service",
        ColumnKind::U16,
        "",
        "exact source port, 65535 for all others",
        "",
    ),
    (
        "dst_service",
        ColumnKind::U16,
        "",
        "exact destination port, 65535 for all others",
        "",
    ),
    (
        "src_class",
        ColumnKind::Text,
        "",
        "class of the source address",
        "",
    ),
    (
        "dst_class",
        ColumnKind::Text,
        "",
        "class of the destination address",
        "",
    ),
    (
        "packets",
        ColumnKind::U32,
        "packets",
        "packets, floored to a power of two",
        "",
    ),
    (
        "mean_bytes",
        ColumnKind::U32,
        "bytes",
        "mean length, floored to a power of two",
        "",
    ),
    ("tcp_flags", ColumnKind::U8, "", "union of the TCP flags", ""),
    ("icmp", ColumnKind::Text, "", "ICMP type and code", ""),
    ("ethertype", ColumnKind::U16, "", "ethertype", ""),
    ("arp_op", ColumnKind::U8, "", "ARP operation", ""),
    ("marks", ColumnKind::Text, "", "fragment, vlan", ""),
    (
        "denied",
        ColumnKind::Text,
        "",
        "reason for which packets are only counted",
        "",
    ),
];

const COUNTER_COLUMNS: [Column; 6] = [
    (
        "dimension",
        ColumnKind::Text,
        "",
        "what packets are grouped by",
        "",
    ),
    ("value", ColumnKind::Text, "", "the group", ""),
    ("packets", ColumnKind::U64, "packets", "packets", "sum"),
    ("bytes", ColumnKind::U64, "bytes", "bytes on the wire", "sum"),
    ("sources", ColumnKind::U64, "hosts", "distinct sources", "max"),
    (
        "destinations",
        ColumnKind::U64,
        "hosts",
        "distinct destinations",
        "max",
    ),
];

fn field((name, kind, unit, description, merge): &Column) -> Field {
    Field {
        name: (*name).into(),
        kind: *kind,
        unit: (*unit).into(),
        description: (*description).into(),
        merge: (*merge).into(),
    }
}

/// Rows of a view at `coarse`.
pub fn flow_rows(view: &View) -> Batch {
    let c = &view.columns;
    let rows = 0..view.len();
    let icmp = |row: usize| match c.protocol[row] {
        1 | 58 => format!("{}/{}", c.icmp_type[row], c.icmp_code[row]),
        _ => String::new(),
    };
    let marks = |row: usize| match (c.fragment[row] != 0, c.vlan[row] != NO_VLAN) {
        (true, true) => "fragment vlan",
        (true, false) => "fragment",
        (false, true) => "vlan",
        (false, false) => "",
    };
    let class = |code: u8, row: usize| {
        if c.ip_version[row] == 0 {
            ""
        } else {
            class_name(code)
        }
    };
    Batch {
        columns: vec![
            ColumnData::Address(c.src.clone()),
            ColumnData::Address(c.dst.clone()),
            ColumnData::U8(c.ip_version.clone()),
            ColumnData::U8(c.protocol.clone()),
            ColumnData::U16(c.src_port.clone()),
            ColumnData::U16(c.dst_port.clone()),
            text(rows.clone().map(|row| class(c.src_class[row], row))),
            text(rows.clone().map(|row| class(c.dst_class[row], row))),
            ColumnData::U32(c.weight.clone()),
            ColumnData::U32(c.wire_len.clone()),
            ColumnData::U8(c.tcp_flags.clone()),
            text(rows.clone().map(icmp)),
            ColumnData::U16(c.ethertype.clone()),
            ColumnData::U8(c.arp_op.clone()),
            text(rows.clone().map(marks)),
            text(rows.map(|row| deny_name(c.deny[row]))),
        ],
    }
}

/// Rows of an hour's counters.
pub fn counter_rows(counters: &[Counter]) -> Batch {
    let numbers = |of: fn(&Counter) -> u64| ColumnData::U64(counters.iter().map(of).collect());
    Batch {
        columns: vec![
            text(counters.iter().map(|counter| counter.dimension.name())),
            text(counters.iter().map(group_name)),
            numbers(|counter| counter.packets),
            numbers(|counter| counter.bytes),
            numbers(|counter| counter.sources),
            numbers(|counter| counter.destinations),
        ],
    }
}

fn group_name(counter: &Counter) -> String {
    let value = counter.value;
    match counter.dimension {
        Dimension::All => String::new(),
        Dimension::Ethertype => format!("{value:#06x}"),
        Dimension::Service if value == HIGH_PORT => "other".into(),
        Dimension::Service | Dimension::Protocol => value.to_string(),
        Dimension::SourceClass | Dimension::DestinationClass => class_name(value as u8).into(),
        Dimension::Denied => deny_name(value as u8).into(),
    }
}

fn class_name(code: u8) -> &'static str {
    AddressClass::from_u8(code).map_or("unknown", AddressClass::name)
}

/// Empty: not denied.
fn deny_name(code: u8) -> &'static str {
    match code {
        0 => "",
        code => DenyReason::from_u8(code).map_or("unknown", DenyReason::name),
    }
}

fn text<S: AsRef<str>>(strings: impl Iterator<Item = S>) -> ColumnData {
    let mut ragged = Ragged::default();
    strings.for_each(|string| ragged.push(string.as_ref().as_bytes()));
    ColumnData::Text(ragged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use como_anonymize::{LinkType, PacketRow};

    #[test]
    fn rows_fit_their_columns() {
        let mut view = View::new(AccessLevel::Coarse, LinkType::ETHERNET);
        let row = PacketRow {
            protocol: 58,
            ip_version: 6,
            icmp_type: 3,
            icmp_code: 1,
            fragment: 1,
            vlan: NO_VLAN,
            deny: DenyReason::Llc.as_u8(),
            ..PacketRow::default()
        };
        assert!(view.push(&row, &[]));
        let counter = Counter {
            dimension: Dimension::Service,
            value: HIGH_PORT,
            packets: 1,
            bytes: 2,
            sources: 3,
            destinations: 4,
        };
        for (batch, level) in [
            (flow_rows(&view), AccessLevel::Coarse),
            (counter_rows(&[counter]), AccessLevel::Aggregate),
        ] {
            let fields = fields(level).unwrap();
            assert_eq!(batch.rows(), 1);
            assert_eq!(batch.columns.len(), fields.len());
            assert!(
                batch
                    .columns
                    .iter()
                    .zip(&fields)
                    .all(|(c, f)| c.kind() == f.kind && c.len() == 1)
            );
        }
        assert!(fields(AccessLevel::Anonymized).is_none());
    }
}
