//! The arena: where the host lays a batch of packets down in the guest's memory, column by column.
//! Owns offsets and copying (docs/module-abi.md, "The arena"); must never run a guest.

use std::ops::Range;

use como_anonymize::{Column, Columns, Frames};

use crate::limits::{
    ARGUMENTS_MAX, BATCH_HEADER_BYTES, BATCH_MAX_FRAME_BYTES, BATCH_MAX_PACKETS, COLUMN_ALIGN_BYTES,
};

/// Where everything lies, relative to the arena's start. Depends on the requested columns alone, so a guest
/// knows every offset when it is compiled.
#[derive(Debug, Clone)]
pub(crate) struct ArenaLayout {
    columns: Vec<(Column, usize)>,
    frames: Option<FrameLayout>,
    /// Bytes that the guest must reserve.
    pub bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct FrameLayout {
    /// `BATCH_MAX_PACKETS + 1` numbers of 32 bits: where each frame starts, and the end.
    offsets: usize,
    bytes: usize,
}

/// Which packets of a view to take.
pub(crate) enum Rows<'a> {
    /// All of a stretch: one copy per column.
    Stretch(Range<usize>),
    /// Picked ones, ascending.
    Picked(&'a [u32]),
}

impl Rows<'_> {
    pub fn len(&self) -> usize {
        match self {
            Rows::Stretch(range) => range.len(),
            Rows::Picked(rows) => rows.len(),
        }
    }
}

/// What `update` is told beside the columns; the first bytes of the arena.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BatchHeader {
    pub interval_start_ns: u64,
    pub interval_ns: u64,
    pub packets: u32,
    pub frame_bytes: u32,
    pub level: u8,
}

impl BatchHeader {
    pub fn write(&self, arena: &mut [u8]) {
        let header = &mut arena[..BATCH_HEADER_BYTES];
        header.fill(0);
        header[0..8].copy_from_slice(&self.interval_start_ns.to_le_bytes());
        header[8..16].copy_from_slice(&self.interval_ns.to_le_bytes());
        header[16..20].copy_from_slice(&self.packets.to_le_bytes());
        header[20..24].copy_from_slice(&self.frame_bytes.to_le_bytes());
        header[24] = self.level;
    }
}

impl ArenaLayout {
    pub fn new(columns: &[Column], wants_frames: bool) -> Self {
        let mut at = BATCH_HEADER_BYTES;
        let columns = columns
            .iter()
            .map(|&column| {
                let offset = at;
                at += (column.width() * BATCH_MAX_PACKETS).next_multiple_of(COLUMN_ALIGN_BYTES);
                (column, offset)
            })
            .collect();
        let frames = wants_frames.then(|| {
            let offsets = at;
            let bytes = at + (4 * (BATCH_MAX_PACKETS + 1)).next_multiple_of(COLUMN_ALIGN_BYTES);
            at = bytes + BATCH_MAX_FRAME_BYTES;
            FrameLayout { offsets, bytes }
        });
        Self {
            columns,
            frames,
            bytes: at.max(BATCH_HEADER_BYTES + 8 * ARGUMENTS_MAX),
        }
    }

    pub fn has_frames(&self) -> bool {
        self.frames.is_some()
    }

