//! A batch of packets as one level sees it: what filters, modules and readers work on. Owns building a view
//! from raw packets and re-keying one; a view below `payload` never holds a byte that was not allow-listed.

use como_policies::AccessLevel;

use crate::columns::{Column, Columns, PacketRow, RowBuffer};
use crate::deny::DenyReason;
use crate::dissect::{Dissection, dissect};
use crate::fields::{FieldRule, NONE};
use crate::packet::{LinkType, RawPacket};
use crate::row::{RowMeta, describe, describe_dissected};
use crate::treat::{Anonymizer, Outcome};

/// The packet as a whole.
pub(crate) const RULES: &[FieldRule] = &[
    FieldRule::new(
        "packet",
        "unit",
        [
            "counters, k-threshold",
            "one row per flow and hour",
            "synthetic frame",
            "headers to the end of layer 4",
        ],
    ),
    FieldRule::new(
        "packet",
        "time",
        ["hour", "hour", "floored to 1 ms", "floored to 1 µs"],
    ),
    FieldRule::new(
        "packet",
        "length on the wire",
        [
            "sum, k-threshold",
            "mean, floored to a power of two",
            "kept",
            "kept",
        ],
    ),
    FieldRule::new(
        "packet",
        "number of packets",
        ["sum, k-threshold", "floored to a power of two", "kept", "kept"],
    ),
    FieldRule::nowhere("packet", "names, comments, secrets of a capture file"),
    FieldRule::new("packet", "payload, padding, trailer", [NONE, NONE, "cut", "cut"]),
    FieldRule::new(
        "packet",
        "truncated, malformed or unknown link protocol",
        [
            "counter by reason",
            "counter by reason",
            "length and reason",
            "up to the last valid header",
        ],
    ),
];

/// A batch of packets at one level: columns for computing, frames for export.
#[derive(Clone)]
pub struct View {
    /// The level whose treatment was applied.
    pub level: AccessLevel,
    /// Link type of the frames.
    pub link: LinkType,
    /// One row per packet.
    pub columns: Columns,
    /// The visible bytes of each packet.
    pub frames: Frames,
}

/// How much is made of packets above `anonymized`, where columns come from frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// The frames, with time and length; the other columns stay empty.
    Shown,
    /// And all columns.
    Described,
}

/// The visible bytes of each packet at the view's level, one after the other.
#[derive(Clone)]
pub struct Frames {
    /// Where each frame starts in `bytes`, and the end of the last: one more than there are packets.
    pub offsets: Vec<u32>,
    /// The frames.
    pub bytes: Vec<u8>,
}

impl Default for Frames {
    fn default() -> Self {
        Frames {
            offsets: vec![0],
            bytes: Vec::new(),
        }
    }
}

impl Frames {
    /// Number of frames.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// True when there are no frames.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Frame `index`; `None` beyond the end, or where the offsets do not describe `bytes`.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let from = *self.offsets.get(index)? as usize;
        let to = *self.offsets.get(index + 1)? as usize;
        self.bytes.get(from..to)
    }

    /// Appends a frame. False, and nothing appended, when the batch would pass 4 GiB.
    #[must_use]
    pub fn push(&mut self, frame: &[u8]) -> bool {
        let Ok(end) = u32::try_from(self.bytes.len() + frame.len()) else {
            return false;
        };
        self.bytes.extend_from_slice(frame);
        self.offsets.push(end);
        true
    }

    /// Closes the frame whose bytes were appended to `bytes` since the last one.
    fn close(&mut self) {
        self.offsets.push(self.bytes.len() as u32);
    }

    /// Removes every frame, keeps the memory.
    pub fn clear(&mut self) {
        self.offsets.truncate(1);
        self.bytes.clear();
    }
}

impl View {
    /// An empty view.
    pub fn new(level: AccessLevel, link: LinkType) -> Self {
        View {
            level,
            link,
            columns: Columns::default(),
            frames: Frames::default(),
        }
    }

    /// Number of packets.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// True when there are no packets.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Removes every packet, keeps the memory.
    pub fn clear(&mut self) {
        self.columns.clear();
        self.frames.clear();
    }

    /// Appends a row and its frame. False, and nothing appended, when the batch would pass 4 GiB.
    #[must_use]
    pub fn push(&mut self, row: &PacketRow, frame: &[u8]) -> bool {
        if !self.frames.push(frame) {
            return false;
        }
        self.columns.push(row);
        true
    }

