//! Views on links: what capture sends to export and a reader to its runner. Owns the encoding of a
//! [`View`]; must never change what a view shows.

use capnp::Error;
use como_anonymize::LinkType;
use como_anonymize::columns::{Column, Columns};
use como_anonymize::view::{Frames, View};
use como_capnp::wire_capnp as wire;
use como_dataset::Gap;
use como_policies::{AccessLevel, Window};

use crate::records::Stretch;
use crate::wire as messages;

/// Most packets of one view batch.
pub const MAX_BATCH_PACKETS: usize = 1 << 16;

/// Widest column, in bytes: an address.
const MAX_COLUMN_WIDTH: usize = 16;

/// One message of a feed.
pub enum Feed {
    /// Packets as one level sees them, in order of arrival; where they are a sample, of which packets.
    View(Box<View>, Option<Stretch>),
    /// Packets are missing here.
    Gap(Gap),
    /// Time has reached this, ns: intervals that end before it are over.
    Tick(u64),
    /// Packets that were not read, since none of them passes the module's own filter: they only take time along.
    Passed {
        /// Time of the latest of them, ns.
        now_ns: u64,
        /// How many they are.
        packets: u64,
    },
    /// Rows that were computed before, of one interval.
    Rows {
        /// The interval.
        interval: Stretch,
        /// Whether nothing of it is missing.
        complete: bool,
        /// A record block's plain text.
        rows: Vec<u8>,
    },
    /// What follows belongs to this part of the window, which is computed from its packets.
    Piece(Window),
    /// Nothing follows.
    End,
}

/// Serialises a view. `with_frames` says whether the frame bytes travel too; `columns` names those that
/// are needed, where the sender knows: the others are left out, and stay empty on the other side.
pub fn encode_view(view: &View, with_frames: bool, columns: Option<&[Column]>) -> Vec<u8> {
    encode_sample(view, with_frames, columns, None)
}

/// Serialises a view that is a sample of the packets of a stretch; `None`: it has all of them.
pub fn encode_sample(
    view: &View,
    with_frames: bool,
    columns: Option<&[Column]>,
    sample: Option<Stretch>,
) -> Vec<u8> {
    let count = view.len();
    let width: usize = columns
        .unwrap_or(Column::ALL)
        .iter()
        .map(|column| column.width())
        .sum();
    let frame_bytes = if with_frames {
        view.frames.bytes.len() + 4 * count
    } else {
        0
    };
    messages::large_feed(count * width + frame_bytes, |feed| {
        let mut batch = feed.init_view();
        if let Some(sample) = sample {
            batch.set_one_in(sample.one_in);
            batch.set_from_ns(sample.from_ns);
            batch.set_to_ns(sample.to_ns);
        }
        batch.set_level(view.level.as_u8());
        batch.set_link(view.link.0);
        batch.set_count(count as u32);
        batch.set_sparse(columns.is_some());
        let ids = Column::ALL.iter().map(|c| *c as u32 + 1).max().unwrap_or(0);
        let mut list = batch.reborrow().init_columns(ids);
        let mut bytes = Vec::with_capacity(count * 16);
        for column in columns.unwrap_or(Column::ALL) {
            bytes.clear();
            view.columns.write_le(*column, 0, count, &mut bytes);
            // A column of zeros need not travel, where its absence means zeros.
            if columns.is_some() || bytes.iter().any(|b| *b != 0) {
                list.set(*column as u32, &bytes);
            }
        }
        if with_frames {
            let offsets: Vec<u8> = view.frames.offsets.iter().flat_map(|o| o.to_le_bytes()).collect();
            batch.set_offsets(&offsets);
            batch.set_frames(&view.frames.bytes);
        }
    })
}

/// Serialises a gap.
pub fn encode_gap(gap: &Gap) -> Vec<u8> {
    messages::feed(|feed| fill_gap(feed.init_gap(), gap))
}

