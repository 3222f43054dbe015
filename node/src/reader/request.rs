//! The request of a reader, parsed: windows, keys, filters, pseudonyms.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use como_anonymize::columns::Column;
use como_anonymize::filter::Filter;
use como_anonymize::view::Treatment;
use como_anonymize::{Anonymizer, Rekeying, coarse};
use como_capnp::wire_capnp as wire;
use como_keys::aead::DataKey;
use como_keys::mapping::MappingKey;
use como_keys::signing::VerifyingKey;
use como_policies::{AccessLevel, Window};

use super::ReaderError;
use crate::allowance::Bucket;
use crate::trace::{Checked, GroupSet, ReadKeys, TraceError};
use crate::wire::{array, read_down, text};

/// One segment to read.
pub(super) struct SegmentRequest {
    pub file: String,
    pub mapping_epoch: u32,
    pub keys: ReadKeys,
    /// What the supervisor checked of it.
    pub checked: Checked,
}

/// Where the rows of a part of the window come from.
pub(super) enum Piece {
    /// From the packets of segments, by their place in the request.
    Trace(Window, Vec<usize>),
    /// From records.
    Records(RecordRequest),
}

/// Stored intervals without a hole, of one record file.
pub(super) struct RecordRequest {
    pub file: String,
    pub key: DataKey,
    pub stretch: Window,
}

/// What is asked of this reader.
pub(super) struct Request {
    pub directory: PathBuf,
    pub node_key: Option<VerifyingKey>,
    pub records_directory: PathBuf,
    pub segments: Vec<SegmentRequest>,
    /// All of the window that there is something of, in order of time.
    pub pieces: Vec<Piece>,
    /// Packet times that are read: those of the piece that is its turn.
    pub window: Window,
    pub view_level: AccessLevel,
    pub ask_level: AccessLevel,
    pub filter: Option<Filter>,
    pub frames: bool,
    /// Columns that the runner gets.
    pub sent: Vec<Column>,
    /// Column groups that are opened at `anonymized`.
    pub groups: GroupSet,
    /// How a view is made the audience's.
    pub rekey: Rekeying,
    /// What is made of packets above `anonymized`.
    pub treatment: Treatment,
    /// Whether rows outside the window are dropped here (packets), or the module's runner does it.
    pub cut: bool,
    /// Whether the runner gets rows of the host's own table instead of views.
    pub tables: bool,
    /// Bytes of the trace that were read so far.
    pub read_bytes: Arc<AtomicU64>,
    /// How fast the trace may be read.
    pub bucket: Arc<Bucket>,
    anonymizers: BTreeMap<u32, Arc<Anonymizer>>,
    /// Length of the module's intervals, where the index is asked for the module's own filter.
    pub module_interval_ns: Option<u64>,
    /// The asker's filter under the node's pseudonyms, or the module's, by mapping epoch.
    index_filters: BTreeMap<u32, Filter>,
}