    /// Appends the packets of another view, whose columns are filled as here. False, and nothing appended, where it is
    /// of another level or link type, or the batch would pass 4 GiB.
    #[must_use]
    pub fn append(&mut self, other: &View) -> bool {
        let start = self.frames.bytes.len();
        let fits = u32::try_from(start + other.frames.bytes.len()).is_ok();
        if (self.level, self.link) != (other.level, other.link) || !fits {
            return false;
        }
        self.columns.append(&other.columns);
        let ends = other.frames.offsets.iter().skip(1);
        self.frames.offsets.extend(ends.map(|end| start as u32 + end));
        self.frames.bytes.extend_from_slice(&other.frames.bytes);
        true
    }

    /// The packets that are in `keep`, in order.
    pub fn select(&self, keep: &crate::bitmap::Bitmap) -> View {
        let mut frames = Frames::default();
        for at in keep.ones() {
            if let Some(frame) = self.frames.get(at) {
                frames.bytes.extend_from_slice(frame);
                frames.close();
            }
        }
        View {
            level: self.level,
            link: self.link,
            columns: self.columns.select(keep),
            frames,
        }
    }

    /// Treats one raw packet at the view's level and appends it. `anonymizer` is needed at `anonymized` and `headers`.
    pub fn push_packet(&mut self, packet: &RawPacket<'_>, anonymizer: Option<&Anonymizer>) {
        let row = self.frame_of(packet, anonymizer, &mut Dissection::new());
        self.columns.push(&row);
    }

    /// Treats raw packets, as [`View::push_packet`] does each.
    pub fn push_packets<'a>(
        &mut self,
        packets: impl IntoIterator<Item = RawPacket<'a>>,
        anonymizer: Option<&Anonymizer>,
    ) {
        let mut dissection = Dissection::new();
        let mut rows = RowBuffer::default();
        for packet in packets {
            let row = self.frame_of(&packet, anonymizer, &mut dissection);
            rows.push(row, &mut self.columns);
        }
        rows.flush(&mut self.columns);
    }

    /// Appends the frame of one raw packet, and gives its row.
    fn frame_of(
        &mut self,
        packet: &RawPacket<'_>,
        anonymizer: Option<&Anonymizer>,
        dissection: &mut Dissection,
    ) -> PacketRow {
        dissection.read(packet.link, packet.data);
        let mut meta = RowMeta::of_packet(packet, dissection);
        meta.ts_ns = self.level.floor_ns(packet.ts_ns);
        let bytes = &mut self.frames.bytes;
        let start = bytes.len();
        if packet.link != self.link {
            meta.deny = DenyReason::UnknownLinkType.as_u8();
        }
        let mut is_treated = false;
        match (self.level, anonymizer) {
            _ if packet.link != self.link => {}
            (AccessLevel::Payload, _) => bytes.extend_from_slice(packet.data),
            (AccessLevel::Headers, Some(anonymizer)) => {
                anonymizer.show_headers(packet.data, dissection, bytes);
            }
            (AccessLevel::Anonymized, Some(anonymizer)) => {
                match anonymizer.anonymize_dissected(packet.data, dissection, bytes) {
                    Outcome::Denied(reason) => meta.deny = reason.as_u8(),
                    Outcome::Framed { .. } => is_treated = true,
                }
            }
            // Levels below have no packet view, and no pseudonyms can be made without keys.
            _ => {}
        }
        self.frames.close();
        let frame = &self.frames.bytes[start..];
        if is_treated {
            dissection.follow(self.link, frame);
            describe_dissected(&meta, frame, dissection)
        } else {
            describe(&meta, self.link, frame)
        }
    }

    /// Appends a captured packet that lies in pieces to a view at `payload`, with its time and length and no other
    /// column; [`View::describe_captured`] makes these. False, and nothing appended, when the batch would pass 4 GiB.
    #[must_use]
    pub fn push_captured(&mut self, ts_ns: u64, wire_len: u32, pieces: [&[u8]; 2]) -> bool {
        let length = self.frames.bytes.len() + pieces[0].len() + pieces[1].len();
        if u32::try_from(length).is_err() {
            return false;
        }
        pieces
            .iter()
            .for_each(|piece| self.frames.bytes.extend_from_slice(piece));
        self.frames.close();
        self.columns.ts_ns.push(ts_ns);
        self.columns.wire_len.push(wire_len);
        true
    }

    /// Makes all columns of packets that were pushed with [`View::push_captured`]. The rows in `set_aside`, ascending,
    /// stopped a dissector before: of them length and reason are told, and nobody dissects them.
    pub fn describe_captured(&mut self, set_aside: &[usize]) {
        let (mut dissection, mut rows) = (Dissection::new(), RowBuffer::default());
        let times = std::mem::take(&mut self.columns);
        for row in 0..times.len() {
            let data = self.frames.get(row).unwrap_or_default();
            let packet = RawPacket {
                ts_ns: times.ts_ns[row],
                wire_len: times.wire_len[row],
                link: self.link,
                data,
            };
            let described = if set_aside.binary_search(&row).is_ok() {
                let meta = RowMeta::set_aside(&packet);
                let mut described = describe(&meta, self.link, &[]);
                described.cap_len = data.len() as u32;
                described
            } else {
                dissection.read(self.link, data);
                describe_dissected(&RowMeta::of_packet(&packet, &dissection), data, &dissection)
            };
            rows.push(described, &mut self.columns);
        }
        rows.flush(&mut self.columns);
    }

    /// Appends what level `headers` shows of captured header bytes, as section R keeps them. Time, length, reason,
    /// classes and verdicts come from `meta`: they were taken from the whole packet. False, and nothing appended,
    /// when the batch would pass 4 GiB.
    #[must_use]
    pub fn push_headers(
        &mut self,
        meta: &RowMeta,
        headers: &[u8],
        anonymizer: &Anonymizer,
        treatment: Treatment,
    ) -> bool {
        let start = self.frames.bytes.len();
        if u32::try_from(start + headers.len()).is_err() {
            return false;
        }
        anonymizer.show_headers(headers, &dissect(self.link, headers), &mut self.frames.bytes);
        match treatment {
            Treatment::Described => self.close_frame(meta, start),
            Treatment::Shown => {
                self.columns.ts_ns.push(meta.ts_ns);
                self.columns.wire_len.push(meta.wire_len);
                self.frames.close();
            }
        }
        true
    }

    /// Describes the frame whose bytes were appended since `start`.
    fn close_frame(&mut self, meta: &RowMeta, start: usize) {
        let row = describe(meta, self.link, &self.frames.bytes[start..]);
        self.columns.push(&row);
        self.frames.close();
    }
}

