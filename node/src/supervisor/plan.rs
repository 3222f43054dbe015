//! How a question will be answered: from stored records, from the past trace, or once its window has
//! passed; and what that costs. Decides nothing about rights.

use std::collections::BTreeSet;

use como_anonymize::columns::Column;
use como_anonymize::filter::Filter;
use como_capnp::wire_capnp as wire;
use como_dataset::{ColumnKind, Field, Gap, Header, Kind, ModuleRef, Schema};
use como_keys::mapping::MappingKey;
use como_modules::tables;
use como_policies::{AccessLevel, Window};
use serde::Serialize;

use super::Supervisor;
use super::answers::Refusal;
use super::catalog::Segment;
use super::grants::{RecordGrant, SegmentGrant, sections};
use super::index_filters::IndexQuestion;
use super::jobs::{Job, Work};
use super::modules::{Installed, fill_run};
use super::now_ns;
use super::pieces::{Granted, Piece, Source};
use crate::records;
use crate::wire::down;

/// Bytes that a reader opens per second, about: for the estimate that askers see.
const READ_BYTES_PER_SECOND: u64 = 300 << 20;

/// What a request will cost at most, about: the share of each segment that the window takes of its time, as if packets
/// were spread evenly, of the sections that the level opens, and without regard to what the filter selects. What the index leaves of it would
/// be a match count, and so an oracle.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Estimate {
    pub segments: usize,
    pub bytes: u64,
    pub packets: u64,
    pub seconds: f64,
    /// From stored records: no packet is read.
    pub from_records: bool,
    /// Packet time that stored records answer for, ns.
    pub recorded_ns: u64,
}

impl Supervisor {
    /// Checks that the trace reaches a window; parts that it does not reach come out as gaps.
    /// A part below the level's grain is none: the window was widened to it.
    pub(super) fn check_window(&self, window: Window, level: AccessLevel) -> Result<Vec<Gap>, Refusal> {
        let Some(coverage) = self.catalog.coverage() else {
            return Err(Refusal::OutsideTrace("the trace is empty".into()));
        };
        if !window.overlaps(coverage) {
            return Err(Refusal::OutsideTrace(format!(
                "the trace reaches over {coverage}, asked was {window}"
            )));
        }
        let coverage = coverage.snap(level);
        let mut gaps = Vec::new();
        let mut missing = |from_ns: u64, to_ns: u64| {
            if from_ns < to_ns {
                gaps.push(Gap {
                    from_ns,
                    to_ns,
                    cause: "not in the trace".into(),
                    count: None,
                });
            }
        };
        missing(window.from_ns, coverage.from_ns.min(window.to_ns));
        missing(coverage.to_ns.max(window.from_ns), window.to_ns);
        Ok(gaps)
    }

    /// Parses a filter for a view at `level`; pseudonyms must belong to one epoch.
    pub(super) fn check_filter(
        &self,
        text: &str,
        level: AccessLevel,
        window: Window,
    ) -> Result<String, Refusal> {
        let filter = Filter::parse(text).map_err(|e| Refusal::BadFilter(marked(&e, text)))?;
        let segments = self.catalog.segments_in(window);
        one_epoch(&filter, level, segments.iter().map(|(_, s)| s))?;
        Ok(filter.canonical())
    }

    /// The same once a job starts: what was the future when it was asked has its segments now.
    pub(super) fn check_epochs(&self, job: &Job, grants: &[SegmentGrant]) -> Result<(), Refusal> {
        let filter = Filter::parse(&job.filter).map_err(|e| Refusal::BadFilter(e.to_string()))?;
        one_epoch(&filter, job.filter_level(), grants.iter().map(|g| &g.segment))
    }

    /// Cost of reading a window's sections of a level.
    pub(super) fn estimate(&self, window: Window, read_level: AccessLevel) -> Estimate {
        let segments = self.catalog.segments_in(window);
        let read = |segment: &Segment| {
            let sections = sections(read_level).iter();
            let told: Option<u64> = sections
                .map(|section| segment.section_bytes[*section as usize])
                .sum();
            told.unwrap_or(segment.bytes)
        };
        let share = |of: &dyn Fn(&Segment) -> u64| {
            let shares = segments.iter().map(|(_, s)| self.catalog.share(s, window, of(s)));
            shares.sum::<u64>()
        };
        let bytes = share(&read);
        Estimate {
            segments: segments.len(),
            bytes,
            packets: share(&|segment| segment.packets),
            seconds: bytes as f64 / READ_BYTES_PER_SECOND as f64,
            from_records: false,
            recorded_ns: 0,
        }
    }

