//! The columns of a view: names, stable ids, widths. Owns the one table from which the row, the columns, the
//! filter's operands and the guest ABI's column ids come; must never hold packet bytes.

use como_policies::AccessLevel;

use crate::bitmap::Bitmap;

/// `vlan` of an untagged packet: no 12-bit id can be this.
pub const NO_VLAN: u16 = 0xffff;

/// A value that a column can hold: fixed width, little-endian outside the process.
pub trait Cell: Copy + Sized {
    /// Bytes of one value.
    const WIDTH: usize;
    /// Appends the little-endian bytes of all values.
    fn write_all(values: &[Self], out: &mut Vec<u8>);
    /// Appends the values of a whole number of `WIDTH` bytes each.
    fn read_all(bytes: &[u8], values: &mut Vec<Self>);
}

macro_rules! integer_cells {
    ($($ty:ty),*) => {$(
        impl Cell for $ty {
            const WIDTH: usize = size_of::<$ty>();
            fn write_all(values: &[Self], out: &mut Vec<u8>) {
                // Into prepared places: appending one by one would look at the capacity each time.
                let start = out.len();
                out.resize(start + size_of_val(values), 0);
                let places = out[start..].as_chunks_mut().0;
                places.iter_mut().zip(values).for_each(|(to, value)| *to = value.to_le_bytes());
            }
            fn read_all(bytes: &[u8], values: &mut Vec<Self>) {
                values.extend(bytes.as_chunks().0.iter().map(|chunk| <$ty>::from_le_bytes(*chunk)));
            }
        }
    )*};
}
integer_cells!(u8, u16, u32, u64);

impl<const N: usize> Cell for [u8; N] {
    const WIDTH: usize = N;
    fn write_all(values: &[Self], out: &mut Vec<u8>) {
        out.extend_from_slice(values.as_flattened());
    }
    fn read_all(bytes: &[u8], values: &mut Vec<Self>) {
        values.extend_from_slice(bytes.as_chunks().0);
    }
}