impl Request {
    /// Reads the supervisor's first message.
    pub fn read(bytes: &[u8]) -> Result<Self, ReaderError> {
        let message = como_capnp::read_message(bytes)?;
        let wire::down::Which::StartReader(start) = read_down(&message)? else {
            return Err(failed("not a request for a reader").into());
        };
        let start = start?;
        let level = |n: u8| AccessLevel::from_u8(n).ok_or_else(|| failed("unknown level"));
        let filter = text(start.get_filter())?;
        let filter = match filter.is_empty() {
            true => None,
            false => Some(Filter::parse(&filter).map_err(|e| ReaderError::Filter(e.to_string()))?),
        };
        let wanted: Vec<Column> = start
            .get_columns()?
            .iter()
            .filter_map(|id| Column::ALL.iter().copied().find(|c| *c as u8 == id))
            .collect();
        let mut anonymizers = BTreeMap::new();
        for key in start.get_audiences()?.iter() {
            let mapping = MappingKey::from_bytes(&array(key.get_key()?)?);
            anonymizers.insert(key.get_mapping_epoch(), Arc::new(Anonymizer::new(&mapping)));
        }
        let mut index_filters = BTreeMap::new();
        for epoch in start.get_index_filters()?.iter() {
            let filter = Filter::parse(&text(epoch.get_filter())?);
            index_filters.insert(
                epoch.get_mapping_epoch(),
                filter.map_err(|e| ReaderError::Filter(e.to_string()))?,
            );
        }
        let (frames, cut) = (start.get_frames(), start.get_cut());
        let looked_at: Vec<Column> = wanted
            .iter()
            .copied()
            .chain(filter.iter().flat_map(|f| f.columns()))
            .chain([Column::TsNs, Column::WireLen])
            .collect();
        let rekey = match anonymizers.is_empty() {
            true => Rekeying::Nothing,
            false => Rekeying::of(&looked_at, frames),
        };
        let view_level = level(start.get_view_level())?;
        let groups = if view_level <= AccessLevel::Coarse {
            GroupSet::of(coarse::SOURCE_COLUMNS.iter().copied())
        } else if frames || rekey == Rekeying::Everything {
            GroupSet::ALL
        } else {
            GroupSet::of(looked_at.iter().chain(rekey.needs()).copied())
        };
        let beside_time_and_length = |column: &Column| !matches!(column, Column::TsNs | Column::WireLen);
        let treatment = match looked_at.iter().any(beside_time_and_length) {
            true => Treatment::Described,
            false => Treatment::Shown,
        };
        let window =
            Window::new(start.get_from_ns(), start.get_to_ns()).map_err(|_| failed("empty window"))?;
        let node_key = start.get_node_key()?;
        let node_key = match node_key.is_empty() {
            true => None,
            false => Some(VerifyingKey::from_bytes(&array(node_key)?).map_err(|_| failed("bad node key"))?),
        };
        let segments: Vec<SegmentRequest> = start
            .get_segments()?
            .iter()
            .map(segment)
            .collect::<capnp::Result<_>>()?;
        Ok(Self {
            pieces: pieces(start, window, segments.len())?,
            directory: PathBuf::from(text(start.get_directory())?),
            records_directory: PathBuf::from(text(start.get_records_directory())?),
            node_key,
            segments,
            window,
            view_level,
            ask_level: level(start.get_ask_level())?,
            filter,
            frames,
            sent: wanted,
            groups,
            rekey,
            treatment,
            cut,
            tables: start.get_tables(),
            read_bytes: Arc::default(),
            module_interval_ns: Some(start.get_interval_ns()).filter(|interval_ns| *interval_ns > 0),
            bucket: Arc::default(),
            anonymizers,
            index_filters,
        })
    }

    /// What the index of a mapping epoch can be asked for; `None`: everything in the window must be read. The levels
    /// below packets gather whole hours: there a filter sees what was released, and nothing before it.
    pub fn index_filter(&self, mapping_epoch: u32) -> Option<&Filter> {
        let level = match self.module_interval_ns {
            Some(_) => self.view_level,
            None => self.view_level.min(self.ask_level),
        };
        let packets = level >= AccessLevel::Anonymized;
        self.index_filters.get(&mapping_epoch).filter(|_| packets)
    }

    /// Whether the filter is evaluated at a level that sees more of some packets than the index does.
    pub fn asks_above_the_index(&self) -> bool {
        let level = match self.module_interval_ns {
            Some(_) => self.view_level,
            None => self.ask_level,
        };
        level > AccessLevel::Anonymized
    }

    /// The grain of times in the answer, ns: the asker's, or that of whole hours.
    pub fn grain_ns(&self) -> u64 {
        match self.view_level {
            AccessLevel::Aggregate | AccessLevel::Coarse => self.view_level.grain_ns(),
            _ => self.ask_level.grain_ns(),
        }
    }

    /// The audience's map in a mapping epoch; `None`: the node's own pseudonyms are shown. Refused where
    /// there is an audience but not its map: the node's pseudonyms are not for it.
    pub fn anonymizer(&self, mapping_epoch: u32) -> Result<Option<&Anonymizer>, TraceError> {
        let map = self.anonymizers.get(&mapping_epoch).map(Arc::as_ref);
        if map.is_none() && !self.anonymizers.is_empty() {
            return Err(TraceError::damaged(
                0,
                "no key of the audience for its mapping epoch",
            ));
        }
        Ok(map)
    }

    /// The map that level `headers` is shown with in a mapping epoch.
    pub fn audience(&self, mapping_epoch: u32) -> Option<Arc<Anonymizer>> {
        self.anonymizers.get(&mapping_epoch).cloned()
    }

    /// Bytes of all files, for the progress bar.
    pub fn total_bytes(&self) -> Result<u64, ReaderError> {
        let segments = self.segments.iter().map(|s| self.directory.join(&s.file));
        let records = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Records(stretch) => Some(self.records_directory.join(&stretch.file)),
            Piece::Trace(..) => None,
        });
        Ok(segments
            .chain(records)
            .map(|file| std::fs::metadata(file).map_or(0, |m| m.len()))
            .sum())
    }
}