    /// Cost of a question that is answered piece by piece.
    pub(super) fn estimate_pieces(&self, pieces: &[Piece], read_level: AccessLevel) -> Estimate {
        let mut sum = Estimate {
            from_records: pieces.iter().all(|piece| piece.source != Source::Trace),
            ..Estimate::default()
        };
        for piece in pieces {
            match &piece.source {
                Source::Trace => {
                    let part = self.estimate(piece.window, read_level);
                    sum.segments += part.segments;
                    sum.bytes += part.bytes;
                    sum.packets += part.packets;
                    sum.seconds += part.seconds;
                }
                Source::Records(_) => sum.recorded_ns += piece.window.to_ns - piece.window.from_ns,
                Source::Nothing => {}
            }
        }
        sum
    }

    /// The header of the dataset that will answer a job: decided here, only filled by the runner.
    pub(super) fn dataset_header(&self, job: &Job, gaps: Vec<Gap>, mapping_epoch: u32) -> Header {
        let (kind, schema, module, audience) = match &job.work {
            Work::Query {
                module,
                arguments,
                audience,
                every_ns,
                ..
            } => {
                let manifest = &module.manifest;
                let columns = manifest.schema.iter().map(|c| Field {
                    name: c.name.clone(),
                    kind: c.kind,
                    unit: c.unit.clone(),
                    description: c.description.clone(),
                    merge: c.merge.name().into(),
                });
                let reference = ModuleRef {
                    name: manifest.name.clone(),
                    release: manifest.release,
                    hash_hex: hex::encode(manifest.wasm_sha256),
                    args: arguments.clone(),
                    interval_ns: manifest.interval_ns.max(*every_ns),
                };
                (Kind::Table, table(columns), Some(reference), audience.clone())
            }
            Work::Trace { link_type, audience } => {
                let schema = match tables::fields(job.level) {
                    Some(fields) => table(fields.into_iter()),
                    None => Schema::Packets {
                        link_type: *link_type,
                    },
                };
                (schema.kind(), schema, None, audience.clone())
            }
        };
        Header {
            node: self.config.node.name.to_string(),
            node_key: self.keyring.node_signing.verifying_key().key_id(),
            query_id: job.id.clone(),
            kind,
            level: job.level,
            window: job.window,
            filter: job.filter.clone(),
            module,
            audience,
            mapping_epoch,
            schema,
            gaps,
            interrupted: Vec::new(),
            created_ns: now_ns(),
            policy_hash: self.policy.set_hash().to_owned(),
        }
    }

    /// Keys of an audience's pseudonyms in the epochs of some segments.
    pub(super) fn audience_keys(
        &mut self,
        audience: &str,
        grants: &[SegmentGrant],
    ) -> Result<Vec<(u32, MappingKey)>, Refusal> {
        let mut epochs: Vec<u32> = grants.iter().map(|g| g.segment.mapping_epoch).collect();
        epochs.sort_unstable();
        epochs.dedup();
        let is_new = |epoch: &u32| !self.keyring.has_audience_key(*epoch, audience);
        let some_are_new = epochs.iter().any(is_new);
        let keys = epochs
            .into_iter()
            .map(|epoch| Ok((epoch, self.keyring.audience_key(epoch, audience)?)))
            .collect::<Result<Vec<_>, como_keys::KeyError>>()
            .map_err(|e| Refusal::Destroyed(e.to_string()))?;
        // Pseudonyms that were handed out must come out the same after a restart.
        if some_are_new || !self.keyring_is_saved {
            self.save_keyring()
                .map_err(|e| Refusal::Internal(e.to_string()))?;
        }
        Ok(keys)
    }