macro_rules! columns {
    ($( $(#[doc = $doc:literal])+ $id:literal $variant:ident $field:ident : $ty:ty ; )+) => {
        /// Which column. The numbers are stored in traces and are the guest ABI's column ids: never renumber.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Column { $( $(#[doc = $doc])+ $variant = $id, )+ }

        impl Column {
            /// Every column, by ascending id.
            pub const ALL: &'static [Column] = &[ $(Column::$variant),+ ];

            /// The name used in manifests and documents.
            pub fn name(self) -> &'static str {
                match self { $(Column::$variant => stringify!($field),)+ }
            }

            /// Bytes of one value.
            pub fn width(self) -> usize {
                match self { $(Column::$variant => <$ty as Cell>::WIDTH,)+ }
            }
        }

        /// One packet as seen at one level: a value per column, zero where the layer is absent.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct PacketRow { $( $(#[doc = $doc])+ pub $field: $ty, )+ }

        /// A batch of rows, column by column. All columns have the same length.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Columns { $( $(#[doc = $doc])+ pub $field: Vec<$ty>, )+ }

        impl Columns {
            /// Empty columns with room for `rows` rows.
            pub fn with_capacity(rows: usize) -> Self {
                Columns { $( $field: Vec::with_capacity(rows), )+ }
            }

            /// Makes room for `rows` rows more.
            pub fn reserve(&mut self, rows: usize) {
                $( self.$field.reserve(rows); )+
            }

            /// Removes every row, keeps the memory.
            pub fn clear(&mut self) {
                $( self.$field.clear(); )+
            }

            /// Appends one row.
            pub fn push(&mut self, row: &PacketRow) {
                $( self.$field.push(row.$field); )+
            }

            /// Appends many rows: column after column, which costs less than row after row.
            pub fn extend(&mut self, rows: &[PacketRow]) {
                $( self.$field.extend(rows.iter().map(|row| row.$field)); )+
            }

            /// Appends the rows of other columns, which are filled as these are.
            pub fn append(&mut self, other: &Columns) {
                $( self.$field.extend_from_slice(&other.$field); )+
            }

            /// Row `index`; `None` beyond the end.
            pub fn row(&self, index: usize) -> Option<PacketRow> {
                Some(PacketRow { $( $field: *self.$field.get(index)?, )+ })
            }

            /// The named columns; the others stay empty, so that they take no memory.
            pub fn only(&self, wanted: &[Column]) -> Columns {
                let mut only = Columns::default();
                $( if wanted.contains(&Column::$variant) { only.$field.clone_from(&self.$field); } )+
                only
            }

            /// Whether a column has a value for each of `rows` rows.
            pub fn has(&self, column: Column, rows: usize) -> bool {
                match column { $( Column::$variant => self.$field.len() == rows, )+ }
            }

            /// The rows that are in `keep`, in order.
            pub fn select(&self, keep: &Bitmap) -> Columns {
                Columns { $( $field: keep.ones().map_while(|at| self.$field.get(at).copied()).collect(), )+ }
            }

            /// Appends the little-endian values of one column, rows `from..to` (clamped), to `out`.
            pub fn write_le(&self, column: Column, from: usize, to: usize, out: &mut Vec<u8>) {
                match column { $( Column::$variant => {
                    let to = to.min(self.$field.len());
                    Cell::write_all(&self.$field[from.min(to)..to], out);
                } )+ }
            }

            /// Replaces one column by the little-endian values in `bytes`. False, and nothing changed, when the
            /// length is not a whole number of values. The caller brings all columns to one length.
            #[must_use]
            pub fn read_le(&mut self, column: Column, bytes: &[u8]) -> bool {
                if bytes.len() % column.width() != 0 { return false; }
                match column { $( Column::$variant => {
                    self.$field.clear();
                    Cell::read_all(bytes, &mut self.$field);
                } )+ }
                true
            }

            /// Whether every column has the length of the first.
            pub fn is_even(&self) -> bool {
                let len = self.len();
                true $( && self.$field.len() == len )+
            }
        }
    };
}

columns! {
    /// Packet time, nanoseconds since the Unix epoch, floored to the level's grain.
    0 TsNs ts_ns: u64;
    /// Length on the wire, bytes.
    1 WireLen wire_len: u32;
    /// Bytes visible at this level.
    2 CapLen cap_len: u32;
    /// Sampling weight: how many packets this row stands for.
    3 Weight weight: u32;
    /// `DenyReason` code, 0 = not denied.
    4 Deny deny: u8;
    /// Ethertype after VLAN tags (for RAW: that of the IP version).
    5 Ethertype ethertype: u16;
    /// Outer VLAN id, 0xffff = untagged.
    6 Vlan vlan: u16;
    /// 0 (not IP), 4 or 6.
    7 IpVersion ip_version: u8;
    /// IP protocol after extension headers.
    8 Protocol protocol: u8;
    /// Source address, IPv4 as ::ffff:a.b.c.d; for ARP the sender's.
    9 Src src: [u8; 16];
    /// Destination address, IPv4 as ::ffff:a.b.c.d; for ARP the target's.
    10 Dst dst: [u8; 16];
    /// `AddressClass` of the real source, 0 = global.
    11 SrcClass src_class: u8;
    /// `AddressClass` of the real destination, 0 = global.
    12 DstClass dst_class: u8;
    /// TCP, UDP or SCTP source port.
    13 SrcPort src_port: u16;
    /// TCP, UDP or SCTP destination port.
    14 DstPort dst_port: u16;
    /// TCP flags, CWR the highest bit, FIN the lowest.
    15 TcpFlags tcp_flags: u8;
    /// ICMP or ICMPv6 type.
    16 IcmpType icmp_type: u8;
    /// ICMP or ICMPv6 code.
    17 IcmpCode icmp_code: u8;
    /// Bit 0: is a fragment; bit 1: not the first one.
    18 Fragment fragment: u8;
    /// TTL or hop limit; below `headers` 255 minus the hops travelled.
    19 Ttl ttl: u8;
    /// DSCP and ECN.
    20 Tos tos: u8;
    /// IPv4 identification.
    21 IpId ip_id: u16;
    /// TCP sequence number; below `headers` relative to a keyed offset of the flow's direction.
    22 TcpSeq tcp_seq: u32;
    /// TCP acknowledgement number, likewise.
    23 TcpAck tcp_ack: u32;
    /// TCP window as in the header, unscaled; below `headers` floored to a power of two.
    24 TcpWindow tcp_window: u16;
    /// Ethernet source.
    25 SrcMac src_mac: [u8; 6];
    /// Ethernet destination.
    26 DstMac dst_mac: [u8; 6];
    /// ARP operation.
    27 ArpOp arp_op: u8;
    /// Offset of the first byte after the last parsed header.
    28 PayloadOffset payload_offset: u16;
    /// Verdicts on the checksums as captured: bits 0-1 IPv4 header, bits 2-3 transport (see `Verdict`).
    29 Checksums checksums: u8;
    /// `TunnelKind` of the outermost tunnel, 0 = none.
    30 Tunnel tunnel: u8;
    /// Autonomous system of the real source, 0 = not known, or not named.
    31 SrcAs src_as: u32;
    /// Autonomous system of the real destination, likewise.
    32 DstAs dst_as: u32;
}

/// Rows on their way into columns, which take many at once. What still waits must be flushed at the end.
pub struct RowBuffer(Vec<PacketRow>);

impl Default for RowBuffer {
    fn default() -> Self {
        RowBuffer(Vec::with_capacity(Self::ROWS))
    }
}

impl RowBuffer {
    /// Rows that are appended together.
    const ROWS: usize = 64;

    /// Takes a row, which reaches the columns with others.
    pub fn push(&mut self, row: PacketRow, columns: &mut Columns) {
        self.0.push(row);
        if self.0.len() == Self::ROWS {
            self.flush(columns);
        }
    }

    /// Appends what waits.
    pub fn flush(&mut self, columns: &mut Columns) {
        columns.extend(&self.0);
        self.0.clear();
    }
}

impl Column {
    /// The number stored in traces and manifests.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// The column with this id.
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.get(usize::from(id)).copied()
    }

    /// The column with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|column| column.name() == name)
    }

    /// Whether values of this column at a level are pseudonyms, or may hold one: then they differ between audiences.
    pub fn is_pseudonymous_at(self, level: AccessLevel) -> bool {
        match self {
            // At `headers`: NIC parts of MACs, and of interface ids that are made of one.
            Column::Src | Column::Dst | Column::SrcMac | Column::DstMac => level <= AccessLevel::Headers,
            Column::Vlan
            | Column::SrcPort
            | Column::DstPort
            | Column::IpId
            | Column::TcpSeq
            | Column::TcpAck => level <= AccessLevel::Anonymized,
            _ => false,
        }
    }
}