/// The parts of the window, in order of time.
fn pieces(
    start: wire::reader_start::Reader<'_>,
    window: Window,
    segments: usize,
) -> capnp::Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    for piece in start.get_pieces()?.iter() {
        let window =
            Window::new(piece.get_from_ns(), piece.get_to_ns()).map_err(|_| failed("an empty piece"))?;
        let named: Vec<usize> = piece.get_segments()?.iter().map(|at| at as usize).collect();
        if named.iter().any(|at| *at >= segments) {
            return Err(failed("a piece of a segment that is not granted"));
        }
        pieces.push(Piece::Trace(window, named));
    }
    for stretch in start.get_records()?.iter() {
        pieces.push(Piece::Records(record(stretch)?));
    }
    if pieces.is_empty() {
        pieces.push(Piece::Trace(window, (0..segments).collect()));
    }
    pieces.sort_by_key(|piece| match piece {
        Piece::Trace(window, _) => window.from_ns,
        Piece::Records(stretch) => stretch.stretch.from_ns,
    });
    Ok(pieces)
}

fn segment(grant: wire::segment_grant::Reader<'_>) -> capnp::Result<SegmentRequest> {
    let key = |bytes: &[u8]| match bytes.is_empty() {
        true => Ok(None),
        false => array(bytes).map(|bytes| Some(DataKey::from_bytes(&bytes))),
    };
    let digest = |bytes: &[u8]| match bytes.is_empty() {
        true => Ok(None),
        false => array(bytes).map(Some),
    };
    Ok(SegmentRequest {
        file: text(grant.get_file())?,
        mapping_epoch: grant.get_mapping_epoch(),
        keys: ReadKeys {
            a: key(grant.get_key_a()?)?,
            r: key(grant.get_key_r()?)?,
            p: key(grant.get_key_p()?)?,
        },
        checked: Checked {
            header: digest(grant.get_header_digest()?)?,
            footer: digest(grant.get_footer_digest()?)?,
        },
    })
}

fn record(grant: wire::record_grant::Reader<'_>) -> capnp::Result<RecordRequest> {
    Ok(RecordRequest {
        file: text(grant.get_file())?,
        key: DataKey::from_bytes(&array(grant.get_key()?)?),
        stretch: Window::new(grant.get_from_ns(), grant.get_to_ns())
            .map_err(|_| failed("an empty stretch of records"))?,
    })
}

fn failed(what: &str) -> capnp::Error {
    capnp::Error::failed(what.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::ColumnGroup;
    use crate::wire::down;

    fn request(columns: &[Column], frames: bool) -> Request {
        let bytes = down(|down| {
            let mut start = down.init_start_reader();
            start.set_to_ns(1);
            start.set_view_level(AccessLevel::Anonymized.as_u8());
            start.set_ask_level(AccessLevel::Anonymized.as_u8());
            start.set_frames(frames);
            let mut list = start.reborrow().init_columns(columns.len() as u32);
            columns
                .iter()
                .enumerate()
                .for_each(|(i, c)| list.set(i as u32, c.id()));
            let mut key = start.init_audiences(1).get(0);
            key.set_audience("project");
            key.set_key(MappingKey::generate().expose());
        });
        Request::read(&bytes).unwrap()
    }

    /// What kind of address a row holds stands in another group than the address: without it the node's own
    /// pseudonyms would be shown.
    #[test]
    fn addresses_are_opened_with_what_re_keying_them_needs() {
        let request = request(&[Column::TsNs, Column::Src], false);
        assert_eq!(request.rekey, Rekeying::AddressesAndPorts);
        assert!(request.groups.contains(ColumnGroup::Kind));
        assert!(!request.groups.contains(ColumnGroup::Rest));
    }

    #[test]
    fn nothing_more_is_opened_than_is_looked_at() {
        let lengths = request(&[Column::TsNs, Column::WireLen], false);
        assert_eq!(lengths.rekey, Rekeying::Nothing);
        assert!(
            !lengths.groups.contains(ColumnGroup::Kind) && !lengths.groups.contains(ColumnGroup::Address)
        );
        assert_eq!(request(&[Column::TsNs], true).groups, GroupSet::ALL);
    }
}