    /// First message of a reader.
    pub(super) fn reader_start(
        &self,
        job: &Job,
        granted: &Granted,
        audience: &[(u32, MappingKey)],
        index: &IndexQuestion,
    ) -> Vec<u8> {
        let node_key = self.keyring.node_signing.verifying_key().to_bytes();
        let (segments, records) = (self.layout.segments(), self.layout.records());
        down(|down| {
            let mut start = down.init_start_reader();
            // A folder that is not named cannot be read.
            if !granted.trace.is_empty() {
                start.set_directory(segments.to_string_lossy().as_ref());
            }
            if !granted.records.is_empty() {
                start.set_records_directory(records.to_string_lossy().as_ref());
            }
            start.set_node_key(&node_key);
            start.set_from_ns(job.window.from_ns);
            start.set_to_ns(job.window.to_ns);
            start.set_view_level(job.view_level().as_u8());
            start.set_ask_level(job.level.as_u8());
            start.set_filter(&job.filter);
            if let Work::Query { module, .. } = &job.work {
                start.set_frames(module.manifest.wants_frames);
                let columns = module.manifest.looked_at();
                let mut list = start.reborrow().init_columns(columns.len() as u32);
                columns
                    .iter()
                    .enumerate()
                    .for_each(|(i, c)| list.set(i as u32, c.id()));
            } else {
                start.set_frames(true);
                start.set_cut(true);
                start.set_tables(job.is_table());
                let mut list = start.reborrow().init_columns(2);
                list.set(0, Column::TsNs as u8);
                list.set(1, Column::WireLen as u8);
            }
            let grants = &granted.segments;
            fill_segments(start.reborrow().init_segments(grants.len() as u32), grants);
            fill_pieces(
                start.reborrow().init_pieces(granted.trace.len() as u32),
                &granted.trace,
            );
            fill_records(
                start.reborrow().init_records(granted.records.len() as u32),
                &granted.records,
            );
            fill_audiences(start.reborrow().init_audiences(audience.len() as u32), audience);
            start.set_interval_ns(index.module_interval_ns);
            let mut filters = start.init_index_filters(index.filters.len() as u32);
            for (i, (epoch, filter)) in index.filters.iter().enumerate() {
                let mut to = filters.reborrow().get(i as u32);
                to.set_mapping_epoch(*epoch);
                to.set_filter(filter);
            }
        })
    }

    /// First message of a runner.
    pub(super) fn runner_start(
        &self,
        job: &Job,
        header: &Header,
        recipients: &[Vec<u8>],
        computes: bool,
    ) -> Vec<u8> {
        let header = header.to_message();
        down(|down| {
            let mut start = down.init_start_runner();
            start.set_header(&header);
            let mut list = start.reborrow().init_recipients(recipients.len() as u32);
            recipients
                .iter()
                .enumerate()
                .for_each(|(i, r)| list.set(i as u32, r));
            match &job.work {
                // The reader computes the host's tables itself, and sends rows.
                Work::Trace { .. } if job.is_table() => start.set_records(()),
                Work::Trace { .. } => start.set_packets(()),
                Work::Query {
                    module,
                    arguments,
                    audience,
                    every_ns,
                    ..
                } => {
                    start.set_every_ns(*every_ns);
                    let window = (job.window.from_ns, job.window.to_ns);
                    let run = match computes {
                        true => start.init_module(),
                        false => {
                            start.set_records(());
                            start.init_stored()
                        }
                    };
                    fill_run(run, module, 0, arguments, audience, window);
                }
            }
        })
    }
}

/// Rows of intervals, which begin with their time.
fn table(columns: impl Iterator<Item = Field>) -> Schema {
    let time = Field {
        name: "time".into(),
        kind: ColumnKind::TimeNs,
        unit: "ns".into(),
        description: "start of the measurement interval".into(),
        merge: "key".into(),
    };
    Schema::Table(std::iter::once(time).chain(columns).collect())
}

/// Gaps as an asker may know them: in order, within the window, and no time finer than the level's grain.
pub(super) fn public_gaps(mut gaps: Vec<Gap>, window: Window, level: AccessLevel) -> Vec<Gap> {
    gaps.retain_mut(|gap| {
        let seen = Window::new(gap.from_ns, gap.to_ns).map(|gap| gap.snap(level));
        seen.is_ok_and(|seen| {
            gap.from_ns = seen.from_ns.max(window.from_ns);
            gap.to_ns = seen.to_ns.min(window.to_ns);
            gap.from_ns < gap.to_ns
        })
    });
    gaps.sort_by_key(|gap| (gap.from_ns, gap.to_ns));
    gaps
}

