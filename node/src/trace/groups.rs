//! Section A: the columns of the anonymized view in six groups, each opened on its own. Must never hold
//! a value that the anonymized view does not have.
//!
//! A group is a count of columns, then per column: id u8, form u8, bytes u32, data. A reader skips
//! columns whose id it does not know, so that one can be added later.

use std::hash::Hash;

use como_anonymize::{Column, Columns, View};
use hashbrown::HashMap;

use super::codec::{Reader, put_column, put_u32, put_u64, unzigzag, zigzag};
use super::error::TraceError;
use super::templates::{FrameTemplates, OUTSIDE, StoredTemplates, bounded};

/// Nanoseconds of the time grain of section A.
pub(super) const NS_PER_MS: u64 = 1_000_000;

/// Columns that are opened together. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ColumnGroup {
    /// Time.
    Time = 0,
    /// Lengths, sampling weight, denial.
    Size = 1,
    /// What kind of packet: protocols, VLAN, tunnel, address classes, AS numbers, fragments.
    Kind = 2,
    /// Source and destination.
    Address = 3,
    /// Ports, TCP flags, ICMP type and code, ARP operation.
    Transport = 4,
    /// The other fields, and the frames.
    Rest = 5,
}

impl ColumnGroup {
    /// How many there are.
    pub const COUNT: usize = 6;
    /// Every group, by number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Time,
        Self::Size,
        Self::Kind,
        Self::Address,
        Self::Transport,
        Self::Rest,
    ];

    /// The group that holds a column.
    pub fn of(column: Column) -> Self {
        use Column::*;
        match column {
            TsNs => Self::Time,
            WireLen | CapLen | Weight | Deny => Self::Size,
            Ethertype | Vlan | IpVersion | Protocol | SrcClass | DstClass | Fragment | Checksums | Tunnel
            | SrcAs | DstAs => Self::Kind,
            Src | Dst => Self::Address,
            SrcPort | DstPort | TcpFlags | IcmpType | IcmpCode | ArpOp => Self::Transport,
            Ttl | Tos | IpId | TcpSeq | TcpAck | TcpWindow | SrcMac | DstMac | PayloadOffset => Self::Rest,
        }
    }
}

/// A set of column groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupSet(u8);

impl GroupSet {
    /// No group.
    pub const NONE: Self = Self(0);
    /// Every group: columns and frames.
    pub const ALL: Self = Self((1 << ColumnGroup::COUNT) - 1);

    /// The groups that hold these columns.
    pub fn of(columns: impl IntoIterator<Item = Column>) -> Self {
        columns
            .into_iter()
            .fold(Self::default(), |set, column| set.with(ColumnGroup::of(column)))
    }

    /// With one group more.
    pub const fn with(self, group: ColumnGroup) -> Self {
        Self(self.0 | 1 << group as u8)
    }

    /// Whether a group is in the set.
    pub fn contains(self, group: ColumnGroup) -> bool {
        self.0 & 1 << group as u8 != 0
    }
}

/// Integers as [`put_column`] writes them.
const FORM_INTEGERS: u8 = 1;
/// Milliseconds: the first, then zigzag differences.
const FORM_TIME: u8 = 2;
/// Byte strings of one width: the distinct ones, then an index per row.
const FORM_DICTIONARY: u8 = 3;
/// Byte strings of any length: the distinct ones, then an index per row.
const FORM_FRAMES: u8 = 4;
/// Column id of the frames.
const FRAMES_ID: u8 = 0xff;

enum Values<'a> {
    Time(&'a [u64]),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    Mac(&'a [[u8; 6]]),
    Address(&'a [[u8; 16]]),
}