impl Columns {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ts_ns.len()
    }

    /// True when there are no rows.
    pub fn is_empty(&self) -> bool {
        self.ts_ns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_dense_and_round_trip() {
        for (at, column) in Column::ALL.iter().enumerate() {
            assert_eq!(usize::from(column.id()), at);
            assert_eq!(Column::from_id(column.id()), Some(*column));
            assert_eq!(Column::from_name(column.name()), Some(*column));
        }
        assert_eq!(Column::from_id(Column::ALL.len() as u8), None);
    }

    #[test]
    fn little_endian_round_trip_and_selection() {
        let (mut columns, mut rows) = (Columns::with_capacity(3), Vec::new());
        for n in 0..3u8 {
            let row = PacketRow {
                wire_len: 0x0102_0300 + u32::from(n),
                src: [n; 16],
                ..PacketRow::default()
            };
            columns.push(&row);
            rows.push(row);
        }
        let mut extended = Columns::default();
        extended.extend(&rows);
        assert_eq!(extended, columns);
        let mut back = Columns::default();
        for &column in Column::ALL {
            let mut bytes = Vec::new();
            columns.write_le(column, 0, usize::MAX, &mut bytes);
            assert_eq!(bytes.len(), 3 * column.width());
            assert!(back.read_le(column, &bytes));
        }
        assert_eq!(back, columns);
        assert!(!back.read_le(Column::WireLen, &[1, 2, 3]));
        let mut odd = Bitmap::none(3);
        odd.set(1);
        let one = columns.select(&odd);
        assert!(one.is_even() && one.len() == 1);
        assert_eq!(one.row(0), columns.row(1));
    }
}
