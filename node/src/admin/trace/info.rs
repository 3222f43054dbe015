//! `como-node trace info`: what the trace holds, a line for each segment. Says what needs keys, and never
//! anything that a stolen disk would not show where there are none.

use std::fmt::Write as _;

use indicatif::HumanBytes;
use serde::Serialize;

use super::folder::{Folder, Segment, name_of};
use super::shown;
use crate::admin::AdminError;
use crate::ring::{FileKind, SegmentFile, free_bytes};
use crate::trace::{BlockKind, Retain, SegmentReader, TraceError};

/// How a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// With its footer, whole as far as its frame tells.
    Sealed,
    /// Being written, or to be recovered by the next start.
    Open,
    /// Ended without footer: its capture died, or its footer was damaged.
    Cut,
    /// Some of it does not read.
    Damaged,
    /// Set aside.
    Aside,
    /// Of another format version.
    Foreign,
}

/// One segment. What is `None` nobody can tell, or not without keys.
#[derive(Clone, Debug, Serialize)]
struct Row {
    file: String,
    state: State,
    /// Packet time of the first and last packet, ns, on the grain of 1 ms.
    first_ns: Option<u64>,
    last_ns: Option<u64>,
    packets: Option<u64>,
    captured_bytes: Option<u64>,
    file_bytes: u64,
    lost_packets: Option<u64>,
    /// Gaps whose size nobody knows.
    unknown_losses: Option<u64>,
    /// The sections that are kept: A, A+R or A+R+P.
    sections: Option<&'static str>,
    /// Day of packet time whose identities open it.
    sealing_epoch: Option<u32>,
    /// Whether those identities are there; `None` without the node's keys.
    keys: Option<bool>,
    source: Option<String>,
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct Totals {
    segments: usize,
    packets: u64,
    captured_bytes: u64,
    lost_packets: u64,
    file_bytes: u64,
    ring_bytes: u64,
    disk_free_bytes: Option<u64>,
    expired_segments: u64,
    expired_packets: u64,
}

/// The whole answer.
#[derive(Debug, Serialize)]
struct Info {
    folder: String,
    running: bool,
    segments: Vec<Row>,
    totals: Totals,
    notes: Vec<String>,
}

/// Text for people, or one JSON document.
pub(super) fn info(folder: &Folder, json: bool) -> Result<String, AdminError> {
    let mut rows = Vec::new();
    for file in folder.files()? {
        rows.extend(row(folder, &file));
    }
    let mut notes = Vec::new();
    let manifest = folder.manifest().unwrap_or_else(|error| {
        notes.push(error.to_string());
        crate::ring::Manifest::default()
    });
    if let Some(why) = &folder.no_keys_because {
        notes.push(format!("the node's keys are not at hand: {why}"));
    }
    if folder.keyring.is_none() && rows.iter().any(|row| row.state != State::Sealed) {
        notes.push(
            "the end and the losses of a segment without footer are sealed: run this as the operator, \
             without --no-keys, and it tells them"
                .to_owned(),
        );
    }
    let (expired_segments, expired_packets) = manifest.expired_totals();
    let sum = |value: fn(&Row) -> Option<u64>| rows.iter().filter_map(value).sum();
    let info = Info {
        folder: folder.layout.segments().display().to_string(),
        running: folder.is_running,
        totals: Totals {
            segments: rows.len(),
            packets: sum(|row| row.packets),
            captured_bytes: sum(|row| row.captured_bytes),
            lost_packets: sum(|row| row.lost_packets),
            file_bytes: sum(|row| Some(row.file_bytes)),
            ring_bytes: folder.config.trace.ring_bytes,
            disk_free_bytes: free_bytes(&folder.layout.trace()),
            expired_segments,
            expired_packets,
        },
        segments: rows,
        notes,
    };
    Ok(match json {
        true => serde_json::to_string(&info).expect("the answer is plain data"),
        false => info.text(),
    })
}

/// `None`: the segment expired while we looked.
fn row(folder: &Folder, file: &SegmentFile) -> Option<Row> {
    let mut row = Row {
        file: name_of(&file.path),
        state: State::Aside,
        first_ns: None,
        last_ns: None,
        packets: None,
        captured_bytes: None,
        file_bytes: file.path.metadata().map_or(0, |about| about.len()),
        lost_packets: None,
        unknown_losses: None,
        sections: None,
        sealing_epoch: None,
        keys: None,
        source: None,
        problem: None,
    };
    let Segment { reader, wrong_keys } = match folder.segment(file) {
        Ok(segment) => segment?,
        Err(error) => {
            row.problem = Some(first_line(&error));
            row.state = match error {
                TraceError::Version { .. } => State::Foreign,
                _ if file.kind == FileKind::Aside => State::Aside,
                _ => State::Damaged,
            };
            return Some(row);
        }
    };
    let header = reader.header();
    row.sections = Some(match header.retain {
        Retain::Anonymized => "A",
        Retain::Headers => "A+R",
        Retain::Payload => "A+R+P",
    });
    row.sealing_epoch = Some(header.sealing_epoch);
    row.keys = folder.has_keys_of(header.sealing_epoch);
    row.problem = wrong_keys.as_ref().map(first_line);
    row.source = Some(header.source_description.clone());
    row.state = match file.kind {
        FileKind::Sealed if reader.footer().is_some() => State::Sealed,
        FileKind::Open => State::Open,
        FileKind::Sealed | FileKind::Cut => State::Cut,
        FileKind::Aside => State::Aside,
    };
    match reader.footer() {
        Some(footer) => {
            let has_packets = footer.packets > 0;
            row.first_ns = has_packets.then_some(footer.first_ns);
            row.last_ns = has_packets.then_some(footer.last_ns);
            row.packets = Some(footer.packets);
            row.captured_bytes = Some(footer.captured_bytes);
            row.lost_packets = Some(footer.lost_packets);
            row.unknown_losses = Some(footer.unknown_losses.into());
        }
        None => without_footer(&mut row, &reader),
    }
    if let Some(damage) = reader.footer_damage() {
        row.state = State::Damaged;
        row.problem = Some(first_line(damage));
    }
    Some(row)
}

/// What the blocks tell: their number of packets always, times and losses only with the key of section A.
fn without_footer(row: &mut Row, reader: &SegmentReader) {
    row.first_ns = Some(reader.header().first_ns);
    let (mut packets, mut damaged) = (0, 0);
    let (mut last_ns, mut lost, mut unknown) = (None, 0, 0);
    let mut is_open = true;
    for block in reader.blocks() {
        let Ok(block) = block else {
            damaged += 1;
            continue;
        };
        packets += u64::from(block.header.packets);
        match block.header.kind {
            BlockKind::Gaps => match reader.gaps(&block) {
                Ok(gaps) => {
                    lost += gaps.iter().filter_map(|gap| gap.packets).sum::<u64>();
                    unknown += gaps.iter().filter(|gap| gap.packets.is_none()).count() as u64;
                }
                Err(_) => is_open = false,
            },
            BlockKind::Packets => match reader.time_range(&block) {
                Ok((_, last)) => last_ns = last_ns.max(Some(last)),
                Err(_) => is_open = false,
            },
            BlockKind::Index => {}
        }
    }
    row.packets = Some(packets);
    if is_open {
        row.last_ns = last_ns;
        (row.lost_packets, row.unknown_losses) = (Some(lost), Some(unknown));
    }
    if damaged > 0 && row.state != State::Open {
        row.state = State::Damaged;
        row.problem = Some(format!(
            "{damaged} stretches do not read: `trace verify` has them"
        ));
    }
}

fn first_line(error: &TraceError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

impl Info {
    fn text(&self) -> String {
        let mut out = String::new();
        if !self.segments.is_empty() {
            let _ = writeln!(
                out,
                "{:<10} {:<8} {:<24}  {:<24} {:>12} {:>11} {:>11} {:>9}  {:<6} {:<16} source",
                "segment",
                "state",
                "from",
                "to",
                "packets",
                "captured",
                "on disk",
                "lost",
                "kept",
                "day (keys)"
            );
        }
        for row in &self.segments {
            row.line(&mut out);
        }
        let totals = &self.totals;
        let share = totals.file_bytes as f64 / totals.ring_bytes.max(1) as f64 * 100.0;
        let _ = writeln!(
            out,
            "{} segments, {} packets, {} captured, {} lost; {} of {} on disk ({share:.1} %), {} free",
            totals.segments,
            totals.packets,
            HumanBytes(totals.captured_bytes),
            totals.lost_packets,
            HumanBytes(totals.file_bytes),
            HumanBytes(totals.ring_bytes),
            totals
                .disk_free_bytes
                .map_or_else(|| "unknown".to_owned(), |bytes| HumanBytes(bytes).to_string()),
        );
        if totals.expired_segments > 0 {
            let _ = writeln!(
                out,
                "expired: {} segments with {} packets",
                totals.expired_segments, totals.expired_packets
            );
        }
        if self.running {
            let _ = writeln!(out, "the node runs: the open segment grows");
        }
        for note in &self.notes {
            let _ = writeln!(out, "note: {note}");
        }
        out.trim_end().to_owned()
    }
}

impl Row {
    fn line(&self, out: &mut String) {
        let known = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let time = |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), shown);
        let bytes = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |v| HumanBytes(v).to_string());
        let lost = match (self.lost_packets, self.unknown_losses) {
            // Gaps of unknown size come on top of the count.
            (Some(lost), Some(unknown)) if unknown > 0 => format!("{lost}+?"),
            (lost, _) => known(lost),
        };
        let day = match (self.sealing_epoch, self.keys) {
            (Some(day), Some(true)) => format!("{day} (there)"),
            (Some(day), Some(false)) => format!("{day} (destroyed)"),
            (Some(day), None) => format!("{day} (not asked)"),
            (None, _) => "-".to_owned(),
        };
        let ordinal = self.file.split('-').next().unwrap_or_default();
        let state = match self.state {
            State::Sealed => "sealed",
            State::Open => "open",
            State::Cut => "cut",
            State::Damaged => "damaged",
            State::Aside => "aside",
            State::Foreign => "foreign",
        };
        let line = format!(
            "{ordinal:<10} {state:<8} {:<24}  {:<24} {:>12} {:>11} {:>11} {lost:>9}  {:<6} {day:<16} {}",
            time(self.first_ns),
            time(self.last_ns),
            known(self.packets),
            bytes(self.captured_bytes),
            bytes(Some(self.file_bytes)),
            self.sections.unwrap_or("-"),
            self.source.as_deref().unwrap_or("-"),
        );
        let _ = writeln!(out, "{}", line.trim_end());
        if let Some(problem) = &self.problem {
            let _ = writeln!(out, "{:<10} {problem}", "");
        }
    }
}