/// Builds the view of `packets` at `level`. At `anonymized` and `headers` an anonymizer must be given: without one,
/// and at the levels that have no packet view, the frames stay empty and the rows hold time, length and reason only.
/// All packets must be of link type `link`; one of another type is denied.
pub fn build<'a>(
    level: AccessLevel,
    link: LinkType,
    packets: impl IntoIterator<Item = RawPacket<'a>>,
    anonymizer: Option<&Anonymizer>,
) -> View {
    let mut view = View::new(level, link);
    view.push_packets(packets, anonymizer);
    view
}

/// The same packets under an audience's pseudonyms. Only meaningful for a view at `anonymized`; at the levels
/// above there are no pseudonyms and the view is returned as it is. Time, length, address classes and checksum
/// verdicts are carried over: they come from the real packet, which nobody needs again.
pub fn rekey(view: &View, audience: &Anonymizer) -> View {
    if view.level != AccessLevel::Anonymized {
        return view.clone();
    }
    let mut out = View::new(view.level, view.link);
    for at in 0..view.len() {
        let (Some(row), Some(frame)) = (view.columns.row(at), view.frames.get(at)) else {
            break;
        };
        let mut meta = RowMeta::of_row(&row);
        let start = out.frames.bytes.len();
        if row.deny == 0
            && let Outcome::Denied(reason) = audience.anonymize(view.link, frame, &mut out.frames.bytes)
        {
            meta.deny = reason.as_u8();
        }
        out.columns
            .push(&describe(&meta, view.link, &out.frames.bytes[start..]));
        out.frames.close();
    }
    out
}

/// Re-keys addresses and ports, as far as their columns are there: what a module or a filter that looks at no frame needs.
/// The pseudonym of a port does not depend on what else the packet is; 0, which stands for none, is its own.
pub fn rekey_addresses_and_ports(columns: &mut Columns, audience: &Anonymizer) {
    audience.rekey_addresses(&columns.ip_version, &columns.ethertype, &mut columns.src);
    audience.rekey_addresses(&columns.ip_version, &columns.ethertype, &mut columns.dst);
    for port in columns.src_port.iter_mut().chain(&mut columns.dst_port) {
        *port = audience.map_port(*port);
    }
}

/// Columns of the `anonymized` view whose values a re-keying may change.
pub fn rekeyed_columns() -> impl Iterator<Item = Column> {
    Column::ALL
        .iter()
        .copied()
        .filter(|column| column.is_pseudonymous_at(AccessLevel::Anonymized))
}