/// Fills a gap message.
pub fn fill_gap(mut to: wire::gap::Builder<'_>, gap: &Gap) {
    to.set_from_ns(gap.from_ns);
    to.set_to_ns(gap.to_ns);
    to.set_cause(&gap.cause);
    to.set_count(gap.count.unwrap_or(0));
    to.set_unknown(gap.count.is_none());
}

/// Reads a gap message.
pub fn read_gap(gap: wire::gap::Reader<'_>) -> capnp::Result<Gap> {
    Ok(Gap {
        from_ns: gap.get_from_ns(),
        to_ns: gap.get_to_ns(),
        cause: messages::text(gap.get_cause())?,
        count: (!gap.get_unknown()).then(|| gap.get_count()),
    })
}

/// Serialises a tick.
pub fn encode_tick(now_ns: u64) -> Vec<u8> {
    messages::feed(|mut feed| feed.set_tick(now_ns))
}

/// Serialises packets that were passed over.
pub fn encode_passed(now_ns: u64, packets: u64) -> Vec<u8> {
    messages::feed(|feed| {
        let mut passed = feed.init_passed();
        passed.set_now_ns(now_ns);
        passed.set_packets(packets);
    })
}

/// Serialises the end.
pub fn encode_end() -> Vec<u8> {
    messages::feed(|mut feed| feed.set_end(()))
}

/// Serialises the beginning of a part of the window.
pub fn encode_piece(window: Window) -> Vec<u8> {
    messages::feed(|feed| {
        let mut piece = feed.init_piece();
        piece.set_from_ns(window.from_ns);
        piece.set_to_ns(window.to_ns);
    })
}

/// Serialises stored rows of one interval.
pub fn encode_rows(interval: Stretch, complete: bool, rows: &[u8]) -> Vec<u8> {
    messages::feed(|feed| {
        let mut to = feed.init_rows();
        to.set_from_ns(interval.from_ns);
        to.set_to_ns(interval.to_ns);
        to.set_one_in(interval.one_in);
        to.set_complete(complete);
        to.set_rows(rows);
    })
}

/// Reads one message of a feed; checks every length, since the sender may be compromised.
pub fn decode(bytes: &[u8]) -> capnp::Result<Feed> {
    use wire::feed::Which;
    let message = como_capnp::read_message(bytes)?;
    Ok(match message.get_root::<wire::feed::Reader<'_>>()?.which()? {
        Which::View(view) => {
            let view = view?;
            let sample = (view.get_one_in() > 1).then(|| Stretch {
                from_ns: view.get_from_ns(),
                to_ns: view.get_to_ns(),
                one_in: view.get_one_in(),
            });
            Feed::View(Box::new(read_view(view)?), sample)
        }
        Which::Gap(gap) => Feed::Gap(read_gap(gap?)?),
        Which::Tick(now_ns) => Feed::Tick(now_ns),
        Which::Passed(passed) => {
            let passed = passed?;
            Feed::Passed {
                now_ns: passed.get_now_ns(),
                packets: passed.get_packets(),
            }
        }
        Which::Rows(rows) => {
            let rows = rows?;
            Feed::Rows {
                interval: Stretch {
                    from_ns: rows.get_from_ns(),
                    to_ns: rows.get_to_ns(),
                    one_in: rows.get_one_in().max(1),
                },
                complete: rows.get_complete(),
                rows: rows.get_rows()?.to_vec(),
            }
        }
        Which::Piece(piece) => {
            let piece = piece?;
            let window = Window::new(piece.get_from_ns(), piece.get_to_ns());
            Feed::Piece(window.map_err(|e| Error::failed(e.to_string()))?)
        }
        Which::End(()) => Feed::End,
    })
}