    /// Arguments of `init`, after the header.
    pub fn write_args(&self, arena: &mut [u8], args: &[i64]) {
        for (i, value) in args.iter().enumerate() {
            let at = BATCH_HEADER_BYTES + 8 * i;
            arena[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
    }

    /// Copies the requested columns of `rows` behind the `filled` packets that are there already.
    /// The caller keeps `filled + rows` within [`BATCH_MAX_PACKETS`].
    pub fn append(&self, arena: &mut [u8], filled: usize, source: &Columns, rows: &Rows<'_>) {
        for &(column, offset) in &self.columns {
            let width = column.width();
            let at = offset + filled * width;
            copy_column(&mut arena[at..at + rows.len() * width], column, source, rows);
        }
    }

    /// Copies one frame behind `used` frame bytes, as packet number `filled`. The caller keeps
    /// `used + frame` within [`BATCH_MAX_FRAME_BYTES`].
    pub fn append_frame(&self, arena: &mut [u8], filled: usize, used: usize, frame: &[u8]) {
        let Some(layout) = self.frames else { return };
        let at = layout.bytes + used;
        arena[at..at + frame.len()].copy_from_slice(frame);
        for (packet, end) in [(filled, used), (filled + 1, used + frame.len())] {
            let at = layout.offsets + 4 * packet;
            arena[at..at + 4].copy_from_slice(&(end as u32).to_le_bytes());
        }
    }

    /// Zeroes what an earlier, larger batch left behind the end of this one.
    pub fn clear_tail(&self, arena: &mut [u8], packets: Range<usize>, frame_bytes: Range<usize>) {
        for &(column, offset) in &self.columns {
            let width = column.width();
            arena[offset + packets.start * width..offset + packets.end * width].fill(0);
        }
        if let Some(layout) = self.frames {
            arena[layout.bytes + frame_bytes.start..layout.bytes + frame_bytes.end].fill(0);
            arena[layout.offsets + 4 * (packets.start + 1)..layout.offsets + 4 * (packets.end + 1)].fill(0);
        }
    }
}

/// The bytes of packet `row` that the view shows.
pub(crate) fn frame(frames: &Frames, row: usize) -> &[u8] {
    let bounds = frames.offsets.get(row).zip(frames.offsets.get(row + 1));
    bounds
        .and_then(|(from, to)| frames.bytes.get(*from as usize..*to as usize))
        .unwrap_or(&[])
}

/// A value of a packet column: fixed width, little-endian in the arena.
trait Cell: Copy {
    /// Writes `values` to `dest`, which has exactly their length.
    fn write(dest: &mut [u8], values: impl Iterator<Item = Self>);
}

macro_rules! cells {
    ($($ty:ty => $bytes:expr, $to:expr;)*) => {$(
        impl Cell for $ty {
            fn write(dest: &mut [u8], values: impl Iterator<Item = Self>) {
                let (chunks, _) = dest.as_chunks_mut::<{ $bytes }>();
                for (chunk, value) in chunks.iter_mut().zip(values) {
                    *chunk = $to(value);
                }
            }
        }
    )*};
}
cells! {
    u8 => 1, u8::to_le_bytes;
    u16 => 2, u16::to_le_bytes;
    u32 => 4, u32::to_le_bytes;
    u64 => 8, u64::to_le_bytes;
    [u8; 6] => 6, std::convert::identity;
    [u8; 16] => 16, std::convert::identity;
}

/// A view may leave a column out that nobody needs to open: it reads as `absent`.
fn copy_cells<T: Cell>(dest: &mut [u8], source: &[T], absent: T, rows: &Rows<'_>) {
    match rows {
        Rows::Stretch(range) => match source.get(range.clone()) {
            Some(stretch) => T::write(dest, stretch.iter().copied()),
            None => T::write(dest, std::iter::repeat(absent)),
        },
        Rows::Picked(rows) => {
            T::write(
                dest,
                rows.iter()
                    .map(|row| source.get(*row as usize).copied().unwrap_or(absent)),
            );
        }
    }
}

fn copy_column(dest: &mut [u8], column: Column, from: &Columns, rows: &Rows<'_>) {
    macro_rules! by_name {
        ($($variant:ident $field:ident),* $(,)?) => {
            match column {
                // Packets that no one thinned stand for themselves.
                Column::Weight => copy_cells(dest, &from.weight, 1, rows),
                $(Column::$variant => copy_cells(dest, &from.$field, Default::default(), rows),)*
            }
        };
    }
    by_name!(
        TsNs ts_ns, WireLen wire_len, CapLen cap_len, Deny deny, Ethertype ethertype, Vlan vlan,
        IpVersion ip_version, Protocol protocol, Src src, Dst dst, SrcClass src_class, DstClass dst_class,
        SrcPort src_port, DstPort dst_port, TcpFlags tcp_flags, IcmpType icmp_type, IcmpCode icmp_code,
        Fragment fragment, Ttl ttl, Tos tos, IpId ip_id, TcpSeq tcp_seq, TcpAck tcp_ack, TcpWindow tcp_window,
        SrcMac src_mac, DstMac dst_mac, ArpOp arp_op, PayloadOffset payload_offset, Checksums checksums,
        Tunnel tunnel, SrcAs src_as, DstAs dst_as,
    );
}