enum ValuesMut<'a> {
    Time(&'a mut Vec<u64>),
    U8(&'a mut Vec<u8>),
    U16(&'a mut Vec<u16>),
    U32(&'a mut Vec<u32>),
    Mac(&'a mut Vec<[u8; 6]>),
    Address(&'a mut Vec<[u8; 16]>),
}

macro_rules! typed_columns {
    ($($column:ident $field:ident $kind:ident;)*) => {
        fn values(columns: &Columns, column: Column) -> Values<'_> {
            match column { $(Column::$column => Values::$kind(&columns.$field),)* }
        }
        fn values_mut(columns: &mut Columns, column: Column) -> ValuesMut<'_> {
            match column { $(Column::$column => ValuesMut::$kind(&mut columns.$field),)* }
        }
    };
}
typed_columns! {
    TsNs ts_ns Time; WireLen wire_len U32; CapLen cap_len U32; Weight weight U32; Deny deny U8;
    Ethertype ethertype U16; Vlan vlan U16; IpVersion ip_version U8; Protocol protocol U8;
    Src src Address; Dst dst Address; SrcClass src_class U8; DstClass dst_class U8;
    SrcPort src_port U16; DstPort dst_port U16; TcpFlags tcp_flags U8; IcmpType icmp_type U8; IcmpCode icmp_code U8;
    Fragment fragment U8; Ttl ttl U8; Tos tos U8; IpId ip_id U16; TcpSeq tcp_seq U32; TcpAck tcp_ack U32;
    TcpWindow tcp_window U16; SrcMac src_mac Mac; DstMac dst_mac Mac; ArpOp arp_op U8;
    PayloadOffset payload_offset U16; Checksums checksums U8; Tunnel tunnel U8; SrcAs src_as U32; DstAs dst_as U32;
}

/// Appends the plain bytes of one group of a view at `anonymized` and its frames.
pub(super) fn encode(columns: &Columns, frames: &FrameTemplates, group: ColumnGroup, out: &mut Vec<u8>) {
    let members = || {
        Column::ALL
            .iter()
            .copied()
            .filter(|column| ColumnGroup::of(*column) == group && !is_left_out(columns, *column))
    };
    let with_frames = group == ColumnGroup::Rest;
    out.push(members().count() as u8 + u8::from(with_frames));
    for column in members() {
        let values = values(columns, column);
        let form = match values {
            Values::Time(_) => FORM_TIME,
            Values::Mac(_) | Values::Address(_) => FORM_DICTIONARY,
            _ => FORM_INTEGERS,
        };
        put_entry(out, column.id(), form, |out| match values {
            Values::Time(v) => put_times(out, v),
            Values::U8(v) => put_column(out, v),
            Values::U16(v) => put_column(out, v),
            Values::U32(v) => put_column(out, v),
            Values::Mac(v) => put_dictionary(out, v),
            Values::Address(v) => put_dictionary(out, v),
        });
    }
    if with_frames {
        put_entry(out, FRAMES_ID, FORM_FRAMES, |out| frames.encode(out));
    }
}

/// Where no packet has an AS number, as without a routing table, there is no column of them: it reads as zeros, like that of
/// a segment which was written before there were any.
fn is_left_out(columns: &Columns, column: Column) -> bool {
    match column {
        Column::SrcAs => columns.src_as.iter().all(|number| *number == 0),
        Column::DstAs => columns.dst_as.iter().all(|number| *number == 0),
        _ => false,
    }
}

/// Reads one group into the columns of `view`, whose rows are `rows`; gives the frames' templates where the
/// group holds them.
pub(super) fn decode<'a>(
    bytes: &'a [u8],
    rows: usize,
    view: &mut View,
) -> Result<Option<StoredTemplates<'a>>, TraceError> {
    let mut templates = None;
    let mut input = Reader(bytes);
    for _ in 0..input.u8()? {
        let (id, form, length) = (input.u8()?, input.u8()?, input.u32()?);
        let mut data = Reader(input.bytes(length as usize)?);
        match (Column::from_id(id), form) {
            (_, FORM_FRAMES) if id == FRAMES_ID => templates = Some(StoredTemplates::read(&mut data, rows)?),
            (None, _) => continue,
            (Some(column), form) => match (values_mut(&mut view.columns, column), form) {
                (ValuesMut::Time(v), FORM_TIME) => *v = read_times(&mut data, rows)?,
                (ValuesMut::U8(v), FORM_INTEGERS) => *v = data.column(rows)?,
                (ValuesMut::U16(v), FORM_INTEGERS) => *v = data.column(rows)?,
                (ValuesMut::U32(v), FORM_INTEGERS) => *v = data.column(rows)?,
                (ValuesMut::Mac(v), FORM_DICTIONARY) => *v = read_dictionary(&mut data, rows)?,
                (ValuesMut::Address(v), FORM_DICTIONARY) => *v = read_dictionary(&mut data, rows)?,
                _ => return Err(TraceError::damaged(0, "a column has an unknown form")),
            },
        }
        data.end()?;
    }
    input.end()?;
    Ok(templates)
}

/// Brings the columns of the groups to `rows` rows where nothing was stored for them: zero, untagged, weight one. The
/// columns of other groups stay empty, but for time, which tells how many rows there are.
pub(super) fn fill_blank(columns: &mut Columns, rows: usize, groups: GroupSet) {
    for &column in Column::ALL {
        if columns.has(column, rows) || !groups.contains(ColumnGroup::of(column)) && column != Column::TsNs {
            continue;
        }
        match values_mut(columns, column) {
            ValuesMut::Time(v) => v.resize(rows, 0),
            ValuesMut::U8(v) => v.resize(rows, 0),
            ValuesMut::U16(v) => v.resize(
                rows,
                if column == Column::Vlan {
                    como_anonymize::NO_VLAN
                } else {
                    0
                },
            ),
            ValuesMut::U32(v) => v.resize(rows, u32::from(column == Column::Weight)),
            ValuesMut::Mac(v) => v.resize(rows, [0; 6]),
            ValuesMut::Address(v) => v.resize(rows, [0; 16]),
        }
    }
}

fn put_entry(out: &mut Vec<u8>, id: u8, form: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[id, form, 0, 0, 0, 0]);
    let start = out.len();
    fill(out);
    let length = (out.len() - start) as u32;
    out[start - 4..start].copy_from_slice(&length.to_le_bytes());
}