/// Pseudonyms change with the mapping epoch: a filter that names one means something in one epoch only.
fn one_epoch<'a>(
    filter: &Filter,
    level: AccessLevel,
    segments: impl Iterator<Item = &'a Segment>,
) -> Result<(), Refusal> {
    let epochs: BTreeSet<u32> = segments.map(|s| s.mapping_epoch).collect();
    if filter.names_pseudonyms_at(level) && epochs.len() > 1 {
        return Err(Refusal::BadFilter(format!(
            "the filter names pseudonyms, and the window lies in {} mapping epochs with different ones; \
             ask for each epoch by itself",
            epochs.len()
        )));
    }
    Ok(())
}

/// Names what a module computes with these arguments for this audience.
pub(super) fn metric_of(module: &Installed, arguments: &[(String, i64)], audience: &str) -> [u8; 32] {
    let manifest = &module.manifest;
    records::metric(
        &manifest.wasm_sha256,
        &manifest.filter,
        &manifest.recorded_args(arguments),
        audience,
        manifest.level,
        manifest.interval_ns,
    )
}

fn fill_segments(
    mut list: capnp::struct_list::Builder<'_, wire::segment_grant::Owned>,
    grants: &[SegmentGrant],
) {
    for (i, grant) in grants.iter().enumerate() {
        let mut to = list.reborrow().get(i as u32);
        to.set_file(&grant.segment.file);
        to.set_segment(&grant.id);
        to.set_mapping_epoch(grant.segment.mapping_epoch);
        let [a, r, p] = &grant.keys;
        if let Some(key) = a {
            to.set_key_a(key.expose());
        }
        if let Some(key) = r {
            to.set_key_r(key.expose());
        }
        if let Some(key) = p {
            to.set_key_p(key.expose());
        }
        if let Some(digest) = &grant.checked.header {
            to.set_header_digest(digest);
        }
        if let Some(digest) = &grant.checked.footer {
            to.set_footer_digest(digest);
        }
    }
}

fn fill_pieces(
    mut list: capnp::struct_list::Builder<'_, wire::trace_piece::Owned>,
    pieces: &[(Window, Vec<usize>)],
) {
    for (i, (window, segments)) in pieces.iter().enumerate() {
        let mut to = list.reborrow().get(i as u32);
        to.set_from_ns(window.from_ns);
        to.set_to_ns(window.to_ns);
        let mut places = to.init_segments(segments.len() as u32);
        segments
            .iter()
            .enumerate()
            .for_each(|(i, at)| places.set(i as u32, *at as u32));
    }
}

fn fill_records(
    mut list: capnp::struct_list::Builder<'_, wire::record_grant::Owned>,
    grants: &[RecordGrant],
) {
    for (i, grant) in grants.iter().enumerate() {
        let mut to = list.reborrow().get(i as u32);
        to.set_file(&grant.coverage.file);
        to.set_key(grant.key.expose());
        to.set_from_ns(grant.coverage.window.from_ns);
        to.set_to_ns(grant.coverage.window.to_ns);
    }
}

fn fill_audiences(
    mut list: capnp::struct_list::Builder<'_, wire::audience_key::Owned>,
    keys: &[(u32, MappingKey)],
) {
    for (i, (epoch, key)) in keys.iter().enumerate() {
        let mut to = list.reborrow().get(i as u32);
        to.set_mapping_epoch(*epoch);
        to.set_key(key.expose());
    }
}

/// What is wrong, the filter with a mark below the word, and what to do: lines that a client shows as they are.
fn marked(error: &como_anonymize::filter::FilterError, text: &str) -> String {
    let said = error.to_string();
    let (what, fix) = said.split_once('\n').unwrap_or((&said, ""));
    let place: Vec<String> = error
        .with_caret(text)
        .lines()
        .take(2)
        .map(str::to_owned)
        .collect();
    format!("{what}\n{}\n{fix}", place.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_told_in_order_within_the_window_and_never_finer_than_the_level() {
        let gap = |from_ns, to_ns, count| Gap {
            from_ns,
            to_ns,
            cause: "destroyed".into(),
            count,
        };
        let window = Window::new(10_000_000, 50_000_000).unwrap();
        let gaps = vec![
            gap(30_123_456, 31_000_001, None),
            gap(3, 12_345_678, Some(7)),
            gap(60_000_000, 70_000_000, None),
            gap(20_000_000, 20_000_000, None),
        ];
        let told = public_gaps(gaps, window, AccessLevel::Anonymized);
        assert_eq!(
            told,
            [
                gap(10_000_000, 13_000_000, Some(7)),
                gap(30_000_000, 32_000_000, None)
            ]
        );
    }
}