fn read_view(batch: wire::view_batch::Reader<'_>) -> capnp::Result<View> {
    let wrong = |what: &str| Error::failed(format!("view batch: {what}"));
    let level = AccessLevel::from_u8(batch.get_level()).ok_or_else(|| wrong("unknown level"))?;
    let count = batch.get_count() as usize;
    if count > MAX_BATCH_PACKETS {
        return Err(wrong("too many packets"));
    }
    let sent = batch.get_columns()?;
    let sparse = batch.get_sparse();
    let mut columns = Columns::with_capacity(0);
    let zeros = vec![0u8; if sparse { 0 } else { count * MAX_COLUMN_WIDTH }];
    for column in Column::ALL {
        let bytes = if (*column as u32) < sent.len() {
            sent.get(*column as u32)?
        } else {
            &[]
        };
        if bytes.is_empty() && sparse && *column != Column::TsNs {
            continue;
        }
        let wanted = count * column.width();
        let bytes = if bytes.is_empty() {
            zeros.get(..wanted).unwrap_or_default()
        } else {
            bytes
        };
        if bytes.len() != wanted || !columns.read_le(*column, bytes) {
            return Err(wrong("a column of the wrong length"));
        }
    }
    Ok(View {
        level,
        link: LinkType(batch.get_link()),
        columns,
        frames: read_frames(batch, count, sparse)?,
    })
}

fn read_frames(batch: wire::view_batch::Reader<'_>, count: usize, sparse: bool) -> capnp::Result<Frames> {
    let bytes = batch.get_frames()?.to_vec();
    let sent = batch.get_offsets()?;
    if sent.is_empty() && sparse {
        return Ok(Frames::default());
    }
    if sent.is_empty() {
        return Ok(Frames {
            offsets: vec![0; count + 1],
            bytes: Vec::new(),
        });
    }
    let offsets: Vec<u32> = sent
        .as_chunks::<4>()
        .0
        .iter()
        .map(|c| u32::from_le_bytes(*c))
        .collect();
    let sound = sent.len() == (count + 1) * 4
        && offsets.first() == Some(&0)
        && offsets.is_sorted()
        && offsets.last().is_some_and(|end| *end as usize == bytes.len());
    if !sound {
        return Err(Error::failed("view batch: frame offsets do not fit".into()));
    }
    Ok(Frames { offsets, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use como_anonymize::PacketRow;

    fn view() -> View {
        let mut view = View::new(AccessLevel::Anonymized, LinkType::ETHERNET);
        for i in 0..5u64 {
            let row = PacketRow {
                ts_ns: i,
                wire_len: 60 + i as u32,
                src_port: 443,
                weight: 1,
                ..PacketRow::default()
            };
            assert!(view.push(&row, &[i as u8; 3]));
        }
        view
    }

    fn sent(bytes: &[u8]) -> View {
        match decode(bytes).unwrap() {
            Feed::View(view, None) => *view,
            _ => panic!("not a view of all packets"),
        }
    }

    #[test]
    fn a_sample_says_of_what_it_is_one() {
        let of = Stretch {
            from_ns: 3,
            to_ns: 70,
            one_in: 8,
        };
        let arrived = decode(&encode_sample(&view(), false, None, Some(of))).unwrap();
        assert!(matches!(arrived, Feed::View(view, Some(sample)) if view.len() == 5 && sample == of));
    }

    #[test]
    fn a_view_arrives_as_it_was_sent() {
        let view = view();
        let arrived = sent(&encode_view(&view, true, None));
        assert_eq!(arrived.columns, view.columns);
        assert_eq!(
            (arrived.frames.offsets, arrived.frames.bytes),
            (view.frames.offsets, view.frames.bytes)
        );
    }

    #[test]
    fn columns_that_are_not_needed_stay_at_home() {
        let arrived = sent(&encode_view(
            &view(),
            false,
            Some(&[Column::TsNs, Column::SrcPort, Column::DstPort]),
        ));
        assert_eq!(arrived.columns.src_port, [443; 5]);
        assert_eq!(arrived.columns.dst_port, [0; 5], "asked for, and zero");
        assert!(arrived.columns.wire_len.is_empty());
        assert_eq!(arrived.len(), 5);
        assert_eq!(arrived.frames.get(4), None, "nor do frames");
    }

    proptest::proptest! {
        #[test]
        fn bytes_of_a_compromised_sender_never_panic(at in 0usize..400, byte: u8) {
            let mut bytes = encode_view(&view(), true, None);
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = decode(&bytes);
        }
    }
}