fn put_times(out: &mut Vec<u8>, times: &[u64]) {
    let first = times.first().map_or(0, |t| t / NS_PER_MS);
    put_u64(out, first);
    let mut before = first;
    let differences: Vec<u64> = times
        .iter()
        .map(|t| {
            let ms = t / NS_PER_MS;
            zigzag(ms as i64 - std::mem::replace(&mut before, ms) as i64)
        })
        .collect();
    put_column(out, &differences);
}

fn read_times(data: &mut Reader<'_>, rows: usize) -> Result<Vec<u64>, TraceError> {
    let mut ms = data.u64()?;
    let mut times: Vec<u64> = data.column(rows)?;
    for time in &mut times {
        ms = ms.wrapping_add_signed(unzigzag(*time));
        *time = ms.saturating_mul(NS_PER_MS);
    }
    Ok(times)
}

fn put_dictionary<const N: usize>(out: &mut Vec<u8>, values: &[[u8; N]]) {
    let (distinct, index) = distinct(values.iter());
    put_u32(out, distinct.len() as u32);
    distinct.iter().for_each(|value| out.extend_from_slice(*value));
    put_column(out, &index);
}

fn read_dictionary<const N: usize>(data: &mut Reader<'_>, rows: usize) -> Result<Vec<[u8; N]>, TraceError> {
    let count = bounded(data.u32()?, rows)?;
    let values = data.bytes(count * N)?.as_chunks::<N>().0;
    let index: Vec<u32> = data.column(rows)?;
    if index.iter().any(|&number| number as usize >= values.len()) {
        return Err(OUTSIDE);
    }
    Ok(index.iter().map(|&number| values[number as usize]).collect())
}

/// Distinct values in order of first appearance, and the index of each row's.
fn distinct<V: Copy + Eq + Hash>(values: impl Iterator<Item = V>) -> (Vec<V>, Vec<u32>) {
    let mut seen = HashMap::new();
    let mut distinct = Vec::new();
    let mut before = None;
    let index = values.map(|value| match before {
        // Packets come in trains: often it is the value of the row before.
        Some((last, number)) if last == value => number,
        _ => {
            let number = *seen.entry(value).or_insert_with(|| {
                distinct.push(value);
                distinct.len() as u32 - 1
            });
            before = Some((value, number));
            number
        }
    });
    let index = index.collect();
    (distinct, index)
}

#[cfg(test)]
mod tests {
    use como_anonymize::LinkType;
    use como_policies::AccessLevel;

    use super::*;

    /// A segment without a routing table is the same as before there were AS numbers, and reads as if there was none.
    #[test]
    fn as_numbers_are_columns_only_where_a_packet_has_one() {
        let encoded = |src_as: [u32; 3]| {
            let mut columns = Columns::default();
            fill_blank(&mut columns, 3, GroupSet::ALL);
            columns.protocol = vec![6, 17, 6];
            columns.src_as = src_as.to_vec();
            let mut out = Vec::new();
            encode(&columns, &FrameTemplates::default(), ColumnGroup::Kind, &mut out);
            out
        };
        let decoded = |bytes: &[u8]| {
            let mut view = View::new(AccessLevel::Anonymized, LinkType::ETHERNET);
            decode(bytes, 3, &mut view).unwrap();
            fill_blank(&mut view.columns, 3, GroupSet::ALL);
            view.columns
        };
        let (with, without) = (encoded([0, 64_500, 4_200_000_000]), encoded([0; 3]));
        assert_eq!(with[0], without[0] + 1, "one column more");
        assert_eq!(decoded(&with).src_as, [0, 64_500, 4_200_000_000]);
        assert_eq!(decoded(&with).dst_as, [0; 3]);
        assert_eq!(decoded(&without).src_as, [0; 3]);
        assert_eq!(decoded(&without).protocol, [6, 17, 6]);
    }
}
